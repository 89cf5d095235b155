/** Whether an action's name is what a policy's list names: exactly, or by a glob in which `*` stands for any run of characters. */
export function matchesGlob(pattern: string, name: string): boolean {
  if (!pattern.includes("*")) return pattern === name;
  // Greedy with one step back: linear in practice and at worst the product of both lengths, where a regular expression could explode.
  let p = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    if (pattern[p] === "*") {
      star = p++;
      resume = n;
    } else if (pattern[p] === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Whether every name that `inner` names is one that `outer` names. A star of the inner one is matched by a star of the outer one alone. */
export const coversGlob = (outer: string, inner: string): boolean => matchesGlob(outer, inner);

/**
 * Whether some name is named by both: of two exact names whether they are the same. Two globs meet unless they begin or end differently: what each has
 * between its stars fits into a star of the other, one after the other.
 */
export function globsMeet(a: string, b: string): boolean {
  if (!b.includes("*")) return matchesGlob(a, b);
  if (!a.includes("*")) return matchesGlob(b, a);
  const begin = Math.min(a.indexOf("*"), b.indexOf("*"));
  const end = Math.min(a.length - a.lastIndexOf("*"), b.length - b.lastIndexOf("*")) - 1;
  return a.slice(0, begin) === b.slice(0, begin) && a.slice(a.length - end) === b.slice(b.length - end);
}
