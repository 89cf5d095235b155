import { canonicalJson } from "../../../src/core/json.ts";
import type { Json } from "../surface.ts";
import { differences, told } from "./replay_diff.ts";
import { endOf } from "./replay_end.ts";
import { ReplayDivergenceError } from "./replay_error.ts";
import { callsOf, type RecordedCall, some } from "./replay_source.ts";
import { sha256 } from "./sha256.ts";

/**
 * Runs a recorded run again without doing what it did: each guarded call gets what the same call got on record.
 *
 * Calls are matched by what they are, not by when they come: by action and inputs, and the n-th call that is alike by the n-th on record, in the order
 * in which they began. So calls that run at once may come in any order. Inputs are compared as a ledger keeps them: redacted, and cut where they are
 * very long (a text that was cut is still told apart by its digest; lists and objects that were cut are alike when what was kept is).
 *
 * For a guard: deny lists and kills come first. A call that the engine refuses now is never asked for here; a call that it allows is, in the place of
 * running the function. Nothing here runs, waits, or calls anything of the recorded action's.
 */
export interface Replay {
  /** What a call got. Each recorded call is given once. Never throws. */
  next(call: ReplayCall): Replayed;
  /** The same for whoever runs nothing else: returns the output, throws the recorded error or the divergence. */
  take(call: ReplayCall): unknown;
  /** What ran on record and was not asked for, in the order in which it began. Empty when the run was replayed whole. */
  leftovers(): readonly Leftover[];
  /**
   * What was given although it may not be what the call gave, in the order in which it was: what an option `outputs` made, with `derived: "give"`; and
   * of a gateway's record everything, since a gateway knows of a result only what a guard's `outputs` or a `commit` told it.
   */
  asTold(): readonly Leftover[];
}

export interface ReplayCall {
  readonly action: string;
  /** What the ledger would keep of the inputs now: the very JSON that goes into a line's `payload.inputs`. */
  readonly inputs: Json;
}

export type Replayed =
  /** It returned this. */
  | { readonly kind: "output"; readonly value: unknown; readonly promised?: true }
  /** It threw this, or was refused with this: to be thrown again. `promised`, here and above: in a promise. */
  | { readonly kind: "error"; readonly error: unknown; readonly promised?: true }
  /** It is not on record. `mayRun`: `strict` is off, and the guard goes on as if there were no replay; otherwise it throws the error. */
  | { readonly kind: "diverged"; readonly error: ReplayDivergenceError; readonly mayRun: boolean };

export interface Leftover extends ReplayCall {
  readonly decisionId: string | null;
  readonly runId: string | null;
}

export interface ReplayOptions {
  /** Lines of a local ledger or entries of a gateway's export, parsed or as text. */
  readonly lines: Iterable<string | object>;
  /** Only this run's calls. Default: all that are there. */
  readonly runId?: string | undefined;
  /** Default `true`: what is not on record throws. `false`: it runs as if there were no replay, decided as always. */
  readonly strict?: boolean | undefined;
  /**
   * What becomes of a call of which the record has not the result, but what a guard's option `outputs` made of it. Default `"refuse"`: a divergence, of
   * the code `lossy`. `"give"`: that is given in the place of the result; `asTold` names such calls.
   */
  readonly derived?: "refuse" | "give" | undefined;
}

/** A replay of what is on record. Throws an `Error` when `runId` is not, and when a line cannot be read (a last one that is half written is passed over). */
export function createReplay({ lines, runId, strict = true, derived = "refuse" }: ReplayOptions): Replay {
  const calls = callsOf(lines, runId);
  const waiting = new Waiting(calls);
  const asTold: RecordedCall[] = [];
  const next = (call: ReplayCall): Replayed => {
    const found = waiting.take(call);
    const end = found === null ? null : endOf(found, derived);
    if (found?.end.kind === "returned" && found.end.of !== "result" && end?.kind === "output") asTold.push(found);
    if (end !== null && end.kind !== "lost") return end;
    const error =
      end === null
        ? divergence(call, calls, waiting)
        : new ReplayDivergenceError(end.code, call.action, `Cannot replay "${call.action}": ${end.why}`);
    return { kind: "diverged", error, mayRun: !strict };
  };
  return {
    next,
    take(call) {
      const replayed = next(call);
      if (replayed.kind === "output") return replayed.value;
      throw replayed.error;
    },
    leftovers: () => waiting.left().map(named),
    asTold: () => asTold.map(named),
  };
}

