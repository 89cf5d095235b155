import type { Decision, Settlement } from "../../../../src/core/decision.ts";
import type { ApprovalId, DecisionId, RunId, SessionId, TokenId } from "../../../../src/core/ids.ts";
import { idOf } from "../../../../src/core/ids.ts";
import { microUsdOf } from "../../../../src/core/money.ts";
import type { Refusal } from "../../../../src/core/refusals.ts";
import { type CommitReport, type Principal, RISK_LEVELS } from "../../../../src/core/request.ts";
import type { Result } from "../../../../src/core/result.ts";
import { cancelApproval, readApproval, respondToApproval } from "../../../../src/flow/approve.ts";
import { type AskedAction, decide } from "../../../../src/flow/decide.ts";
import { fingerprintOf } from "../../../../src/flow/idempotency.ts";
import { openRun } from "../../../../src/flow/open_run.ts";
import { openSession } from "../../../../src/flow/open_session.ts";
import type { Answered, BatchSemantics, DecidedAnswer, Ports } from "../../../../src/flow/ports.ts";
import { closeSession, readSession } from "../../../../src/flow/read_session.ts";
import { topup } from "../../../../src/flow/topup.ts";
import type { Answers } from "../oracle/answers.ts";
import type { Oracle } from "../oracle/oracle.ts";
import type { TenantModel } from "../oracle/tenant.ts";
import { demand } from "../oracle/violation.ts";
import type { Platform } from "../platform/platform.ts";
import { Actor } from "./actor.ts";
import { ACTIONS, PEOPLE, SCALE_MICRO_USD } from "./policies.ts";

/** A question as it was asked, so that it can be asked again. */
interface Question {
  readonly asked: readonly AskedAction[];
  readonly isBatch: boolean;
  readonly semantics: BatchSemantics;
  readonly key: string | null;
  readonly token: TokenId;
  /** Who asks on the agent's behalf. `null`: the agent does. */
  readonly person: string | null;
}

interface Known {
  readonly id: SessionId;
  isClosed: boolean;
  readonly runs: RunId[];
  readonly questions: Question[];
  /** What was allowed and is not settled, as far as this agent knows. */
  readonly open: Decision[];
  readonly held: Held[];
  /** What this agent has reported. */
  readonly reports: { readonly id: DecisionId; readonly report: CommitReport }[];
  readonly opening: { readonly key: string; readonly budgetMicroUsd: number | null; readonly ttlMs: number };
}

/** What waits for a person, as it was asked. */
interface Held {
  readonly approval: ApprovalId;
  readonly asked: AskedAction;
}

/** What the seats of one agent share: its name, its token, its sessions. */
export class Agent {
  readonly tenant: TenantModel;
  readonly name: string;
  token: TokenId;
  readonly sessions: Known[] = [];
  /** Sessions of its programs, which open their own. */
  readonly programs: { readonly id: SessionId; readonly runs: readonly RunId[] }[] = [];
  wanted: number;
  keys = 0;

  constructor(tenant: TenantModel, name: string, token: TokenId, wanted: number) {
    this.tenant = tenant;
    this.name = name;
    this.token = token;
    this.wanted = wanted;
  }

  principal(token: TokenId, person: string | null = null): Principal {
    const who = person === null ? ({ subject: this.name, kind: "agent" } as const) : ({ subject: person, kind: "human" } as const);
    return { tokenId: token, tenant: this.tenant.id, ...who };
  }
}

/** How often a seat does what. */
const DOES = {
  decide: 40,
  burst: 4,
  batch: 8,
  again: 10,
  otherwise: 2,
  use: 20,
  talk: 4,
  commit: 30,
  commitAgain: 5,
  commitOtherwise: 1,
  release: 6,
  extend: 3,
  topup: 6,
  openRun: 2,
  closeRun: 1,
  read: 3,
  readDecision: 4,
  openAgain: 1,
  close: 0.4,
  forget: 3,
  idle: 2,
} as const;

/** One of several places at which an agent works: each does one thing at a time, all of them at once. */
export class Seat extends Actor {
  readonly agent: Agent;
  readonly #answers: Answers;
  /** Once it is set, it only asks, again and again, for this much, until it is told that there is no more. */
  drains: number | null = null;
  #drained: Known | null = null;

