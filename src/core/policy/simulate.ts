import { MOST_SPENT, spentOf } from "../book.ts";
import type { Reason, Verdict } from "../decision.ts";
import type { Digest, Sha256 } from "../digest.ts";
import type { DecisionId, EntryId } from "../ids.ts";
import { type MicroUsd, microUsdOf, ZERO_USD } from "../money.ts";
import { REASONS, type ReasonCode } from "../reasons.ts";
import type { Keeping } from "../redact.ts";
import type { ActionRequest, CommitReport, Principal } from "../request.ts";
import type { Instant } from "../time.ts";
import type { ActionFindings, CompiledPolicy, CompiledRule } from "./compile.ts";
import type { Findings, Path, PolicyRef } from "./findings.ts";
import { type Judged, Play, type Stage } from "./play.ts";
import { isMarked, isRedacted, principalOf, type Recorded, type RecordedOpening, requestOf, usdOf } from "./recorded.ts";
import { approvalOf, RecordedApprovals } from "./recorded_approvals.ts";

/** The policy under which history is decided again. */
export interface Candidate {
  readonly policy: CompiledPolicy;
  readonly ref: PolicyRef;
}

/** What a simulation needs to know beside the record. */
export interface Surroundings {
  readonly sha256: Sha256;
  readonly attributesOf: NonNullable<Stage["attributesOf"]>;
  /** What the policy of this digest keeps of inputs and outputs; `null` when that is not known any more. */
  keepingOf(digest: Digest): { readonly inputs: Keeping; readonly outputs: Keeping } | null;
}

/** How a verdict differs from the recorded one. Each that differs is of exactly one kind. */
export const CHANGES = ["newly_denied", "newly_allowed", "newly_held", "no_longer_held"] as const;
export type ChangeKind = (typeof CHANGES)[number];

/** What a decision and a rule were measured to cost whatever the condition, in steps of some ten nanoseconds. */
const STEPS_PER_DECISION = 3_000;
const STEPS_PER_RULE = 50;

/** So many entries stand behind a figure by name; the figure counts all of them. */
const MOST_NAMED = 100;

/** What is taken for granted where the record cannot say. The answer carries these sentences: a figure is worth what they are worth. */
export const ASSUMPTIONS: readonly string[] = [
  "The agent asks the same things in the same order at the same instants, whatever it is answered, and does not stop when it is told to.",
  "The candidate is in force from the beginning of the window on. What a session did before that stands as it was recorded: it gives balances, windows and prerequisites, and no figures.",
  "What the record shows as denied or held and the candidate allows is taken to have run at once and with success, to have cost its estimate, and to have returned nothing.",
  "What the candidate denies or holds is taken not to have run: nothing of it is reserved, posted or looked back at. Nobody knows what a person would have answered to a new hold.",
  "Prevented is what newly denied actions cost on record, or their estimate where nothing had settled them by the end of the window; what was released cost nothing.",
  "A larger sum that is newly denied leaves its action running, and what that action reported is posted as it was: it counts as newly denied and as nothing prevented.",
  "Each decision stands for itself: the record does not say which of them were asked together, all or nothing.",
  "Stored attributes are taken as they stand now, and conditions on the time see the instant of the record.",
  "What a lease holds is not counted: what was done with it counts from when it was told of, as if it had been asked then. So what the record shows as denied because a lease held the money may count as newly allowed, and what was told of above its lease, or after its session, as newly denied.",
  "Money and rates that the sessions of an agent or a tenant share are counted for each session by itself, as if it were alone; what the record shows as denied because together they had used them up stays denied. Kills and pauses stay as they were recorded.",
  "What people answered stays as it was recorded. An approval that was used is as good for whatever the candidate holds of its request, as long as as many people had approved as the candidate asks for; with fewer, its use counts as newly held. Where the candidate asks for other groups of people, or newly for somebody who is not the agent's owner, the record does not say whether they were among them, and the use is uncertain.",
  "What was held and then done with its approval is one action. Where the candidate lets it run when it is first asked, it costs its estimate then, and asking again with the approval takes nothing more. Where the candidate denies what was first asked, nobody is taken to have been asked.",
  "Which approval a denied request named is not on record: what the candidate no longer denies and would hold counts as newly held, though a person may have approved it.",
];

