import type { ASTNode } from "@marcbachmann/cel-js";
import { accountOf, type Book, hitsOf, limitsFor, logOf, sharedRate, spentOf } from "../book.ts";
import { type Ask, type Judgement, judge } from "../conclude.ts";
import type { Reason } from "../decision.ts";
import {
  authorityGate,
  budgetRule,
  capacityGate,
  type Gate,
  type No,
  type Objection,
  POLICY_GATES,
  type Question,
  requirementGate,
  windsDown,
} from "../gates.ts";
import type { JsonValue } from "../json.ts";
import { formatUsd } from "../money.ts";
import { permitKey } from "../shares.ts";
import { formatInstant } from "../time.ts";
import { pastOf, priorOf, type Trace, Trail, valueAt } from "../trail.ts";
import { countWithin } from "../windows.ts";
import type { CompiledPolicy, CompiledRequirement, CompiledRule } from "./compile.ts";
import type { PolicyDocument } from "./document.ts";
import type { Circumstances } from "./evaluate.ts";
import { build } from "./expression_build.ts";
import { check } from "./expression_check.ts";
import { HISTORY } from "./expression_history.ts";
import { readsOf } from "./expression_reads.ts";
import { below } from "./expression_tree.ts";
import { Duration, FAULT, type Outcome, Timestamp } from "./expression_values.ts";
import { compileExpression, type ExpressionKind } from "./expressions.ts";
import type { Findings, Mode, Past, Path, Prior, Reach, Requirement, Scene } from "./findings.ts";
import { formatPath } from "./paths.ts";

/** Why a request comes out as it does: every gate in the order of precedence, and every rule that names the action. */
export interface Explanation {
  readonly judgement: Judgement;
  readonly gates: readonly GateExplained[];
  /** Of both sections, in the document's order; those that permit stand with the others. */
  readonly rules: readonly RuleExplained[];
  readonly requirements: readonly RequirementExplained[];
}

/** `not_asked`: an earlier gate had said no that counts, and nothing later could have changed it. */
export type GateOutcome = "passed" | "denied" | "held" | "not_asked";

export interface GateExplained {
  readonly gate: GateName;
  readonly outcome: GateOutcome;
  /** What it said, and whether that counted; empty where it was not asked. */
  readonly said: readonly { readonly reason: Reason; readonly mode: Mode; readonly counts: boolean }[];
  /** What it looked at, in sentences, each about a place of the policy. */
  readonly facts: readonly Fact[];
}

export interface Fact {
  readonly rule: string;
  readonly says: string;
}

export interface RuleExplained {
  readonly rule: string;
  readonly section: "rules" | "history";
  readonly effect: "permit" | "forbid" | "hold";
  readonly actions: readonly string[];
  readonly mode: Mode;
  readonly stops: Reach;
  /** `null`: always. */
  readonly when: string | null;
  /** `failed`: it could not be evaluated, and then it forbids, holds, or does not permit. */
  readonly said: "holds" | "does_not_hold" | "failed" | "inputs_missing";
  /** Whether its gate was asked before the answer was clear. */
  readonly asked: boolean;
  /** The members of its `&&` or `||`, one by one; empty where the condition is only one. */
  readonly parts: readonly { readonly text: string; readonly holds: boolean | null }[];
  readonly looks: readonly Looked[];
}

/** A place that a condition looked at. `value` is absent where nothing stands there. */
export interface Looked {
  readonly at: string;
  readonly value?: JsonValue;
}

export interface RequirementExplained {
  readonly rule: string;
  readonly action: string;
  readonly where: string | null;
  readonly same: readonly string[];
  readonly withinMs: number | null;
  readonly after: readonly {
    readonly pattern: string;
    /** What stands in the way; `fits` where nothing does. */
    readonly found: "fits" | "never_called" | "not_recent" | "not_alike" | "unsuccessful" | "where_fails";
    /** The newest call that is alike and recent enough, as `where` sees it. */
    readonly looks: readonly Looked[];
  }[];
}

