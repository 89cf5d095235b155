import { wireNames } from "../mapping.ts";
import type { CommitReport } from "../surface.ts";
import type * as wire from "../wire.ts";

/** What was decided and done with a lease and is not told yet: bounded, and written out when it happened, so that nothing changes it afterwards. */

/** What an action said about itself, and what became of it. */
interface Said extends Omit<CommitReport, "costUsd"> {
  readonly id: string;
  readonly action: string;
  /** Milliseconds since 1970. */
  readonly at?: number;
  readonly estimateUsd: string;
  readonly costUsd: string;
}

/** One of them. */
export interface Entry {
  readonly id: string;
  readonly action: string;
  /** JSON of what is said. */
  readonly text: string;
  readonly bytes: number;
  /** Nothing is said but who, what and how much, because more was refused. */
  readonly isBare: boolean;
}

const MOST_ENTRIES = 1_000;
const MOST_BYTES = 4_000_000;
/** The gateway reads at most 256 KiB. */
const MOST_BODY_BYTES = 240_000;
const MOST_TOLD = 100;
/** Three bytes a character at worst: beside this, what is known before an action runs, there is room in a body. */
export const MOST_FACTS = 75_000;

/** Joins what was known when it was decided, JSON of an object, with how it ended. */
export function entryOf(facts: string, id: string, action: string, end: Omit<Said, "id" | "action" | "at">): Entry {
  const whole = entry(joined(facts, end), id, action);
  if (whole.bytes <= MOST_BODY_BYTES) return whole;
  const { outputs: _, ...short } = end;
  return entry(joined(facts, short), id, action);
}

/** What is left of an entry when all is taken from it that could be wrong with it. */
export function bare({ text, id, action }: Entry): Entry {
  const { estimateUsd, costUsd, outcome } = said(text);
  return { ...entry(JSON.stringify({ id, action, estimateUsd, costUsd, outcome }), id, action), isBare: true };
}

/** What it was to be said about how it ended. */
export function reportOf({ text }: Entry): CommitReport {
  const { costUsd, outcome, durationMs, outputs, error, usage } = said(text);
  return { costUsd, outcome, durationMs, outputs, error, usage };
}

/** As the gateway reads it. */
export function wireEntry({ text }: Entry): wire.LeaseEntry {
  const { at, ...told } = said(text);
  return wireNames({ ...told, at: at === undefined ? undefined : new Date(at).toISOString() }) satisfies wire.LeaseEntry;
}

export class Waiting {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  get size(): number {
    return this.#entries.size;
  }

  /** Whether as many wait as may. What is added is taken all the same: it has happened. */
  get isFull(): boolean {
    return this.size >= MOST_ENTRIES || this.#bytes >= MOST_BYTES;
  }

  /** Whether a request's worth of them waits. */
  get isBatch(): boolean {
    return this.size >= MOST_TOLD || this.#bytes >= MOST_BODY_BYTES;
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  add(added: Entry): void {
    this.take([added]);
    this.#entries.set(added.id, added);
    this.#bytes += added.bytes;
  }

  take(taken: readonly Entry[]): void {
    for (const { id } of taken) {
      this.#bytes -= this.#entries.get(id)?.bytes ?? 0;
      this.#entries.delete(id);
    }
  }

  all(): readonly Entry[] {
    return [...this.#entries.values()];
  }

  /** The first of them, so many at most, and no more than one request holds. */
  batch(most: number): readonly Entry[] {
    const found: Entry[] = [];
    let bytes = 0;
    for (const each of this.#entries.values()) {
      bytes += each.bytes;
      if (found.length >= Math.min(most, MOST_TOLD) || (found.length > 0 && bytes > MOST_BODY_BYTES)) break;
      found.push(each);
    }
    return found;
  }
}

const joined = (facts: string, end: object): string => `${facts.slice(0, -1)},${JSON.stringify(end).slice(1)}`;

/** A short text is counted at its worst. */
const entry = (text: string, id: string, action: string): Entry => ({
  id,
  action,
  text,
  bytes: text.length < 1_000 ? 3 * text.length : new TextEncoder().encode(text).length,
  isBare: false,
});

// It was written by `entryOf` or `bare`.
const said = (text: string): Said => JSON.parse(text) as Said;
