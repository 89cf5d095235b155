import { describe, expect, expectTypeOf, test } from "vitest";
import { AgentKilledError, type CallContext, type Session, type Work } from "../../sdk/src/index.ts";
import { clientOf, denied, type FakeGateway, fakeGateway, openFake, RUN, SESSION } from "./gateway.ts";

/** A guarded call that is in flight until it is aborted or told to end. */
async function longCall(session: Session, action: string) {
  let begin = (_: AbortSignal): void => undefined;
  let end = (): void => undefined;
  const begun = new Promise<AbortSignal>((resolve) => {
    begin = resolve;
  });
  const work = session.guard({ action, costUsd: "0.5", context: true }, ({ signal }) => {
    begin(signal);
    return new Promise<string>((resolve, reject) => {
      end = () => resolve("done");
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  });
  const ended = work().catch((error: unknown) => error);
  return { signal: await begun, ended, end };
}

/** What of a session is known to be running. */
function runningOf(session: Session): Work[] {
  const found: Work[] = [];
  session.stop(new Error("nothing is stopped"), (work) => {
    found.push(work);
    return false;
  });
  return found;
}

/** Two runs, with "work" in flight in both and "other" in the second. */
async function twoRuns(gateway: Awaited<ReturnType<typeof fakeGateway>>) {
  const { session } = await openFake(gateway);
  const one = { run: session.run, signal: session.signal, work: await longCall(session, "work") };
  await session.startRun();
  const two = { run: session.run, signal: session.signal, work: await longCall(session, "work"), other: await longCall(session, "other") };
  const decisions = () => [...gateway.decisions.values()];
  const idOf = (run: string, action: string) => decisions().find((each) => each.run === run && each.action === action)?.id ?? "";
  const aborted = () => ({
    one: [one.signal.aborted, one.work.signal.aborted],
    two: [two.signal.aborted, two.work.signal.aborted, two.other.signal.aborted],
  });
  const endAll = async () => {
    for (const call of [one.work, two.work, two.other]) call.end();
    await Promise.all([one.work.ended, two.work.ended, two.other.ended]);
  };
  return { session, one, two, idOf, aborted, endAll };
}

const NOTHING = { one: [false, false], two: [false, false, false] };
const ALL = { one: [true, true], two: [true, true, true] };
const SIGNALS_OF_ALL = { one: [true, false], two: [true, false, false] };
const SECOND_RUN = { one: [false, false], two: [true, true, true] };
const ACTION = { one: [false, true], two: [false, true, false] };

describe("a no", () => {
  test.each([
    ["tenant_killed", "session", ALL],
    ["agent_killed", "session", ALL],
    ["session_killed", "session", ALL],
    ["run_killed", "run", SECOND_RUN],
    ["action_killed", "action", ACTION],
    // What is merely over lets finish what it has allowed.
    ["session_closed", "session", SIGNALS_OF_ALL],
    ["session_budget_exceeded", "session", SIGNALS_OF_ALL],
    ["run_budget_exceeded", "run", { one: [false, false], two: [true, false, false] }],
    ["tenant_paused", "action", NOTHING],
    ["action_paused", "action", NOTHING],
    ["action_denied", "action", NOTHING],
  ] as const)("because of %s that stops the %s aborts just that, and what was in flight is committed", async (code, stops, expected) => {
    await using gateway = await fakeGateway();
    const { session, aborted, endAll } = await twoRuns(gateway);
    gateway.answers.set("work", denied(code, "No.", { stops }));
    const before = gateway.count(/commit/);
    await session.decide({ action: "work" });
    expect(aborted()).toEqual(expected);
    await endAll();
    expect(gateway.count(/commit/) - before).toBe(3);
    expect(gateway.seen.filter(({ body }) => body.outcome === "error")).toHaveLength(
      [expected.one[1], expected.two[1], expected.two[2]].filter(Boolean).length,
    );
    expect(runningOf(session).map(({ action }) => action)).toEqual([null, null]);
  });
});

describe("an answer that a kill has superseded", () => {
  const answers: readonly [string, (session: Session, id: string) => Promise<unknown>][] = [
    ["read again", (session, id) => session.readDecision(id)],
    ["asked for again under its id", (session, id) => session.decide({ id, action: "work", estimateUsd: "0.5", inputs: [] })],
    ["asked for again with others", (session, id) => session.decideAll([{ id, action: "work" }])],
    ["waited for", async (session, id) => (await session.decide({ id, action: "work", estimateUsd: "0.5", inputs: [] })).wait()],
  ];

  test.each(answers)("stops what it allowed, when %s, and nothing else while the session lives", async (_, ask) => {
    await using gateway = await fakeGateway();
    const { session, two, idOf, aborted, endAll } = await twoRuns(gateway);
    supersede(gateway, idOf(two.run, "work"), "kill");
    await ask(session, idOf(two.run, "work"));
    await expect.poll(() => gateway.count(/sessions\/[^/]+$/)).toBeGreaterThan(0);
    expect(aborted()).toEqual({ one: [false, false], two: [false, true, false] });
    expect(two.work.signal.reason).toMatchObject({ name: "AgentKilledError", code: "superseded" });
    await endAll();
  });

  test("stops everything when the session turns out to be killed, and a new run does not undo that", async () => {
    await using gateway = await fakeGateway();
    const { session, two, idOf, aborted } = await twoRuns(gateway);
    supersede(gateway, idOf(two.run, "work"), "kill");
    gateway.killed.add(SESSION);
    await session.readDecision(idOf(two.run, "work"));
    await expect.poll(aborted).toEqual(ALL);
    await session.startRun();
    expect(session.signal.reason).toMatchObject({ name: "AgentKilledError", code: "session_killed", recoverable: false, decision: null });
    const { sentinel } = await openFake(gateway);
    gateway.killed.clear();
    // Revived: what is taken up anew goes on.
    expect((await sentinel.session(SESSION)).signal.aborted).toBe(false);
  });

  test("is told by a check of what is in flight", async () => {
    await using gateway = await fakeGateway();
    const { session, one, idOf, aborted, endAll } = await twoRuns(gateway);
    await session.check();
    expect(aborted()).toEqual(NOTHING);
    supersede(gateway, idOf(one.run, "work"), "kill");
    await session.check();
    expect(aborted()).toEqual({ one: [false, true], two: [false, false, false] });
    await endAll();
    gateway.seen.length = 0;
    await session.check();
    expect(gateway.seen.map(({ path }) => path)).toEqual([`/v1/sessions/${SESSION}`]);
    gateway.killed.add(SESSION);
    await session.read();
    expect([one.signal.aborted, session.signal.aborted]).toEqual([true, true]);
  });

  test("that only a pause has superseded stops nothing that runs", async () => {
    await using gateway = await fakeGateway();
    const { session, two, idOf, aborted, endAll } = await twoRuns(gateway);
    supersede(gateway, idOf(two.run, "work"), "pause");
    const before = gateway.seen.length;
    for (const [, ask] of answers) await ask(session, idOf(two.run, "work"));
    expect(aborted()).toEqual(NOTHING);
    expect(gateway.seen.slice(before).every(({ path }) => path.includes("/decisions"))).toBe(true);
    await endAll();
  });
});

const supersede = (gateway: Awaited<ReturnType<typeof fakeGateway>>, id: string, kind: "kill" | "pause") =>
  Object.assign(gateway.decisions.get(id) ?? {}, { superseded: { intervention: "int_1", kind } });

describe("a call", () => {
  test("that is killed while its answer travels does not run, and its money is given back", async () => {
    await using gateway = await fakeGateway();
    const { time } = await openFake(gateway);
    const reason = new AgentKilledError("Cannot go on: the action was killed", "action_killed");
    const { session }: { session: Session } = await openFake(gateway, {
      ...time,
      fetch: async (url, init) => {
        const response = await time.fetch(url, init);
        if (/decisions$/.test(url)) session.stop(reason, ({ action }) => action === "send");
        return response;
      },
    });
    let runs = 0;
    await expect(session.guard({ action: "send" }, () => runs++)()).rejects.toBe(reason);
    await expect.poll(() => [...gateway.decisions.values()].map((each) => each.state)).toEqual(["released"]);
    expect([runs, session.signal.aborted, runningOf(session).length]).toEqual([0, false, 1]);
  });

  test("that is made again under its id, and is killed since, gives nothing back: it may have run the first time", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const id = "dec_01890000-0000-7000-8000-000000000009";
    // An earlier life of the call was allowed, ran, and fell before it could say so.
    await session.decide({ action: "send", id, inputs: [] });
    supersede(gateway, id, "kill");
    let runs = 0;
    await expect(session.guard({ action: "send", id }, () => runs++)()).rejects.toMatchObject({ code: "superseded" });
    await session.read();
    expect([runs, gateway.count(/release/), [...gateway.decisions.values()].map(({ state }) => state)]).toEqual([0, 0, ["pending"]]);
  });

  test.each([
    ["its run is known to be over", denied("run_killed", "Killed.", { stops: "run" }), "GatewayUnavailableError"],
    ["its session is known to be over", denied("session_budget_exceeded", "Gone.", { stops: "session" }), "GatewayUnavailableError"],
    ["its session is known to be killed", denied("tenant_killed", "Killed.", { stops: "session" }), "AgentKilledError"],
  ])("that may run without an answer does not when %s", async (_, answer, name) => {
    await using gateway = await fakeGateway();
    gateway.answers.set("log", answer);
    const { session } = await openFake(gateway);
    let runs = 0;
    const log = session.guard({ action: "log", onUnavailable: "allow" }, () => runs++);
    gateway.fates.push("did nothing", "did nothing", "did nothing");
    await log();
    await session.decide({ action: "log" });
    gateway.fates.push("did nothing", "did nothing", "did nothing");
    await expect(log()).rejects.toMatchObject({ name });
    expect(runs).toBe(1);
  });

  test("that gives a stream is in flight until the stream has ended", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const count = session.guard({ action: "count", context: true }, async function* ({ signal }, from: number) {
      for (let n = from; n < 9; n++) {
        signal.throwIfAborted();
        yield n;
      }
      return "nine";
    });
    const left = await count(1);
    expect(await left.next()).toEqual({ value: 1, done: false });
    expect(runningOf(session)).toMatchObject([{ action: null }, { action: "count", run: RUN }]);
    await left.return("left");
    expect(runningOf(session)).toHaveLength(1);

    const killed = await count(5);
    await killed.next();
    session.stop(new RangeError("enough"), ({ action }) => action === "count");
    await expect(killed.next()).rejects.toThrow(RangeError);
    expect(gateway.seen.map(({ body }) => body.outcome).filter(Boolean)).toEqual(["success", "error"]);
    expect(runningOf(session)).toHaveLength(1);
  });

  test("is out of flight however it ends", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("no", denied("action_denied", "No."));
    const { session } = await openFake(gateway);
    const fail = () => {
      throw new RangeError("own");
    };
    await session.guard({ action: "yes" }, () => 1)();
    await session
      .guard({ action: "yes" }, fail)()
      .catch(() => undefined);
    await session
      .guard({ action: "no" }, () => 1)()
      .catch(() => undefined);
    gateway.fates.push("did nothing", "did nothing", "did nothing");
    await session.guard({ action: "yes", onUnavailable: "allow" }, () => 1)();
    expect(runningOf(session)).toHaveLength(1);
  });

  test("is given its context before its arguments, and nobody else sees it", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const till = {
      rate: 2,
      times: session.guard(
        { action: "times", context: true, inputs: (n) => ({ n }) },
        function times(this: { rate: number }, { signal }: CallContext, n: number) {
          return [this.rate * n, signal.aborted] as const;
        },
      ),
    };
    expect(await till.times(4)).toEqual([8, false]);
    expect([till.times.name, till.times.length]).toEqual(["times", 1]);
    expect(gateway.seen[0]?.body).toMatchObject({ action: "times", inputs: { n: 4 } });
    expect(Object.keys(gateway.seen[0]?.body ?? {}).sort()).toEqual(["action", "id", "inputs", "run"]);
    expectTypeOf<Parameters<typeof till.times>>().toEqualTypeOf<[n: number]>();
    expectTypeOf(till.times).returns.toEqualTypeOf<Promise<readonly [number, boolean]>>();
    const generic = session.guard(
      { action: "echo", context: true },
      async <T>(context: CallContext, value: T) => [context.signal.aborted, value] as const,
    );
    expectTypeOf(await generic("a" as const)).toEqualTypeOf<readonly [boolean, "a"]>();
    // @ts-expect-error without the option there is no context
    const wrong = () => session.guard({ action: "x" }, (context: CallContext) => context.signal)();
    expect(wrong).toBeTypeOf("function");
    expect(session.guard({ action: "x", context: true }, () => 1)).toHaveLength(0);
  });
});

