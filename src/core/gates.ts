import { accountOf, type Book, freeOf, hitsOf, limitsFor, logOf, MOST_SPENT, sharedRate, spentOf } from "./book.ts";
import type { Reason, Stops } from "./decision.ts";
import type { RunId } from "./ids.ts";
import { canonicalJson } from "./json.ts";
import { addUsd, formatUsd, lessUsd, type MicroUsd, microUsdOf, ZERO_USD } from "./money.ts";
import { type Order, orderAgainst } from "./orders.ts";
import type {
  BudgetLimit,
  Conditions,
  Evaluation,
  Findings,
  Mode,
  Past,
  PolicyRef,
  RateLimit,
  Requirement,
  RuleFinding,
  Scene,
  SharedLimit,
  WorkBudget,
} from "./policy/findings.ts";
import type { ReasonCode } from "./reasons.ts";
import type { ActionRequest } from "./request.ts";
import { isAsTight, isCovered, isPermitted, leftOf, permitKey, type Short, sliceOf, spanOf } from "./shares.ts";
import { shownText } from "./shown.ts";
import { type Instant, spokenTime } from "./time.ts";
import { keptOf, priorOf, seenAt, type Trace, valueAt } from "./trail.ts";
import { type HitLog, waitFor, waitMs } from "./windows.ts";

/** A gate's no: why, how far it reaches, and what helps. */
export interface No {
  readonly kind: "no";
  readonly reason: Reason;
  readonly stops: Stops;
}

/**
 * What the gates look at. `amountMicroUsd` is what the request would newly take from the accounts; `hasMicroUsd`: what is set aside for it already, where
 * it asks for a larger sum.
 */
export interface Question {
  readonly book: Book;
  readonly request: Pick<ActionRequest, "action" | "run" | "resource" | "inputs">;
  readonly amountMicroUsd: MicroUsd;
  readonly hasMicroUsd?: MicroUsd | undefined;
  readonly now: Instant;
  readonly conditions: Conditions;
  readonly presented: PresentedApproval;
  /** What history functions ask: the same for all that is asked of one request. */
  readonly past: Past;
  readonly budget: WorkBudget;
  readonly tenant: TenantWord;
}

/**
 * Whether the tenant was asked for what the session lacks of money and rates that it shares: not yet, and then a no for want of it is not final; it was,
 * and what it said is lacking is not to be had; or it was and could not be reached, or others were quicker each time.
 */
export type TenantWord = "unasked" | "heard" | "lost";

/** A gate's no with how much it counts. */
export interface Objection {
  readonly mode: Mode;
  readonly no: No;
  /** A person has approved exactly this: what stands against it here counts for nothing, and the approval is used up. */
  readonly granted?: boolean | undefined;
  /** The tenant may know better, and must be asked before this counts. */
  readonly short?: Short | undefined;
  /** It was asked, and said that there is enough: a no that stands elsewhere need not wait for it. */
  readonly isThere?: boolean | undefined;
}

/** What takes money from accounts, as far as they ask. */
export type Taking = Pick<Question, "book" | "amountMicroUsd" | "hasMicroUsd" | "now" | "tenant"> & { readonly request: Pick<ActionRequest, "run"> };

/** Asks what stands above any policy: the session's and run's life, the lease, and that there is a policy at all, whose findings are the answer. */
export function authorityGate({ book, request, now }: Question, { lease, evaluation }: Authority): No | Extract<Evaluation, { kind: "findings" }> {
  const standing = standingGate(book, request, lease, now);
  if (standing !== null) return standing;
  return evaluation?.kind === "findings" ? evaluation : unreadable();
}

/**
 * Asks the session's and run's life, and its lease with the orders that it carries: of an action by its name, of several by their globs, against each of
 * which an order stands that concerns any of what it names.
 */
export function standingGate(
  book: Book,
  request: { readonly run: RunId | null; readonly action: string | readonly string[] },
  lease: Authority["lease"],
  now: Instant,
): No | null {
  if (book.closed) return no("session_closed", "session", "The session is closed.", null, null, "Open a new session.");
  if (now >= book.expiresAt) return no("session_closed", "session", "The session has expired.", null, null, "Open a new session.");
  if (book.runs.get(request.run ?? book.currentRun)?.closed !== false)
    return no("run_closed", "run", "The run is closed.", null, null, "Start a new run.");
  const order = orderAgainst(lease.orders, {
    tenant: book.tenant,
    agent: book.agent,
    session: book.session,
    run: request.run ?? book.currentRun,
    action: request.action,
  });
  if (order !== null) return orderNo(order);
  if (!lease.fresh) {
    return no(
      "authority_stale",
      "action",
      "The session could not renew its authority, and without it nothing is allowed.",
      null,
      1000,
      "Try again shortly.",
    );
  }
  if (lease.policy === null) {
    return no(
      "policy_missing",
      "action",
      "No policy is active, and without one nothing is allowed.",
      null,
      null,
      "An operator must activate a policy.",
    );
  }
  return null;
}