  constructor(name: string, agent: Agent, answers: Answers, platform: Platform, oracle: Oracle) {
    super(name, platform, oracle);
    this.agent = agent;
    this.#answers = answers;
  }

  protected async live(): Promise<void> {
    const { random } = this.world;
    while (!this.isStopped) {
      await this.pause(this.drains === null ? this.#thinkMs() : 1);
      if (this.isStopped) return;
      const { sessions, wanted } = this.agent;
      const open = sessions.filter(({ isClosed }) => !isClosed);
      if (this.drains !== null) await this.#drain(this.drains);
      else if (open.length < wanted) await this.#open();
      else await this.#act(random.pick(open));
    }
  }

  #thinkMs(): number {
    const { random } = this.world;
    const long = random.chance(0.02) ? random.between(1_000, 45_000) : 0;
    return random.between(0, 60) + long;
  }

  async #act(session: Known): Promise<void> {
    const { random } = this.world;
    // Who waits for many people does little else.
    const does = session.held.length > 1 && random.chance(0.7) ? "use" : random.weighted(DOES);
    switch (does) {
      case "decide":
        return this.#ask(session, this.#question(session, 1));
      case "burst":
        for (let left = random.between(3, 12); left > 0; left--) await this.#ask(session, this.#question(session, 1));
        return;
      case "batch":
        return this.#ask(session, this.#question(session, random.between(2, 5)));
      case "again":
        if (session.questions.length > 0)
          await this.#ask(
            session,
            random.chance(0.6) ? (session.questions.at(-1) ?? random.pick(session.questions)) : random.pick(session.questions),
          );
        return;
      case "otherwise":
        return this.#askOtherwise(session);
      case "use":
        return this.#use(session);
      case "talk":
        return this.#talk(session);
      case "commit":
        return this.#commit(session);
      case "commitAgain":
        if (session.reports.length > 0) await this.#report(session, random.pick(session.reports.slice(-20)));
        return;
      case "commitOtherwise":
        return this.#commitOtherwise(session);
      case "release":
        return this.#release(session);
      case "extend":
        return this.#extend(session);
      case "topup":
        return this.#topup(session);
      case "openRun":
        return this.#openRun(session);
      case "closeRun":
        return this.#closeRun(session);
      case "read":
        await this.ask("read", (ports) => readSession(ports, this.#principal(), session.id), 1);
        return;
      case "readDecision":
        return this.#readDecision(session);
      case "openAgain":
        return this.#openAgain(session);
      case "close": {
        const closed = await this.ask("close", (ports) => closeSession(ports, this.#principal(), session.id));
        if (closed?.ok === true) session.isClosed = true;
        return;
      }
      case "forget":
        // It crashes: what it had reserved and not reported expires.
        session.open.splice(0, random.between(1, 3));
        return;
      case "idle":
        return;
    }
  }

  async #open(): Promise<void> {
    const { random } = this.world;
    const opening = {
      key: `open-${this.agent.keys++}`,
      budgetMicroUsd: random.chance(0.2) ? random.between(100_000, 2 * SCALE_MICRO_USD) : null,
      ttlMs: random.chance(0.1) ? random.between(2_000, 120_000) : random.between(600_000, 86_400_000),
    };
    const opened = await this.#openAs(opening);
    if (opened === null || !opened.ok) return;
    const { id, run } = opened.value.answer;
    if (this.agent.sessions.some((one) => one.id === id)) return;
    this.agent.sessions.push({ id, isClosed: false, runs: [run], questions: [], open: [], held: [], reports: [], opening });
    if (this.agent.sessions.length > 40) this.agent.sessions.shift();
  }

  #openAs({ key, budgetMicroUsd, ttlMs }: Known["opening"]) {
    const wish = { agent: null, labels: {}, budgetMicroUsd: budgetMicroUsd === null ? null : microUsdOf(budgetMicroUsd), ttlMs };
    return this.ask("open", (ports) => openSession(ports, this.#principal(), wish, key));
  }

  async #openAgain(session: Known): Promise<void> {
    const opened = await this.#openAs(session.opening);
    if (opened?.ok !== true) return;
    const { id, run } = opened.value.answer;
    this.oracle.check(() =>
      demand(id === session.id && run === session.runs[0] && opened.value.replayed, "the same order opens the same session", () => opened),
    );
  }

  #question(session: Known, size: number): Question {
    const { random } = this.world;
    const asked = Array.from({ length: size }, (): AskedAction => this.#asked(session));
    const isKeyed = random.chance(0.3);
    return {
      asked: isKeyed ? asked.map((one) => ({ ...one, id: null })) : asked,
      isBatch: size > 1,
      semantics: size === 1 ? "independent" : random.pick(["independent", "all_or_nothing", "stop_on_deny"]),
      key: isKeyed ? `decide-${this.agent.keys++}` : null,
      token: this.agent.token,
      person: this.#asker(),
    };
  }

  #asker(): string | null {
    const { random } = this.world;
    return random.chance(0.3) ? random.pick(PEOPLE) : null;
  }

