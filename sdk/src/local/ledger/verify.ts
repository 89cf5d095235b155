import { CHAIN_START, type ChainEnd, hashOf, parsedLine, printed } from "./chain.ts";
import type { LedgerLine, SetAside } from "./line.ts";

/** What is wrong with the first bad line. */
export interface ChainFault {
  /** From 1: its place among the lines that were given. */
  readonly line: number;
  /** What the line says of itself; `null`: it cannot be read, or is not there. */
  readonly seq: number | null;
  /**
   * `torn`: half a line at the end, as a crash leaves it. `changed`: it is not what was hashed, or not as it was printed. `dropped`: lines are missing
   * before it, or at the end. `swapped`: it stands in another's place. `repeated`: a line with its place came before. `forged`: its own hash is right,
   * but it is not the line that its neighbours were chained to.
   */
  readonly kind: "torn" | "changed" | "dropped" | "swapped" | "repeated" | "forged";
  /** A sentence for people. */
  readonly message: string;
}

export interface ChainReport {
  readonly ok: boolean;
  /** So many lines from the first on are good. */
  readonly lines: number;
  /** The first line's place. Above 1 it goes on from an earlier file, which alone can tell whether lines between them are missing. */
  readonly firstSeq: number | null;
  /** Where the good part ends: what the next file is to be verified after. */
  readonly end: ChainEnd;
  /** Half-written lines that were found and kept beside the ledger. Losing them was no fault. */
  readonly setAside: readonly SetAside[];
  readonly fault: ChainFault | null;
}

export interface VerifyOptions {
  /** Where the chain stood before the first line: the end of the file before, or `CHAIN_START`. Default: the first line is believed. */
  readonly after?: ChainEnd | undefined;
  /** Where it must end, as somebody noted it. Without this, lines that were cut off at the end are not missed by anybody. */
  readonly end?: ChainEnd | undefined;
}

/** So many lines behind a gap are looked through for what belongs into it. */
const LOOKED_THROUGH = 1_000;

/**
 * Verifies a ledger by its text, whole or line by line (without their line feeds; an empty last line is none). Names the first bad line and what is wrong
 * with it; reads each line once and holds one. What one chain cannot tell: that its last lines were cut off or written anew, unless `end` is known.
 * Throws a `TypeError` for lines that are no texts, such as a file's bytes or lines that were read already: those are for `verifyChain`.
 */
export function verifyLines(lines: string | Iterable<string>, options: VerifyOptions = {}): ChainReport {
  // A string is an iterable of its characters, and no ledger has a line of one.
  return verified(read(typeof lines === "string" ? lines.split("\n") : lines), options);
}

/** The same of lines that were read already. */
export function verifyChain(lines: Iterable<LedgerLine>, options: VerifyOptions = {}): ChainReport {
  return verified(numbered(lines), options);
}

/** A line as it was found. `line`: `null` where the text is none. `text`: `null` where it was not given. */
interface Found {
  readonly number: number;
  readonly text: string | null;
  readonly line: LedgerLine | null;
}

function* read(lines: Iterable<string>): Generator<Found> {
  let number = 0;
  for (const text of lines) {
    number++;
    if (typeof text !== "string") throw new TypeError(`Cannot verify line ${number}: wanted its text, found ${typeof text}`);
    if (text !== "") yield { number, text, line: parsedLine(text) };
  }
}

function* numbered(lines: Iterable<LedgerLine>): Generator<Found> {
  let number = 0;
  for (const line of lines) yield { number: ++number, text: null, line };
}

