import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Decision } from "../../../sdk/src/wire.ts";
import { Audit } from "./audit.ts";
import { each, got, type Told } from "./calls.ts";
import { type Chance, chanceOf, oneOf } from "./chance.ts";
import { assertSame } from "./clients.ts";
import { come, instantOf, mean, quantile, type Served, type Side, serve } from "./crowd.ts";
import { Home, type Life, runtimeOf } from "./life.ts";
import { fieldOf, type Heard, post } from "./sockets.ts";
import { type Agent, openSession, remember, settle, type Tenant } from "./world.ts";

export interface FloodOptions {
  readonly seed: number;
  /** How long the flood lasts. */
  readonly seconds: number;
  /** So many times as many callers come as it answers in time. */
  readonly times: number;
  /** So many come, whatever it can do; `null`: as `times` says. */
  readonly callers: number | null;
  /** What the tenant lets each of its tokens ask for in a second; `null`: as the gateway comes. */
  readonly throttlePerSecond: number | null;
  readonly say: (line: string) => void;
}

export interface FloodFigures {
  readonly seed: number;
  /** So many callers, each of whom asks again at once, get 95 of 100 answers within `IN_TIME_MS`. */
  readonly served_callers: number;
  readonly served_per_second: number;
  readonly served_p50_ms: number;
  readonly served_p95_ms: number;
  /** Processor time that each of these answers took. */
  readonly served_cpu_ms: number;
  /** Who came, and how often they asked. */
  readonly callers: number;
  readonly asked: number;
  readonly decided: number;
  readonly turned_away: number;
  /** Who heard nothing in ten seconds, and hung up. */
  readonly unheard: number;
  /** What was decided all the same, of that. */
  readonly unheard_on_record: number;
  /** Of a thousand callers so many heard nothing in ten seconds, at least once. */
  readonly unheard_of_1000: number;
  /** Of a thousand callers so many had heard nothing for three seconds, at any moment. */
  readonly late_of_1000: number;
  readonly longest_wait_ms: number;
  /** In the second half, when no burst is left. */
  readonly decided_per_second: number;
  /** From the question until it was decided, by the record, on the mean of what was answered. */
  readonly decided_after_ms: number;
  readonly decided_p50_ms: number;
  readonly decided_p99_ms: number;
  readonly turned_away_p50_ms: number;
  readonly turned_away_p99_ms: number;
  /** How busy the callers' own process was, of one core: near 1 it was the callers that were slow. */
  readonly callers_cpu: number;
  readonly growth_mib: number;
  /** From the end of the flood until as many as before are served at four fifths of the former rate. */
  readonly recovered_after_ms: number;
  readonly answers_checked: number;
  readonly entries: number;
}

/** An answer in time. */
const IN_TIME_MS = 250;
const FEWEST_CALLERS = 8;
const MOST_SERVED = 256;
const MOST_CHECKED = 1_500;
const MOST_RECOVERY_MS = 60_000;

