import type { Book } from "./book.ts";
import { type Digest, digestOf, type Sha256 } from "./digest.ts";
import type { ApprovalId, DecisionId, RunId } from "./ids.ts";
import { canonicalJson, type JsonValue } from "./json.ts";
import { formatUsd, type MicroUsd } from "./money.ts";
import type { Chain, PolicyRef } from "./policy/findings.ts";
import type { Redaction } from "./redact.ts";
import { type Refusal, refusal } from "./refusals.ts";
import type { ActionRequest, Principal } from "./request.ts";
import { err, ok, type Result } from "./result.ts";
import { recordedInputs, shownText } from "./shown.ts";
import { formatInstant, type Instant } from "./time.ts";
import { happen, record, signature, type Turn } from "./turn.ts";

/** What may become of an approval. The first three may still change. */
export const APPROVAL_STATUSES = ["pending", "info_requested", "approved", "rejected", "expired", "cancelled", "consumed"] as const;

export type ApprovalStatus = (typeof APPROVAL_STATUSES)[number];

/**
 * What a hold waits for: people's answers to exactly one request. Who may answer and how many must is what the policy said when it was asked.
 * What people are shown of it lies beside it in the store: this is what answers are checked against.
 */
export interface Approval {
  readonly id: ApprovalId;
  /** The decision that was held. */
  readonly decision: DecisionId;
  readonly run: RunId;
  readonly action: string;
  readonly status: ApprovalStatus;
  /** Of the request as it may be made: changed by a person's edits. */
  readonly digest: Digest;
  readonly policy: PolicyRef;
  readonly chain: Chain;
  readonly requester: Pick<Principal, "kind" | "subject">;
  readonly redaction: Redaction | null;
  /** What people's edits start from. */
  readonly asked: Asked;
  readonly openedAt: Instant;
  /** Until then it waits for an answer; once it is approved, until then it may be used. */
  readonly expiresAt: Instant;
  /** How long it waits, and how long it may be used. */
  readonly termMs: number;
  readonly answers: readonly Answer[];
  readonly edits: Edits | null;
  readonly seen: readonly { readonly subject: string; readonly at: Instant }[];
  /** When it was approved or rejected. */
  readonly answeredAt: Instant | null;
  readonly usedBy: DecisionId | null;
}

/**
 * What an approval is bound to, beside tenant, agent, session, run and action: by digest, since what the policy redacts is stored nowhere as it was
 * sent.
 */
export interface Asked {
  readonly resource: Digest | null;
  /** `null`: none were sent. */
  readonly inputs: Digest | null;
  readonly estimateMicroUsd: MicroUsd;
  /** Of what else was said of it. Absent: people were asked before this was bound, and the approval stays good for what it was bound to then. */
  readonly facts?: Digest | undefined;
}

/** What a person made of a request. What is absent stays as it was asked. */
export interface Edits {
  readonly inputs?: JsonValue | undefined;
  readonly resource?: ActionRequest["resource"] | undefined;
  readonly estimateMicroUsd?: MicroUsd | undefined;
}

export interface Answer {
  readonly subject: string;
  readonly decision: "approve" | "reject" | "request_info" | "respond" | "cancel";
  readonly note: string | null;
  readonly at: Instant;
  /** The digest that was named, and the one that was approved: they differ where the answer edits. `null`: no digest is named. */
  readonly named: Digest | null;
  readonly approved: Digest | null;
  /** Of the edits that it makes: the same message, should it come again, is known by them. */
  readonly edits: Digest | null;
  /** Which of the chain's groups the person is in. */
  readonly groups: readonly number[];
}

/** What a person says. */
export interface PersonsAnswer {
  readonly decision: "approve" | "reject" | "request_info";
  readonly note: string | null;
  readonly digest: Digest;
  readonly edits: Edits | null;
}

/** Who answers. `owners`: whom the tenant has on file as the agent's, which may be nobody; `null`: what is on file cannot be read as names. */
export interface Approver {
  readonly principal: Principal;
  readonly scopes: readonly string[];
  readonly owners: readonly string[] | null;
}

/** Said when a link is made, and again when it is used: what the settings allowed then they may not allow now. */
export const NO_LINKS = refusal("scope_insufficient", "The tenant's settings do not let approvals be answered by links.");

export type Answering = Result<{ readonly approval: Approval; readonly replayed: boolean }, Refusal>;

/** Whether it may still be answered or used. */
export const isOpen = ({ status }: Approval): boolean => status === "pending" || status === "info_requested" || status === "approved";

