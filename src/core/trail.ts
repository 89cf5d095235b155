import { plus } from "./decimals.ts";
import { matchesGlob } from "./glob.ts";
import type { DecisionId, RunId } from "./ids.ts";
import { canonicalJson, type JsonValue } from "./json.ts";
import type { MicroUsd } from "./money.ts";
import type { Past, Path, Prior } from "./policy/findings.ts";
import type { Instant } from "./time.ts";

/** What is left of an allowed action for rules that look back. It stands from the moment it was allowed, whatever became of it. */
export interface Trace {
  readonly id: DecisionId;
  readonly run: RunId;
  readonly action: string;
  readonly at: Instant;
  readonly outcome: Prior["outcome"];
  /** When it was committed, released or expired; `null` while it is pending. */
  readonly endedAt: Instant | null;
  /** What it takes from the accounts: reserved while it is pending, afterwards what was posted. */
  readonly amountMicroUsd: MicroUsd;
  /** `null`: nothing was to be kept when it was allowed, or it was kept long enough. */
  readonly kept: Kept | null;
  /** When what is kept was kept long enough: from then on nobody looks at it, wherever it still lies. */
  readonly keptUntil: Instant | null;
}

/** Parts of an action that rules asked for in time. What `paths` covers and is not here was not there. */
export interface Kept {
  readonly paths: readonly Path[];
  readonly inputs?: JsonValue | undefined;
  readonly outputs?: JsonValue | undefined;
  readonly resource?: JsonValue | undefined;
  /** Digests of its inputs, for finding the same call again. */
  readonly loopKeys: readonly string[];
}

/** Where traces are read from that are not in memory: oldest first. */
export interface TrailSource {
  /** Traces of actions that `pattern` names, allowed after `since`. */
  calls(pattern: string, since: Instant): readonly Trace[];
  /** When calls of exactly this action were reported as failed, after `since`. */
  failures(action: string, since: Instant): readonly Instant[];
}

/**
 * The way that a session came. In memory is only what some rule looked at, as far back as it looks: the rest stays where it is stored.
 * What happens in a turn is added here before it is stored, and is found either way.
 */
export class Trail {
  /** `null`: there is no store, and everything stays here. */
  readonly #source: TrailSource | null;
  readonly #calls = new Map<string, Stretch<Trace>>();
  /** Those of the patterns that are globs: thousands of actions may have stretches of their own. */
  readonly #globs = new Set<string>();
  readonly #failures = new Map<string, Stretch<Instant>>();
  /** Added in this turn, and perhaps not yet where the source reads. */
  #fresh: Map<DecisionId, Trace>;

  constructor(source: TrailSource | null, fresh?: ReadonlyMap<DecisionId, Trace>) {
    this.#source = source;
    this.#fresh = new Map(fresh);
  }

