import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { CHAIN_START, type ChainEnd, parsedLine } from "../../sdk/src/local/ledger/chain.ts";
import { verifyLines } from "../../sdk/src/local/ledger/verify.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { ExportedChains, type Head } from "./exported_chains.ts";
import { type Line, linesOf, shownName } from "./ledger_lines.ts";
import { count, plain, type Terminal } from "./terminal.ts";

export const options = { head: { type: "string" }, strict: { type: "boolean" } } as const satisfies Command["options"];

export const help = `Usage: agentsentinel verify [FILE]... [--head SEQ:HASH] [--strict] [--json]

Checks that nothing of a ledger was changed, left out, swapped or put in between: every line has the hash of what it says and names the hash of the
line before it. Needs no gateway. Reads the SDK's local ledger with its rotated files; and what GET /v1/ledger/export gives (of everything, or of one
session), where every session has a chain of its own. What a chain alone cannot show: that its end was cut off (--head shows it), or that all of it was
written anew. Proofs against signed checkpoints are not looked at.

  FILE              one ledger, its files in their order; a directory: the ledger in it; - is standard input.
                    Without: the ledger in $AGENT_SENTINEL_HOME, else in .agent-sentinel
  --head SEQ:HASH   it must end with this, as an earlier verify printed it: so a cut end is found too
  --strict          a half-written last line, and a beginning that is not there, count as broken
  --json            {"valid", "lines", "chains", "head", "bad", "torn", "begun_later", "erased", "set_aside"}

  curl -s "$AGENTSENTINEL_URL/v1/ledger/export" -H "Authorization: Bearer $AGENTSENTINEL_TOKEN" | agentsentinel verify -

Exit code: 0 when it is whole, 1 when it is broken or cannot be read, 2 for a mistake in the command.`;

/** `verify`: whether every chain is whole. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  const given = line.positionals.length > 0 ? line.positionals : [ledgerHome(process.env, directory)];
  if (given.filter((name) => name === "-").length > 1) throw new Usage("standard input (-) can be read once", "verify");
  const head = headOf(line.text("head"));
  const found = verifyFiles(
    given.flatMap((name) => filesOf(name, directory)),
    directory,
    terminal,
    head,
  );
  const valid = found.bad === null && !(line.has("strict") && (found.torn !== null || found.begunLater > 0));
  terminal.out(line.has("json") ? `${JSON.stringify(inJson(found, valid))}\n` : inWords(found, valid, terminal));
  return valid;
}

function headOf(text: string | undefined): Head | null {
  if (text === undefined) return null;
  const [, seq, hash] = /^([1-9]\d{0,14}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (seq === undefined || hash === undefined)
    throw new Usage(`--head is SEQ:HASH as verify prints it, like 12:9f86d0…, found ${JSON.stringify(text)}`, "verify");
  return { seq: Number(seq), hash };
}

export interface Verified {
  readonly files: readonly string[];
  /** How many are good. */
  readonly lines: number;
  readonly chains: number;
  /** Where the chain ends, if there is one only. */
  readonly head: Head | null;
  readonly bad: Place | null;
  /** A last line that was not written to its end. */
  readonly torn: Place | null;
  /** Chains whose beginning is not here. */
  readonly begunLater: number;
  /** Entries whose inputs and outputs are not here. */
  readonly erased: number;
  /** Half-written lines that the SDK found and kept beside the ledger. */
  readonly setAside: number;
}

interface Place {
  readonly file: string;
  readonly line: number;
  /** A sentence. */
  readonly why: string;
}

/** Where the SDK keeps its ledger, as it is typed. */
export const ledgerHome = ({ AGENT_SENTINEL_HOME: home }: NodeJS.ProcessEnv, directory: string): string =>
  path.relative(directory, path.resolve(directory, home === undefined || home === "" ? ".agent-sentinel" : home)) || ".";

/** The files behind a name: a directory's ledger is all its parts, the oldest first. */
export function filesOf(name: string, directory: string): readonly string[] {
  const place = path.resolve(directory, name);
  if (name === "-" || (existsSync(place) && !statSync(place).isDirectory())) return [name];
  const parts = existsSync(place) ? ledgerFiles(name, directory) : [];
  if (parts.length === 0) throw new Stop(`there is no ledger ${name}; the SDK makes .agent-sentinel/ledger.jsonl when its first action is guarded`);
  return parts;
}

