import { isDigest } from "../../../src/core/digest.ts";
import { type ApprovalId, type DecisionId, isId, type RunId } from "../../../src/core/ids.ts";
import type { JsonValue } from "../../../src/core/json.ts";
import { type MicroUsd, parseUsd, ZERO_USD } from "../../../src/core/money.ts";
import type { Price } from "../../../src/core/policy/findings.ts";
import { ACTION_NAME, type ActionRequest, type CommitReport, RISK_LEVELS } from "../../../src/core/request.ts";
import { shown } from "../plain.ts";
import { snake } from "../read.ts";
import type * as surface from "../surface.ts";
import { usdText } from "../usd.ts";
import { LocalRefusedError } from "./refused_error.ts";

/** What a request says of itself besides what it is called with: the same for every call of one guard, so it is checked once. */
export type Facts = Pick<
  ActionRequest,
  "action" | "tags" | "riskLevel" | "rationale" | "confidence" | "sources" | "parents" | "model" | "approval" | "ttlMs"
> & { readonly usage: surface.ExpectedUsage | null };

const DAY_MS = 86_400_000;
/** So long a reservation stands where nobody says otherwise: as at the gateway. */
const TTL_MS = 300_000;

/** Checks what does not change from call to call, as the gateway does. Throws a `LocalRefusedError` with the code `body_invalid` that names the member. */
export function factsOf(facts: surface.ActionFacts & { readonly action: string }): Facts {
  const { action, tags = [], riskLevel, rationale, confidence, sources = [], parents = [], model, usage, approval, ttlMs = TTL_MS } = facts;
  const refuse = refusing(action);
  if (typeof action !== "string" || !ACTION_NAME.test(action)) refuse("action", "1 to 128 letters, digits, _ - . : /", action);
  if (!Array.isArray(tags) || tags.length > 64 || !tags.every((tag) => isLine(tag, 128)))
    refuse("tags", "a list of at most 64 texts of 1 to 128 characters", tags);
  if (riskLevel !== undefined && !RISK_LEVELS.includes(riskLevel)) refuse("riskLevel", `one of ${RISK_LEVELS.join(", ")}`, riskLevel);
  if (rationale !== undefined && (typeof rationale !== "string" || rationale.length > 8192))
    refuse("rationale", "a text of at most 8192 characters", typeof rationale === "string" ? rationale.length : rationale);
  if (confidence !== undefined && !(typeof confidence === "number" && confidence >= 0 && confidence <= 1))
    refuse("confidence", "a number from 0 to 1", confidence);
  if (!Array.isArray(sources) || sources.length > 64 || !sources.every(isSource))
    refuse("sources", 'a list of at most 64 like { source: "handbook", version: "7" }, the version where there is one', sources);
  if (model !== undefined && !isModel(model))
    refuse("model", 'one like { name: "gpt-5", provider: "openai" }, the provider where it is known', model);
  if (usage !== undefined && !isUsage(usage)) refuse("usage", "whole numbers of tokens, like { input_tokens: 900, output_tokens: 200 }", usage);
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > DAY_MS) refuse("ttlMs", `a whole number from 1 to ${DAY_MS}`, ttlMs);
  if (approval !== undefined && !isId("apr", approval)) refuse("approval", "an approval's id", approval);
  return {
    action,
    tags,
    riskLevel: riskLevel ?? null,
    rationale: rationale ?? null,
    confidence: confidence ?? null,
    sources: sources.map(({ source, version }) => ({ source, ...(version !== undefined && { version }) })),
    parents: parentsOf(parents, action),
    model: model === undefined ? null : model,
    // Its form is checked above.
    approval: (approval ?? null) as ApprovalId | null,
    ttlMs,
    usage: usage ?? null,
  };
}

/** What changes from call to call. */
export interface Asked {
  readonly id: DecisionId;
  readonly run: RunId | null;
  /** `null`: not stated. */
  readonly estimateMicroUsd: MicroUsd | null;
  readonly resource: ActionRequest["resource"];
  readonly inputs: JsonValue | undefined;
  readonly inputsDigest: ActionRequest["inputsDigest"];
  readonly parents: readonly DecisionId[];
}

/** A whole request. What a named model would cost is not known here: the price data is the gateway's, so an unstated price is unknown, never zero. */
export function requestOf(facts: Facts, asked: Asked): ActionRequest {
  const { action, tags, riskLevel, rationale, confidence, sources, model, approval, ttlMs, usage } = facts;
  const { id, run, resource, inputs, inputsDigest, estimateMicroUsd: stated, parents } = asked;
  return {
    id,
    run,
    action,
    resource,
    estimateMicroUsd: stated ?? ZERO_USD,
    price: model === null && (usage === null || stated !== null) ? null : priceOf(stated, usage),
    tags,
    riskLevel,
    inputs,
    inputsDigest,
    rationale,
    confidence,
    sources,
    parents: parents.length === 0 ? facts.parents : [...facts.parents, ...parents],
    model,
    approval,
    ttlMs,
  };
}

