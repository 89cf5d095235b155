/** Whether a glob names an action; `*` stands for any run of characters. */
export function matchesGlob(glob: string, action: string): boolean {
  const [first = "", ...parts] = glob.split("*");
  const last = parts.pop();
  if (last === undefined) return glob === action;
  let at = first.length;
  for (const part of parts) {
    const found = action.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return action.startsWith(first) && action.endsWith(last) && action.length - last.length >= at;
}