/** The no where the policy in force is not one that this gateway can evaluate. */
export const unreadable = (): No =>
  no("policy_invalid", "action", "The policy in force cannot be read by this gateway.", null, null, "An operator must activate a valid policy.");

/** Under which authority a request is decided. */
export interface Authority {
  /** Whether the session's lease still runs, which policy it names, and what was killed or paused. */
  readonly lease: { readonly fresh: boolean; readonly policy: PolicyRef | null; readonly orders: readonly Order[] };
  /** `null` where no policy is in force. */
  readonly evaluation: Evaluation | null;
}

/** Asks whether the session can still count this exactly, whatever its policy says. No real session comes near; without the gate a hostile one would. */
export function capacityGate({ book, amountMicroUsd }: Pick<Question, "book" | "amountMicroUsd">): No | null {
  if (spentOf(book.total) + spentOf(book.windDown) + amountMicroUsd <= MOST_SPENT) return null;
  const message = `A session counts up to ${formatUsd(MOST_SPENT)} USD, and this would pass it.`;
  // What no session could count is no reason to end this one.
  const isAlone = amountMicroUsd > MOST_SPENT;
  const hint = isAlone ? "State what it really may cost." : "Open a new session.";
  return no("session_budget_exceeded", isAlone ? "action" : "session", message, null, null, hint);
}

/** Asks the policy's lists. */
function listGate(question: Question, findings: Findings): No | null {
  const { action } = question.request;
  if (findings.deniedBy !== null) {
    return no("action_denied", "action", `The policy denies "${action}".`, "/denied_actions", null, "Do not try this action again; use another one.");
  }
  if (!findings.listed) {
    return no(
      "action_not_allowed",
      "action",
      `"${action}" is not among the allowed actions.`,
      "/allowed_actions",
      null,
      "Use one of the allowed actions.",
    );
  }
  return null;
}

/** Asks the permit rules: of each group that names the action one must hold. */
function permitGate(question: Question, findings: Findings): readonly Objection[] {
  if (findings.permits.length === 0) return NONE;
  const { action } = question.request;
  return findings.permits.flatMap(({ rule, mode, inputsMissing, asks }): Objection[] => {
    // Whether one holds whose inputs are missing is not known: that is for the inputs' gate to say.
    if (inputsMissing || asks.some((text) => holdsNow(question, findings, text) === true)) return [];
    const found = no(
      "action_not_allowed",
      "action",
      `No rule that permits "${action}" holds for this request.`,
      rule,
      null,
      "Meet the conditions of a rule that permits it.",
    );
    return [{ mode, no: found }];
  });
}

/** Asks the rules that forbid. One that could not be evaluated forbids. */
const forbidGate = (question: Question, findings: Findings): readonly Objection[] => ruleGate(question, findings, isForbid, forbidden);

const isForbid = ({ effect, history }: RuleFinding): boolean => effect === "forbid" && !history;

const forbidden = ({ rule, stops }: RuleFinding, failed: boolean): No =>
  failed
    ? no(
        "rule_forbids",
        stops,
        `The rule "${rule}" could not be evaluated for this request, and then it forbids.`,
        rule,
        null,
        "Send every input that the rule looks at.",
      )
    : no("rule_forbids", stops, `The rule "${rule}" forbids this.`, rule, null, "Do not try this again unchanged.");

/** Asks whether rules that need the inputs have them. */
function inputsGate(question: Question, findings: Findings): readonly Objection[] {
  const { permits, rules, argumentsUnseen, requirements, loops } = findings;
  const areLoopsUnseen = loops.some(({ key }) => key === null);
  if (permits.length === 0 && rules.length === 0 && !argumentsUnseen && requirements.length === 0 && !areLoopsUnseen) return NONE;
  return [
    ...permits.flatMap(({ rule, mode, inputsMissing, asks }): Objection[] =>
      inputsMissing && !asks.some((text) => holdsNow(question, findings, text) === true) ? [{ mode, no: unseen(rule) }] : [],
    ),
    ...rules.flatMap(({ rule, mode, said }): Objection[] => (said === "inputs_missing" ? [{ mode, no: unseen(rule) }] : [])),
    ...(argumentsUnseen ? [{ mode: "enforce" as const, no: unseen("/arguments") }] : []),
    ...requirements.flatMap(({ rule, inputsMissing }): Objection[] => (inputsMissing ? [{ mode: "enforce", no: unseen(rule) }] : [])),
    ...(areLoopsUnseen ? [{ mode: "enforce" as const, no: unseen("/loops") }] : []),
  ];
}