export interface Sum {
  count: number;
  moneyMicroUsd: MicroUsd;
  /** The first of them, oldest first within a session. */
  readonly entries: EntryId[];
}

export interface RuleSums {
  readonly rule: string | null;
  readonly reason: ReasonCode;
  readonly changed: { readonly [K in ChangeKind]: Sum };
  preventedMicroUsd: MicroUsd;
}

/**
 * What simulations of sessions came to, added up. Every decision in the window is counted in `decisions` and in exactly one of `same`, the four
 * kinds of change, `notComparable` and `uncertain`. `byRule` names the rule that makes the difference: the candidate's that now denies or holds,
 * the recorded one that no longer does.
 */
export class Tally {
  decisions = 0;
  same = 0;
  /** Of `same`: denied or held as before, but by another rule. */
  sameForAnotherReason = 0;
  /** Decided after the first change in their session, and so on a state that rests on the assumptions. */
  afterFirstChange = 0;
  preventedMicroUsd: MicroUsd = ZERO_USD;
  readonly changed = emptyChanges();
  readonly uncertain: Sum = emptySum();
  /** By the recorded reason, which no policy decides; or `never_begun`: a larger sum for an action that does not run under the candidate then. */
  readonly notComparable = new Map<ReasonCode | "never_begun", Sum>();
  readonly #byRule = new Map<string, RuleSums>();

  /** The rules with the most changes first. */
  get byRule(): readonly RuleSums[] {
    const changes = ({ changed }: RuleSums) => CHANGES.reduce((sum, kind) => sum + changed[kind].count, 0);
    return [...this.#byRule.values()].sort((a, b) => changes(b) - changes(a));
  }

  addChange({ kind, entry, rule, reason }: Change, moneyMicroUsd: MicroUsd, preventedMicroUsd: MicroUsd): void {
    const key = JSON.stringify([reason, rule]);
    const ofRule = this.#byRule.get(key) ?? { rule, reason, changed: emptyChanges(), preventedMicroUsd: ZERO_USD };
    this.#byRule.set(key, ofRule);
    count(this.changed[kind], entry, moneyMicroUsd);
    count(ofRule.changed[kind], entry, moneyMicroUsd);
    this.preventedMicroUsd = plus(this.preventedMicroUsd, preventedMicroUsd);
    ofRule.preventedMicroUsd = plus(ofRule.preventedMicroUsd, preventedMicroUsd);
  }

  addNotComparable(why: ReasonCode | "never_begun", { id, estimateMicroUsd }: Recorded): void {
    const sum = this.notComparable.get(why) ?? emptySum();
    this.notComparable.set(why, sum);
    count(sum, id, estimateMicroUsd);
  }
}

interface Change {
  readonly kind: ChangeKind;
  readonly entry: EntryId;
  readonly rule: string | null;
  readonly reason: ReasonCode;
}

/** A change whose money is not known before the rest of the session was seen. */
interface OpenChange extends Change {
  readonly estimateMicroUsd: MicroUsd;
  /** Whether the action ran on record. */
  readonly ran: boolean;
  /** Posted less taken back, on record; `null` while nothing settled it. */
  spent: number | null;
}

/**
 * One session's history decided again under a candidate, statefully: what the candidate does not allow takes nothing from any account, counts in no
 * window and is no one's prerequisite, so that it changes what is decided after it. Entries are seen from the session's first one on, in order.
 *
 * Under the policy that was in force all along nothing differs, but for what leases held (see `ASSUMPTIONS`). What people answered stays as it was
 * recorded; what it is worth under another policy, `RecordedApprovals` says. Denials that no policy decides (kills, pauses, a closed session, a stale
 * lease, what became of an approval) are kept as they were and never newly allowed. Where the record does not have what a rule looked at (redacted, kept
 * as a digest, erased), or does not say whether those whom the candidate asks are among those who approved, a verdict that differs by it is `uncertain`,
 * and the recorded one stands for what follows.
 */
export class SessionSimulation {
  readonly #policy: CompiledPolicy;
  readonly #play: Play;
  readonly #from: Instant | null;
  readonly #tally: Tally;
  readonly #around: Surroundings;
  readonly #changes: OpenChange[] = [];
  readonly #open = new Map<DecisionId, OpenChange>();
  readonly #approvals = new RecordedApprovals();
  #asking: Principal;
  /** Requests of one instant, which may have been asked together. */
  #together: Recorded[] = [];
  #hasChanged = false;
  /** Whether rules that look back may see less, or other, than they did then. */
  #pastHidden = false;

