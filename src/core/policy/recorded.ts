import type { Entry, Payload } from "../entry.ts";
import { type DecisionId, type EntryId, isId, type RunId, type SessionId } from "../ids.ts";
import type { JsonValue } from "../json.ts";
import { type MicroUsd, parseUsd, ZERO_USD } from "../money.ts";
import type { ActionRequest, Principal } from "../request.ts";
import { type Instant, parseInstant } from "../time.ts";
import type { Path } from "./findings.ts";

/** An entry of a session as it was recorded, with its instants and amounts read. */
export interface Recorded {
  readonly entry: Entry;
  readonly id: EntryId;
  readonly at: Instant;
  /** What is kept of the inputs and outputs; `null` when nothing is, or when it was erased. */
  readonly payload: Payload | null;
  readonly run: RunId | null;
  readonly decision: DecisionId | null;
  readonly estimateMicroUsd: MicroUsd;
  readonly costMicroUsd: MicroUsd;
  readonly correctedMicroUsd: MicroUsd;
  /** When its reservation runs out. */
  readonly expiresAt: Instant | null;
}

/** Reads a row of the ledger. `null`: it is no entry of this shape, and nothing can be said of it. */
export function readRecorded(row: { readonly canonical: string; readonly payload: Payload | null }): Recorded | null {
  // What the ledger holds was sealed by this code or by an older version of it; the members that are computed with are checked below.
  const entry = JSON.parse(row.canonical) as Entry;
  const at = instantOf(entry.timestamp);
  const estimate = usdOf(entry.estimate_usd);
  const cost = usdOf(entry.cost_usd);
  const corrected = usdOf(entry.corrected_usd);
  if (at === null || estimate === null || cost === null || corrected === null || !isId("ent", entry.id)) return null;
  const run = entry.run_id;
  const decision = entry.decision_id;
  if ((run !== null && !isId("run", run)) || (decision !== null && !isId("dec", decision))) return null;
  const expiresAt = entry.reservation === null ? null : instantOf(entry.reservation.expires_at);
  return {
    entry,
    id: entry.id,
    at,
    payload: row.payload,
    run,
    decision,
    estimateMicroUsd: estimate,
    costMicroUsd: cost,
    correctedMicroUsd: corrected,
    expiresAt,
  };
}

/** How a session began; `null` when the entry does not open one. */
export interface RecordedOpening {
  readonly tenant: string;
  readonly session: SessionId;
  readonly agent: string;
  readonly run: RunId;
  readonly openedAt: Instant;
  readonly expiresAt: Instant;
  readonly budgetMicroUsd: MicroUsd | null;
  readonly principal: Principal;
}

export function openingOf({ entry, at, run }: Recorded): RecordedOpening | null {
  const { session_id, agent_id, details } = entry;
  if (entry.kind !== "session" || details?.event !== "opened" || session_id === null || !isId("ses", session_id)) return null;
  const { ttl_ms, budget_usd } = details;
  const budget = budget_usd === null ? null : usdOf(budget_usd);
  if (agent_id === null || run === null || typeof ttl_ms !== "number" || (budget === null && budget_usd !== null)) return null;
  const principal = principalOf(entry);
  return {
    tenant: entry.tenant_id,
    session: session_id,
    agent: agent_id,
    run,
    openedAt: at,
    expiresAt: at + ttl_ms,
    budgetMicroUsd: budget,
    principal,
  };
}

/** Who asked for what the entry records. */
export function principalOf({ principal, tenant_id, agent_id }: Entry): Principal {
  // A token's id is opaque, and nothing here looks at it.
  const tokenId = (principal?.token_id ?? "tok_") as Principal["tokenId"];
  return { tokenId, tenant: tenant_id, subject: principal?.subject ?? agent_id ?? "", kind: principal?.kind ?? "agent" };
}

/** The request behind a recorded decision, as far as the record still has it: which approval it named, only where it used it. */
export function requestOf({ entry, at, run, payload, estimateMicroUsd, expiresAt }: Recorded, id: DecisionId): ActionRequest {
  const inputs = payload?.inputs;
  const approval = entry.approval?.id;
  // People were shown the inputs, so that a digest there is what the policy kept of them, and not what was sent in their place.
  const wereShown = approval !== undefined;
  return {
    id,
    run,
    action: entry.action ?? "",
    resource: entry.resource,
    estimateMicroUsd,
    price: entry.price,
    tags: entry.tags,
    riskLevel: entry.risk_level,
    inputs,
    inputsDigest: inputs === undefined && !wereShown ? entry.inputs_digest : null,
    rationale: entry.rationale,
    confidence: entry.confidence,
    sources: entry.sources,
    parents: [],
    model: entry.model,
    approval: approval !== undefined && entry.verdict === "allow" && isId("apr", approval) ? approval : null,
    ttlMs: Math.max(1, (expiresAt ?? at + UNSTATED_TTL_MS) - at),
  };
}

/** How long the reservation of a request stands that was not allowed and so has none on record. */
const UNSTATED_TTL_MS = 300_000;

/** What redaction leaves in the place of what it takes away begins like this. */
const MARK = "[redacted";

export const isMarked = (text: string): boolean => text.includes(MARK);

/** Whether what stood at a path, or on the way there, was redacted: then nobody can say what a rule would have seen. */
export function isRedacted(value: JsonValue | undefined, path: Path): boolean {
  let found: JsonValue | undefined = value;
  for (const step of path) {
    if (typeof found === "string" && isMarked(found)) return true;
    if (typeof found !== "object" || found === null || Array.isArray(found)) return false;
    // No array by the line above, which does not narrow a readonly one.
    const members = found as { readonly [member: string]: JsonValue };
    if (!Object.hasOwn(members, step)) return Object.keys(members).some(isMarked);
    found = members[step];
  }
  return found !== undefined && isMarked(JSON.stringify(found));
}

export const usdOf = (text: unknown): MicroUsd | null => {
  if (text === null || text === undefined) return ZERO_USD;
  const parsed = parseUsd(text);
  return parsed.ok ? parsed.value : null;
};

const instantOf = (text: unknown): Instant | null => (typeof text === "string" ? parseInstant(text) : null);