  /** A copy whose additions this one does not see. */
  fork(): Trail {
    const copy = new Trail(this.#source, this.#fresh);
    for (const [pattern, stretch] of this.#calls) copy.#calls.set(pattern, { ...stretch, items: [...stretch.items], alike: undefined });
    for (const pattern of this.#globs) copy.#globs.add(pattern);
    for (const [action, stretch] of this.#failures) copy.#failures.set(action, { ...stretch, items: [...stretch.items] });
    return copy;
  }

  /** A new turn: what was added before it is stored by now. */
  begin(): void {
    // A map that is cleared leaves its old table linked to the new one, and a collector of young objects follows those links through all the dead.
    if (this.#source !== null && this.#fresh.size > 0) this.#fresh = new Map();
  }

  /** Calls of actions that `pattern` names, made less than `windowMs` ago, oldest first. */
  calls(pattern: string, windowMs: number, now: Instant): readonly Trace[] {
    const found = this.#callsBack(pattern, windowMs, now);
    return from(found, firstAfter(found, now - windowMs, madeAt));
  }

  /** How many there are of them. */
  count(pattern: string, windowMs: number, now: Instant): number {
    const found = this.#callsBack(pattern, windowMs, now);
    return found.length - firstAfter(found, now - windowMs, madeAt);
  }

  /**
   * When the `nth` newest call of exactly this action was made (1: the newest) whose inputs have this key and are still kept. The answer may be from
   * longer ago than `windowMs`; `undefined`: there are fewer.
   */
  nthAlike(action: string, key: string, nth: number, windowMs: number, now: Instant): Instant | undefined {
    this.#callsBack(action, windowMs, now);
    const stretch = this.#calls.get(action);
    if (stretch === undefined) return undefined;
    stretch.alike ??= alikeIn(stretch.items);
    const found = stretch.alike.get(key);
    return found === undefined ? undefined : nthKept(found, nth, now);
  }

  /** When calls of this action were reported as failed, less than `windowMs` ago, oldest first. */
  failures(action: string, windowMs: number, now: Instant): readonly Instant[] {
    const found = this.#stretch(this.#failures, action, windowMs, now, itself, (since) => {
      if (this.#source !== null) return [...this.#source.failures(action, since)];
      const failed = [...this.#fresh.values()].filter((trace) => trace.action === action && trace.outcome === "error");
      return failed.flatMap(({ endedAt }) => (endedAt !== null && endedAt > since ? [endedAt] : [])).sort((a, b) => a - b);
    });
    return from(found, firstAfter(found, now - windowMs, itself));
  }

  add(trace: Trace): void {
    this.#fresh.set(trace.id, trace);
    // Where no rule looks back nothing is remembered.
    if (this.#calls.size === 0) return;
    for (const stretch of this.#remembering(trace.action)) {
      stretch.items.push(trace);
      if (stretch.alike !== undefined) noteAlike(stretch.alike, trace);
    }
  }

  /** Tells what became of a call, wherever it is remembered. */
  change(id: DecisionId, action: string, change: TraceChange): void {
    if (this.#calls.size > 0) {
      for (const { items } of this.#remembering(action)) {
        // Most calls end soon after they began.
        const place = items.findLastIndex((trace) => trace.id === id);
        const trace = items[place];
        if (trace !== undefined) items[place] = changed(trace, change);
      }
    }
    const fresh = this.#fresh.get(id);
    if (fresh !== undefined) this.#fresh.set(id, changed(fresh, change));
    if (change.outcome === "error" && change.endedAt != null) this.#failures.get(action)?.items.push(change.endedAt);
  }

  #callsBack(pattern: string, windowMs: number, now: Instant): readonly Trace[] {
    if (pattern.includes("*")) this.#globs.add(pattern);
    return this.#stretch(this.#calls, pattern, windowMs, now, madeAt, (since) => {
      const stored = this.#source?.calls(pattern, since) ?? [];
      const known = new Set(stored.map(({ id }) => id));
      return [...stored, ...[...this.#fresh.values()].filter(({ id, action, at }) => at > since && matchesGlob(pattern, action) && !known.has(id))];
    });
  }

  /** The stretches that hold calls of an action: its own, and those of globs that name it. */
  *#remembering(action: string): Iterable<Stretch<Trace>> {
    const own = this.#calls.get(action);
    if (own !== undefined) yield own;
    for (const pattern of this.#globs) {
      const stretch = pattern === action || !matchesGlob(pattern, action) ? undefined : this.#calls.get(pattern);
      if (stretch !== undefined) yield stretch;
    }
  }

  /** What is remembered under a key, as far back as anybody asked so far. */
  #stretch<T>(
    known: Map<string, Stretch<T>>,
    key: string,
    windowMs: number,
    now: Instant,
    atOf: (item: T) => Instant,
    load: (since: Instant) => T[],
  ): readonly T[] {
    const stretch = known.get(key);
    // Callers choose the names of actions, and limits on repetition look at each of them.
    if (stretch === undefined && known.size >= MOST_STRETCHES) known.clear();
    if (stretch !== undefined && stretch.windowMs >= windowMs) {
      const gone = firstAfter(stretch.items, now - stretch.windowMs, atOf);
      // Cut only now and then: cutting moves everything that stays.
      if (gone > 64 && gone * 2 > stretch.items.length) {
        stretch.items.splice(0, gone);
        stretch.alike = undefined;
      }
      return stretch.items;
    }
    const loaded: Stretch<T> = { windowMs, items: load(now - windowMs), alike: undefined };
    known.set(key, loaded);
    return loaded.items;
  }
}

/** What a call may become: ended, with what of its outputs was to be kept; or topped up. */
export type TraceChange = Partial<Pick<Trace, "outcome" | "endedAt" | "amountMicroUsd">> & {
  readonly outputs?: JsonValue | undefined;
  /** Its outputs were to be kept, and were too large. */
  readonly losesOutputs?: boolean | undefined;
};

/** The past of a session as the history functions ask for it. `except`: a call that is itself being asked about, and is not its own past. */
export const pastOf = (trail: Trail, now: Instant, except: DecisionId | null = null): Past => new TrailPast(trail, now, except);

/** One is made for every request that is judged, and most are asked nothing. */
class TrailPast implements Past {
  readonly #trail: Trail;
  readonly #now: Instant;
  readonly #except: DecisionId | null;
  /** Nothing changes while one request is judged, and rules ask the same again, in macros thousands of times. */
  #known: Map<string, number | null> | null = null;
  #newest: Map<string, Prior | null> | null = null;

  constructor(trail: Trail, now: Instant, except: DecisionId | null) {
    this.#trail = trail;
    this.#now = now;
    this.#except = except;
  }

  count(pattern: string, windowMs: number): number {
    return this.#except === null ? this.#trail.count(pattern, windowMs, this.#now) : this.#calls(pattern, windowMs).length;
  }

  distinct(pattern: string, path: Path, windowMs: number): number | null {
    return this.#remembered(`distinct ${pattern} ${windowMs} ${JSON.stringify(path)}`, () =>
      distinctIn(this.#calls(pattern, windowMs), path, this.#now),
    );
  }

  sum(pattern: string, path: Path, windowMs: number): number | null {
    return this.#remembered(`sum ${pattern} ${windowMs} ${JSON.stringify(path)}`, () => sumIn(this.#calls(pattern, windowMs), path, this.#now));
  }

  last(pattern: string, alike: Path | null, here: JsonValue | undefined): Prior | null {
    this.#newest ??= new Map();
    const key = `${pattern} ${JSON.stringify(alike)} ${canonicalJson(here)}`;
    const before = this.#newest.get(key);
    if (before !== undefined) return before;
    const now = this.#now;
    const found = this.#calls(pattern, Number.POSITIVE_INFINITY).findLast((trace) => {
      if (trace.outcome !== "pending" && trace.outcome !== "success") return false;
      const there = alike === null ? undefined : seenAt(trace, alike, now)?.value;
      return alike === null || (here !== undefined && there !== undefined && canonicalJson(here) === canonicalJson(there));
    });
    const prior = found === undefined ? null : priorOf(found, now);
    this.#newest.set(key, prior);
    return prior;
  }

  #calls(pattern: string, windowMs: number): readonly Trace[] {
    const found = this.#trail.calls(pattern, windowMs, this.#now);
    return this.#except === null ? found : found.filter(({ id }) => id !== this.#except);
  }

