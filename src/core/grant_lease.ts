import { alertsOf, alertText, rememberAlerts } from "./alerts.ts";
import { type Book, balancesOf, limitsFor } from "./book.ts";
import { aboutLease, become, type ClientLease, MOST_OPEN_LEASES, MOST_UNTOLD_LEASES } from "./client_lease.ts";
import type { Balance, LeaseReason } from "./decision.ts";
import { CHAIN_START } from "./entry.ts";
import { type Authority, budgetGate, capacityGate, standingGate, type TenantWord, unreadable } from "./gates.ts";
import type { LeaseId, RunId } from "./ids.ts";
import { formatUsd, type MicroUsd, ZERO_USD } from "./money.ts";
import type { LeaseFindings, PolicyRef } from "./policy/findings.ts";
import { REASONS, type ReasonCode } from "./reasons.ts";
import type { Principal } from "./request.ts";
import type { Short } from "./shares.ts";
import type { Instant } from "./time.ts";
import { lookedAt, movements, note, signature, type Turn } from "./turn.ts";

/** What is wished for. */
export interface LeaseRequest {
  readonly id: LeaseId;
  /** `null`: the session's current run. */
  readonly run: RunId | null;
  readonly actions: readonly string[];
  /** Above zero. */
  readonly amountMicroUsd: MicroUsd;
  readonly ttlMs: number;
  /** It ends then at the latest: so long its tenant knows that somebody may act on a lease. */
  readonly endsBy: Instant;
}

/** What the policy in force says of a lease, or why it says nothing. */
export type LeaseEvaluation =
  | { readonly kind: "findings"; readonly findings: LeaseFindings }
  /** The policy in force cannot be read by this gateway. */
  | { readonly kind: "invalid"; readonly policy: PolicyRef };

/** A wish as it reaches the book. */
export interface LeaseAsk {
  readonly request: LeaseRequest;
  readonly principal: Principal;
  readonly lease: Authority["lease"];
  /** `null` where no policy is in force. */
  readonly evaluation: LeaseEvaluation | null;
  /** Whether the tenant lets anybody decide by leases. */
  readonly allowed: boolean;
  readonly tenant: TenantWord;
}

/** What comes out for a wish. */
export type Granting =
  | { readonly kind: "granted"; readonly lease: ClientLease; readonly budgets: readonly Balance[] }
  | { readonly kind: "refused"; readonly reason: LeaseReason }
  /** Nothing was done: the tenant must be asked first. */
  | { readonly kind: "short"; readonly shorts: readonly Short[] };

/** Grants a lease, taking its money from every account that it may be spent from; or refuses it, which is on record as well. */
export function grantLease(turn: Turn, ask: LeaseAsk): Granting {
  const judged = judgeLease(turn.book, ask, turn.now);
  if (judged.kind === "short") return judged;
  return judged.kind === "granted" ? grant(turn, ask, judged.findings) : refuse(turn, ask, judged.reason);
}

/**
 * Whether a lease may be granted: the gates of a decision, in their order, asked about all that it would let its holder do. Looks at the book, changes
 * nothing. Total.
 */
export function judgeLease(
  book: Book,
  ask: LeaseAsk,
  now: Instant,
): Exclude<Granting, { kind: "granted" }> | { readonly kind: "granted"; readonly findings: LeaseFindings } {
  const { request, lease, evaluation, tenant } = ask;
  const { run, amountMicroUsd } = request;
  const standing = standingGate(book, { run, action: request.actions }, lease, now);
  if (standing !== null) return { kind: "refused", reason: standing.reason };
  if (evaluation?.kind !== "findings") return { kind: "refused", reason: unreadable().reason };
  const { findings } = evaluation;
  if (!ask.allowed) return notLeasable("The tenant's settings let nobody decide by leases.", null);
  if (findings.no !== null) {
    const { code, message, rule } = findings.no;
    return code === "not_leasable" ? notLeasable(message, rule) : refused(code, message, rule, "Ask for actions that the policy allows.");
  }
  const crowd = crowdNo(book);
  if (crowd !== null) return crowd;
  const full = capacityGate({ book, amountMicroUsd });
  if (full !== null) return { kind: "refused", reason: full.reason };
  const shorts: Short[] = [];
  for (const { no, short } of budgetGate({ book, now, tenant, amountMicroUsd, request }, findings)) {
    if (short !== undefined) shorts.push(short);
    else if (findings.strict) return { kind: "refused", reason: no.reason };
  }
  return shorts.length > 0 ? { kind: "short", shorts } : { kind: "granted", findings };
}