const named = ({ action, inputs, decisionId, runId }: RecordedCall): Leftover => ({ action, inputs, decisionId, runId });

/** The recorded calls that were not asked for yet. */
class Waiting {
  readonly #left: Set<RecordedCall>;
  readonly #byKey = new Map<string, RecordedCall[]>();

  constructor(calls: readonly RecordedCall[]) {
    this.#left = new Set(calls);
    // Who was held asked again when somebody had approved it: what is on record of that comes first.
    for (const call of [...calls.filter((one) => !isHeld(one)), ...calls.filter(isHeld)]) {
      const key = keyOf(call);
      const alike = this.#byKey.get(key);
      if (alike === undefined) this.#byKey.set(key, [call]);
      else alike.push(call);
    }
  }

  take({ action, inputs }: ReplayCall): RecordedCall | null {
    for (const form of formsOf(inputs)) {
      const call = this.#byKey.get(keyOf({ action, inputs: form() }))?.shift();
      if (call === undefined) continue;
      this.#left.delete(call);
      return call;
    }
    return null;
  }

  left(): readonly RecordedCall[] {
    return [...this.#left].filter((call) => !isHeld(call));
  }

  has(call: RecordedCall): boolean {
    return this.#left.has(call);
  }
}

const isHeld = ({ end }: RecordedCall): boolean => end.kind === "refused" && end.verdict === "hold";

const keyOf = ({ action, inputs }: ReplayCall): string => `${action}\n${canonicalJson(inputs)}`;

/** How the same inputs may stand on record: as the local ledger keeps them; as a gateway is shown them; as their digest; not at all. */
const formsOf = (inputs: Json): readonly (() => Json)[] => [
  () => inputs,
  () => asShown(inputs),
  () => ({ $value: "digest", digest: `sha-256:${sha256(canonicalJson(asShown(inputs)))}` }),
  () => ({ $value: "withheld" }),
];

/** Arguments as a guard shows them to a gateway: one plain object as itself, anything else as the list. */
function asShown(inputs: Json): Json {
  const { args, kwargs }: { readonly args?: Json; readonly kwargs?: Json } = Object(inputs);
  if (!Array.isArray(args) || typeof kwargs !== "object" || kwargs === null || Object.keys(kwargs).length > 0) return inputs;
  const list: readonly Json[] = args;
  const [first] = list;
  const isOne = list.length === 1 && typeof first === "object" && first !== null && !Array.isArray(first) && !("$value" in first);
  return isOne ? first : list;
}

const MOST_COMPARED = 50;
const MOST_DIFFERENCES = 10;

/** Says what is on record instead: the call of that action that is nearest to this one, and where the two differ. */
function divergence({ action, inputs }: ReplayCall, calls: readonly RecordedCall[], waiting: Waiting): ReplayDivergenceError {
  const named = calls.filter((call) => call.action === action);
  const left = named.filter((call) => waiting.has(call) && !isHeld(call));
  const cannot = `Cannot replay "${action}"`;
  if (named.length === 0) {
    const others = [...new Set(calls.map((call) => call.action))];
    const instead = others.length === 0 ? "nothing is" : `there are ${some(others)}`;
    return new ReplayDivergenceError("not_recorded", action, `${cannot}: no call of it is on record; ${instead}`);
  }
  if (left.length === 0) {
    const times = named.length === 1 ? "one call" : `${named.length} calls`;
    return new ReplayDivergenceError("not_recorded", action, `${cannot}: ${times} of it on record, and this is one more`);
  }
  const [nearest = []] = left
    .slice(0, MOST_COMPARED)
    .map((call) => differences(call.inputs, inputs, MOST_DIFFERENCES + 1))
    .sort((a, b) => a.length - b.length);
  const lines = nearest.slice(0, MOST_DIFFERENCES).map((difference) => `\n  ${told(difference)}`);
  const more = nearest.length > MOST_DIFFERENCES ? "\n  and more" : "";
  return new ReplayDivergenceError("inputs_differ", action, `${cannot}: its inputs differ from those on record${lines.join("")}${more}`);
}