  #remembered(key: string, compute: () => number | null): number | null {
    this.#known ??= new Map();
    const before = this.#known.get(key);
    if (before !== undefined) return before;
    const found = compute();
    this.#known.set(key, found);
    return found;
  }
}

function distinctIn(traces: readonly Trace[], path: Path, now: Instant): number | null {
  const values = new Set<string>();
  for (const trace of traces) {
    const seen = seenAt(trace, path, now);
    if (seen === null) return null;
    // A text needs no canonical form, and most values are texts.
    if (seen.value !== undefined) values.add(typeof seen.value === "string" ? `"${seen.value}` : canonicalJson(seen.value));
  }
  return values.size;
}

function sumIn(traces: readonly Trace[], path: Path, now: Instant): number | null {
  let sum = 0;
  const money = path[0] === "cost_usd";
  for (const trace of traces) {
    const seen = money ? { value: trace.amountMicroUsd } : seenAt(trace, path, now);
    if (seen === null || (seen.value !== undefined && typeof seen.value !== "number")) return null;
    sum = plus(sum, seen.value ?? 0);
  }
  return money ? sum / 1_000_000 : sum;
}

/** An earlier call as a condition sees it. */
export function priorOf(trace: Trace, now: Instant): Prior {
  const kept = keptOf(trace, now);
  return {
    action: trace.action,
    inputs: kept?.inputs ?? {},
    outputs: kept?.outputs ?? {},
    knows: (path) => isKnown(trace, kept, path),
    outcome: trace.outcome,
    ageMs: now - trace.at,
  };
}

