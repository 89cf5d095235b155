import { assert } from "../assert.ts";
import { type Book, type Effect, emptyBook, type Opening } from "../book.ts";
import { type Ask, conclude, type Judgement, judge, type TopupAsk } from "../conclude.ts";
import type { Decision } from "../decision.ts";
import type { Sha256 } from "../digest.ts";
import type { PresentedApproval } from "../gates.ts";
import type { DecisionId, RunId } from "../ids.ts";
import type { JsonValue } from "../json.ts";
import type { MicroUsd } from "../money.ts";
import type { Refusal } from "../refusals.ts";
import type { ActionRequest, CommitReport, Principal } from "../request.ts";
import { ok, type Result } from "../result.ts";
import { commit, type DecisionRecord, extend, NOT_ASKED_AGAIN, reconsidered, recordOf, release, type Told, topup } from "../settle.ts";
import { standAlone } from "../shares.ts";
import type { Instant } from "../time.ts";
import { Trail } from "../trail.ts";
import { happen, openTurn, type Turn } from "../turn.ts";
import { circumstancesOf, type Known } from "./circumstances.ts";
import type { CompiledPolicy } from "./compile.ts";
import { type Asked, type Circumstances, evaluatePolicy } from "./evaluate.ts";
import { ExpressionMemory } from "./expressions.ts";
import { type Evaluation, type Findings, MOST_STEPS_OF_A_CALL, type PolicyRef, type WorkBudget, workBudget } from "./findings.ts";

/** What of a request is evaluated. */
type Evaluated = Asked & Known["request"];

/** Who plays, and what is known around it. */
export interface Stage extends Opening {
  readonly principal: Principal;
  /** What is stored of a subject or a resource; nothing by default. */
  attributesOf?(ref: { readonly type: string; readonly id: string }): { readonly [attribute: string]: JsonValue };
}

/** What a play decided, and what the policy had said of the request before the state was looked at. */
export interface Played {
  readonly decision: Decision;
  readonly findings: Findings;
}

/** What would come out for a request: nothing is decided yet. */
export interface Judged {
  readonly ask: Ask;
  readonly findings: Findings;
  readonly judgement: Judgement;
}

/** To compile a condition was measured to take nearly a microsecond for each character, and a step some ten nanoseconds. */
const STEPS_PER_COMPILED_CHARACTER = 100;

/**
 * A session played without any object: the same evaluation, the same gates, the same book as in a live one, at instants that the caller names.
 * For policy tests, for explaining, and for deciding history again under another policy. Whatever is asked twice is played twice.
 */
export class Play {
  readonly book: Book;
  readonly #policy: CompiledPolicy;
  readonly #ref: PolicyRef;
  readonly #stage: Stage;
  readonly #sha256: Sha256;
  readonly #conditions = new ExpressionMemory();
  readonly #budgets: WorkBudget[] = [];
  #steps = 0;
  readonly #records = new Map<DecisionId, DecisionRecord>();

  constructor(policy: CompiledPolicy, ref: PolicyRef, stage: Stage, sha256: Sha256) {
    this.#policy = policy;
    this.#ref = ref;
    this.#stage = stage;
    this.#sha256 = sha256;
    this.book = emptyBook(stage, new Trail(null));
    this.openRun(stage.run, stage.openedAt);
  }

  /** How much work the conditions were in all, in their steps. */
  get steps(): number {
    return this.#steps + this.#conditions.compiledCharacters * STEPS_PER_COMPILED_CHARACTER;
  }

