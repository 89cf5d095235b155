import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { isAsWanted, type Ratio, shownFigure } from "./report.ts";

/** One recorded run: a line of `history.ndjson`. Machines differ, so it holds ratios and no speed. */
export interface Recorded {
  readonly date: string;
  readonly commit: string;
  readonly cores: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly large: boolean;
  /** By group and name: `gateway: decision / naive object (32)`. */
  readonly ratios: { readonly [name: string]: number };
}

/** A ratio beside what it was when it was last recorded. */
export interface Compared extends Ratio {
  readonly before: { readonly found: number; readonly date: string; readonly commit: string } | null;
  readonly verdict: "worse" | "better" | "alike" | "new";
}

/** Less than this is noise on a machine of two cores that others use too. */
const NOISE = 0.15;

/** Holds each ratio against the last line that has it: a run of some groups only does not hide what an earlier one said of the others. */
export function compare(ratios: readonly Ratio[], history: readonly Recorded[]): readonly Compared[] {
  return ratios.map((ratio) => {
    const last = history.findLast((line) => line.ratios[ratio.name] !== undefined);
    const found = last?.ratios[ratio.name];
    if (last === undefined || found === undefined) return { ...ratio, before: null, verdict: "new" };
    return { ...ratio, before: { found, date: last.date, commit: last.commit }, verdict: verdictOf(ratio, found) };
  });
}

function verdictOf({ found, better }: Ratio, before: number): Compared["verdict"] {
  const gain = better === "more" ? found / before : before / found;
  if (gain < 1 - NOISE) return "worse";
  return gain > 1 / (1 - NOISE) ? "better" : "alike";
}

/** The ratios as a table for people, and in the end one sentence for each that got worse. */
export function comparison(compared: readonly Compared[]): string {
  const width = Math.max(5, ...compared.map(({ name }) => name.length));
  const lines = compared.map((ratio) => {
    const { name, found, better, wanted, before, verdict } = ratio;
    const goal = wanted === null ? "" : `${better === "more" ? ">=" : "<="} ${shownFigure(wanted)}`;
    const was = before === null ? "" : `${shownFigure(before.found).padStart(7)}  ${before.date.slice(0, 10)} ${before.commit}`;
    const mark = wanted === null ? "" : isAsWanted(ratio) ? "yes" : "no";
    const change = verdict === "worse" || verdict === "better" ? ` ${verdict}` : "";
    return `${name.padEnd(width)}  ${shownFigure(found).padStart(7)}  ${goal.padEnd(8)} ${mark.padEnd(4)} ${was}${change}`.trimEnd();
  });
  const worse = compared.flatMap(({ name, found, before, verdict }) =>
    verdict === "worse" && before !== null
      ? [`Worse than at ${before.commit}: ${name}, ${shownFigure(before.found)} then, ${shownFigure(found)} now.`]
      : [],
  );
  return [`${"ratio".padEnd(width)}    found  wanted        last recorded`, ...lines, ...(worse.length > 0 ? ["", ...worse] : [])].join("\n");
}

/** Every recorded run, oldest first; none where nothing was recorded yet. Throws at a line that is not one. */
export function readHistory(file: string): readonly Recorded[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.flatMap((line, n) => {
    if (line === "") return [];
    try {
      // Written by `record` below alone.
      return [JSON.parse(line) as Recorded];
    } catch {
      throw new Error(`${file}, line ${n + 1}: not a recorded run. Take the line out.`);
    }
  });
}

/** Adds a run to the file, in figures of four digits: more of them would say nothing. */
export function record(file: string, run: Recorded): void {
  const ratios = Object.fromEntries(
    Object.entries(run.ratios).flatMap(([name, found]) => (Number.isFinite(found) ? [[name, Number(found.toPrecision(4))]] : [])),
  );
  appendFileSync(file, `${JSON.stringify({ ...run, ratios })}\n`);
}
