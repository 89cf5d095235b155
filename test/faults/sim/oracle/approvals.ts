import { createHash } from "node:crypto";
import type { Entry } from "../../../../src/core/entry.ts";
import { parseInstant } from "../../../../src/core/time.ts";
import type { ApprovalRead } from "../../../../src/flow/ports.ts";
import { OWNER } from "../actors/policies.ts";
import type { ObjectHost } from "../platform/objects.ts";
import { fits, type Limits, usd } from "./limits.ts";
import { demand, Violation } from "./violation.ts";

/** The session whose entries tell of them. */
interface Whose {
  readonly host: ObjectHost;
  readonly id: string;
  readonly agent: string;
  readonly expiresAt: number;
  readonly tenant: { readonly id: string };
}

interface Said {
  readonly subject: string;
  readonly decision: string;
  /** What was asked for when it was said, and what the answer made of it. */
  readonly before: string;
  readonly after: string;
}

/** What a hold asks people for. */
interface Held {
  readonly decision: string;
  readonly approval: string;
  readonly digest: string;
  readonly policy: string;
  readonly requester: string;
  readonly limits: Limits;
}

/** One approval as the session's entries tell of it. */
interface Asked extends Omit<Held, "digest"> {
  digest: string;
  status: string;
  /** Every status that it ever had. */
  readonly statuses: Set<string>;
  expiresAt: number;
  readonly said: Said[];
  usedBy: string | null;
}

const OPEN: ReadonlySet<string> = new Set(["pending", "info_requested", "approved"]);
const WAITING: ReadonlySet<string> = new Set(["pending", "info_requested"]);

/**
 * What people were asked in one session and what they said, reckoned again from its entries: what an approval is bound to, whose word counts and until when
 * is the observer's own code.
 */
export class Approvals {
  readonly asked = new Map<string, Asked>();
  readonly #whose: Whose;
  readonly #touched = new Set<string>();
  /** A hold of which people are asked, and an approval that is used up, in the very next entry. */
  #held: Held | null = null;
  #using: { readonly asked: Asked; readonly decision: string } | null = null;

  constructor(whose: Whose) {
    this.#whose = whose;
  }

