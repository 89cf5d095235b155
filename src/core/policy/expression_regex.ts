import { RE2JS, RE2JSSyntaxException } from "re2js";
import { err, ok, type Result } from "../result.ts";
import { instructionsAtMost } from "./regex_bound.ts";

const MOST_REGEX_CHARACTERS = 512;
const MOST_REGEX_INSTRUCTIONS = 2000;
/** What may come to more is not compiled to find out: half a million instructions are half a second. What comes to fewer is asked for what it is. */
export const MOST_COMPILED = 25_000;

/** Compiles a regular expression of RE2, whose time is linear in the text whatever the pattern, or says why it is none. */
export function regexOf(pattern: string): Result<RE2JS, string> {
  if (pattern.length > MOST_REGEX_CHARACTERS) return err(`a regular expression has at most ${MOST_REGEX_CHARACTERS} characters`);
  if (instructionsAtMost(pattern) > MOST_COMPILED) return err(TOO_LARGE);
  try {
    const regex = RE2JS.compile(pattern);
    if (regex.programSize() <= MOST_REGEX_INSTRUCTIONS) return ok(regex);
  } catch (error) {
    if (!(error instanceof RE2JSSyntaxException)) throw error;
    return err(`this is no regular expression of RE2 (which has no look-around and no back-references): ${error.message}`);
  }
  return err(TOO_LARGE);
}

const TOO_LARGE = "this regular expression is too large: its repetitions multiply";