/** A request as a caller of `decide` states it. Throws like `factsOf`. */
export function readRequest(request: surface.ActionRequest, id: string, parents: readonly DecisionId[]): ActionRequest {
  const { run, resource, estimateUsd, inputs, inputsDigest, ...facts } = request;
  const refuse = refusing(request.action);
  if (!isId("dec", id)) return refuse("id", "dec_ and a UUID", id);
  if (run !== undefined && !isId("run", run)) return refuse("run", "run_ and a UUID", run);
  if (inputs !== undefined && inputsDigest !== undefined) return refuse("inputsDigest", "absent where the inputs are told", inputsDigest);
  if (inputsDigest !== undefined && !isDigest(inputsDigest))
    return refuse("inputsDigest", "sha-256: and 64 lower-case hexadecimal digits", inputsDigest);
  if (inputs !== undefined && shown(inputs) === undefined) return refuse("inputs", "plain JSON data of moderate size");
  return requestOf(factsOf(facts), {
    id,
    run: run ?? null,
    estimateMicroUsd: estimateUsd === undefined ? null : microUsd(estimateUsd, "estimateUsd"),
    resource: resource === undefined ? null : resourceOf(resource, request.action),
    inputs,
    inputsDigest: inputsDigest ?? null,
    parents,
  });
}

/** Checks a resource that was made for one call. */
export function resourceOf(resource: surface.Resource, action: string): NonNullable<ActionRequest["resource"]> {
  const { type, id }: { readonly type?: string; readonly id?: string } = Object(resource);
  if (isLine(type, 128) && isLine(id, 512)) return { type, id };
  return refusing(action)("resource", 'one like { type: "account", id: "acct_1" }', resource);
}

/** Decisions by their ids. */
export function parentsOf(parents: readonly string[], action: string): readonly DecisionId[] {
  const known = Array.isArray(parents) ? parents.filter((parent): parent is DecisionId => isId("dec", parent)) : null;
  if (known !== null && parents.length <= MOST_PARENTS && known.length === parents.length) return known;
  return refusing(action)("parents", `a list of at most ${MOST_PARENTS} ids of decisions`, parents);
}

export const MOST_PARENTS = 64;

/** A report of what an action cost, as a caller of `commit` states it. */
export function readReport(report: surface.CommitReport): CommitReport {
  const { costUsd, outcome, durationMs, outputs, error, usage } = report;
  if (outcome !== "success" && outcome !== "error") throw new TypeError(`Cannot commit: wanted the outcome "success" or "error"`);
  if (costUsd === undefined && usage === undefined) throw new TypeError("Cannot commit: wanted the cost, or the usage that says it");
  return {
    // What tokens cost is not known here: what was reserved is posted.
    costMicroUsd: costUsd === undefined ? null : microUsd(costUsd, "costUsd"),
    outcome,
    durationMs: durationMs ?? null,
    outputs,
    error: error ?? null,
    // A usage is plain data by its type.
    usage: (usage ?? null) as CommitReport["usage"],
  };
}

/** An amount in whole micro-dollars: a string as written, a number rounded up. Throws a `RangeError` for what is none. */
export function microUsd(amount: surface.UsdInput, what: string): MicroUsd {
  const parsed = parseUsd(usdText(amount, what));
  if (!parsed.ok) throw new RangeError(`Cannot use ${JSON.stringify(amount)} as ${what}: ${parsed.error.message}`);
  return parsed.value;
}

function priceOf(stated: MicroUsd | null, usage: surface.ExpectedUsage | null): Price {
  const uses = usage !== null && Object.values(usage).some((tokens) => tokens > 0);
  return { known: false, basis: stated !== null ? "stated" : uses ? "unpriced" : "none", data: "none" };
}

const LINE = /^[^\p{Cc}\p{Cs}]+$/u;
const isLine = (text: unknown, most: number): text is string => typeof text === "string" && text.length <= most && LINE.test(text);

// The types of these three are said and not known: what is checked is what a program without types may give.
const isSource = (given: unknown): boolean => {
  const { source, version = "-" }: { readonly source?: unknown; readonly version?: unknown } = Object(given);
  return isLine(source, 512) && isLine(version, 128);
};

const isModel = (given: unknown): boolean => {
  const { name, provider = "-", version = "-" }: { readonly [member: string]: unknown } = Object(given);
  return [name, provider, version].every((text) => isLine(text, 128));
};

const isUsage = (given: unknown): boolean =>
  typeof given === "object" &&
  given !== null &&
  Object.values(given).every((tokens) => tokens === undefined || (Number.isSafeInteger(tokens) && tokens >= 0));

/** Refuses a request for what one member of it is. What was found is quoted where it is given, and cut. */
const refusing =
  (action: unknown) =>
  (member: string, wanted: string, ...found: readonly unknown[]): never => {
    const message = `must be ${wanted}${found.map((value) => `, found ${quoted(value)}`).join("")}`;
    throw new LocalRefusedError(`ask for ${quoted(action)}`, {
      code: "body_invalid",
      detail: `"${member}" ${message}`,
      issues: [{ pointer: `/${snake(member)}`, message }],
    });
  };

const MOST_QUOTED = 80;

function quoted(value: unknown): string {
  try {
    const text = JSON.stringify(value) ?? typeof value;
    return text.length <= MOST_QUOTED ? text : `${text.slice(0, MOST_QUOTED)}...`;
  } catch {
    return "a value that cannot be shown";
  }
}