/** Asks whether the inputs fit the action's schemas. */
const argumentsGate = (_question: Question, findings: Findings): No | null =>
  findings.argumentsFault === null
    ? null
    : no(
        "arguments_invalid",
        "action",
        shownText(findings.argumentsFault.message, findings.redaction),
        findings.argumentsFault.rule,
        null,
        "Correct the inputs and ask again.",
      );

/** Asks whether everything that must come first has. */
export function requirementGate(question: Question, findings: Findings): No | null {
  for (const requirement of findings.requirements) {
    const missing = requirement.after.find((pattern) => !hasPrior(question, findings, requirement, pattern));
    if (missing === undefined) continue;
    const within = requirement.withinMs === null ? "" : ` within the last ${requirement.withinMs / 1000} s`;
    const alike = requirement.same.length === 0 ? "" : `, with the same ${requirement.same.map((path) => path.join(".")).join(" and ")}`;
    const fitting = requirement.where === null ? "" : ", and with a result that the policy asks for";
    const message = `"${missing}" must come before "${question.request.action}"${within}${alike}${fitting}.`;
    return no("prerequisite_missing", "action", message, requirement.rule, null, `Do "${missing}" first, then ask again.`);
  }
  return null;
}

/** Asks the rules over the session's history. One that could not be evaluated forbids. */
const historyGate = (question: Question, findings: Findings): readonly Objection[] => ruleGate(question, findings, isOverHistory, forbiddenByHistory);

const isOverHistory = ({ history }: RuleFinding): boolean => history;

const forbiddenByHistory = ({ rule, stops }: RuleFinding, failed: boolean): No =>
  failed
    ? no(
        "history_forbids",
        stops,
        `The rule "${rule}" could not be evaluated over this session's history, and then it forbids.`,
        rule,
        null,
        "A new session has no history.",
      )
    : no(
        "history_forbids",
        stops,
        `What happened before in this session forbids this, says the rule "${rule}".`,
        rule,
        null,
        "Do not try this again in this session.",
      );

/** Asks whether this call would close a loop, and whether the action has failed too often. */
function repetitionGate(question: Question, findings: Findings): readonly Objection[] {
  const { book, request, now } = question;
  if (findings.loops.length === 0 && findings.retries.length === 0) return NONE;
  const loops = findings.loops.map(({ threshold, windowMs, key }) => {
    const { trail } = book;
    // It was asked for the inputs before.
    if (key === null) return { wait: 0, message: "" };
    const blocking = trail.nthAlike(request.action, key, threshold - 1, windowMs, now);
    const wait = threshold === 1 ? null : waitFor(blocking, windowMs, now);
    if (wait === 0) return { wait, message: "" };
    const alike = trail.calls(request.action, windowMs, now).filter((trace) => keptOf(trace, now)?.loopKeys.includes(key) === true);
    const message = `This would be call ${alike.length + 1} of "${request.action}" with the same inputs within ${windowMs / 1000} s, and ${threshold} make a loop.`;
    return { wait, message };
  });
  const retries = findings.retries.map(({ threshold, windowMs }) => {
    const failures: HitLog = book.trail.failures(request.action, windowMs, now);
    const message = `"${request.action}" failed ${failures.length} times within ${windowMs / 1000} s, and after ${threshold} it is denied.`;
    return { wait: waitMs(failures, threshold, windowMs, now), message };
  });
  const loop = longest(loops);
  const retry = longest(retries);
  return [
    ...(loop === null ? [] : [no("loop_detected", "action", loop.message, "/loops", loop.wait, "Change the inputs, or do something else.")]),
    ...(retry === null
      ? []
      : [no("retries_exceeded", "action", retry.message, "/retries", retry.wait, "Find out why it fails before trying again.")]),
  ].map((found) => ({ mode: "enforce", no: found }));
}

