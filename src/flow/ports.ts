import type { Approval, ApprovalStatus, Approver, PersonsAnswer } from "../core/approvals.ts";
import type { BatchSemantics } from "../core/batch.ts";
import type { BudgetWindow } from "../core/calendar.ts";
import type { ClientLease } from "../core/client_lease.ts";
import type { Balance, Decision, DecisionState, EntryMark, LeaseReason, Settlement } from "../core/decision.ts";
import type { Digest, Sha256 } from "../core/digest.ts";
import type { Payload } from "../core/entry.ts";
import type { EventFilter, Place } from "../core/events.ts";
import type { LeaseEvaluation, LeaseRequest } from "../core/grant_lease.ts";
import type { ApprovalId, DecisionId, DeliveryId, Id, IdPrefix, InterventionId, LeaseId, RunId, SessionId, TokenId, WebhookId } from "../core/ids.ts";
import type { JsonValue } from "../core/json.ts";
import type { MicroUsd } from "../core/money.ts";
import type { InterventionKind, Order, Target } from "../core/orders.ts";
import type { Evaluation, LeaseWish, Path, PolicyRef } from "../core/policy/findings.ts";
import type { PutIf } from "../core/precondition.ts";
import type { Redaction } from "../core/redact.ts";
import type { Refusal } from "../core/refusals.ts";
import type { ActionRequest, CommitReport, Principal } from "../core/request.ts";
import type { Result } from "../core/result.ts";
import type { Scope } from "../core/scopes.ts";
import type { Reconsidered } from "../core/settle.ts";
import type { LeasedAction } from "../core/settle_lease.ts";
import type { SessionState } from "../core/standing.ts";
import type { Testimony } from "../core/testimony.ts";
import type { Instant } from "../core/time.ts";

/**
 * What the stories need of the world. A port answers with values: a `Refusal` is an answer, and only a broken invariant throws.
 * Whatever may be asked twice (a lost reply, a retry) is asked by an id that its caller made, and gives the same answer twice.
 */
export interface Ports {
  readonly sessions: Sessions;
  readonly tenants: Tenants;
  readonly ledger: Ledger;
  readonly directory: Directory;
  readonly events: EventFeed;
  readonly webhooks: Webhooks;
  readonly policies: PolicyCache;
  readonly prices: Prices;
  readonly identity: Identity;
  readonly sha256: Sha256;
  /** A fresh id from the clock and the runtime's randomness. */
  newId<P extends IdPrefix>(prefix: P): Id<P>;
}

/**
 * Who is who: checks tokens and makes them. Of this gateway's own tokens it asks nobody; of others it asks which tenant registered their issuer, and
 * how. Whether a token was revoked is the tenant's to say.
 */
export interface Identity {
  /** Reads an `Authorization` header. Refuses with `token_missing`, `token_invalid` or `token_expired`. */
  authenticate(authorization: string | null, now: Instant): Reply<Caller>;
  /** Whether an issuer may be registered so: refuses with `body_invalid` keys that are not public, and addresses from which none may be fetched. */
  vetIssuer(wish: IssuerWish): Result<null, Refusal>;
  /** Forgets what is remembered of an issuer: it was registered anew. */
  forgetIssuer(issuer: string): void;
  /** Forgets what is remembered of a token that somebody else refuses: its issuer may have been taken out, or it was revoked. */
  forget(authorization: string | null): void;
  /** Signs the token of a record. The same record always gives the same token. */
  sign(tenant: string, token: TokenRecord): Promise<string>;
  /** Signs a client lease. The same lease always gives the same token, which is no access token. */
  signLease(tenant: string, lease: LeaseGranted): Promise<string>;
  /** The public keys, as a JSON Web Key Set (RFC 7517). */
  keySet(): Promise<{ readonly keys: readonly JsonValue[] }>;
}

/** Who calls: the holder of the root key, or a token's bearer. */
export type Caller =
  | { readonly kind: "root" }
  | { readonly kind: "bearer"; readonly principal: Principal; readonly scopes: readonly Scope[]; readonly expiresAt: Instant };

/** An answer, and whether it is the recorded one of an earlier, equal request. */
export interface Answered<T> {
  readonly answer: T;
  readonly replayed: boolean;
}

export type Reply<T> = Promise<Result<T, Refusal>>;