  /** Decides a request, and keeps it if it is allowed. */
  decide(request: ActionRequest, now: Instant): Played {
    return this.#turn(now, (turn) => {
      const findings = this.evaluate(request, turn.now, false);
      const ask: Ask = { ...this.#asked(findings), request };
      return { decision: conclude(turn, ask, judge(turn.book, ask, turn.now, turn.sha256), ""), findings };
    });
  }

  /** Says what would come out, and decides nothing: only time passes. `presented`: what an approval that the request names is worth. */
  judge(request: ActionRequest, now: Instant, presented: (findings: Findings) => PresentedApproval = () => "none"): Judged {
    return this.#turn(now, (turn) => {
      const findings = this.evaluate(request, turn.now, false);
      const ask: Ask = { ...this.#asked(findings), request, presented: presented(findings) };
      return { ask, findings, judgement: judge(turn.book, ask, turn.now, turn.sha256) };
    });
  }

  /** Takes a request for allowed, whatever its judgement: what happened has happened. Its money is reserved and its call counted. */
  admit({ ask, judgement }: Judged, now: Instant): Decision {
    return this.#turn(now, (turn) => {
      const allowed: Judgement = judgement.verdict === "allow" ? judgement : { ...judgement, verdict: "allow", stops: null, fund: "budgets" };
      return conclude(turn, ask, allowed, "");
    });
  }

  /** What the policy says of a request, without deciding it. */
  evaluate(request: Evaluated, now: Instant, isTopup: boolean): Findings {
    return evaluatePolicy(this.#policy, this.#ref, request, this.#around(request, now, isTopup));
  }

  /** Tells what an allowed action cost. Refuses as a live session does. */
  commit(id: DecisionId, report: CommitReport, now: Instant): Told {
    return this.#turn(now, (turn) => commit(turn, this.record(id), this.#stage.principal, report, ""));
  }

  release(id: DecisionId, now: Instant): Told {
    return this.#turn(now, (turn) => release(turn, this.record(id), this.#stage.principal, null, ""));
  }

  extend(id: DecisionId, ttlMs: number, now: Instant): Told {
    return this.#turn(now, (turn) => extend(turn, this.record(id), this.#stage.principal, ttlMs));
  }

  /** Asks for a new sum of an action that runs. */
  topup(id: DecisionId, estimateMicroUsd: MicroUsd, now: Instant): Result<Decision, Refusal> {
    return this.#turn(now, (turn) => {
      const request = { ...NOT_ASKED_AGAIN, ...reconsidered(this.record(id)), estimateMicroUsd };
      const ask: TopupAsk = { ...this.#asked(this.evaluate(request, turn.now, true)), request };
      const done = topup(turn, this.record(id), ask);
      if (!done.ok) return done;
      assert(!("shorts" in done.value), "a session that shares with nobody has nobody to ask");
      return ok(done.value);
    });
  }

  openRun(run: RunId, now: Instant): void {
    this.#turn(now, (turn) => happen(turn, { kind: "run_opened", run }));
  }

  /** Lets time pass: what runs out by then expires. */
  pass(now: Instant): void {
    this.#turn(now, () => undefined);
  }

  has(id: DecisionId): boolean {
    return this.#records.has(id);
  }

  /** A decision of this play as it stands. */
  record(id: DecisionId): DecisionRecord {
    const found = this.#records.get(id);
    assert(found !== undefined, "only what was decided in this play is looked up in it");
    return found;
  }

  /** A session that is played shares with nobody: what its limits leave of agents' and tenants' money and rates is its own. */
  #asked(findings: Findings): Omit<Ask, "request"> {
    standAlone(this.book.shares, findings, this.book.clock);
    const evaluation: Evaluation = { kind: "findings", findings };
    const { principal } = this.#stage;
    return {
      principal,
      evaluation,
      lease: { fresh: true, policy: this.#ref, orders: [] },
      presented: "none",
      conditions: this.#conditions,
      budget: this.#budget(),
      tenant: "heard",
    };
  }

  #around(request: Evaluated, now: Instant, isTopup: boolean): Circumstances {
    const { tenant, session, agent, principal } = this.#stage;
    const stored = (ref: { readonly type: string; readonly id: string }) => this.#stage.attributesOf?.(ref) ?? {};
    return circumstancesOf({ tenant, session, agent, principal, request, stored, now, isTopup, sha256: this.#sha256, budget: this.#budget() });
  }

  #budget(): WorkBudget {
    const budget = workBudget();
    this.#budgets.push(budget);
    return budget;
  }

  #turn<T>(now: Instant, act: (turn: Turn) => T): T {
    const turn = openTurn(this.book, now, { sha256: this.#sha256, fresh: null });
    // What has run out by now has its new state before anything is asked about it.
    const begun = turn.effects.length;
    this.#keep(turn.effects);
    const result = act(turn);
    this.#keep(turn.effects.slice(begun));
    for (const { steps } of this.#budgets.splice(0)) this.#steps += MOST_STEPS_OF_A_CALL - steps;
    return result;
  }

  #keep(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "decided") {
        this.#records.set(effect.decided.decision.id, recordOf(effect.decided));
      } else if (effect.kind === "settled") {
        this.#records.set(effect.settled.id, { ...this.record(effect.settled.id), ...effect.settled });
      } else if (effect.kind === "changed") {
        this.#records.set(effect.id, { ...this.record(effect.id), reservation: effect.reservation, pieces: effect.pieces });
      }
    }
  }
}
