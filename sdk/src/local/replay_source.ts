import type { Json } from "../surface.ts";
import { recordValue } from "../values.ts";

/** One guarded call as it is on record: what was asked, and how that ended. */
export interface RecordedCall {
  readonly action: string;
  /** As recorded: with tags in the place of what JSON cannot carry. */
  readonly inputs: Json;
  readonly decisionId: string | null;
  readonly runId: string | null;
  readonly sessionId: string | null;
  end: CallEnd;
}

export type CallEnd =
  /** It was begun, and no more is known. */
  | { readonly kind: "none" }
  | {
      readonly kind: "returned";
      readonly outputs: Json;
      readonly redacted: number;
      readonly isPromised: boolean;
      /** Whether the outputs are the result. `derived`: they are not; `told`: they are what somebody said of it, and nobody can know. */
      readonly of: "result" | "derived" | "told";
    }
  | { readonly kind: "threw"; readonly outputs: Json; readonly isPromised: boolean }
  /** It was never run. */
  | { readonly kind: "refused"; readonly verdict: "deny" | "hold"; readonly reason: string; readonly rule: string | null };

/** The lines of a text, without those that are empty. */
export const textLines = (text: string): readonly string[] => text.split("\n").filter((line) => line.trim() !== "");

/**
 * The guarded calls that are on record, in the order in which they were begun: from lines of a local ledger, of the Python original's, or entries of a
 * gateway's export, parsed or as text. What was recorded by hand is no call, and what was given back had not run. A last line that is half written is
 * passed over; any other that cannot be read is an error. With `runId` only that run's; that there are none is an error which names the runs there are.
 */
export function callsOf(lines: Iterable<string | object>, runId: string | undefined): readonly RecordedCall[] {
  const calls = new Map<string, RecordedCall>();
  const runs = new Set<string>();
  for (const line of parsed(lines)) {
    const run = text(line.run_id);
    if (run !== null) runs.add(run);
    // A replay of a replay would give one call's end twice.
    if (line.replayed === true) calls.delete(String(line.decision_id));
    else if (runId === undefined || run === runId) take(calls, line);
  }
  if (runId !== undefined && !runs.has(runId)) {
    throw new Error(`Cannot replay run "${runId}": it is not on record${runs.size === 0 ? "" : `; there are ${some([...runs].reverse())}`}`);
  }
  return [...calls.values()];
}

type Line = { readonly [member: string]: unknown };

function* parsed(lines: Iterable<string | object>): Generator<Line> {
  let unread: number | null = null;
  let number = 0;
  for (const line of lines) {
    number++;
    if (unread !== null)
      throw new Error(`Cannot replay a ledger of which line ${unread} cannot be read: \`agentsentinel verify\` says what is wrong`);
    // An object's members are only looked at; of what kind they are is asked for each.
    const value = typeof line === "string" ? object(line) : (line as Line);
    if (value === null) unread = number;
    else yield value;
  }
}

function object(line: string): Line | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Line) : null;
  } catch {
    return null;
  }
}

/** Takes up a line: the beginning of a call, or its end. */
function take(calls: Map<string, RecordedCall>, line: Line): void {
  const id = text(line.decision_id);
  const known = id === null ? undefined : calls.get(id);
  const payload: { readonly inputs?: Json; readonly outputs?: Json } = Object(line.payload);
  switch (line.kind) {
    case "decision":
      // A gateway's reservation that was changed later is no second call.
      if (id === null || known !== undefined || (line.step ?? "decide") !== "decide") return;
      calls.set(id, { ...begun(line, inputsOf(line, payload)), end: refusal(line) });
      return;
    case "outcome": {
      // A ledger that was rotated may begin with an end.
      const call = known ?? begun(line, payload.inputs ?? null);
      call.end = localEnd(line, payload.outputs ?? null);
      calls.set(id ?? `line ${calls.size}`, call);
      return;
    }
    case "commit":
      if (known !== undefined) known.end = gatewayEnd(line, payload.outputs);
      return;
    case "release":
      if (id !== null) calls.delete(id);
      return;
    case "ingest":
      take(calls, reported(line, payload));
      return;
    case undefined:
      // The Python original's lines say of each call how it ended, and nothing else.
      if (text(line.action) !== null)
        calls.set(`line ${calls.size}`, { ...begun(line, payload.inputs ?? null), end: localEnd(line, payload.outputs ?? null) });
      return;
  }
}

