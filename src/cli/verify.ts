import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { CHAIN_START, type ChainEnd, parsedLine } from "../../sdk/src/local/ledger/chain.ts";
import { verifyLines } from "../../sdk/src/local/ledger/verify.ts";
import { CALLED } from "./called_as.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { ExportedChains, type Head, type Heads } from "./exported_chains.ts";
import { isMapping } from "./gateway.ts";
import { type Line, linesOf, shownName } from "./ledger_lines.ts";
import { count, plain, shown, type Terminal } from "./terminal.ts";

export const options = { head: { type: "string" }, strict: { type: "boolean" } } as const satisfies Command["options"];

export const help = `Usage: agentsentinel verify [FILE]... [--head HEAD] [--strict] [--json]

Checks that the lines of a ledger hold together: each has the hash of what it says and names the hash of the line before it, so that none was changed,
left out, swapped or put in between by itself. Needs no gateway. Reads the SDK's local ledger with its rotated files; and what GET /v1/ledger/export
gives (of everything, or of one session), where every session has a chain of its own and every entry an index, its place in the tenant's ledger. Places
that are missing are named, and so are inputs and outputs: no fault, for an export may be of a part, and payloads are erased. Where no line of a ledger
came, nothing was verified.

What lines alone cannot show: that an end was cut off, the export's or with its places one chain's; that a whole chain was left out with its places, or
chains stood otherwise among one another (the index is in no hash); or that all was written anew with new hashes. So a head is printed: keep it elsewhere,
and give it next time. A gateway signs nothing of its record yet. A later export, ?after= the last index, is read behind the earlier one:
verify old.ndjson new.ndjson.

  FILE           one ledger, its files in their order; a directory: the ledger in it; - is standard input.
                 Without: the ledger in $AGENT_SENTINEL_HOME, else in .agent-sentinel
  --head HEAD    as an earlier verify printed it. SEQ:HASH, of one chain: it must end with this. all:INDEX:HASH, of all chains of an export up to that
                 index: until there it must be what it was then, and may have gone on
  --strict       whatever is not here counts as broken: a half-written last line, a beginning, places of the tenant's ledger, inputs and outputs
  --json         {"valid", "lines", "chains", "tenants", "head", "keep", "bad", "instead", "torn", "begun_later", "missing", "unlinked", "erased",
                 "set_aside"};
                 "keep" is what --head takes next time

  curl -s "$AGENTSENTINEL_URL/v1/ledger/export" -H "Authorization: Bearer $AGENTSENTINEL_TOKEN" | ${CALLED} verify -

Exit code: 0 when what is here holds together (and is what --head says), 1 when not, or nothing could be read, 2 for a mistake in the command.`;

/** `verify`: whether every chain holds together. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  const given = line.positionals.length > 0 ? line.positionals : [ledgerHome(process.env, directory)];
  if (given.filter((name) => name === "-").length > 1) throw new Usage("standard input (-) can be read once", "verify");
  const kept = keptOf(line.text("head"));
  const found = verifyFiles(
    given.flatMap((name) => filesOf(name, directory)),
    directory,
    terminal,
    kept,
  );
  const valid = found.bad === null && found.instead === null && (!line.has("strict") || isWhole(found));
  terminal.out(line.has("json") ? `${JSON.stringify(inJson(found, valid))}\n` : inWords(found, valid, kept, terminal));
  return valid;
}

/** Whether all is here, as far as its lines can tell: not that its end is. */
const isWhole = ({ torn, begunLater, missing, erased }: Verified): boolean =>
  torn === null && begunLater === 0 && missing.count === 0 && erased === 0;

/** What was kept of an earlier reading: where one chain ended, or where all of an export stood. */
type Kept = Head | Heads;