/** What stands at a path such as `["inputs", "order_id"]` of an earlier call; `null` when that was not kept, and so cannot be known. */
export function seenAt(trace: Trace, path: Path, now: Instant): { readonly value: JsonValue | undefined } | null {
  const kept = keptOf(trace, now);
  if (kept === null || !isKnown(trace, kept, path)) return null;
  const { inputs, outputs, resource } = kept;
  return { value: valueAt({ inputs: inputs ?? {}, outputs: outputs ?? {}, ...(resource !== undefined && { resource }) }, path) };
}

/** What is kept of a call and may still be looked at. */
export const keptOf = ({ kept, keptUntil }: Trace, now: Instant): Kept | null => (keptUntil !== null && now >= keptUntil ? null : kept);

/** What was told of a call's results is known once it has ended, and only where somebody had asked for it before. */
const isKnown = ({ endedAt }: Trace, kept: Kept | null, path: Path): boolean =>
  kept !== null && (path[0] !== "outputs" || endedAt !== null) && covers(kept.paths, path);

/** Whether a path leads to one of these, or into it. */
export const covers = (paths: readonly Path[], path: Path): boolean => paths.some((known) => known.every((step, place) => path[place] === step));

/** What stands at a path; `undefined` where nothing does. Only own members are ever looked at. */
export function valueAt(value: JsonValue | undefined, path: Path): JsonValue | undefined {
  let found: JsonValue | undefined = value;
  for (const step of path) {
    if (typeof found !== "object" || found === null || Array.isArray(found) || !Object.hasOwn(found, step)) return undefined;
    found = (found as { readonly [member: string]: JsonValue })[step];
  }
  return found;
}

/** The parts of a value at these paths, each at its own place; what is no mapping on the way is kept as it is. Without paths, nothing. */
export function partsOf(value: JsonValue | undefined, paths: readonly Path[]): JsonValue | undefined {
  return value === undefined || paths.length === 0 ? undefined : takeParts(value, paths);
}

/**
 * The parts of a value at these paths, with the paths that are thereby known. What is larger than a session has room for, thousands of calls long,
 * is not kept, and then not known: a condition on it cannot be evaluated.
 */
export function keepParts(
  value: JsonValue | undefined,
  paths: readonly Path[],
): { readonly parts: JsonValue | undefined; readonly known: readonly Path[] } {
  const parts = partsOf(value, paths);
  const isTooLarge = parts !== undefined && JSON.stringify(parts).length > MOST_KEPT_CHARACTERS;
  return isTooLarge ? { parts: undefined, known: [] } : { parts, known: paths };
}

const MOST_KEPT_CHARACTERS = 200_000;

/** Of paths that begin with `root`, what comes after it. */
export const insideOf = (root: string, paths: readonly Path[]): readonly Path[] =>
  paths.length === 0 ? NO_PATHS : paths.flatMap(([first, ...rest]) => (first === root ? [rest] : []));

const NO_PATHS: readonly Path[] = [];