/** The authority of one session each: its money, windows, runs and chain. `not_found` where there is no such session of this tenant. */
export interface Sessions {
  /** Idempotent by `order.id`: the same order gives the same answer, another order under the id `idempotency_mismatch`. */
  open(order: OpenSession): Reply<Answered<SessionOpened>>;
  /** Point of no return: when it has answered `decided`, money and record stand. `policy_moved`: nothing was done; evaluate again under the named policy. */
  decide(tenant: string, session: SessionId, call: DecideCall): Reply<DecideReply>;
  commit(
    tenant: string,
    session: SessionId,
    principal: Principal,
    id: DecisionId,
    report: CommitReport,
    fingerprint: string,
  ): Reply<Answered<Settlement>>;
  release(tenant: string, session: SessionId, principal: Principal, id: DecisionId, reason: string | null): Reply<Answered<Settlement>>;
  extend(tenant: string, session: SessionId, principal: Principal, id: DecisionId, ttlMs: number): Reply<Extended>;
  topup(tenant: string, session: SessionId, call: TopupCall): Reply<TopupReply>;
  /** Idempotent by its id, refusals too. Point of no return: when it has answered `decided`, the lease's money is taken, or its refusal is on record. */
  grantLease(tenant: string, session: SessionId, call: GrantLeaseCall): Reply<GrantLeaseReply>;
  readLease(tenant: string, session: SessionId, principal: Principal, id: LeaseId): Reply<LeaseRead>;
  /** Idempotent by the actions' ids. Point of no return: when it has answered `decided`, what was told is on record. */
  settleLease(tenant: string, session: SessionId, call: SettleLeaseCall): Reply<SettleLeaseReply>;
  /** Waits up to `waitMs` while the decision is held. */
  readDecision(tenant: string, session: SessionId, principal: Principal, id: DecisionId, waitMs: number): Reply<DecisionRead>;
  /** An approval as it stands; a person who reads it is on record as having seen it. */
  readApproval(tenant: string, session: SessionId, principal: Principal, id: ApprovalId): Reply<ApprovalRead>;
  /** Point of no return: an answer that is refused because of who or what it answers is on record too. */
  answerApproval(tenant: string, session: SessionId, answering: AnswerApproval): Reply<Answered<ApprovalRead>>;
  respondApproval(tenant: string, session: SessionId, principal: Principal, id: ApprovalId, response: string): Reply<Answered<ApprovalRead>>;
  cancelApproval(
    tenant: string,
    session: SessionId,
    principal: Principal,
    id: ApprovalId,
    mayApprove: boolean,
    why: string | null,
  ): Reply<Answered<ApprovalRead>>;
  openRun(tenant: string, session: SessionId, principal: Principal, run: RunId): Reply<Answered<{ readonly id: RunId }>>;
  closeRun(tenant: string, session: SessionId, principal: Principal, run: RunId): Reply<{ readonly id: RunId }>;
  close(tenant: string, session: SessionId, principal: Principal): Reply<SessionRead>;
  read(tenant: string, session: SessionId, principal: Principal): Reply<SessionRead>;
  /** Asks the tenant anew what is in force, without waiting for the lease to end. */
  renewLease(tenant: string, session: SessionId): Reply<null>;
  /** Hands everything recorded so far to the tenant's ledger. */
  ship(tenant: string, session: SessionId): Promise<void>;
}

export interface OpenSession {
  readonly id: SessionId;
  readonly run: RunId;
  readonly principal: Principal;
  readonly agent: string;
  readonly labels: { readonly [key: string]: string };
  readonly budgetMicroUsd: MicroUsd | null;
  readonly ttlMs: number;
  readonly fingerprint: string;
}

export interface SessionOpened {
  readonly id: SessionId;
  readonly agent: string;
  readonly run: RunId;
  readonly policy: PolicyRef | null;
  readonly expiresAt: Instant;
}

export type { BatchSemantics };

export interface DecideCall {
  readonly principal: Principal;
  readonly items: readonly DecideItem[];
  readonly semantics: BatchSemantics;
  /** The digest the items were evaluated under; `null` when the caller does not know the policy in force. */
  readonly under: Digest | null;
  /** The revision of stored attributes that the evaluation looked at; `null`: it looked at none. */
  readonly entities: number | null;
  /** The revision that this call was first asked to look at: older attributes are too old, newer ones need not be waited for. */
  readonly entitiesFloor: number | null;
  /** The `Idempotency-Key`, with a digest of the whole body. */
  readonly key: { readonly key: string; readonly fingerprint: string } | null;
}

export interface DecideItem {
  /** Where the request stands in the body: empty for a single one, else a pointer such as `/decisions/3`. */
  readonly pointer: string;
  readonly request: ActionRequest;
  /** Digest of the request's body: the same id with another body is refused. */
  readonly fingerprint: string;
  /** `null` when `under` is. */
  readonly evaluation: Evaluation | null;
}

/** What is in force is not what was evaluated under: a policy, or stored attributes of an older revision than `entities`. */
export type PolicyMoved = { readonly kind: "policy_moved"; readonly agent: string; readonly policy: PolicyRef; readonly entities: number };

export type DecideReply = { readonly kind: "decided"; readonly decisions: readonly DecidedAnswer[] } | PolicyMoved;

/** An answer, and what has come into force since it was first given: then what it allowed must not be begun. */
export type DecidedAnswer = Answered<Decision> & { readonly superseded: Superseded | null };

/** A reservation that stands longer, and what has come into force since it was made. */
export type Extended = Answered<Settlement> & { readonly superseded: Superseded | null };

export interface Superseded {
  readonly intervention: InterventionId;
  readonly kind: "kill" | "pause";
}

export interface TopupCall {
  readonly principal: Principal;
  readonly id: DecisionId;
  readonly estimateMicroUsd: MicroUsd;
  readonly under: Digest | null;
  readonly entities: number | null;
  readonly entitiesFloor: number | null;
  readonly evaluation: Evaluation | null;
}

/** The answer about a new sum. What it allows of what is stopped gives money back, and lets nothing go on. */
export interface ToppedUp {
  readonly decision: Decision;
  readonly superseded: Superseded | null;
}

