import { knownReason } from "./errors.ts";
import { flag, id, json, list, nullable, number, object, oneOf, type Read, ShapeFault, snake, text, texts } from "./read.ts";
import type {
  Approval,
  Balance,
  DecisionAnswer,
  DecisionNow,
  OpenedSession,
  Rate,
  Reason,
  Reservation,
  SessionBudget,
  SessionDetail,
  Settlement,
} from "./surface.ts";
import { usdText } from "./usd.ts";
import type * as wire from "./wire.ts";

/** The one place that knows both spellings: camelCase outside, the wire's snake_case inside. What comes in is checked here, member by member. */

type Snake<Key extends string> = Key extends `${infer First}${infer Rest}`
  ? `${First extends Uppercase<First> ? `_${Lowercase<First>}` : First}${Snake<Rest>}`
  : Key;
type Snaked<T> = { [Key in keyof T as Snake<Key & string>]: T[Key] };

// Out: a request as the gateway reads it. What lies below its members has the same names on both sides, or is the caller's own data.

export const wireNames = <T extends object>(request: T): Snaked<T> =>
  // What `Snaked` says of the type, `snake` does to each name. What is named as money is money.
  Object.fromEntries(
    Object.entries(request).map(([key, value]) => [snake(key), value !== undefined && key.endsWith("Usd") ? usdText(value, key) : value]),
  ) as Snaked<T>;

// In: an answer, or a `ShapeFault` that names the member.

export const policyRef = object<wire.PolicyRef>({ name: text, version: number, digest: text });
const reservation = object<Reservation>({ amountUsd: text, expiresAt: text });
const approval = object<Approval>({ id, url: text, expiresAt: text, status: nullable(text) });
export const entryMark = object<wire.EntryMark>({ id: text, seq: number, hash: text });
const rate = object<Rate>({ name: text, limit: number, remaining: number, resetMs: number });

const reason = object<Reason>({
  code: (value, at) => knownReason(text(value, at)),
  message: text,
  rule: nullable(text),
  remediation: object({ retryAfterMs: nullable(number), hint: nullable(text) }),
});

const balanceShape = {
  scope: oneOf("action", "run", "session", "wind_down", "agent", "tenant"),
  name: text,
  limitUsd: nullable(text),
  postedUsd: text,
  pendingUsd: text,
  leasedUsd: nullable(text),
  remainingUsd: nullable(text),
  window: nullable(text),
  resetsAt: nullable(text),
};
export const balance = object<Balance>(balanceShape);

const answerShape = {
  id,
  session: id,
  run: id,
  action: text,
  verdict: oneOf("allow", "deny", "hold"),
  decision: flag,
  stops: nullable(oneOf("action", "run", "session")),
  reason,
  reservation: nullable(reservation),
  budgets: list(balance),
  rates: list(rate),
  policy: nullable(policyRef),
  obligations: list(json),
  advice: list(json),
  warnings: list(reason),
  approval: nullable(approval),
  entry: entryMark,
  superseded: nullable(object<{ intervention: string; kind: string }>({ intervention: text, kind: text })),
};

/** A decision's members must also agree with each other: an answer that says yes and no at once is no answer. */
const agreeing =
  <T extends DecisionAnswer>(of: Read<T>): Read<T> =>
  (value, at) => {
    const answer = of(value, at);
    const { verdict, decision, stops, reason, approval } = answer;
    const allows = verdict === "allow";
    const holds = verdict === "hold";
    const agrees =
      decision === allows &&
      (stops !== null) === (verdict === "deny") &&
      (approval !== null) === holds &&
      (reason.code === "permitted") === allows &&
      (!holds || reason.code === "approval_required" || reason.code === "unrecognized");
    if (!agrees) throw new ShapeFault(`${at}/verdict`, "what agrees");
    return answer;
  };

export const decisionAnswer: Read<DecisionAnswer> = agreeing(object<DecisionAnswer>(answerShape));

export const decisionAnswers = object<{ decisions: readonly DecisionAnswer[] }>({ decisions: list(decisionAnswer) });

const decisionState = oneOf("pending", "posted", "released", "expired", "denied", "held");

export const decisionNow: Read<DecisionNow> = agreeing(
  object<DecisionNow>({ ...answerShape, state: decisionState, postedUsd: text, overrunUsd: text }),
);

export const settlement: Read<Settlement> = object<Settlement>({
  id,
  state: decisionState,
  postedUsd: text,
  overrunUsd: text,
  late: flag,
  reservation: nullable(reservation),
  budgets: list(balance),
  entry: entryMark,
});

export const openedRun: Read<wire.OpenedRun> = object<wire.OpenedRun>({ id });

const openedShape = { id, agent: text, run: id, policy: nullable(policyRef), expiresAt: text };

export const openedSession: Read<OpenedSession> = object<OpenedSession>(openedShape);

export const sessionDetail: Read<SessionDetail> = object<SessionDetail>({
  ...openedShape,
  labels: texts,
  state: oneOf("active", "paused", "killed", "closed", "expired"),
  openedAt: text,
  budgets: list(object<SessionBudget>({ ...balanceShape, leasedUsd: text })),
  totals: object({
    postedUsd: text,
    pendingUsd: text,
    preventedUsd: text,
    overrunUsd: text,
    decisions: object({ allow: number, deny: number, hold: number }),
  }),
});

/** Nothing of the answer is needed, but that it is one. */
export const anything: Read<unknown> = json;
