import { type Digest, digestOf, type Sha256 } from "./digest.ts";
import type { EntryId } from "./ids.ts";
import { canonicalJson, type JsonValue } from "./json.ts";
import type { Price, RateLimit } from "./policy/findings.ts";
import type { ReasonCode } from "./reasons.ts";
import type { Principal, RiskLevel } from "./request.ts";

/** The version of the rules by which this code decides; written into every entry, so that a recomputation knows which rules it needs. */
export const ENGINE_VERSION = "1";

export type EntryKind =
  | "decision"
  | "commit"
  | "release"
  | "expiry"
  | "approval"
  | "intervention"
  | "policy"
  | "session"
  | "lease"
  | "token"
  | "ingest";

/** An account as an entry shows it: before and after what the entry did. Money is decimal strings, as on the wire. */
export interface AccountMovement {
  readonly scope: "action" | "run" | "session" | "wind_down" | "agent" | "tenant";
  readonly name: string;
  /** Of an account that sessions share: its window, with the instant at which that began. */
  readonly window?: string | undefined;
  readonly limit_usd: string | null;
  readonly before: AccountSides;
  readonly after: AccountSides;
}

/**
 * `leased_usd`: what client leases hold of it, where they hold anything. `slice_usd`, of a shared account: what the session could still spend of it without
 * asking its tenant; the rest is as its tenant last told it.
 */
export interface AccountSides {
  readonly leased_usd?: string | undefined;
  readonly posted_usd: string;
  readonly pending_usd: string;
  readonly slice_usd?: string | undefined;
}

/**
 * One line of the record, as it is hashed: its canonical JSON (RFC 8785) is the truth, and `hash` is the SHA-256 of exactly those bytes.
 * Members keep the names of the wire and of the Python original. What a kind has nothing to say about is `null`.
 */
export interface Entry {
  readonly id: EntryId;
  readonly kind: EntryKind;
  readonly timestamp: string;
  readonly tenant_id: string;
  /** `null`: the entry belongs to the tenant's own chain (policies, tokens). Of kind `ingest`, what was reported: all of that kind are one chain. */
  readonly session_id: string | null;
  readonly agent_id: string | null;
  readonly run_id: string | null;
  /** The place in its chain, from 1, without gaps. */
  readonly seq: number;
  /** The hash of the entry before it in its chain; 64 zeros before the first. */
  readonly prev_hash: string;
  readonly action: string | null;
  readonly resource: { readonly type: string; readonly id: string } | null;
  readonly tags: readonly string[];
  readonly risk_level: RiskLevel | null;
  readonly decision_id: string | null;
  /** Which step of a decision's life a `decision` entry is: the asking itself, or a later change to its reservation. */
  readonly step: "decide" | "topup" | "extend" | null;
  readonly verdict: "allow" | "deny" | "hold" | null;
  readonly reason: ReasonCode | null;
  readonly rule: string | null;
  /** What was not enforced: the reason it would have been, and the rule. */
  readonly warnings: readonly { readonly code: ReasonCode; readonly rule: string | null }[];
  readonly policy: { readonly name: string; readonly version: number; readonly digest: Digest } | null;
  readonly estimate_usd: string | null;
  /**
   * What this entry posts. The sum of `cost_usd` less the sum of `corrected_usd` over a session is what the session has spent, without entries of kind
   * `ingest`: there it is what somebody reported, which no account has counted.
   */
  readonly cost_usd: string;
  /** What an earlier entry of the same decision posted and this one takes back. */
  readonly corrected_usd: string;
  readonly overrun_usd: string;
  /** `true`: told after the reservation had been released or had expired. */
  readonly late: boolean;
  readonly outcome: "success" | "error" | null;
  readonly error: string | null;
  readonly duration_ms: number | null;
  readonly usage: { readonly [key: string]: JsonValue } | null;
  readonly reservation: { readonly amount_usd: string; readonly expires_at: string } | null;
  readonly accounts: readonly AccountMovement[];
  /** Parts of limits that this entry's accounts reached for the first time. */
  readonly alerts: readonly {
    readonly limit_usd: string;
    readonly name: string;
    readonly scope: AccountMovement["scope"];
    readonly spent_usd: string;
    readonly threshold: number;
  }[];
  readonly rates: readonly {
    readonly name: string;
    readonly per: RateLimit["per"];
    readonly limit: number;
    readonly remaining: number;
    readonly window_ms: number;
  }[];
  readonly approval: { readonly id: string; readonly expires_at: string } | null;
  readonly rationale: string | null;
  readonly confidence: number | null;
  readonly sources: readonly { readonly source: string; readonly version?: string | undefined }[];
  readonly parents: readonly string[];
  readonly model: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | null;
  /** What an estimate rests on where a model is named: the price data's version, and whether it knows the model. */
  readonly price: { readonly known: boolean; readonly basis: Price["basis"]; readonly data: string } | null;
  /** The digest that the caller sent instead of the inputs, or the digest of the redacted inputs where the policy keeps only that. */
  readonly inputs_digest: Digest | null;
  /** The digest of the redacted outputs where the policy keeps only that. */
  readonly outputs_digest: Digest | null;
  /** How many places were redacted before this was written. */
  readonly redacted: number;
  /** Salted digest of the inputs and outputs, which lie beside the entry so that they can be erased without breaking any proof. */
  readonly payload_digest: Digest | null;
  readonly principal: { readonly token_id: string; readonly subject: string; readonly kind: Principal["kind"] } | null;
  readonly compliance_metadata: { readonly [key: string]: string } | null;
  /** What a kind has to say beyond the common members: a policy's new version, a session's limits. */
  readonly details: { readonly [key: string]: JsonValue } | null;
  readonly engine_version: string;
}