/** A session at the moment of a request, and what the policy says of the request. Nothing of it is changed. */
export interface Asked {
  readonly policy: CompiledPolicy;
  readonly document: PolicyDocument;
  readonly book: Book;
  /** As `judge` takes it; its evaluation are the findings. */
  readonly ask: Ask;
  readonly findings: Findings;
  readonly around: Circumstances;
}

/**
 * Explains the answer that {@link judge} gives. Pure and total; asks the very gates that decide, in the same order, so that it cannot explain another
 * answer. Conditions of all rules are shown, those too that were not asked any more.
 */
export function explain(asked: Asked): Explanation {
  const { book, ask, findings, around } = asked;
  const question: Question = {
    book,
    request: ask.request,
    amountMicroUsd: findings.estimateMicroUsd,
    now: around.now,
    conditions: ask.conditions,
    presented: ask.presented,
    past: pastOf(book.trail, around.now),
    budget: ask.budget,
    tenant: ask.tenant,
  };
  const gates = gatesOf(question, ask, findings);
  const reached = new Set(gates.filter(({ outcome }) => outcome !== "not_asked").map(({ gate }) => gate));
  return {
    judgement: judge(book, ask, around.now, around.sha256),
    gates,
    rules: rulesOf(asked, sceneOf(asked), reached),
    requirements: requirementsOf(asked, question),
  };
}

type Facts = (question: Question, findings: Findings) => readonly Fact[];

export type GateName = "session" | (typeof POLICY_GATES)[number]["gate"];

/** What a gate looked at, where there is more to tell than its answer. */
const FACTS: { readonly [gate in GateName]?: Facts } = {
  lists: listFacts,
  repetition: repetitionFacts,
  use: useFacts,
  price: priceFacts,
  budgets: budgetFacts,
};

function gatesOf(question: Question, ask: Ask, findings: Findings): readonly GateExplained[] {
  let over = false;
  const all: readonly { readonly gate: GateName; readonly asks: Gate }[] = [
    { gate: "session", asks: () => sessionGates(question, ask) },
    ...POLICY_GATES,
  ];
  return all.map(({ gate, asks }): GateExplained => {
    if (over) return { gate, outcome: "not_asked", said: [], facts: [] };
    const objections = asks(question, findings);
    const said = objections.map(({ mode, no }) => ({
      reason: no.reason,
      mode,
      // What stands above the policy holds however strict it is.
      counts: gate === "session" || (findings.strict && mode === "enforce" && !isPaidFromReserve(question, findings, no)),
    }));
    const first = said.find(({ counts }) => counts);
    over = first !== undefined;
    const outcome = first === undefined ? "passed" : first.reason.code === "approval_required" ? "held" : "denied";
    return { gate, outcome, said, facts: FACTS[gate]?.(question, findings) ?? [] };
  });
}

function sessionGates(question: Question, ask: Ask): readonly Objection[] {
  const authority = authorityGate(question, ask);
  const no = authority.kind === "no" ? authority : capacityGate(question);
  return no === null ? [] : [{ mode: "enforce", no }];
}

const isPaidFromReserve = (question: Question, findings: Findings, no: No): boolean =>
  no.reason.code.endsWith("_budget_exceeded") && windsDown(question, findings);

function listFacts({ request }: Question, { deniedBy, listed }: Findings): readonly Fact[] {
  if (deniedBy !== null) return [{ rule: "/denied_actions", says: `"${deniedBy}" names "${request.action}"` }];
  return listed ? [] : [{ rule: "/allowed_actions", says: `nothing in it names "${request.action}"` }];
}

