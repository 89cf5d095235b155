import { readFileSync } from "node:fs";
import type { Json } from "../../../sdk/src/index.ts";
import type { Arguments } from "./prices.ts";

/** One recorded conversation of an agent, as far as the demo plays it: its tool calls, in order. */
export interface Run {
  readonly task: string;
  readonly trial: string;
  readonly calls: readonly Call[];
  /** What a right run would have written; `null`: the data does not say. An empty list says: nothing. */
  readonly expected: readonly Write[] | null;
}

export interface Write {
  readonly name: string;
  readonly arguments: Arguments;
}

export interface Call {
  readonly name: string;
  readonly arguments: Arguments;
  /** What the tool answered then, as text. */
  readonly result: string;
}

export interface Trace {
  /** Where it comes from, for people. */
  readonly source: string;
  readonly runs: readonly Run[];
}

/**
 * Reads recorded runs, one JSON object a line: `messages` with `tool_calls` and their results, and, where it is known, `expected_actions`
 * (`name`, `kwargs`). Throws with the line that is wrong.
 */
export function readTrace(file: string, source: string): Trace {
  const lines = readFileSync(file, "utf8").split("\n");
  return { source, runs: lines.flatMap((line, index) => (line.trim() === "" ? [] : [readRun(line, `${source}, line ${index + 1}`)])) };
}

function readRun(line: string, where: string): Run {
  const run = object(parse(line, where), where);
  const messages = list(run.messages, `${where}, /messages`);
  const calls = messages.flatMap((message, index) => {
    const { tool_calls } = object(message, `${where}, /messages/${index}`);
    if (tool_calls === undefined || tool_calls === null) return [];
    const at = `${where}, /messages/${index}/tool_calls`;
    return list(tool_calls, at).map((call, place) => readCall(call, messages.slice(index + 1), `${at}/${place}`));
  });
  return { task: String(run.task_id ?? "?"), trial: String(run.trial ?? "?"), calls, expected: expectedOf(run.expected_actions, where) };
}

function expectedOf(value: Json | undefined, where: string): Run["expected"] {
  if (value === undefined || value === null) return null;
  return list(value, `${where}, /expected_actions`).map((action, place) => {
    const at = `${where}, /expected_actions/${place}`;
    const { name, kwargs } = object(action, at);
    return { name: text(name, `${at}/name`), arguments: object(kwargs, `${at}/kwargs`) };
  });
}

function readCall(value: Json, later: readonly Json[], where: string): Call {
  const call = object(value, where);
  // OpenAI's own shape has them one level down.
  const { name, arguments: args } = call.function === undefined ? call : object(call.function, `${where}/function`);
  return {
    name: text(name, `${where}/name`),
    arguments: object(parse(text(args, `${where}/arguments`), `${where}/arguments`), `${where}/arguments`),
    result: resultOf(text(call.id, `${where}/id`), later, where),
  };
}

/** The first result after the call: a model repeats the ids of its calls now and then. */
function resultOf(id: string, later: readonly Json[], where: string): string {
  for (const message of later) {
    const { role, tool_call_id, content } = object(message, where);
    if (role === "tool" && tool_call_id === id) return text(content, `${where}: its result`);
  }
  throw new Error(`${where}: no tool result with the id ${id} follows`);
}

function parse(json: string, where: string): Json {
  try {
    return JSON.parse(json);
  } catch (fault) {
    throw new Error(`${where}: wanted JSON: ${fault instanceof Error ? fault.message : String(fault)}`);
  }
}

function object(value: Json | undefined, where: string): Arguments {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${where}: wanted an object`);
  // `isArray` does not take readonly arrays out of the union by itself.
  return value as Arguments;
}

function list(value: Json | undefined, where: string): readonly Json[] {
  if (!Array.isArray(value)) throw new Error(`${where}: wanted a list`);
  return value;
}

function text(value: Json | undefined, where: string): string {
  if (typeof value !== "string") throw new Error(`${where}: wanted a text`);
  return value;
}
