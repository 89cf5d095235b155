import { isDigest } from "../../../src/core/digest.ts";
import { type ApprovalId, type DecisionId, isId, type RunId } from "../../../src/core/ids.ts";
import type { JsonValue } from "../../../src/core/json.ts";
import { type MicroUsd, parseUsd } from "../../../src/core/money.ts";
import type { Price } from "../../../src/core/policy/findings.ts";
import { ACTION_NAME, type ActionRequest, type CommitReport, RISK_LEVELS } from "../../../src/core/request.ts";
import { GatewayRefusedError } from "../errors.ts";
import { shown } from "../plain.ts";
import type * as surface from "../surface.ts";
import { usdText } from "../usd.ts";

/** What a request says of itself besides what it is called with: the same for every call of one guard, so it is checked once. */
export type Facts = Pick<
  ActionRequest,
  "action" | "tags" | "riskLevel" | "rationale" | "confidence" | "sources" | "parents" | "model" | "approval" | "ttlMs"
> & { readonly usage: surface.ExpectedUsage | null };

const DAY_MS = 86_400_000;
/** So long a reservation stands where nobody says otherwise: as at the gateway. */
const TTL_MS = 300_000;

/** Checks what does not change from call to call, as the gateway does. Throws a `GatewayRefusedError` with the code `body_invalid` that names the member. */
export function factsOf(facts: surface.ActionFacts & { readonly action: string }): Facts {
  const { action, tags = [], riskLevel, rationale, confidence, sources = [], parents = [], model, usage, approval, ttlMs = TTL_MS } = facts;
  const refuse = refusing(typeof action === "string" ? action : "");
  if (typeof action !== "string" || !ACTION_NAME.test(action)) refuse("/action", "wanted 1 to 128 letters, digits, _ - . : /");
  if (!Array.isArray(tags) || tags.length > 64 || !tags.every((tag) => isLine(tag, 128)))
    refuse("/tags", "wanted at most 64 texts of 1 to 128 characters");
  if (riskLevel !== undefined && !RISK_LEVELS.includes(riskLevel)) refuse("/risk_level", `wanted one of ${RISK_LEVELS.join(", ")}`);
  if (rationale !== undefined && (typeof rationale !== "string" || rationale.length > 8192))
    refuse("/rationale", "wanted a text of at most 8192 characters");
  if (confidence !== undefined && !(confidence >= 0 && confidence <= 1)) refuse("/confidence", "wanted a number from 0 to 1");
  if (!Array.isArray(sources) || sources.length > 64 || !sources.every(({ source, version = "-" }) => isLine(source, 512) && isLine(version, 128)))
    refuse("/sources", "wanted at most 64 sources");
  if (model !== undefined && !(isLine(model.name, 128) && isLine(model.provider ?? "-", 128) && isLine(model.version ?? "-", 128)))
    refuse("/model", "wanted names of 1 to 128 characters");
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > DAY_MS) refuse("/ttl_ms", `wanted a whole number from 1 to ${DAY_MS}`);
  if (approval !== undefined && !isId("apr", approval)) refuse("/approval", "wanted an approval's id");
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
export function requestOf({ usage, ...facts }: Facts, asked: Asked): ActionRequest {
  const { estimateMicroUsd: stated, parents } = asked;
  return {
    ...facts,
    ...asked,
    parents: parents.length === 0 ? facts.parents : [...facts.parents, ...parents],
    estimateMicroUsd: stated ?? microUsd(0, "costUsd"),
    price: facts.model === null && (usage === null || stated !== null) ? null : priceOf(stated, usage),
  };
}

/** A request as a caller of `decide` states it. Throws like `factsOf`. */
export function readRequest(request: surface.ActionRequest, id: string, parents: readonly DecisionId[]): ActionRequest {
  const { run, resource, estimateUsd, inputs, inputsDigest, ...facts } = request;
  const refuse = refusing(request.action);
  if (!isId("dec", id)) return refuse("/id", "wanted dec_ and a UUID");
  if (run !== undefined && !isId("run", run)) return refuse("/run", "wanted run_ and a UUID");
  if (inputs !== undefined && inputsDigest !== undefined) return refuse("/inputs_digest", "it stands in place of the inputs: wanted one of them");
  if (inputsDigest !== undefined && !isDigest(inputsDigest)) return refuse("/inputs_digest", "wanted sha-256: and 64 lower-case hexadecimal digits");
  if (inputs !== undefined && shown(inputs) === undefined) return refuse("/inputs", "wanted plain JSON data of moderate size");
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
export function resourceOf({ type, id }: surface.Resource, action: string): NonNullable<ActionRequest["resource"]> {
  if (!isLine(type, 128) || !isLine(id, 512)) refusing(action)("/resource", "wanted a type and an id of one line each");
  return { type, id };
}

/** Decisions by their ids. */
export function parentsOf(parents: readonly string[], action: string): readonly DecisionId[] {
  const known = Array.isArray(parents) ? parents.filter((parent): parent is DecisionId => isId("dec", parent)) : [];
  if (parents.length > MOST_PARENTS || known.length < parents.length) refusing(action)("/parents", `wanted at most ${MOST_PARENTS} ids of decisions`);
  return known;
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
const isLine = (text: unknown, most: number): boolean => typeof text === "string" && text.length <= most && LINE.test(text);

const refusing =
  (action: string) =>
  (pointer: string, message: string): never => {
    const detail = `${pointer} is not valid: ${message}`;
    throw new GatewayRefusedError(`ask for "${action.slice(0, 128)}"`, {
      status: null,
      code: "body_invalid",
      detail,
      issues: [{ pointer, message }],
    });
  };