  #asked(session: Known): AskedAction {
    const { random } = this.world;
    const estimate = random.weighted({ nothing: 1, little: 6, much: 3, all: 1 });
    const micro = {
      nothing: () => 0,
      little: () => random.between(1, Math.floor(SCALE_MICRO_USD / 50)),
      much: () => random.between(Math.floor(SCALE_MICRO_USD / 20), Math.floor(SCALE_MICRO_USD / 2)),
      all: () => random.between(SCALE_MICRO_USD, 5 * SCALE_MICRO_USD),
    }[estimate]();
    return {
      id: idOf("dec", this.world.now, this.#bytes()),
      run: random.chance(0.3) ? random.pick(session.runs) : null,
      action: random.pick(ACTIONS),
      resource: null,
      estimateMicroUsd: microUsdOf(micro),
      usage: null,
      tags: [],
      riskLevel: null,
      inputs: random.chance(0.2) ? { n: random.between(0, 9) } : undefined,
      inputsDigest: null,
      rationale: null,
      confidence: null,
      sources: [],
      parents: [],
      model: null,
      approval: null,
      ttlMs: random.chance(0.2) ? random.between(50, 3_000) : random.between(5_000, 600_000),
    };
  }

  async #ask(session: Known, question: Question): Promise<void> {
    if (!session.questions.includes(question)) session.questions.push(question);
    if (session.questions.length > 60) session.questions.splice(0, 20);
    const { asked, isBatch, semantics, key, token, person } = question;
    const story = (ports: Ports): Promise<Result<readonly DecidedAnswer[], Refusal>> =>
      decide(ports, { principal: this.agent.principal(token, person), session: session.id, asked, batch: isBatch, semantics, key, now: Date.now() });
    const decided = await this.ask(isBatch ? "batch" : "decide", story);
    if (decided === null) return;
    if (!decided.ok) {
      this.#refused(session, decided.error);
      return;
    }
    const answers = decided.value.map(({ answer }) => answer);
    for (const answer of answers) this.oracle.check(() => this.#answers.decided(this.agent.tenant, answer));
    this.oracle.check(() => demandSemantics(semantics, answers, asked.length));
    for (const { answer, superseded } of decided.value) {
      if (answer.verdict === "allow" && superseded === null && !session.open.some(({ id }) => id === answer.id)) session.open.push(answer);
    }
    if (session.open.length > 30) session.open.splice(0, 10);
    for (const [place, { verdict, approval, run }] of answers.entries()) {
      const one = asked[place];
      if (verdict !== "hold" || approval === null || one === undefined || session.held.some((held) => held.approval === approval.id)) continue;
      session.held.push({ approval: approval.id, asked: { ...one, run } });
    }
    if (session.held.length > 20) session.held.splice(0, 10);
  }

