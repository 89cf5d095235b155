import type { Decision } from "../core/decision.ts";
import { formatUsd, lessUsd, type MicroUsd, microUsdOf } from "../core/money.ts";
import type { Case, CaseFile, Earlier, Expectation, Place, Step } from "./case_format.ts";
import type { Policy } from "./policy_file.ts";
import { type Answer, Session, ttlOf } from "./session.ts";

/** One thing that came out otherwise than a case says. */
export interface Failure {
  /** Which request of the case: `request`, `history 2 (search)`, `step 3 (refund)`. */
  readonly at: string;
  readonly place: Place;
  readonly what: string;
  readonly expected: string;
  readonly found: string;
  /** The answer that was given, for whoever wants to know why. */
  readonly answer: { readonly reason: string; readonly rule: string | null; readonly message: string; readonly hint: string | null } | null;
}

/** A failure where nothing came out wrong, but the case cannot stand as it is. */
const MISTAKEN = "case";

const DEFAULT_NOW = Date.parse("2026-01-01T12:00:00.000Z");

/**
 * Plays one case from an empty session: its history, then its request or steps. A history call that the policy denies makes the case fail, and nothing
 * after it is asked: what was denied did not happen, and what rests on it would prove nothing.
 */
export function runCase(policy: Policy, file: CaseFile, place: number, answered: (answer: Answer) => void): readonly Failure[] {
  const { suite, placeOf } = file;
  const one = suite.cases[place] as Case; // the caller counts them
  const now = suite.now ?? DEFAULT_NOW;
  const history = instants(one.history ?? [], now);
  const session = new Session(policy, {
    agent: one.agent ?? suite.agent ?? "agent",
    openedAt: history[0]?.at ?? now,
    budgetMicroUsd: suite.session?.budget_usd ?? null,
    entities: suite.entities ?? {},
    defaults: suite.defaults ?? {},
  });
  const failures: Failure[] = [];
  for (const [index, { call, at }] of history.entries()) {
    const here = { at: `history ${index + 1} (${call.action})`, place: placeOf(["cases", place, "history", index]) };
    const wrong = earlier(session, call, at, here, answered);
    failures.push(...wrong);
    if (wrong.some(({ what }) => what === MISTAKEN)) return failures;
  }
  if (one.request !== undefined) {
    const answer = session.ask(one.request, now);
    answered(answer);
    failures.push(...differences(one.expect ?? {}, answer.decision, { at: "request", place: placeOf(["cases", place, "expect"]) }));
  }
  let at = now;
  for (const [index, step] of (one.steps ?? []).entries()) {
    at += milliseconds(step.after_seconds);
    const here = { at: `step ${index + 1} (${step.action})`, place: placeOf(["cases", place, "steps", index, "expect"]) };
    failures.push(...played(session, step, step.expect, at, here, answered));
  }
  return failures;
}

type Here = Pick<Failure, "at" | "place">;

function earlier(session: Session, call: Earlier, at: number, here: Here, answered: (answer: Answer) => void): readonly Failure[] {
  const { expect, given } = call;
  if (expect !== undefined) return played(session, call, expect, at, here, answered);
  if (given !== true) {
    const answer = session.ask(call, at, ttlOf(call));
    answered(answer);
    if (answer.decision.verdict === "allow") return ended(session, answer.decision, call, at, here);
    const found = `${answer.decision.verdict} (${answer.decision.reason.code})`;
    return [failure(here, MISTAKEN, "allow (it happened; else say expect, or given: true)", found, answer.decision)];
  }
  const decision = session.give(call, at, ttlOf(call));
  if (decision.verdict !== "allow") return [failure(here, MISTAKEN, "that it can have happened", decision.verdict, decision)];
  return ended(session, decision, call, at, here);
}

function played(session: Session, call: Earlier | Step, expect: Expectation, at: number, here: Here, answered: (answer: Answer) => void) {
  const answer = session.ask(call, at, ttlOf(call));
  answered(answer);
  const wrong = differences(expect, answer.decision, here);
  return answer.decision.verdict === "allow" ? [...wrong, ...ended(session, answer.decision, call, at, here)] : wrong;
}