/**
 * Lets many times more callers come than a gateway answers in time. Each has a connection of its own and asks again as soon as it has its decision; who is
 * turned away comes back when it was told to; who hears nothing for ten seconds hangs up. Demands that nobody gets an answer that is neither a decision
 * nor a refusal that says when to come back, that who was turned away was not charged, and that what was decided is so afterwards.
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
  readonly #side: Side;
  readonly #chance: Chance;
  readonly #decided: { readonly asked: Asked; readonly heard: Heard }[] = [];
  readonly #turnedAway: { readonly asked: Asked; readonly heard: Heard }[] = [];
  readonly #unheard: Asked[] = [];
  #places: readonly { readonly agent: Agent; readonly session: string }[] = [];

  constructor(life: Life, options: FloodOptions) {
    this.#life = life;
    this.#options = options;
    this.#side = { target: new URL(life.url), pid: runtimeOf(life.process), ask: (send) => this.#ask(send) };
    this.#chance = chanceOf(options.seed, "flood");
  }

  async run(rootKey: string): Promise<FloodFigures> {
    const { say, seconds, times, seed, throttlePerSecond } = this.#options;
    const [tenant] = await settle(this.#life.url, rootKey, ["flooded"]);
    assert.ok(tenant !== undefined);
    for (const agent of tenant.agents) for (let n = 0; n < 3; n++) remember(agent, await openSession(this.#life.url, agent));
    this.#places = tenant.agents.flatMap((agent) => agent.sessions.map((session) => ({ agent, session })));

    const served = await this.#served();
    const calmRss = rssMibOf(this.#side.pid);
    const callers = this.#options.callers ?? served.callers * times;
    say(`it answers ${served.callers} callers in time, ${served.perSecond} times a second, p95 ${served.p95} ms; now ${callers} come`);
    // What came before is no part of what follows.
    this.#decided.length = 0;

    await this.#throttle(tenant, throttlePerSecond);
    const began = performance.now();
    const cpu = process.cpuUsage();
    let peak = 0;
    const { waits } = await come(this.#side, callers, seconds * 1_000, this.#chance, () => {
      peak = Math.max(peak, rssMibOf(this.#side.pid));
    });
    const tookMs = performance.now() - began;
    const { user, system } = process.cpuUsage(cpu);
    const late = this.#decided.filter(({ asked, heard }) => asked.at + heard.tookMs > began + tookMs / 2).length;
    await this.#throttle(tenant, null);
    const recoveredAfterMs = await this.#recover(served);
    const { unheardOf1000, lateOf1000 } = await waits;

    const ofFlood = ({ asked: { at } }: { readonly asked: Asked }): boolean => at < began + tookMs;
    const took = this.#decided.filter(ofFlood).map(({ heard }) => heard.tookMs);
    const refused = this.#turnedAway.filter(ofFlood).map(({ heard }) => heard.tookMs);
    const asked = took.length + refused.length + this.#unheard.length;
    say(`asked ${asked} times in ${seconds} s: ${took.length} decided, ${refused.length} turned away, ${this.#unheard.length} unheard`);
    const { audit, answers, unheardOnRecord } = await this.#verify(tenant);
    const decidedAfter = this.#decided.filter(ofFlood).map((one) => (audit.find(one.asked.id)?.askedAt ?? Number.NaN) - instantOf(one.asked.at));
    return {
      seed,
      served_callers: served.callers,
      served_per_second: served.perSecond,
      served_p50_ms: served.p50,
      served_p95_ms: served.p95,
      served_cpu_ms: Math.round(served.cpuMs * 1_000) / 1_000,
      callers,
      asked,
      decided: took.length,
      turned_away: refused.length,
      unheard: this.#unheard.length,
      unheard_on_record: unheardOnRecord,
      unheard_of_1000: unheardOf1000,
      late_of_1000: lateOf1000,
      longest_wait_ms: quantile([...took, ...refused], 1),
      decided_per_second: Math.round((late * 2_000) / tookMs),
      decided_after_ms: mean(decidedAfter),
      decided_p50_ms: quantile(took, 0.5),
      decided_p99_ms: quantile(took, 0.99),
      turned_away_p50_ms: quantile(refused, 0.5),
      turned_away_p99_ms: quantile(refused, 0.99),
      callers_cpu: Math.round((user + system) / tookMs / 10) / 100,
      growth_mib: peak - calmRss,
      recovered_after_ms: recoveredAfterMs,
      answers_checked: answers,
      entries: audit.entries,
    };
  }

  async #throttle({ operator }: Tenant, perSecond: number | null): Promise<void> {
    const throttle = perSecond === null ? null : { requests: perSecond, window_ms: 1_000 };
    await got(this.#life.url, { method: "PUT", path: "/v1/settings", token: operator, body: { throttle } });
  }

  /** The most callers that it answers in time, by doubling them. At least eight, whatever they get. */
  async #served(): Promise<Served> {
    await serve(this.#side, FEWEST_CALLERS, 2_000);
    let best = await serve(this.#side, FEWEST_CALLERS, 2_000);
    while (best.callers < MOST_SERVED) {
      const more = await serve(this.#side, best.callers * 2, 2_000);
      if (more.p95 > IN_TIME_MS || !more.isWhole) break;
      best = more;
    }
    return best;
  }

  async #ask(send: Parameters<Side["ask"]>[0]): Promise<Heard | null> {
    const { agent, session } = oneOf(this.#chance, this.#places);
    const id = `dec_${randomUUID()}`;
    const body = JSON.stringify({ id, action: "step", estimate_usd: "0.0001", ttl_ms: 3_600_000 });
    const asked: Asked = { at: performance.now(), id, agent, session, body };
    const path = `/v1/sessions/${session}/decisions`;
    const heard = await send(post(this.#side.target, path, agent.token, body));
    if (heard === null) this.#unheard.push(asked);
    else if (heard.status === 200) this.#decided.push({ asked, heard });
    else this.#turnedAway.push({ asked, heard });
    return heard;
  }

  /** Until as many callers as before get nothing but decisions, at four fifths of the former rate: when the first such second began. */
  async #recover({ callers, perSecond }: Served): Promise<number> {
    const since = performance.now();
    for (;;) {
      const elapsedMs = performance.now() - since;
      const now = await serve(this.#side, callers, 1_000);
      if ((now.isWhole && now.perSecond >= 0.8 * perSecond) || elapsedMs > MOST_RECOVERY_MS) return Math.round(elapsedMs);
    }
  }

  async #verify(tenant: Tenant): Promise<{ readonly audit: Audit; readonly answers: number; readonly unheardOnRecord: number }> {
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
    // Before they are asked again.
    const unheardOnRecord = this.#unheard.filter(({ id }) => audit.find(id) !== undefined).length;
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
    await audit.assertShown(url, "everything");
    return { audit, answers, unheardOnRecord };
  }
}

const some = <T>(list: readonly T[], most: number): readonly T[] => list.filter((_, place) => place % Math.ceil(list.length / most) === 0);

const rssMibOf = (pid: number): number => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024);
