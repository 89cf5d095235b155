import type { AgentSentinelError } from "../errors.ts";
import type { ActionFacts, ActionRequest, CommitReport, DecisionAnswer, Json, PolicyRef, Resource, Settlement, UsdInput } from "../surface.ts";
import type { Ledger } from "./ledger/ledger.ts";
import type { LedgerRecord, LedgerStore } from "./ledger/line.ts";
import type { Replay } from "./replay.ts";

/** Any function; what it takes and gives is its own. */
export type AnyFunction = (this: never, ...args: never) => unknown;

/** How a function is guarded in this process. None of it ever travels in the function's own arguments. */
export interface LocalGuardOptions<Args extends readonly unknown[] = never, Result = unknown> extends ActionFacts {
  /** 1 to 128 letters, digits, `_ - . : /`: the name that policies know it by. */
  readonly action: string;
  /** The most it may cost, reserved before it runs. Default 0. */
  readonly costUsd?: UsdInput | ((...args: Args) => UsdInput) | undefined;
  /**
   * What it did cost, from its result; for a stream, asked once it has ended. Without it, and when it fails, is cancelled or gives no
   * amount, the estimate is charged: nobody knows that it was less.
   */
  readonly actualUsd?: ((result: Awaited<Result>) => UsdInput) | undefined;
  readonly resource?: Resource | ((...args: Args) => Resource) | undefined;
  /**
   * What rules are shown of the call, and the ledger too. Default: the arguments (a single plain object as itself, anything else as the list). What
   * is no plain JSON data is never bent into shape for a rule: one that needs it denies with `inputs_required`.
   */
  readonly inputs?: ((...args: Args) => Json | undefined) | undefined;
  /** What the ledger keeps of the result, and rules that look back at `outputs` see. Default: the result; of a stream, nothing. */
  readonly outputs?: ((result: Awaited<Result>) => unknown) | undefined;
  /** Default: the run that is current where it is called. */
  readonly run?: string | undefined;
  /** Once it is aborted nothing is begun any more. */
  readonly signal?: AbortSignal | undefined;
}

/** What a guarded function is given before its arguments with `context: true`. */
export interface LocalCallContext {
  /** Under which decision it runs: the `parents` of what it leads to. */
  readonly decisionId: string;
  readonly run: string;
  /** The run's signal: aborts, with the typed error as its reason, as soon as a decision says that the run or the session is over. */
  readonly signal: AbortSignal;
  /**
   * Asks for a new sum while it runs. Throws the typed error when the answer is no, and then the old sum stands; and a `LocalRefusedError`
   * (`decision_settled`) once it has run for longer than its reservation stands (`ttlMs`).
   */
  topUp(estimateUsd: UsdInput): DecisionAnswer;
  /**
   * Calls a function within this call: what is guarded in it is of this call's run and has this call among its parents. Needed only where the
   * runtime has no `AsyncLocalStorage`, and there only after an `await`.
   */
  call<Args extends unknown[], Result>(fn: (...args: Args) => Result, ...args: Args): Result;
}

/** A run of the session: one attempt at one task, with a budget of its own and a signal that stops it. */
export interface LocalRun {
  readonly id: string;
  /** Aborts, with the typed error as its reason, once a decision says that the run or the session is over. */
  readonly signal: AbortSignal;
  /** Calls a function within this run. See `LocalCallContext.call`. */
  call<Args extends unknown[], Result>(fn: (...args: Args) => Result, ...args: Args): Result;
  /** Closes it: what is asked for in it from now on is denied. */
  close(): void;
}

/** What was spent, in USD. Reserved and not yet settled is not among it. */
export interface CostSnapshot {
  readonly sessionTotal: number;
  readonly runTotal: number;
  readonly actionCosts: { readonly [action: string]: number };
  readonly actionCounts: { readonly [action: string]: number };
}