function takeParts(value: JsonValue, paths: readonly Path[]): JsonValue {
  if (paths.some((path) => path.length === 0) || typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const parts: { [member: string]: JsonValue } = Object.create(null);
  const byFirst = Map.groupBy(paths, ([first]) => first ?? "");
  for (const [member, inside] of byFirst) {
    // An own member of a parsed JSON object, by the check.
    if (Object.hasOwn(value, member))
      parts[member] = takeParts(
        (value as { readonly [member: string]: JsonValue })[member] as JsonValue,
        inside.map((path) => path.slice(1)),
      );
  }
  return parts;
}

/** So many patterns and names are remembered at once; what is asked for again is read again. */
const MOST_STRETCHES = 1_000;

interface Stretch<T> {
  /** How far back it was loaded, and is kept. */
  readonly windowMs: number;
  readonly items: T[];
  /** Of calls: those with the same inputs by their key; made when first asked for, and again when old ones were cut. */
  alike: Map<string, Alike> | undefined;
}

/** Calls with the same inputs, oldest first: when each was made, and until when its inputs are kept. */
interface Alike {
  readonly at: Instant[];
  readonly until: Instant[];
  /** Those before this place are kept no more. */
  gone: number;
  /** Whether each is kept at least as long as those before it: always, unless a policy has shortened a window. */
  inOrder: boolean;
}

function alikeIn(items: readonly Trace[]): Map<string, Alike> {
  const found = new Map<string, Alike>();
  for (const trace of items) noteAlike(found, trace);
  return found;
}

function noteAlike(found: Map<string, Alike>, { at, kept, keptUntil }: Trace): void {
  if (kept === null) return;
  const until = keptUntil ?? Number.POSITIVE_INFINITY;
  // Two limits on loops may ask for the same key: it is still one call.
  for (const key of kept.loopKeys.length > 1 ? new Set(kept.loopKeys) : kept.loopKeys) {
    const alike = found.get(key) ?? { at: [], until: [], gone: 0, inOrder: true };
    alike.inOrder &&= until >= (alike.until.at(-1) ?? until);
    alike.at.push(at);
    alike.until.push(until);
    found.set(key, alike);
  }
}

function nthKept(alike: Alike, nth: number, now: Instant): Instant | undefined {
  const { at, until } = alike;
  // A session's clock never goes back: what is kept no more never is again.
  while (alike.gone < until.length && (until[alike.gone] ?? now) <= now) alike.gone++;
  if (alike.inOrder) return at.length - alike.gone < nth ? undefined : at[at.length - nth];
  let left = nth;
  for (let place = at.length - 1; place >= alike.gone; place--) {
    if ((until[place] ?? now) > now && --left === 0) return at[place];
  }
  return undefined;
}

const madeAt = ({ at }: Trace): Instant => at;
const itself = (at: Instant): Instant => at;

/** The place of the first item later than `since`. Items stand in the order of their instants. */
function firstAfter<T>(items: readonly T[], since: Instant, atOf: (item: T) => Instant): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    // Within the array by construction of low and high.
    if (atOf(items[middle] as T) > since) high = middle;
    else low = middle + 1;
  }
  return low;
}

const from = <T>(items: readonly T[], place: number): readonly T[] => (place === 0 ? items : items.slice(place));

/** A call as it stands after a change. */
export function changed(trace: Trace, change: TraceChange): Trace {
  const { outcome = trace.outcome, endedAt = trace.endedAt, amountMicroUsd = trace.amountMicroUsd } = change;
  return { ...trace, outcome, endedAt, amountMicroUsd, kept: trace.kept === null ? null : withOutputs(trace.kept, change) };
}

/** What is kept once a call has told its outputs. */
export function withOutputs(kept: Kept, { outputs, losesOutputs }: Pick<TraceChange, "outputs" | "losesOutputs">): Kept {
  if (losesOutputs === true) return { ...kept, paths: kept.paths.filter(([root]) => root !== "outputs") };
  return outputs === undefined ? kept : { ...kept, outputs };
}
