import { usd } from "./limits.ts";
import type { LeaseModel } from "./session.ts";
import type { TenantModel } from "./tenant.ts";
import { demand } from "./violation.ts";

/** What a client asked for under one decision id, as it went over the wire. */
interface Question {
  readonly session: string;
  readonly run: string;
  readonly action: string;
  readonly estimateMicroUsd: number;
  readonly inputs: unknown;
  readonly approval: string | null;
}

/** A kill that a client was told of: how far it reaches, and at which entry. */
interface Kill {
  readonly stops: string;
  readonly run: string;
  readonly action: string;
  readonly seq: number;
}

/** What one sentinel of the client has heard: another one of the same process, or of its next life, has not. */
export class Line {
  readonly kills: Kill[] = [];
}

/** A lease in the hands of the client: what of it is reserved, by decision, and what has been spent of that. */
export class Leased {
  readonly session: string;
  readonly run: string;
  /** The entry of its granting. */
  readonly seq: number;
  readonly amountMicroUsd: number;
  readonly expiresAt: number;
  readonly covers: (action: string) => boolean;
  readonly reserved = new Map<string, number>();
  /** No more of what something cost than was reserved for it: the rest is an overrun. */
  spentMicroUsd = 0;

  constructor({ run, seq, amount, expiresAt, covered }: LeaseModel, session: string) {
    this.session = session;
    this.run = run;
    this.seq = seq;
    this.amountMicroUsd = amount;
    this.expiresAt = expiresAt;
    this.covers = (action) => covered.includes(action);
  }
}

/** How a guarded call ends for whoever made it. */
export type Outcome = { readonly gave: unknown } | { readonly threw: unknown };

/** One guarded call as whoever made it sees it, and what of it was seen on the wire. */
export class Call {
  /** Goes with every question of it, as its rationale. */
  readonly name: string;
  /** What names it across lives of the client; `null`: nothing does. */
  readonly key: string | null;
  readonly action: string;
  readonly run: string;
  readonly mayRunUndecided: boolean;
  /** On the wire, calls of one key that are under way together are one call. */
  readonly questions: Map<string, Question>;
  /** Under which ids it has heard which answer. */
  readonly heard: Map<string, "allow" | "superseded" | "no">;
  /** What the sentinel that makes it has heard. */
  readonly line: Line;
  /** Under which id it runs or ran; `undefined`: it did not; `null`: it was not decided, because the gateway could not be reached. */
  under: string | null | undefined = undefined;
  /** How its function ended: what it is to say then. */
  own: Outcome | null = null;
  /** What it cost, once that is known; `null`: what it was estimated at. */
  costMicroUsd: number | null = null;
  /** With what it was decided; `null`: the gateway did, or nobody. */
  leased: Leased | null = null;
  /** The client was told that it runs undecided; that its report did not come through. */
  wasToldUndecided = false;
  wasToldUnreported = false;
  hasEnded = false;
  /** Its process fell before it ended. */
  hasFallen = false;
  /** Under which ids earlier calls of its key had come to an end, by the record, when it was made; which of them were reported or given back. */
  readonly over = new Set<string>();
  readonly settled = new Set<string>();

  /** `mate`: one of its key that is under way. */
  constructor(name: string, line: Line, wish: Pick<Call, "key" | "action" | "run" | "mayRunUndecided">, mate: Call | undefined) {
    this.name = name;
    this.line = line;
    this.questions = mate?.questions ?? new Map();
    this.heard = mate?.heard ?? new Map();
    this.key = wish.key;
    this.action = wish.action;
    this.run = wish.run;
    this.mayRunUndecided = wish.mayRunUndecided;
  }
}

/**
 * What one client that uses the SDK asked for, ran and reported, through all its lives: seen where its messages leave and arrive and where its functions
 * start and end, and held to what is on record.
 */
export class Calls {
  readonly #tenant: TenantModel;
  readonly #all: Call[] = [];
  readonly #byName = new Map<string, Call>();
  readonly #byKey = new Map<string, Call[]>();
  /** Who runs or ran under which decision, and with which approval. */
  readonly #under = new Map<string, { readonly question: Question; readonly calls: Call[] }>();
  readonly #with = new Map<string, Call>();
  /** What was reported under an id: every text of it. */
  readonly #reports = new Map<string, Set<string>>();
  /** What was told of a lease, by decision: every text of it. */
  readonly #told = new Map<string, Set<string>>();
  /** What was heard of an end: by id, how it stands. */
  readonly #settled = new Map<string, { readonly session: string; readonly state: string; readonly posted: number }>();