/** Of several that say no the one that lasts longest says when to come back: sooner would be refused again. */
function longest<T extends { readonly wait: number | null }>(found: readonly T[]): T | null {
  const lasting = found.filter(({ wait }) => wait !== 0);
  return lasting.reduce<T | null>(
    (most, one) => (most === null || (most.wait !== null && (one.wait ?? Number.POSITIVE_INFINITY) > most.wait) ? one : most),
    null,
  );
}

/** The no of a kill or a pause. */
export function orderNo({ target, id, state }: Order): No {
  const killed = state === "killed";
  const stops = !killed || target === "action" ? "action" : target === "run" ? "run" : "session";
  const named = target === "tenant" ? "Everything of this tenant" : `The ${target} "${id}"`;
  const message = killed ? `${named} was killed.` : `${named} is paused.`;
  const hint = killed ? "A person must revive it first. Do not try to go on another way." : "Wait until a person resumes it.";
  return no(killed ? `${target}_killed` : `${target}_paused`, stops, message, null, null, hint);
}

/** Asks whether one more of these may be in progress, and whether one more fits into every window. */
function useGate(question: Question, findings: Findings): readonly Objection[] {
  const { book, request, now } = question;
  for (const { pattern, max } of findings.concurrency) {
    if (book.pending.count(pattern) >= max) {
      const found = no(
        "concurrency_exceeded",
        "action",
        `${max} of "${pattern}" may be in progress at once, and as many are.`,
        pointer("concurrency", pattern),
        null,
        "Finish one of them first.",
      );
      return [{ mode: "enforce", no: found }];
    }
  }
  if (findings.rates.length === 0) return NONE;
  const own = findings.rates.filter((rate) => sharedRate(rate) === null);
  const full = longest(
    own.map((rate) => ({ rate, wait: waitMs(hitsOf(book, logOf(rate, request.run ?? book.currentRun)), rate.max, rate.windowMs, now) })),
  );
  if (full !== null) return [{ mode: "enforce", no: rateNo(full.rate, full.wait) }];
  return sharedRateNos(question, findings);
}

/** Asks the rates that sessions share: each needs a permit, which the tenant gives. */
function sharedRateNos({ book, now, tenant }: Question, { rates }: Findings): readonly Objection[] {
  const seen = new Set<string>();
  return rates.flatMap((rate): Objection[] => {
    const shared = sharedRate(rate);
    if (shared === null || seen.has(permitKey(shared))) return [];
    seen.add(permitKey(shared));
    const permits = book.shares.permits.get(permitKey(shared));
    const limits = rates.filter(({ per, pattern }) => per === rate.per && pattern === rate.pattern).map(({ max, windowMs }) => ({ max, windowMs }));
    if (permits !== undefined && isPermitted(permits, limits)) return [];
    if (tenant === "lost") return [{ mode: "enforce", no: unreached() }];
    const wait = permits?.fitsAt == null ? null : Math.max(1, permits.fitsAt - now);
    // As with money: there was enough when it was asked for.
    const isThere = permits !== undefined && permits.remaining > 0 && isAsTight(permits.limits, limits);
    const found: Objection = { mode: "enforce", no: rateNo(rate, wait) };
    if (tenant === "heard" && !isThere) return [found];
    return [{ ...found, short: { kind: "calls", ...shared, limits }, isThere: tenant === "heard" }];
  });
}

function rateNo(rate: RateLimit, wait: number | null): No {
  const whose = rate.per === "agent" || rate.per === "tenant" ? ` to all sessions of the ${rate.per}` : "";
  const message = `${rate.max} of "${rate.pattern}" are allowed${whose} within ${rate.windowMs / 1000} s, and as many were.`;
  const hint = wait === null ? "This action is never allowed under the present limit." : `Try again in ${spokenTime(wait)}.`;
  return no("rate_exceeded", "action", message, pointer("rate_limits", rate.pattern), wait, hint);
}

/** The no where the tenant alone could say more, and cannot be reached. */
const unreached = (): No =>
  no(
    "authority_stale",
    "action",
    "What the session may use without asking is used up, and its tenant gave no more in time.",
    null,
    1000,
    "Try again shortly.",
  );

/** Asks whether it is known what this costs. */
const priceGate = (_question: Question, findings: Findings): No | null =>
  findings.priceUnknown
    ? no(
        "price_unknown",
        "action",
        "What this costs cannot be known: the model has no known price, or no usage was stated to price.",
        "/budgets/default_price",
        null,
        "State the estimate with a model whose price is known, or have a default price set.",
      )
    : null;

