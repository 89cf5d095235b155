import { readFileSync } from "node:fs";
import path from "node:path";
import type { Issue } from "../core/refusals.ts";
import { Stop, Usage } from "./command_line.ts";
import { plain, type Terminal } from "./terminal.ts";

/** A text that was read, and what it is called. */
export interface Source {
  /** As it was typed; `-` is standard input. */
  readonly name: string;
  readonly text: string;
  readonly format: "yaml" | "json";
}

/** Files are named from the place where the command was typed: `npm run` goes elsewhere before it starts anything, and says where it came from. */
export const typedIn = (environment: NodeJS.ProcessEnv): string =>
  environment.npm_lifecycle_event === "agentsentinel" ? (environment.INIT_CWD ?? process.cwd()) : process.cwd();

/** Reads a file, or standard input for `-`. */
export function readSource(name: string, directory: string): Source {
  const format = name === "-" ? null : formatOf(name);
  const text = decoded(name, format === null ? readInput() : readFile(name, directory));
  if (format !== null) return { name, text, format };
  return { name: "(standard input)", text, format: isJson(text) ? "json" : "yaml" };
}

/** By the name's ending. */
function formatOf(name: string): "yaml" | "json" {
  if (/\.json$/i.test(name)) return "json";
  if (/\.ya?ml$/i.test(name)) return "yaml";
  throw new Usage(`${name} is neither .yaml, .yml nor .json`);
}

function readFile(name: string, directory: string): Uint8Array {
  try {
    return readFileSync(path.resolve(directory, name));
  } catch (fault) {
    throw new Stop(`${name} cannot be read: ${whyNot(fault)}`);
  }
}

function readInput(): Uint8Array {
  try {
    return readFileSync(0);
  } catch (fault) {
    throw new Stop(`standard input cannot be read: ${whyNot(fault)}`);
  }
}

function decoded(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Stop(`${name} is not UTF-8 text`);
  }
}

/** In words, for the mistakes that people make. */
export function whyNot(fault: unknown): string {
  const code = fault instanceof Error && "code" in fault ? String(fault.code) : "";
  const known: { readonly [code: string]: string } = {
    ENOENT: "there is no such file",
    EISDIR: "it is a directory",
    EACCES: "it may not be read",
    ENOTDIR: "part of its path is no directory",
  };
  return known[code] ?? (fault instanceof Error ? fault.message : String(fault));
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** The place of an issue as editors and terminals find it. */
export const placeOf = (name: string, { line, column }: Pick<Issue, "line" | "column">): string =>
  line === undefined ? name : `${name}:${line}:${column ?? 1}`;

/** An issue with its place, and with the line of the text that it is about, marked. */
export function issueText(source: Source, issue: Issue, severity: "mistake" | "warning", terminal: Terminal): string {
  const { paint, columns } = terminal;
  const label = severity === "mistake" ? paint.red("mistake") : paint.yellow("warning");
  const at = issue.pointer === "" ? "" : `${paint.cyan(plain(issue.pointer))} `;
  const head = `${paint.bold(placeOf(source.name, issue))} ${label} ${at}${plain(issue.message)}\n`;
  const line = issue.line === undefined ? undefined : source.text.replace(/^\ufeff/, "").split("\n")[issue.line - 1];
  if (issue.line === undefined || line === undefined) return head;
  const number = String(issue.line);
  const gutter = " ".repeat(number.length);
  const { excerpt, marker } = excerptOf(line.replace(/\r$/, ""), issue.column ?? 1, Math.min(columns, 160) - number.length - 5);
  const mark = severity === "mistake" ? paint.red("^") : paint.yellow("^");
  return `${head} ${paint.dim(`${number} |`)} ${excerpt}\n ${paint.dim(`${gutter} |`)} ${marker}${mark}\n`;
}

/** The part of a line around a column (from 1), and the blanks that bring a marker under it. */
function excerptOf(line: string, column: number, width: number): { readonly excerpt: string; readonly marker: string } {
  const from = column - 1 < width - 10 ? 0 : column - 1 - Math.floor(width / 2);
  const before = plain(line.slice(from, column - 1));
  const after = plain(line.slice(column - 1, from + width));
  const head = from === 0 ? "" : "…";
  const tail = from + width < line.length ? "…" : "";
  return { excerpt: head + before + after + tail, marker: " ".repeat(head.length + before.length) };
}