/** Beside the file that is being written lie those into which it was rotated, by the SDK or by whoever moved and packed them. */
const PARTS = /^ledger(?:-.*)?\.jsonl(?:\.gz)?$/;

/** The parts of the ledger in a directory, in the order of their first lines: names do not always tell. */
export function ledgerFiles(home: string, directory: string): readonly string[] {
  const parts = readdirSync(path.resolve(directory, home)).filter((part) => PARTS.test(part));
  const placed = parts.map((part) => ({
    file: path.join(home, part),
    seq: part === "ledger.jsonl" ? Number.POSITIVE_INFINITY : firstSeq(home, part, directory),
  }));
  return placed.sort((a, b) => (a.seq === b.seq ? 0 : a.seq < b.seq ? -1 : 1)).map(({ file }) => file);
}

/** What cannot be read stands first, and is told of first. */
function firstSeq(home: string, part: string, directory: string): number {
  const [line] = linesOf(path.join(home, part), directory);
  return parsedLine(line?.text ?? "")?.seq ?? 0;
}

/** Follows the chains through files, which are read once and never held in memory. `head`: what they must end with. */
export function verifyFiles(files: readonly string[], directory: string, terminal: Terminal, head: Head | null): Verified {
  const [first, ...others] = files;
  if (first === undefined) throw new Stop("there is no file to verify");
  // Whose lines they are is seen from the first; standard input is read once, so that line is put back in its place.
  const source = linesOf(first, directory);
  const beginning = source.next();
  const lines = function* (): Generator<Line, void, void> {
    if (beginning.done !== true) yield beginning.value;
    yield* source;
  };
  const sources = [{ file: first, lines: lines() }, ...others.map((file) => ({ file, lines: linesOf(file, directory) }))];
  const isExport = beginning.done !== true && isEntry(beginning.value.text);
  try {
    return { files, ...(isExport ? ofExport(sources, terminal, head) : ofLocal(sources, terminal, head)) };
  } finally {
    terminal.progress("");
    source.return();
  }
}

interface Source {
  readonly file: string;
  readonly lines: Generator<Line, void, void>;
}

/** An entry of a gateway says whose it is; a line of a local ledger does not. */
function isEntry(text: string | null): boolean {
  try {
    const line: unknown = JSON.parse(text ?? "");
    return typeof line === "object" && line !== null && "tenant_id" in line;
  } catch {
    return false;
  }
}

/** A local ledger is one chain through its files. The SDK's own eyes look at it. */
function ofLocal(sources: readonly Source[], terminal: Terminal, head: Head | null): Omit<Verified, "files"> {
  let end: ChainEnd | undefined;
  let [good, setAside, begunLater] = [0, 0, 0];
  for (const [place, { file, lines }] of sources.entries()) {
    const isLast = place === sources.length - 1;
    const report = verifyLines(textsOf(file, lines, good, terminal), {
      ...(end !== undefined && { after: end }),
      ...(isLast && head !== null && { end: head }),
    });
    good += report.lines;
    setAside += report.setAside.length;
    if (place === 0 && (report.firstSeq ?? 1) > 1) begunLater = 1;
    // An empty file says nothing of where the chain stands.
    if (report.lines > 0) end = report.end;
    const { fault } = report;
    if (fault === null) continue;
    const at: Place = { file: shownName(file), line: fault.line, why: fault.message };
    const isTorn = fault.kind === "torn" && isLast;
    // A torn line ends the reading before the end could be compared.
    const isCut = isTorn && head !== null && (end ?? CHAIN_START).hash !== head.hash;
    const bad = isCut
      ? { ...at, why: `The ledger ends with seq ${(end ?? CHAIN_START).seq} and half a line, and not with seq ${head.seq} as it must.` }
      : at;
    return {
      lines: good,
      chains: 1,
      head: end ?? null,
      bad: isTorn && !isCut ? null : bad,
      torn: isTorn ? at : null,
      begunLater,
      erased: 0,
      setAside,
    };
  }
  return { lines: good, chains: good === 0 ? 0 : 1, head: end ?? null, bad: null, torn: null, begunLater, erased: 0, setAside };
}