export type TopupReply = ({ readonly kind: "decided" } & ToppedUp) | (PolicyMoved & { readonly request: Reconsidered });

export interface GrantLeaseCall {
  readonly principal: Principal;
  readonly request: LeaseRequest;
  /** Digest of the request's body: the same id with another body is refused. */
  readonly fingerprint: string;
  /** Whether the tenant's settings let anybody decide by leases. */
  readonly allowed: boolean;
  /** The tenant's when it admitted the lease: what was in force then counts, whether or not the session was told. */
  readonly epoch: number;
  readonly under: Digest | null;
  readonly evaluation: LeaseEvaluation | null;
}

/** What a tenant says to a client lease that is wished for. */
export interface LeaseAdmitted extends Pick<GrantLeaseCall, "allowed" | "epoch"> {
  readonly endsBy: Instant;
}

export type GrantLeaseReply = ({ readonly kind: "decided" } & Answered<LeaseAnswer>) | PolicyMoved;

export type LeaseAnswer = { readonly kind: "granted"; readonly lease: LeaseGranted } | { readonly kind: "refused"; readonly reason: LeaseReason };

/** A client lease as it was granted. */
export interface LeaseGranted extends Pick<ClientLease, "id" | "run" | "actions" | "amountMicroUsd" | "grantedAt" | "expiresAt" | "entry"> {
  readonly session: SessionId;
  readonly agent: string;
  readonly policy: PolicyRef;
  readonly budgets: readonly Balance[];
}

/** A client lease as it stands. */
export interface LeaseRead extends Pick<ClientLease, "id" | "run" | "actions" | "amountMicroUsd" | "state" | "expiresAt"> {
  readonly session: SessionId;
  readonly postedMicroUsd: MicroUsd;
  readonly heldMicroUsd: MicroUsd;
}

export interface SettleLeaseCall {
  readonly principal: Principal;
  readonly id: LeaseId;
  readonly actions: readonly (Omit<LeasedAction, "findings" | "known"> & { readonly evaluation: Evaluation | null })[];
  readonly final: boolean;
  readonly under: Digest | null;
  readonly entities: number | null;
  readonly entitiesFloor: number | null;
  /** Nobody could say what the policy in force says: what is told is recorded as the policy stood when the lease was granted. */
  readonly asGranted: boolean;
}

export type SettleLeaseReply = { readonly kind: "decided"; readonly settled: LeaseSettled } | PolicyMoved;

export interface LeaseSettled {
  readonly id: LeaseId;
  readonly state: ClientLease["state"];
  /** On record now, and on record since earlier. */
  readonly accepted: number;
  readonly duplicates: number;
  readonly postedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
  readonly returnedMicroUsd: MicroUsd;
  readonly heldMicroUsd: MicroUsd;
  readonly late: boolean;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}

/** What people are shown of a request beside what its approval says. */
export interface ApprovalCard {
  readonly resource: ActionRequest["resource"];
  readonly inputs: JsonValue;
  readonly tags: readonly string[];
  readonly riskLevel: ActionRequest["riskLevel"];
  readonly reason: Pick<Decision["reason"], "code" | "message" | "rule">;
  readonly rationale: string | null;
  readonly confidence: number | null;
  readonly sources: ActionRequest["sources"];
  readonly parents: readonly DecisionId[];
  readonly model: ActionRequest["model"];
  readonly balances: readonly Balance[];
}

export interface ApprovalRead {
  readonly session: SessionId;
  readonly agent: string;
  readonly approval: Approval;
  readonly card: ApprovalCard;
}

export interface AnswerApproval {
  readonly id: ApprovalId;
  readonly by: Approver;
  readonly said: PersonsAnswer;
}

/** A session's approval as its tenant is told of it. */
export type ApprovalTold = ApprovalRead & { readonly version: number };

export interface ApprovalFilter {
  readonly status?: ApprovalStatus | undefined;
  readonly session?: string | undefined;
  readonly agent?: string | undefined;
}

/** How people answered within a time. */
export interface ApprovalSignals {
  readonly approved: number;
  readonly rejected: number;
  /** In milliseconds, from asking to the answer; `null`: there was none. */
  readonly medianMs: number | null;
  readonly people: readonly {
    readonly subject: string;
    readonly answers: number;
    readonly approved: number;
    readonly medianMs: number;
    readonly mostInAnHour: number;
  }[];
  readonly pending: number;
  readonly oldestPendingAt: Instant | null;
}

export interface DecisionRead {
  readonly decision: Decision;
  /** What became of the approval that a hold waits for. */
  readonly approval: ApprovalStatus | null;
  readonly state: DecisionState;
  readonly postedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
  readonly superseded: Superseded | null;
}

export interface AccountRead {
  readonly postedMicroUsd: MicroUsd;
  readonly pendingMicroUsd: MicroUsd;
  readonly leasedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
}

