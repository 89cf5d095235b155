import { errorFor, knownReason } from "../errors.ts";
import { type Revived, revived } from "../revive.ts";
import type { Json } from "../surface.ts";
import type { RecordedCall } from "./replay_source.ts";

/** How a recorded call ends again; `lost`: it cannot, and why, as the end of a sentence. */
export type Ending =
  | { readonly kind: "output"; readonly value: unknown; readonly promised?: true }
  | { readonly kind: "error"; readonly error: unknown; readonly promised?: true }
  | { readonly kind: "lost"; readonly code: "unfinished" | "lossy"; readonly why: string };

/** Gives what a call gave, made anew at each asking, so that nobody changes what somebody else is given. */
export function endOf(call: RecordedCall, derived: "refuse" | "give"): Ending {
  const { end } = call;
  switch (end.kind) {
    case "none":
      return { kind: "lost", code: "unfinished", why: "it was begun, and how it ended is not on record" };
    case "refused":
      return { kind: "error", error: refusedAgain(call, end) };
    case "threw": {
      const error = thrownAgain(end.outputs);
      return error.ok ? { kind: "error", error: error.value, ...(end.isPromised && { promised: true }) } : lossy("threw", error);
    }
    case "returned": {
      if (end.of === "derived" && derived === "refuse") return DERIVED;
      if (end.redacted > 0)
        return { kind: "lost", code: "lossy", why: `${end.redacted === 1 ? "one place" : `${end.redacted} places`} of what it gave was redacted` };
      const value = revived(end.outputs);
      return value.ok ? { kind: "output", value: value.value, ...(end.isPromised && { promised: true }) } : lossy("gave", value);
    }
  }
}

const DERIVED: Ending = {
  kind: "lost",
  code: "lossy",
  why: 'what it gave is not on record, but what its guard\'s option "outputs" made of that (`derived: "give"` replays it all the same)',
};

const lossy = (did: string, { pointer, tag }: Extract<Revived, { readonly ok: false }>): Ending => ({
  kind: "lost",
  code: "lossy",
  why: `what it ${did} could not be recorded whole (${pointer === "" ? "it" : pointer} is of the kind "${tag}")`,
});

/** The error of this SDK that the recorded no was. Of its decision only what is on record is there again. */
function refusedAgain(
  { action, decisionId, runId, sessionId }: RecordedCall,
  { verdict, reason, rule }: Extract<RecordedCall["end"], { kind: "refused" }>,
): unknown {
  return errorFor({
    id: decisionId ?? "",
    session: sessionId ?? "",
    run: runId ?? "",
    action,
    verdict,
    decision: false,
    stops: verdict === "deny" ? "action" : null,
    reason: { code: knownReason(reason), message: `It was refused on record (${reason})`, rule, remediation: { retryAfterMs: null, hint: null } },
    reservation: null,
    budgets: [],
    rates: [],
    policy: null,
    obligations: [],
    advice: [],
    warnings: [],
    approval: null,
    entry: { id: "", seq: 0, hash: "" },
    superseded: null,
  });
}

/** What was thrown. Recorded errors become errors again; anything else is thrown as what it was. */
function thrownAgain(recorded: Json): Revived {
  const tag = errorTag(recorded);
  return tag === null ? revived(recorded) : { ok: true, value: errorAgain(tag) };
}

type Members = { readonly [name: string]: Json };

const errorTag = (value: Json | undefined): Members | null =>
  typeof value === "object" && value !== null && "$value" in value && value.$value === "error" ? value : null;

/**
 * An error with the name, message, cause and own members of the recorded one. It is an instance of its class where that is one of the language's;
 * `replayed`, which is not enumerable, tells it from one that was thrown now. Members that were lost are left out.
 */
function errorAgain(tag: Members): Error {
  const name = typeof tag.name === "string" ? tag.name : "Error";
  const message = typeof tag.message === "string" ? tag.message : "";
  const inner = Array.isArray(tag.errors) ? tag.errors.map(valueAgain) : null;
  const error = inner === null ? new (CLASSES.get(name) ?? Error)(message) : new AggregateError(inner, message);
  const hidden = (value: unknown): PropertyDescriptor => ({ value, enumerable: false, configurable: true, writable: true });
  if (error.name !== name) Object.defineProperty(error, "name", hidden(name));
  if ("cause" in tag) Object.defineProperty(error, "cause", hidden(valueAgain(tag.cause ?? null)));
  Object.defineProperty(error, "replayed", hidden(true));
  for (const [member, value] of Object.entries(Object(tag.members))) {
    // The members of a recorded error are JSON like all of it.
    const again = revived(value as Json);
    if (again.ok) Object.defineProperty(error, member, { ...hidden(again.value), enumerable: true });
  }
  return error;
}

/** A cause: an error again, or the value; where it was lost, what the record has of it. */
function valueAgain(recorded: Json): unknown {
  const tag = errorTag(recorded);
  if (tag !== null) return errorAgain(tag);
  const value = revived(recorded);
  return value.ok ? value.value : recorded;
}

const CLASSES: ReadonlyMap<string, new (message: string) => Error> = new Map(
  [TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError].map((of) => [of.name, of]),
);
