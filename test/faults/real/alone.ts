import assert from "node:assert/strict";
import path from "node:path";
import { build as bundle } from "esbuild";
import { startRuntime } from "../../../src/local/runtime.ts";
import { runtimes } from "../../bench/cpu.ts";
import { chanceOf } from "./chance.ts";
import { come, instantOf, mean, quantile, type Served, type Side, serve } from "./crowd.ts";
import { Home } from "./life.ts";
import { post } from "./sockets.ts";

export interface AloneOptions {
  readonly seed: number;
  readonly seconds: number;
  /** So many come. */
  readonly callers: number;
  /** So many came while it was found out what an answer takes. */
  readonly servedCallers: number;
  /** So much processor time an answer takes. */
  readonly cpuMs: number;
  readonly say: (line: string) => void;
}

/** What the runtime does to a crowd by itself. */
export interface AloneFigures {
  readonly cpu_ms: number;
  readonly served_per_second: number;
  readonly asked: number;
  readonly answered: number;
  readonly unheard: number;
  readonly unheard_of_1000: number;
  readonly late_of_1000: number;
  /** From the question until its answer was begun, on the mean of what was answered. */
  readonly begun_after_ms: number;
  readonly answered_p50_ms: number;
  readonly answered_p99_ms: number;
}

/** Whom it passes over differs from flood to flood: of eleven one was lenient. */
const FLOODS = 2;
const FIRST_ROUNDS = 500_000;
const MOST_TRIES = 5;
const LASTS_MS = 2_000;
/** Near enough not to try again, and too far to compare. */
const NEAR = 0.05;
const FAR = 0.15;

/**
 * Floods a Worker that only computes, in a runtime of its own that is started as the gateway's is: as long for each answer as `cpuMs` says, with as many
 * callers, for as long, twice. Whoever hears nothing or little of it is passed over by the runtime.
 */
export async function alone(options: AloneOptions): Promise<readonly AloneFigures[]> {
  const home = new Home("alone");
  try {
    return await flooded(home.directory, options);
  } finally {
    await home.end();
  }
}

async function flooded(state: string, { seed, seconds, callers, servedCallers, cpuMs, say }: AloneOptions): Promise<readonly AloneFigures[]> {
  const outfile = path.join(state, "worker.js");
  await bundle({ entryPoints: [path.join(import.meta.dirname, "bare_worker.ts")], format: "esm", target: "es2024", outfile });
  let death: string | null = null;
  const before = runtimes();
  const runtime = await startRuntime({
    built: { modules: [{ type: "ESModule", path: outfile }], worker: { compatibilityDate: "2026-10-01" }, secrets: [], migrations: [] },
    secrets: {},
    state,
    port: 0,
    onDeath: (how) => {
      death = how;
    },
  });
  try {
    const pid = runtimes().find((one) => !before.includes(one));
    assert.ok(pid !== undefined, "the runtime that was started is seen");
    const bare = new Bare(new URL(runtime.url), pid);
    const { rounds, served } = await bare.take(cpuMs, servedCallers);
    say(
      `the runtime alone answers ${served.callers} callers ${served.perSecond} times a second, at ${round(served.cpuMs)} ms each; now ${callers} come`,
    );
    const floods: AloneFigures[] = [];
    while (floods.length < FLOODS) {
      bare.forget();
      const { waits } = await come(bare.side(rounds), callers, seconds * 1_000, chanceOf(seed, `alone ${floods.length}`));
      const { unheardOf1000, lateOf1000 } = await waits;
      // Of a runtime that fell nobody hears anything: the gateway would look well beside it.
      assert.equal(death, null, "the runtime ended by itself");
      const { took, begunAfter, unheard } = bare;
      say(`asked ${took.length + unheard} times in ${seconds} s: ${took.length} answered, ${unheard} unheard`);
      floods.push({
        cpu_ms: round(served.cpuMs),
        served_per_second: served.perSecond,
        asked: took.length + unheard,
        answered: took.length,
        unheard,
        unheard_of_1000: unheardOf1000,
        late_of_1000: lateOf1000,
        begun_after_ms: mean(begunAfter),
        answered_p50_ms: quantile(took, 0.5),
        answered_p99_ms: quantile(took, 0.99),
      });
    }
    return floods;
  } finally {
    await runtime.stop();
  }
}

/** The Worker as a side of a flood, and what was heard of it. */
class Bare {
  readonly #target: URL;
  readonly #pid: number;
  took: number[] = [];
  begunAfter: number[] = [];
  unheard = 0;

  constructor(target: URL, pid: number) {
    this.#target = target;
    this.#pid = pid;
  }

  /** What came before is no part of what follows. */
  forget(): void {
    this.took = [];
    this.begunAfter = [];
    this.unheard = 0;
  }

  side(rounds: number): Side {
    const body = JSON.stringify({ id: "dec_00000000-0000-4000-8000-000000000000", action: "step", estimate_usd: "0.0001", ttl_ms: 3_600_000 });
    const request = post(this.#target, `/?rounds=${rounds}`, "nobody", body);
    return {
      target: this.#target,
      pid: this.#pid,
      ask: async (send) => {
        const askedAt = instantOf(performance.now());
        const heard = await send(request);
        if (heard === null) {
          this.unheard++;
          return null;
        }
        assert.equal(heard.status, 200, `${heard.head}\n${heard.body}`);
        const { began_at }: { readonly began_at: number } = JSON.parse(heard.body);
        this.took.push(heard.tookMs);
        this.begunAfter.push(began_at - askedAt);
        return heard;
      },
    };
  }

  /** How many rounds take so much processor time under so many callers. */
  async take(cpuMs: number, callers: number): Promise<{ readonly rounds: number; readonly served: Served }> {
    await serve(this.side(0), callers, LASTS_MS / 2);
    const none = await serve(this.side(0), callers, LASTS_MS / 2);
    let best = { rounds: FIRST_ROUNDS, served: await serve(this.side(FIRST_ROUNDS), callers, LASTS_MS) };
    const offBy = ({ served }: typeof best): number => Math.abs(served.cpuMs / cpuMs - 1);
    let last = best;
    for (let tried = 0; tried < MOST_TRIES && offBy(best) > NEAR; tried++) {
      const rounds = Math.max(1, Math.round((last.rounds * (cpuMs - none.cpuMs)) / (last.served.cpuMs - none.cpuMs)));
      last = { rounds, served: await serve(this.side(rounds), callers, LASTS_MS) };
      if (offBy(last) < offBy(best)) best = last;
    }
    assert.ok(
      offBy(best) <= FAR,
      `A Worker that only computes takes ${round(best.served.cpuMs)} ms for an answer, where ${round(cpuMs)} ms are wanted.`,
    );
    return best;
  }
}

const round = (ms: number): number => Math.round(ms * 1_000) / 1_000;