export interface SessionRead {
  readonly id: SessionId;
  readonly tenant: string;
  readonly agent: string;
  readonly labels: { readonly [key: string]: string };
  readonly state: SessionState;
  readonly openedAt: Instant;
  readonly expiresAt: Instant;
  readonly run: RunId;
  readonly policy: PolicyRef | null;
  readonly budgetMicroUsd: MicroUsd | null;
  readonly total: AccountRead;
  /** What was paid from the reserve for winding down; in none of the other accounts. */
  readonly windDown: AccountRead;
  readonly runs: readonly (AccountRead & { readonly id: RunId })[];
  readonly actions: readonly (AccountRead & { readonly action: string })[];
  /** What client leases hold, which is in no action's account. */
  readonly leases: readonly ClientLease[];
  readonly preventedMicroUsd: MicroUsd;
  readonly decisions: { readonly allow: number; readonly deny: number; readonly hold: number };
}

/** Bounded authority: what is in force for a session, and until when it may act on it without asking again. */
export interface Lease {
  /** Grows with every change of the tenant's authority: an older lease never replaces a newer one. */
  readonly epoch: number;
  readonly policy: PolicyRef | null;
  readonly revokedTokens: readonly TokenId[];
  /** Counts the tenant's changes of entities: attributes read at an older revision must be read again. */
  readonly entities: number;
  /** What interventions left in force against this session, or against something that may be asked in it. */
  readonly orders: readonly Order[];
  /** Registrations of the tenant's own issuers that vouch for tokens, as `name#version`: another one's tokens are refused. */
  readonly issuers: readonly string[];
  readonly endsAt: Instant;
}

/** The authority of one tenant each: policies in force, live sessions, tokens. `not_found` where there is no such tenant. */
export interface Tenants {
  create(tenant: { readonly id: string; readonly name: string | null }): Reply<Answered<{ readonly id: string }>>;
  /** Binds an `Idempotency-Key` of the root key's holder to a body, for good. Refuses another body under it with `idempotency_mismatch`. */
  claimRootKey(key: string, fingerprint: string): Reply<null>;
  listSessions(tenant: string, page: PageQuery, agent: string | null): Reply<PageOf<SessionRow>>;
  /** Ids of sessions that may still act, newest first, at most `most`. */
  liveSessions(tenant: string, most: number): Promise<readonly SessionId[]>;

  /** Refuses with `precondition_failed` where the name does not stand for what the writer wants it to when the policy is put: of two that race, one. */
  putPolicy(tenant: string, principal: Principal, put: PutPolicy): Reply<PolicyPutDone>;
  /** Of a policy that was deleted too: it is back, for whom it was. */
  activatePolicy(tenant: string, principal: Principal, name: string, version: number): Reply<PolicyVersionRow>;
  /** Takes it out of force and out of the list. Its versions can still be read and activated. */
  deletePolicy(tenant: string, principal: Principal, name: string): Reply<null>;
  listPolicies(tenant: string, page: PageQuery): Reply<PageOf<PolicyRow>>;
  /** `null`: the version in force, or the newest, of one that was not deleted. */
  readPolicy(tenant: string, name: string, version: number | null): Reply<PolicyRead>;
  listPolicyVersions(tenant: string, name: string, page: PageQuery): Reply<PageOf<PolicyVersionRow>>;
  /** What is in force for an agent: every active document that applies to it, merged. */
  effectivePolicy(tenant: string, agent: string | null): Reply<EffectivePolicy | null>;

  /** Stores an entity's attributes in place of those it had. The same attributes again change nothing and are not recorded. */
  putEntity(
    tenant: string,
    principal: Principal,
    entity: Pick<EntityRow, "type" | "id" | "properties">,
  ): Reply<{ readonly entity: EntityRow; readonly created: boolean }>;
  /** Refuses with `not_found` where nothing is stored. */
  deleteEntity(tenant: string, principal: Principal, ref: EntityRef): Reply<null>;
  readEntity(tenant: string, ref: EntityRef): Reply<EntityRow>;
  /** Newest first by when they were first stored; of one type only, unless it is `null`. A page may have fewer than `limit` and still not be the last. */
  listEntities(tenant: string, page: PageQuery, type: string | null): Reply<PageOf<EntityRow>>;
  /** For evaluation: at most 16 entities, all as they stood at one revision. */
  readEntities(tenant: string, refs: readonly EntityRef[]): Reply<EntitiesRead>;

  /**
   * Puts an intervention in force and tells every session that it may concern, waiting a little for their word. Idempotent by its id.
   * Refuses with `not_found` a session of which the tenant knows nothing.
   */
  intervene(tenant: string, principal: Principal, intervention: Intervention): Reply<Answered<Intervened>>;

  /** Which session asked for an approval, and whom the tenant has on file as its agent's owners (`null`: something that is no names); `not_found` where the tenant was told of none. */
  findApproval(
    tenant: string,
    id: ApprovalId,
  ): Reply<{ readonly session: SessionId; readonly agent: string; readonly owners: readonly string[] | null }>;
  /** Approvals as the tenant was last told of them, newest first, with how many there are of each status. */
  listApprovals(
    tenant: string,
    filter: ApprovalFilter,
    page: PageQuery,
  ): Reply<PageOf<ApprovalRead> & { readonly counts: { readonly [status in ApprovalStatus]: number } }>;
  /** How people answered from one instant up to another. */
  approvalSignals(tenant: string, from: Instant, to: Instant): Reply<ApprovalSignals>;

  /**
   * Whether a session may grant a client lease of so long a time, and until when at the latest it may run: a kill that comes before is known to be
   * heard everywhere by then.
   */
  admitLease(tenant: string, principal: Principal, session: SessionId, ttlMs: number): Reply<LeaseAdmitted>;