  constructor(tenant: TenantModel) {
    this.#tenant = tenant;
  }

  get made(): number {
    return this.#all.length;
  }

  get ran(): number {
    return this.#all.filter(({ under }) => under !== undefined).length;
  }

  /** How many named calls did not run because one of their key ran or had run with the same process. */
  keptToOnce = 0;

  get usedApprovals(): number {
    return this.#with.size;
  }

  get ranLeased(): number {
    return this.#all.filter(({ under, leased }) => leased !== null && under !== undefined).length;
  }

  /** Whether every call of a process that did not fall has come to its end, and what was done with a lease is told. */
  get haveEnded(): boolean {
    return this.#all.every((call) => call.hasFallen || (call.hasEnded && (call.leased === null || call.wasToldUnreported || this.#isTold(call))));
  }

  /** Nothing was done, or the client has heard that it is on record. */
  #isTold = ({ under }: Call): boolean => under === undefined || under === null || this.#settled.has(under);

  /** A guarded function is about to be called. */
  begin(line: Line, wish: Pick<Call, "key" | "action" | "run" | "mayRunUndecided">): Call {
    // Who makes a named call again asks for just the same.
    const before = this.#ofKey(wish);
    const mate = before.find(({ hasEnded, hasFallen }) => !hasEnded && !hasFallen);
    const call = new Call(wish.key ?? `call ${this.#all.length}`, line, wish, mate);
    for (const { questions } of before)
      for (const [id, { session }] of questions) {
        const state = this.#seen(session, id)?.state;
        if (state !== "pending") call.over.add(id);
        if (state === "posted" || state === "released") call.settled.add(id);
      }
    this.#all.push(call);
    if (call.key !== null) this.#byKey.set(call.key, [...before, call]);
    this.#byName.set(call.name, call);
    return call;
  }

