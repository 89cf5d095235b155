import { RE2JS } from "re2js";
import { MOST_COMPILED } from "./expression_regex.ts";
import { instructionsAtMost } from "./regex_bound.ts";

/** A regular expression that takes time linear in the text, at most `size` times its length. */
export interface Pattern {
  readonly size: number;
  /** Whether it is found anywhere in the text. */
  matches(text: string): boolean;
}

/**
 * Why a pattern cannot be used, or `null`. It must be an ECMA-262 expression (flag `u`), and one that can be matched in linear time:
 * no lookaround, no back-reference, and neither longer nor larger than the limits say.
 */
export function patternFault(pattern: string): string | null {
  if (pattern.length > LONGEST) return `a pattern has at most ${LONGEST} characters, found ${pattern.length}`;
  try {
    // Compiled to be judged only: it is never run, since this engine backtracks.
    new RegExp(pattern, "u");
  } catch (e) {
    return `is not a regular expression of ECMA-262: ${e instanceof Error ? e.message.replace(/^.*: /, "") : "invalid"}`;
  }
  const most = instructionsAtMost(translated(pattern));
  if (most > MOST_COMPILED) return `a pattern compiles to at most ${LARGEST} steps, found up to ${most}: repeat less`;
  try {
    const { size } = compilePattern(pattern);
    return size > LARGEST ? `a pattern compiles to at most ${LARGEST} steps, found ${size}: repeat less` : null;
  } catch (e) {
    const why = e instanceof Error ? e.message.replace(/^error parsing regexp: /, "") : "invalid";
    return `cannot be matched in linear time (RE2 has no lookaround, no back-references and no repeat above 1000): ${why}`;
  }
}

/** How many instructions a pattern compiles to; 0, where it does not or is too large to be asked. */
export function sizeOfPattern(pattern: string): number {
  if (pattern.length > LONGEST || instructionsAtMost(translated(pattern)) > MOST_COMPILED) return 0;
  try {
    return compilePattern(pattern).size;
  } catch {
    return 0;
  }
}

/** Compiles a pattern that `patternFault` found nothing wrong with. */
export function compilePattern(pattern: string): Pattern {
  const compiled = RE2JS.compile(translated(pattern));
  return { size: compiled.programSize(), matches: (text) => compiled.test(text) };
}

const LONGEST = 1000;
const LARGEST = 2500;

/** What `\s` is in ECMA-262, and all else: RE2 knows fewer blanks, and a rule such as `^\S+$` must not let in what it was written against. */
const BLANKS = String.raw`\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`;
const NO_BLANKS = String.raw`\x{0}-\x{8}\x{e}-\x{1f}!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}`;

const ESCAPE =
  /\\(?:u\{([0-9A-Fa-f]+)\}|u([Dd][89ABab][0-9A-Fa-f]{2})\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|c([A-Za-z])|([pP])\{(?:(?:General_Category|gc|Script|sc)=)?([^}]*)\}|.)/suy;

/** The same expression in RE2's syntax. What RE2 lacks is left as it is, and refused there. */
function translated(pattern: string): string {
  let out = "";
  let inClass = false;
  for (let i = 0; i < pattern.length; ) {
    const char = pattern.charAt(i);
    if (char === "\\") {
      ESCAPE.lastIndex = i;
      const found = ESCAPE.exec(pattern);
      if (found === null) return pattern;
      out += translatedEscape(found, inClass);
      i += found[0].length;
      continue;
    }
    out += inClass ? translatedInClass(char) : translatedOutside(char);
    if (char === "[") inClass = true;
    else if (char === "]") inClass = false;
    i++;
  }
  return out;
}

/** RE2 would read a set of its own, as in `[[:alpha:]]`, where ECMA-262 sees a bracket. */
const translatedInClass = (char: string): string => (char === "[" ? String.raw`\[` : char);

/** A dot is anything but a line's end, of which ECMA-262 knows four. */
const translatedOutside = (char: string): string => (char === "." ? String.raw`[^\n\r\x{2028}\x{2029}]` : char);

/** Long names of general categories, which RE2 knows by their short ones. Scripts it knows by name alone. */
const CATEGORIES: ReadonlyMap<string, string> = new Map([
  ["Letter", "L"],
  ["Lowercase_Letter", "Ll"],
  ["Uppercase_Letter", "Lu"],
  ["Mark", "M"],
  ["Number", "N"],
  ["Decimal_Number", "Nd"],
  ["digit", "Nd"],
  ["Punctuation", "P"],
  ["punct", "P"],
  ["Symbol", "S"],
  ["Separator", "Z"],
  ["Space_Separator", "Zs"],
]);

function translatedEscape(found: RegExpExecArray, inClass: boolean): string {
  const [whole, braced, high, low, four, two, control, letter, property] = found;
  if (high !== undefined && low !== undefined) {
    const point = 0x10000 + ((Number.parseInt(high, 16) - 0xd800) << 10) + (Number.parseInt(low, 16) - 0xdc00);
    return `\\x{${point.toString(16)}}`;
  }
  const hex = braced ?? four ?? two;
  if (hex !== undefined) return `\\x{${hex}}`;
  if (control !== undefined) return `\\x{${(control.charCodeAt(0) % 32).toString(16)}}`;
  if (letter !== undefined && property !== undefined) return `\\${letter}{${CATEGORIES.get(property) ?? property}}`;
  switch (whole) {
    case "\\s":
      return inClass ? BLANKS : `[${BLANKS}]`;
    case "\\S":
      return inClass ? NO_BLANKS : `[^${BLANKS}]`;
    case "\\0":
      return "\\x{0}";
    case "\\b":
      return inClass ? "\\x{8}" : whole;
    default:
      return whole;
  }
}
