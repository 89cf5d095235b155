import type { ApprovalStatus } from "./approvals.ts";
import type { Book } from "./book.ts";
import type { ClientLease } from "./client_lease.ts";
import type { DecisionState } from "./decision.ts";
import type { Digest } from "./digest.ts";
import type { Authority } from "./gates.ts";
import { globsMeet } from "./glob.ts";
import type { Order, Target } from "./orders.ts";
import type { PolicyRef } from "./policy/findings.ts";
import type { Instant } from "./time.ts";

/** What a session's lease says now. */
export type Standing = Authority["lease"] & { readonly entities: number };

/** What a call was evaluated under. */
export interface EvaluatedUnder {
  /** The digest of the policy; `null` when the caller does not know the policy in force. */
  readonly under: Digest | null;
  /** The revision of stored attributes that the evaluation looked at; `null`: it looked at none. */
  readonly entities: number | null;
  /** The revision that this call was first asked to look at: older attributes are too old, newer ones need not be waited for. */
  readonly entitiesFloor: number | null;
}

/**
 * Whether a request must be evaluated again, under the policy that the lease names. Not under a lapsed lease: that denies whatever the policy says,
 * and must not depend on a tenant that cannot be reached.
 */
export const moved = (lease: Standing, call: EvaluatedUnder): lease is Standing & { readonly policy: PolicyRef } =>
  lease.fresh && lease.policy !== null && (lease.policy.digest !== call.under || isTooOld(lease, call));

/** Whether the attributes that were looked at are older than they may be. */
const isTooOld = (lease: Standing, { entities, entitiesFloor }: EvaluatedUnder): boolean =>
  entities !== null && entities < Math.min(lease.entities, entitiesFloor ?? Number.POSITIVE_INFINITY);

/** What a policy says of a decision or of a client lease, or that it cannot be read. */
type Evaluated<Findings> = { readonly kind: "findings"; readonly findings: Findings } | { readonly kind: "invalid"; readonly policy: PolicyRef };

/**
 * An evaluation under the lease's own name for the policy: the same digest may have got a new version since the worker last looked.
 * `null`: it was not made under the policy that the lease names.
 */
export function underLease<Findings extends { readonly policy: PolicyRef }>(
  evaluation: Evaluated<Findings> | null,
  under: Digest | null,
  { policy }: Pick<Standing, "policy">,
): Evaluated<Findings> | null {
  if (policy === null || policy.digest !== under) return null;
  return evaluation?.kind === "findings" ? { kind: "findings", findings: { ...evaluation.findings, policy } } : evaluation;
}

/** How new a tenant's word is. */
interface Told {
  readonly epoch: number;
  readonly entities: number;
}

/** Whether what a tenant told is newer than what it told before. */
export const isNewer = (lease: Told, than: Told): boolean =>
  lease.epoch > than.epoch || (lease.epoch === than.epoch && lease.entities > than.entities);

/** What a lease newly orders, or orders no more. */
export interface OrderNews {
  readonly order: Order;
  readonly event: "obeyed" | "lifted";
}

/** What a lease orders that the one before it did not, and what it orders no more, as far as it is about this session. */
export function ordersNews(before: readonly Order[], after: readonly Order[], book: Pick<Book, "runs">): readonly OrderNews[] {
  const runs: ReadonlySet<string> = new Set(book.runs.keys());
  const isHere = ({ target, id }: Order): boolean => target !== "run" || runs.has(id);
  const byIntervention = ({ intervention, state }: Order): string => `${intervention} ${state}`;
  const byTarget = ({ target, id, state }: Order): string => `${target} ${state} ${id}`;
  const known = new Set(before.map(byIntervention));
  // What was killed twice is still killed: the second order takes the first one's place, and nothing was lifted.
  const standing = new Set(after.map(byTarget));
  return [
    ...after.filter((order) => !known.has(byIntervention(order)) && isHere(order)).map((order) => ({ order, event: "obeyed" as const })),
    ...before.filter((order) => !standing.has(byTarget(order)) && isHere(order)).map((order) => ({ order, event: "lifted" as const })),
  ];
}

/** Whether an intervention stops what the holder of a client lease may do with it. */
export function isStopped(
  { run, actions }: Pick<ClientLease, "run" | "actions">,
  { target }: { readonly target: { readonly type: Target; readonly id: string } },
): boolean {
  switch (target.type) {
    case "tenant":
    case "agent":
    case "session":
      return true;
    case "run":
      return run === target.id;
    case "action":
      return actions.some((glob) => globsMeet(target.id, glob));
  }
}

export type SessionState = "active" | "paused" | "killed" | "closed" | "expired";

/** What a session as a whole may do now. What stops some of its runs or actions only leaves it active. */
export function stateOf(book: Pick<Book, "closed" | "expiresAt">, now: Instant, orders: readonly Order[]): SessionState {
  if (book.closed) return "closed";
  if (now >= book.expiresAt) return "expired";
  const whole = orders.filter(({ target }) => target !== "run" && target !== "action");
  if (whole.some(({ state }) => state === "killed")) return "killed";
  return whole.length > 0 ? "paused" : "active";
}

/** What a held decision has come to, by what became of its approval. */
export function heldState(status: ApprovalStatus): DecisionState {
  switch (status) {
    case "pending":
    case "info_requested":
    case "approved":
    case "consumed":
      return "held";
    case "rejected":
    case "cancelled":
      return "denied";
    case "expired":
      return "expired";
  }
}
