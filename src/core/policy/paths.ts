const ROOT = /[A-Za-z_][A-Za-z0-9_]*/y;
/** `.name`, or `["any name"]` with the name as a JSON text, or `['any name']` without quotes and backslashes inside. */
const MEMBER = /\.([A-Za-z_][A-Za-z0-9_]*)|\[("(?:[^"\\]|\\.)*")\]|\['([^'\\]*)'\]/y;
const MOST_CHARACTERS = 512;
const MOST_STEPS = 16;

/**
 * Parses a way through a JSON value, such as `inputs.order_id` or `inputs["odd name"].id`, into the names on it: the root's, then the members'.
 * Any identifier is taken as the root; whether it is one that makes sense is the caller's to say. `null`: this is no path, is longer than
 * 512 characters or 16 names, or names `__proto__`. Items of lists have no path.
 */
export function parsePath(text: string): readonly string[] | null {
  if (text.length > MOST_CHARACTERS) return null;
  ROOT.lastIndex = 0;
  const root = ROOT.exec(text)?.[0];
  if (root === undefined) return null;
  const path = [root];
  for (let at = root.length; at < text.length; at = MEMBER.lastIndex) {
    MEMBER.lastIndex = at;
    const member = MEMBER.exec(text);
    if (member === null) return null;
    const [, plain, json, single] = member;
    const name = json === undefined ? (plain ?? single) : jsonText(json);
    if (name === undefined) return null;
    path.push(name);
  }
  const odd = path.length > MOST_STEPS || path.includes("__proto__") || formatPath(path).length > MOST_CHARACTERS;
  return odd ? null : path;
}

/** The one way to write a path: {@link parsePath} gives it back. */
export const formatPath = ([root = "", ...members]: readonly string[]): string =>
  root + members.map((name) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`)).join("");

function jsonText(json: string): string | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