/**
 * Asks every account, from the narrowest to the widest. `spent + amount <= limit` passes; equality passes. A no ends the run or the session only where all
 * of its budget is posted: as long as something is left the agent may do something smaller, and what is only set aside may come back.
 */
export function budgetGate(question: Taking, findings: Pick<Findings, "budgets" | "alerts">): readonly Objection[] {
  const { book, request, amountMicroUsd } = question;
  const limits = limitsFor(book, findings.budgets);
  if (limits.length === 0) return NONE;
  const shorts: Objection[] = [];
  const lacks: Lack[] = [];
  for (const limit of limits) {
    if (limit.scope === "agent" || limit.scope === "tenant") {
      const lack = lackOf(question, findings, limit);
      if (lack === null) continue;
      // A tenant that cannot be reached says nothing of any account: that is one no.
      if (!("leftMicroUsd" in lack) && lack.short === undefined) return [lack];
      if ("leftMicroUsd" in lack) lacks.push(lack);
      else shorts.push(lack);
      continue;
    }
    const account = accountOf(book, limit, request.run ?? book.currentRun);
    if (spentOf(account) + amountMicroUsd <= limit.limitMicroUsd) continue;
    const left = freeOf(account, limit.limitMicroUsd);
    const noun = NOUN[limit.scope];
    const message =
      amountMicroUsd === 0
        ? overspent(noun, lessUsd(spentOf(account), limit.limitMicroUsd), `${formatUsd(limit.limitMicroUsd)} USD`)
        : `The ${noun} has ${formatUsd(left)} USD left of ${formatUsd(limit.limitMicroUsd)}, and this takes ${formatUsd(amountMicroUsd)}.`;
    const isGone = account.postedMicroUsd >= limit.limitMicroUsd;
    const stops = isGone && limit.scope !== "action" ? limit.scope : "action";
    const found = no(
      BUDGET_REASON[limit.scope],
      stops,
      message,
      budgetRule(limit),
      null,
      left > 0 ? helpsWith(question, limits) : helps(left, isGone, isGone ? "Only more budget helps." : null),
    );
    return [{ mode: "enforce", no: found }];
  }
  const [narrowest] = lacks;
  // What the tenant must be asked for, it is asked for together; what is not to be had needs no asking.
  return narrowest === undefined ? shorts : [{ mode: "enforce", no: lackNo(question, narrowest, lacks) }];
}

/** What takes nothing is refused only where more was spent than there was. */
const overspent = (noun: string, over: MicroUsd, limit: string): string =>
  `The ${noun} of ${limit} is overspent by ${formatUsd(over)} USD, and until more is there it lets nothing through, not even what takes nothing.`;

/** How much an agent can ask for where one of the session's own accounts has something left: no more than each of the others has, or that one refuses it. */
function helpsWith({ book, request, hasMicroUsd }: Taking, limits: readonly BudgetLimit[]): string {
  const free = limits.flatMap((limit) => {
    if (limit.scope !== "agent" && limit.scope !== "tenant")
      return [{ noun: NOUN[limit.scope], left: freeOf(accountOf(book, limit, request.run ?? book.currentRun), limit.limitMicroUsd) }];
    // As its tenant last told it. Where that was nothing, there may be something by now.
    const left = leftOf(book.shares, limit);
    return left > 0 ? [{ noun: `${limit.scope}'s budget`, left }] : [];
  });
  const least = free.reduce((most, one) => (one.left < most.left ? one : most));
  return least.left > 0 ? helps(least.left, false, null, hasMicroUsd) : hasNothing(least.noun, null);
}

/** What is not to be had of an account that sessions share. `wait`: for so many milliseconds, or for ever. */
interface Lack {
  readonly limit: SharedLimit;
  readonly leftMicroUsd: MicroUsd;
  /** So much more was spent than there was. */
  readonly overMicroUsd: MicroUsd;
  readonly isGone: boolean;
  readonly wait: number | null;
}

