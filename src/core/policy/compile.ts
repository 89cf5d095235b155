import { BUDGET_WINDOWS } from "../calendar.ts";
import type { MicroUsd } from "../money.ts";
import { DEFAULT_DETECTORS, DEFAULT_KEYS, type Redaction } from "../redact.ts";
import type { RiskLevel } from "../request.ts";
import { type ArgumentsSchema, compileArguments } from "./arguments.ts";
import { allowlistsOf, DEFAULT_APPROVAL_TIMEOUT_SECONDS, millisecondsOf, type PolicyDocument, storedUsd } from "./document.ts";
import { compileExpression, type Expression } from "./expressions.ts";
import type { BudgetLimit, Chain, ConcurrencyLimit, Keep, Mode, Path, RateLimit, Reach, ReserveLimit, RetryLimit, SharedLimit } from "./findings.ts";
import { parsePath } from "./paths.ts";
import { byNarrowness, indexOf, PatternIndex } from "./patterns.ts";
import { pointerOf } from "./text.ts";

/** A policy ready to be asked. What it says of an action's name alone is found once and remembered for the next request. */
export interface CompiledPolicy {
  readonly strict: boolean;
  readonly onExpiry: "post" | "release";
  readonly compliance: { readonly [key: string]: string } | null;
  /** What stands for an estimate whose price is not known; `null`: the policy does not say. */
  readonly defaultPrice: MicroUsd | "deny" | null;
  readonly alerts: readonly number[];
  /** `null`: it hides nothing, and keeps all. */
  readonly redaction: Redaction | null;
  readonly holds: {
    readonly tags: ReadonlySet<string>;
    readonly riskLevels: ReadonlySet<RiskLevel>;
    readonly thresholdMicroUsd: MicroUsd | null;
    readonly timeoutMs: number;
    readonly chain: Chain;
  };
  /** What the policy says of an action by its name, in the order in which it is checked. */
  readonly ofAction: (action: string) => ActionFindings;
}

/** The limits on money that a session has before any action is named, for the view of its balances. `null`: there is none. */
export interface PolicyLimits {
  readonly sessionMicroUsd: MicroUsd | null;
  readonly runMicroUsd: MicroUsd | null;
  /** The narrowest first. */
  readonly actions: readonly { readonly pattern: string; readonly limitMicroUsd: MicroUsd }[];
  /** Of accounts that sessions share: the agent's first, and the shortest window. */
  readonly shared: readonly SharedLimit[];
  readonly windDownMicroUsd: MicroUsd | null;
}

export interface ActionFindings {
  readonly deniedBy: string | null;
  readonly listed: boolean;
  /** By group: of each group one rule must hold. */
  readonly permits: readonly (readonly CompiledRule[])[];
  /** Rules that forbid or hold, and the rules over the history, in the document's order. */
  readonly rules: readonly CompiledRule[];
  readonly schemas: readonly { readonly rule: string; readonly schema: ArgumentsSchema }[];
  readonly requirements: readonly CompiledRequirement[];
  readonly loops: readonly CompiledLoop[];
  readonly retries: readonly RetryLimit[];
  readonly concurrency: readonly ConcurrencyLimit[];
  readonly rates: readonly RateLimit[];
  readonly budgets: readonly BudgetLimit[];
  readonly windDown: ReserveLimit | null;
  readonly needsApproval: boolean;
  readonly keep: Keep | null;
  /** Whether a condition looks at stored attributes of the agent, or of the resource. */
  readonly looksAt: { readonly subject: boolean; readonly resource: boolean };
  /** What of the inputs must be seen again when more money is asked for; `null`: no rule of this action looks at the estimate. */
  readonly topupPaths: readonly Path[] | null;
}

export interface CompiledRule {
  readonly rule: string;
  readonly effect: "permit" | "forbid" | "hold";
  readonly history: boolean;
  readonly mode: Mode;
  readonly stops: Reach;
  /** `true`: always. `null`: a stored expression that this code cannot read any more, which counts as an error at every evaluation. */
  readonly condition: () => Expression | true | null;
}

export interface CompiledRequirement {
  readonly rule: string;
  readonly after: readonly string[];
  readonly withinMs: number | null;
  readonly same: readonly Path[];
  readonly where: Expression | null;
  /** Its text, which is all that another place needs. */
  readonly whereText: string | null;
}

export interface CompiledLoop {
  readonly threshold: number;
  readonly windowMs: number;
  /** Paths into the inputs. */
  readonly ignore: readonly Path[];
}