  /** The accounts of an agent and of the tenant as they stand now, whatever limits there are. */
  standing(tenant: string, agent: string): Reply<readonly AccountStanding[]>;

  readSettings(tenant: string): Reply<Settings>;
  putSettings(tenant: string, principal: Principal, settings: Settings): Reply<Settings>;

  /** Registers an issuer of the tenant's own, or replaces what was registered under the name. */
  putIssuer(tenant: string, principal: Principal, issuer: IssuerWish): Reply<{ readonly issuer: IssuerRow; readonly created: boolean }>;
  /** From then on its tokens are refused. Refuses with `not_found` where nothing is registered under the name. */
  deleteIssuer(tenant: string, principal: Principal, name: string): Reply<null>;
  readIssuer(tenant: string, name: string): Reply<IssuerRow>;
  listIssuers(tenant: string, page: PageQuery): Reply<PageOf<IssuerRow>>;

  /**
   * Idempotent by its id. A link's token ends with its approval at the latest; refuses one that the settings do not allow (`scope_insufficient`), or of an
   * approval that nobody can answer any more (`approval_closed`).
   */
  recordToken(tenant: string, principal: Principal | null, token: TokenRecord, fingerprint: string): Reply<Answered<TokenRecord>>;
  listTokens(tenant: string, page: PageQuery): Reply<PageOf<TokenRow>>;
  revokeToken(tenant: string, principal: Principal | null, id: TokenId): Reply<null>;
  /**
   * Whether a token may still be used; also `false` where the tenant does not exist. A token that an issuer of the tenant's own made is good while that
   * registration stands and nobody has revoked it by its id.
   */
  isTokenGood(tenant: string, token: Pick<Principal, "tokenId" | "issuer">): Promise<boolean>;
  /** Hands everything recorded so far to the tenant's ledger. */
  ship(tenant: string): Promise<void>;
}

export interface Intervention {
  readonly id: InterventionId;
  readonly target: { readonly type: Target; readonly id: string };
  readonly kind: InterventionKind;
  readonly reason: string;
  readonly fingerprint: string;
}

/** What an intervention did, and who said so. */
export interface Intervened {
  readonly id: InterventionId;
  readonly epoch: number;
  /** How many kills a revive, or pauses a resume, took out of force; `null`: a kill or a pause, or one that an older version of this code put. */
  readonly lifted: number | null;
  /** Whether what it names was ever seen; `null`: that cannot be told, as of an action, or of a run that no session spoke for. */
  readonly known: boolean | null;
  /** Sessions that obey since their entry `seq`; 0: the session was being opened, and opens with it. */
  readonly acknowledged: readonly {
    readonly session: SessionId;
    readonly seq: number;
    readonly at: Instant;
    /** Until then whoever holds a client lease that it concerns may go on; `null`: nobody does. */
    readonly leasedUntil: Instant | null;
  }[];
  readonly unanswered: readonly SessionId[];
  readonly inForceEverywhereBy: Instant;
}

/** An account that sessions share, in the stretch of now. */
export interface AccountStanding {
  readonly scope: "agent" | "tenant";
  readonly window: BudgetWindow;
  readonly postedMicroUsd: MicroUsd;
  readonly pendingMicroUsd: MicroUsd;
  /** Given to sessions and not spent. */
  readonly leasedMicroUsd: MicroUsd;
  readonly resetsAt: Instant | null;
}

/** What a tenant may choose for itself. */
export interface Settings {
  /** Origins whose pages may read the answers to this tenant's tokens, such as `https://app.example`. */
  readonly corsOrigins: readonly string[];
  /** Entries are kept at least so many days: 183 or more. */
  readonly retentionDays: number;
  /** The stored policy that is in force for whom no active policy is; `null`: then everything is denied. */
  readonly defaultPolicy: string | null;
  /** How many requests each of the tenant's tokens may make at once, which come back evenly within the window; `null`: the gateway's own limit. */
  readonly throttle: { readonly requests: number; readonly windowMs: number } | null;
  /** Whether an approval can be answered by a one-time link. */
  readonly approvalLinks: boolean;
  /** Whether anybody may decide by a client lease. */
  readonly clientLeases: boolean;
}

export const DEFAULT_SETTINGS: Settings = {
  corsOrigins: [],
  retentionDays: 183,
  defaultPolicy: null,
  throttle: null,
  approvalLinks: false,
  clientLeases: true,
};

/** How an issuer of a tenant's own is to be believed. */
export interface IssuerWish {
  readonly name: string;
  /** Its `iss`, exactly. */
  readonly issuer: string;
  /** Where its keys are: at a URL, or here. */
  readonly keys: { readonly uri: string } | { readonly set: JsonValue };
  /** What its tokens' `aud` must contain. */
  readonly audience: string;
  /** The names of claims: who it is, what it may do, and whether it is an agent, a person or a service. */
  readonly claims: { readonly subject: string; readonly scopes: string; readonly kind: string };
}

/**
 * How long a token of such an issuer may live: what nobody would remember to revoke is not believed, and what was revoked is forgotten once no token of
 * then can still be good.
 */
export const MOST_FOREIGN_LIFE_MS = 366 * 86_400_000;