/** Asks an account that sessions share: of this session's slice of it, and where that is too small, of the tenant. */
function lackOf(
  { book, request, amountMicroUsd, hasMicroUsd, tenant, now }: Taking,
  { alerts }: Pick<Findings, "alerts">,
  limit: SharedLimit,
): Lack | Objection | null {
  const { shares } = book;
  if (isCovered(shares, limit, amountMicroUsd)) return null;
  const leftMicroUsd = leftOf(shares, limit);
  const { endsAt } = spanOf(shares, limit.window);
  const account = accountOf(book, limit, request.run ?? book.currentRun);
  const isGone = account.postedMicroUsd >= limit.limitMicroUsd;
  // Each of the two may be the largest amount there is.
  const takenMicroUsd = microUsdOf(Math.min(account.postedMicroUsd + account.pendingMicroUsd, Number.MAX_SAFE_INTEGER));
  const lack: Lack = {
    limit,
    leftMicroUsd,
    overMicroUsd: lessUsd(takenMicroUsd, limit.limitMicroUsd),
    isGone,
    wait: endsAt === null || amountMicroUsd > limit.limitMicroUsd ? null : endsAt - now,
  };
  // What was heard may have been of a stretch that has ended since: of this one nothing is known. And what was given may have gone to somebody else, or back
  // to the tenant for another account's sake, before this had its turn: while by all that was heard there is enough, no budget is the reason.
  const slice = sliceOf(shares, limit);
  const isThere = slice !== null && slice.limitMicroUsd <= limit.limitMicroUsd && leftMicroUsd > 0 && amountMicroUsd <= leftMicroUsd;
  if (tenant === "heard" && slice !== null && !isThere) return lack;
  if (tenant === "lost") return { mode: "enforce", no: unreached() };
  const short: Short = { kind: "money", limit, amountMicroUsd, leastMicroUsd: amountMicroUsd, alerts };
  return { mode: "enforce", no: lackNo({ amountMicroUsd, hasMicroUsd }, lack, [lack]), short, isThere: tenant === "heard" && isThere };
}

/** Of what is not to be had the narrowest is the reason, and what lasts longest says when to come back. */
function lackNo({ amountMicroUsd, hasMicroUsd }: Pick<Taking, "amountMicroUsd" | "hasMicroUsd">, narrowest: Lack, all: readonly Lack[]): No {
  const { limit, leftMicroUsd, overMicroUsd } = narrowest;
  const each = limit.window === "total" ? "in all" : `for each ${limit.window}`;
  const message =
    amountMicroUsd === 0 && overMicroUsd > 0
      ? overspent(`${limit.scope}'s budget`, overMicroUsd, `${formatUsd(limit.limitMicroUsd)} USD ${each}`)
      : `The ${limit.scope}'s budget has ${formatUsd(leftMicroUsd)} USD left of ${formatUsd(limit.limitMicroUsd)} ${each}, and this takes ${formatUsd(amountMicroUsd)}.`;
  const wait = longest(all)?.wait ?? null;
  const isForGood = all.some((lack) => lack.wait === null && (lack.isGone || lack.leftMicroUsd > 0));
  const later = wait !== null ? `More is there in ${spokenTime(wait)}.` : isForGood ? "Only more budget helps." : null;
  const stops = all.some((lack) => lack.isGone) ? "session" : "action";
  // What one has left is of no use where another has less.
  const least = all.reduce((most, lack) => (lack.leftMicroUsd < most.leftMicroUsd ? lack : most));
  const isOther = least.leftMicroUsd === 0 && leftMicroUsd > 0;
  const hint = isOther ? hasNothing(`${least.limit.scope}'s budget`, later) : helps(least.leftMicroUsd, least.isGone, later, hasMicroUsd);
  return no(`${limit.scope}_budget_exceeded`, stops, message, budgetRule(limit), wait, hint);
}

/** Of another account than the one that is the reason. */
const hasNothing = (noun: string, later: string | null): string =>
  `The ${noun}, which counts as well, has nothing left.${later === null ? "" : ` ${later}`}`;

/** What an agent can do about a budget that is too small; `later`: and when it is larger. Who has something already asks for a new sum. */
function helps(leftMicroUsd: MicroUsd, isGone: boolean, later: string | null, hasMicroUsd: MicroUsd = ZERO_USD): string {
  const also = later === null ? "" : ` ${later}`;
  if (leftMicroUsd > 0) return `Ask for at most ${formatUsd(addUsd(leftMicroUsd, hasMicroUsd))} USD${hasMicroUsd > 0 ? " in all" : ""}.${also}`;
  return isGone
    ? `Nothing is left.${also}`
    : `What is left is set aside for what is under way, and some of it may come back when that is settled.${also}`;
}