  constructor(candidate: Candidate, opening: RecordedOpening, from: Instant | null, tally: Tally, around: Surroundings) {
    this.#policy = candidate.policy;
    this.#from = from;
    this.#tally = tally;
    this.#around = around;
    this.#asking = opening.principal;
    const asking = () => this.#asking;
    const stage: Stage = {
      ...opening,
      // Each request is evaluated as asked by whoever asked it.
      get principal() {
        return asking();
      },
      attributesOf: (ref) => around.attributesOf(ref),
    };
    this.#play = new Play(candidate.policy, candidate.ref, stage, around.sha256);
  }

  /** Yields after each decision how much work it was, in steps of conditions. Whoever does not go on sees no more of this session. */
  *see(recorded: Recorded): Generator<number, void> {
    const { kind, step } = recorded.entry;
    const isRequest = kind === "decision" && step === "decide";
    // What is noted of an approval stands between the decisions of the batch that opened it or used it.
    const isBetween = kind === "approval";
    if (!(isRequest || isBetween) || (this.#together[0]?.at ?? recorded.at) !== recorded.at) yield* this.#decideTogether();
    switch (kind) {
      case "decision":
        if (isRequest) this.#together.push(recorded);
        else if (step === "topup") yield this.#stepsOf(() => this.#topup(recorded), recorded);
        else this.#extend(recorded);
        return;
      case "commit":
      case "release":
      case "expiry":
        this.#settle(recorded);
        return;
      case "approval":
        this.#approvals.note(recorded);
        return;
      // Of these no policy decides anything, or they are the tenant's. A run begins with what is first asked in it; what was asked after its end
      // was denied for that, and what a lease let run in it before is told of later.
      case "session":
      case "intervention":
      case "policy":
      case "lease":
      case "token":
      case "ingest":
        return;
    }
  }

  /** Brings what was found into the tally, and yields as `see` does. Nothing may be seen after it. */
  *finish(): Generator<number, void> {
    try {
      yield* this.#decideTogether();
    } finally {
      // Also of a session that is left here.
      for (const change of this.#changes) {
        const money = change.spent === null ? change.estimateMicroUsd : microUsdOf(Math.max(0, change.spent));
        this.#tally.addChange(change, money, change.kind === "newly_denied" && change.ran ? money : ZERO_USD);
      }
    }
  }

  /** A batch that was refused whole is known by the instant: a denial or a hold beside it may have counted on what was then not taken. */
  *#decideTogether(): Generator<number, void> {
    const together = this.#together;
    this.#together = [];
    const refused = together.some(({ entry }) => entry.reason === "batch_refused");
    for (const recorded of together) {
      const { verdict, reason } = recorded.entry;
      const beyond = verdict === "deny" && reason !== null && (BEYOND_POLICY.has(reason) || isOfOthers(recorded.entry)) ? reason : null;
      const why = beyond ?? (refused && verdict !== "allow" ? "batch_refused" : null);
      yield this.#stepsOf(() => this.#decide(recorded, why), recorded);
    }
  }

  #stepsOf(decide: () => void, { entry }: Recorded): number {
    const before = this.#play.steps;
    decide();
    const { rules, permits } = this.#policy.ofAction(entry.action ?? "");
    return this.#play.steps - before + STEPS_PER_DECISION + (rules.length + permits.length) * STEPS_PER_RULE;
  }

