import { digestOf, type Sha256 } from "../digest.ts";
import { canonicalJson, type JsonValue } from "../json.ts";
import type { MicroUsd } from "../money.ts";
import type { ActionRequest } from "../request.ts";
import type { Instant } from "../time.ts";
import { covers, insideOf } from "../trail.ts";
import type { ActionFindings, CompiledLoop, CompiledPolicy, CompiledRequirement, CompiledRule } from "./compile.ts";
import type { Findings, LoopLimit, Path, PermitFinding, PolicyRef, Price, Requirement, RuleFinding, Said, Scene, WorkBudget } from "./findings.ts";

/** What of a request a policy looks at. */
export type Asked = Pick<ActionRequest, "action" | "tags" | "riskLevel" | "estimateMicroUsd" | "resource" | "inputs" | "inputsDigest" | "price"> & {
  /** Which parts of the inputs are here, where not all that were sent are: the rest was not kept. */
  readonly inputsKnown?: readonly Path[];
};

/** What a policy looks at beside the request. */
export interface Circumstances {
  /** The agent: its id, and what is stored of it. */
  readonly subject: Scene["subject"];
  /** What is stored of the request's resource. */
  readonly resource: Scene["resource"];
  readonly context: Scene["context"];
  readonly now: Instant;
  /** A reservation is to be larger: only rules that look at the estimate are asked again, and what counts calls has counted this one. */
  readonly isTopup: boolean;
  readonly sha256: Sha256;
  /** Shared by all that is asked in one call. */
  readonly budget: WorkBudget;
}

/**
 * What the policy says of a request before any state is looked at. Total: every request has findings, and the same request the same ones.
 * Limits come from the narrowest to the widest: an exact name, globs by how many letters of their own they have, then run and session.
 */
export function evaluatePolicy(compiled: CompiledPolicy, ref: PolicyRef, asked: Asked, around: Circumstances): Findings {
  const found = compiled.ofAction(asked.action);
  const { deniedBy, listed, concurrency, rates, budgets } = found;
  const { estimateMicroUsd, price, priceUnknown } = priceOf(compiled, asked);
  const scene: Scene = {
    subject: around.subject,
    action: asked.action,
    resource: asked.resource === null ? around.resource : { ...around.resource, ...asked.resource },
    inputs: asked.inputs,
    tags: asked.tags,
    estimateMicroUsd,
    context: around.context,
    now: around.now,
  };
  const known = asked.inputsKnown ?? (asked.inputsDigest !== null && asked.inputs === undefined ? [] : WHOLE);
  const { isTopup } = around;
  const permits = found.permits.flatMap((group) =>
    isTopup && !group.some(looksAtEstimate) ? [] : permitFindings(group, scene, known, around.budget),
  );
  const rules = ruleFindings(isTopup ? found.rules.filter(looksAtEstimate) : found.rules, scene, known, around.budget);
  const requirements = isTopup ? [] : found.requirements.map((requirement) => requirementOf(requirement, known));
  const isWhole = covers(known, []);
  const hold = holdingRule(compiled, found.needsApproval, asked, estimateMicroUsd);
  return {
    policy: ref,
    strict: compiled.strict,
    deniedBy,
    listed,
    permits,
    rules,
    argumentsFault: isTopup || !isWhole ? null : argumentsFault(found, asked.inputs),
    argumentsUnseen: !isTopup && !isWhole && found.schemas.length > 0,
    requirements,
    loops: isTopup ? [] : found.loops.map((loop) => loopLimit(loop, asked, around.sha256)),
    retries: found.retries,
    concurrency,
    rates,
    estimateMicroUsd,
    price,
    priceUnknown,
    budgets,
    windDown: found.windDown,
    alerts: compiled.alerts,
    hold: hold === null ? null : { rule: hold },
    holdTimeoutMs: compiled.holds.timeoutMs,
    chain: compiled.holds.chain,
    keep: found.keep,
    topupPaths: found.topupPaths,
    scene: asksHistory(permits, rules, requirements) ? withoutInputs(scene) : null,
    redaction: compiled.redaction,
    onExpiry: compiled.onExpiry,
    compliance: compiled.compliance,
  };
}

const WHOLE: readonly Path[] = [[]];

const looksAtEstimate = ({ condition }: CompiledRule): boolean => {
  const expression = condition();
  return expression !== null && expression !== true && expression.reads.estimate;
};

/** What a rule's condition comes to here; `false`: it does not hold. */
export function say({ condition }: CompiledRule, scene: Scene, known: readonly Path[], budget: WorkBudget): Said | false {
  const expression = condition();
  if (expression === true) return "holds";
  if (expression === null) return "failed";
  if (known !== WHOLE && expression.reads.inputs.some((path) => !covers(known, path))) return "inputs_missing";
  if (expression.reads.history.length > 0) return { ask: expression.text };
  const holds = expression.evaluate(scene, null, null, budget);
  return holds === null ? "failed" : holds && "holds";
}

function ruleFindings(rules: readonly CompiledRule[], scene: Scene, known: readonly Path[], budget: WorkBudget): readonly RuleFinding[] {
  const found: RuleFinding[] = [];
  for (const rule of rules) {
    const said = say(rule, scene, known, budget);
    if (said === false || rule.effect === "permit") continue;
    found.push({ rule: rule.rule, effect: rule.effect, history: rule.history, mode: rule.mode, stops: rule.stops, said });
  }
  return found;
}