export interface IssuerRow extends IssuerWish {
  /** Grows with every change under the name: tokens verified under an older one are refused. */
  readonly version: number;
  readonly updatedAt: Instant;
  readonly updatedBy: string;
}

/** What the whole deployment shares, so that a request can be led to its tenant before anybody has vouched for it. */
export interface Directory {
  /** Which registrations name this `iss`, the oldest first, and for which audience; `null`: that is not known. */
  issuersOf(issuer: string): Promise<readonly { readonly tenant: string; readonly name: string; readonly audience: string | null }[]>;
  /** Whether any tenant lets pages of this origin read its answers. */
  isOriginKnown(origin: string): Promise<boolean>;
}

export interface PageQuery {
  /** 1 to 1000. */
  readonly limit: number;
  readonly cursor: string | null;
}

export interface PageOf<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

export interface SessionRow {
  readonly id: SessionId;
  readonly agent: string;
  readonly labels: { readonly [key: string]: string };
  readonly state: SessionState;
  readonly openedAt: Instant;
  readonly expiresAt: Instant;
}

export interface PutPolicy {
  readonly name: string;
  readonly scope: "tenant" | "agent";
  readonly target: string | null;
  readonly document: JsonValue;
  readonly digest: Digest;
  /** The author's text, as it came. */
  readonly text: string;
  readonly format: "yaml" | "json";
  readonly activate: boolean;
  /** What its writer wants the name to stand for until then; left out or `null`: whatever it does. */
  readonly onlyIf?: PutIf | null;
}

export interface PolicyPutDone {
  readonly name: string;
  readonly version: number;
  readonly digest: Digest;
  readonly active: boolean;
  /** `false`: the document was there already and kept its version. */
  readonly created: boolean;
}

export interface PolicyRow {
  readonly name: string;
  readonly scope: "tenant" | "agent";
  readonly target: string | null;
  readonly activeVersion: number | null;
  readonly latestVersion: number;
  readonly digest: Digest;
  readonly updatedAt: Instant;
}

export interface PolicyVersionRow {
  readonly name: string;
  readonly version: number;
  readonly digest: Digest;
  readonly active: boolean;
  readonly createdAt: Instant;
  readonly createdBy: string;
}

export interface PolicyRead extends PolicyVersionRow {
  readonly scope: "tenant" | "agent";
  readonly target: string | null;
  readonly document: JsonValue;
  readonly text: string;
  readonly format: "yaml" | "json";
}

export interface EffectivePolicy {
  readonly policy: PolicyRef;
  readonly document: JsonValue;
  readonly conflicts: readonly { readonly pointer: string; readonly message: string }[];
}

export interface EntityRef {
  readonly type: string;
  readonly id: string;
}

/** Stored attributes of a subject or a resource. */
export interface EntityRow extends EntityRef {
  readonly properties: { readonly [attribute: string]: JsonValue };
  readonly updatedAt: Instant;
  readonly updatedBy: string;
}

/** Entities as they stood at one revision of the tenant's: `null` where nothing is stored. In the order asked. */
export interface EntitiesRead {
  readonly revision: number;
  readonly properties: readonly (EntityRow["properties"] | null)[];
}

export interface TokenRecord {
  readonly id: TokenId;
  readonly subject: string;
  readonly kind: Principal["kind"];
  readonly scopes: readonly Scope[];
  readonly issuedAt: Instant;
  readonly expiresAt: Instant;
  /** Of a link: the one approval that it is for. */
  readonly approval?: ApprovalId | undefined;
}

export interface TokenRow extends TokenRecord {
  readonly revokedAt: Instant | null;
}

/** The tenant's record. Everything answered by a session before a read is in that read: the read asks live sessions to ship first. */
/** What a read went through: rows of the database, also those that it did not want, characters that came out of it, and sessions that were asked for what they recorded. */
export interface Read {
  readonly rows: number;
  readonly characters: number;
  readonly sessions: number;
}

/** Told that, as it is known: part after part. */
export type Went = (through: Partial<Read>) => void;

export interface Ledger {
  /** Waits until everything accepted so far can be read, or `ledger_unavailable`. */
  settle(tenant: string): Reply<null>;
  list(tenant: string, filter: LedgerFilter, page: PageQuery, went?: Went): Reply<PageOf<LedgerRow>>;
  read(tenant: string, id: string): Reply<LedgerRow>;
  /** Oldest first, the whole of it as it was when its first page was read, in pages that are read as they are asked for. */
  export(tenant: string, filter: LedgerFilter, went?: Went): AsyncIterable<readonly LedgerRow[]>;
  costs(tenant: string, query: CostQuery, went?: Went): Reply<CostReport>;
  /**
   * Puts what was reported on record, each line once, however often and by however many it is told: what became of each, in order. Point of no return:
   * what it has answered for is on record. Refuses with `ledger_unavailable`, and then some of it or all may be there; tell it again. A report with a
   * key gets the answer that was given under that key, and `idempotency_mismatch` where it was another report.
   */
  ingest(tenant: string, report: Report): Reply<Answered<readonly Taken[]>>;
}

/** What is told at once. `key`: who tells it calls it so, with the digest of all that was sent; `null`: it has no name. */
export interface Report {
  readonly lines: readonly Testimony[];
  readonly key: { readonly key: string; readonly fingerprint: string } | null;
}