  /** Asks again for what people were asked about: mostly once they have answered; now and then for something else, or twice at once. */
  async #use(session: Known): Promise<void> {
    const { random } = this.world;
    if (session.held.length === 0) return this.#ask(session, this.#question(session, 1));
    const held = random.pick(session.held);
    for (let looks = random.between(1, 6); looks > 0; looks--) {
      const asked = random.chance(0.95) ? await this.#asAnswered(session, held) : held.asked;
      if (asked !== null) return this.#askAgain(session, held, asked);
      if (this.isStopped || !session.held.includes(held)) return;
      await this.pause(random.between(50, 600));
    }
  }

  async #askAgain(session: Known, held: Held, asked: AskedAction): Promise<void> {
    const { random } = this.world;
    const again = (more: Partial<AskedAction> = {}): AskedAction => {
      const id = idOf("dec", this.world.now, this.#bytes());
      return { ...asked, id, approval: held.approval, ...more };
    };
    const question = (...all: readonly AskedAction[]): Question => ({
      asked: all,
      isBatch: all.length > 1,
      semantics: all.length > 1 ? random.pick(["independent", "all_or_nothing", "stop_on_deny"]) : "independent",
      key: null,
      token: this.agent.token,
      person: this.#asker(),
    });
    switch (random.weighted({ asApproved: 10, twice: 3, batch: 1.5, amount: 1, inputs: 1, risk: 0.5, action: 0.5, run: 0.5, session: 0.5 })) {
      case "asApproved":
        return this.#ask(session, question(again()));
      case "twice":
        await Promise.all([this.#ask(session, question(again())), this.#ask(session, question(again()))]);
        return;
      case "batch":
        return this.#ask(session, question(again(), again()));
      case "amount":
        return this.#ask(session, question(again({ estimateMicroUsd: microUsdOf((asked.estimateMicroUsd ?? 0) + 1) })));
      case "inputs":
        return this.#ask(session, question(again({ inputs: { n: random.between(0, 9) } })));
      case "risk":
        return this.#ask(session, question(again({ riskLevel: random.pick(RISK_LEVELS) })));
      case "action":
        return this.#ask(session, question(again({ action: random.pick(ACTIONS) })));
      case "run":
        return this.#ask(session, question(again({ run: random.pick(session.runs) })));
      case "session":
        return this.#ask(random.pick(this.agent.sessions), question(again({ run: null })));
    }
  }

  /** What people made of something: `null` where it is not worth asking again yet, or at all. */
  async #asAnswered(session: Known, held: Held): Promise<AskedAction | null> {
    const { random } = this.world;
    const read = await this.ask("read approval", (ports) => readApproval(ports, this.#principal(), held.approval), 2);
    if (read?.ok !== true) return held.asked;
    const { status, edits } = read.value.approval;
    this.oracle.check(() => this.agent.tenant.sessions.get(session.id)?.approvals.heard(read.value, null));
    // Some do not wait, and some try what is over.
    if (status === "pending" || status === "info_requested") return random.chance(0.1) ? held.asked : null;
    if (status !== "approved") {
      const place = session.held.indexOf(held);
      if (place >= 0) session.held.splice(place, 1);
      if (random.chance(0.7)) return null;
    }
    if (edits === null || random.chance(0.2)) return held.asked;
    const { asked } = held;
    return { ...asked, estimateMicroUsd: edits.estimateMicroUsd ?? asked.estimateMicroUsd, inputs: edits.inputs ?? asked.inputs };
  }

  /** Answers people who want to know more, or takes back what it asked for. */
  async #talk(session: Known): Promise<void> {
    const { random } = this.world;
    const held = session.held.at(-1);
    if (held === undefined) return;
    const principal = this.#principal();
    const isResponse = random.chance(0.8);
    const text = random.pick(["It is needed.", "Number 17."]);
    const told = await this.ask(isResponse ? "respond" : "take back", (ports) =>
      isResponse ? respondToApproval(ports, principal, held.approval, text) : cancelApproval(ports, principal, [], held.approval, null),
    );
    if (told?.ok !== true) return;
    const said = isResponse ? { subject: this.agent.name, decision: "respond", digest: null } : null;
    this.oracle.check(() => this.agent.tenant.sessions.get(session.id)?.approvals.heard(told.value, said));
  }

  /** Another body under an id that was asked before. */
  async #askOtherwise(session: Known): Promise<void> {
    const question = session.questions.at(-1);
    const first = question?.asked[0];
    if (question === undefined || first === undefined || question.isBatch || first.id === null) return;
    if (this.#answers.knows(session.id, first.id) === null) return;
    const asked = [{ ...first, estimateMicroUsd: microUsdOf((first.estimateMicroUsd ?? 0) + 1) }];
    const principal = this.agent.principal(question.token);
    const refused = await this.ask("decide otherwise", (ports) =>
      decide(ports, { principal, session: session.id, asked, batch: false, semantics: "independent", key: null, now: Date.now() }),
    );
    this.oracle.check(() =>
      demand(
        refused === null || (!refused.ok && ["idempotency_mismatch", "token_revoked", "authority_unavailable"].includes(refused.error.code)),
        "one id has one body",
        () => refused,
      ),
    );
  }

  #refused(session: Known, { code }: Refusal): void {
    if (code === "session_closed" || code === "not_found") session.isClosed = true;
    this.oracle.refused(code);
  }

  async #commit(session: Known): Promise<void> {
    const { random } = this.world;
    const decision = random.chance(0.8) ? session.open.shift() : session.open.pop();
    if (decision === undefined) return;
    const reserved = decision.reservation?.amountMicroUsd ?? 0;
    const cost = random.weighted({ true: 5, less: 4, over: 1.5 });
    const costMicroUsd =
      cost === "true"
        ? reserved
        : cost === "less"
          ? random.between(0, reserved)
          : reserved + random.between(1, Math.max(10, Math.floor(reserved / 4)));
    const report: CommitReport = {
      costMicroUsd: microUsdOf(costMicroUsd),
      outcome: random.chance(0.8) ? "success" : "error",
      durationMs: 5,
      outputs: undefined,
      error: null,
      usage: null,
    };
    session.reports.push({ id: decision.id, report });
    await this.#report(session, { id: decision.id, report });
  }

  async #report(session: Known, { id, report }: Known["reports"][number]): Promise<void> {
    const told = await this.#settle("commit", (ports) =>
      ports.sessions.commit(this.agent.tenant.id, session.id, this.#principal(), id, report, fingerprintOf(ports, report)),
    );
    if (told?.ok === true) {
      this.oracle.check(() => this.#answers.settled(this.agent.tenant, session.id, "commit", told.value.answer));
      this.oracle.check(() => demand(told.value.answer.postedMicroUsd === report.costMicroUsd, "a commit posts what was reported", () => told));
    } else if (told !== null && told.error.code !== "decision_settled") this.#refused(session, told.error);
  }

  async #commitOtherwise(session: Known): Promise<void> {
    const last = session.reports.at(-1);
    if (last === undefined) return;
    const report = { ...last.report, durationMs: 6 };
    const told = await this.#settle("commit otherwise", (ports) =>
      ports.sessions.commit(this.agent.tenant.id, session.id, this.#principal(), last.id, report, fingerprintOf(ports, report)),
    );
    if (told?.ok === true) this.oracle.check(() => this.#answers.settled(this.agent.tenant, session.id, "commit", told.value.answer));
  }

  async #release(session: Known): Promise<void> {
    const decision = session.open.pop();
    if (decision === undefined) return;
    const told = await this.#settle("release", (ports) =>
      ports.sessions.release(this.agent.tenant.id, session.id, this.#principal(), decision.id, null),
    );
    if (told?.ok === true) this.oracle.check(() => this.#answers.settled(this.agent.tenant, session.id, "release", told.value.answer));
  }

  async #extend(session: Known): Promise<void> {
    const decision = session.open.at(-1);
    if (decision === undefined) return;
    const ttlMs = this.world.random.between(1_000, 300_000);
    const told = await this.#settle("extend", (ports) =>
      ports.sessions.extend(this.agent.tenant.id, session.id, this.#principal(), decision.id, ttlMs),
    );
    const entry = told?.ok === true ? told.value.answer.entry : null;
    if (entry !== null) this.oracle.check(() => this.agent.tenant.sessions.get(session.id)?.chain.demandEntry(entry.seq, entry.hash));
  }

  #settle(
    what: string,
    story: (ports: Ports) => Promise<Result<Answered<Settlement>, Refusal>>,
  ): Promise<Result<Answered<Settlement>, Refusal> | null> {
    return this.ask(what, story);
  }

  async #topup(session: Known): Promise<void> {
    const { random } = this.world;
    const decision = session.open.at(-1);
    if (decision === undefined) return;
    const reserved = decision.reservation?.amountMicroUsd ?? 0;
    const sum = random.chance(0.7) ? reserved + random.between(1, Math.floor(SCALE_MICRO_USD / 10)) : random.between(0, reserved);
    const topped = await this.ask("topup", (ports) => topup(ports, this.#principal(), session.id, decision.id, microUsdOf(sum), Date.now()));
    if (topped?.ok === true)
      this.oracle.check(() =>
        this.agent.tenant.sessions.get(session.id)?.chain.demandEntry(topped.value.decision.entry.seq, topped.value.decision.entry.hash),
      );
  }

  async #openRun(session: Known): Promise<void> {
    const key = `run-${this.agent.keys++}`;
    const opened = await this.ask("open run", (ports) => openRun(ports, this.#principal(), session.id, key));
    if (opened?.ok === true) session.runs.push(opened.value.answer.id);
  }

  async #closeRun(session: Known): Promise<void> {
    const run = this.world.random.pick(session.runs);
    await this.ask("close run", (ports) => ports.sessions.closeRun(this.agent.tenant.id, session.id, this.#principal(), run));
    await this.#openRun(session);
  }

  async #readDecision(session: Known): Promise<void> {
    const { random } = this.world;
    const question = session.questions.at(-1);
    const id = question?.asked[0]?.id ?? null;
    if (id === null) return;
    const waitMs = random.chance(0.1) ? 500 : 0;
    const read = await this.ask(
      "read decision",
      (ports) => ports.sessions.readDecision(this.agent.tenant.id, session.id, this.#principal(), id, waitMs),
      2,
    );
    const first = this.#answers.knows(session.id, id);
    if (read?.ok !== true || first === null) return;
    // Where its money is may change, and until when its approval is worth anything; nothing else.
    const strip = (decision: Decision): string => JSON.stringify({ ...decision, reservation: null, approval: decision.approval?.id ?? null });
    this.oracle.check(() =>
      demand(strip(read.value.decision) === strip(first), "what is read is what was answered", () => ({ read: read.value.decision, first })),
    );
  }

  /** Asks a fresh session for the same small sum until there is none left. */
  async #drain(estimate: number): Promise<void> {
    if (this.#drained === null) {
      const opened = await this.#openAs({ key: `drain-${this.agent.keys++}-${this.name}`, budgetMicroUsd: null, ttlMs: 86_400_000 });
      if (opened?.ok !== true) return;
      const { id, run } = opened.value.answer;
      this.#drained = {
        id,
        isClosed: false,
        runs: [run],
        questions: [],
        open: [],
        held: [],
        reports: [],
        opening: { key: "", budgetMicroUsd: null, ttlMs: 1 },
      };
    }
    const session = this.#drained;
    const asked: AskedAction = {
      ...this.#asked(session),
      run: null,
      action: "pay",
      estimateMicroUsd: microUsdOf(estimate),
      ttlMs: 86_000_000,
      inputs: undefined,
    };
    await this.#ask(session, { asked: [asked], isBatch: false, semantics: "independent", key: null, token: this.agent.token, person: null });
    const answer = asked.id === null ? null : this.#answers.knows(session.id, asked.id);
    if (answer?.verdict === "deny" && answer.reason.code === "tenant_budget_exceeded") this.isStopped = true;
  }

  #principal(): Principal {
    return this.agent.principal(this.agent.token);
  }

  #bytes(): Uint8Array {
    const bytes = new Uint8Array(10);
    this.world.random.fill(bytes);
    return bytes;
  }
}

/** A batch was decided as it says. */
function demandSemantics(semantics: BatchSemantics, answers: readonly Decision[], asked: number): void {
  const details = (): object => ({ semantics, asked, answers: answers.map(({ verdict, reason }) => [verdict, reason.code]) });
  if (semantics === "stop_on_deny") {
    const first = answers.findIndex(({ verdict }) => verdict === "deny");
    demand(first < 0 ? answers.length === asked : first === answers.length - 1, "a batch that stops on a denial ends with it", details);
  } else {
    demand(answers.length === asked, "every question of a batch is answered", details);
    const allowed = answers.filter(({ verdict }) => verdict === "allow").length;
    if (semantics === "all_or_nothing") demand(allowed === 0 || allowed === asked, "of all or nothing either all is allowed or nothing", details);
  }
}