  /** All calls of the same key, which may have been made in parallel, one after another, or in an earlier life. */
  #ofKey({ key }: Pick<Call, "key">): readonly Call[] {
    return this.#byKey.get(key ?? "") ?? [];
  }

  /** Those of them that ran undecided, having asked under that id. */
  #undecided(call: Call, id: string): readonly Call[] {
    const all = call.key === null ? [call] : this.#ofKey(call);
    return all.filter(({ under, questions }) => under === null && questions.has(id));
  }

  /** The process fell: its calls go on no more. */
  fell(): void {
    for (const call of this.#all) if (!call.hasEnded || (call.leased !== null && !this.#isTold(call))) call.hasFallen = true;
  }

  /** The client has been granted a lease. */
  granted({ id, session, run, amountUsd, actions }: GrantedLease): Leased | null {
    const seen = this.#tenant.sessions.get(session)?.leases.get(id);
    const isTrue = seen?.run === run && seen.amount === usd(amountUsd) && JSON.stringify(seen.actions) === JSON.stringify(actions);
    demand(isTrue, "no lease without its record", () => ({ session, id, run, amountUsd, actions, seen: plain(seen) }));
    return seen === undefined ? null : new Leased(seen, session);
  }

  /** The client has decided with a lease: so much is reserved for a call from now on. */
  permitted(call: Call, leased: Leased, id: string, reservedMicroUsd: number, question: Pick<Question, "inputs">): void {
    const details = (): object => ({ call: shown(call), leased, id, reservedMicroUsd });
    demand(leased.covers(call.action) && leased.run === call.run, "a lease decides about what it was granted for", details);
    leased.reserved.set(id, reservedMicroUsd);
    let sum = leased.spentMicroUsd;
    for (const each of leased.reserved.values()) sum += each;
    demand(reservedMicroUsd === 0 || sum <= leased.amountMicroUsd, "what a lease lets run is never above what was leased", details);
    call.leased = leased;
    call.heard.set(id, "allow");
    const { session, run } = leased;
    call.questions.set(id, { session, run, action: call.action, estimateMicroUsd: reservedMicroUsd, inputs: question.inputs, approval: null });
  }

  /** What was reserved for a leased call is spent, or free again. */
  #paid(call: Call, spentMicroUsd: number): void {
    for (const id of call.questions.keys()) {
      const reserved = call.leased?.reserved.get(id) ?? 0;
      call.leased?.reserved.delete(id);
      if (call.leased !== null) call.leased.spentMicroUsd += Math.min(reserved, spentMicroUsd);
    }
  }

  /** A call's function has come to its end: what it cost is known. */
  did(call: Call): void {
    const [estimate] = [...call.questions.values()].map(({ estimateMicroUsd }) => estimateMicroUsd);
    if (call.leased !== null) this.#paid(call, call.costMicroUsd ?? estimate ?? 0);
  }

  /** What was reserved for a leased call is free again: it does not run. */
  gaveBack(call: Call): void {
    this.#paid(call, 0);
  }

  /** The client is told that what became of a decision did not come through. */
  unreported(id: string): void {
    for (const call of this.#under.get(id)?.calls ?? []) call.wasToldUnreported = true;
  }

  /** A request leaves. */
  sent(path: string, body: string | null): void {
    for (const entry of entriesIn(path, body)) {
      const texts = this.#told.get(entry.id) ?? new Set();
      this.#told.set(entry.id, texts.add(JSON.stringify(entry)));
      demand(texts.size === 1, "what was done with a lease is told in the same words", () => ({ id: entry.id, texts: [...texts] }));
    }
    const { session, id, verb } = placeOf(path);
    if (session === undefined || body === null) return;
    // The client's own text, of what the contract names.
    const said = JSON.parse(body) as { readonly [member: string]: unknown };
    if (id === undefined) {
      const call = this.#byName.get(String(said.rationale));
      if (call === undefined) return;
      const question: Question = {
        session,
        run: String(said.run),
        action: String(said.action),
        estimateMicroUsd: usd(typeof said.estimate_usd === "string" ? said.estimate_usd : null),
        inputs: said.inputs,
        approval: typeof said.approval === "string" ? said.approval : null,
      };
      const before = call.questions.get(String(said.id));
      const details = (): object => ({ call: call.name, before, question });
      demand(before === undefined || JSON.stringify(before) === JSON.stringify(question), "what is asked again is asked the same", details);
      demand(question.action === call.action && question.run === call.run, "a guard asks for just what it guards", details);
      call.questions.set(String(said.id), question);
    } else if (verb === "commit") {
      const texts = this.#reports.get(id) ?? new Set();
      this.#reports.set(id, texts.add(body));
      const run = this.#under.get(id);
      const undecided = run?.calls.map((call) => this.#undecided(call, id).length) ?? [];
      if (run !== undefined)
        demand(texts.size <= run.calls.length + Math.max(...undecided), "what a call has cost is reported once", () => ({
          id,
          texts: [...texts],
          calls: run.calls.map(shown),
        }));
    } else if (verb === "release")
      demand(!this.#under.has(id), "nothing that runs or ran is given back", () => ({ session, id, calls: this.#under.get(id)?.calls.map(shown) }));
  }

  /** An answer arrives. */
  heard(line: Line, method: string, path: string, sent: string | null, status: number, text: string): void {
    const entries = entriesIn(path, sent);
    if (entries.length > 0) this.#heardSettled(path, entries, status, text);
    const { session, id, verb } = placeOf(path);
    if (session === undefined || (status !== 200 && status !== 201)) return;
    // Read by the contract: the gateway's own text.
    const answer = JSON.parse(text) as Answer;
    const record = this.#tenant.sessions.get(session);
    record?.chain.demandEntry(answer.entry.seq, answer.entry.hash);
    const seen = this.#seen(session, answer.id);
    const details = (): object => ({ session, path, answer, seen: plain(seen) });
    if (verb === "commit" || verb === "release" || verb === "extend") {
      demand(seen !== undefined, "no decision without its record", details);
      if (verb === "extend") return;
      demand(verb === "release" || (seen.state === "posted" && seen.posted === usd(answer.posted_usd)), "what was reported is on record", details);
      this.#settled.set(answer.id, { session, state: seen.state, posted: seen.posted });
      return;
    }
    if (verb === "topup") return;
    const isTrue = seen !== undefined && seen.verdict === answer.verdict && seen.action === answer.action && seen.run === answer.run;
    demand(isTrue, "no decision without its record", details);
    if (answer.stops != null && answer.reason.code.endsWith("_killed"))
      line.kills.push({ stops: answer.stops, run: answer.run, action: answer.action, seq: answer.entry.seq });
    // What is read of an answer that was heard is the newer one: a pause may be over.
    const isRead = method === "GET";
    if (id !== undefined && !isRead) return;
    for (const call of this.#all)
      if (call.questions.has(answer.id) && !call.hasFallen && !call.hasEnded && (!isRead || call.heard.has(answer.id)))
        call.heard.set(answer.id, answer.superseded != null ? "superseded" : answer.verdict === "allow" ? "allow" : "no");
  }

  /** What was done with a lease was told, and this is the answer. */
  #heardSettled(path: string, entries: readonly TellsOf[], status: number, text: string): void {
    const details = (): object => ({ path, entries, status, text });
    // Who is stopped, out of reach or has a token that is over may not be heard; what is said is never wrong.
    demand(![400, 409, 413, 422].includes(status), "what is told of a lease is taken", details);
    if (status !== 200) return;
    const [, session = ""] = /^\/v1\/sessions\/([^/]+)/.exec(path) ?? [];
    for (const { id, cost_usd } of entries) {
      const seen = this.#seen(session, id);
      const posted = usd(cost_usd);
      demand(seen?.state === "posted" && seen.posted === posted && seen.lease !== null, "what is acknowledged of a lease is on record", () => ({
        ...details(),
        id,
        seen: plain(seen),
      }));
      this.#settled.set(id, { session, state: "posted", posted });
    }
  }

  /** A call's function starts, with this for its argument. `isOver`: its run's signal says that nothing of it may go on. */
  started(call: Call, isOver: boolean, n: number | null): void {
    const { line } = call;
    const details = (): object => ({ call: shown(call), isOver, n });
    demand(call.under === undefined, "a guarded function runs at most once for each call", details);
    const ranHere = this.#ofKey(call).filter((before) => before.under !== undefined && before.line === line);
    demand(ranHere.length === 0, "a named call runs at most once with one sentinel", () => ({ ...details(), ranHere: ranHere.map(shown) }));
    const [id, ...others] = [...call.heard].filter(([, answer]) => answer === "allow").map(([one]) => one);
    const question = call.questions.get(id ?? "");
    if (id === undefined || question === undefined) {
      const hasHeard = [call, ...this.#ofKey(call)].some((each) => each.line === line && each.heard.size > 0);
      demand(call.mayRunUndecided && call.wasToldUndecided && !hasHeard, "nothing runs without a yes that was heard", details);
      demand(!isOver, "nothing runs undecided once its run is known to be over", details);
      call.under = null;
      return;
    }
    demand(others.length === 0, "a call is allowed once", details);
    demand(!call.settled.has(id), "a named call does not run once its end is on record", details);
    const seen = this.#seen(question.session, id);
    const { leased } = call;
    if (leased !== null) this.#tenant.startedLeased(question.session, call.run, call.action, leased.expiresAt);
    demand(
      leased !== null || (seen !== undefined && seen.verdict === "allow" && seen.action === call.action && seen.run === call.run),
      "what runs was allowed, by the record, as just this",
      () => ({ ...details(), seen: plain(seen) }),
    );
    demand(JSON.stringify(question.inputs) === JSON.stringify(n === null ? undefined : { n }), "what runs is what was allowed", details);
    for (const { stops, run, action, seq } of line.kills) {
      const isMeant = stops === "session" || (stops === "run" ? run === call.run : action === call.action);
      demand(!isMeant || seq < (leased?.seq ?? seen?.seq ?? 0), "what is killed before it starts does not start", details);
    }
    const { calls } = this.#under.get(id) ?? { calls: [] };
    // Shown where the policy no longer asks anybody, an approval is not used.
    const approval = this.#tenant.sessions.get(question.session)?.approvals.asked.get(question.approval ?? "");
    const usesApproval = approval?.usedBy === id;
    // Another sentinel does not know of it, nor does the gateway.
    const isUnknown = (before: Call): boolean => before.hasFallen || before.wasToldUnreported;
    const mayRepeat = (before: Call): boolean =>
      isUnknown(before) && before.key !== null && before.key === call.key && !(usesApproval && call.over.has(id));
    demand(calls.every(mayRepeat), "one decision lets run one call", () => ({ ...details(), calls }));
    this.#under.set(id, { question, calls: [...calls, call] });
    if (usesApproval) {
      const before = this.#with.get(approval.approval);
      demand(before === undefined || mayRepeat(before), "an approval is used once, by one call", () => ({ ...details(), before }));
      this.#with.set(approval.approval, call);
    }
    call.under = id;
  }

  /** A call has come to its end, its report included. */
  ended(call: Call, outcome: Outcome, isTyped: boolean): void {
    call.hasEnded = true;
    const { own, under } = call;
    const details = (): object => ({
      call: shown(call),
      outcome,
      text: String(Object.values(outcome)[0]),
    });
    if (under === undefined) {
      this.#paid(call, 0);
      if (this.#ofKey(call).some((other) => other.under !== undefined && !other.hasFallen)) this.keptToOnce++;
      demand("threw" in outcome && isTyped, "a call that does not run says why", details);
      return;
    }
    const isSame =
      own !== null && ("gave" in own ? "gave" in outcome && outcome.gave === own.gave : "threw" in outcome && outcome.threw === own.threw);
    demand(isSame, "what a function gives or throws passes unchanged", details);
    // What was done with a lease is told later.
    if (under === null || call.wasToldUnreported || call.leased !== null) return;
    const question = call.questions.get(under);
    const cost = call.costMicroUsd ?? question?.estimateMicroUsd;
    const seen = this.#seen(question?.session ?? "", under);
    demand(seen?.state === "posted" && seen.posted === cost, "what a call has cost is on record once it has ended", () => ({
      ...details(),
      cost,
      seen: plain(seen),
    }));
  }

  /** At the end: every call has ended, and is charged as it should be. */
  demandKept(): void {
    for (const call of this.#all) {
      const details = (): object => ({ call: shown(call) });
      demand(call.hasEnded || call.hasFallen, "every call comes to an end", details);
      const allowed = [...call.questions].filter(([id, { session }]) => this.#seen(session, id)?.verdict === "allow");
      demand(allowed.length <= 1, "a lost answer never charges twice", details);
      for (const [id, { session }] of call.questions) {
        const seen = this.#seen(session, id);
        if (seen === undefined || this.#under.has(id)) continue;
        demand(call.leased === null, "what did not run is not reported", () => ({ ...details(), id, state: seen.state }));
        // What ran undecided is told, in case that it was decided all the same.
        const isReported = this.#undecided(call, id).some(
          ({ costMicroUsd, questions }) => seen.posted === (costMicroUsd ?? questions.get(id)?.estimateMicroUsd),
        );
        demand(seen.state !== "posted" || isReported, "what did not run is not reported", () => ({ ...details(), id, state: seen.state }));
      }
    }
    for (const [id, { question, calls }] of this.#under) {
      const seen = this.#seen(question.session, id);
      const all = calls.flatMap((call) => [call, ...this.#undecided(call, id)]);
      const costs = all.map(({ costMicroUsd }) => costMicroUsd ?? question.estimateMicroUsd);
      const isReported = seen?.state === "posted" && costs.includes(seen.posted);
      const mayExpire = calls.every(({ hasFallen, wasToldUnreported }) => hasFallen || wasToldUnreported);
      const isLeased = calls.every(({ leased }) => leased !== null);
      demand(
        isReported || (mayExpire && (isLeased ? seen === undefined : seen?.state === "expired")),
        "what ran is charged at its cost, or at its estimate where nobody reported it",
        () => ({
          id,
          question,
          costs,
          calls,
          seen: plain(seen),
        }),
      );
    }
    for (const [id, { session, state, posted }] of this.#settled) {
      const seen = this.#seen(session, id);
      demand(seen?.state === state && seen.posted === posted, "what was told of an end stays so", () => ({ session, id, state, posted, seen }));
    }
  }

  #seen(session: string, id: string) {
    return this.#tenant.sessions.get(session)?.decisions.get(id);
  }
}

/** What a verdict shows of a call, and of what is on record. */
const shown = (call: Call): object => ({
  ...call,
  leased: call.leased?.seq ?? null,
  questions: [...call.questions],
  heard: [...call.heard],
  over: [...call.over],
  settled: [...call.settled],
});
const plain = (seen: object | undefined): object => ({ ...seen, limits: null, first: null });

/** What is used of an answer about a decision. */
interface Answer {
  readonly id: string;
  readonly run: string;
  readonly action: string;
  readonly verdict: string;
  /** Left out where there is nothing to say. */
  readonly stops?: string | null;
  readonly reason: { readonly code: string };
  readonly superseded?: object | null;
  readonly posted_usd: string;
  readonly entry: { readonly seq: number; readonly hash: string };
}

interface TellsOf {
  readonly id: string;
  readonly cost_usd: string;
}

/** What of leased actions a request tells. */
const entriesIn = (path: string, body: string | null): readonly TellsOf[] =>
  // The client's own text, as the contract has it.
  /\/leases\/[^/]+\/settle$/.test(path) ? (JSON.parse(body ?? "{}") as { readonly entries: readonly TellsOf[] }).entries : [];

/** What a client says of a lease that it holds. */
interface GrantedLease {
  readonly id: string;
  readonly session: string;
  readonly run: string;
  readonly amountUsd: string;
  readonly actions: readonly string[];
}

/** Which session and decision a path is about. */
function placeOf(path: string): { readonly session?: string; readonly id?: string; readonly verb?: string } {
  return /^\/v1\/sessions\/(?<session>[^/]+)\/decisions(?:\/(?<id>[^/?]+)(?:\/(?<verb>\w+))?)?(?:\?.*)?$/.exec(path)?.groups ?? {};
}