/** `recorded` now, or `known` since earlier; `other`: its id is that of another line. `too_large`: the record has no room for an entry of that size. */
export type Taken = "recorded" | "known" | "other" | "too_large";

/** The record as it grows. */
export interface EventFeed {
  /** A socket on which events come as texts, one each; anything that is sent on it acknowledges all that came. Refuses with `throttled`. */
  listen(tenant: string, listening: Listening): Reply<WebSocket>;
}

export interface Listening {
  readonly filter: EventFilter;
  /** `null`: from what comes next. */
  readonly from: Place | null;
  /** Whose token lets them listen, and until when. */
  readonly token: Pick<Principal, "tokenId" | "issuer">;
  readonly expiresAt: Instant;
}

/** Where a tenant has events of its record sent to. `not_found` where it has no such webhook, or no such delivery. */
export interface Webhooks {
  /** Idempotent by its id. It is told what is recorded from now on. Refuses with `body_invalid` an address to which nothing is sent. */
  create(tenant: string, principal: Principal, wish: WebhookWish): Reply<Answered<WebhookCreated>>;
  list(tenant: string, page: PageQuery): Reply<PageOf<WebhookRow>>;
  read(tenant: string, id: WebhookId): Reply<WebhookRow>;
  /** Nothing more is sent, and what waits is forgotten. */
  delete(tenant: string, principal: Principal, id: WebhookId): Reply<null>;
  /** Signs with a new secret from now on, and for a day with the older ones too. Idempotent by its request. */
  rotate(tenant: string, principal: Principal, rotation: WebhookRotation): Reply<Answered<WebhookRotated>>;
  /** Sends again what waits, at once, whatever stopped it; and everything from a place on, where one is named. */
  resume(tenant: string, principal: Principal, id: WebhookId, from: Place | null): Reply<WebhookRow>;
  /** Newest first. */
  listDeliveries(tenant: string, id: WebhookId, status: DeliveryStatus | null, page: PageQuery): Reply<PageOf<DeliveryRow>>;
  /** Sends one delivery again, under its own id. */
  redeliver(tenant: string, id: WebhookId, delivery: DeliveryId): Reply<DeliveryRow>;
}

export interface WebhookWish {
  readonly id: WebhookId;
  readonly url: string;
  /** Names of events, or globs of them. */
  readonly events: readonly string[];
  /** `whsec_…`; `null`: one is made. */
  readonly secret: string | null;
  readonly fingerprint: string;
}

export interface WebhookCreated {
  readonly id: WebhookId;
  readonly url: string;
  readonly events: readonly string[];
  readonly secret: string;
  readonly createdAt: Instant;
  readonly createdBy: string;
}

export interface WebhookRow extends Omit<WebhookCreated, "secret"> {
  /** Since when every attempt has failed; `null`: the last one did not. */
  readonly failingSince: Instant | null;
  /** `gone`: its receiver said so. `failing`: it has failed for days. Until a person resumes it nothing is sent. */
  readonly disabled: { readonly at: Instant; readonly why: "gone" | "failing" } | null;
  /** Until when a secret that was replaced still signs; `null`: none does. */
  readonly oldSecretsUntil: Instant | null;
}

export interface WebhookRotation {
  readonly webhook: WebhookId;
  /** Names the request, so that the same one again rotates nothing. */
  readonly request: string;
  readonly secret: string | null;
  readonly fingerprint: string;
}

export interface WebhookRotated {
  readonly id: WebhookId;
  readonly secret: string;
  readonly createdAt: Instant;
  readonly oldSecretsUntil: Instant;
}

/** `dead`: it was tried as often as it is tried, and waits for a person. */
export type DeliveryStatus = "pending" | "delivered" | "dead";

export interface DeliveryRow {
  /** The `webhook-id` of every attempt. */
  readonly id: DeliveryId;
  readonly webhook: WebhookId;
  readonly event: string;
  readonly type: string;
  readonly status: DeliveryStatus;
  readonly attempts: number;
  readonly createdAt: Instant;
  /** When it is tried next; `null` unless it is pending. */
  readonly nextAt: Instant | null;
  readonly lastAt: Instant | null;
  /** What the receiver answered last; `null`: nothing yet, or nothing at all. */
  readonly lastStatus: number | null;
  readonly lastError: string | null;
}

/** What was done to a webhook, for the tenant's own chain: each is recorded once, by its number. */
export interface WebhookNote {
  readonly seq: number;
  /** `null`: the gateway itself did it. */
  readonly principal: Principal | null;
  readonly details: { readonly [key: string]: JsonValue };
}

export interface EntryBatch {
  /** The session's id, or the tenant's for its own chain. */
  readonly chain: string;
  readonly entries: readonly ShippedEntry[];
}

export interface ShippedEntry {
  readonly seq: number;
  /** The canonical JSON that was hashed. */
  readonly canonical: string;
  readonly hash: string;
  /** The canonical JSON of what lies beside it. */
  readonly beside: string | null;
}