function* textsOf(file: string, lines: Generator<Line, void, void>, before: number, terminal: Terminal): Generator<string, void, void> {
  for (const line of lines) {
    tellProgress(file, line, before, terminal);
    // What is no UTF-8 is no line either, and nothing that could be taken for one.
    yield line.text ?? "\ufffd";
  }
}

/** An export has as many chains as sessions, and one of the tenant. */
function ofExport(sources: readonly Source[], terminal: Terminal, head: Head | null): Omit<Verified, "files"> {
  const chains = new ExportedChains();
  let good = 0;
  const found = (bad: Place | null, torn: Place | null): Omit<Verified, "files"> => {
    const { begunLater, erased, head: end } = chains;
    return { lines: good, chains: chains.chains, head: end, bad, torn, begunLater, erased, setAside: 0 };
  };
  let last: Place = { file: "", line: 0, why: "" };
  for (const [place, { file, lines }] of sources.entries()) {
    for (const line of lines) {
      tellProgress(file, line, good, terminal);
      const why = line.text === null ? "it is no UTF-8 text" : chains.take(line.text);
      last = { file: shownName(file), line: line.number, why: `Line ${line.number} is half a line: the export broke off there.` };
      if (why === null) good++;
      else if (!line.isEnded && place === sources.length - 1 && why === "it is no JSON") return found(null, last);
      else return found({ ...last, why: `${why[0]?.toUpperCase() ?? ""}${why.slice(1)}.` }, null);
    }
  }
  if (head === null || chains.endsWith(head)) return found(null, null);
  return found({ ...last, why: `No chain ends with seq ${head.seq} and the hash of --head: its end was cut off, or went on.` }, null);
}

/** Every so many lines it is told how far it is. */
const TOLD_EVERY = 5_000;

function tellProgress(file: string, { number, part }: Line, before: number, terminal: Terminal): void {
  if (number % TOLD_EVERY !== 0) return;
  terminal.progress(`${shownName(file)}: ${before + number} lines${part === null ? "" : `, ${Math.floor(part * 100)} %`} …`);
}

const inJson = ({ lines, chains, head, bad, torn, begunLater, erased, setAside }: Verified, valid: boolean): object => ({
  valid,
  lines,
  chains,
  head,
  bad,
  torn,
  begun_later: begunLater,
  erased,
  set_aside: setAside,
});

function inWords({ files, lines, chains, head, bad, torn, begunLater, erased, setAside }: Verified, valid: boolean, { paint }: Terminal): string {
  const said: string[] = [];
  const good = `${count(lines, "line")}${chains > 1 ? ` in ${chains} chains` : ""}${files.length > 1 ? ` of ${files.length} files` : ""}`;
  if (bad !== null) {
    said.push(`${paint.red("✗")} ${paint.bold(`${bad.file}:${bad.line}`)} ${plain(bad.why)}`);
    said.push(lines === 0 ? "  No line is good." : `  ${good} before it ${lines === 1 ? "is" : "are"} good; of what follows nothing can be said.`);
  } else
    said.push(
      valid ? `${paint.green("✓")} ${good}: nothing was changed or left out.` : `${paint.red("✗")} ${good} are good, and that is not all (--strict).`,
    );
  if (torn !== null && bad === null) said.push(`${paint.yellow("!")} ${torn.file}:${torn.line} ${torn.why}`);
  if (begunLater > 0)
    said.push(
      `${paint.yellow("!")} ${chains === 1 ? "It begins" : `${count(begunLater, "chain begins", "chains begin")}`} later than with seq 1: what came before is not here.`,
    );
  if (setAside > 0)
    said.push(
      paint.dim(
        `  ${count(setAside, "half-written line was", "half-written lines were")} set aside by the SDK after a crash, as a later line records.`,
      ),
    );
  if (erased > 0) said.push(paint.dim(`  The inputs and outputs of ${count(erased, "entry", "entries")} are not here (erased, or not exported).`));
  if (head !== null && bad === null) said.push(paint.dim(`  It ends with --head ${head.seq}:${head.hash}`));
  return `${said.join("\n")}\n`;
}