/** Asks the reserve for winding down, of an action that is paid from it already. */
export function reserveGate(question: Question, findings: Findings): No | null {
  if (windsDown(question, findings)) return null;
  const left = reserveLeft(question, findings);
  const message = `The reserve for winding down has ${formatUsd(left)} USD left, and this takes ${formatUsd(question.amountMicroUsd)}.`;
  const hint = left > 0 ? helps(left, false, null, question.hasMicroUsd) : "What is set aside for it already is all that it can have.";
  return no("session_budget_exceeded", "action", message, RESERVE_RULE, null, hint);
}

/** Whether the reserve for winding down covers what no budget does. */
export function windsDown({ book, amountMicroUsd }: Question, { windDown }: Findings): boolean {
  return windDown !== null && spentOf(book.windDown) + amountMicroUsd <= windDown.limitMicroUsd;
}

const RESERVE_RULE = "/wind_down/budget";

const reserveLeft = ({ book }: Question, { windDown }: Findings): MicroUsd =>
  windDown === null ? ZERO_USD : freeOf(book.windDown, windDown.limitMicroUsd);

/** A budget's no to an action that winds down, where its reserve has too little for it too: with less of it, or with what comes back, the agent can go on. */
export function windingDown(found: No, question: Question, findings: Findings): No {
  const { windDown } = findings;
  const isGone = windDown === null || question.book.windDown.postedMicroUsd >= windDown.limitMicroUsd;
  if (isGone || found.reason.rule === RESERVE_RULE) return found;
  const left = reserveLeft(question, findings);
  const hint =
    left > 0
      ? `Ask for at most ${formatUsd(left)} USD: so much is left of the reserve for winding down.`
      : "What is left of the reserve for winding down is set aside for what is under way, and some of it may come back when that is settled.";
  return { ...found, stops: "action", reason: { ...found.reason, hint } };
}

/** Asks whether a person must answer first, and what became of the approval that the request names. */
function approvalGate(question: Question, findings: Findings): readonly Objection[] {
  const { presented } = question;
  if (findings.hold === null && findings.rules.length === 0) return NONE;
  const held: Objection[] = findings.hold === null ? [] : [{ mode: "enforce", no: approvalNo(findings.hold.rule, presented) }];
  const objections = [
    ...held,
    ...ruleGate(
      question,
      findings,
      ({ effect }) => effect === "hold",
      ({ rule }) => approvalNo(rule, presented),
    ),
  ];
  return presented === "granted" ? objections.map((objection) => ({ ...objection, granted: true })) : objections;
}

function approvalNo(rule: string, presented: PresentedApproval): No {
  switch (presented) {
    case "none":
    case "granted":
      return no("approval_required", "action", "A person must approve this first.", rule, null, "Wait for the approval, then ask again with it.");
    case "open":
      return no("approval_required", "action", "This is not approved yet.", rule, null, "Wait for the approval, then ask again with it.");
    case "expired":
      return no("approval_expired", "action", "The approval has expired.", rule, null, "Ask again without it to open a new one.");
    case "rejected":
      return no("approval_rejected", "action", "A person rejected this.", rule, null, "Do not try this again; do something else.");
    case "cancelled":
      return no("approval_rejected", "action", "The request for approval was cancelled.", rule, null, "Ask again without it to open a new one.");
    case "consumed":
      return no("approval_consumed", "action", "The approval was used before.", rule, null, "Ask again without it to open a new one.");
    case "mismatch":
    case "unknown":
      return no(
        "approval_mismatch",
        "action",
        "The approval named is not an approval of this request.",
        rule,
        null,
        "Ask again without it to open a new one.",
      );
  }
}

/** The rules of one kind that fire, in the document's order: their condition holds, or could not be evaluated. */
function ruleGate(
  question: Question,
  findings: Findings,
  among: (rule: RuleFinding) => boolean,
  say: (rule: RuleFinding, failed: boolean) => No,
): readonly Objection[] {
  if (findings.rules.length === 0) return NONE;
  return findings.rules.flatMap((rule): Objection[] => {
    const { said, mode } = rule;
    if (!among(rule) || said === "inputs_missing") return [];
    const holds = said === "holds" ? true : said === "failed" ? null : holdsNow(question, findings, said.ask);
    return holds === false ? [] : [{ mode, no: say(rule, holds === null) }];
  });
}

/** Answers a condition that looks at the session's history. */
function holdsNow(question: Question, findings: Findings, text: string): boolean | null {
  const scene = sceneOf(question, findings);
  return scene === null ? null : question.conditions.rule(text, scene, question.past, question.budget);
}

