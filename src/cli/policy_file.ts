import { createHash } from "node:crypto";
import { type CompiledPolicy, compilePolicy } from "../core/policy/compile.ts";
import { policyDigest } from "../core/policy/digest.ts";
import type { PolicyDocument } from "../core/policy/document.ts";
import type { PolicyRef } from "../core/policy/findings.ts";
import { type ParsedPolicy, parsePolicy } from "../core/policy/parse.ts";
import type { Issue } from "../core/refusals.ts";
import { issueText, type Source } from "./files.ts";
import { count, type Terminal } from "./terminal.ts";

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** A policy ready to be asked. */
export interface Policy {
  readonly document: PolicyDocument;
  readonly compiled: CompiledPolicy;
  readonly ref: PolicyRef;
}

export function policyOf(document: PolicyDocument): Policy {
  const ref = { name: document.name ?? "policy", version: 1, digest: policyDigest(sha256, document) };
  return { document, compiled: compilePolicy(document), ref };
}

/** The policy of a text. With mistakes it tells them all, and there is none. */
export function readPolicyFile(source: Source, terminal: Terminal): Policy | null {
  const parsed = parsePolicy(source.text, source.format);
  if (parsed.ok) return policyOf(parsed.value.document);
  for (const issue of parsed.error) terminal.err(issueText(source, issue, "mistake", terminal));
  terminal.err(`${source.name} has ${count(parsed.error.length, "mistake")}: there is no policy to go by.\n`);
  return null;
}

/** What there is to say about a policy's text. */
interface Checked {
  readonly valid: boolean;
  readonly issues: readonly Issue[];
  readonly warnings: readonly Issue[];
  readonly parsed: ParsedPolicy | null;
}

export function checkSource({ text, format }: Source): Checked {
  const parsed = parsePolicy(text, format);
  return parsed.ok
    ? { valid: true, issues: [], warnings: parsed.value.warnings, parsed: parsed.value }
    : { valid: false, issues: parsed.error, warnings: [], parsed: null };
}