describe("a session", () => {
  test("that is stopped on this side stays so: nothing that is guarded begins, and what is asked by hand only the gateway denies", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const call = await longCall(session, "work");
    const reason = new Error("the user left");
    session.stop(reason);
    session.stop(new Error("later"));
    expect([session.signal.reason, call.signal.reason, await call.ended]).toEqual([reason, reason, reason]);
    await session.startRun();
    expect(session.signal.reason).toBe(reason);
    let runs = 0;
    await expect(session.guard({ action: "work", onUnavailable: "allow" }, () => runs++)()).rejects.toBe(reason);
    expect([runs, gateway.count(/decisions$/)]).toEqual([0, 1]);
    expect((await session.decide({ action: "work" })).verdict).toBe("allow");
    expect(gateway.count(/commit/)).toBe(1);
  });

  test("that was killed stays so after a revival, and what was revived is taken up anew", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("work", denied("session_killed", "Killed.", { stops: "session" }));
    const { session, sentinel } = await openFake(gateway);
    let runs = 0;
    const work = session.guard({ action: "work" }, () => runs++);
    const killed = { name: "AgentKilledError", code: "session_killed" };
    await expect(work()).rejects.toMatchObject(killed);
    gateway.answers.clear();
    await session.startRun();
    await expect(work()).rejects.toMatchObject(killed);
    expect([runs, gateway.count(/decisions$/)]).toEqual([0, 1]);
    await (await sentinel.session(SESSION)).guard({ action: "work" }, () => runs++)();
    expect(runs).toBe(1);
  });

  test("whose run or budget is over is asked about all the same", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("dear", denied("session_budget_exceeded", "Gone.", { stops: "session" }));
    const { session } = await openFake(gateway);
    await session.decide({ action: "dear" });
    expect(session.signal.aborted).toBe(true);
    expect(await session.guard({ action: "free" }, () => "done")()).toBe("done");
  });

  test.each<[string, (session: Session, gateway: FakeGateway) => Promise<unknown>, string, boolean]>([
    ["closed here", (session) => session.close(), "session_closed", true],
    ["found closed", (session, { closed }) => session.read(closed.add(SESSION) && {}), "session_closed", true],
    ["found killed", (session, { killed }) => session.read(killed.add(SESSION) && {}), "session_killed", true],
    ["closed in its run", (session) => session.closeRun(), "run_closed", false],
  ])("that is %s aborts its signal; what was allowed finishes unless it was killed", async (_, over, code, isForGood) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const { signal } = session;
    const call = await longCall(session, "work");
    await over(session, gateway);
    expect(signal.reason).toMatchObject({ name: "AgentKilledError", code });
    expect(call.signal.aborted).toBe(code === "session_killed");
    call.end();
    await call.ended;
    await session.startRun();
    expect(session.signal.aborted).toBe(isForGood);
  });

  test.each(["killed", "closed"] as const)("that is taken up %s says so by its signal", async (state) => {
    await using gateway = await fakeGateway();
    const { sentinel } = await openFake(gateway);
    gateway[state].add(SESSION);
    expect((await sentinel.session(SESSION)).signal.reason).toMatchObject({ name: "AgentKilledError", code: `session_${state}` });
  });

  test("forgets a run that was closed, but not that the session goes on in it", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    await session.closeRun();
    await session.startRun();
    await session.closeRun();
    await session.startRun();
    expect(runningOf(session).map(({ run }) => run)).toContain(session.run);
    expect(runningOf(session).filter(({ run }) => run !== session.run)).toEqual([]);
    await session.closeRun();
    session.stop(new Error("enough"));
    expect(session.signal.aborted).toBe(true);
  });

  test("whose gateway hides it leaves what runs alone", async () => {
    const session = await clientOf(async () => Promise.reject(new TypeError("fetch failed"))).open();
    await expect(session.check()).rejects.toMatchObject({ name: "GatewayUnavailableError" });
    expect(session.signal.aborted).toBe(false);
  });
});