export interface LedgerFilter {
  readonly session?: string | undefined;
  readonly run?: string | undefined;
  readonly agent?: string | undefined;
  readonly action?: string | undefined;
  readonly kind?: string | undefined;
  readonly verdict?: string | undefined;
  readonly outcome?: string | undefined;
  readonly tag?: string | undefined;
  /** Only what says no, in one of these ways. */
  readonly noes?: readonly NoKind[] | undefined;
  /** Of the session, agent or action that is asked for, or an intervention that is aimed at it. */
  readonly aims?: boolean | undefined;
  /** Inclusive. */
  readonly from?: Instant | undefined;
  /** Exclusive. */
  readonly to?: Instant | undefined;
  /** Only what the ledger has after this index. */
  readonly after?: number | undefined;
}

/** How an approval says no, and the event of its entry: a person's no, that nobody answered or used it in time, that it was taken back; an answer that did not count. */
export const APPROVAL_NOES = { reject: "rejected", timeout: "expired", cancel: "cancelled", answer_refused: "refused" } as const;

/**
 * An intervention by its kind; a decision that was denied or held; an approval that was not given, or an answer to one that did not count; a client lease
 * that was not granted; what an engine elsewhere reported that it denied or held; a cost above its reservation; a reservation that nobody settled.
 */
export type NoKind =
  | InterventionKind
  | "deny"
  | "hold"
  | keyof typeof APPROVAL_NOES
  | "lease_denied"
  | "reported_deny"
  | "reported_hold"
  | "overrun"
  | "expiry";

export interface LedgerRow {
  readonly index: number;
  readonly canonical: string;
  readonly hash: string;
  readonly payload: Payload | null;
}

export interface CostQuery {
  readonly groupBy: "action" | "run" | "session" | "agent" | "day";
  /** Of this agent only. */
  readonly agent?: string | undefined;
  readonly from?: Instant | undefined;
  readonly to?: Instant | undefined;
}

/** Sums of what any number of sessions spent can be more than any one amount may be. */
export interface CostReport {
  readonly items: readonly CostLine[];
  readonly totalMicroUsd: bigint;
  readonly reportedMicroUsd: bigint;
}

/** Policies ready to be evaluated, by digest: what a digest names never changes. */
export interface PolicyCache {
  /**
   * Evaluates under the policy last seen in force for this session, else for its agent, asking the tenant only for stored attributes. `null`: none was seen
   * here.
   */
  evaluateLastSeen(tenant: string, session: SessionId, questions: Questions): Promise<Evaluated | null>;
  /** Evaluates under the named policy, fetching it if need be, and remembers it as the one in force for the session. `null`: none is in force any more. */
  evaluateUnder(
    tenant: string,
    session: SessionId,
    moved: { readonly agent: string; readonly policy: PolicyRef; readonly entities: number },
    questions: Questions,
  ): Reply<Evaluated | null>;
  /** What the policy that is now in force for an agent (`null`: for the tenant) hides. `null`: nothing; `undefined`: none is in force, or none that can be read. */
  redactionFor(tenant: string, agent: string | null): Reply<Redaction | null | undefined>;
}

/** Requests that are asked together, and by whom and when. */
export interface Questions {
  readonly requests: readonly Evaluable[];
  readonly principal: Principal;
  readonly now: Instant;
  /** Whether more is asked for of what was allowed before. */
  readonly isTopup: boolean;
  /** A client lease that is asked for in place of requests. */
  readonly lease?: LeaseWish | undefined;
}

/** Requests as one policy sees them, in their order, and that policy's digest. */
export interface Evaluated {
  readonly under: Digest;
  /** The revision of the tenant's entities that it looked at, at least; `null`: it looked at none. */
  readonly entities: number | null;
  readonly evaluations: readonly Evaluation[];
  /** Of the lease that was asked for. */
  readonly lease?: LeaseEvaluation | undefined;
}

/** What evaluation looks at of a request. */
export type Evaluable = Pick<
  ActionRequest,
  | "run"
  | "action"
  | "tags"
  | "riskLevel"
  | "estimateMicroUsd"
  | "resource"
  | "inputs"
  | "inputsDigest"
  | "price"
  | "confidence"
  | "rationale"
  | "sources"
  | "model"
> & { readonly inputsKnown?: readonly Path[] };

/** What models cost. Asks nobody: the price data is a part of the gateway. */
export interface Prices {
  /** The version of the price data, for the record. */
  readonly data: string;
  knows(model: { readonly provider?: string | undefined; readonly name: string }): boolean;
  /** What a call would cost at most, rounded up to whole micro-USD; `null` when the price is not known, which is never zero. */
  costOf(model: { readonly provider?: string | undefined; readonly name: string }, usage: ExpectedUsage, at: Instant): MicroUsd | null;
}

/** The tokens that a call to a model is expected to use at most. */
export interface ExpectedUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
}

/** What one key has spent. Within a window, more can have been taken back than was reported: what is posted is then zero. */
export interface CostLine {
  /** `null`: of entries that name none. */
  readonly key: string | null;
  /** The one less the other: below zero where more was taken back than posted. */
  readonly postedMicroUsd: bigint;
  readonly costMicroUsd: bigint;
  readonly correctedMicroUsd: bigint;
  /** How many decisions posted it. */
  readonly count: number;
  /** What was reported beside that, by lines of which the gateway has posted nothing itself: in none of the other sums. */
  readonly reportedMicroUsd: bigint;
}