/** Whether the newest earlier call of an action that `pattern` names, among those that are alike and recent enough, fits a requirement. */
function hasPrior(question: Question, findings: Findings, requirement: Requirement, pattern: string): boolean {
  const { book, now, conditions } = question;
  // A call made exactly as long ago as is allowed still fits; without a limit the session's whole past counts.
  const windowMs = requirement.withinMs === null ? Number.POSITIVE_INFINITY : requirement.withinMs + 1;
  const prior = book.trail.calls(pattern, windowMs, now).findLast((trace) => isAlike(question, requirement, trace));
  if (prior === undefined) return false;
  if (requirement.where === null) return true;
  const scene = sceneOf(question, findings);
  return scene !== null && conditions.where(requirement.where, scene, priorOf(prior, now), question.budget) === true;
}

/** Whether an earlier call can count: it did not fail, unless the condition asks how it went, and it was about the same thing. */
function isAlike({ request, now }: Question, { looksAtOutcome, same }: Requirement, trace: Trace): boolean {
  if (!looksAtOutcome && trace.outcome !== "pending" && trace.outcome !== "success") return false;
  const asked = { inputs: request.inputs ?? {}, ...(request.resource !== null && { resource: request.resource }) };
  return same.every((path) => {
    const here = valueAt(asked, path);
    const there = seenAt(trace, path, now)?.value;
    return here !== undefined && there !== undefined && canonicalJson(here) === canonicalJson(there);
  });
}

const sceneOf = ({ request }: Question, { scene }: Findings): Scene | null => (scene === null ? null : { ...scene, inputs: request.inputs });

const unseen = (rule: string): No =>
  no(
    "inputs_required",
    "action",
    "The policy looks at the inputs themselves, and only their digest was sent.",
    rule,
    null,
    "Send the inputs instead of their digest.",
  );

/** A gate as it is asked: everything that stands against the request there, in order, and whether it counts. */
export type Gate = (question: Question, findings: Findings) => readonly Objection[];

/** Nothing stands against the request here: of most gates that is so, and it costs no list of its own. */
const NONE: readonly Objection[] = [];

/** A gate whose one no always counts. */
export const enforced =
  (gate: (question: Question, findings: Findings) => No | null): Gate =>
  (question, findings) => {
    const found = gate(question, findings);
    return found === null ? NONE : [{ mode: "enforce", no: found }];
  };

/** What a policy asks of a request, in the order of precedence: the order of `REASONS`, and of the language's reference. */
export const POLICY_GATES = [
  { gate: "lists", asks: enforced(listGate) },
  { gate: "permits", asks: permitGate },
  { gate: "forbids", asks: forbidGate },
  { gate: "inputs", asks: inputsGate },
  { gate: "arguments", asks: enforced(argumentsGate) },
  { gate: "requirements", asks: enforced(requirementGate) },
  { gate: "history", asks: historyGate },
  { gate: "repetition", asks: repetitionGate },
  { gate: "use", asks: useGate },
  { gate: "price", asks: enforced(priceGate) },
  { gate: "budgets", asks: budgetGate },
  { gate: "approval", asks: approvalGate },
] as const satisfies readonly { readonly gate: string; readonly asks: Gate }[];

/**
 * What the session knows of the approval that a request names. `open`: nobody has answered yet; `granted`: it is approved, for exactly this, under the
 * policy in force; `mismatch`: it is of something else.
 */
export type PresentedApproval = "none" | "open" | "granted" | "mismatch" | "rejected" | "cancelled" | "expired" | "consumed" | "unknown";

/** Where a policy says this limit, as an RFC 6901 pointer. */
export function budgetRule(limit: BudgetLimit): string {
  switch (limit.scope) {
    case "action":
      return pointer("budgets/actions", limit.pattern);
    case "run":
    case "session":
      return `/budgets/${limit.scope}`;
    case "agent":
    case "tenant":
      return `/budgets/${limit.scope}/${limit.window}`;
  }
}

const BUDGET_REASON = { action: "action_budget_exceeded", run: "run_budget_exceeded", session: "session_budget_exceeded" } as const;
const NOUN = { action: "action's budget", run: "run's budget", session: "session's budget" } as const;

/** An RFC 6901 pointer to a member of a policy's section. */
const pointer = (section: string, member: string): string => `/${section}/${member.replaceAll("~", "~0").replaceAll("/", "~1")}`;

const no = (code: ReasonCode, stops: Stops, message: string, rule: string | null, retryAfterMs: number | null, hint: string): No => ({
  kind: "no",
  reason: { code, message, rule, retryAfterMs, hint },
  stops,
});