/** Callers choose the names of actions: what is remembered of them is bounded. */
const MOST_REMEMBERED = 1000;
/** What is remembered of a name is a list of the rules that name it. */
const MOST_RULES_REMEMBERED = 100_000;

/** Compiles a policy that was parsed or read before; there is nothing left to fail. */
export function compilePolicy(document: PolicyDocument): CompiledPolicy {
  const ask = askByName(document, policyLimits(document));
  const remembered = new Map<string, ActionFindings>();
  let rulesRemembered = 0;
  const { redact, budgets } = document;
  return {
    strict: document.strict_mode,
    onExpiry: budgets?.on_expiry ?? "post",
    compliance: document.compliance ?? null,
    defaultPrice: budgets?.default_price === "deny" ? "deny" : amountOf(budgets?.default_price),
    alerts: budgets?.alerts ?? [],
    redaction: redactionOf(redact),
    holds: {
      tags: new Set(document.approvals?.tags),
      riskLevels: new Set(document.approvals?.risk_levels),
      thresholdMicroUsd: amountOf(document.approvals?.threshold_usd),
      timeoutMs: millisecondsOf(document.approvals?.timeout_seconds ?? DEFAULT_APPROVAL_TIMEOUT_SECONDS),
      chain: {
        needed: document.approvals?.quorum ?? 1,
        groups: (document.approvals?.approvers ?? []).map(({ subjects = [], scopes = [] }) => ({ subjects, scopes })),
        fourEyes: document.approvals?.four_eyes ?? false,
      },
    },
    ofAction: (action) => {
      const known = remembered.get(action);
      if (known !== undefined) return known;
      const found = ask(action);
      rulesRemembered += found.rules.length + found.permits.length;
      if (remembered.size >= MOST_REMEMBERED || rulesRemembered > MOST_RULES_REMEMBERED) {
        remembered.clear();
        rulesRemembered = found.rules.length + found.permits.length;
      }
      remembered.set(action, found);
      return found;
    },
  };
}

/** Secrets are hidden unless the policy says that they are not. */
function redactionOf(redact: PolicyDocument["redact"]): Redaction | null {
  const { store_inputs = "full", store_outputs = "full", keys = DEFAULT_KEYS, detect = DEFAULT_DETECTORS } = redact ?? {};
  if (keys.length === 0 && detect.length === 0 && store_inputs === "full" && store_outputs === "full") return null;
  return { storeInputs: store_inputs, storeOutputs: store_outputs, keys, detect };
}

/** The limits on money that hold for a session whatever the action. */
export function policyLimits({ budgets, wind_down }: PolicyDocument): PolicyLimits {
  return {
    sessionMicroUsd: amountOf(budgets?.session),
    runMicroUsd: amountOf(budgets?.run),
    actions: Object.entries(budgets?.actions ?? {})
      .sort(([a], [b]) => byNarrowness(a, b))
      .map(([pattern, amount]) => ({ pattern, limitMicroUsd: storedUsd(amount) })),
    shared: (["agent", "tenant"] as const).flatMap((scope) =>
      BUDGET_WINDOWS.flatMap((window): SharedLimit[] => {
        const amount = budgets?.[scope]?.[window];
        return amount === undefined ? [] : [{ scope, window, limitMicroUsd: storedUsd(amount) }];
      }),
    ),
    windDownMicroUsd: amountOf(wind_down?.budget),
  };
}

