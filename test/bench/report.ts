import type { Round } from "./client.ts";
import { median, type Rounds } from "./rounds.ts";

/** What one group found. */
export interface Report {
  readonly tables: readonly Table[];
  readonly ratios: readonly Ratio[];
  /** What a reader must know to read the figures: sentences. */
  readonly notes: readonly string[];
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly name: string; readonly figures: readonly number[] }[];
}

/** Two figures of one run on one machine, divided: what can be held against another run, perhaps on another machine. */
export interface Ratio {
  readonly name: string;
  readonly found: number;
  readonly better: "more" | "less";
  /** At least or at most so much, whichever is better. `null`: it is only told. */
  readonly wanted: number | null;
}

export const atLeast = (wanted: number | null, name: string, found: number): Ratio => ({ name, found, better: "more", wanted });
export const atMost = (wanted: number | null, name: string, found: number): Ratio => ({ name, found, better: "less", wanted });

export const isAsWanted = ({ found, better, wanted }: Ratio): boolean => wanted === null || (better === "more" ? found >= wanted : found <= wanted);

/** The usual table of cases under load: medians over the rounds. */
export function loadTable(title: string, found: Rounds): Table {
  const columns: readonly (readonly [string, (round: Round) => number | undefined])[] = [
    ["per second", ({ perSecond }) => perSecond],
    ["p50 ms", ({ p50Ms }) => p50Ms],
    ["p95 ms", ({ p95Ms }) => p95Ms],
    ["p99 ms", ({ p99Ms }) => p99Ms],
    ["CPU ms", ({ cpuMs }) => cpuMs],
  ];
  const all = [...found.values()].flat();
  const shown = columns.filter(([, of]) => all.some((round) => of(round) !== undefined));
  const rows = Array.from(found, ([name, rounds]) => ({
    name,
    figures: shown.map(([, of]) => median(rounds.map((round) => of(round) ?? Number.NaN))),
  }));
  return { title, columns: shown.map(([column]) => column), rows };
}

/** The tables and notes of a group, as text for people. Its ratios are shown beside those of earlier runs. */
export function textOf({ tables, notes }: Report): string {
  const shown = tables.map(({ title, columns, rows }) => {
    const width = Math.max(title.length, ...rows.map(({ name }) => name.length));
    const widths = columns.map((column) => Math.max(10, column.length));
    const line = (name: string, cells: readonly string[]) =>
      [name.padEnd(width), ...cells.map((cell, n) => cell.padStart(widths[n] ?? 0))].join("  ");
    return [line(title, columns), ...rows.map(({ name, figures }) => line(name, figures.map(shownFigure)))].join("\n");
  });
  return [...shown, ...(notes.length > 0 ? [notes.join("\n")] : [])].join("\n\n");
}

/** Three digits that count, and no more than two behind the point. */
export function shownFigure(figure: number): string {
  if (!Number.isFinite(figure)) return "-";
  const digits = Math.abs(figure) >= 100 ? 0 : Math.abs(figure) >= 10 ? 1 : 2;
  return figure.toFixed(digits);
}