/** Inputs and outputs as they lie beside an entry, with the salt without which the entry's digest cannot be tried against guesses. */
export interface Payload {
  readonly salt: string;
  readonly inputs?: JsonValue | undefined;
  readonly outputs?: JsonValue | undefined;
}

/** An entry made whole: its canonical bytes, their hash, and what lies beside it. This is what travels to the ledger. */
export interface SealedEntry {
  readonly entry: Entry;
  readonly canonical: string;
  readonly hash: string;
  readonly payload: Payload | null;
  /** The same as the text whose digest the entry has: it travels and is kept as that text, and nobody prints it again. */
  readonly beside: string | null;
}

/** Where a chain stands: the next entry gets `seq + 1` and names `hash` as the one before it. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
}

export const CHAIN_START: ChainHead = { seq: 0, hash: "0".repeat(64) };

/** What an entry says, before it has its place in a chain. */
export type EntryDraft = Pick<Entry, "id" | "kind" | "timestamp" | "tenant_id" | "session_id"> &
  Partial<Omit<Entry, "seq" | "prev_hash" | "payload_digest" | "engine_version">>;

/** Gives a draft the next place in its chain. What the draft leaves out is absent: `null`, empty, or zero money. */
export function seal(sha256: Sha256, head: ChainHead, draft: EntryDraft, payload: Payload | null): SealedEntry {
  // The digest is that of the canonical JSON with the salt as a member.
  const beside = payload === null ? null : canonicalJson(payload);
  const entry: Entry = {
    ...NOTHING,
    ...draft,
    seq: head.seq + 1,
    prev_hash: head.hash,
    payload_digest: beside === null ? null : digestOf(sha256, beside),
  };
  const canonical = canonicalJson(entry);
  return { entry, canonical, hash: sha256(canonical), payload, beside };
}

/**
 * An entry that says nothing. Its members stand in the order of the canonical form, and spreading others over it keeps that order: so an entry is
 * printed without being sorted. A test holds the order.
 */
const NOTHING = {
  accounts: [],
  action: null,
  agent_id: null,
  alerts: [],
  approval: null,
  compliance_metadata: null,
  confidence: null,
  corrected_usd: "0",
  cost_usd: "0",
  decision_id: null,
  details: null,
  duration_ms: null,
  engine_version: ENGINE_VERSION,
  error: null,
  estimate_usd: null,
  id: null,
  inputs_digest: null,
  kind: null,
  late: false,
  model: null,
  outcome: null,
  outputs_digest: null,
  overrun_usd: "0",
  parents: [],
  payload_digest: null,
  policy: null,
  prev_hash: "",
  price: null,
  principal: null,
  rates: [],
  rationale: null,
  reason: null,
  redacted: 0,
  reservation: null,
  resource: null,
  risk_level: null,
  rule: null,
  run_id: null,
  seq: 0,
  session_id: null,
  sources: [],
  step: null,
  tags: [],
  tenant_id: null,
  timestamp: null,
  usage: null,
  verdict: null,
  warnings: [],
} as const satisfies { readonly [K in keyof Entry]: unknown };
