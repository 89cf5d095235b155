import { knownReason } from "./errors.ts";
import type {
  ActionRequest,
  Approval,
  Balance,
  CommitReport,
  DecisionAnswer,
  DecisionNow,
  Json,
  OpenedSession,
  Rate,
  Reason,
  Reservation,
  SessionBudget,
  SessionDetail,
  SessionOptions,
  Settlement,
} from "./surface.ts";
import { usdText } from "./usd.ts";
import type * as wire from "./wire.ts";

/** The one place that knows both spellings: camelCase outside, the wire's snake_case inside. What comes in is checked here, member by member. */

const snake = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

type Snake<Key extends string> = Key extends `${infer First}${infer Rest}`
  ? `${First extends Uppercase<First> ? `_${Lowercase<First>}` : First}${Snake<Rest>}`
  : Key;
type Snaked<T> = { [Key in keyof T as Snake<Key & string>]: T[Key] };

// Out: a request as the gateway reads it. What lies below its members has the same names on both sides, or is the caller's own data.

const wireNames = <T extends object>(request: T): Snaked<T> =>
  // What `Snaked` says of the type, `snake` does to each name.
  Object.fromEntries(Object.entries(request).map(([key, value]) => [snake(key), value])) as Snaked<T>;

export const sessionBody = (options: SessionOptions): wire.OpenSessionRequest =>
  wireNames({ ...options, budgetUsd: options.budgetUsd === undefined ? undefined : usdText(options.budgetUsd, "budgetUsd") });

export const decisionBody = (request: ActionRequest & { readonly id: string; readonly run: string }) =>
  wireNames({
    ...request,
    estimateUsd: request.estimateUsd === undefined ? undefined : usdText(request.estimateUsd, "estimateUsd"),
  }) satisfies wire.DecisionRequest;

export const commitBody = (report: CommitReport): wire.CommitRequest => wireNames({ ...report, costUsd: usdText(report.costUsd, "costUsd") });

export const extendBody = (ttlMs: number): wire.ExtendRequest => ({ ttl_ms: ttlMs });

export const topupBody = (estimateUsd: wire.UsdInput): wire.TopupRequest => ({ estimate_usd: usdText(estimateUsd, "estimateUsd") });

// In: an answer, or a `ShapeFault` that names the member.

/** An answer is not what it must be. Says where and what was wanted, never what was found: that is a stranger's text. */
export class ShapeFault extends Error {
  constructor(at: string, wanted: string) {
    super(`${at || "/"} must be ${wanted}`);
  }
}

/** Reads a value at a place of an answer, or throws a `ShapeFault`. */
export type Read<T> = (value: unknown, at: string) => T;

const read =
  <T>(wanted: string, fits: (value: unknown) => value is T): Read<T> =>
  (value, at) => {
    if (!fits(value)) throw new ShapeFault(at, wanted);
    return value;
  };

const text = read("a string", (value) => typeof value === "string");
const number = read("a finite number", (value): value is number => Number.isFinite(value));
const flag = read("true or false", (value) => typeof value === "boolean");
/** Ids go into paths, so they may hold nothing that a path would read differently. */
export const id = read("an id", (value): value is string => typeof value === "string" && /^[\w-]{1,128}$/.test(value));
/** What `JSON.parse` gave is JSON. */
const json = read("present", (value): value is Json => value !== undefined);

const oneOf = <const T extends string>(...values: readonly T[]): Read<T> =>
  read(`one of ${values.join(", ")}`, (value): value is T => values.some((known) => known === value));

/** A missing member counts as `null`. */
const nullable =
  <T>(of: Read<T>): Read<T | null> =>
  (value, at) =>
    value === null || value === undefined ? null : of(value, at);

const list =
  <T>(of: Read<T>): Read<readonly T[]> =>
  (value, at) => {
    if (!Array.isArray(value)) throw new ShapeFault(at, "an array");
    return value.map((item, place) => of(item, `${at}/${place}`));
  };

const members = (value: unknown, at: string): Record<string, unknown> => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ShapeFault(at, "an object");
  // A JSON object that is no array is a record.
  return value as Record<string, unknown>;
};

const texts: Read<{ readonly [key: string]: string }> = (value, at) => {
  const found = members(value, at);
  return Object.fromEntries(Object.entries(found).map(([key, member]) => [key, text(member, `${at}/${key}`)]));
};

/** An object of these members, each looked up under its wire name. Members it does not name are a newer gateway's, and left out. */
const object =
  <T>(shape: { readonly [K in keyof T]-?: Read<T[K]> }): Read<T> =>
  (value, at) => {
    const found = members(value, at);
    const made: Partial<T> = {};
    for (const key in shape) {
      const name = snake(key);
      // An inherited member (`constructor`) is none of the answer's.
      made[key] = shape[key](Object.hasOwn(found, name) ? found[name] : undefined, `${at}/${name}`);
    }
    // Every member of the shape was read.
    return made as T;
  };

const policyRef = object<wire.PolicyRef>({ name: text, version: number, digest: text });
const reservation = object<Reservation>({ amountUsd: text, expiresAt: text });
const approval = object<Approval>({ id: text, url: text, expiresAt: text });
const entryMark = object<wire.EntryMark>({ id: text, seq: number, hash: text });
const rate = object<Rate>({ name: text, limit: number, remaining: number, resetMs: number });

const reason = object<Reason>({
  code: (value, at) => knownReason(text(value, at)),
  message: text,
  rule: nullable(text),
  remediation: object({ retryAfterMs: nullable(number), hint: nullable(text) }),
});

const balanceShape = {
  scope: oneOf("action", "run", "session", "agent", "tenant"),
  name: text,
  limitUsd: nullable(text),
  postedUsd: text,
  pendingUsd: text,
  remainingUsd: nullable(text),
};
const balance = object<Balance>(balanceShape);

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
    const agree = (law: boolean, member: string, wanted: string): void => {
      if (!law) throw new ShapeFault(`${at}/${member}`, wanted);
    };
    agree(decision === allows, "decision", "true exactly when the verdict is allow");
    agree((stops !== null) === (verdict === "deny"), "stops", "set exactly when the verdict is deny");
    agree((approval !== null) === holds, "approval", "set exactly when the verdict is hold");
    agree((reason.code === "permitted") === allows, "reason/code", "permitted exactly when the verdict is allow");
    agree((reason.code === "approval_required") === holds || reason.code === "unrecognized", "reason/code", "approval_required exactly on a hold");
    return answer;
  };

export const decisionAnswer: Read<DecisionAnswer> = agreeing(object<DecisionAnswer>(answerShape));

export const decisionAnswers: Read<readonly DecisionAnswer[]> = (value, at) =>
  object<{ decisions: readonly DecisionAnswer[] }>({ decisions: list(decisionAnswer) })(value, at).decisions;

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
  budgets: list(object<SessionBudget>({ ...balanceShape, leasedUsd: text, resetsAt: nullable(text) })),
  totals: object({
    postedUsd: text,
    pendingUsd: text,
    preventedUsd: text,
    overrunUsd: text,
    decisions: object({ allow: number, deny: number, hold: number }),
  }),
});

/** Nothing of the answer is needed. */
export const anything: Read<void> = () => undefined;
