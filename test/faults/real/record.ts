import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { EntryMark, LedgerEntry } from "../../../sdk/src/wire.ts";

/** Looks at the record as a stranger would, who knows its format and nothing of the code that wrote it. */

export const parseEntries = (lines: string): readonly LedgerEntry[] =>
  lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));

/** RFC 8785, written again: the gateway's own would agree with itself. */
export function canonical(value: unknown): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(",")}}`;
}

export function hashOf({ hash: _, index: __, payload: ___, ...hashed }: LedgerEntry): string {
  return createHash("sha256").update(canonical(hashed)).digest("hex");
}

/** The end of a chain that was looked at as far as it went. */
export interface Head {
  readonly seq: number;
  readonly hash: string;
}

export const NO_ENTRIES: Head = { seq: 0, hash: "0".repeat(64) };

/** The next entry of a chain: without a gap, naming the hash of the one before it, with the hash of its own bytes. Answers the chain's new end. */
export function follow(head: Head, entry: LedgerEntry): Head {
  assert.deepEqual([entry.seq, entry.prev_hash, entry.hash], [head.seq + 1, head.hash, hashOf(entry)], `entry ${entry.id} of ${entry.session_id}`);
  return { seq: entry.seq, hash: entry.hash };
}

/** In no stretch of the window's length are more than `most` of these instants. */
export function assertRate(at: readonly number[], most: number, windowMs: number, what: string): void {
  const sorted = [...at].sort((a, b) => a - b);
  for (const [place, first] of sorted.entries()) {
    const later = sorted[place + most];
    if (later !== undefined && later - first < windowMs)
      assert.fail(`${what}: ${most + 1} calls within ${later - first} ms, from ${new Date(first).toISOString()}`);
  }
}

export const micro = (usd: string | number): number => Math.round(Number(usd) * 1_000_000);
export const usd = (microUsd: number): string => (microUsd / 1_000_000).toFixed(6);

export const markText = ({ id, seq, hash }: EntryMark): string => `${id} ${seq} ${hash}`;