/**
 * What of a request an approval is bound to: all that people are shown of it and that can change what runs or what rules say of it, and where it is said to
 * come from. Three things are left out. The rationale argues for the action and is no part of it: an agent that asks again after hours words it anew, what
 * people read stays on record with their answer, and a rule that forbids by it is asked again. The decisions that it follows have new ids whenever what is
 * around it runs again, as it does to use the approval, and no rule looks at them. How long the reservation stands is shown to nobody and
 * changes nothing that an `extend` could not.
 */
export const askedOf = (sha256: Sha256, request: Pick<ActionRequest, "resource" | "inputs" | keyof Facts>, estimateMicroUsd: MicroUsd): Asked => ({
  resource: resourceDigest(sha256, request.resource),
  inputs: request.inputs === undefined ? null : digestOf(sha256, canonicalJson(request.inputs)),
  estimateMicroUsd,
  facts: factsDigest(sha256, request),
});

type Facts = Pick<ActionRequest, "tags" | "riskLevel" | "confidence" | "model" | "sources">;

function factsDigest(sha256: Sha256, { tags, riskLevel, confidence, model, sources }: Facts): Digest {
  const facts = {
    confidence,
    model: model === null ? null : { name: model.name, provider: model.provider ?? null, version: model.version ?? null },
    risk_level: riskLevel,
    sources: sources.map(({ source, version }) => ({ source, version: version ?? null })),
    tags,
  };
  return digestOf(sha256, canonicalJson(facts));
}

/** Whether a request is the very one that may be made with an approval: it must be all that the approval is bound to. */
export function isBoundTo(
  sha256: Sha256,
  book: Pick<Book, "tenant" | "agent" | "session">,
  { digest, asked: { facts } }: Pick<Approval, "digest" | "asked">,
  run: RunId,
  action: string,
  asked: Asked,
): boolean {
  return digest === actionDigest(sha256, book, run, action, facts === undefined ? { ...asked, facts } : asked);
}

const resourceDigest = (sha256: Sha256, resource: ActionRequest["resource"]): Digest | null =>
  resource === null ? null : digestOf(sha256, canonicalJson({ id: resource.id, type: resource.type }));

/** The SHA-256 of the RFC 8785 form of everything that an approval is of. */
export function actionDigest(sha256: Sha256, book: Pick<Book, "tenant" | "agent" | "session">, run: RunId, action: string, asked: Asked): Digest {
  const bound = {
    action,
    agent: book.agent,
    estimate_usd: formatUsd(asked.estimateMicroUsd),
    ...(asked.facts !== undefined && { facts_digest: asked.facts }),
    inputs_digest: asked.inputs,
    resource_digest: asked.resource,
    run,
    session: book.session,
    tenant: book.tenant,
  };
  return digestOf(sha256, canonicalJson(bound));
}

/** How many different people have approved what may now be used, and which groups are among them. */
export function quorumOf({ answers, digest, chain }: Pick<Approval, "answers" | "digest" | "chain">): {
  readonly approved: number;
  readonly satisfied: readonly boolean[];
} {
  // Only who approves names what is approved.
  const approving = answers.filter(({ approved }) => approved === digest);
  return {
    approved: new Set(approving.map(({ subject }) => subject)).size,
    satisfied: chain.groups.map((_, place) => approving.some(({ groups }) => groups.includes(place))),
  };
}

/** Asks people: from here on the approval waits. */
export function openApproval(turn: Turn, approval: Approval, card: JsonValue, principal: Principal): void {
  happen(turn, { kind: "approval", approval, card });
  note(turn, approval, "requested", principal, {
    needed: approval.chain.needed,
    groups: approval.chain.groups.map(({ subjects, scopes }) => ({ scopes, subjects })),
    four_eyes: approval.chain.fourEyes,
    expires_at: formatInstant(approval.expiresAt),
  });
}

/**
 * Takes a person's answer. One no ends it; a yes counts for exactly the request that was shown. The same answer again changes nothing; another
 * answer by the same person, or any answer to what is closed, is refused (`approval_closed`) and goes on record. Refuses whoever asked
 * (`self_approval`), whoever is not among the approvers (`scope_insufficient`), and a digest that is not the one to be approved (`body_invalid`).
 */
