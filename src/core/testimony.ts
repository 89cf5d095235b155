import type { Sha256 } from "./digest.ts";
import type { EntryDraft, Payload } from "./entry.ts";
import { type EntryId, idFromDigest } from "./ids.ts";
import { canonicalJson, type JsonValue } from "./json.ts";
import { formatUsd, type MicroUsd } from "./money.ts";
import type { PolicyRef } from "./policy/findings.ts";
import type { ReasonCode } from "./reasons.ts";
import type { Redaction } from "./redact.ts";
import type { Principal } from "./request.ts";
import { shownLine } from "./shown.ts";
import { formatInstant, type Instant } from "./time.ts";

/**
 * A line of a ledger that somebody else keeps, as it was reported: what the gateway reads of it, and all of it as it came. Who reports it vouches for
 * it; the gateway decided nothing of it and can only say who told it, and when.
 */
export interface Line {
  /** Its reporter's own; with the agent it names the line for ever. */
  readonly id: string;
  readonly action: string;
  readonly agent: string | null;
  readonly run: string | null;
  readonly session: string | null;
  readonly decision: string | null;
  readonly verdict: "allow" | "deny" | "hold" | null;
  /** Why, in words that the record has; `null`: it was not said, or in others, and is kept as it was said. */
  readonly reason: ReasonCode | null;
  readonly rule: string | null;
  readonly policy: PolicyRef | null;
  /** `null`: none was said, or one that the record has no word for; it is kept as it was said. */
  readonly outcome: "success" | "error" | null;
  readonly tags: readonly string[];
  readonly parents: readonly string[];
  readonly costMicroUsd: MicroUsd;
  readonly estimateMicroUsd: MicroUsd | null;
  readonly durationMs: number | null;
  /** It ran although no gateway could be asked. */
  readonly isUnguarded: boolean;
  readonly told: { readonly [member: string]: JsonValue };
}

/** A line on its way into the record: what its entry says but for its place and its instant, and what lies beside it but for the salt. */
export interface Testimony {
  readonly entry: EntryId;
  /** Of the line before anything was hidden: the same line again has the same one, whatever the policy says by then. */
  readonly fingerprint: string;
  readonly says: Omit<Partial<EntryDraft>, "id" | "kind" | "timestamp">;
  readonly payload: Omit<Payload, "salt"> | null;
}

/** The chain of all that is reported to a tenant. No session and no tenant can have this id. */
export const TESTIMONY_CHAIN = "~ingest";

/** What the record will say of a line. `redaction` as in `shownRequest`: `undefined` where no policy could be asked, and then no inputs or outputs are kept. */
export function testimonyOf(sha256: Sha256, reporter: Principal, line: Line, redaction: Redaction | null | undefined): Testimony {
  const { says, payload } = shownLine(sha256, line, redaction);
  return {
    // Two agents' equal ids are two: neither can stand in the way of the other's.
    entry: idFromDigest("ent", sha256(canonicalJson(["ingest", reporter.tenant, line.agent, line.id]))),
    // Not the run that was said for all of a report: the next one may say another, or none, of the same line.
    fingerprint: sha256(canonicalJson(line.told)),
    says: {
      action: line.action,
      agent_id: line.agent,
      run_id: line.run,
      session_id: line.session,
      decision_id: line.decision,
      verdict: line.verdict,
      reason: line.reason,
      outcome: line.outcome,
      cost_usd: formatUsd(line.costMicroUsd),
      estimate_usd: line.estimateMicroUsd === null ? null : formatUsd(line.estimateMicroUsd),
      duration_ms: line.durationMs,
      parents: line.parents,
      principal: { token_id: reporter.tokenId, subject: reporter.subject, kind: reporter.kind },
      ...says,
    },
    payload,
  };
}

/** The entry's draft: the gateway's own instant, not the line's, which stands in the details. */
export const draftOf = (tenant: string, { entry, says }: Testimony, at: Instant): EntryDraft => ({
  session_id: null,
  ...says,
  id: entry,
  kind: "ingest",
  tenant_id: tenant,
  timestamp: formatInstant(at),
});
