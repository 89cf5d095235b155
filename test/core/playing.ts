import { type BatchSemantics, decideAll } from "../../src/core/batch.ts";
import { type Book, type Decided, type Effect, emptyBook, type Opening } from "../../src/core/book.ts";
import type { ClientLease } from "../../src/core/client_lease.ts";
import { type Ask, conclude, type Judgement, judge } from "../../src/core/conclude.ts";
import type { Decision } from "../../src/core/decision.ts";
import type { SealedEntry } from "../../src/core/entry.ts";
import { matchesGlob } from "../../src/core/glob.ts";
import { type Granting, grantLease } from "../../src/core/grant_lease.ts";
import { type DecisionId, idFromDigest, type LeaseId, type RunId } from "../../src/core/ids.ts";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { type MicroUsd, parseUsd, ZERO_USD } from "../../src/core/money.ts";
import { circumstancesOf } from "../../src/core/policy/circumstances.ts";
import { type CompiledPolicy, compilePolicy } from "../../src/core/policy/compile.ts";
import type { PolicyDocument } from "../../src/core/policy/document.ts";
import { evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import { ExpressionMemory } from "../../src/core/policy/expressions.ts";
import { type Findings, type LeaseFindings, type Price, workBudget } from "../../src/core/policy/findings.ts";
import { leaseFindings } from "../../src/core/policy/leasable.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { Play, type Stage } from "../../src/core/policy/play.ts";
import type { ActionRequest, CommitReport, RiskLevel } from "../../src/core/request.ts";
import { commit, type DecisionRecord, reconsidered, recordOf, release, topup } from "../../src/core/settle.ts";
import { settleLease } from "../../src/core/settle_lease.ts";
import { type Trace, Trail, type TrailSource, withOutputs } from "../../src/core/trail.ts";
import { happen, openTurn, type Turn } from "../../src/core/turn.ts";
import { sha256 } from "./sha256.ts";

export const RUN: RunId = "run_00000000-0000-7000-8000-000000000001";
export const SECOND_RUN: RunId = "run_00000000-0000-7000-8000-000000000002";
export const PRINCIPAL = { tokenId: "tok_00000000-0000-7000-8000-000000000001", tenant: "t", subject: "bot", kind: "agent" } as const;
export const REF = { name: "p", version: 1, digest: `sha-256:${"a".repeat(64)}` } as const;

export const usd = (text: string): MicroUsd => {
  const parsed = parseUsd(text);
  if (!parsed.ok) throw new Error(`no amount: ${text}`);
  return parsed.value;
};

/** A policy as its author writes it; a mistake in it fails the test with the parser's words. */
export function documentOf(policy: string | object): PolicyDocument {
  const parsed = typeof policy === "string" ? parsePolicy(policy, "yaml") : parsePolicy(JSON.stringify(policy), "json");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.document;
}

/** What a step says of a request, beside its action. */
export interface Asks {
  readonly in?: JsonValue;
  /** Sends the digest of `in` in its place. */
  readonly digest?: true;
  readonly usd?: string;
  readonly tags?: readonly string[];
  readonly risk?: RiskLevel;
  readonly resource?: { readonly type: string; readonly id: string };
  readonly price?: Price;
  readonly ttl?: number;
  readonly run?: RunId;
}

let ids = 0;

export const requestOf = (action: string, { in: inputs, digest, usd: amount, tags, risk, resource, price, ttl, run }: Asks = {}): ActionRequest => ({
  id: idFromDigest("dec", sha256(`d${ids++}`)),
  run: run ?? null,
  action,
  resource: resource ?? null,
  estimateMicroUsd: usd(amount ?? "0"),
  price: price ?? null,
  tags: tags ?? [],
  riskLevel: risk ?? null,
  inputs: digest === true ? undefined : inputs,
  inputsDigest: digest === true ? `sha-256:${sha256(canonicalJson(inputs ?? {}))}` : null,
  rationale: null,
  confidence: null,
  sources: [],
  parents: [],
  model: null,
  approval: null,
  ttlMs: ttl ?? 100_000_000,
});

export const reportOf = (more: Partial<CommitReport> = {}): CommitReport => ({
  costMicroUsd: ZERO_USD,
  outcome: "success",
  durationMs: null,
  outputs: undefined,
  error: null,
  usage: null,
  ...more,
});

/** What came out, on one line: verdict, reason, rule, how far it stops; after `~` each warning. */
export function lineOf({ verdict, reason, stops, warnings }: Pick<Decision, "verdict" | "reason" | "stops" | "warnings">): string {
  const main = verdict === "allow" ? ["allow"] : [verdict, reason.code, reason.rule ?? ""];
  const far = stops === "run" || stops === "session" ? ["stops", stops] : [];
  const observed = warnings.map(({ code, rule }) => ["~", code, rule ?? ""].join(" ").trim());
  return [...main.filter((word) => word !== ""), ...far, ...observed].join(" ");
}

/** Keeps what a session's store keeps for rules that look back, and forgets it when the store does. */
export class TraceStore implements TrailSource {
  readonly traces = new Map<DecisionId, Trace>();
  reads = 0;

  write(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "decided" && effect.decided.trace !== null) {
        this.traces.set(effect.decided.decision.id, effect.decided.trace);
      } else if (effect.kind === "changed") {
        this.#change(effect.id, { amountMicroUsd: effect.reservation.amountMicroUsd });
      } else if (effect.kind === "settled") {
        const { outputs, losesOutputs, ...became } = effect.settled.became;
        const kept = this.traces.get(effect.settled.id)?.kept ?? null;
        this.#change(effect.settled.id, { ...became, kept: kept === null ? null : withOutputs(kept, { outputs, losesOutputs }) });
      }
    }
  }

  #change(id: DecisionId, change: Partial<Trace>): void {
    const known = this.traces.get(id);
    if (known !== undefined) this.traces.set(id, { ...known, ...change });
  }

  calls(pattern: string, since: number): readonly Trace[] {
    this.reads++;
    return [...this.traces.values()].filter(({ action, at }) => at > since && matchesGlob(pattern, action));
  }

  failures(action: string, since: number): readonly number[] {
    this.reads++;
    const failed = [...this.traces.values()].filter((trace) => trace.action === action && trace.outcome === "error");
    return failed.flatMap(({ endedAt }) => (endedAt !== null && endedAt > since ? [endedAt] : [])).sort((a, b) => a - b);
  }
}