export function answer(turn: Turn, approval: Approval, by: Approver, said: PersonsAnswer): Answering {
  const { principal } = by;
  const groups = groupsOf(approval.chain, by);
  const refused = strangerOf(turn.book, approval, by) ?? (groups === null ? NOT_AMONG : null);
  if (refused !== null) return turnedDown(turn, approval, principal, said.decision, refused);
  const before = approval.answers.findLast(({ subject, decision }) => subject === principal.subject && decision !== "respond");
  if (before !== undefined && isSame(turn, approval, before, said)) return ok({ approval, replayed: true });
  if (before !== undefined && before.decision !== "request_info" && isCounted(approval, before)) {
    return turnedDown(turn, approval, principal, said.decision, refusal("approval_closed", "You have answered this before, and differently."));
  }
  if (approval.status !== "pending" && approval.status !== "info_requested") {
    return turnedDown(turn, approval, principal, said.decision, refusal("approval_closed", `The approval is ${approval.status}.`));
  }
  if (said.digest !== approval.digest) {
    const message = "is not the digest of the request as it stands; look at it again";
    const detail = refusal("body_invalid", "What you name is not what is asked for.", [{ pointer: "/action_digest", message }]);
    return turnedDown(turn, approval, principal, said.decision, detail);
  }
  const asked = said.edits === null ? approval.asked : edited(turn.sha256, approval.asked, said.edits);
  const digest = said.edits === null ? approval.digest : digestAfter(turn, approval, asked);
  const given: Answer = {
    subject: principal.subject,
    decision: said.decision,
    note: said.note === null ? null : shownText(said.note, approval.redaction),
    at: turn.now,
    named: said.digest,
    approved: said.decision === "approve" ? digest : null,
    groups: groups ?? [],
    edits: editsDigest(turn.sha256, said.edits),
  };
  const answers = [...approval.answers, given];
  switch (said.decision) {
    case "request_info": {
      if (isFull(approval)) return turnedDown(turn, approval, principal, said.decision, FULL);
      const asking: Approval = { ...approval, status: "info_requested", answers };
      return told(turn, asking, "info_requested", principal, { note: given.note }, null);
    }
    case "reject": {
      const rejected = closed(approval, { status: "rejected", answers, answeredAt: turn.now });
      return told(turn, rejected, "rejected", principal, { note: given.note, waited_ms: turn.now - approval.openedAt }, null);
    }
    case "approve": {
      if (said.edits !== null && isFull(approval)) return turnedDown(turn, approval, principal, said.decision, FULL);
      const edits = said.edits === null ? approval.edits : { ...approval.edits, ...said.edits };
      // A question stands until it is answered, or enough have approved.
      const counted: Approval = { ...approval, answers, edits, asked, digest };
      const { approved, satisfied } = quorumOf(counted);
      const isDone = approved >= approval.chain.needed && satisfied.every(Boolean);
      const approving: Approval = isDone
        ? { ...counted, status: "approved", answeredAt: turn.now, expiresAt: Math.min(turn.book.expiresAt, turn.now + approval.termMs) }
        : counted;
      const says = {
        note: given.note,
        approved,
        needed: approval.chain.needed,
        edited: said.edits !== null,
        waited_ms: turn.now - approval.openedAt,
      };
      const shown = said.edits?.inputs === undefined ? null : recordedInputs(said.edits.inputs, approval.redaction);
      return told(turn, approving, isDone ? "approved" : "answered", principal, says, shown);
    }
  }
}

/** Takes the word of whoever asked, or of the agent, to people who asked for more. */
export function respond(turn: Turn, approval: Approval, principal: Principal, response: string): Answering {
  const text = shownText(response, approval.redaction);
  const last = approval.answers.at(-1);
  if (last?.decision === "respond" && last.note === text && last.subject === principal.subject) return ok({ approval, replayed: true });
  if (!isAsker(turn.book, approval, principal)) {
    return turnedDown(turn, approval, principal, "respond", refusal("scope_insufficient", "Whoever asked answers, or the agent."));
  }
  if (approval.status !== "info_requested") {
    const why = approval.status === "pending" ? "Nobody has asked for more." : `The approval is ${approval.status}.`;
    return turnedDown(turn, approval, principal, "respond", refusal("approval_closed", why));
  }
  if (isFull(approval)) return turnedDown(turn, approval, principal, "respond", FULL);
  const answers: readonly Answer[] = [...approval.answers, bare(turn, principal, "respond", text)];
  return told(turn, { ...approval, status: "pending", answers }, "responded", principal, { note: text }, null);
}

