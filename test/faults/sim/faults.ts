import type { Random } from "./random.ts";

/** What can go wrong, each for itself: a run without one of them shows whether it matters. */
export const FAULT_KINDS = ["loss", "duplicates", "delays", "crashes", "outages", "clocks", "database", "leaps"] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** How clocks go wrong: not at all; each off by an amount of its own; or jumping to and fro. */
export type Clocks = "true" | "apart" | "jumping";

/** How often what goes wrong, as probabilities for each message, call or event. */
export interface Faults {
  /** A message is lost on its way, and its sender finds out soon, late, or by its own patience. */
  readonly loss: number;
  /** A client's request arrives twice. */
  readonly duplicates: number;
  /** A message takes up to seconds. */
  readonly delays: number;
  /** For each event: somebody falls and forgets all but what is durable. */
  readonly crashes: number;
  /** For each event: somebody cannot be reached for a while. */
  readonly outages: number;
  readonly clocks: Clocks;
  /** For each event: some clock jumps. */
  readonly jumps: number;
  /** For each call of the database: it fails before, or after it did what it was asked. */
  readonly database: number;
  /** For each event: everybody pauses for a while. */
  readonly leaps: number;
}

export const NO_FAULTS: Faults = {
  loss: 0,
  duplicates: 0,
  delays: 0,
  crashes: 0,
  outages: 0,
  clocks: "true",
  jumps: 0,
  database: 0,
  leaps: 0,
};

/** Each world has troubles of its own: some of all kinds at different rates find what all of them at one rate never do. */
export function drawFaults(random: Random, without: ReadonlySet<FaultKind>): Faults {
  const some = (kind: FaultKind, most: number): number => {
    const wanted = random.weighted({ none: 1, few: 2, many: 1 });
    const rate = wanted === "none" ? 0 : wanted === "few" ? most / 8 : most;
    return without.has(kind) ? 0 : rate;
  };
  const clocks = random.weighted<Clocks>({ true: 4, apart: 1, jumping: 2 });
  return {
    loss: some("loss", 0.08),
    duplicates: some("duplicates", 0.1),
    delays: some("delays", 0.1),
    crashes: some("crashes", 0.01),
    outages: some("outages", 0.002),
    clocks: without.has("clocks") ? "true" : clocks,
    jumps: clocks === "jumping" && !without.has("clocks") ? 0.002 : 0,
    database: some("database", 0.2),
    leaps: some("leaps", 0.0015),
  };
}