/** A session over the pure core, whose policy can change, and which shows all that it wrote. */
export class Playing {
  book: Book;
  readonly records = new Map<string, DecisionRecord>();
  readonly ledger: SealedEntry[] = [];
  readonly decided: Decided[] = [];
  readonly leases = new Map<LeaseId, ClientLease>();
  readonly store: TraceStore | null;
  readonly #conditions = new ExpressionMemory();
  #document: PolicyDocument;
  #policy: CompiledPolicy;
  #entries = 0;

  constructor(policy: string | object, { stored = false, budget = null }: { stored?: boolean; budget?: string | null } = {}) {
    this.store = stored ? new TraceStore() : null;
    this.#document = documentOf(policy);
    this.#policy = compilePolicy(this.#document);
    this.book = emptyBook({ ...STAGE, budgetMicroUsd: budget === null ? null : usd(budget) }, new Trail(this.store));
    this.turn(0, (turn) => happen(turn, { kind: "run_opened", run: RUN }));
  }

  /** From here on another policy is in force. */
  use(policy: string | object): void {
    this.useStored(documentOf(policy));
  }

  /** The same with a document as it is stored, which nobody parses again. */
  useStored(document: PolicyDocument): void {
    this.#document = document;
    this.#policy = compilePolicy(document);
  }

  /** Forgets what is only in memory, as an evicted object does. */
  evict(): void {
    this.book = { ...this.book, trail: new Trail(this.store) };
  }

