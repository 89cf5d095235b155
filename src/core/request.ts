import type { Digest } from "./digest.ts";
import type { ApprovalId, DecisionId, RunId, TokenId } from "./ids.ts";
import type { JsonValue } from "./json.ts";
import type { MicroUsd } from "./money.ts";
import type { Price } from "./policy/findings.ts";

export const RISK_LEVELS = ["low", "medium", "high", "critical"] as const;
export type RiskLevel = (typeof RISK_LEVELS)[number];

/** 1 to 128 letters, digits, `_ - . : /`. */
export const ACTION_NAME = /^[A-Za-z0-9_\-.:/]{1,128}$/;

/** What an agent asks before it acts, already parsed: every field is either what it must be or plainly absent. */
export interface ActionRequest {
  readonly id: DecisionId;
  /** `null`: the session's current run. */
  readonly run: RunId | null;
  readonly action: string;
  readonly resource: { readonly type: string; readonly id: string } | null;
  /** What the caller states, or what the usage it expects would cost; 0 where neither is known. */
  readonly estimateMicroUsd: MicroUsd;
  /** What is known of the price; `null` when no model is named. */
  readonly price: Price | null;
  readonly tags: readonly string[];
  readonly riskLevel: RiskLevel | null;
  /** `undefined`: not sent. */
  readonly inputs: JsonValue | undefined;
  readonly inputsDigest: Digest | null;
  readonly rationale: string | null;
  readonly confidence: number | null;
  readonly sources: readonly { readonly source: string; readonly version?: string | undefined }[];
  readonly parents: readonly DecisionId[];
  readonly model: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | null;
  readonly approval: ApprovalId | null;
  /** How long the reservation stands before it expires. */
  readonly ttlMs: number;
}

/** Who is asking, as the token says; written into every entry. */
export interface Principal {
  readonly tokenId: TokenId;
  readonly tenant: string;
  readonly subject: string;
  readonly kind: "agent" | "human" | "service";
  /** Which registration of an issuer of the tenant's own vouched for it, as `name#version`; absent for this gateway's own tokens. */
  readonly issuer?: string | undefined;
  /** Of a link: the one approval that it reads and answers, and nothing else. Only tokens that this gateway made ever have one. */
  readonly only?: ApprovalId | undefined;
}

/** What a caller reports after acting. */
export interface CommitReport {
  /** `null`: nobody knows; what was reserved for it is posted. */
  readonly costMicroUsd: MicroUsd | null;
  /** Where the gateway reckoned the cost from the usage, or could not: what it went by. Absent: the caller stated the cost. */
  readonly price?: Price | undefined;
  readonly outcome: "success" | "error";
  readonly durationMs: number | null;
  /** `undefined`: not sent. */
  readonly outputs: JsonValue | undefined;
  readonly error: string | null;
  readonly usage: { readonly [key: string]: JsonValue } | null;
}