function askByName(document: PolicyDocument, limits: PolicyLimits): (action: string) => ActionFindings {
  const denied = indexOf(document.denied_actions ?? []);
  const allowlists = allowlistsOf(document);
  const allowed = allowlists.map(indexOf);
  const held = indexOf(document.approvals?.actions ?? []);
  const concurrency = new PatternIndex(Object.entries(document.concurrency ?? {}));
  const rates = new PatternIndex(Object.entries(document.rate_limits ?? {}));
  const budgets = new PatternIndex(limits.actions.map(({ pattern, limitMicroUsd }) => [pattern, limitMicroUsd]));
  const widerBudgets: readonly BudgetLimit[] = [
    ...(limits.runMicroUsd === null ? [] : [{ scope: "run" as const, limitMicroUsd: limits.runMicroUsd }]),
    ...(limits.sessionMicroUsd === null ? [] : [{ scope: "session" as const, limitMicroUsd: limits.sessionMicroUsd }]),
  ];
  const windsDown = indexOf(document.wind_down?.actions ?? []);
  const schemas = new PatternIndex(
    Object.entries(document.arguments ?? {}).map(([pattern, texts]) => [pattern, once(() => texts.map(compileArguments))] as const),
  );
  const rules = compileRules(document, allowlists.length > 0);
  const ruled = byPattern(rules);
  const required = Object.entries(document.requires ?? {}).map(
    ([pattern, texts]) => [pattern, texts.map((text) => compileRequirement(pattern, text))] as const,
  );
  const requirements = new PatternIndex(required);
  const looks = byPattern(
    looksOf(
      rules,
      required.flatMap(([, of]) => of),
    ),
  );
  const loops = (document.loops ?? []).map(({ threshold, window_seconds, ignore }) => ({
    threshold,
    windowMs: millisecondsOf(window_seconds),
    ignore: (ignore ?? []).flatMap((text) => insideInputs(parsePath(text))),
  }));
  const retries = (document.retries ?? []).map(({ threshold, window_seconds }) => ({ threshold, windowMs: millisecondsOf(window_seconds) }));

  return (action) => {
    const naming = inOrder(ruled.naming(action));
    const requirementsOf = requirements.naming(action).flatMap(({ value }) => value);
    const permits = Map.groupBy(
      naming.filter(({ effect }) => effect === "permit"),
      ({ group }) => group,
    );
    const ruleReads = naming.flatMap(({ condition }) => {
      const found = condition();
      return found === null || found === true ? [] : [found.reads];
    });
    const reads = [...ruleReads, ...requirementsOf.flatMap(({ where }) => (where === null ? [] : [where.reads]))];
    return {
      deniedBy: denied.naming(action)[0]?.pattern ?? null,
      listed: allowed.every((list) => list.naming(action).length > 0),
      permits: [...permits.values()],
      rules: naming.filter(({ effect }) => effect !== "permit"),
      schemas: schemas.naming(action).flatMap(({ pattern, value }) => value().map((schema) => ({ rule: pointerOf(["arguments", pattern]), schema }))),
      requirements: requirementsOf,
      loops,
      retries,
      concurrency: concurrency.naming(action).map(({ pattern, value }) => ({ pattern, max: value })),
      rates: rates
        .naming(action)
        .flatMap(({ pattern, value }) =>
          value.map(
            (rate): RateLimit => ({ pattern, max: rate.max_count, windowMs: millisecondsOf(rate.window_seconds), per: rate.per ?? "session" }),
          ),
        ),
      budgets: [
        ...budgets.naming(action).map(({ pattern, value }) => ({ scope: "action" as const, pattern, limitMicroUsd: value })),
        ...widerBudgets,
        ...limits.shared,
      ],
      windDown:
        limits.windDownMicroUsd === null || windsDown.naming(action).length === 0
          ? null
          : { scope: "wind_down", limitMicroUsd: limits.windDownMicroUsd },
      needsApproval: held.naming(action).length > 0,
      keep: keepOf(inOrder(looks.naming(action))),
      looksAt: { subject: reads.some(({ subject }) => subject), resource: reads.some(({ resource }) => resource) },
      topupPaths: ruleReads.some(({ estimate }) => estimate) ? unique(ruleReads.flatMap(({ inputs }) => inputs)) : null,
    };
  };
}

/** The rules of both sections, each compiled when an action that it names is first asked about. */
function compileRules(document: PolicyDocument, hasAllowlist: boolean): readonly IndexedRule[] {
  // Permit rules matter where nothing lists what is allowed; those of a merged layer that had no such list matter all the same.
  const rules = (document.rules ?? []).flatMap((rule, place): IndexedRule[] =>
    rule.effect === "permit" && hasAllowlist && rule.group === undefined
      ? []
      : [
          {
            order: place,
            patterns: rule.actions,
            rule: rule.id ?? `/rules/${place}`,
            effect: rule.effect,
            history: false,
            mode: rule.mode,
            stops: rule.stops ?? "action",
            group: rule.group ?? "",
            ...conditionOf(rule.when),
          },
        ],
  );
  const history = (document.history ?? []).map(
    (rule, place): IndexedRule => ({
      order: (document.rules?.length ?? 0) + place,
      patterns: rule.forbid,
      rule: rule.id ?? `/history/${place}`,
      effect: "forbid",
      history: true,
      mode: rule.mode,
      stops: rule.stops,
      group: "",
      ...conditionOf(rule.when),
    }),
  );
  return [...rules, ...history];
}

interface IndexedRule extends CompiledRule {
  readonly order: number;
  readonly patterns: readonly string[];
  readonly group: string;
  /** Whether its text may look back at earlier calls: what it looks at must be known before any of them is made. */
  readonly looksBack: boolean;
}

