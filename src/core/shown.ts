import { type Digest, digestOf, type Sha256 } from "./digest.ts";
import type { Entry, EntryDraft, Payload } from "./entry.ts";
import { canonicalJson, type JsonValue } from "./json.ts";
import { DEFAULT_KEYS, DETECTORS, type Keeping, type Redaction, redactJson, redactText } from "./redact.ts";
import type { ActionRequest, CommitReport } from "./request.ts";
import type { Line } from "./testimony.ts";

/** What an entry says, and what lies beside it. */
export interface Shown {
  readonly says: Partial<EntryDraft>;
  readonly payload: Omit<Payload, "salt"> | null;
}

/**
 * What the record shows of a request: redacted before anything of it is hashed, stored or streamed. Where no policy could be asked what to hide,
 * nothing is kept of the inputs, and of the rest what has a secret's name, or what any detector finds, is hidden.
 */
export function shownRequest(sha256: Sha256, request: ActionRequest, redaction: Redaction | null | undefined): Shown {
  const hide = hiding(redaction);
  const inputs = request.inputs === undefined ? undefined : hide.json(request.inputs);
  const keeping = keepingOf(hide.redaction?.storeInputs, inputs);
  return {
    says: {
      resource: request.resource === null ? null : { id: hide.text(request.resource.id), type: hide.text(request.resource.type) },
      rationale: request.rationale === null ? null : hide.text(request.rationale),
      sources: request.sources.map(({ source, version }) => ({
        source: hide.text(source),
        ...(version !== undefined && { version: hide.text(version) }),
      })),
      tags: request.tags.map(hide.text),
      model: shownModel(request.model, hide.text),
      inputs_digest: digestFor(sha256, inputs, keeping) ?? request.inputsDigest,
      redacted: hide.count(),
    },
    payload: inputs === undefined || keeping !== "full" ? null : { inputs },
  };
}

/** What the record shows of a report: its error, usage and outputs, redacted like the request before it. */
export function shownReport(sha256: Sha256, report: CommitReport, redaction: Redaction | null): Shown {
  const hide = hiding(redaction);
  const outputs = report.outputs === undefined ? undefined : hide.json(report.outputs);
  const keeping = keepingOf(redaction?.storeOutputs, outputs);
  return {
    says: {
      error: report.error === null ? null : hide.text(report.error),
      // Redaction puts texts in the place of values and keeps every mapping a mapping.
      usage: report.usage === null ? null : (hide.json(report.usage) as Entry["usage"]),
      outputs_digest: digestFor(sha256, outputs, keeping),
      redacted: hide.count(),
    },
    payload: outputs === undefined || keeping !== "full" ? null : { outputs },
  };
}

/**
 * What the record shows of a line that was reported: all its members, redacted, as its details, and its inputs and outputs beside it. Whatever else its
 * payload has is kept where inputs are. The rule and the policy's name are its reporter's words too.
 */
export function shownLine(sha256: Sha256, line: Line, redaction: Redaction | null | undefined): Shown {
  const hide = hiding(redaction);
  const { payload: told, ...said } = line.told;
  const [digests, rest] = digestsApart(said);
  const { inputs: rawInputs, outputs: rawOutputs, ...more } = isMapping(told) ? told : {};
  const inputs = rawInputs === undefined ? undefined : hide.json(rawInputs);
  const outputs = rawOutputs === undefined ? undefined : hide.json(rawOutputs);
  const ofInputs = keepingOf(hide.redaction?.storeInputs, inputs);
  const ofOutputs = keepingOf(hide.redaction?.storeOutputs, outputs);
  const kept = {
    ...(inputs !== undefined && ofInputs === "full" && { inputs }),
    ...(outputs !== undefined && ofOutputs === "full" && { outputs }),
  };
  const keepsMore = Object.keys(more).length > 0 && keepingOf(hide.redaction?.storeInputs, more) === "full";
  return {
    says: {
      tags: line.tags.map(hide.text),
      rule: line.rule === null ? null : hide.text(line.rule),
      policy: line.policy === null ? null : { ...line.policy, name: hide.text(line.policy.name) },
      details: {
        event: line.isUnguarded ? "unguarded" : "reported",
        // Redaction keeps every mapping a mapping.
        line: { ...(hide.json(keepsMore ? { ...rest, payload: more } : rest) as typeof rest), ...digests },
      },
      inputs_digest: digestFor(sha256, inputs, ofInputs),
      outputs_digest: digestFor(sha256, outputs, ofOutputs),
      redacted: hide.count(),
    },
    payload: Object.keys(kept).length === 0 ? null : kept,
  };
}

