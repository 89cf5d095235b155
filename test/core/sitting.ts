import type { Approval } from "../../src/core/approvals.ts";
import { type Book, type Decided, type Effect, emptyBook, type Opening } from "../../src/core/book.ts";
import { type Ask, conclude, type Judgement, judge } from "../../src/core/conclude.ts";
import type { Decision } from "../../src/core/decision.ts";
import type { SealedEntry } from "../../src/core/entry.ts";
import { type DecisionId, idFromDigest, type RunId } from "../../src/core/ids.ts";
import { microUsdOf, ZERO_USD } from "../../src/core/money.ts";
import type { Findings, SharedLimit } from "../../src/core/policy/findings.ts";
import type { ActionRequest, CommitReport } from "../../src/core/request.ts";
import { commit, type DecisionRecord, type Reconsidered, reconsidered, release, topup } from "../../src/core/settle.ts";
import { type Slice, sliceKey, spanOf } from "../../src/core/shares.ts";
import { Trail } from "../../src/core/trail.ts";
import { happen, openTurn, type Turn } from "../../src/core/turn.ts";
import { ENDLESS, NO_CONDITIONS, NOT_ASKED, noFindings } from "./nothing.ts";
import { sha256 } from "./sha256.ts";

export const RUN: RunId = "run_00000000-0000-7000-8000-000000000001";
export const POLICY = { name: "p", version: 1, digest: `sha-256:${"a".repeat(64)}` } as const;
export const PRINCIPAL = { tokenId: "tok_00000000-0000-7000-8000-000000000001", tenant: "t", subject: "bot", kind: "agent" } as const;
export const EXPIRES_AT = 100_000_000;

const OPENING: Opening = {
  tenant: "t",
  session: "ses_00000000-0000-7000-8000-000000000001",
  agent: "bot",
  openedAt: 0,
  expiresAt: EXPIRES_AT,
  budgetMicroUsd: null,
  run: RUN,
};

/** What a row says of a request and of what a policy finds in it, beyond nothing. */
export interface Put {
  readonly request?: Partial<ActionRequest>;
  /** In micro-USD. */
  readonly costs?: number;
  readonly finds?: Partial<Findings>;
  readonly around?: Partial<Ask>;
}

/** A session to which findings are put as they are, without a policy that would say them. */
export class Sitting {
  readonly book: Book;
  readonly ledger: SealedEntry[] = [];
  readonly decided: Decided[] = [];
  /** How much was drawn of what is fresh: once for every entry that was made. */
  drawn = 0;
  /** How often the book was copied, for something to be tried. */
  trials = 0;
  readonly #records = new Map<DecisionId, DecisionRecord>();
  #ids = 0;

  constructor(opening: Partial<Opening> = {}) {
    const trail = new Trail(null);
    const fork = trail.fork.bind(trail);
    trail.fork = () => {
      this.trials++;
      return fork();
    };
    this.book = emptyBook({ ...OPENING, ...opening }, trail);
    this.turn(0, (turn) => happen(turn, { kind: "run_opened", run: RUN }));
  }

  turn<T>(now: number, act: (turn: Turn) => T): T {
    const fresh = () => ({ entryId: idFromDigest("ent", sha256(`e${this.drawn++}`)), salt: "0".repeat(32) });
    const turn = openTurn(this.book, now, { sha256, fresh });
    const result = act(turn);
    this.#keep(turn.effects);
    return result;
  }

  ask({ request = {}, costs = 0, finds = {}, around = {} }: Put = {}): Ask {
    const asked: ActionRequest = {
      ...NOT_ASKED,
      id: idFromDigest("dec", sha256(`d${this.#ids++}`)),
      run: null,
      action: "pay",
      estimateMicroUsd: microUsdOf(costs),
      rationale: null,
      confidence: null,
      sources: [],
      parents: [],
      model: null,
      approval: null,
      ttlMs: 60_000,
      ...request,
    };
    return {
      request: asked,
      principal: PRINCIPAL,
      evaluation: { kind: "findings", findings: { ...noFindings(POLICY), estimateMicroUsd: asked.estimateMicroUsd, ...finds } },
      conditions: NO_CONDITIONS,
      budget: ENDLESS,
      tenant: "heard",
      lease: { fresh: true, policy: POLICY, orders: [] },
      presented: "none",
      ...around,
    };
  }

  judge(put: Put = {}, now = 0): Judgement {
    return judge(this.book, this.ask(put), now, sha256);
  }

  decide(put: Put = {}, now = 0): Decision {
    return this.turn(now, (turn) => {
      const ask = this.ask(put);
      return conclude(turn, ask, judge(turn.book, ask, turn.now, sha256), "f");
    });
  }

  /** What the tenant has let this session spend of an account, in the stretch that is now. */
  give(limit: SharedLimit, allowance: number, more: Partial<Slice> = {}): void {
    const { shares } = this.book;
    const { startsAt } = spanOf(shares, limit.window);
    const others = { postedMicroUsd: ZERO_USD, pendingMicroUsd: ZERO_USD, leasedMicroUsd: ZERO_USD };
    shares.slices.set(sliceKey(limit), { ...limit, startsAt, allowanceMicroUsd: microUsdOf(allowance), others, isExact: false, ...more });
  }

  commit(id: DecisionId, costs: number, now = 0, report: Partial<CommitReport> = {}, fingerprint = "told") {
    const told: CommitReport = {
      costMicroUsd: microUsdOf(costs),
      outcome: "success",
      durationMs: null,
      outputs: undefined,
      error: null,
      usage: null,
      ...report,
    };
    return this.turn(now, (turn) => commit(turn, this.record(id), PRINCIPAL, told, fingerprint));
  }

  release(id: DecisionId, now = 0, reason: string | null = null, fingerprint = "told") {
    return this.turn(now, (turn) => release(turn, this.record(id), PRINCIPAL, reason, fingerprint));
  }

  topup(id: DecisionId, costs: number, now = 0, put: Omit<Put, "costs"> = {}) {
    const again: Reconsidered = reconsidered(this.record(id));
    const ask = this.ask({ ...put, costs, request: { id, action: again.action, run: again.run, ...put.request } });
    return this.turn(now, (turn) => topup(turn, this.record(id), ask));
  }

  /** Asks, is held, and gives the approval that now waits. */
  held(put: Put = {}, now = 0): Approval {
    const { approval } = this.decide({ ...put, finds: { hold: { rule: "/approvals/actions" }, ...put.finds } }, now);
    const found = approval === null ? undefined : this.book.approvals.get(approval.id);
    if (found === undefined) throw new Error("no person was asked");
    return found;
  }

  record(id: DecisionId): DecisionRecord {
    const found = this.#records.get(id);
    if (found === undefined) throw new Error(`no decision ${id}`);
    return found;
  }

  #keep(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "recorded") this.ledger.push(effect.sealed);
      if (effect.kind === "decided") {
        this.decided.push(effect.decided);
        const { decision, state, matter, pieces } = effect.decided;
        const nothing = { postedMicroUsd: ZERO_USD, overrunMicroUsd: ZERO_USD, told: null };
        this.#records.set(decision.id, { decision, state, reservation: decision.reservation, matter, pieces, ...nothing });
      }
      if (effect.kind === "settled") this.#records.set(effect.settled.id, { ...this.record(effect.settled.id), ...effect.settled });
      if (effect.kind === "changed")
        this.#records.set(effect.id, { ...this.record(effect.id), reservation: effect.reservation, pieces: effect.pieces });
    }
  }
}
