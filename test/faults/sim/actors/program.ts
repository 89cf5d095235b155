import { guard as guardHeld, resume } from "../../../../sdk/src/approvals.ts";
import { createSentinel, isAgentSentinelError, type Json, type Sentinel, type Session } from "../../../../sdk/src/index.ts";
import { type ClientLease, type LeaseOptions, leaseOf } from "../../../../sdk/src/leases.ts";
import { idOf, type RunId, type SessionId } from "../../../../src/core/ids.ts";
import type { Scope } from "../../../../src/core/scopes.ts";
import { type Call, type Calls, type Leased, Line, type Outcome } from "../oracle/calls.ts";
import { usd } from "../oracle/limits.ts";
import type { Oracle } from "../oracle/oracle.ts";
import { demand } from "../oracle/violation.ts";
import { fetchOver, GATEWAY, tokenOf } from "../platform/door.ts";
import type { Platform } from "../platform/platform.ts";
import { Actor } from "./actor.ts";
import type { Agent } from "./agent.ts";
import { ACTIONS, SCALE_MICRO_USD } from "./policies.ts";

/** How often a program does what. */
const DOES = {
  guard: 30,
  several: 8,
  nested: 4,
  stream: 5,
  hold: 18,
  resume: 24,
  once: 8,
  again: 14,
  decide: 8,
  lease: 30,
  startRun: 1.5,
  closeRun: 0.7,
  check: 3,
  close: 0.3,
} as const;

/** What a function of the program is to do, told in its arguments. */
interface Work {
  readonly action: (typeof ACTIONS)[number];
  readonly estimateMicroUsd: number;
  /** What the gateway is shown; `null`: nothing. */
  readonly n: number | null;
  readonly fails: boolean;
  /** `null`: as estimated. */
  readonly costMicroUsd: number | null;
  readonly takesMs: number;
  readonly ttlMs: number | undefined;
}

/** What a program writes down, and has again when it is started anew. */
interface Kept {
  /** An `ApprovalRequiredError`, as JSON made of it. */
  readonly hold: { readonly session: string; readonly decisionId: string };
  readonly work: Work;
  readonly key: string | null;
}

/** What it writes down before a named call, and strikes out some time after it. */
interface Named {
  readonly key: string;
  /** Under which decision id it is made; `null`: `callId` says it. */
  readonly id: string | null;
  readonly session: string;
  readonly run: string;
  readonly work: Work;
}

/** A sentinel, a session of it, and what both have heard. */
interface Connection {
  readonly line: Line;
  readonly session: Session;
}

/**
 * A program that uses the SDK, as its users do: its functions are guarded, and whatever is retried, waited for, timed out or given back is the SDK's own
 * doing. Now and then it falls in the middle of anything, and is started again with what it has written down.
 */
export class Program extends Actor {
  readonly #agent: Agent;
  readonly #calls: Calls;
  readonly #scopes: readonly Scope[];
  #sessionId: string | null = null;
  readonly #held: Kept[] = [];
  readonly #named: Named[] = [];
  #keys = 0;
  lives = 0;
  /** It was stopped, and has done what it had begun. */
  hasEnded = false;

  constructor(name: string, agent: Agent, calls: Calls, platform: Platform, oracle: Oracle) {
    super(name, platform, oracle);
    this.#agent = agent;
    this.#calls = calls;
    // Without the last one it is not told what people have changed.
    this.#scopes = platform.world.random.chance(0.8)
      ? ["sessions:write", "decisions:write", "approvals:read"]
      : ["sessions:write", "decisions:write"];
  }