function verified(lines: Iterator<Found>, { after, end: wanted }: VerifyOptions): ChainReport {
  const setAside: SetAside[] = [];
  let good = 0;
  let firstSeq: number | null = null;
  let end = after ?? null;
  const report = (fault: ChainFault | null): ChainReport => ({
    ok: fault === null,
    lines: good,
    firstSeq,
    end: end ?? CHAIN_START,
    setAside,
    fault,
  });
  let before: Found | null = null;
  for (let next = lines.next(); next.done !== true; next = lines.next()) {
    const found = next.value;
    const { line } = found;
    const expected: ChainEnd | null = end ?? (line === null ? null : believed(line));
    const fault = faultOf(found, line, expected, before, lines);
    if (fault !== null) return report(fault);
    // What cannot be read was a fault.
    if (line === null) break;
    setAside.push(...(line.set_aside ?? []));
    firstSeq ??= line.seq;
    end = { seq: line.seq, hash: line.hash };
    good++;
    before = found;
  }
  const isWhole = wanted === undefined || (end ?? CHAIN_START).hash === wanted.hash;
  return report(isWhole ? null : endFault(before?.number ?? 0, end ?? CHAIN_START, wanted));
}

/** What comes before a first line of which nothing else is known: nothing, or what it says. */
const believed = (line: LedgerLine): ChainEnd => (line.seq === 1 ? CHAIN_START : { seq: line.seq - 1, hash: line.prev_hash });

function faultOf(found: Found, line: LedgerLine | null, expected: ChainEnd | null, before: Found | null, rest: Iterator<Found>): ChainFault | null {
  const { number, text } = found;
  const fault = (kind: ChainFault["kind"], message: string, at = number, seq = line?.seq ?? null): ChainFault => ({ line: at, seq, kind, message });
  if (line === null || expected === null) {
    const isTorn = rest.next().done === true && !/"hash":"[0-9a-f]{64}"\}$/.test(text ?? "");
    return isTorn
      ? fault("torn", `Line ${number} is half a line, as a crash leaves it. The next append sets it aside.`)
      : fault("changed", `Line ${number} cannot be read as a line of a ledger: it was changed after it was written.`);
  }
  if (text !== null && printed(line) !== text)
    return fault("changed", `Line ${number} is not as it was printed: it was changed after it was written.`);
  if (hashOf(line) !== line.hash)
    return fault("changed", `Line ${number} (seq ${line.seq}) is not what its hash was made of: it was changed after it was written.`);
  const wanted = expected.seq + 1;
  if (line.seq < wanted)
    return fault("repeated", `Line ${number} has seq ${line.seq}, which stands on an earlier line: seq ${wanted} is wanted here.`);
  if (line.seq > wanted) {
    const elsewhere = numberOf(wanted, rest);
    return elsewhere === null
      ? fault("dropped", `Before line ${number} ${wanted === line.seq - 1 ? `seq ${wanted} is` : `seq ${wanted} to ${line.seq - 1} are`} missing.`)
      : fault("swapped", `Line ${number} has seq ${line.seq}, and seq ${wanted}, which belongs there, stands on line ${elsewhere}.`);
  }
  if (line.prev_hash === expected.hash) return null;
  // One of the two is forged. Whatever follows was chained to the genuine one.
  const next = rest.next();
  const follower = next.done === true ? null : next.value.line;
  const isAnchored = follower === null || (follower.seq === line.seq + 1 && follower.prev_hash === line.hash);
  return before?.line != null && isAnchored
    ? fault(
        "forged",
        `Line ${before.number} (seq ${before.line.seq}) is not the line that line ${number} was chained to: it was written anew.`,
        before.number,
        before.line.seq,
      )
    : fault("forged", `Line ${number} (seq ${line.seq}) was not chained to what stands before it: it was written anew.`);
}

function numberOf(seq: number, rest: Iterator<Found>): number | null {
  for (let looked = 0; looked < LOOKED_THROUGH; looked++) {
    const next = rest.next();
    if (next.done === true) return null;
    if (next.value.line?.seq === seq) return next.value.number;
  }
  return null;
}

const endFault = (last: number, end: ChainEnd, wanted: ChainEnd): ChainFault =>
  end.seq < wanted.seq
    ? {
        line: last + 1,
        seq: null,
        kind: "dropped",
        message: `The ledger ends with seq ${end.seq}: seq ${end.seq + 1} to ${wanted.seq} are missing at its end.`,
      }
    : { line: last, seq: end.seq, kind: "forged", message: `The ledger does not end with the line of seq ${wanted.seq} that was noted.` };
