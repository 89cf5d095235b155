import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Decision } from "../../../sdk/src/wire.ts";
import { Audit } from "./audit.ts";
import { each, got, type Told } from "./calls.ts";
import { type Chance, chanceOf, oneOf } from "./chance.ts";
import { assertSame } from "./clients.ts";
import { Home, type Life, runtimeOf } from "./life.ts";
import { Callers, fieldOf, type Heard, post } from "./sockets.ts";
import { type Agent, openSession, remember, settle, type Tenant } from "./world.ts";

export interface FloodOptions {
  readonly seed: number;
  /** How long the flood lasts, at least: it also lasts until so many have come that no burst explains them. */
  readonly seconds: number;
  readonly mostSeconds: number;
  /** So many connections at once. */
  readonly callers: number;
  /** So many times what it can do is asked of it. */
  readonly times: number;
  /** What the tenant lets each of its tokens ask for in a second; `null`: as the gateway comes. */
  readonly throttlePerSecond: number | null;
  readonly mostRecoveryMs: number;
  readonly say: (line: string) => void;
}

export interface FloodFigures {
  readonly seed: number;
  /** Decisions a second that 32 callers get, one after another, and how long they wait. */
  readonly capacity_per_second: number;
  readonly calm_p50_ms: number;
  readonly calm_p99_ms: number;
  readonly wanted_per_second: number;
  readonly asked_per_second: number;
  readonly asked: number;
  readonly decided: number;
  readonly turned_away: number;
  /** Who heard nothing in ten seconds, and hung up; of all, and of those who came in the second half, when no burst is left. */
  readonly unheard: number;
  readonly unheard_late: number;
  readonly asked_late: number;
  readonly decided_per_second: number;
  readonly decided_p50_ms: number;
  readonly decided_p99_ms: number;
  readonly turned_away_p50_ms: number;
  readonly turned_away_p99_ms: number;
  readonly calm_rss_mib: number;
  readonly peak_rss_mib: number;
  /** From the end of the flood until answers are as quick as before, and all are decisions. */
  readonly recovered_after_ms: number;
  readonly answers_checked: number;
  readonly entries: number;
}

const PATIENCE_MS = 10_000;
const CLOSED_CALLERS = 32;
const FEW_CALLERS = 8;
/** More than the gateway lets in before it turns anybody away. */
const BEYOND_ANY_BURST = 2_500;
const MOST_CHECKED = 1_500;
const MOST_GROWTH_MIB = 512;

/**
 * Asks a gateway for many times what it can do, and looks whether it stays what it is: nobody gets an answer that is neither a decision nor a refusal that
 * says when to come back; who was turned away was not charged; what was decided is so afterwards; and soon after the flood everything is as before it.
 */
export async function flood(options: FloodOptions): Promise<FloodFigures> {
  const home = new Home("flood");
  try {
    const life = await home.start();
    return await new Flood(life, options).run(home.rootKey);
  } finally {
    await home.end();
  }
}

interface Asked {
  readonly at: number;
  readonly id: string;
  readonly agent: Agent;
  readonly session: string;
  readonly body: string;
}

class Flood {
  readonly #life: Life;
  readonly #options: FloodOptions;
  readonly #target: URL;
  readonly #chance: Chance;
  readonly #decided: { readonly asked: Asked; readonly heard: Heard }[] = [];
  readonly #turnedAway: { readonly asked: Asked; readonly heard: Heard }[] = [];
  readonly #unheard: Asked[] = [];
  #places: readonly { readonly agent: Agent; readonly session: string }[] = [];

  constructor(life: Life, options: FloodOptions) {
    this.#life = life;
    this.#options = options;
    this.#target = new URL(life.url);
    this.#chance = chanceOf(options.seed, "flood");
  }