function ended(session: Session, decision: Decision, call: Earlier | Step, at: number, here: Here): readonly Failure[] {
  const refused = session.become(decision, call, at);
  return refused === null ? [] : [failure(here, MISTAKEN, `that it can end as ${call.outcome ?? "success"}`, refused.detail, decision)];
}

/** What an answer says otherwise than was expected of it. */
function differences(expect: Expectation, decision: Decision, here: Here): readonly Failure[] {
  const found: Failure[] = [];
  const hold = (what: string, expected: string | null | undefined, actual: string | null) => {
    if (expected !== undefined && expected !== actual) found.push(failure(here, what, expected ?? "none", actual ?? "none", decision));
  };
  const usd = (amount: MicroUsd | null | undefined) => (amount === undefined ? undefined : amount === null ? null : formatUsd(amount));
  hold("verdict", expect.verdict, decision.verdict);
  hold("reason", expect.reason, decision.reason.code);
  hold("rule", expect.rule, decision.reason.rule);
  hold("stops", expect.stops, decision.stops);
  hold("reserved_usd", usd(expect.reserved_usd), decision.reservation === null ? null : formatUsd(decision.reservation.amountMicroUsd));
  if (expect.warnings !== undefined && !sameWarnings(expect.warnings, decision.warnings)) {
    const actual = decision.warnings.map(({ code, rule }) => (rule === null ? code : `${code} ${rule}`));
    found.push(failure(here, "warnings", listed(expect.warnings), listed(actual), decision));
  }
  const advice = [...new Set(decision.advice.map(({ code }) => code))].sort();
  if (expect.advice !== undefined) hold("advice", listed([...new Set(expect.advice)].sort()), listed(advice));
  const { actions, agent, tenant, ...scopes } = expect.remaining_usd ?? {};
  for (const [scope, amount] of Object.entries(scopes)) hold(`remaining_usd ${scope}`, usd(amount), remaining(decision, scope, null));
  for (const [scope, windows] of Object.entries({ agent, tenant })) {
    for (const [window, amount] of Object.entries(windows ?? {}))
      hold(`remaining_usd ${scope} ${window}`, usd(amount), remaining(decision, scope, null, window));
  }
  for (const [pattern, amount] of Object.entries(actions ?? {}))
    hold(`remaining_usd ${pattern}`, usd(amount), remaining(decision, "action", pattern));
  return found;
}

/** Each expected one is a code or a rule of another warning, and none is left. */
function sameWarnings(expected: readonly string[], warnings: Decision["warnings"]): boolean {
  const left = [...warnings];
  for (const one of expected) {
    const place = left.findIndex(({ code, rule }) => one === rule || one === code);
    if (place < 0) return false;
    left.splice(place, 1);
  }
  return left.length === 0;
}

function remaining(decision: Decision, scope: string, pattern: string | null, window?: string): string {
  const balance = decision.budgets.find((one) => one.scope === scope && (pattern === null || one.name === pattern) && one.window?.name === window);
  if (balance === undefined || balance.limitMicroUsd === null) return "no limit";
  return formatUsd(lessUsd(balance.limitMicroUsd, microUsdOf(balance.postedMicroUsd + balance.pendingMicroUsd + balance.leasedMicroUsd)));
}

const listed = (items: readonly string[]): string => (items.length === 0 ? "none" : items.join(", "));

const failure = (here: Here, what: string, expected: string, found: string, { reason }: Decision): Failure => ({
  ...here,
  what,
  expected,
  found,
  answer: { reason: reason.code, rule: reason.rule, message: reason.message, hint: reason.hint },
});

/** When each call of a history was made: those that do not say so together with the one before them. */
export function instants(history: readonly Earlier[], now: number): readonly { readonly call: Earlier; readonly at: number }[] {
  let ago = history.find(({ ago_seconds }) => ago_seconds !== undefined)?.ago_seconds ?? 0;
  return history.map((call) => {
    ago = call.ago_seconds ?? ago;
    return { call, at: now - milliseconds(ago) };
  });
}

const milliseconds = (seconds: number | undefined): number => Math.round((seconds ?? 0) * 1000);
