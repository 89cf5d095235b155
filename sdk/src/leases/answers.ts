import { balance, entryMark, policyRef } from "../mapping.ts";
import { flag, id, list, number, object, oneOf, type Read, ShapeFault, text } from "../read.ts";
import type { DecisionAnswer, EntryMark, LeaseSettlement, PolicyRef } from "../surface.ts";

/** What the gateway answers about leases, and what a lease answers in its place. */

/** A lease as the gateway granted it. */
export interface Granted {
  readonly id: string;
  readonly session: string;
  readonly run: string;
  readonly actions: readonly string[];
  readonly amountUsd: string;
  readonly ttlMs: number;
  readonly expiresAt: string;
  readonly policy: PolicyRef;
  readonly token: string;
  readonly entry: EntryMark;
}

export const granted: Read<Granted> = object<Granted>({
  id,
  session: id,
  run: id,
  actions: list(text),
  amountUsd: text,
  ttlMs: number,
  expiresAt: text,
  policy: policyRef,
  token: text,
  entry: entryMark,
});

const settlement = object<LeaseSettlement & { readonly id: string }>({
  id,
  state: oneOf("open", "settled", "expired"),
  accepted: number,
  duplicates: number,
  postedUsd: text,
  overrunUsd: text,
  returnedUsd: text,
  remainingUsd: text,
  late: flag,
  budgets: list(balance),
  entry: entryMark,
});

/** The answer of who was told so many entries of that lease: what counts some of them only is none. */
export const settlementOf =
  (lease: string, entries: number): Read<LeaseSettlement> =>
  (value, at) => {
    const { id: found, ...settled } = settlement(value, at);
    if (found !== lease) throw new ShapeFault(`${at}/id`, "the one that was asked for");
    if (settled.accepted + settled.duplicates !== entries) throw new ShapeFault(`${at}/accepted`, "with the duplicates as many as were told");
    return settled;
  };

const NOTHING = { retryAfterMs: null, hint: null } as const;

/** The yes of a lease. Its entry is that of the lease's granting; one of its own it gets when it is settled. */
export const permit = (
  { id: lease, session, expiresAt, policy, entry }: Granted,
  { id: decision, run, action }: { readonly id: string; readonly run: string; readonly action: string },
  amountUsd: string,
): DecisionAnswer => ({
  id: decision,
  session,
  run,
  action,
  verdict: "allow",
  decision: true,
  stops: null,
  reason: { code: "permitted", message: `The lease ${lease} covers it.`, rule: null, remediation: NOTHING },
  reservation: { amountUsd, expiresAt },
  budgets: [],
  rates: [],
  policy,
  obligations: [],
  advice: [],
  warnings: [],
  approval: null,
  entry,
  superseded: null,
});

/** The no to a top-up for which a lease has not enough left: the old reservation stands. */
export const tooMuch = (permitted: DecisionAnswer): DecisionAnswer => ({
  ...permitted,
  verdict: "deny",
  decision: false,
  stops: "action",
  reason: {
    code: "session_budget_exceeded",
    message: "What is left of the lease does not cover the new sum.",
    rule: null,
    remediation: { retryAfterMs: null, hint: "Ask the session for what is missing, by a decision of its own." },
  },
});