  async run(rootKey: string): Promise<FloodFigures> {
    const { say, seconds, mostSeconds, callers, times, seed, throttlePerSecond } = this.#options;
    const [tenant] = await settle(this.#life.url, rootKey, ["flooded"]);
    assert.ok(tenant !== undefined);
    for (const agent of tenant.agents) for (let n = 0; n < 3; n++) remember(agent, await openSession(this.#life.url, agent));
    this.#places = tenant.agents.flatMap((agent) => agent.sessions.map((session) => ({ agent, session })));
    const runtime = runtimeOf(this.#life.process);

    await this.#closed(CLOSED_CALLERS, 2_000);
    const capacity = await this.#closed(CLOSED_CALLERS, 3_000);
    const calm = await this.#closed(FEW_CALLERS, 1_500);
    const calmRss = rssMibOf(runtime);
    say(`it decides ${capacity.perSecond} a second for ${CLOSED_CALLERS} callers, p99 ${capacity.p99} ms; for ${FEW_CALLERS} p99 ${calm.p99} ms`);
    // What came before is no part of what follows.
    this.#decided.length = 0;

    const wanted = capacity.perSecond * times;
    const lasts = Math.min(mostSeconds, Math.max(seconds, BEYOND_ANY_BURST / capacity.perSecond));
    await this.#throttle(tenant, throttlePerSecond);
    const began = performance.now();
    const { asked, tookMs, peak } = await this.#open(callers, wanted, lasts * 1_000, () => rssMibOf(runtime));
    const took = this.#decided.map(({ heard }) => heard.tookMs);
    const refused = this.#turnedAway.map(({ heard }) => heard.tookMs);
    const decided = this.#decided.length;
    say(`asked ${asked} in ${Math.round(tookMs / 1000)} s: ${decided} decided, ${refused.length} turned away, ${this.#unheard.length} unheard`);
    const late = began + tookMs / 2;
    const unheardLate = this.#unheard.filter(({ at }) => at > late).length;
    const heardLate = [...this.#decided, ...this.#turnedAway].filter(({ asked: { at } }) => at > late).length;
    await this.#throttle(tenant, null);
    const recoveredAfterMs = await this.#recover(Math.max(250, 3 * calm.p99));
    const checked = await this.#verify(tenant);
    assert.ok(peak - calmRss < MOST_GROWTH_MIB, `memory grew from ${calmRss} to ${peak} MiB`);
    return {
      seed,
      capacity_per_second: capacity.perSecond,
      calm_p50_ms: capacity.p50,
      calm_p99_ms: capacity.p99,
      wanted_per_second: wanted,
      asked_per_second: Math.round((asked * 1000) / tookMs),
      asked,
      decided,
      turned_away: refused.length,
      unheard: this.#unheard.length,
      unheard_late: unheardLate,
      asked_late: unheardLate + heardLate,
      decided_per_second: Math.round((decided * 1000) / tookMs),
      decided_p50_ms: quantile(took, 0.5),
      decided_p99_ms: quantile(took, 0.99),
      turned_away_p50_ms: quantile(refused, 0.5),
      turned_away_p99_ms: quantile(refused, 0.99),
      calm_rss_mib: calmRss,
      peak_rss_mib: peak,
      recovered_after_ms: recoveredAfterMs,
      answers_checked: checked.answers,
      entries: checked.entries,
    };
  }

  async #throttle({ operator }: Tenant, perSecond: number | null): Promise<void> {
    const throttle = perSecond === null ? null : { requests: perSecond, window_ms: 1_000 };
    await got(this.#life.url, { method: "PUT", path: "/v1/settings", token: operator, body: { throttle } });
  }

  /** So many callers, each of which asks again when it was answered. */
  async #closed(
    callers: number,
    lastsMs: number,
  ): Promise<{ readonly perSecond: number; readonly p50: number; readonly p99: number; readonly isWhole: boolean }> {
    const lines = new Callers(this.#target, callers, 30_000);
    const took: number[] = [];
    const since = performance.now();
    let isWhole = true;
    const ask = async (): Promise<void> => {
      while (performance.now() - since < lastsMs) {
        const heard = await this.#ask(lines);
        if (heard?.status === 200) took.push(heard.tookMs);
        else isWhole = false;
      }
    };
    await Promise.all(Array.from({ length: callers }, ask));
    lines.end();
    const perSecond = Math.round((took.length * 1000) / (performance.now() - since));
    return { perSecond, p50: quantile(took, 0.5), p99: quantile(took, 0.99), isWhole };
  }

  /** Callers who come at their own pace, whoever was answered: until every connection waits. */
  async #open(callers: number, perSecond: number, lastsMs: number, rssMib: () => number) {
    const lines = new Callers(this.#target, callers, PATIENCE_MS);
    const since = performance.now();
    const pending = new Set<Promise<unknown>>();
    let asked = 0;
    let missed = 0;
    let peak = 0;
    for (let elapsed = 0; elapsed < lastsMs; elapsed = performance.now() - since) {
      const due = Math.floor((perSecond * elapsed) / 1000);
      while (asked + missed < due) {
        const asking = this.#ask(lines);
        if (asking === undefined) {
          // Who finds no free connection does not come at all: a flood has no memory.
          missed = due - asked;
          break;
        }
        asked++;
        pending.add(asking);
        void asking.finally(() => pending.delete(asking));
      }
      peak = Math.max(peak, rssMib());
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const tookMs = performance.now() - since;
    // The flood is over: whoever still waits hangs up.
    lines.end();
    await Promise.all(pending);
    return { asked, tookMs, peak };
  }

  #ask(lines: Callers): Promise<Heard | null> | undefined {
    const { agent, session } = oneOf(this.#chance, this.#places);
    const id = `dec_${randomUUID()}`;
    const body = JSON.stringify({ id, action: "step", estimate_usd: "0.0001", ttl_ms: 3_600_000 });
    const asked: Asked = { at: performance.now(), id, agent, session, body };
    const path = `/v1/sessions/${session}/decisions`;
    return lines.ask(post(this.#target, path, agent.token, body))?.then((heard) => {
      if (heard === null) this.#unheard.push(asked);
      else if (heard.status === 200) this.#decided.push({ asked, heard });
      else this.#turnedAway.push({ asked, heard });
      return heard;
    });
  }

  /** Until answers are as quick as before and all of them are decisions, twice in a row. */
  async #recover(quickMs: number): Promise<number> {
    const since = performance.now();
    for (let good = 0; good < 2; ) {
      const { p99, isWhole } = await this.#closed(FEW_CALLERS, 400);
      good = isWhole && p99 <= quickMs ? good + 1 : 0;
      const elapsed = performance.now() - since;
      assert.ok(elapsed < this.#options.mostRecoveryMs, `${Math.round(elapsed)} ms after the flood p99 is ${p99} ms, and was to be ${quickMs}`);
    }
    // The two good looks are no part of it.
    return Math.max(0, Math.round(performance.now() - since - 800));
  }

  async #verify(tenant: Tenant): Promise<{ readonly answers: number; readonly entries: number }> {
    const { url } = this.#life;
    for (const { heard } of this.#turnedAway) {
      assert.ok(heard.status === 503 || heard.status === 429, `${heard.head}\n${heard.body}`);
      assert.match(fieldOf(heard.head, "retry-after") ?? "", /^[1-9]\d*$/, "who is turned away hears when to come back");
    }
    const audit = new Audit(tenant);
    await audit.follow(url);
    for (const { asked, heard } of this.#decided) {
      const { id, entry }: Decision = JSON.parse(heard.body);
      assert.ok(id === asked.id && audit.has(entry, id), `${id} was decided and is in the record`);
    }
    for (const { asked } of this.#turnedAway) assert.equal(audit.find(asked.id), undefined, `${asked.id} was turned away, and is not charged`);
    let answers = 0;
    const again = async ({ agent, session, body }: Asked): Promise<Told> => {
      const path = `/v1/sessions/${session}/decisions`;
      const answer = await fetch(`${url}${path}`, {
        method: "POST",
        headers: { authorization: `Bearer ${agent.token}`, "content-type": "application/json" },
        body,
      });
      answers++;
      return { status: answer.status, body: await answer.json(), replayed: answer.headers.get("idempotency-replayed") === "true" };
    };
    await each(some(this.#decided, MOST_CHECKED), 16, async ({ asked, heard }) => {
      assertSame({ status: 200, body: JSON.parse(heard.body), replayed: false }, await again(asked), asked.id);
    });
    // Who heard nothing asks again under the same id, twice at once, and gets one answer: that of the time when it was decided, if it was.
    await each(some(this.#unheard, MOST_CHECKED / 5), 8, async (asked) => {
      const [one, two] = await Promise.all([again(asked), again(asked)]);
      assert.equal(one.status, 200);
      assertSame(one, two, asked.id);
      const before = audit.find(asked.id);
      if (before !== undefined) assert.equal((one.body as Decision).verdict === "allow", before.reservedMicroUsd > 0, asked.id);
    });
    await audit.follow(url);
    await audit.assertShown(url);
    return { answers, entries: audit.entries };
  }
}

const some = <T>(list: readonly T[], most: number): readonly T[] => list.filter((_, place) => place % Math.ceil(list.length / most) === 0);

function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10;
}

const rssMibOf = (pid: number): number => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024);