  #decide(recorded: Recorded, beyondPolicy: ReasonCode | null): void {
    const { entry, at, decision, run } = recorded;
    if (decision === null || run === null || entry.verdict === null) return;
    const counts = this.#counts(at);
    if (beyondPolicy !== null) {
      if (counts) this.#count(recorded, beyondPolicy);
      return;
    }
    this.#asking = principalOf(entry);
    const waited = approvalOf(recorded);
    if (waited !== null && this.#approvals.hasRun(waited)) {
      this.#count(recorded, null);
      // It is one action, which ran when it was first asked, with all its money.
      if (entry.verdict === "allow") this.#tally.same++;
      else this.#change(recorded, "allow", { code: "permitted", rule: null }, ZERO_USD);
      return;
    }
    if (!this.#play.book.runs.has(run)) this.#play.openRun(run, at);
    const request = requestOf(recorded, decision);
    const worthOf = ({ chain }: Findings) => (request.approval === null ? "none" : this.#approvals.worth(request.approval, chain));
    const judged = this.#play.judge(request, at, (findings) => {
      const worth = worthOf(findings);
      return worth === "unknown" ? "granted" : worth;
    });
    const { reason, usesApproval } = judged.judgement;
    // Where no more may wait, what would be held is denied; how many wait is as on record.
    const isCrowded = entry.verdict === "deny" && entry.reason === "approval_required" && judged.judgement.verdict === "hold";
    const verdict = isCrowded ? "deny" : judged.judgement.verdict;
    if (!counts) {
      if (entry.verdict === "allow") this.#admit(recorded, judged);
      return;
    }
    this.#count(recorded, null);
    if (usesApproval && worthOf(judged.findings) === "unknown") {
      count(this.#tally.uncertain, recorded.id, recorded.estimateMicroUsd);
      this.#admit(recorded, judged);
    } else if (verdict === entry.verdict) {
      this.#tally.same++;
      if (reason.code !== entry.reason || reason.rule !== entry.rule) this.#tally.sameForAnotherReason++;
      if (verdict === "allow") this.#admit(recorded, judged);
    } else if (this.#isUncertain(recorded, judged)) {
      count(this.#tally.uncertain, recorded.id, recorded.estimateMicroUsd);
      if (entry.verdict === "allow") this.#admit(recorded, judged);
    } else {
      this.#change(recorded, verdict, reason, judged.findings.estimateMicroUsd);
      if (entry.verdict === "hold" && waited !== null && verdict !== "hold") this.#approvals.insteadOfHold(waited, verdict, decision);
      if (verdict === "allow") this.#assume(recorded, judged);
    }
  }

  #count(recorded: Recorded, notComparable: ReasonCode | "never_begun" | null): void {
    this.#tally.decisions++;
    if (this.#hasChanged) this.#tally.afterFirstChange++;
    if (notComparable !== null) this.#tally.addNotComparable(notComparable, recorded);
  }

  /** Lets happen what the record says happened. Once a session could no longer count it exactly, it goes on without it. */
  #admit(recorded: Recorded, judged: Judged): boolean {
    const { book } = this.#play;
    if (spentOf(book.total) + spentOf(book.windDown) + judged.findings.estimateMicroUsd > MOST_SPENT) return false;
    const isReserve = judged.findings.windDown !== null && paidForOthers(recorded);
    this.#play.admit(isReserve ? { ...judged, judgement: { ...judged.judgement, fund: "wind_down" } } : judged, recorded.at);
    const { keep, loops } = judged.findings;
    const paths = [...(keep?.paths ?? []), ...(loops.length > 0 ? [["inputs"]] : [])];
    this.#pastHidden ||= paths.some(([root, ...rest]) => this.#isHidden(recorded, root, rest));
    return true;
  }

  /** Lets happen what never did: see `ASSUMPTIONS`. */
  #assume(recorded: Recorded, judged: Judged): void {
    const { id } = judged.ask.request;
    if (!this.#admit(recorded, judged)) return;
    this.#play.commit(id, { ...SUCCESS, costMicroUsd: judged.findings.estimateMicroUsd }, recorded.at);
    this.#pastHidden ||= (this.#play.record(id).matter?.keepOutputs.length ?? 0) > 0;
  }

