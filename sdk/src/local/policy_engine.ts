import { builtin } from "./builtin.ts";
import { configOf, policyOf } from "./config.ts";
import { forgetDesk, theDesk } from "./default.ts";
import type { PolicyConfig, PolicyConfigInForce } from "./policy_config.ts";
import { LocalRefusedError } from "./refused_error.ts";

/**
 * What `guardedAction` may do in this process: one policy for all of it. Until one is configured nothing is allowed. `configure({})` allows everything,
 * and each further limit forbids something. A policy is replaced whole, at once; one with a mistake throws, and what was in force stays. What was spent
 * stays spent whatever policy comes.
 */
export const PolicyEngine = {
  /** Puts these limits in force, in the place of all before. Throws for a limit that is none. */
  configure(config: PolicyConfig): void {
    theDesk().use(policyOf(config), "configure the policy");
  },

  /**
   * Puts a policy in force: the file at a path, or a text (it has a line break, or is JSON). The original's `callguard.yaml` is one. Throws when there is
   * none to read, and for every mistake in it with line and column.
   */
  loadFromYaml(pathOrText: string): void {
    const isText = /[\n\r]|^\s*\{|:\s/.test(pathOrText);
    const what = isText ? "load the policy" : `load the policy ${JSON.stringify(pathOrText)}`;
    theDesk().use(isText ? pathOrText : fileAt(pathOrText, what), what);
  },

  /** Whether a policy is in force. */
  isConfigured(): boolean {
    return theDesk().authority.policy !== null;
  },

  /** The limits in force; `null`: none are, and nothing is allowed. */
  getConfig(): PolicyConfigInForce | null {
    const { policy } = theDesk().authority;
    return policy === null ? null : configOf(policy.document);
  },

  /** For tests: forgets the policy and everything that was spent, as when the process began. Nothing is allowed until a policy is configured again. */
  reset(): void {
    forgetDesk();
  },
};

function fileAt(path: string, what: string): string {
  const fs = builtin<{ readonly readFileSync: (path: string, encoding: "utf8") => string }>("node:fs");
  if (fs?.readFileSync === undefined) {
    throw new LocalRefusedError(what, { code: "policy_unreadable", detail: "there are no files here: pass the policy's text" });
  }
  try {
    return fs.readFileSync(path, "utf8");
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : "it cannot be read";
    throw new LocalRefusedError(what, { code: "policy_unreadable", detail, cause });
  }
}