/**
 * A line's own hash and that of the one before it. Sixty-four hexadecimal digits say nothing of anybody, though some of them may look like the number of a
 * card; and a line whose hash was changed can no longer be held against its reporter's file.
 */
function digestsApart(said: Line["told"]): readonly [digests: Line["told"], rest: Line["told"]] {
  const isDigest = ([name, value]: [string, JsonValue]): boolean =>
    (name === "hash" || name === "prev_hash") && typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
  const members = Object.entries(said);
  return [Object.fromEntries(members.filter(isDigest)), Object.fromEntries(members.filter((member) => !isDigest(member)))];
}

const isMapping = (value: JsonValue | undefined): value is { readonly [member: string]: JsonValue } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What the record keeps of inputs that a person wrote: as of those that an agent sends; `null` where it keeps none, or only their digest. */
export function recordedInputs(inputs: JsonValue, redaction: Redaction | null): JsonValue {
  const shown = redaction === null ? inputs : redactJson(inputs, redaction).value;
  return keepingOf(redaction?.storeInputs, shown) === "full" ? shown : null;
}

/** A caller's own words as the record shows them; `undefined`: no policy could be asked what to hide, and what any detector finds is hidden. */
export const shownText = (text: string, redaction: Pick<Redaction, "detect"> | null | undefined): string =>
  redaction === null ? text : redactText(text, redaction ?? UNKNOWN).text;

function shownModel(model: ActionRequest["model"], hide: (text: string) => string): ActionRequest["model"] {
  if (model === null) return null;
  const { provider, name, version } = model;
  return { ...(provider !== undefined && { provider: hide(provider) }), name: hide(name), ...(version !== undefined && { version: hide(version) }) };
}

/** Numbers and redaction can print much longer than what was sent, and an entry must fit the stores: of what is longer only the digest is kept. */
const MOST_CHARACTERS = 500_000;

/** Canonical JSON is as long as any other. */
const keepingOf = (wanted: Keeping = "full", value: JsonValue | undefined): Keeping =>
  wanted === "full" && value !== undefined && JSON.stringify(value).length > MOST_CHARACTERS ? "digest" : wanted;

const digestFor = (sha256: Sha256, value: JsonValue | undefined, keeping: Keeping): Digest | null =>
  value === undefined || keeping !== "digest" ? null : digestOf(sha256, canonicalJson(value));

const UNKNOWN: Redaction = { storeInputs: "none", storeOutputs: "none", keys: DEFAULT_KEYS, detect: DETECTORS };

/** Redacts piece by piece and counts the places. `null`: a policy that hides nothing; `undefined`: no policy could be asked. */
function hiding(asked: Redaction | null | undefined) {
  const redaction = asked === undefined ? UNKNOWN : asked;
  let count = 0;
  return {
    redaction,
    json: (value: JsonValue): JsonValue => {
      if (redaction === null) return value;
      const done = redactJson(value, redaction);
      count += done.count;
      return done.value;
    },
    text: (text: string): string => {
      if (redaction === null) return text;
      const done = redactText(text, redaction);
      count += done.count;
      return done.text;
    },
    count: () => count,
  };
}