function conditionOf(text: string | undefined): Pick<IndexedRule, "condition" | "looksBack"> {
  if (text === undefined) return { condition: () => true, looksBack: false };
  const condition = once(() => {
    const compiled = compileExpression(text, "rule");
    return compiled.ok ? compiled.value : null;
  });
  return { condition, looksBack: mayLookBack(text) };
}

/** Whether a condition's text may look back at earlier calls: of one that does not, nothing need be compiled to know that it does not. */
export const mayLookBack = (text: string): boolean => /\b(?:count|distinct|last|sum)\s*\(/.test(text);

type Requires = NonNullable<PolicyDocument["requires"]>;

function compileRequirement(pattern: string, { after, within_seconds, same, where }: Requires[string][number]): CompiledRequirement {
  const compiled = where === undefined ? null : compileExpression(where, "where");
  return {
    rule: pointerOf(["requires", pattern]),
    after,
    withinMs: within_seconds === undefined ? null : millisecondsOf(within_seconds),
    // A path that cannot be read any more is never there, so nothing is ever alike.
    same: (same ?? []).map((text) => parsePath(text) ?? [text]),
    where: compiled?.ok === true ? compiled.value : null,
    whereText: where ?? null,
  };
}

/** One look back at calls of `patterns`: at which parts of them, and how far. */
interface Look {
  readonly order: number;
  readonly patterns: readonly string[];
  readonly paths: readonly Path[];
  readonly forMs: number | null;
}

function looksOf(rules: readonly IndexedRule[], requirements: readonly CompiledRequirement[]): readonly Look[] {
  const looks: Omit<Look, "order">[] = [];
  for (const { condition, looksBack } of rules) {
    const expression = looksBack ? condition() : null;
    if (expression === null || expression === true) continue;
    for (const { pattern, windowMs, path } of expression.reads.history) {
      if (path !== null && path[0] !== "cost_usd") looks.push({ patterns: [pattern], paths: [path], forMs: windowMs });
    }
  }
  for (const { after, withinMs, same, where } of requirements) {
    const inputs = (where?.reads.prior.inputs ?? []).map((path) => ["inputs", ...path]);
    const outputs = (where?.reads.prior.outputs ?? []).map((path) => ["outputs", ...path]);
    const paths = [...same, ...inputs, ...outputs];
    // A call made exactly as long ago as is allowed still fits.
    if (paths.length > 0) looks.push({ patterns: after, paths, forMs: withinMs === null ? null : withinMs + 1 });
  }
  return looks.map((look, order) => ({ ...look, order }));
}

/** What is kept of an action: all that any of these looks at, as long as the longest of them looks back. */
function keepOf(looks: readonly Look[]): Keep | null {
  if (looks.length === 0) return null;
  const longest = looks.some(({ forMs }) => forMs === null) ? null : Math.max(...looks.map(({ forMs }) => forMs ?? 0));
  return { paths: unique(looks.flatMap(({ paths }) => paths)), forMs: longest };
}

/** Things by each pattern that they name. */
function byPattern<T extends { readonly patterns: readonly string[] }>(things: readonly T[]): PatternIndex<readonly T[]> {
  const found = new Map<string, T[]>();
  for (const thing of things) {
    for (const pattern of thing.patterns) {
      const sharing = found.get(pattern);
      if (sharing === undefined) found.set(pattern, [thing]);
      else sharing.push(thing);
    }
  }
  return new PatternIndex(found);
}

/** Each once, in the document's order: two patterns of one rule may name the same action. */
const inOrder = <T extends { readonly order: number }>(found: readonly { readonly value: readonly T[] }[]): readonly T[] =>
  [...new Set(found.flatMap(({ value }) => value))].sort((a, b) => a.order - b.order);

/** Paths without those that a shorter one covers. */
function unique(paths: readonly Path[]): readonly Path[] {
  const kept: Path[] = [];
  for (const path of [...paths].sort((a, b) => a.length - b.length)) {
    if (!kept.some((known) => known.every((step, place) => path[place] === step))) kept.push(path);
  }
  return kept;
}

/** Of a path into the inputs, what comes after its root. */
const insideInputs = (path: Path | null): readonly Path[] => (path?.[0] === "inputs" ? [path.slice(1)] : []);

/** Made when first asked for. */
function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

const amountOf = (amount: string | undefined): MicroUsd | null => (amount === undefined ? null : storedUsd(amount));
