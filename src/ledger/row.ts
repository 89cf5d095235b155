import { createHash } from "node:crypto";
import { digestOf } from "../core/digest.ts";
import type { EntryKind, Payload } from "../core/entry.ts";
import { canonicalJson } from "../core/json.ts";
import { parseUsd } from "../core/money.ts";
import { err, ok, type Result } from "../core/result.ts";
import { parseInstant } from "../core/time.ts";
import type { ShippedEntry } from "../flow/ports.ts";
import type { EntryRow, PayloadRow } from "./schema.ts";

/**
 * An entry as D1 keeps it, from nothing but the entry and its place. The canonical text is parsed once.
 * Refuses, with a sentence that quotes nothing of the entry, whatever the table would refuse: so that what was accepted can always be stored.
 */
export function rowOf(tenant: string, index: number, shipped: ShippedEntry): Result<EntryRow, string> {
  const entry = parseObject(shipped.canonical);
  if (entry === null) return err("the canonical text is not a JSON object");
  // A payload that was erased since is no fault; one that is there is the one it was sealed with.
  if (shipped.beside !== null && !isSealedWith(entry.payload_digest, shipped.beside)) return err("its payload is not the one it was sealed with");
  if (entry.tenant_id !== tenant) return err("the entry is another tenant's");
  if (entry.seq !== shipped.seq || !Number.isSafeInteger(shipped.seq) || shipped.seq < 1) return err("the entry names another seq");
  if (!isHash(shipped.hash) || !isHash(entry.prev_hash)) return err("a hash is 64 hexadecimal digits");
  if (!isText(entry.id) || !/^ent_./.test(entry.id)) return err("id is not an entry's");
  if (!isKind(entry.kind)) return err("kind is not one of the ledger's");
  const { session_id, run_id, agent_id, action, decision_id, verdict, reason, outcome, tags } = entry;
  if (!isTextOrNull(session_id) || !isTextOrNull(run_id) || !isTextOrNull(agent_id)) return err("session_id, run_id and agent_id are texts or null");
  if (!isTextOrNull(action) || !isTextOrNull(decision_id) || !isTextOrNull(reason)) return err("action, decision_id and reason are texts or null");
  if (verdict !== null && verdict !== "allow" && verdict !== "deny" && verdict !== "hold") return err("verdict is not one of the three");
  if (outcome !== null && outcome !== "success" && outcome !== "error") return err("outcome is not one of the two");
  if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === "string")) return err("tags is not a list of texts");
  const atMs = typeof entry.timestamp === "string" ? parseInstant(entry.timestamp) : null;
  if (atMs === null || atMs < 0) return err("timestamp is not an instant since 1970");
  const cost = parseUsd(entry.cost_usd);
  const corrected = parseUsd(entry.corrected_usd);
  if (!cost.ok || !corrected.ok) return err("cost_usd and corrected_usd are decimal amounts");
  return ok({
    tenant,
    index,
    id: entry.id,
    kind: entry.kind,
    session: session_id,
    seq: shipped.seq,
    run: run_id,
    agent: agent_id,
    action,
    tags: JSON.stringify(tags),
    decisionId: decision_id,
    verdict,
    reason,
    outcome,
    atMs,
    costMicroUsd: cost.value,
    correctedMicroUsd: corrected.value,
    hash: shipped.hash,
    prevHash: entry.prev_hash,
    canonical: shipped.canonical,
  });
}

/** What lies beside an entry, as D1 keeps it; `null` when nothing does. */
export function payloadRowOf(tenant: string, entry: string, beside: ShippedEntry["beside"]): PayloadRow | null {
  if (beside === null) return null;
  // Its digest is in the entry, which a session or a tenant of ours sealed: it is what they wrote.
  const payload = JSON.parse(beside) as Payload;
  return {
    tenant,
    entry,
    salt: payload.salt,
    inputs: payload.inputs === undefined ? null : JSON.stringify(payload.inputs),
    outputs: payload.outputs === undefined ? null : JSON.stringify(payload.outputs),
  };
}

/** An outbox of before this was kept as canonical text may still hold another spelling of the same. */
const isSealedWith = (digest: unknown, beside: string): boolean =>
  digest === digestOf(sha256, beside) || digest === digestOf(sha256, canonicalJson(parseObject(beside)));

function parseObject(text: string): { readonly [key: string]: unknown } | null {
  try {
    const value: unknown = JSON.parse(text);
    // An object that JSON.parse made is a record of its members, and nothing is known of them yet.
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as { readonly [key: string]: unknown }) : null;
  } catch {
    return null;
  }
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isTextOrNull = (value: unknown): value is string | null => value === null || isText(value);
const isHash = (value: unknown): value is string => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

const KINDS: { readonly [K in EntryKind]: true } = {
  decision: true,
  commit: true,
  release: true,
  expiry: true,
  approval: true,
  intervention: true,
  policy: true,
  session: true,
  lease: true,
  token: true,
  ingest: true,
};
const isKind = (value: unknown): value is EntryKind => typeof value === "string" && Object.hasOwn(KINDS, value);