function repetitionFacts({ book, request, now }: Question, { loops, retries }: Findings): readonly Fact[] {
  return [
    ...loops.map(({ threshold, windowMs, key }): Fact => {
      if (key === null) return { rule: "/loops", says: "of these inputs only a digest was sent, and parts of them are ignored" };
      const alike = book.trail.calls(request.action, windowMs, now).filter(({ kept }) => kept?.loopKeys.includes(key) === true).length;
      return { rule: "/loops", says: `call ${alike + 1} with these inputs within ${seconds(windowMs)}, and ${threshold} make a loop` };
    }),
    ...retries.map(({ threshold, windowMs }): Fact => {
      const failures = book.trail.failures(request.action, windowMs, now).length;
      return { rule: "/retries", says: `${failures} of ${threshold} failures within ${seconds(windowMs)}` };
    }),
  ];
}

function useFacts({ book, request, now }: Question, { concurrency, rates }: Findings): readonly Fact[] {
  return [
    ...concurrency.map(
      ({ pattern, max }): Fact => ({ rule: pointer("concurrency", pattern), says: `${book.pending.count(pattern)} of ${max} in progress` }),
    ),
    ...rates.map((rate): Fact => {
      const shared = sharedRate(rate);
      const log =
        shared === null ? hitsOf(book, logOf(rate, request.run ?? book.currentRun)) : (book.shares.permits.get(permitKey(shared))?.used ?? []);
      const made = countWithin(log, rate.windowMs, now);
      return { rule: pointer("rate_limits", rate.pattern), says: `${made} of ${rate.max} within ${seconds(rate.windowMs)}` };
    }),
  ];
}

function priceFacts(_question: Question, { price, estimateMicroUsd }: Findings): readonly Fact[] {
  return price === null ? [] : [{ rule: "/budgets/default_price", says: `${formatUsd(estimateMicroUsd)} USD, ${price.basis}; ${price.data}` }];
}

function budgetFacts({ book, request, amountMicroUsd }: Question, { budgets }: Findings): readonly Fact[] {
  return limitsFor(book, budgets).map((limit): Fact => {
    const spent = formatUsd(spentOf(accountOf(book, limit, request.run ?? book.currentRun)));
    return { rule: budgetRule(limit), says: `${spent} taken, ${formatUsd(amountMicroUsd)} asked, of ${formatUsd(limit.limitMicroUsd)} USD` };
  });
}

function sceneOf({ ask: { request }, findings, around }: Asked): Scene {
  return {
    subject: around.subject,
    action: request.action,
    resource: { ...around.resource, ...request.resource },
    inputs: request.inputs,
    tags: request.tags,
    estimateMicroUsd: findings.estimateMicroUsd,
    context: around.context,
    now: around.now,
  };
}

function rulesOf({ policy, document, ask, book, around }: Asked, scene: Scene, reached: ReadonlySet<GateName>): readonly RuleExplained[] {
  const found = policy.ofAction(ask.request.action);
  const named = new Map([...found.permits.flat(), ...found.rules].map((rule) => [rule.rule, rule]));
  const unseen = ask.request.inputsDigest !== null && ask.request.inputs === undefined;
  const past = pastOf(book.trail, around.now);
  const said = (rule: CompiledRule): RuleExplained["said"] => {
    const expression = rule.condition();
    if (expression === true) return "holds";
    if (expression === null) return "failed";
    if (unseen && expression.reads.inputs.length > 0) return "inputs_missing";
    const holds = expression.evaluate(scene, past, null);
    return holds === null ? "failed" : holds ? "holds" : "does_not_hold";
  };
  const written = [
    ...(document.rules ?? []).map((rule, place) => ({
      name: rule.id ?? `/rules/${place}`,
      section: "rules" as const,
      actions: rule.actions,
      when: rule.when ?? null,
    })),
    ...(document.history ?? []).map((rule, place) => ({
      name: rule.id ?? `/history/${place}`,
      section: "history" as const,
      actions: rule.forbid,
      when: rule.when as string | null,
    })),
  ];
  return written.flatMap(({ name, section, actions, when }): RuleExplained[] => {
    const rule = named.get(name);
    if (rule === undefined) return [];
    const looking: Looking = { values: valuesOf(scene, null), past: (node) => lookBack(node, scene, past) };
    const holds = (text: string): boolean | null => {
      const part = compileExpression(text, "rule");
      return part.ok ? part.value.evaluate(scene, past, null) : null;
    };
    return [
      {
        rule: name,
        section,
        effect: rule.effect,
        actions,
        mode: rule.mode,
        stops: rule.stops,
        when,
        said: said(rule),
        asked: reached.has(gateOf(rule)),
        ...(when === null ? { parts: [], looks: [] } : inside(when, "rule", looking, holds)),
      },
    ];
  });
}

