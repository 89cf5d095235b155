import { type CompiledPolicy, compilePolicy } from "../../../src/core/policy/compile.ts";
import { policyDigest } from "../../../src/core/policy/digest.ts";
import type { PolicyDocument } from "../../../src/core/policy/document.ts";
import type { PolicyRef } from "../../../src/core/policy/findings.ts";
import { parsePolicy } from "../../../src/core/policy/parse.ts";
import type { Issue } from "../../../src/core/refusals.ts";
import { LocalRefusedError } from "./refused_error.ts";
import { sha256 } from "./sha256.ts";

/** A policy in force in this process: checked, compiled once, and what it makes necessary. */
export interface LocalPolicy {
  readonly document: PolicyDocument;
  readonly compiled: CompiledPolicy;
  readonly ref: PolicyRef;
  /** Whether what an action is called with can change any verdict; else the arguments need not be looked at to decide. */
  readonly looksAtInputs: boolean;
  /** Whether some rule looks at calls made before, beyond counting them within a rate. */
  readonly looksBack: boolean;
}

/**
 * Reads a policy: its text (YAML or JSON), or its document. Throws a `LocalRefusedError` with the code `policy_invalid`, which names every mistake
 * with line and column; `what` is what cannot be done then.
 */
export function readLocalPolicy(source: string | object, version: number, what: string): LocalPolicy {
  const text = typeof source === "string" ? source : printed(source, what);
  const parsed = parsePolicy(text, typeof source === "string" && !/^\s*\{/.test(text) ? "yaml" : "json");
  if (!parsed.ok) throw invalid(what, parsed.error);
  const { document } = parsed.value;
  return {
    document,
    compiled: compilePolicy(document),
    ref: { name: document.name ?? "local", version, digest: policyDigest(sha256, document) },
    looksAtInputs: LOOK_AT_INPUTS.some((section) => document[section] !== undefined),
    looksBack: LOOK_BACK.some((section) => document[section] !== undefined) || (document.rules ?? []).some(({ when }) => HISTORY.test(when ?? "")),
  };
}

const LOOK_BACK = ["requires", "history", "loops", "retries"] as const satisfies readonly (keyof PolicyDocument)[];
const LOOK_AT_INPUTS = ["rules", "arguments", "approvals", "requires", "history", "loops"] as const satisfies readonly (keyof PolicyDocument)[];
/** The functions of conditions that ask for the past. One too many costs memory, and changes no verdict. */
const HISTORY = /\b(?:count|distinct|sum|last)\s*\(/;

function printed(source: object, what: string): string {
  try {
    return JSON.stringify(source) ?? "null";
  } catch (cause) {
    throw new LocalRefusedError(what, { code: "policy_invalid", detail: "it is no plain data", cause });
  }
}

function invalid(what: string, issues: readonly Issue[]): LocalRefusedError {
  const [first] = issues;
  const place = first?.line === undefined ? "" : ` (line ${first.line}, column ${first.column})`;
  const more = issues.length > 1 ? `, and ${issues.length - 1} more` : "";
  const detail = first === undefined ? "it is no policy" : `${first.pointer === "" ? "the policy" : first.pointer}${place}: ${first.message}${more}`;
  return new LocalRefusedError(what, { code: "policy_invalid", detail, issues });
}