/** Takes the request back: by its agent, by whoever asked, or by a person who may approve; also one that was approved and not used. */
export function cancel(turn: Turn, approval: Approval, principal: Principal, mayApprove: boolean, why: string | null): Answering {
  if (!isAsker(turn.book, approval, principal) && !(principal.kind === "human" && mayApprove)) {
    return turnedDown(
      turn,
      approval,
      principal,
      "cancel",
      refusal("scope_insufficient", "Whoever asked takes it back, or a person who may approve."),
    );
  }
  if (approval.status === "cancelled") return ok({ approval, replayed: true });
  if (!isOpen(approval)) return turnedDown(turn, approval, principal, "cancel", refusal("approval_closed", `The approval is ${approval.status}.`));
  const text = why === null ? null : shownText(why, approval.redaction);
  const answers: readonly Answer[] = [...approval.answers, bare(turn, principal, "cancel", text)];
  return told(turn, closed(approval, { status: "cancelled", answers }), "cancelled", principal, { note: text }, null);
}

/** Records that a person was shown what is to be decided: once for each. */
export function noteSeen(turn: Turn, approval: Approval, principal: Principal): Approval {
  const { seen } = approval;
  if (principal.kind !== "human" || !isOpen(approval) || seen.length >= MOST_SEEN || seen.some(({ subject }) => subject === principal.subject))
    return approval;
  const shown: Approval = { ...approval, seen: [...seen, { subject: principal.subject, at: turn.now }] };
  happen(turn, { kind: "approval", approval: shown, card: null });
  note(turn, shown, "shown", principal, {});
  return shown;
}

/** Uses an approval up, in the turn that allows what it approved. */
export function consume(turn: Turn, approval: Approval, by: DecisionId, principal: Principal): void {
  const used = closed(approval, { status: "consumed", usedBy: by });
  happen(turn, { kind: "approval", approval: used, card: null });
  // Who approved something that was edited since has not approved this.
  const approving = approval.answers.filter(({ decision, approved }) => decision === "approve" && approved === approval.digest);
  const approvers = new Set(approving.map(({ subject }) => subject));
  note(turn, used, "consumed", principal, { used_by: by, approved_by: [...approvers] });
}

/** Ends what nobody answered, or nobody used, in time. */
export function expireApproval(turn: Turn, approval: Approval): void {
  const expired = closed(approval, { status: "expired" });
  happen(turn, { kind: "approval", approval: expired, card: null });
  note(turn, expired, "expired", null, { was: approval.status });
}

/** Ends all that waits in a run that is over, or (`null`) in a session that is: a yes would let nothing of it run. */
export function cancelAll(turn: Turn, run: RunId | null): void {
  const waiting = [...turn.book.approvals.values()].filter((one) => isOpen(one) && (run === null || one.run === run));
  for (const approval of waiting) {
    const cancelled = closed(approval, { status: "cancelled" });
    happen(turn, { kind: "approval", approval: cancelled, card: null });
    note(turn, cancelled, "cancelled", null, { note: `The ${run === null ? "session" : "run"} was closed.` });
  }
}

/** What may be asked for once edits are made. */
const edited = (sha256: Sha256, asked: Asked, edits: Edits): Asked => ({
  resource: edits.resource === undefined ? asked.resource : resourceDigest(sha256, edits.resource),
  inputs: edits.inputs === undefined ? asked.inputs : digestOf(sha256, canonicalJson(edits.inputs)),
  estimateMicroUsd: edits.estimateMicroUsd ?? asked.estimateMicroUsd,
  facts: asked.facts,
});

/** An approval that is over: what people wrote into it was for the agent, and is kept as the record is. */
function closed(approval: Approval, how: Partial<Approval> & Pick<Approval, "status">): Approval {
  const { edits, redaction } = approval;
  if (edits === null) return { ...approval, ...how };
  const { inputs, resource, estimateMicroUsd } = edits;
  const kept: Edits = {
    ...(inputs !== undefined && { inputs: recordedInputs(inputs, redaction) }),
    ...(resource != null && { resource: { type: shownText(resource.type, redaction), id: shownText(resource.id, redaction) } }),
    ...(estimateMicroUsd !== undefined && { estimateMicroUsd }),
  };
  return { ...approval, ...how, edits: kept };
}

/** Whether so much was said to and fro that only a yes or a no is left to say: it must fit one row of every store. */
const isFull = ({ answers }: Approval): boolean =>
  answers.length >= MOST_ANSWERS || answers.reduce((sum, { note }) => sum + (note?.length ?? 0), 0) >= MOST_NOTES_CHARACTERS;