const gateOf = ({ effect, history }: CompiledRule): GateName =>
  history ? "history" : effect === "permit" ? "permits" : effect === "forbid" ? "forbids" : "approval";

function requirementsOf(asked: Asked, question: Question): readonly RequirementExplained[] {
  const { policy, ask, findings } = asked;
  const scene = sceneOf(asked);
  return policy.ofAction(ask.request.action).requirements.flatMap((compiled, place): RequirementExplained[] => {
    const requirement = findings.requirements[place];
    if (requirement === undefined) return [];
    return [
      {
        rule: requirement.rule,
        action: ask.request.action,
        where: requirement.where,
        same: requirement.same.map(formatPath),
        withinMs: requirement.withinMs,
        after: requirement.after.map((pattern) => ({ pattern, ...standing(question, findings, compiled, requirement, pattern, scene) })),
      },
    ];
  });
}

/** What stands in the way of one earlier action, found by asking the gate itself with less and less that is wanted. */
function standing(
  question: Question,
  findings: Findings,
  compiled: CompiledRequirement,
  wanted: Requirement,
  pattern: string,
  scene: Scene,
): Omit<RequirementExplained["after"][number], "pattern"> {
  const meets = (less: Partial<Requirement>): boolean =>
    requirementGate(question, { ...findings, requirements: [{ ...wanted, after: [pattern], ...less }] }) === null;
  const newest = newestOf(question, findings, wanted, pattern);
  const looks =
    compiled.where === null || newest === null
      ? []
      : inside(compiled.where.text, "where", { values: valuesOf(scene, priorOf(newest, question.now)), past: () => undefined }, () => null).looks;
  if (meets({})) return { found: "fits", looks };
  if (meets({ where: null })) return { found: "where_fails", looks };
  const anyOutcome = { where: null, looksAtOutcome: true };
  if (!meets({ ...anyOutcome, same: [], withinMs: null })) return { found: "never_called", looks: [] };
  if (!meets({ ...anyOutcome, same: [] })) return { found: "not_recent", looks: [] };
  return { found: meets(anyOutcome) ? "unsuccessful" : "not_alike", looks: [] };
}

/** The newest call of `pattern` that counts, told by letting the gate look at each call alone. */
function newestOf(question: Question, findings: Findings, wanted: Requirement, pattern: string): Trace | null {
  const calls = question.book.trail.calls(pattern, wanted.withinMs === null ? Number.POSITIVE_INFINITY : wanted.withinMs + 1, question.now);
  for (const trace of calls.toReversed()) {
    const alone: Question = { ...question, book: { ...question.book, trail: new Trail(null, new Map([[trace.id, trace]])) } };
    const alike = requirementGate(alone, { ...findings, requirements: [{ ...wanted, after: [pattern], where: null }] }) === null;
    if (alike) return trace;
  }
  return null;
}

interface Looking {
  readonly values: { readonly [variable: string]: JsonValue };
  /** What a part of a condition that looks back comes to. */
  readonly past: (node: ASTNode) => JsonValue | undefined;
}

function valuesOf(scene: Scene, prior: Prior | null): Looking["values"] {
  return {
    subject: scene.subject,
    action: scene.action,
    resource: scene.resource,
    inputs: scene.inputs ?? {},
    tags: scene.tags,
    estimate_usd: scene.estimateMicroUsd / 1_000_000,
    context: scene.context,
    now: formatInstant(scene.now),
    ...(prior !== null && {
      prior: { action: prior.action, inputs: prior.inputs, outputs: prior.outputs, outcome: prior.outcome, age: seconds(prior.ageMs) },
    }),
  };
}

