import { RE2JS, RE2JSSyntaxException } from "re2js";
import { err, ok, type Result } from "../result.ts";

const MOST_REGEX_CHARACTERS = 512;
const MOST_REGEX_INSTRUCTIONS = 2000;

/** Compiles a regular expression of RE2, whose time is linear in the text whatever the pattern, or says why it is none. */
export function regexOf(pattern: string): Result<RE2JS, string> {
  if (pattern.length > MOST_REGEX_CHARACTERS) return err(`a regular expression has at most ${MOST_REGEX_CHARACTERS} characters`);
  try {
    const regex = RE2JS.compile(pattern);
    if (regex.programSize() <= MOST_REGEX_INSTRUCTIONS) return ok(regex);
  } catch (error) {
    if (!(error instanceof RE2JSSyntaxException)) throw error;
    return err(`this is no regular expression of RE2 (which has no look-around and no back-references): ${error.message}`);
  }
  return err("this regular expression is too large: its repetitions multiply");
}
