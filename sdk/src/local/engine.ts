import type { Approval } from "../../../src/core/approvals.ts";
import type { DecisionId, RunId } from "../../../src/core/ids.ts";
import { isId } from "../../../src/core/ids.ts";
import { addUsd, formatUsd } from "../../../src/core/money.ts";
import { heldState } from "../../../src/core/standing.ts";
import { formatInstant } from "../../../src/core/time.ts";
import type * as surface from "../surface.ts";
import type { ActionRequest, CommitReport, DecisionAnswer, DecisionNow, PolicyRef, SessionDetail, Settlement, UsdInput } from "../surface.ts";
import { balanceOf, decisionAnswer, settlementOf } from "./answer.ts";
import { answered } from "./answered.ts";
import { Authority } from "./authority.ts";
import { assertKnown } from "./guard.ts";
import { readLocalPolicy } from "./policy_source.ts";
import { LocalRefusedError } from "./refused_error.ts";
import { microUsd, readReport, readRequest } from "./request.ts";
import { fastUuid } from "./uuid.ts";

export interface LocalEngineOptions {
  /** What is allowed: the text of a policy (YAML or JSON), or its document. Without one everything is denied with `policy_missing`. */
  readonly policy?: string | object | null | undefined;
  /** Whose session it is. Default `"local"`. */
  readonly agent?: string | undefined;
  /** A cap on what the session may spend, which can only tighten the policy's. */
  readonly budgetUsd?: UsdInput | undefined;
  /** Milliseconds since 1970. Default `Date.now`. The engine's clock never goes back. */
  readonly now?: (() => number) | undefined;
  /** Makes the UUIDs of ids that callers do not make. */
  readonly newId?: (() => string) | undefined;
}

/**
 * One session decided in this process, at once and in memory, by the gateway's own code: the same verdicts, reasons and balances. What agents and
 * tenants share at a gateway is this session's alone here, prices of models are not known, and what is held waits for `answer`. Refuses what the
 * gateway refuses with a `LocalRefusedError` of the same code.
 */
export class LocalEngine {
  readonly session: string;
  readonly agent: string;
  readonly #authority: Authority;
  readonly #newId: () => string;
  #versions = 0;

  /** Throws a `TypeError` for an option that is none: a misspelt cap would cap nothing. */
  constructor(options: LocalEngineOptions = {}) {
    assertKnown(options, OPTIONS, "make an engine");
    const { policy = null, agent = "local", budgetUsd, now = Date.now, newId } = options;
    this.#newId = newId ?? (() => fastUuid(now()));
    const session = `ses_${this.#newId()}` as const;
    this.session = session;
    this.agent = agent;
    const budgetMicroUsd = budgetUsd === undefined ? null : microUsd(budgetUsd, "budgetUsd");
    this.#authority = new Authority({ tenant: "local", session, agent, run: `run_${this.#newId()}`, now, budgetMicroUsd });
    if (policy !== null) this.use(policy);
  }

  /** The current run: what is asked for without naming one belongs to it. */
  get run(): string {
    return this.#authority.book.currentRun;
  }

  /** The policy in force. `null`: none, and everything is denied. */
  get policy(): PolicyRef | null {
    return this.#authority.policy?.ref ?? null;
  }

  /** The policy in force as a document, which can be put in force again. `null`: none is. */
  get document(): object | null {
    return this.#authority.policy?.document ?? null;
  }

