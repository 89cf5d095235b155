import type { Decision } from "../core/decision.ts";
import { idFromDigest, type RunId } from "../core/ids.ts";
import { type MicroUsd, microUsdOf } from "../core/money.ts";
import { circumstancesOf } from "../core/policy/circumstances.ts";
import { type Explanation, explain } from "../core/policy/explain.ts";
import { type Findings, workBudget } from "../core/policy/findings.ts";
import { Play, type Stage } from "../core/policy/play.ts";
import type { Refusal } from "../core/refusals.ts";
import type { ActionRequest, Principal } from "../core/request.ts";
import type { Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import { priced } from "../flow/decide.ts";
import { DECISION_TTL_MS } from "../http/requests.ts";
import { genaiPrices } from "../prices/prices.ts";
import type { AskedWire, Earlier, Entities, Step } from "./case_format.ts";
import { type Policy, sha256 } from "./policy_file.ts";

const LONGEST_MS = 31 * 86_400_000;

/** What a case says of the session itself. */
interface Setting {
  readonly agent: string;
  readonly openedAt: Instant;
  readonly budgetMicroUsd: MicroUsd | null;
  readonly entities: Entities;
  readonly defaults: Partial<AskedWire>;
}

/** One request with its answer. */
export interface Answer {
  readonly decision: Decision;
  readonly explanation: Explanation;
  readonly findings: Findings;
}

/** A session of one agent under one policy, without any gateway: the code that decides is the gateway's own. */
export class Session {
  readonly #play: GivenPlay;
  readonly #policy: Policy;
  readonly #setting: Setting;
  readonly #stage: Stage;
  readonly #runs = new Map<string, RunId>();
  #requests = 0;

  constructor(policy: Policy, setting: Setting) {
    const { agent, openedAt, budgetMicroUsd, entities } = setting;
    const principal: Principal = { tokenId: id("tok", "token"), tenant: "test", subject: agent, kind: "agent" };
    this.#policy = policy;
    this.#setting = setting;
    this.#stage = {
      tenant: "test",
      session: id("ses", "session"),
      agent,
      openedAt,
      expiresAt: openedAt + 3 * LONGEST_MS,
      budgetMicroUsd,
      run: id("run", "first"),
      principal,
      attributesOf: ({ type, id }) => own(own(entities, type) ?? {}, id) ?? {},
    };
    this.#play = new GivenPlay(policy.compiled, policy.ref, this.#stage, sha256);
  }

  /** Decides a request, and tells how that came about. Opens its run where it names a new one. */
  ask(wire: AskedWire, now: Instant, ttlMs?: number): Answer {
    const request = this.#requestOf(wire, now, ttlMs);
    // The gates that are shown must look at what decides: what has run out by then has, and what sessions share is this one's own.
    const { ask, findings } = this.#play.judge(request, now);
    const at = this.#play.book.clock;
    const { principal, tenant, session, agent } = this.#stage;
    const stored = (ref: { readonly type: string; readonly id: string }) => this.#stage.attributesOf?.(ref) ?? {};
    const explanation = explain({
      policy: this.#policy.compiled,
      document: this.#policy.document,
      book: this.#play.book,
      findings,
      around: circumstancesOf({ tenant, session, agent, principal, request, stored, now: at, isTopup: false, sha256, budget: workBudget() }),
      ask: { ...ask, budget: workBudget() },
    });
    return { ...this.#play.decide(request, now), explanation };
  }

  /** A call that was made whatever the policy says: it counts, and is looked back at. */
  give(wire: AskedWire, now: Instant, ttlMs?: number): Decision {
    const request = this.#requestOf(wire, now, ttlMs);
    return this.#play.given(() => this.#play.decide(request, now).decision);
  }

  /** What became of an allowed call. `null`: nothing that could go wrong. */
  become({ id: decided, reservation }: Decision, call: Earlier | Step, now: Instant): Refusal | null {
    const outcome = call.outcome ?? "success";
    if (outcome === "pending") return null;
    if (outcome === "expired") {
      this.#play.pass(now + EXPIRES_MS);
      return null;
    }
    const told: Result<unknown, Refusal> =
      outcome === "released"
        ? this.#play.release(decided, now)
        : this.#play.commit(
            decided,
            {
              costMicroUsd: call.cost_usd ?? reservation?.amountMicroUsd ?? microUsdOf(0),
              outcome,
              durationMs: null,
              outputs: call.outputs,
              error: null,
              usage: null,
            },
            now,
          );
    return told.ok ? null : told.error;
  }

  #requestOf(own: AskedWire, now: Instant, ttlMs: number | undefined): ActionRequest {
    const wire: AskedWire = { ...this.#setting.defaults, ...own };
    const usage =
      wire.usage === undefined
        ? null
        : {
            inputTokens: wire.usage.input_tokens ?? 0,
            outputTokens: wire.usage.output_tokens ?? 0,
            cacheReadTokens: wire.usage.cache_read_tokens ?? 0,
            cacheWriteTokens: wire.usage.cache_write_tokens ?? 0,
          };
    return {
      id: id("dec", `request ${this.#requests++}`),
      run: wire.run === undefined ? null : this.#runNamed(wire.run, now),
      action: wire.action,
      resource: wire.resource ?? null,
      tags: wire.tags ?? [],
      riskLevel: wire.risk_level ?? null,
      inputs: wire.inputs,
      inputsDigest: wire.inputs_digest ?? null,
      rationale: wire.rationale ?? null,
      confidence: wire.confidence ?? null,
      sources: wire.sources ?? [],
      parents: wire.parents ?? [],
      model: wire.model ?? null,
      approval: null,
      ttlMs: wire.ttl_ms ?? ttlMs ?? DECISION_TTL_MS,
      ...priced(genaiPrices, wire.model ?? null, wire.estimate_usd ?? null, usage, now),
    };
  }

  /** A session begins with a run, which its very first request may name. */
  #runNamed(name: string, now: Instant): RunId {
    const known = this.#runs.get(name);
    if (known !== undefined) return known;
    const run = this.#requests === 1 ? this.#stage.run : id("run", `run ${name}`);
    if (run !== this.#stage.run) this.#play.openRun(run, now);
    this.#runs.set(name, run);
    return run;
  }
}

