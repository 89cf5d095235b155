import { canonicalJson } from "../../../../src/core/json.ts";
import { sha256 } from "../sha256.ts";
import type { LedgerLine, LedgerRecord, SetAside } from "./line.ts";

/** Where a chain stands: the next line gets `seq + 1` and names `hash` as the one before it. */
export interface ChainEnd {
  readonly seq: number;
  readonly hash: string;
}

export const CHAIN_START: ChainEnd = { seq: 0, hash: "0".repeat(64) };

/** Gives a record the place after `end`. */
export function sealed(record: LedgerRecord, end: ChainEnd, setAside: readonly SetAside[] = []): LedgerLine {
  const line = { ...record, seq: end.seq + 1, prev_hash: end.hash, ...(setAside.length > 0 && { set_aside: setAside }) };
  return { ...line, hash: hashOf(line) };
}

/** The hash that a line ought to have: of everything in it but `hash`, however its members are ordered. */
export function hashOf(line: object): string {
  const { hash: _, ...hashed }: { readonly hash?: unknown } = line;
  return sha256(canonicalJson(hashed));
}

/**
 * A line as it stands in a file: its members in the order in which they were recorded, because replay gives values back in that order. A text that is
 * not printed like this was changed, even where it means the same.
 */
export const printed = (line: LedgerLine): string => JSON.stringify(line);

/** Reads a printed line; `null`: it is none. Its hash is not looked at. */
export function parsedLine(text: string): LedgerLine | null {
  try {
    const line: unknown = JSON.parse(text);
    return isLine(line) ? line : null;
  } catch {
    return null;
  }
}

const HASH = /^[0-9a-f]{64}$/;

/** What makes a line one is its place in a chain. The rest is as its hash says, or the hash is wrong. */
function isLine(value: unknown): value is LedgerLine {
  // An object's members are what is asked for here.
  const { seq, prev_hash, hash }: { readonly seq?: unknown; readonly prev_hash?: unknown; readonly hash?: unknown } = Object(value);
  return (
    typeof seq === "number" &&
    Number.isSafeInteger(seq) &&
    seq >= 1 &&
    typeof prev_hash === "string" &&
    HASH.test(prev_hash) &&
    typeof hash === "string" &&
    HASH.test(hash)
  );
}