function keptOf(text: string | undefined): Kept | null {
  if (text === undefined) return null;
  const [, all, place, hash] = /^(all:(?=\d)|(?=[1-9]))(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (place === undefined || hash === undefined)
    throw new Usage(
      `--head is SEQ:HASH or all:INDEX:HASH as verify prints it, like 12:9f86d0… or all:41:9f86d0…, found ${JSON.stringify(text)}`,
      "verify",
    );
  return all === "" ? { seq: Number(place), hash } : { index: Number(place), digest: hash };
}

const isOfAll = (kept: Kept): kept is Heads => "index" in kept;

/** As `--head` takes it. */
const written = (kept: Kept): string => (isOfAll(kept) ? `all:${kept.index}:${kept.digest}` : `${kept.seq}:${kept.hash}`);

export interface Verified {
  readonly files: readonly string[];
  /** How many are good. */
  readonly lines: number;
  readonly chains: number;
  /** Where the chain ends, if there is one only. */
  readonly head: Head | null;
  /** Where all chains of an export stand. */
  readonly heads: Heads | null;
  readonly bad: Place | null;
  /** What came where no line of a ledger did, as a sentence: then there is nothing of which anything could be said. */
  readonly instead: string | null;
  /** A last line that was not written to its end. */
  readonly torn: Place | null;
  /** Chains whose beginning is not here. */
  readonly begunLater: number;
  /** Places of the tenant's ledger that an export passes over. */
  readonly missing: ExportedChains["missing"];
  /** Entries of what was reported that were held against nothing before them: what stood there is among the missing places. */
  readonly unlinked: number;
  /** Whose entries they are, of an export: one tenant's, unless several were put together. */
  readonly tenants: readonly string[];
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

/** Follows the chains through files, which are read once and never held in memory. `kept`: what they must end with, or have come by. */
export function verifyFiles(files: readonly string[], directory: string, terminal: Terminal, kept: Kept | null): Verified {
  if (files.length === 0) throw new Stop("there is no file to verify");
  const sources = files.map((file): Source => ({ file, lines: linesOf(file, directory) }));
  const { first, read } = peeked(sources);
  try {
    const found = isEntry(first?.text ?? null) ? ofExport(read, terminal, kept) : ofLocal(read, terminal, kept);
    const instead = found.lines > 0 ? null : insteadOf(first, found.bad !== null);
    if (instead === null) return { files, ...found, instead };
    return { files, ...found, bad: null, torn: instead === HALF ? found.torn : null, instead };
  } finally {
    terminal.progress("");
    for (const { lines } of sources) lines.return();
  }
}

/** Whose lines they are is seen from the first. Standard input is read once, so that line is put back in its place. */
function peeked(sources: readonly Source[]): { readonly first: Line | null; readonly read: readonly Source[] } {
  for (const [place, { file, lines }] of sources.entries()) {
    const next = lines.next();
    if (next.done === true) continue;
    const first = next.value;
    const again = function* (): Generator<Line, void, void> {
      yield first;
      yield* lines;
    };
    return { first, read: sources.with(place, { file, lines: again() }) };
  }
  return { first: null, read: sources };
}

const HALF = "half a line came, and no more";

/**
 * What came instead of a ledger, where none of its lines is good. `isBad`: there was a bad line; then it is said only of what was never a ledger's,
 * for in a ledger the first line may be the one that was changed.
 */
function insteadOf(first: Line | null, isBad: boolean): string | null {
  if (first === null) return "nothing came: it is empty";
  const text = first.text?.trim() ?? null;
  const found = text === null ? undefined : parsed(text);
  if (text?.startsWith("[")) return "a JSON array came, and an export is one entry a line, as GET /v1/ledger/export gives it";
  if (isMapping(found) && typeof found.status === "number" && typeof found.title === "string")
    return `a problem came, and no ledger: ${plain(`${found.status} ${found.code ?? found.title}: ${found.detail ?? found.title}`)}`;
  if (text === "{") return "JSON of several lines came, and a ledger has one line for each entry";
  if (text?.startsWith("<")) return "a page came, and no ledger: something else answered";
  if (isBad) return null;
  if (text === null) return "what came is no text in UTF-8";
  if (text === "") return "it begins with an empty line, and no line of a ledger comes";
  if (found === undefined && !first.isEnded && text.startsWith("{")) return HALF;
  return `what came is no line of a ledger: ${shown(text, 80)}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What the lines of the files say. */
type Found = Omit<Verified, "files" | "instead">;

interface Source {
  readonly file: string;
  readonly lines: Generator<Line, void, void>;
}

/** An entry of a gateway says whose it is; a line of a local ledger does not. */
function isEntry(text: string | null): boolean {
  const line = parsed(text ?? "");
  return isMapping(line) && "tenant_id" in line;
}

/** A local ledger is one chain through its files. The SDK's own eyes look at it. */
function ofLocal(sources: readonly Source[], terminal: Terminal, head: Kept | null): Found {
  if (head !== null && isOfAll(head)) throw new Usage("--head all:INDEX:HASH is of a gateway's export; that of one chain is SEQ:HASH", "verify");
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
      heads: null,
      bad: isTorn && !isCut ? null : bad,
      torn: isTorn ? at : null,
      begunLater,
      missing: NOTHING_MISSING,
      unlinked: 0,
      tenants: [],
      erased: 0,
      setAside,
    };
  }
  return {
    lines: good,
    chains: good === 0 ? 0 : 1,
    head: end ?? null,
    heads: null,
    bad: null,
    torn: null,
    begunLater,
    missing: NOTHING_MISSING,
    unlinked: 0,
    tenants: [],
    erased: 0,
    setAside,
  };
}

/** The chain of a local ledger is the whole of it: its seq tells. */
const NOTHING_MISSING: Verified["missing"] = { count: 0, first: [] };

function* textsOf(file: string, lines: Generator<Line, void, void>, before: number, terminal: Terminal): Generator<string, void, void> {
  for (const line of lines) {
    tellProgress(file, line, before, terminal);
    // What is no UTF-8 is no line either, and nothing that could be taken for one.
    yield line.text ?? "\ufffd";
  }
}

/** An export has as many chains as sessions, one of the tenant, and one of what was reported. */
function ofExport(sources: readonly Source[], terminal: Terminal, kept: Kept | null): Found {
  const chains = new ExportedChains(kept !== null && isOfAll(kept) ? kept : null);
  let good = 0;
  const found = (bad: Place | null, torn: Place | null): Found => {
    const { begunLater, missing, thinned: unlinked, tenants, erased, head, heads } = chains;
    return { lines: good, chains: chains.chains, head, heads, bad, torn, begunLater, missing, unlinked, tenants, erased, setAside: 0 };
  };
  let torn: Place | null = null;
  let unlinked: { readonly file: string; readonly line: number; readonly good: number; readonly chains: number } | null = null;
  let last: Place = { file: "", line: 0, why: "" };
  for (const [place, { file, lines }] of sources.entries()) {
    for (const line of lines) {
      tellProgress(file, line, good, terminal);
      const why = line.text === null ? "it is no UTF-8 text" : chains.take(line.text);
      last = { file: shownName(file), line: line.number, why: `Line ${line.number} is half a line: the export broke off there.` };
      if (why === null) {
        if (chains.thinned > 0) unlinked ??= { file: last.file, line: last.line, good, chains: chains.chains };
        good++;
      } else if (!line.isEnded && place === sources.length - 1 && why === "it is no JSON") torn = last;
      else return found({ ...last, why: asSentence(why) }, null);
    }
  }
  const { thinnedFault } = chains;
  if (unlinked !== null && thinnedFault !== null) {
    good = unlinked.good;
    return { ...found({ file: unlinked.file, line: unlinked.line, why: asSentence(thinnedFault) }, torn), chains: unlinked.chains };
  }
  const why = kept === null ? null : isOfAll(kept) ? chains.keptFault : chains.endsWith(kept) ? null : notEnding(kept);
  return found(why === null ? null : { ...last, why }, torn);
}

const asSentence = (why: string): string => `${why[0]?.toUpperCase() ?? ""}${why.slice(1)}.`;

const notEnding = ({ seq }: Head): string => `No chain ends with seq ${seq} and the hash of --head: its end was cut off, or went on.`;

/** Every so many lines it is told how far it is. */
const TOLD_EVERY = 5_000;

function tellProgress(file: string, { number, part }: Line, before: number, terminal: Terminal): void {
  if (number % TOLD_EVERY !== 0) return;
  terminal.progress(`${shownName(file)}: ${before + number} lines${part === null ? "" : `, ${Math.floor(part * 100)} %`} …`);
}

/** What to keep elsewhere, and to give as `--head` next time. Of a chain that is broken there is no end. */
function keepOf({ head, heads, bad, instead }: Verified): string | null {
  const keep = heads ?? head;
  return keep === null || bad !== null || instead !== null ? null : written(keep);
}

const inJson = (found: Verified, valid: boolean): object => {
  const { lines, chains, tenants, head, bad, instead, torn, begunLater, missing, unlinked, erased, setAside } = found;
  return {
    valid,
    lines,
    chains,
    tenants,
    head,
    keep: keepOf(found),
    bad,
    instead,
    torn,
    begun_later: begunLater,
    missing,
    unlinked,
    erased,
    set_aside: setAside,
  };
};

function inWords(found: Verified, valid: boolean, kept: Kept | null, { paint }: Terminal): string {
  const { files, lines, chains, bad, instead, torn, begunLater, missing, unlinked, tenants, erased, setAside } = found;
  if (instead !== null)
    return `${paint.red("✗")} ${paint.bold(files.map(shownName).join(", "))}: ${instead}.\n  Not one line of a ledger was read, so nothing was verified.\n`;
  const said: string[] = [];
  const good = `${count(lines, "line")}${chains > 1 ? ` in ${chains} chains` : ""}${files.length > 1 ? ` of ${files.length} files` : ""}`;
  if (bad !== null) {
    said.push(`${paint.red("✗")} ${paint.bold(`${bad.file}:${bad.line}`)} ${plain(bad.why)}`);
    said.push(
      lines === 0
        ? "  No line is good, so nothing was verified."
        : `  ${good} before it ${lines === 1 ? "is" : "are"} good; of what follows nothing can be said.`,
    );
  } else if (!valid) said.push(`${paint.red("✗")} ${good} are good, and that is not all (--strict).`);
  else {
    const together = `${paint.green("✓")} ${good} hold together: each has the hash of what it says and follows the one before it`;
    said.push(
      isWhole(found)
        ? `${together}, and ${found.tenants.length === 0 ? "none" : "no place"} between is missing.`
        : `${together}. Of what is not here nothing can be said:`,
    );
  }
  const note = (text: string): number => said.push(`${paint.yellow("!")} ${text}`);
  if (torn !== null && bad === null) note(`${torn.file}:${torn.line} ${torn.why}`);
  if (begunLater > 0)
    note(
      `${chains === 1 ? "It begins" : `${count(begunLater, "chain begins", "chains begin")}`} later than with seq 1: what came before is not here.`,
    );
  if (missing.count > 0 && bad === null)
    note(
      `${count(missing.count, "place")} of the tenant's ledger before the last one here ${missing.count === 1 ? "is" : "are"} missing: ${gapsOf(missing)}.`,
    );
  if (unlinked > 0 && bad === null)
    note(
      `${count(unlinked, "report follows", "reports follow")} one that is not here: ${unlinked === 1 ? "it was" : "they were"} held against no line before.`,
    );
  if (tenants.length > 1 && bad === null)
    note(`Entries of ${tenants.length} tenants are here (${tenants.map((each) => shown(each, 40)).join(", ")}), and a gateway exports those of one.`);
  if (erased > 0) note(`Payloads that are not here: ${erased} (inputs and outputs that were erased, or left out).`);
  if (setAside > 0)
    said.push(
      paint.dim(
        `  ${count(setAside, "half-written line was", "half-written lines were")} set aside by the SDK after a crash, as a later line records.`,
      ),
    );
  if (bad === null) said.push(...endsOf(found, kept).map((text) => paint.dim(`  ${text}`)));
  return `${said.join("\n")}\n`;
}

/** What can be said of the end, and what to keep so that it can be said next time. */
function endsOf(found: Verified, kept: Kept | null): readonly string[] {
  const keep = keepOf(found);
  // Of several chains one that ends as it did says nothing of the others.
  const what = kept === null ? null : isOfAll(kept) ? `Up to index ${kept.index} it` : found.chains > 1 ? "One of its chains" : "It";
  const known = what === null ? null : `${what} is what it was when that --head was printed.`;
  if (keep === null) return known === null ? [`${unknownEnd(found)} Verify each tenant's by itself: then there is a head to keep.`] : [known];
  const isAll = kept !== null && (written(kept) === keep || (!isOfAll(kept) && found.chains === 1));
  if (isAll) return [`${known} Nothing was cut off its end, and it was not written anew.`];
  return [known ?? unknownEnd(found), `Keep this elsewhere, and add it next time: --head ${keep}`];
}

/** The places of an export are in no hash: whoever takes a chain out, or its end, can move up what stands behind. */
const unknownEnd = ({ tenants }: Verified): string =>
  tenants.length === 0
    ? "Whether its end was cut off, or all of it written anew, no line can tell: only a head that was kept elsewhere."
    : "Whether an end was cut off, a whole chain left out with its places, or all of it written anew, no line can tell: only a head that was kept elsewhere.";

function gapsOf({ count, first }: Verified["missing"]): string {
  const named = first.reduce((sum, { from, to }) => sum + to - from + 1, 0);
  const gaps = first.map(({ from, to }) => (from === to ? `index ${from}` : `index ${from} to ${to}`)).join(", ");
  return named < count ? `${gaps}, and ${count - named} more` : gaps;
}