const EXPIRES_MS = 1;

/** How long the reservation of a call stands, given what became of it. */
export const ttlOf = ({ outcome }: Pick<Earlier, "outcome">): number | undefined =>
  outcome === "pending" ? LONGEST_MS : outcome === "expired" ? EXPIRES_MS : undefined;

/** A play in which some calls are given: whatever the policy says of them counts for nothing, and what it keeps of them is kept. */
class GivenPlay extends Play {
  #given = false;

  given<T>(act: () => T): T {
    this.#given = true;
    try {
      return act();
    } finally {
      this.#given = false;
    }
  }

  override evaluate(...args: Parameters<Play["evaluate"]>): Findings {
    const findings = super.evaluate(...args);
    return this.#given ? unopposed(findings) : findings;
  }
}

const ENDLESS = Number.MAX_SAFE_INTEGER;

/** Limits stay, so that the call is counted by them, and are never reached. */
const unopposed = (findings: Findings): Findings => ({
  ...findings,
  deniedBy: null,
  listed: true,
  permits: [],
  rules: [],
  argumentsFault: null,
  argumentsUnseen: false,
  requirements: [],
  loops: findings.loops.map((loop) => ({ ...loop, threshold: ENDLESS })),
  retries: [],
  concurrency: [],
  rates: findings.rates.map((rate) => ({ ...rate, max: ENDLESS })),
  priceUnknown: false,
  budgets: findings.budgets.map((budget) => ({ ...budget, limitMicroUsd: microUsdOf(ENDLESS) })),
  alerts: [],
  hold: null,
});

const own = <T>(record: { readonly [key: string]: T }, key: string): T | undefined => (Object.hasOwn(record, key) ? record[key] : undefined);

/** The same session is played the same way every time. */
const id = <P extends "ses" | "run" | "dec" | "tok">(prefix: P, of: string) => idFromDigest(prefix, sha256(`policy test: ${of}`));