const STEPS = 1_000_000;

function lookBack(node: ASTNode, scene: Scene, past: Past): JsonValue | undefined {
  const made = build(node);
  return "message" in made
    ? undefined
    : jsonOf(made.piece({ scene, past, prior: null, reads: readsOf(node, made.history), locals: [], steps: STEPS }));
}

function jsonOf(value: Outcome): JsonValue | undefined {
  if (value === FAULT) return undefined;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Duration) return seconds(value.ms);
  if (value instanceof Timestamp) return formatInstant(value.ms);
  if (Array.isArray(value)) return value.map((item) => jsonOf(item) ?? null);
  if (value === null || typeof value !== "object") return value;
  const members = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(members.map(([name, member]) => [String(name), jsonOf(member) ?? null]));
}

/** What a condition is made of, and every place that it looks at, each once. */
function inside(
  text: string,
  kind: ExpressionKind,
  looking: Looking,
  holds: (text: string) => boolean | null,
): Pick<RuleExplained, "parts" | "looks"> {
  const checked = check(text, kind);
  if (!checked.ok) return { parts: [], looks: [] };
  const looks = new Map<string, Looked>();
  walk(checked.value, new Set(), looking, looks);
  const operands = checked.value.op === "&&" || checked.value.op === "||" ? flat(checked.value, checked.value.op) : [];
  return {
    looks: [...looks.values()],
    parts: operands.map((node) => ({ text: textOf(node), holds: holds(textOf(node)) })),
  };
}

const flat = (node: ASTNode, op: "&&" | "||"): readonly ASTNode[] =>
  node.op === op ? [...flat(node.args[0], op), ...flat(node.args[1], op)] : [node];

const textOf = (node: ASTNode): string => node.input.slice(node.range.start, node.range.end);

const MACROS: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"]);

function walk(node: ASTNode, shadowed: ReadonlySet<string>, looking: Looking, looks: Map<string, Looked>): void {
  const way = wayOf(node, shadowed, looking);
  if (way !== null) {
    const at = formatPath(way);
    const value = valueAt(looking.values, way);
    looks.set(at, value === undefined ? { at } : { at, value });
    return;
  }
  if (isLookBack(node)) {
    const at = textOf(node);
    const value = looking.past(node);
    looks.set(at, value === undefined ? { at } : { at, value });
    return;
  }
  const bound = node.op === "rcall" && MACROS.has(node.args[0]) ? node.args[2][0] : undefined;
  if (node.op === "rcall" && bound?.op === "id") {
    walk(node.args[1], shadowed, looking, looks);
    const inner = new Set(shadowed).add(bound.args);
    for (const part of node.args[2].slice(1)) walk(part, inner, looking, looks);
    return;
  }
  for (const part of below(node)) walk(part, shadowed, looking, looks);
}

/** The way that a chain of members with literal names takes from a variable; `null` where it is none. */
function wayOf(node: ASTNode, shadowed: ReadonlySet<string>, looking: Looking): Path | null {
  if (node.op === "id") return Object.hasOwn(looking.values, node.args) && !shadowed.has(node.args) ? [node.args] : null;
  if (node.op !== "." && node.op !== "[]") return null;
  const [of, member] = node.args;
  const name = typeof member === "string" ? member : member.op === "value" ? member.args : null;
  const way = typeof name === "string" ? wayOf(of, shadowed, looking) : null;
  return way === null || typeof name !== "string" ? null : [...way, name];
}

/** A history function, or a chain of members of what one answers. */
const isLookBack = (node: ASTNode): boolean => (node.op === "call" ? HISTORY.has(node.args[0]) : node.op === "." && isLookBack(node.args[0]));

const seconds = (ms: number): string => `${ms / 1000} s`;

const pointer = (section: string, member: string): string => `/${section}/${member.replaceAll("~", "~0").replaceAll("/", "~1")}`;