  #topup(recorded: Recorded): void {
    const { entry, at, decision, estimateMicroUsd } = recorded;
    const counts = this.#counts(at);
    if (decision === null || entry.verdict === null) return;
    if (entry.verdict === "deny" && entry.reason !== null && BEYOND_POLICY.has(entry.reason)) {
      if (counts) this.#count(recorded, entry.reason);
      return;
    }
    this.#play.pass(at);
    const running = this.#play.has(decision) ? this.#play.record(decision) : null;
    if (running === null || running.state !== "pending" || running.matter === null || running.reservation === null) {
      if (counts) this.#count(recorded, "never_begun");
      return;
    }
    this.#asking = principalOf(entry);
    const { matter, reservation } = running;
    const { action, run, tags, riskLevel } = matter;
    const before = reservation.amountMicroUsd;
    const request: ActionRequest = { ...NOT_ASKED_AGAIN, ...matter.asked, id: decision, action, run, tags, riskLevel, estimateMicroUsd };
    const again = this.#play.topup(request.id, request.estimateMicroUsd, at);
    if (!again.ok || !counts) return;
    this.#count(recorded, null);
    const { verdict, reason } = again.value;
    if (verdict === entry.verdict) {
      this.#tally.same++;
      if (reason.code !== entry.reason || reason.rule !== entry.rule) this.#tally.sameForAnotherReason++;
    } else if (this.#looksHidden(recorded, { verdict, reason }, (path) => isRedacted(matter.asked?.inputs, path))) {
      count(this.#tally.uncertain, recorded.id, estimateMicroUsd);
    } else {
      this.#change({ ...recorded, decision: null }, verdict, reason, microUsdOf(Math.max(0, estimateMicroUsd - before)));
    }
  }

  #extend({ at, decision, expiresAt }: Recorded): void {
    this.#play.pass(at);
    if (decision !== null && expiresAt !== null && this.#play.has(decision)) this.#play.extend(decision, Math.max(1, expiresAt - at), at);
  }

  #settle({ entry, at, payload, decision, costMicroUsd, correctedMicroUsd }: Recorded): void {
    this.#play.pass(at);
    if (decision === null) return;
    const change = this.#open.get(decision);
    if (change !== undefined) change.spent = (change.spent ?? 0) + costMicroUsd - correctedMicroUsd;
    // What the candidate did not allow never ran.
    if (!this.#play.has(decision)) return;
    if (entry.kind === "release") this.#play.release(decision, at);
    if (entry.kind !== "commit") return;
    const { outcome, duration_ms, error, usage } = entry;
    const outputs = payload?.outputs;
    this.#play.commit(decision, { costMicroUsd, outcome: outcome ?? "success", durationMs: duration_ms, outputs, error, usage }, at);
    const kept = this.#play.record(decision).matter?.keepOutputs ?? [];
    const known = outputs !== undefined || this.#isKnownUnsent(entry, "outputs");
    this.#pastHidden ||= kept.some((path) => !known || isRedacted(outputs, path));
  }

  /** Whether what is decided at this instant has a place in the figures. */
  #counts(at: Instant): boolean {
    return this.#from === null || at >= this.#from;
  }