/**
 * Why a lease that was granted is not answered again as one to decide with: what would keep a new one from its asker stands against it, or it was used,
 * and who asks again would take it for whole. `null`: it stands as it was granted. What is held by it ends as ever: its holder may have heard of it. So it is
 * named: who has never heard of it can settle it, and what it holds is not posted at its end.
 */
export function lapseOf(book: Book, granted: ClientLease, lease: Authority["lease"], now: Instant): LeaseReason | null {
  const { id, run, state, amountMicroUsd, heldMicroUsd } = granted;
  const standing = standingGate(book, { run, action: granted.actions }, lease, now);
  const asked = `The lease "${id}" was granted under this Idempotency-Key`;
  if (standing !== null)
    return { ...standing.reason, message: `${standing.reason.message} ${asked} before that: settle it to give back what it holds.` };
  if (state === "open" && heldMicroUsd === amountMicroUsd) return null;
  const became = { open: "was spent from", settled: "was settled", expired: "has expired" }[state];
  return refused("lease_used", `${asked} and ${became} since.`, null, "Ask for another under a new Idempotency-Key.").reason;
}

function grant(turn: Turn, { request, principal }: LeaseAsk, findings: LeaseFindings): Granting {
  const { book, now } = turn;
  const { policy, alerts: thresholds, redaction, onExpiry, compliance } = findings;
  const run = request.run ?? book.currentRun;
  const limits = limitsFor(book, findings.budgets);
  const asked: ClientLease = {
    id: request.id,
    run,
    actions: request.actions,
    amountMicroUsd: request.amountMicroUsd,
    grantedAt: now,
    expiresAt: Math.min(book.expiresAt, request.endsBy, now + request.ttlMs),
    state: "open",
    heldMicroUsd: request.amountMicroUsd,
    returnedMicroUsd: ZERO_USD,
    postedMicroUsd: ZERO_USD,
    overrunMicroUsd: ZERO_USD,
    limits,
    terms: { policy, alerts: thresholds, redaction, onExpiry, compliance },
    entry: { id: "ent_00000000-0000-7000-8000-000000000000", ...CHAIN_START },
  };
  const before = lookedAt(turn, () => balancesOf(book, limits, run));
  become(turn, null, asked);
  const budgets = balancesOf(book, limits, run);
  const alerts = alertsOf(book, budgets, thresholds);
  rememberAlerts(turn, alerts);
  const entry = note(turn, "lease", () => ({
    says: {
      ...aboutLease(asked, "granted"),
      accounts: movements(before, budgets),
      alerts: alerts.map(alertText),
      principal: signature(principal),
    },
    payload: null,
  }));
  const lease = { ...asked, entry };
  become(turn, asked, lease);
  return { kind: "granted", lease, budgets };
}

function refuse(turn: Turn, { request, principal, lease }: LeaseAsk, reason: LeaseReason): Granting {
  const { id, actions, amountMicroUsd } = request;
  const code = REASONS.find((known): known is ReasonCode => known === reason.code) ?? null;
  note(turn, "lease", () => ({
    says: {
      run_id: request.run ?? turn.book.currentRun,
      policy: lease.policy,
      reason: code,
      rule: reason.rule,
      principal: signature(principal),
      details: { actions, amount_usd: formatUsd(amountMicroUsd), code: reason.code, event: "refused", lease: id },
    },
    payload: null,
  }));
  return { kind: "refused", reason };
}

/** More than so many at once help nobody, and what is left behind must be told of some time. */
function crowdNo({ leases }: Book): Extract<Granting, { kind: "refused" }> | null {
  const open = [...leases.values()].filter(({ state }) => state === "open").length;
  if (open >= MOST_OPEN_LEASES)
    return refused("concurrency_exceeded", `${MOST_OPEN_LEASES} leases of one session may be open at once, and as many are.`, null, "Settle one.");
  const untold = leases.size - open;
  if (untold < MOST_UNTOLD_LEASES) return null;
  const message = `${MOST_UNTOLD_LEASES} leases of this session have run out, and nobody has said what was spent with them.`;
  return refused("concurrency_exceeded", message, null, "Settle them.");
}

const notLeasable = (message: string, rule: string | null) =>
  refused("not_leasable", message, rule, "Ask for a decision about each of these actions.");

const refused = (code: LeaseReason["code"], message: string, rule: string | null, hint: string): Extract<Granting, { kind: "refused" }> => ({
  kind: "refused",
  reason: { code, message, rule, retryAfterMs: null, hint },
});