  /** Takes a decision that holds or allows. `inputs`: what lies beside its entry; `undefined`: none were sent. */
  decided(entry: Entry, inputs: unknown, limits: Limits, at: number): void {
    const { decision_id, verdict, action, approval, policy, principal, seq } = entry;
    if (decision_id === null || action === null || policy === null) throw new Violation("a decision says what it decides", entry);
    const estimate = usd(entry.estimate_usd);
    const needs = needsPerson(limits, action, estimate);
    const digest = this.#digestOf(entry, inputs);
    const requester = principal?.subject ?? "";
    const known = this.asked.get(approval?.id ?? "");
    const details = (): object => ({ session: this.#whose.id, seq, action, estimate, digest, policy: policy.digest, approval, known, at });
    if (verdict === "hold") {
      demand(needs && approval !== null, "only what a policy holds is held, and it names its approval", details);
      if (known === undefined) this.#held = { decision: decision_id, approval: approval.id, digest, policy: policy.digest, requester, limits };
      else {
        const isSame = known.digest === digest && known.policy === policy.digest;
        demand(WAITING.has(known.status) && isSame, "a hold goes on waiting for an approval of the same thing alone", details);
      }
      return;
    }
    if (approval === null) {
      demand(!needs, "nothing that a policy holds is allowed without an approval", details);
      return;
    }
    demand(needs && known !== undefined, "an approval is used where one is needed, in the session that it was given in", details);
    demand(known.usedBy === null, "an approval is used at most once", details);
    demand(known.status === "approved", "only what people have approved is allowed", details);
    demand(known.digest === digest, "an approval of one thing allows nothing else", details);
    demand(known.policy === policy.digest, "an approval under one policy allows nothing under another", details);
    demand(at < known.expiresAt, "an approval that has run out allows nothing", details);
    demand(this.#hasQuorum(known), "an approval is of as many people as the policy wants", details);
    demand(!this.#approversOf(known).has(requester), "whoever approved it does not ask for it", details);
    this.#using = { asked: known, decision: decision_id };
  }

  /** What runs cannot wait for a person: where a policy would ask one, more money for it is a no. */
  toppedUp({ seq }: Entry, limits: Limits, action: string, sum: number): void {
    const details = (): object => ({ session: this.#whose.id, seq, action, sum });
    demand(!needsPerson(limits, action, sum), "nothing that a policy holds is allowed without an approval", details);
  }

  /** Takes an entry about an approval. */
  take(entry: Entry, at: number): void {
    // The gateway's own words of what happened.
    const said = (entry.details ?? {}) as { readonly [member: string]: unknown };
    const event = String(said.event);
    const id = entry.approval?.id ?? "";
    if (event === "requested") {
      this.#request(entry, id, said, at);
      return;
    }
    const asked = this.asked.get(id);
    const { principal, seq } = entry;
    const details = (): object => ({ session: this.#whose.id, seq, event, said, principal, at, asked: asked ?? null });
    demand(asked !== undefined && entry.decision_id === asked.decision && said.approval === id, "what happens to an approval names it", details);
    if (event === "refused") {
      demand(said.status === asked.status && said.action_digest === asked.digest, "an answer that is refused changes nothing", details);
      return;
    }
    this.#touched.add(id);
    demand(OPEN.has(asked.status), "nothing happens to an approval that is over", details);
    const becomes = BECOMES[event];
    if (becomes === undefined) throw new Violation("an approval's event is known", details());
    demand(said.status === (becomes ?? asked.status), "an approval's status follows from what happened", details);
    if (event === "expired") demand(at >= asked.expiresAt, "nothing runs out before its time", details);
    else demand(at < asked.expiresAt, "nothing happens to what has run out", details);
    const decision = DECISION[event];
    const subject = principal?.subject ?? "";
    if (decision === "approve" || decision === "reject" || decision === "request_info") {
      const isStranger = subject === asked.requester || subject === this.#whose.agent;
      demand(principal?.kind === "human" && !isStranger, "nobody but a person who did not ask answers", details);
      const { groups, fourEyes } = asked.limits;
      demand(!(fourEyes && subject === OWNER), "with four eyes the agent's owner does not answer", details);
      demand(groups.length === 0 || groups.some((subjects) => subjects.includes(subject)), "only whom the policy names answers", details);
      demand(WAITING.has(asked.status), "only what waits is answered", details);
    }
    if (decision === "respond") demand(asked.status === "info_requested", "only a question is responded to", details);
    const after = String(said.action_digest);
    demand(after === asked.digest || (decision === "approve" && said.edited === true), "only a person's edit changes what is asked for", details);
    // What ended with its session nobody said.
    if (decision !== undefined && principal !== null) asked.said.push({ subject, decision, before: asked.digest, after });
    asked.digest = after;
    if (decision === "approve") {
      demand(this.#hasQuorum(asked) === (event === "approved"), "what enough people have approved is approved, and nothing else", details);
      if (event === "approved") asked.expiresAt = Math.min(this.#whose.expiresAt, at + asked.limits.holdMs);
    }
    demand(parseInstant(entry.approval?.expires_at ?? "") === asked.expiresAt, "an approval runs out when its policy says", details);
    if (event === "consumed") {
      const using = this.#using;
      demand(using?.asked === asked && said.used_by === using.decision, "an approval is used up by what it allows, at once", details);
      asked.usedBy = using.decision;
      this.#using = null;
    }
    asked.status = String(said.status);
    asked.statuses.add(asked.status);
  }

  /** Between any two steps nothing is half done: of what is held people are asked, and what was used is used up. */
  demandWhole(): void {
    demand(this.#held === null, "a hold and what people are asked are on record together", () => ({ session: this.#whose.id, held: this.#held }));
    demand(this.#using === null, "an approval is used up by what it allows, at once", () => ({ session: this.#whose.id, using: this.#using }));
  }

  /** The session's own table says of every approval what its entries say. */
  demandRows(): void {
    for (const id of this.#touched) {
      const asked = this.asked.get(id);
      const [row] = this.#whose.host.storage.look<{ status: string; approval: string }>("SELECT status, approval FROM approvals WHERE id = ?", id);
      // Its own text, as its store writes it.
      const stored = JSON.parse(row?.approval ?? "{}") as { readonly digest?: string; readonly expiresAt?: number; readonly usedBy?: string | null };
      const isTrue =
        row?.status === asked?.status && stored.digest === asked?.digest && stored.expiresAt === asked?.expiresAt && stored.usedBy === asked?.usedBy;
      demand(isTrue, "an approval stands as its entries say", () => ({ session: this.#whose.id, id, row: row ?? null, asked }));
    }
    this.#touched.clear();
  }

  /** Somebody was shown an approval, or told what became of their answer, which is `said`: all of it is on record. */
  heard({ approval }: ApprovalRead, said: { readonly subject: string; readonly decision: string; readonly digest: string | null } | null): void {
    const asked = this.asked.get(approval.id);
    const details = (): object => ({ session: this.#whose.id, heard: approval, said, asked: asked ?? null });
    const isThere = approval.answers.every(({ subject, decision }, place) => {
      const recorded = asked?.said[place];
      return recorded?.subject === subject && recorded.decision === decision;
    });
    demand(asked?.statuses.has(approval.status) === true && isThere, "what is shown of an approval is on record", details);
    if (said === null) return;
    const isRecorded = asked.said.some(
      ({ subject, decision, before }) => subject === said.subject && decision === said.decision && (said.digest === null || said.digest === before),
    );
    demand(isRecorded, "what somebody was told is answered is on record, for what they were shown", details);
  }

  #request(entry: Entry, id: string, said: { readonly [member: string]: unknown }, at: number): void {
    const held = this.#held;
    const details = (): object => ({ session: this.#whose.id, seq: entry.seq, id, said, held, at });
    demand(held?.approval === id && entry.decision_id === held.decision, "people are asked by a hold, once", details);
    demand(said.action_digest === held.digest && entry.policy?.digest === held.policy, "people are asked for exactly what is held", details);
    const { quorum, fourEyes } = held.limits;
    demand(said.needed === quorum && said.four_eyes === fourEyes && said.status === "pending", "people are asked as the policy says", details);
    const expiresAt = Math.min(this.#whose.expiresAt, at + held.limits.holdMs);
    demand(parseInstant(entry.approval?.expires_at ?? "") === expiresAt, "an approval runs out when its policy says", details);
    this.#held = null;
    this.#touched.add(id);
    this.asked.set(id, { ...held, status: "pending", statuses: new Set(["pending"]), expiresAt, said: [], usedBy: null });
  }

  /** Who approved what may now be used. */
  #approversOf({ said, digest, requester }: Asked): ReadonlySet<string> {
    const people = new Set(said.filter(({ decision, after }) => decision === "approve" && after === digest).map(({ subject }) => subject));
    people.delete(requester);
    people.delete(this.#whose.agent);
    return people;
  }

  #hasQuorum(asked: Asked): boolean {
    const people = this.#approversOf(asked);
    const { quorum, groups } = asked.limits;
    return people.size >= quorum && groups.every((subjects) => subjects.some((subject) => people.has(subject)));
  }

  /** What an approval is bound to: its members are in the order of their canonical form. */
  #digestOf({ action, estimate_usd, run_id, resource, confidence, model, risk_level, sources, tags }: Entry, inputs: unknown): string {
    const by = model === null ? null : { name: model.name, provider: model.provider ?? null, version: model.version ?? null };
    const from = sources.map(({ source, version }) => ({ source, version: version ?? null }));
    return digestOf({
      action,
      agent: this.#whose.agent,
      estimate_usd,
      facts_digest: digestOf({ confidence, model: by, risk_level, sources: from, tags }),
      inputs_digest: inputs === undefined ? null : digestOf(inputs),
      resource_digest: resource === null ? null : digestOf({ id: resource.id, type: resource.type }),
      run: run_id,
      session: this.#whose.id,
      tenant: this.#whose.tenant.id,
    });
  }
}

/** Whether a policy wants a person to answer first. */
function needsPerson({ holds, holdsAbove }: Limits, action: string, estimate: number): boolean {
  return holds.some((pattern) => fits(pattern, action)) || (holdsAbove !== null && estimate > holdsAbove);
}

/** What an event makes of an approval; `null`: it stays what it is. */
const BECOMES: { readonly [event: string]: string | null } = {
  shown: null,
  answered: null,
  approved: "approved",
  rejected: "rejected",
  info_requested: "info_requested",
  responded: "pending",
  cancelled: "cancelled",
  expired: "expired",
  consumed: "consumed",
};

/** What somebody said, by the event that it became. */
const DECISION: { readonly [event: string]: string } = {
  answered: "approve",
  approved: "approve",
  rejected: "reject",
  info_requested: "request_info",
  responded: "respond",
  cancelled: "cancel",
};

/** Of what is in order already: what is written here, and what the gateway itself has printed. */
const digestOf = (value: unknown): string => `sha-256:${createHash("sha256").update(JSON.stringify(value)).digest("hex")}`;
