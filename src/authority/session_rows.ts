import type { Approval } from "../core/approvals.ts";
import { assert } from "../core/assert.ts";
import type { Account, Matter } from "../core/book.ts";
import type { ClientLease } from "../core/client_lease.ts";
import type { Balance, Decision } from "../core/decision.ts";
import type { DecisionId, RunId } from "../core/ids.ts";
import { microUsdOf, ZERO_USD } from "../core/money.ts";
import type { Limit } from "../core/policy/findings.ts";
import { noPermits, type Permits, type Piece, permitKey, type Shares, type Slice, sliceKey } from "../core/shares.ts";
import type { Kept, Trace } from "../core/trail.ts";
import type { ApprovalCard } from "../flow/ports.ts";

export type AccountRow = { posted_micro_usd: number; pending_micro_usd: number; leased_micro_usd: number; overrun_micro_usd: number };

export type SessionRowStored = AccountRow & {
  tenant: string;
  id: string;
  agent: string;
  opened_at: number;
  expires_at: number;
  budget_micro_usd: number | null;
  closed: number;
  clock: number;
  seq: number;
  head_hash: string;
  run: string;
  prevented_micro_usd: number;
  allowed: number;
  denied: number;
  held: number;
  wind_down_posted_micro_usd: number;
  wind_down_pending_micro_usd: number;
  wind_down_leased_micro_usd: number;
  wind_down_overrun_micro_usd: number;
  shares: string | null;
};

export type TraceRow = {
  id: string;
  action: string;
  at: number;
  state: string;
  outcome: string | null;
  ended_at: number | null;
  kept: string | null;
  kept_until: number | null;
  reserved_micro_usd: number;
  posted_micro_usd: number;
  run: string;
};

export type ApprovalRow = { approval: string; card: string; version: number };

/** An approval as it is stored. `version` grows with every change. */
export interface ApprovalStored {
  readonly approval: Approval;
  readonly card: ApprovalCard;
  readonly version: number;
}

/** Both texts are our own, written by `SessionStore`'s `#writeApproval`. */
export const approvalOfRow = ({ approval, card, version }: ApprovalRow): ApprovalStored => ({
  approval: JSON.parse(approval) as Approval,
  card: JSON.parse(card) as ApprovalCard,
  version,
});

export type LeaseRow = { lease: string };

/** Our own text, written by `SessionStore`'s `#writeLeases`. */
export const leaseOfRow = ({ lease }: LeaseRow): ClientLease => JSON.parse(lease) as ClientLease;

export type PendingRow = { id: string; answer: string; matter: string; reserved_micro_usd: number; expires_at: number; pieces: string | null };

export type DecisionRow = {
  id: string;
  fingerprint: string;
  state: string;
  answer: string;
  matter: string | null;
  reserved_micro_usd: number | null;
  expires_at: number | null;
  posted_micro_usd: number;
  overrun_micro_usd: number;
  told_fingerprint: string | null;
  told: string | null;
  pieces: string | null;
};

/** What the answer does not already say of a decision's matter. What is as it mostly is, is left out. */
interface KeptMatter extends Pick<Matter, "tags" | "riskLevel" | "onExpiry" | "compliance"> {
  readonly fund?: "wind_down";
  readonly alerts?: Matter["alerts"];
  readonly keepOutputs?: Matter["keepOutputs"];
  readonly redaction?: Matter["redaction"];
  readonly asked?: Matter["asked"];
}

export const keptOf = ({ tags, riskLevel, onExpiry, compliance, fund, alerts, keepOutputs, redaction, asked }: Matter): KeptMatter => ({
  tags,
  riskLevel,
  onExpiry,
  compliance,
  ...(fund === "wind_down" && { fund }),
  ...(alerts.length > 0 && { alerts }),
  ...(keepOutputs.length > 0 && { keepOutputs }),
  ...(redaction !== null && { redaction }),
  ...(asked !== null && { asked }),
});

export function matterOf(decision: Decision, text: string): Matter {
  // Our own text, written by `SessionStore`'s `#rowOf`.
  const kept = JSON.parse(text) as KeptMatter;
  assert(decision.policy !== null, "what was allowed was allowed by a policy");
  const limits = decision.budgets.flatMap((balance) => limitOf(balance) ?? []);
  return {
    fund: "budgets",
    alerts: [],
    keepOutputs: [],
    redaction: null,
    asked: null,
    ...kept,
    run: decision.run,
    action: decision.action,
    policy: decision.policy,
    limits,
  };
}

/** The limit that a balance was shown under; `null` where there was none. */
function limitOf({ scope, name, window, limitMicroUsd }: Balance): Limit | null {
  if (limitMicroUsd === null) return null;
  switch (scope) {
    case "action":
      return { scope, pattern: name, limitMicroUsd };
    case "agent":
    case "tenant":
      assert(window !== undefined, "an account that sessions share has a window");
      return { scope, window: window.name, limitMicroUsd };
    case "run":
    case "session":
    case "wind_down":
      return { scope, limitMicroUsd };
  }
}

/** Money of before pieces were kept counts in no stretch any more. */
export const piecesOf = (text: string | null): readonly Piece[] => (text === null ? [] : (JSON.parse(text) as readonly Piece[]));

export const textOfShares = ({ slices, permits, ...rest }: Shares): string =>
  JSON.stringify({ ...rest, slices: [...slices.values()], permits: [...permits.values()] });

export function sharesOf(text: string): Shares {
  // Our own text, written by `textOfShares`.
  const { slices, permits, ...rest } = JSON.parse(text) as Omit<Shares, "slices" | "permits" | "overrunHeardMicroUsd"> & {
    readonly overrunHeardMicroUsd?: Shares["overrunHeardMicroUsd"];
    readonly slices: readonly Slice[];
    readonly permits: readonly Permits[];
  };
  return {
    ...rest,
    // Older code stored nothing of it: what was overrun then may be told once more.
    overrunHeardMicroUsd: rest.overrunHeardMicroUsd ?? (slices.length > 0 ? ZERO_USD : null),
    slices: new Map(slices.map((slice) => [sliceKey(slice), slice])),
    permits: new Map(permits.map((one) => [permitKey(one), { ...noPermits(one), ...one }])),
  };
}

export function traceOf(row: TraceRow): Trace {
  // How a call went that was reported before this was kept, nobody knows any more.
  const ended = row.state === "posted" ? (row.outcome ?? "expired") : row.state;
  return {
    // Ids, states and what is kept are our own, written from values that were parsed at the door.
    id: row.id as DecisionId,
    run: row.run as RunId,
    action: row.action,
    at: row.at,
    outcome: ended as Trace["outcome"],
    endedAt: row.ended_at,
    amountMicroUsd: microUsdOf(row.state === "pending" ? row.reserved_micro_usd : row.posted_micro_usd),
    kept: row.kept === null ? null : (JSON.parse(row.kept) as Kept),
    keptUntil: row.kept_until,
  };
}

export const accountOfRow = (row: AccountRow): Account => ({
  postedMicroUsd: microUsdOf(row.posted_micro_usd),
  pendingMicroUsd: microUsdOf(row.pending_micro_usd),
  leasedMicroUsd: microUsdOf(row.leased_micro_usd),
  overrunMicroUsd: microUsdOf(row.overrun_micro_usd),
});

/** An account's columns, in the order in which the statements name them. */
export const sides = (account: Account): [number, number, number, number] => [
  account.postedMicroUsd,
  account.pendingMicroUsd,
  account.leasedMicroUsd,
  account.overrunMicroUsd,
];