  #change(recorded: Recorded, verdict: Verdict, reason: Pick<Reason, "code" | "rule">, estimateMicroUsd: MicroUsd): void {
    const { entry } = recorded;
    const kind =
      verdict === "deny" ? "newly_denied" : verdict === "hold" ? "newly_held" : entry.verdict === "hold" ? "no_longer_held" : "newly_allowed";
    const why = verdict === "allow" ? { reason: entry.reason ?? "permitted", rule: entry.rule } : { reason: reason.code, rule: reason.rule };
    const ran = entry.verdict === "allow" && recorded.decision !== null;
    const change: OpenChange = { kind, entry: recorded.id, ...why, estimateMicroUsd, ran, spent: null };
    this.#changes.push(change);
    if (ran && recorded.decision !== null) this.#open.set(recorded.decision, change);
    this.#hasChanged = true;
  }

  /** Whether a verdict that differs may differ only because the record does not have what the rules looked at. */
  #isUncertain(recorded: Recorded, { judgement, findings }: Judged): boolean {
    // Who would be asked is shown the inputs: where a digest is kept of them nobody can say whether they were sent.
    const isUnshown = judgement.reason.code === "inputs_required" && this.#isHidden(recorded, "inputs", []);
    return (
      isUnshown ||
      this.#isPriceUncertain(recorded, findings) ||
      this.#looksHidden(recorded, judgement, (path) => this.#isHidden(recorded, "inputs", path))
    );
  }

  #looksHidden(
    { entry }: Recorded,
    { verdict, reason }: Pick<Judged["judgement"], "verdict" | "reason">,
    isHidden: (path: Path) => boolean,
  ): boolean {
    const looks = looksOf(this.#policy.ofAction(entry.action ?? ""));
    // A no is one rule's; a yes is that of all of them.
    const deciding =
      verdict === "allow"
        ? looks
        : looks.filter(({ rule, permits }) => rule === reason.rule || isWithin(rule, reason) || (permits && reason.code === "action_not_allowed"));
    const told = [entry.rationale ?? "", ...entry.sources.map(({ source }) => source)].some(isMarked);
    return deciding.some(
      ({ inputs, past, context, resource }) =>
        inputs.some(isHidden) || (past && this.#pastHidden) || (context && told) || (resource && isMarked(entry.resource?.id ?? "")),
    );
  }

  /** What was put in the place of an unknown price is on record, and what was stated before that is not. */
  #isPriceUncertain({ entry, estimateMicroUsd }: Recorded, findings: Findings): boolean {
    return entry.price?.basis === "default" && (this.#policy.defaultPrice === null || findings.estimateMicroUsd !== estimateMicroUsd);
  }

  /** Whether what stood at this place of a request is not on record, or not as it was. */
  #isHidden({ entry, payload }: Recorded, root: string | undefined, path: Path): boolean {
    if (root === "resource") return isMarked(entry.resource?.id ?? "");
    if (root !== "inputs") return false;
    return payload?.inputs === undefined ? !this.#isKnownUnsent(entry, "inputs") : isRedacted(payload.inputs, path);
  }

  /** Whether nothing is kept because nothing was sent (or only a digest was): what the policy of then keeps tells. */
  #isKnownUnsent({ policy, payload_digest, inputs_digest, outputs_digest }: Recorded["entry"], what: "inputs" | "outputs"): boolean {
    const keeping = policy === null ? undefined : this.#around.keepingOf(policy.digest)?.[what];
    // A payload that is not there and once was has been erased.
    if (keeping === "full") return payload_digest === null;
    return keeping === "digest" && (what === "inputs" ? inputs_digest : outputs_digest) === null;
  }
}

/** What stored things the candidate looks at for a request on record: its agent's and its resource's. */
export function looksAtStored(policy: CompiledPolicy, { entry }: Recorded): { readonly subject: boolean; readonly resource: boolean } {
  if (entry.kind !== "decision" || entry.action === null) return { subject: false, resource: false };
  return policy.ofAction(entry.action).looksAt;
}

/**
 * Denials that say nothing about what a policy permits, or that count what more than one session did: by their order all that comes before the first
 * thing that a policy says, and all from the answers of people to a hold up to the hold itself.
 */
const BEYOND_POLICY: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  ...REASONS.slice(0, REASONS.indexOf("action_denied")),
  "agent_budget_exceeded",
  "tenant_budget_exceeded",
  ...REASONS.slice(REASONS.indexOf("approval_rejected"), REASONS.indexOf("approval_required")),
]);

/** Whether a rate that sessions share was used up, and none that this session had to itself. */
const isOfOthers = ({ reason, rates }: Pick<Recorded["entry"], "reason" | "rates">): boolean => {
  const usedUp = rates.filter(({ remaining }) => remaining === 0);
  return reason === "rate_exceeded" && usedUp.length > 0 && usedUp.every(({ per }) => per === "agent" || per === "tenant");
};