  turn<T>(now: number, act: (turn: Turn) => T): T {
    const turn = openTurn(this.book, now, { sha256, fresh: () => this.#fresh() });
    this.#keep(turn);
    const result = act(turn);
    this.#keep(turn);
    return result;
  }

  findings(request: ActionRequest, now: number, isTopup = false): Findings {
    const { tenant, session, agent } = STAGE;
    return evaluatePolicy(
      this.#policy,
      REF,
      request,
      circumstancesOf({ tenant, session, agent, principal: PRINCIPAL, request, stored: attributesOf, now, isTopup, sha256, budget: workBudget() }),
    );
  }

  askOf(request: ActionRequest, now: number, isTopup = false): Ask {
    const evaluation = { kind: "findings", findings: this.findings(request, now, isTopup) } as const;
    return {
      request,
      principal: PRINCIPAL,
      evaluation,
      lease: { fresh: true, policy: REF, orders: [] },
      tenant: "heard",
      presented: "none",
      conditions: this.#conditions,
      budget: workBudget(),
    };
  }

  /** What would come out, with nothing done. */
  judge(request: ActionRequest, now: number): Judgement {
    return judge(this.book, this.askOf(request, now), now, sha256);
  }

  decide(request: ActionRequest, now: number): Decision {
    return this.turn(now, (turn) => {
      const ask = this.askOf(request, turn.now);
      return conclude(turn, ask, judge(turn.book, ask, turn.now, turn.sha256), "");
    });
  }

  batch(requests: readonly ActionRequest[], semantics: BatchSemantics, now: number): readonly Decision[] {
    return this.turn(now, (turn) => {
      const members = requests.map((request) => ({ ask: this.askOf(request, turn.now), fingerprint: "", prior: null }));
      const decided = decideAll(turn, members, semantics);
      if (decided.kind === "short") throw new Error("nobody is short in a session that shares with nobody");
      return decided.answers.map(({ answer }) => answer);
    });
  }

  commit(id: DecisionId, report: Partial<CommitReport>, now: number) {
    return this.turn(now, (turn) => commit(turn, this.record(id), PRINCIPAL, reportOf(report), canonicalJson({ ...report })));
  }

  release(id: DecisionId, now: number, reason: string | null = null) {
    return this.turn(now, (turn) => release(turn, this.record(id), PRINCIPAL, reason, ""));
  }

  /** Asks for a new sum as the gateway does: with what was kept of the request. */
  topup(id: DecisionId, amount: string, now: number) {
    const again = reconsidered(this.record(id));
    const request = { ...requestOf(again.action, { usd: amount }), ...again, id };
    return this.turn(now, (turn) => {
      const told = topup(turn, this.record(id), this.askOf(request, turn.now, true));
      if (!told.ok) return told;
      if ("shorts" in told.value) throw new Error("nobody is short in a session that shares with nobody");
      return { ok: true as const, value: told.value };
    });
  }

  /** What the policy says of a lease. */
  leaseFindings(actions: readonly string[], amountMicroUsd: MicroUsd): LeaseFindings {
    return leaseFindings(this.#document, this.#policy, REF, { actions, amountMicroUsd });
  }

  grantLease(actions: readonly string[], amountMicroUsd: MicroUsd, now: number, ttlMs = 100_000_000, run: RunId | null = null): Granting {
    const request = { id: idFromDigest("lse", sha256(`l${ids++}`)), run, actions, amountMicroUsd, ttlMs, endsBy: Number.MAX_SAFE_INTEGER };
    const evaluation = { kind: "findings", findings: this.leaseFindings(actions, amountMicroUsd) } as const;
    const lease = { fresh: true, policy: REF, orders: [] };
    return this.turn(now, (turn) => grantLease(turn, { request, principal: PRINCIPAL, lease, evaluation, allowed: true, tenant: "heard" }));
  }

  /** Tells what was done with a lease; `known`: these were told before. */
  settleLease(id: LeaseId, told: readonly { readonly request: ActionRequest; readonly cost: MicroUsd }[], final: boolean, now: number) {
    return this.turn(now, (turn) => {
      const lease = this.leases.get(id);
      if (lease === undefined) throw new Error(`no lease ${id}`);
      const actions = told.map(({ request, cost }, place) => ({
        pointer: `/entries/${place}`,
        request,
        report: { ...reportOf(), costMicroUsd: cost },
        decidedAt: null,
        fingerprint: `${cost}`,
        findings: this.findings(request, now),
        known: this.records.has(request.id) ? `${this.record(request.id).postedMicroUsd}` : null,
      }));
      return settleLease(turn, lease, { actions, final, principal: PRINCIPAL });
    });
  }

  openRun(run: RunId, now: number): void {
    this.turn(now, (turn) => happen(turn, { kind: "run_opened", run }));
  }

  record(id: string): DecisionRecord {
    const found = this.records.get(id);
    if (found === undefined) throw new Error(`no decision ${id}`);
    return found;
  }

  #keep(turn: Turn): void {
    const effects = turn.effects.splice(0);
    this.store?.write(effects);
    for (const effect of effects) {
      if (effect.kind === "recorded") this.ledger.push(effect.sealed);
      if (effect.kind === "lease") this.leases.set(effect.lease.id, effect.lease);
      if (effect.kind === "decided") {
        this.decided.push(effect.decided);
        this.records.set(effect.decided.decision.id, recordOf(effect.decided));
      }
      if (effect.kind === "settled") this.records.set(effect.settled.id, { ...this.record(effect.settled.id), ...effect.settled });
      if (effect.kind === "changed")
        this.records.set(effect.id, { ...this.record(effect.id), reservation: effect.reservation, pieces: effect.pieces });
    }
  }

  #fresh(): { entryId: ReturnType<typeof idFromDigest<"ent">>; salt: string } {
    return { entryId: idFromDigest("ent", sha256(`e${this.#entries++}`)), salt: "0".repeat(32) };
  }
}

/** What is stored of those whom rules ask about. */
function attributesOf({ type, id }: { readonly type: string; readonly id: string }): { readonly [attribute: string]: JsonValue } {
  // Who or what it is, is never what is stored of it.
  if (type === "agent" && id === "bot") return { team: "red", id: "ann" };
  return type === "order" ? { owner: id === "o1" ? "bot" : "ann", id: "o9", type: "none" } : {};
}

const STAGE: Opening = {
  tenant: "t",
  session: "ses_00000000-0000-7000-8000-000000000001",
  agent: "bot",
  openedAt: 0,
  expiresAt: 1_000_000_000,
  budgetMicroUsd: null,
  run: RUN,
};

/** One step of a scenario: at an instant, in milliseconds; what it decides is compared with `says`. Decisions are named by their number, from 0. */
export type Step =
  | { readonly kind: "ask"; readonly at: number; readonly action: string; readonly asks: Asks; readonly says: string }
  | { readonly kind: "topup"; readonly at: number; readonly of: number; readonly usd: string; readonly says: string }
  | { readonly kind: "commit"; readonly at: number; readonly of: number; readonly report: Partial<CommitReport> }
  | { readonly kind: "release"; readonly at: number; readonly of: number }
  | { readonly kind: "run"; readonly at: number; readonly run: RunId };

export const ask = (at: number, action: string, asks: Asks, says: string): Step => ({ kind: "ask", at, action, asks, says });
export const done = (at: number, of: number, outputs?: JsonValue, cost = "0"): Step => ({
  kind: "commit",
  at,
  of,
  report: { outputs, costMicroUsd: usd(cost) },
});
export const failed = (at: number, of: number): Step => ({ kind: "commit", at, of, report: { outcome: "error", error: "no" } });
export const released = (at: number, of: number): Step => ({ kind: "release", at, of });
export const more = (at: number, of: number, amount: string, says: string): Step => ({ kind: "topup", at, of, usd: amount, says });
export const newRun = (at: number, run: RunId): Step => ({ kind: "run", at, run });

export type Row = readonly [what: string, policy: string | object, steps: readonly Step[]];

/** The lines that come out of a scenario, and those that should. The same session is played by `Play`, and once more with its past in a store. */
export function scenario(policy: string | object, steps: readonly Step[]): { readonly wanted: readonly string[]; readonly found: readonly Lines[] } {
  const wanted = steps.flatMap((step) => ("says" in step ? [step.says] : []));
  const evicted = new Playing(policy, { stored: true });
  return {
    wanted,
    found: [
      { by: "the core", lines: played(new Playing(policy), steps, () => undefined) },
      { by: "the core, forgetting after each step", lines: played(evicted, steps, () => evicted.evict()) },
      { by: "Play", lines: playedByPlay(policy, steps) },
    ],
  };
}

interface Lines {
  readonly by: string;
  readonly lines: readonly string[];
}

function played(playing: Playing, steps: readonly Step[], after: () => void): readonly string[] {
  const asked: DecisionId[] = [];
  const idOfStep = (of: number): DecisionId => asked[of] ?? missing(of);
  return steps.flatMap((step): string[] => {
    after();
    switch (step.kind) {
      case "ask": {
        const decision = playing.decide(requestOf(step.action, step.asks), step.at);
        asked.push(decision.id);
        return [lineOf(decision)];
      }
      case "topup": {
        const told = playing.topup(idOfStep(step.of), step.usd, step.at);
        return [told.ok ? lineOf(told.value) : told.error.code];
      }
      case "commit":
        playing.commit(idOfStep(step.of), step.report, step.at);
        break;
      case "release":
        playing.release(idOfStep(step.of), step.at);
        break;
      case "run":
        playing.openRun(step.run, step.at);
    }
    return [];
  });
}

export function playOf(policy: string | object): Play {
  const stage: Stage = { ...STAGE, principal: PRINCIPAL, attributesOf };
  return new Play(compilePolicy(documentOf(policy)), REF, stage, sha256);
}

function playedByPlay(policy: string | object, steps: readonly Step[]): readonly string[] {
  const play = playOf(policy);
  const asked: ActionRequest[] = [];
  const requestOfStep = (of: number): ActionRequest => asked[of] ?? missing(of);
  return steps.flatMap((step): string[] => {
    switch (step.kind) {
      case "ask": {
        const request = requestOf(step.action, step.asks);
        asked.push(request);
        return [lineOf(play.decide(request, step.at).decision)];
      }
      case "topup": {
        const told = play.topup(requestOfStep(step.of).id, usd(step.usd), step.at);
        return [told.ok ? lineOf(told.value) : told.error.code];
      }
      case "commit":
        play.commit(requestOfStep(step.of).id, reportOf(step.report), step.at);
        break;
      case "release":
        play.release(requestOfStep(step.of).id, step.at);
        break;
      case "run":
        play.openRun(step.run, step.at);
    }
    return [];
  });
}

function missing(of: number): never {
  throw new Error(`there is no step ${of}`);
}