/** What stands against an action of whose permit rules none is found to hold. A rule that is only observed permits nothing where another is enforced. */
function permitFindings(group: readonly CompiledRule[], scene: Scene, known: readonly Path[], budget: WorkBudget): readonly PermitFinding[] {
  const enforced = group.filter(({ mode }) => mode === "enforce");
  const counting = enforced.length > 0 ? enforced : group;
  const [first] = counting;
  if (first === undefined) return [];
  const asks: string[] = [];
  let inputsMissing = false;
  for (const rule of counting) {
    const said = say(rule, scene, known, budget);
    if (said === "holds") return [];
    if (said === "inputs_missing") inputsMissing = true;
    if (said !== false && typeof said === "object") asks.push(said.ask);
  }
  return [{ rule: first.rule, mode: first.mode, inputsMissing, asks }];
}

function requirementOf({ rule, after, withinMs, same, where, whereText }: CompiledRequirement, known: readonly Path[]): Requirement {
  const paths = [...insideOf("inputs", same), ...(where?.reads.inputs ?? [])];
  const looksAtOutcome = where?.reads.prior.outcome ?? false;
  return { rule, after, withinMs, same, where: whereText, looksAtOutcome, inputsMissing: paths.some((path) => !covers(known, path)) };
}

/** Inputs that were not sent are empty ones; `null` was sent. */
function argumentsFault({ schemas }: ActionFindings, inputs: JsonValue = {}): Findings["argumentsFault"] {
  for (const { rule, schema } of schemas) {
    const message = schema.faultOf(inputs);
    if (message !== null) return { rule, message };
  }
  return null;
}

/** Inputs that were not sent are empty ones; of those sent as a digest nothing can be ignored, so that nobody can say which calls are alike. */
function loopLimit({ threshold, windowMs, ignore }: CompiledLoop, asked: Asked, sha256: Sha256): LoopLimit {
  const { inputs = {}, inputsDigest } = asked;
  const isUnseen = inputsDigest !== null && asked.inputs === undefined;
  if (isUnseen && ignore.length > 0) return { threshold, windowMs, key: null };
  const digest = inputsDigest ?? digestOf(sha256, canonicalJson(without(inputs, ignore)));
  // Two limits that ignore different parts do not take each other's digests for their own.
  return { threshold, windowMs, key: ignore.length === 0 ? digest : `${digest} without ${canonicalJson(ignore)}` };
}

/** A value without what stands at these paths. */
function without(value: JsonValue, paths: readonly Path[]): JsonValue {
  if (paths.length === 0 || typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const left: [string, JsonValue][] = [];
  for (const [member, inside] of Object.entries(value)) {
    const further = paths.flatMap(([first, ...rest]) => (first === member ? [rest] : []));
    if (!further.some((rest) => rest.length === 0)) left.push([member, without(inside, further)]);
  }
  return Object.fromEntries(left);
}

/** What is asked for. Where the price of a named model is not known, the policy says what counts: nothing unknown is ever taken for zero. */
function priceOf(
  { defaultPrice }: CompiledPolicy,
  { price, estimateMicroUsd }: Asked,
): Pick<Findings, "estimateMicroUsd" | "price" | "priceUnknown"> {
  const isKnown = price === null || (price.known && (price.basis === "stated" || price.basis === "computed"));
  if (isKnown) return { estimateMicroUsd, price, priceUnknown: false };
  if (defaultPrice === "deny") return { estimateMicroUsd, price, priceUnknown: true };
  if (defaultPrice === null) return { estimateMicroUsd, price, priceUnknown: price.basis === "unpriced" };
  if (price.basis === "stated" && estimateMicroUsd >= defaultPrice) return { estimateMicroUsd, price, priceUnknown: false };
  return { estimateMicroUsd: defaultPrice, price: { ...price, basis: "default" } satisfies Price, priceUnknown: false };
}

/**
 * The first member of `approvals` that asks for a person.
 * An estimate is held when it is strictly above `threshold_usd`: the language's law is that equality passes a limit, its own example of a hold on
 * an estimate is `estimate_usd > 0.5`, and a threshold of 0 then means every action that costs anything, which nothing else could say.
 */
function holdingRule({ holds }: CompiledPolicy, needsApproval: boolean, { tags, riskLevel }: Asked, estimateMicroUsd: MicroUsd): string | null {
  if (needsApproval) return "/approvals/actions";
  if (tags.some((tag) => holds.tags.has(tag))) return "/approvals/tags";
  if (riskLevel !== null && holds.riskLevels.has(riskLevel)) return "/approvals/risk_levels";
  if (holds.thresholdMicroUsd !== null && estimateMicroUsd > holds.thresholdMicroUsd) return "/approvals/threshold_usd";
  return null;
}

/** Whether anything is left to be asked where the history is. */
const asksHistory = (permits: readonly PermitFinding[], rules: readonly RuleFinding[], requirements: readonly Requirement[]): boolean =>
  permits.some(({ asks }) => asks.length > 0) ||
  rules.some(({ said }) => typeof said === "object") ||
  requirements.some(({ where }) => where !== null);

/** The request itself travels with the inputs already. */
function withoutInputs({ inputs: _inputs, ...rest }: Scene): Omit<Scene, "inputs"> {
  return rest;
}