/** The local line that a gateway's entry has of a ledger which was reported to it: the gateway may have hidden more of it than its own ledger did. */
function reported({ details, redacted, inputs_digest }: Line, { inputs, outputs }: { readonly inputs?: Json; readonly outputs?: Json }): Line {
  const line: Line = Object(Object(details).line);
  const unkept: Json = { $value: "withheld" };
  const digest: Json = typeof inputs_digest === "string" ? { $value: "digest", digest: inputs_digest } : unkept;
  return {
    ...line,
    // An entry that names no kind of line is none of a ledger of ours.
    kind: text(line.kind) ?? "record",
    payload: { inputs: inputs ?? digest, outputs: outputs ?? unkept },
    ...(typeof redacted === "number" && redacted > 0 && { redacted: { inputs: redacted, outputs: redacted } }),
  };
}

const begun = (line: Line, inputs: Json): RecordedCall => ({
  action: text(line.action) ?? "",
  inputs,
  decisionId: text(line.decision_id),
  runId: text(line.run_id),
  sessionId: text(line.session_id),
  end: { kind: "none" },
});

/** Of a gateway's entry the inputs are plain data, or only their digest is there; a local line has them with its tags already. */
function inputsOf(line: Line, payload: { readonly inputs?: Json }): Json {
  if (!isGateways(line)) return payload.inputs ?? null;
  if (payload.inputs !== undefined) return recordValue(payload.inputs, WHOLE).value;
  return typeof line.inputs_digest === "string" ? { $value: "digest", digest: line.inputs_digest } : { $value: "withheld" };
}

const WHOLE = { mostCharacters: Number.MAX_SAFE_INTEGER };

const isGateways = (line: Line): boolean => "tenant_id" in line;

function refusal(line: Line): CallEnd {
  if (line.verdict !== "deny" && line.verdict !== "hold") return { kind: "none" };
  return { kind: "refused", verdict: line.verdict, reason: text(line.reason) ?? "unrecognized", rule: text(line.rule) };
}

function localEnd(line: Line, outputs: Json): CallEnd {
  const isPromised = line.promised === true;
  if (line.outcome === "error") return { kind: "threw", outputs, isPromised };
  const { outputs: redacted }: { readonly outputs?: unknown } = Object(line.redacted);
  const of = line.derived === true ? "derived" : "result";
  return { kind: "returned", outputs, redacted: typeof redacted === "number" ? redacted : 0, isPromised, of };
}

/** A gateway is told an error as one text, and outputs only where they are plain data. */
function gatewayEnd(line: Line, outputs: Json | undefined): CallEnd {
  if (line.outcome === "error") {
    const [, name = "Error", message = text(line.error) ?? ""] = /^([A-Za-z][\w.]*): (.*)$/s.exec(text(line.error) ?? "") ?? [];
    return { kind: "threw", outputs: { $value: "error", name, message }, isPromised: false };
  }
  const kept: Json = outputs === undefined ? { $value: "withheld" } : recordValue(outputs, WHOLE).value;
  return { kind: "returned", outputs: kept, redacted: typeof line.redacted === "number" ? line.redacted : 0, isPromised: false, of: "told" };
}

const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

/** The first few of many, for a sentence. */
export const some = (names: readonly string[]): string =>
  names
    .slice(0, 5)
    .map((name) => `"${name}"`)
    .join(", ") + (names.length > 5 ? `, and ${names.length - 5} more` : "");