const MOST_ANSWERS = 50;
const MOST_NOTES_CHARACTERS = 50_000;
const FULL = refusal("approval_closed", "Too much was said about this already: approve it as it is, reject it, or cancel it.");

/** Who asked, or for whom it was asked. */
const isAsker = (book: Book, { requester }: Approval, { kind, subject }: Principal): boolean =>
  (kind === "agent" && subject === book.agent) || (kind === requester.kind && subject === requester.subject);

const editsDigest = (sha256: Sha256, edits: Edits | null): Digest | null => (edits === null ? null : digestOf(sha256, canonicalJson(edits)));

/** A person's name may appear so often; nobody's desk is that crowded. */
const MOST_SEEN = 100;

const NOT_AMONG = refusal("scope_insufficient", "The policy names who may approve this, and you are not among them.");

function digestAfter(turn: Turn, { run, action }: Approval, asked: Asked): Digest {
  return actionDigest(turn.sha256, turn.book, run, action, asked);
}

/** Why somebody must not answer, whatever the policy's groups say; `null`: nothing speaks against it. */
function strangerOf(book: Book, { requester, chain }: Approval, { principal, owners }: Approver): Refusal | null {
  if (principal.kind !== "human") return refusal("scope_insufficient", "Only a person answers an approval.");
  if (principal.subject === book.agent || principal.subject === requester.subject)
    return refusal("self_approval", "Whoever asks for an action does not approve it.");
  if (chain.fourEyes && owners === null) return refusal("self_approval", "Who owns the agent cannot be read, and the policy wants somebody else.");
  if (chain.fourEyes && owners?.includes(principal.subject))
    return refusal("self_approval", "The policy wants somebody other than the agent's owner.");
  return null;
}

/** Which groups a person is in; `null`: there are some, and it is in none. */
function groupsOf({ groups }: Chain, { principal, scopes }: Approver): readonly number[] | null {
  const among = groups.flatMap((group, place) =>
    group.subjects.includes(principal.subject) || group.scopes.some((scope) => scopes.includes(scope)) ? [place] : [],
  );
  return groups.length > 0 && among.length === 0 ? null : among;
}

/** Whether an earlier answer of a person still stands: what was approved and edited since by somebody else may be answered anew. */
const isCounted = ({ digest, status }: Approval, { decision, approved }: Answer): boolean =>
  decision !== "approve" || approved === digest || status === "approved" || status === "consumed";

/** Whether an answer is the one that was given before: what is sent twice is taken once. */
function isSame(turn: Turn, approval: Approval, before: Answer, said: PersonsAnswer): boolean {
  const text = said.note === null ? null : shownText(said.note, approval.redaction);
  if (before.decision !== said.decision || before.named !== said.digest || before.note !== text) return false;
  if (said.decision !== "approve") return approval.answers.at(-1) === before;
  return before.edits === editsDigest(turn.sha256, said.edits);
}

const bare = (turn: Turn, { subject }: Principal, decision: Answer["decision"], text: string | null): Answer => ({
  subject,
  decision,
  note: text,
  at: turn.now,
  named: null,
  approved: null,
  edits: null,
  groups: [],
});

function told(turn: Turn, approval: Approval, event: string, principal: Principal, says: Says, inputs: JsonValue | null): Answering {
  happen(turn, { kind: "approval", approval, card: null });
  note(turn, approval, event, principal, says, inputs);
  return ok({ approval, replayed: false });
}

/** An answer that does not count is on record too: who tried what, and why it was refused. */
function turnedDown(turn: Turn, approval: Approval, principal: Principal, decision: string, refused: Refusal): Answering {
  note(turn, approval, "refused", principal, { decision, why: refused.code });
  return err(refused);
}

type Says = { readonly [member: string]: JsonValue };

function note(turn: Turn, approval: Approval, event: string, principal: Principal | null, says: Says, inputs: JsonValue | null = null): void {
  const members = Object.entries({ ...says, event, approval: approval.id, status: approval.status, action_digest: approval.digest });
  // Any order would do; in this one the entry is printed without being sorted.
  const details = Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)));
  record(
    turn,
    "approval",
    {
      run_id: approval.run,
      action: approval.action,
      decision_id: approval.decision,
      policy: approval.policy,
      approval: { expires_at: formatInstant(approval.expiresAt), id: approval.id },
      principal: principal === null ? null : signature(principal),
      details,
    },
    inputs === null ? null : { inputs },
  );
}