/** Told what happens beside the calls. An observer that throws is ignored: it may not change what an action does. */
export interface LocalObservers {
  /** Every answer to `decide`, to a guard and to a top-up. */
  readonly onDecision?: ((decision: DecisionAnswer) => void) | undefined;
  /** An action has run, and the ledger could not keep how it ended. It is written before the next decision, or nothing is decided. */
  readonly onUnrecorded?: ((event: { readonly record: LedgerRecord; readonly error: unknown }) => void) | undefined;
  /** A guard's own option failed after the action had run; the estimate is charged, and what could be kept of the result is. */
  readonly onOptionFailed?: ((event: { readonly decisionId: string; readonly action: string; readonly error: unknown }) => void) | undefined;
}

export interface LocalSentinelOptions extends LocalObservers {
  /** What is allowed: the text of a policy (YAML or JSON), or its document. Without one everything is denied with `policy_missing`. */
  readonly policy?: string | object | null | undefined;
  /** Default `"local"`. */
  readonly agent?: string | undefined;
  /** A cap on what the session may spend, which can only tighten the policy's. */
  readonly budgetUsd?: UsdInput | undefined;
  /** Where every decision is written before its action runs, and how it ended afterwards. Default: nowhere. */
  readonly ledger?: LedgerStore | undefined;
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly now?: (() => number) | undefined;
  /** Makes the UUIDs of ids. */
  readonly newId?: (() => string) | undefined;
  /**
   * Gives recorded results instead of running what is guarded: at once what was given at once, as a promise what came as one. Where a guard had
   * `outputs`, the record has what those made and not the result, and that is refused (`ReplayOptions.derived`). What is not allowed now is not given either.
   */
  readonly replay?: Replay | undefined;
}

/** An agent's authority in this process. */
export interface LocalSentinel {
  readonly session: string;
  readonly agent: string;
  /** The policy in force. `null`: none, and everything is denied. */
  readonly policy: PolicyRef | null;
  /** The run that is current here: the one that `run` has opened around this code, else the one that `startRun` opened last. */
  readonly currentRun: LocalRun;
  /** Puts another policy in force, whole, from the next decision on; `null` takes it away, and everything is denied. */
  use(policy: string | object | null): PolicyRef | null;
  /** Decides, and records the decision. A no is an answer, not an error; what is allowed is settled by `commit` or `release`. */
  decide(request: ActionRequest): DecisionAnswer;
  commit(decisionId: string, report: CommitReport): Settlement;
  release(decisionId: string, options?: { readonly reason?: string | undefined }): Settlement;
  /**
   * A function of the same type that is decided before it runs and settled when it has. A no is thrown at once, also where a promise was to come, and
   * only of an `async` function a rejection. With `context: true` it is given a `LocalCallContext` first.
   */
  guard<This, Args extends unknown[], Result>(
    options: LocalGuardOptions<NoInfer<Args>, NoInfer<Result>> & { readonly context: true },
    fn: (this: This, context: LocalCallContext, ...args: Args) => Result,
  ): (this: This, ...args: Args) => Result;
  guard<Guarded extends AnyFunction>(
    options: LocalGuardOptions<Parameters<NoInfer<Guarded>>, ReturnType<NoInfer<Guarded>>> & { readonly context?: false | undefined },
    fn: Guarded,
  ): Guarded;
  /**
   * Opens the next run and makes it the current one here. What the session has spent stays spent. The run before is kept open for whoever holds it, until
   * it is closed: a program that opens many closes them, or uses `run`.
   */
  startRun(): LocalRun;
  /** Opens a run, calls `act` in it, and closes the run when what it gives is there, or read to its end. Runs side by side never see one another. */
  run<Result>(act: (run: LocalRun) => Result): Result;
  costs(): CostSnapshot;
  /** What was decided and done, line by line; `null`: none is kept. */
  readonly ledger: Ledger | null;
  /** Why the whole session stopped; `null` while it goes on. */
  readonly stopped: AgentSentinelError | null;
}