  protected async live(): Promise<void> {
    const { random } = this.world;
    this.lives++;
    if (random.chance(0.7)) this.world.plan(random.between(100, random.pick([3_000, 60_000, 60_000])), this, "falls", () => this.#fall());
    while (!this.isStopped) {
      await this.pause(random.between(0, 80));
      if (this.isStopped) break;
      const connection = await this.#connect();
      if (connection !== null) await Promise.all(Array.from({ length: random.between(1, 4) }, () => this.#use(connection)));
    }
    this.hasEnded = true;
  }

  /** One of several things that it does side by side. */
  async #use(connection: Connection): Promise<void> {
    const { random } = this.world;
    const { session } = connection;
    while (!this.isStopped && this.#sessionId === session.id) {
      await this.pause(random.between(0, 40) + (random.chance(0.02) ? random.between(1_000, 45_000) : 0));
      if (this.isStopped) return;
      await this.#act(connection);
      // A session that is over is left for another.
      if (session.signal.aborted && random.chance(0.2)) {
        this.#sessionId = null;
      }
    }
  }

  #fall(): void {
    if (this.platform.network.faults.crashes === 0 || this.isStopped) return;
    this.life++;
    this.#asking.clear();
    this.#busy.clear();
    this.#calls.fell();
    this.start();
  }

  #sentinel(line: Line): Sentinel {
    const { random } = this.world;
    return createSentinel({
      url: GATEWAY,
      token: () => tokenOf({ principal: this.#agent.principal(this.#agent.token), scopes: this.#scopes }),
      fetch: async (url, init) => {
        const path = url.slice(GATEWAY.length);
        this.oracle.check(() => this.#calls.sent(path, init.body));
        const answer = await fetchOver(this.platform, this, url, init, init.signal);
        const { status } = answer;
        const text = await answer.text();
        if (!init.signal.aborted) this.oracle.check(() => this.#calls.heard(line, init.method, path, init.body, status, text));
        return new Response(text === "" ? null : text, answer);
      },
      timeoutMs: random.pick([1_500, 10_000, 30_000]),
      retries: random.between(0, 4),
      newId: () => this.#uuid(),
      now: () => this.world.clockOf(this),
      random: () => random.next(),
      schedule: (callback, ms) => {
        const planned = this.world.plan(ms, this, "has waited", callback);
        return () => planned.cancel();
      },
      onUnguarded: ({ decisionId }) => {
        for (const call of this.#asking) if (call.questions.has(decisionId)) call.wasToldUndecided = true;
      },
      onCommitFailed: ({ decisionId }) => this.#calls.unreported(decisionId),
      onDecision: ({ id, verdict, reservation }) => {
        const asked = this.#deciding;
        if (asked === null || verdict !== "allow") return;
        this.oracle.check(() => this.#calls.permitted(asked.call, asked.leased, id, usd(reservation?.amountUsd ?? null), asked));
      },
    });
  }

  /** What is asked of a lease at this very moment: it answers at once, or asks the gateway. */
  #deciding: { readonly call: Call; readonly leased: Leased; readonly inputs: unknown } | null = null;
  /** Names of calls under way, and with which sentinel: while one runs it is repeated with that alone. */
  readonly #busy = new Map<string, { readonly line: Line; readonly calls: number }>();
  /** The calls of this life that have not ended. */
  readonly #asking = new Set<Call>();

  /** Takes up the session of an earlier life, or opens one. */
  async #connect(): Promise<Connection | null> {
    const { random } = this.world;
    const line = new Line();
    const sentinel = this.#sentinel(line);
    const budgetUsd = random.chance(0.2) ? usdOf(random.between(100_000, 2 * SCALE_MICRO_USD)) : undefined;
    const session = await this.#typed(() =>
      this.#sessionId === null ? sentinel.openSession({ budgetUsd, ttlMs: random.between(60_000, 86_400_000) }) : sentinel.session(this.#sessionId),
    );
    if (session === null) return null;
    this.#sessionId = session.id;
    this.#tell(session);
    return { line, session };
  }

  /** Lets its operator know what there is to stop. */
  #tell({ id, run }: Session): void {
    // The gateway's ids are of these forms.
    this.#agent.programs.push({ id: id as SessionId, runs: [run as RunId] });
    if (this.#agent.programs.length > 20) this.#agent.programs.shift();
  }

  async #act(connection: Connection): Promise<void> {
    const { random } = this.world;
    const { line, session } = connection;
    switch (random.weighted(DOES)) {
      case "guard":
        return this.#guarded(connection, this.#work());
      case "several":
        await Promise.all(Array.from({ length: random.between(2, 5) }, () => this.#guarded(connection, this.#work())));
        return;
      case "nested":
        return this.#guarded(connection, this.#work(), () => this.#guarded(connection, this.#work()));
      case "stream":
        return this.#streamed(connection, this.#work());
      case "hold":
        return this.#holding(connection, this.#work());
      case "resume": {
        const free = this.#held.filter(({ key }) => key === null || !this.#busy.has(key));
        if (free.length === 0) return this.#holding(connection, this.#work());
        const kept = random.pick(free);
        // Two who know nothing of each other.
        if (kept.key === null && random.chance(0.2)) await Promise.all([this.#resumed(kept), this.#resumed(kept)]);
        else await this.#resumed(kept);
        return;
      }
      case "again": {
        const free = this.#named.filter(({ key, session: of }) => of === session.id && this.#isFree(key, line));
        if (free.length === 0) return this.#once(connection);
        return this.#repeated(connection, random.pick(free));
      }
      case "once":
        return this.#once(connection);
      case "decide":
        return this.#decided(connection, this.#work());
      case "lease":
        return this.#leasing(connection);
      case "startRun":
        if ((await this.#typed(() => session.startRun())) !== null) this.#tell(session);
        return;
      case "closeRun":
        if ((await this.#typed(() => session.closeRun().then(() => true))) === true) await this.#typed(() => session.startRun());
        return;
      case "check":
        await this.#typed(() => session.check());
        return;
      case "close":
        await this.#typed(() => session.close());
        return;
    }
  }

  #work(): Work {
    const { random } = this.world;
    const estimateMicroUsd = random.chance(0.1)
      ? random.between(SCALE_MICRO_USD, 3 * SCALE_MICRO_USD)
      : random.between(0, Math.floor(SCALE_MICRO_USD / random.pick([50, 50, 5])));
    return {
      action: random.pick(ACTIONS),
      estimateMicroUsd,
      n: random.chance(0.85) ? random.between(0, 9) : null,
      fails: random.chance(0.2),
      costMicroUsd: random.chance(0.3) ? null : random.between(0, random.chance(0.8) ? estimateMicroUsd : estimateMicroUsd + 20_000),
      takesMs: random.chance(0.7) ? 0 : random.between(1, random.pick([50, 500, 40_000])),
      ttlMs: random.chance(0.3) ? random.between(1_000, 60_000) : undefined,
    };
  }

  /** How a call is guarded. `wish`: what the program wants, should the gateway be out of reach. */
  #options(call: Call, work: Work, onUnavailable: "allow" | "deny", signal: AbortSignal | undefined) {
    const { random } = this.world;
    const { action, costMicroUsd } = work;
    const estimate = usdOf(work.estimateMicroUsd);
    return {
      action,
      // As text, as a number, or from the arguments: the same money.
      costUsd: random.pick([estimate, work.estimateMicroUsd / 1_000_000, () => estimate]),
      actualUsd: costMicroUsd === null ? undefined : () => usdOf(costMicroUsd),
      inputs: (n: number | null): Json | undefined => (n === null ? undefined : { n }),
      rationale: call.name,
      ttlMs: work.ttlMs,
      run: call.run,
      onUnavailable,
      signal,
    };
  }

  /** The function that is guarded. It sees at once whether it may start. */
  #function({ session }: Connection, call: Call, work: Work, inner: () => Promise<unknown>): (n: number | null) => Promise<object> {
    return async (n) => {
      this.#start(session, call, n);
      if (work.takesMs > 0) await this.pause(work.takesMs);
      await inner();
      if (work.fails) {
        const threw = new Error("the function's own");
        call.own = { threw };
        this.#calls.did(call);
        throw threw;
      }
      const gave = { n };
      call.costMicroUsd = work.costMicroUsd;
      call.own = { gave };
      this.#calls.did(call);
      return gave;
    };
  }

  #start({ run, signal }: Session, call: Call, n: number | null): void {
    this.oracle.check(() => this.#calls.started(call, signal.aborted && run === call.run, n));
  }

  /** Makes a guarded call, and sees how it ends. */
  async #call(
    { line, session }: Connection,
    wish: Pick<Call, "key" | "action" | "run" | "mayRunUndecided">,
    make: (call: Call, signal: AbortSignal | undefined) => Promise<unknown>,
  ): Promise<Outcome> {
    const { random } = this.world;
    const call = this.#calls.begin(line, wish);
    this.#asking.add(call);
    const abort = new AbortController();
    const isImpatient = random.chance(0.05);
    if (isImpatient) this.world.plan(random.between(0, 2_000), this, "wants it no more", () => abort.abort(NO_MORE));
    const outcome: Outcome = await make(call, isImpatient ? abort.signal : undefined).then(
      (gave) => ({ gave }),
      (threw: unknown) => ({ threw }),
    );
    this.#asking.delete(call);
    const error = "threw" in outcome && isAgentSentinelError(outcome.threw) ? outcome.threw : null;
    if (error !== null) this.oracle.refused(error.code);
    this.oracle.check(() => this.#calls.ended(call, outcome, error !== null || ("threw" in outcome && outcome.threw === NO_MORE)));
    const { stops, run } = error?.decision ?? { stops: null, run: null };
    if (stops === "session" || (stops === "run" && run === session.run))
      this.oracle.check(() => demand(session.signal.aborted, "what stops a run or a session aborts its signal", () => ({ call: call.name, error })));
    return outcome;
  }

  async #guarded(connection: Connection, work: Work, inner: () => Promise<unknown> = async () => undefined): Promise<void> {
    const { session } = connection;
    const mayRunUndecided = this.world.random.chance(0.2);
    await this.#call(connection, { key: null, action: work.action, run: session.run, mayRunUndecided }, (call, signal) =>
      session.guard(this.#options(call, work, mayRunUndecided ? "allow" : "deny", signal), this.#function(connection, call, work, inner))(work.n),
    );
  }

  /** A function that gives piece after piece, which are read to their end or not. */
  async #streamed(connection: Connection, work: Work): Promise<void> {
    const { random } = this.world;
    const { session } = connection;
    const most = random.chance(0.4) ? random.between(1, 3) : Number.POSITIVE_INFINITY;
    await this.#call(connection, { key: null, action: work.action, run: session.run, mayRunUndecided: false }, async (call, signal) => {
      const given: object[] = [];
      const got: object[] = [];
      const pieces = async function* (program: Program): AsyncGenerator<object> {
        for (let n = 0; n < 4; n++) {
          if (work.takesMs > 0) await program.pause(Math.ceil(work.takesMs / 4));
          if (work.fails && n === 2) {
            const threw = new Error("the stream's own");
            call.own = { threw };
            throw threw;
          }
          const piece = { n };
          given.push(piece);
          yield piece;
        }
      };
      const stream = await session.guard(this.#options(call, work, "deny", signal), (n: number | null) => {
        this.#start(session, call, n);
        return pieces(this);
      })(work.n);
      // Only what was read to its end has a cost that is known.
      call.costMicroUsd = work.fails || most < 5 ? null : work.costMicroUsd;
      for await (const piece of stream) {
        got.push(piece);
        if (got.length === most) break;
      }
      this.oracle.check(() =>
        demand(
          got.length === given.length && got.every((piece, place) => piece === given[place]),
          "what a function gives or throws passes unchanged",
          () => ({ given, got }),
        ),
      );
      call.own = { gave: got };
      return got;
    });
  }

  /** A call with a name, written down before it is made: by one, or by several at once, with one sentinel. */
  async #once(connection: Connection, by: Pick<Session, "guard"> = connection.session): Promise<void> {
    const { random } = this.world;
    await this.#repeated(connection, this.#name(connection, this.#work(), random.chance(0.5) ? `dec_${this.#uuid()}` : null), by);
  }

  /** Makes a named call, perhaps not for the first time. */
  async #repeated(connection: Connection, named: Named, by: Pick<Session, "guard"> = connection.session): Promise<void> {
    const { random } = this.world;
    const make = async (): Promise<void> => {
      if (random.chance(0.3)) await this.pause(random.between(0, random.pick([20, 2_000])));
      if (!this.#isFree(named.key, connection.line)) return;
      if (named.id === null) await this.#holding(connection, named.work, named);
      else await this.#guardedOnce(connection, named, named.id, by);
      // It may have been struck out meanwhile, and is the same call all the same.
      if (random.chance(0.2)) await make();
    };
    await Promise.all(Array.from({ length: random.pick([1, 1, 2, 3]) }, make));
  }

  #name({ session }: Connection, work: Work, id: string | null): Named {
    const named = { key: `key ${this.#keys++}`, id, session: session.id, run: session.run, work };
    this.#named.push(named);
    if (this.#named.length > 20) this.#named.shift();
    return named;
  }

  async #guardedOnce(connection: Connection, { key, run, work }: Named, id: string, by: Pick<Session, "guard">): Promise<void> {
    const { random } = this.world;
    const mayRunUndecided = random.chance(0.2);
    await this.#busyWith(key, connection.line, () =>
      this.#call(connection, { key, action: work.action, run, mayRunUndecided }, (call, signal) => {
        const options = { ...this.#options(call, work, mayRunUndecided ? "allow" : "deny", signal), id };
        return by.guard(
          options,
          this.#function(connection, call, work, async () => undefined),
        )(work.n);
      }),
    );
    if (random.chance(0.2)) this.#strike(key);
  }

  #isFree(key: string, line: Line): boolean {
    const busy = this.#busy.get(key);
    return busy === undefined || busy.line === line;
  }

  /** Does something with a sentinel, during which nobody else of this program makes the call of that name with another. */
  async #busyWith<T>(key: string | null, line: Line, act: () => Promise<T>): Promise<T> {
    if (key === null) return act();
    const count = (change: number): void => {
      const calls = (this.#busy.get(key)?.calls ?? 0) + change;
      // After a fall nothing is under way.
      if (calls <= 0) this.#busy.delete(key);
      else this.#busy.set(key, { line, calls });
    };
    count(1);
    const done = await act();
    count(-1);
    return done;
  }

  #strike(key: string): void {
    const place = this.#named.findIndex((one) => one.key === key);
    if (place >= 0) this.#named.splice(place, 1);
  }

  /** A call that people may have to approve. A named one is written down before it is made, and struck out some time after it has come to its end. */
  async #holding(connection: Connection, work: Work, again: Named | null = null): Promise<void> {
    const { random } = this.world;
    const { session } = connection;
    const named = again ?? (random.chance(0.5) ? this.#name(connection, work, null) : null);
    const { run, key } = named ?? { run: session.run, key: null };
    const mayRunUndecided = random.chance(0.1);
    const outcome = await this.#busyWith(key, connection.line, () =>
      this.#call(connection, { key, action: work.action, run, mayRunUndecided }, (call, signal) =>
        guardHeld(
          session,
          {
            ...this.#options(call, work, mayRunUndecided ? "allow" : "deny", signal),
            ...this.#patience(),
            callId: key === null ? undefined : () => key,
          },
          this.#function(connection, call, work, async () => undefined),
        )(work.n),
      ),
    );
    const error = "threw" in outcome ? outcome.threw : null;
    const isHeld = isAgentSentinelError(error, "ApprovalRequiredError");
    if (isHeld && !this.#held.some(({ hold }) => hold.decisionId === error.decisionId))
      // As it is kept, in a file or a database.
      this.#held.push({ hold: JSON.parse(JSON.stringify(error)), work, key });
    if (key !== null && random.chance(isHeld ? 0.3 : 0.5)) this.#strike(key);
  }

  #patience() {
    const { random } = this.world;
    return {
      onHold: random.chance(0.7) ? ("wait" as const) : ("throw" as const),
      timeoutMs: random.chance(0.5) ? random.between(100, 20_000) : undefined,
      toArguments: (inputs: Json): readonly [number | null] => [numberIn(inputs)],
    };
  }

  /** Takes up what waits for a person: by one, or by two at once. */
  async #resumed(kept: Kept): Promise<void> {
    const line = new Line();
    await this.#busyWith(kept.key, line, () => this.#resume(kept, line));
  }

  async #resume(kept: Kept, line: Line): Promise<void> {
    const { random } = this.world;
    const { work, key, hold } = kept;
    const held = await this.#typed(() => resume(this.#sentinel(line), hold, { callId: key ?? undefined }));
    if (held === null) {
      if (random.chance(0.3)) this.#forget(kept);
      return;
    }
    const connection = { line, session: held.session };
    if (random.chance(0.2)) await this.#typed(() => held.wait({ timeoutMs: random.between(0, 5_000) }));
    if (random.chance(0.2)) await this.#typed(() => held.read());
    if (random.chance(0.1)) await this.#typed(() => held.respond("It is needed."));
    if (random.chance(0.03)) await this.#typed(() => held.cancel({ note: "not any more" }));
    const go = (): Promise<Outcome> =>
      this.#call(connection, { key, action: work.action, run: held.run, mayRunUndecided: false }, (call, signal) =>
        held.guard(
          { ...this.#options(call, work, random.pick(["allow", "deny"]), signal), ...this.#patience() },
          this.#function(connection, call, work, async () => undefined),
        )(work.n),
      );
    // Without a name all who resume it are others, and one of them runs; with one they are the same.
    const outcomes = await Promise.all(random.chance(0.3) ? [go(), go()] : [go()]);
    const isOpen = outcomes.every(
      (one) => "threw" in one && isAgentSentinelError(one.threw) && one.threw.recoverable && one.threw.name !== "ApprovalRejectedError",
    );
    if (!isOpen || random.chance(0.2)) this.#forget(kept);
  }

  #forget(kept: Kept): void {
    const place = this.#held.indexOf(kept);
    if (place >= 0) this.#held.splice(place, 1);
  }

  /** Asks, spends and reports without a guard. */
  async #decided({ session }: Connection, work: Work): Promise<void> {
    const { random } = this.world;
    const inputs = work.n === null ? undefined : { n: work.n };
    const decision = await this.#typed(() => session.decide({ action: work.action, estimateUsd: usdOf(work.estimateMicroUsd), inputs }));
    if (decision === null) return;
    const { id } = decision;
    if (decision.verdict === "hold" && random.chance(0.2)) await this.#typed(() => decision.wait({ timeoutMs: random.between(0, 5_000) }));
    if (decision.verdict !== "allow" || decision.superseded !== null) return;
    if (random.chance(0.3)) await this.#typed(() => session.topup(id, usdOf(work.estimateMicroUsd + random.between(0, 50_000))));
    if (random.chance(0.2)) await this.#typed(() => session.extend(id, random.between(1_000, 60_000)));
    if (work.takesMs > 0) await this.pause(work.takesMs);
    if (random.chance(0.3)) await this.#typed(() => session.readDecision(id));
    if (random.chance(0.3)) {
      await this.#typed(() => session.release(id));
      return;
    }
    const costUsd = usdOf(work.costMicroUsd ?? work.estimateMicroUsd);
    const settled = await this.#typed(() => session.commit(id, { costUsd, outcome: work.fails ? "error" : "success" }));
    if (settled !== null)
      this.oracle.check(() => demand(usd(settled.postedUsd) === usd(costUsd), "a commit posts what was reported", () => ({ settled, costUsd })));
  }

  /** Takes a slice of the session's budget, and works with it until it has had enough, or is told that it is over. */
  async #leasing(connection: Connection): Promise<void> {
    const { random } = this.world;
    const lease = await this.#typed(() => leaseOf(connection.session, this.#wish()));
    if (lease === null) return;
    let leased: Leased | null = null;
    this.oracle.check(() => {
      leased = this.#calls.granted({ ...lease, session: connection.session.id, amountUsd: lease.amountUsd });
    });
    // An oracle that has found something looks at nothing more.
    if (leased === null) return;
    for (let left = random.between(1, 12); left > 0 && !this.isStopped && (lease.isOpen || random.chance(0.5)); left--) {
      await this.pause(random.between(0, 60) + (random.chance(0.05) ? random.between(1_000, 30_000) : 0));
      if (this.isStopped) break;
      await this.#useLease(connection, lease, leased);
    }
    if (random.chance(0.6)) {
      const stop = new AbortController();
      if (random.chance(0.2)) this.world.plan(random.between(0, 2_000), this, "wants it no more", () => stop.abort(NO_MORE));
      await this.#typed(() => lease.close({ signal: stop.signal }));
    }
  }

  #wish(): LeaseOptions {
    const { random } = this.world;
    return {
      amountUsd: usdOf(random.between(1, Math.floor(SCALE_MICRO_USD / random.pick([2, 5, 20])))),
      actions: random.pick([[random.pick(ACTIONS)], [random.pick(ACTIONS), random.pick(ACTIONS)], ["mail.*"], ["*.read", "pay"], ["*"]]),
      ttlMs: random.chance(0.3) ? undefined : random.between(1_000, 60_000),
      settleMs: random.pick([undefined, 10, 5_000]),
    };
  }

  async #useLease(connection: Connection, lease: ClientLease, leased: Leased): Promise<void> {
    const { random } = this.world;
    const covered = ACTIONS.filter((action) => leased.covers(action));
    const work = (): Work => ({
      ...this.#work(),
      action: random.chance(0.9) ? random.pick(covered) : random.pick(ACTIONS),
      estimateMicroUsd: random.between(0, Math.ceil(leased.amountMicroUsd / random.pick([1, 3, 10]))),
    });
    const guarded = (inner?: () => Promise<unknown>): Promise<void> => this.#guardedBy(connection, lease, leased, work(), inner);
    switch (random.weighted({ guard: 6, several: 4, nested: 1, byHand: 4, beside: 2, once: 1, settle: 1 })) {
      case "guard":
        return guarded();
      case "several":
        await Promise.all(Array.from({ length: random.between(2, 8) }, () => guarded()));
        return;
      case "nested":
        return guarded(() => guarded());
      case "byHand":
        return this.#decidedBy(connection, lease, leased, work());
      case "beside":
        return this.#guarded(connection, work());
      // Whether it was asked before the gateway alone knows, which is asked.
      case "once":
        return this.#once(connection, lease);
      case "settle":
        await this.#typed(() => lease.settle());
        return;
    }
  }

  async #guardedBy(connection: Connection, lease: ClientLease, leased: Leased, work: Work, inner = async (): Promise<unknown> => undefined) {
    const mayRunUndecided = this.world.random.chance(0.1);
    await this.#call(connection, { key: null, action: work.action, run: connection.session.run, mayRunUndecided }, (call, signal) => {
      const guarded = lease.guard(
        this.#options(call, work, mayRunUndecided ? "allow" : "deny", signal),
        this.#function(connection, call, work, inner),
      );
      return this.#decide(call, leased, work, () => guarded(work.n));
    });
  }

  /** Decides, spends and reports with a lease and without a guard. */
  async #decidedBy({ line, session }: Connection, lease: ClientLease, leased: Leased, work: Work): Promise<void> {
    const { random } = this.world;
    const call = this.#calls.begin(line, { key: null, action: work.action, run: session.run, mayRunUndecided: false });
    const inputs = work.n === null ? undefined : { n: work.n };
    const request = { action: work.action, estimateUsd: usdOf(work.estimateMicroUsd), inputs };
    const decision = await this.#typed(() => this.#decide(call, leased, work, () => lease.decide(request)));
    const end = (): void => {
      call.hasEnded = true;
    };
    if (decision === null || decision.verdict !== "allow" || decision.superseded !== null) return end();
    const { id } = decision;
    if (random.chance(0.3))
      await this.#typed(() => this.#decide(call, leased, work, () => lease.topup(id, usdOf(random.between(0, 2 * work.estimateMicroUsd)))));
    const isLeased = call.leased !== null;
    if (random.chance(0.2)) {
      if (isLeased) this.oracle.check(() => this.#calls.gaveBack(call));
      await this.#typed(() => lease.release(id));
      return end();
    }
    if (isLeased) this.#start(session, call, work.n);
    if (work.takesMs > 0) await this.pause(work.takesMs);
    call.costMicroUsd = work.costMicroUsd ?? work.estimateMicroUsd;
    if (isLeased) this.#calls.did(call);
    await this.#typed(() => lease.commit(id, { outcome: work.fails ? "error" : "success", costUsd: usdOf(call.costMicroUsd ?? 0) }));
    end();
  }

  /** Asks a lease. What it decides by itself it says before this comes back. */
  #decide<T>(call: Call, leased: Leased, { n }: Work, act: () => T): T {
    this.#deciding = { call, leased, inputs: n === null ? undefined : { n } };
    try {
      return act();
    } finally {
      this.#deciding = null;
    }
  }

  /** What the SDK gives; `null`: it threw, and that was an error of its own. */
  async #typed<T>(act: () => Promise<T>): Promise<T | null> {
    try {
      return await act();
    } catch (error) {
      this.oracle.check(() => demand(error === NO_MORE || isAgentSentinelError(error), "the SDK throws errors of its own", () => String(error)));
      if (isAgentSentinelError(error)) this.oracle.refused(error.code);
      return null;
    }
  }

  #uuid(): string {
    const bytes = new Uint8Array(10);
    this.world.random.fill(bytes);
    return idOf("dec", this.world.now, bytes).slice("dec_".length);
  }
}

/** Why somebody stopped asking. */
const NO_MORE = new Error("it is wanted no more");

const usdOf = (microUsd: number): string => (microUsd / 1_000_000).toFixed(6);

/** What the inputs of a call say that its argument is. */
function numberIn(inputs: Json): number | null {
  const n: unknown = Reflect.get(Object(inputs), "n");
  return typeof n === "number" ? n : null;
}