  /**
   * Puts a policy in force, whole, from the next decision on; `null` takes it away, and then everything is denied. What was spent stays spent. One
   * with a mistake is refused (`policy_invalid`), and what was in force stays.
   */
  use(policy: string | object | null): PolicyRef | null {
    const read = policy === null ? null : readLocalPolicy(policy, this.#versions + 1, "use the policy");
    if (read !== null) this.#versions++;
    this.#authority.use(read);
    return read?.ref ?? null;
  }

  /** What the session has spent and may spend, as a gateway tells of it: every budget, its current run, and what was decided. */
  standing(): Pick<SessionDetail, "budgets" | "totals"> {
    const balances = this.#authority.balances();
    const { total, windDown, preventedMicroUsd, counts } = this.#authority.book;
    const both = (part: "postedMicroUsd" | "pendingMicroUsd" | "overrunMicroUsd"): string => formatUsd(addUsd(total[part], windDown[part]));
    return {
      budgets: balances.map(balanceOf).map((each) => ({ ...each, leasedUsd: each.leasedUsd ?? "0", resetsAt: each.resetsAt ?? null })),
      totals: {
        postedUsd: both("postedMicroUsd"),
        pendingUsd: both("pendingMicroUsd"),
        overrunUsd: both("overrunMicroUsd"),
        preventedUsd: formatUsd(preventedMicroUsd),
        decisions: { ...counts },
      },
    };
  }

  /** Decides whether an action may run, and reserves its estimate if so. A no is an answer, not an error. The same id always gets the same answer. */
  decide(request: ActionRequest): DecisionAnswer {
    const { id = `dec_${this.#newId()}` } = request;
    return decisionAnswer(answered(`decide "${request.action}"`, this.#authority.decide(readRequest(request, id, []))));
  }

  /** Takes the caller's word for what an action cost. Repeating it is harmless; above the reservation it is an overrun. */
  commit(decisionId: string, report: CommitReport): Settlement {
    return settled(`commit ${decisionId}`, this.#authority.commit(asDecision(decisionId), readReport(report), JSON.stringify(report)));
  }

  /** Gives a reservation back whole, because the action did not run. */
  release(decisionId: string, { reason }: { readonly reason?: string | undefined } = {}): Settlement {
    return settled(`release ${decisionId}`, this.#authority.release(asDecision(decisionId), reason ?? null));
  }

  /** Keeps a reservation standing for `ttlMs` from now. */
  extend(decisionId: string, ttlMs: number): Settlement {
    return settled(`extend ${decisionId}`, this.#authority.extend(asDecision(decisionId), ttlMs));
  }

  /** Asks for more while an action runs. `estimateUsd` is the new sum; the answer may be a no, and then the old sum stands. */
  topup(decisionId: string, estimateUsd: UsdInput): DecisionAnswer {
    const wanted = microUsd(estimateUsd, "estimateUsd");
    return decisionAnswer(answered(`top up ${decisionId}`, this.#authority.topup(asDecision(decisionId), wanted)));
  }

  /** How a decision stands. Refused (`not_found`) where it is not known, or not any more. */
  read(decisionId: string): DecisionNow {
    this.#authority.pass();
    const record = this.#authority.read(asDecision(decisionId));
    if (record === null)
      throw new LocalRefusedError(`read ${decisionId}`, { code: "not_found", detail: "there is no such decision in this session" });
    const { decision, state, postedMicroUsd, overrunMicroUsd } = record;
    const answer = decisionAnswer(decision);
    const approval = decision.approval === null ? null : this.#authority.approval(decision.approval.id);
    return {
      ...answer,
      ...(approval !== null && { approval: approvalOf(approval) }),
      state: state === "held" ? heldState(approval?.status ?? "expired") : state,
      postedUsd: formatUsd(postedMicroUsd),
      overrunUsd: formatUsd(overrunMicroUsd),
    };
  }

  /**
   * Takes a person's answer to a decision that is held. What was approved runs when it is asked for again with the approval's id. Refuses what the
   * gateway refuses: an answer of the agent's own, of who is not among the approvers, or to what is closed.
   */
  answer(decisionId: string, decision: "approve" | "reject", { subject, scopes = [], note = null }: PersonAtHand): DecisionNow {
    const id = asDecision(decisionId);
    answered(`${decision} ${decisionId}`, this.#authority.answer(id, { decision, subject, scopes, note }));
    return this.read(id);
  }

  /** Opens the next run and makes it the current one. What the session has spent stays spent. */
  startRun(): string {
    const run: RunId = `run_${this.#newId()}`;
    this.#authority.openRun(run);
    return run;
  }

  /** Closes a run: what is asked for in it from now on is denied. */
  closeRun(run: string): void {
    if (isId("run", run)) this.#authority.closeRun(run);
  }

  /** Closes the session: what is asked for in it from now on is denied. */
  close(): void {
    this.#authority.close();
  }
}

const OPTIONS: readonly string[] = ["policy", "agent", "budgetUsd", "now", "newId"] satisfies (keyof LocalEngineOptions)[];

/** Who answers what is held. */
export interface PersonAtHand {
  readonly subject: string;
  /** What the person may do, where the policy names approvers by scope. */
  readonly scopes?: readonly string[] | undefined;
  readonly note?: string | null | undefined;
}

const approvalOf = ({ id, status, expiresAt }: Approval): surface.Approval => ({ id, url: "", expiresAt: formatInstant(expiresAt), status });

const settled = (what: string, told: ReturnType<Authority["commit"]>): Settlement => settlementOf(answered(what, told).settlement);

/** An id of another form is simply not known. */
const asDecision = (id: string): DecisionId => (isId("dec", id) ? id : "dec_");