/** Whether the reserve for winding down paid only because what sessions share was used up: all that the session had to itself had room for it. */
const paidForOthers = ({ entry: { accounts }, estimateMicroUsd }: Recorded): boolean =>
  accounts.some(({ scope, before, after }) => scope === "wind_down" && before.pending_usd !== after.pending_usd) &&
  accounts.every(({ scope, limit_usd, before }) => {
    if (scope === "wind_down" || scope === "agent" || scope === "tenant" || limit_usd === null) return true;
    const { posted_usd, pending_usd, leased_usd } = before;
    const spent = [posted_usd, pending_usd, leased_usd].reduce((sum, text) => sum + (usdOf(text) ?? 0), 0);
    return spent + estimateMicroUsd <= (usdOf(limit_usd) ?? 0);
  });

/** What a rule looks at that the record may not have. */
interface Look {
  readonly rule: string;
  readonly permits: boolean;
  readonly inputs: readonly Path[];
  /** Whether it looks into what earlier actions were called with, or returned. */
  readonly past: boolean;
  readonly context: boolean;
  readonly resource: boolean;
}

const WHOLE: readonly Path[] = [[]];

function looksOf(found: ActionFindings): readonly Look[] {
  return [
    ...[...found.rules, ...found.permits.flat()].map(lookOf),
    ...found.schemas.map(({ rule }) => ({ rule, permits: false, inputs: WHOLE, past: false, context: false, resource: false })),
    ...found.requirements.map(({ rule, same, where }) => ({
      rule,
      permits: false,
      inputs: [...same.flatMap(([root, ...rest]) => (root === "inputs" ? [rest] : [])), ...(where?.reads.inputs ?? [])],
      past: same.length > 0 || where !== null,
      context: where?.reads.context ?? false,
      resource: same.some(([root]) => root === "resource"),
    })),
    ...(found.loops.length === 0 ? [] : [{ rule: "/loops", permits: false, inputs: WHOLE, past: true, context: false, resource: false }]),
  ];
}

function lookOf({ rule, effect, condition }: CompiledRule): Look {
  const expression = condition();
  const reads = expression === true || expression === null ? null : expression.reads;
  return {
    rule,
    permits: effect === "permit",
    inputs: reads?.inputs ?? [],
    past: reads?.history.some(({ path }) => path !== null && path[0] !== "cost_usd") ?? false,
    context: reads?.context ?? false,
    // Its id may have been redacted, whichever of its attributes is looked at.
    resource: reads !== null && !reads.constant,
  };
}

/** A schema's fault is named by a place inside it, and a schema that saw no inputs by the section. */
const isWithin = (rule: string, reason: Judged["judgement"]["reason"]): boolean =>
  reason.rule !== null && rule.startsWith("/arguments") && reason.rule.startsWith("/arguments");

const SUCCESS: Omit<CommitReport, "costMicroUsd"> = { outcome: "success", durationMs: null, outputs: undefined, error: null, usage: null };

/** What a first request said for people and for the record, and a larger sum does not say again. */
const NOT_ASKED_AGAIN = {
  resource: null,
  inputs: undefined,
  inputsDigest: null,
  price: null,
  confidence: null,
  rationale: null,
  sources: [],
  parents: [],
  model: null,
  approval: null,
  ttlMs: 1,
} as const;

const emptySum = (): Sum => ({ count: 0, moneyMicroUsd: ZERO_USD, entries: [] });
const emptyChanges = () => ({ newly_denied: emptySum(), newly_allowed: emptySum(), newly_held: emptySum(), no_longer_held: emptySum() });

function count(sum: Sum, entry: EntryId, money: MicroUsd): void {
  sum.count++;
  sum.moneyMicroUsd = plus(sum.moneyMicroUsd, money);
  if (sum.entries.length < MOST_NAMED) sum.entries.push(entry);
}

/** A figure for people, which nothing is decided by: it stays at the largest number rather than stop the simulation. */
const plus = (a: MicroUsd, b: MicroUsd): MicroUsd => microUsdOf(Math.min(Number.MAX_SAFE_INTEGER, a + b));
