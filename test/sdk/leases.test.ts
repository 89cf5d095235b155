import { afterEach, beforeEach, describe, expect, expectTypeOf, test, vi } from "vitest";
import {
  type AgentSentinelError,
  type CallContext,
  type CommitFailed,
  GatewayRefusedError,
  type LeaseNews,
  type Session,
} from "../../sdk/src/index.ts";
import { type ClientLease, type LeaseOptions, leaseOf } from "../../sdk/src/leases.ts";
import { denied, type FakeGateway, type Fate, fakeGateway, handTime, openFake, problem, RUN, SESSION } from "./gateway.ts";
import { microOf } from "./lease_desk.ts";

const WISH: LeaseOptions = { amountUsd: "1", actions: ["search*"] };
const other = new Error("it was stopped");
const NOT_AGAIN = problem(409, "lease_refused", {
  detail: 'The agent "ada" was killed. The lease "lse_1" was granted under this Idempotency-Key before that: settle it to give back what it holds.',
});

/** A session with a lease, whose clock only the test moves, and nothing seen yet. */
async function openLeased(gateway: FakeGateway, wish: Partial<LeaseOptions> = {}) {
  const time = handTime();
  const news: LeaseNews[] = [];
  const lost: CommitFailed[] = [];
  const told: string[] = [];
  let inFlight = 0;
  const { session, sentinel } = await openFake(gateway, {
    ...time,
    fetch: async (url, init) => {
      inFlight++;
      try {
        return await fetch(url, init);
      } finally {
        inFlight--;
      }
    },
    onLease: (each) => news.push(each),
    onCommitFailed: (each) => lost.push(each),
    onDecision: ({ id }) => told.push(id),
  });
  const lease = await leaseOf(session, { ...WISH, ...wish });
  gateway.seen.length = 0;
  /** Lets time pass, while nothing is on its way, until it is so. */
  const passUntil = async (isSo: () => boolean): Promise<void> => {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (isSo()) return;
      const [first] = time.left();
      if (inFlight === 0 && first !== undefined) time.advance(Math.max(0, first));
    }
  };
  const passing = async <T>(promise: Promise<T>): Promise<T> => {
    let isDone = false;
    const done = (): void => {
      isDone = true;
    };
    promise.then(done, done);
    await passUntil(() => isDone);
    return promise;
  };
  return { time, session, sentinel, lease, news, lost, told, passing, passUntil };
}

const entriesOf = (gateway: FakeGateway, lease: ClientLease) => [...(gateway.desk.leases.get(lease.id)?.entries.values() ?? [])];
const settled = (gateway: FakeGateway) => gateway.seen.filter(({ path }) => path.endsWith("/settle")).map(({ body }) => body);
/** Until it is so; what is being waited for is on its way over a real socket. */
const until = (isSo: () => boolean) => vi.waitUntil(isSo, { timeout: 10_000, interval: 1 });
const thrown = (call: Promise<unknown>) =>
  call.then(
    () => null,
    (error: AgentSentinelError) => error,
  );

// What passes here passes by the wall's clock alone; what the steady one does is tried with the term.
beforeEach(() => {
  vi.spyOn(performance, "now").mockReturnValue(0);
});
afterEach(() => vi.restoreAllMocks());

describe("a lease", () => {
  test("is asked for as the wire has it, under a key, and is as it was granted", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway, handTime());
    const lease = await leaseOf(session, { amountUsd: 0.5, actions: ["search*", "read"], ttlMs: 5_000 });
    const [asked] = gateway.seen;
    expect(asked?.path).toBe(`/v1/sessions/${SESSION}/leases`);
    expect(asked?.headers["idempotency-key"]).toMatch(/^[\w-]{36}$/);
    expect(asked?.body).toEqual({ amount_usd: "0.5", actions: ["search*", "read"], ttl_ms: 5_000, run: RUN });
    expect(lease).toMatchObject({ id: "lse_1", run: RUN, actions: ["search*", "read"], amountUsd: "0.5", remainingUsd: "0.5", isOpen: true });
    expect(lease.session).toBe(session);
    await lease.close();
  });

  test("decides without asking, and tells in one request what was done", async () => {
    await using gateway = await fakeGateway();
    const { lease, told, time } = await openLeased(gateway);
    const search = lease.guard(
      { action: "search_web", costUsd: 0.25, actualUsd: ({ length }) => length / 100, tags: ["web"] },
      async (query: string) => {
        time.advance(7);
        return `found ${query}`;
      },
    );
    expect(await search("a lease")).toBe("found a lease");
    expect([gateway.seen.length, lease.remainingUsd]).toEqual([0, "0.87"]);
    await expect(
      lease.guard({ action: "search_web", costUsd: "0.1" }, () => {
        throw other;
      })(),
    ).rejects.toBe(other);
    expect(await lease.settle()).toMatchObject({ state: "open", accepted: 2, duplicates: 0, postedUsd: "0.23" });
    const [first, second] = told;
    expect(settled(gateway)).toEqual([
      {
        entries: [
          {
            id: first,
            action: "search_web",
            at: "2026-11-22T12:00:00.000Z",
            tags: ["web"],
            inputs: ["a lease"],
            estimate_usd: "0.25",
            cost_usd: "0.13",
            outcome: "success",
            duration_ms: 7,
          },
          {
            id: second,
            action: "search_web",
            at: "2026-11-22T12:00:00.007Z",
            inputs: [],
            estimate_usd: "0.1",
            cost_usd: "0.1",
            outcome: "error",
            error: "Error: it was stopped",
            duration_ms: 0,
          },
        ],
        final: false,
      },
    ]);
    await lease.close();
    expect(gateway.desk.leases.get(lease.id)).toMatchObject({ state: "settled", returnedMicroUsd: 770_000 });
    expect(gateway.count(/decisions/)).toBe(0);
    expect(time.left()).toEqual([]);
  });

  test("says what was there when it was decided, whatever becomes of it afterwards", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    const given = { list: [1] };
    await lease.guard({ action: "search", outputs: (result) => result }, (arg: { list: number[] }) => {
      arg.list.push(2);
      return arg;
    })(given);
    given.list.push(3);
    await lease.close();
    expect(entriesOf(gateway, lease)).toMatchObject([{ inputs: { list: [1] }, outputs: { list: [1, 2] } }]);
  });

  test("keeps this, name, length and types of what it guards, as a session does", async () => {
    await using gateway = await fakeGateway();
    const { lease, session } = await openLeased(gateway);
    const till = {
      balance: 5,
      spend: lease.guard({ action: "search" }, function spend(this: { balance: number }, amount: number, _note?: string) {
        this.balance -= amount;
        return this.balance;
      }),
    };
    expect(await till.spend(2)).toBe(3);
    expect([till.spend.name, till.spend.length]).toEqual(["spend", 2]);
    expectTypeOf<Parameters<typeof till.spend>>().toEqualTypeOf<[amount: number, _note?: string | undefined]>();
    expectTypeOf(till.spend).returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<ThisParameterType<typeof till.spend>>().toEqualTypeOf<{ balance: number }>();
    const generic = lease.guard({ action: "search" }, async <T>(value: T) => value);
    expectTypeOf(await generic("a" as const)).toEqualTypeOf<"a">();
    expectTypeOf(lease.guard).toEqualTypeOf(session.guard);
    // @ts-expect-error a guarded function takes what the function takes
    const wrong = () => till.spend("2");
    expect(wrong).toBeTypeOf("function");
    await lease.close();
  });

  test("is reserved from for as long as a stream is read", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    const stream = await lease.guard({ action: "search", costUsd: "0.4", actualUsd: () => "0.1" }, async function* () {
      yield 1;
      yield 2;
    })();
    expect(lease.remainingUsd).toBe("0.6");
    const got: number[] = [];
    for await (const piece of stream) got.push(piece);
    expect([got, lease.remainingUsd]).toEqual([[1, 2], "0.9"]);
    await lease.close();
  });

  test("grants a call more while it runs, by its context, and charges what it granted", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    const grow = lease.guard({ action: "search", costUsd: "0.1", context: true }, async ({ topUp }: CallContext) => {
      await topUp("0.8");
      await expect(topUp("1.000001")).rejects.toMatchObject({ code: "session_budget_exceeded" });
      return lease.remainingUsd;
    });
    expect([await grow(), gateway.seen.length]).toEqual(["0.2", 0]);
    await lease.close();
    expect(entriesOf(gateway, lease)).toMatchObject([{ estimate_usd: "0.8", cost_usd: "0.8" }]);
  });

  test("decides for who does without a guard: reserves, asks for more, gives back, and is told the cost once", async () => {
    await using gateway = await fakeGateway();
    const { lease, time } = await openLeased(gateway);
    const first = await lease.decide({ action: "search", estimateUsd: "0.5" });
    expect(first).toMatchObject({ verdict: "allow", reason: { code: "permitted" }, reservation: { amountUsd: "0.5" }, policy: { name: "demo" } });
    expect(await first.wait()).toMatchObject({ state: "pending", postedUsd: "0" });
    expect(await lease.topup(first.id, "0.8")).toMatchObject({ verdict: "allow", reservation: { amountUsd: "0.8" } });
    expect(lease.remainingUsd).toBe("0.2");
    const more = await lease.topup(first.id, "1.000001");
    expect(more).toMatchObject({ verdict: "deny", stops: "action", reason: { code: "session_budget_exceeded" } });
    expect(() => more.assertAllowed()).toThrow("What is left of the lease does not cover the new sum".toLowerCase().slice(1));
    expect(await lease.topup(first.id, "0.3")).toMatchObject({ verdict: "allow" });
    const second = await lease.decide({ action: "search", estimateUsd: "0.7" });
    expect([second.verdict, lease.remainingUsd, gateway.seen.length]).toEqual(["allow", "0", 0]);
    await lease.release(second.id);
    await lease.commit(first.id, { outcome: "success", usage: { input_tokens: 3 } });
    await lease.commit(first.id, { outcome: "error", costUsd: 5 });
    expect(lease.remainingUsd).toBe("0.7");
    await lease.close();
    expect(entriesOf(gateway, lease)).toMatchObject([
      { id: first.id, estimate_usd: "0.3", cost_usd: "0.3", outcome: "success", usage: { input_tokens: 3 } },
    ]);
    // By itself it would be another report than the one that was told.
    await lease.commit(first.id, { outcome: "success", usage: { input_tokens: 3 } });
    expect([gateway.seen.length, time.left()]).toEqual([1, []]);
  });

  test("has gone out of money when something cost more than was reserved, and says so of all of it", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    await lease.guard({ action: "search", costUsd: "0.5", actualUsd: () => "1.25" }, () => 1)();
    expect(lease.remainingUsd).toBe("0");
    // What is said to cost nothing could otherwise be made for ever, and its cost told afterwards.
    for (const costUsd of ["0", "0.000001"]) await lease.guard({ action: "search", costUsd }, () => 1)();
    expect(gateway.count(/decisions$/)).toBe(2);
    expect(await lease.settle()).toMatchObject({ postedUsd: "1.25", overrunUsd: "0.25" });
  });

  test("refuses what is no amount before anything runs, and what was reserved stands when no cost can be read", async () => {
    await using gateway = await fakeGateway();
    const { lease, lost } = await openLeased(gateway);
    let runs = 0;
    await expect(lease.guard({ action: "search", costUsd: "-1" }, () => runs++)()).rejects.toThrow(RangeError);
    const { id } = await lease.decide({ action: "search", estimateUsd: "0.5" });
    await expect(lease.commit(id, { outcome: "success", costUsd: Number.NaN })).rejects.toThrow(RangeError);
    expect([runs, lease.remainingUsd]).toEqual([0, "0.5"]);
    await lease.guard({ action: "search", costUsd: "0.1", actualUsd: () => Number.NaN }, () => 1)();
    expect([lost.length, lease.remainingUsd]).toEqual([1, "0.4"]);
  });
});

describe("what a lease does not cover is asked of the gateway:", () => {
  type Leased = Awaited<ReturnType<typeof openLeased>>;
  test.each<[string, object, ((leased: Leased) => unknown)?]>([
    ["another action", { action: "send" }],
    ["an action whose name only begins so", { action: "research" }],
    ["more than is left", { costUsd: "1.000001" }],
    ["more than any lease can have", { costUsd: "9999999999.999999" }],
    ["another run", { run: "run_2" }],
    ["what has an approval", { approval: "apr_1" }],
    ["what the gateway is to price", { costUsd: undefined, usage: { max_output_tokens: 5 } }],
    ["what a model does for nobody knows how much", { costUsd: undefined, model: "nobody/knows" }],
    ["what says more of itself than a settling holds", { rationale: "x".repeat(80_000) }],
    ["anything once it is closed", {}, ({ lease }) => lease.close()],
    ["anything once it is settled for good", {}, ({ lease }) => lease.settle({ final: true })],
    ["anything once its time is up", {}, ({ time }) => time.advance(29_000)],
    ["anything once its run is closed here", {}, ({ session }) => session.closeRun()],
    ["anything once the session is closed here", {}, ({ session }) => session.close()],
    ["anything once its run is stopped", {}, ({ session }) => session.stop(other, ({ run, action }) => run === RUN && action === null)],
    ["what is stopped by name", {}, ({ session }) => session.stop(other, ({ action }) => action === "search")],
    [
      "what is stopped by name, though it was decided before",
      {},
      async ({ session, lease }) => {
        await lease.release((await lease.decide({ action: "search" })).id);
        session.stop(other, ({ action }) => action === "search");
      },
    ],
  ])("%s", async (_, asked, before) => {
    await using gateway = await fakeGateway();
    const leased = await openLeased(gateway);
    await before?.(leased);
    await leased.lease.guard({ action: "search", costUsd: "0.5", ...asked }, () => 1)();
    expect(gateway.seen.map(({ path }) => path.replace(/.*\/(?=\w+$)/, "")).filter((path) => /decisions|commit/.test(path))).toEqual([
      "decisions",
      "commit",
    ]);
    await leased.lease.close();
    expect(entriesOf(gateway, leased.lease)).toEqual([]);
  });

  test("what may have been asked before, and whether it has ended; then it runs once", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    let runs = 0;
    const search = lease.guard({ action: "search", id: "dec_01890000-0000-7000-8000-000000000009" }, () => runs++);
    await search();
    expect(gateway.seen.map(({ method, path }) => `${method} ${path.replace(/.*\//, "").slice(0, 4)}`)).toEqual([
      "POST deci",
      "GET dec_",
      "POST comm",
    ]);
    expect(await thrown(search())).toMatchObject({ name: "GatewayRefusedError", code: "decision_settled" });
    expect([runs, gateway.seen.length]).toEqual([1, 3]);
    await lease.close();
  });

  test("nothing once the session is stopped: then nothing runs", async () => {
    await using gateway = await fakeGateway();
    const { lease, session } = await openLeased(gateway);
    let runs = 0;
    const search = lease.guard({ action: "search" }, () => runs++);
    session.stop(other);
    expect([await thrown(search()), runs, gateway.count(/decisions/)]).toEqual([other, 0, 0]);
    await lease.close();
  });

  test("but what is not shown is told so, by a lease too", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    await lease.guard({ action: "search" }, (_: Map<string, string>) => 1)(new Map());
    await lease.close();
    expect(entriesOf(gateway, lease)).toMatchObject([{ inputs_digest: `sha-256:${"0".repeat(64)}` }]);
  });

  test.each<[string, (leased: Leased) => unknown]>([
    ["another action is stopped", ({ session }) => session.stop(other, ({ action }) => action === "send")],
    ["another run is stopped", ({ session }) => session.stop(other, ({ run }) => run === "run_2")],
    ["its time is not up", ({ time }) => time.advance(28_999)],
    ["another run is begun", async ({ session }) => session.startRun()],
  ])("and nothing else: not when %s", async (_, before) => {
    await using gateway = await fakeGateway();
    const leased = await openLeased(gateway);
    await before(leased);
    await leased.lease.guard({ action: "search", costUsd: "0.5", run: RUN }, () => 1)();
    expect(gateway.count(/decisions/)).toBe(0);
    await leased.lease.close();
    expect(entriesOf(gateway, leased.lease).length).toBe(1);
  });

  test("and its no is the session's, with the error that it stands for", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("search", denied("run_budget_exceeded", "The run's budget is gone.", { stops: "run" }));
    const { lease, session } = await openLeased(gateway);
    let runs = 0;
    const error = await thrown(lease.guard({ action: "search", costUsd: 2 }, () => runs++)());
    expect(error).toMatchObject({ name: "BudgetExceededError", code: "run_budget_exceeded" });
    // What stops a run ends its leases: the gateway says what may still be done.
    expect([runs, session.signal.aborted, lease.isOpen, lease.remainingUsd]).toEqual([0, true, false, "0"]);
  });

  test("whatever was decided there is ended there", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    const one = await lease.decide({ action: "send", estimateUsd: "0.5" });
    await lease.topup(one.id, "0.6");
    await lease.commit(one.id, { outcome: "success", costUsd: "0.6" });
    const two = await lease.decide({ action: "send" });
    await lease.release(two.id);
    expect(gateway.seen.map(({ path }) => path.replace(/^.*?\/decisions/, ""))).toEqual([
      "",
      `/${one.id}/topup`,
      `/${one.id}/commit`,
      "",
      `/${two.id}/release`,
    ]);
    await lease.close();
  });
});

describe("a kill", () => {
  test.each<[string, ((work: { run: string; action: string | null }) => boolean) | undefined, boolean]>([
    ["the session", undefined, true],
    ["its run", ({ run }) => run === RUN, true],
    ["its action", ({ action }) => action === "search", true],
    ["another action", ({ action }) => action === "send", false],
    ["another run", ({ run }) => run === "run_2", false],
  ])("of %s aborts what runs under a lease, or does not", async (_, which, isMeant) => {
    await using gateway = await fakeGateway();
    const { lease, session } = await openLeased(gateway);
    let begun = (): void => undefined;
    const running = new Promise<void>((resolve) => {
      begun = resolve;
    });
    let end = (): void => undefined;
    const call = lease.guard({ action: "search", costUsd: "0.5", context: true }, async ({ signal }: { readonly signal: AbortSignal }) => {
      begun();
      await new Promise<void>((resolve, reject) => {
        end = resolve;
        signal.addEventListener("abort", () => reject(signal.reason));
      });
      return "done";
    })();
    await running;
    session.stop(other, which);
    if (isMeant) await expect(call).rejects.toBe(other);
    else {
      end();
      expect(await call).toBe("done");
    }
    await lease.close();
    expect(entriesOf(gateway, lease)).toMatchObject([{ outcome: isMeant ? "error" : "success", cost_usd: "0.5" }]);
  });

  test("aborts what a lease guards that was over when it began, and is looked for there too", async () => {
    await using gateway = await fakeGateway();
    const { lease, session } = await openLeased(gateway);
    const search = lease.guard({ action: "search", context: true }, async ({ signal }: { readonly signal: AbortSignal }, stop: () => unknown) => {
      await stop();
      signal.throwIfAborted();
    });
    await lease.close();
    await search(() => undefined);
    gateway.seen.length = 0;
    await search(() => session.check());
    expect(gateway.seen.map(({ path }) => path.replace(/.*\//, "").slice(0, 4))).toEqual(["deci", "ses_", "dec_", "comm"]);
    await expect(search(() => session.stop(other))).rejects.toBe(other);
  });

  test("that comes between the yes and the start lets nothing run, and gives back what was reserved", async () => {
    await using gateway = await fakeGateway();
    const time = handTime();
    const holder: { session?: Session } = {};
    const { session } = await openFake(gateway, { ...time, onDecision: () => holder.session?.stop(other) });
    const lease = await leaseOf(session, WISH);
    holder.session = session;
    let runs = 0;
    await expect(lease.guard({ action: "search", costUsd: "0.5" }, () => runs++)()).rejects.toBe(other);
    await lease.close();
    expect([runs, entriesOf(gateway, lease), gateway.desk.leases.get(lease.id)?.returnedMicroUsd]).toEqual([0, [], 1_000_000]);
  });

  test("is looked for among what the gateway decided, not among what it has not heard of yet", async () => {
    await using gateway = await fakeGateway();
    const { lease, session } = await openLeased(gateway);
    const reads: string[] = [];
    const look = async (): Promise<void> => {
      gateway.seen.length = 0;
      await session.check();
      reads.push(...gateway.seen.map(({ path }) => path.replace(SESSION, "…").replace(/dec_[\w-]+/, "dec")));
    };
    await lease.guard({ action: "search" }, look)();
    await lease.guard({ action: "send" }, look)();
    expect(reads).toEqual(["/v1/sessions/…", "/v1/sessions/…", "/v1/sessions/…/decisions/dec"]);
    await lease.close();
  });

  test.each<[string, (session: Session) => unknown, readonly string[]]>([
    ["of the session", (session) => session.stop(other), []],
    ["of the run", (session) => session.stop(other, ({ run, action }) => run === RUN && action === null), []],
    ["of the action", (session) => session.stop(other, ({ action }) => action === "search"), ["send"]],
    ["of something else", (session) => session.stop(other, ({ action }) => action === "pay"), ["search", "send"]],
    ["as the run is closed", (session) => session.closeRun(), []],
  ])("%s that comes while the lease is being granted is about it too", async (_, stop, decides) => {
    await using gateway = await fakeGateway();
    const time = handTime();
    const holder: { session?: Session } = {};
    const { session } = await openFake(gateway, {
      ...time,
      fetch: async (url, init) => {
        const answer = await fetch(url, init);
        const { session: told } = holder;
        delete holder.session;
        if (told !== undefined) void stop(told);
        return answer;
      },
    });
    holder.session = session;
    const lease = await leaseOf(session, { ...WISH, actions: ["search", "send"] });
    const asked = gateway.count(/decisions$/);
    const here: string[] = [];
    for (const action of lease.actions) {
      const before = gateway.count(/decisions$/);
      const { id } = await lease.decide({ action });
      if (gateway.count(/decisions$/) === before) here.push(action);
      await lease.release(id);
    }
    expect([asked, here]).toEqual([0, decides]);
    await lease.close();
  });

  test("that was heard of keeps a lease from being asked for", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway, handTime());
    session.stop(other);
    await expect(leaseOf(session, WISH)).rejects.toBe(other);
    expect(gateway.seen).toEqual([]);
  });
});

describe("what a lease has to tell", () => {
  const call = (lease: ClientLease, costUsd = "0.001") => lease.guard({ action: "search", costUsd }, () => 1)();

  test("is told within its time, together; and at once when a request's worth waits", async () => {
    await using gateway = await fakeGateway();
    const { lease, time } = await openLeased(gateway, { settleMs: 400 });
    await call(lease);
    await call(lease);
    time.advance(399);
    expect(gateway.seen).toEqual([]);
    time.advance(1);
    await until(() => entriesOf(gateway, lease).length === 2);
    for (let n = 0; n < 100; n++) await call(lease);
    time.advance(0);
    await until(() => entriesOf(gateway, lease).length === 102);
    expect(settled(gateway).map(({ final }) => final)).toEqual([false, false]);
  });

  test("is told by itself at its end, and what is left goes back before the gateway ends it", async () => {
    await using gateway = await fakeGateway();
    const { lease, time, news } = await openLeased(gateway, { settleMs: 600_000 });
    await call(lease);
    expect(time.left().filter((ms) => ms < 30_000)).toEqual([29_000]);
    time.advance(29_000);
    time.advance(0);
    await until(() => news.length === 1);
    expect(settled(gateway)).toMatchObject([{ entries: [{ action: "search" }], final: true }]);
    await lease.close();
    expect([gateway.seen.length, time.left()]).toEqual([1, []]);
  });

  test.each<[string, Fate[]]>([
    ["that failed and did nothing", ["did nothing", "did nothing", "did nothing", "did nothing"]],
    ["that failed but did it", ["did it", "did it", "did it", "did it"]],
    ["that is busy", [{ status: 503 }, { status: 429, body: problem(429, "throttled").body }, { status: 500, body: problem(500, "internal").body }]],
    [
      "that gave no answer that can be read",
      [
        { status: 200, body: { id: "lse_2" } },
        { status: 200, body: "<html>" },
      ],
    ],
  ])("to a gateway %s is told until it is heard, and counts once", async (_, fates) => {
    await using gateway = await fakeGateway();
    const { lease, news, lost, passing, passUntil } = await openLeased(gateway);
    for (let n = 0; n < 3; n++) await call(lease);
    gateway.fates.push(...fates);
    await passUntil(() => news.at(-1)?.state === "settled");
    await call(lease);
    await passing(lease.close());
    expect(entriesOf(gateway, lease).map(({ cost_usd }) => cost_usd)).toEqual(Array(4).fill("0.001"));
    expect(gateway.desk.leases.get(lease.id)).toMatchObject({ state: "settled", returnedMicroUsd: 996_000 });
    expect([lost, news.at(-1)?.state]).toEqual([[], "settled"]);
  });

  test("waits, and goes on waiting as long as it was told to, while its holder decides on", async () => {
    await using gateway = await fakeGateway();
    const { lease, time, news } = await openLeased(gateway, { ttlMs: 60_000 });
    await call(lease);
    // 429 three times, as often as one question is asked: the last one says for how long.
    gateway.fates.push(...Array(3).fill({ status: 503, headers: { "retry-after": "20" } }));
    time.advance(1_000);
    await until(() => gateway.seen.length === 1);
    await until(() => news.length === 1);
    expect(news).toMatchObject([{ lease: lease.id, session: SESSION, state: "waiting", entries: 1, error: { name: "GatewayUnavailableError" } }]);
    await call(lease);
    time.advance(19_999);
    await call(lease);
    expect([gateway.seen.length, lease.remainingUsd]).toEqual([1, "0.997"]);
    gateway.fates.length = 0;
    time.advance(1);
    await until(() => entriesOf(gateway, lease).length === 3);
    expect(gateway.seen.length).toBe(2);
  });

  test("is told later where somebody no longer waits for it, and that is no failure", async () => {
    await using gateway = await fakeGateway();
    const { lease, time, news } = await openLeased(gateway);
    await call(lease);
    const stop = new AbortController();
    const settling = thrown(lease.settle({ signal: stop.signal }));
    stop.abort(other);
    expect([await settling, news]).toEqual([other, []]);
    await call(lease);
    time.advance(1_000);
    await until(() => news.length === 1);
    expect([entriesOf(gateway, lease).length, news[0]?.state]).toEqual([2, "settled"]);
    await lease.close();
  });

  test("that has a flaw is told again without what could be flawed; nothing else is kept from being told", async () => {
    for (const at of ["/rationale", ""]) {
      await using gateway = await fakeGateway();
      const { lease, lost } = await openLeased(gateway);
      gateway.desk.refuses = ({ rationale }) => (rationale === "bad" ? at : null);
      for (const rationale of ["good", "bad", "good", "good", "bad"]) await lease.guard({ action: "search", costUsd: "0.1", rationale }, () => 1)();
      await lease.close();
      const told = entriesOf(gateway, lease).map(({ rationale, cost_usd }) => [rationale, cost_usd]);
      expect(told.sort()).toEqual([...Array(2).fill([undefined, "0.1"]), ...Array(3).fill(["good", "0.1"])]);
      expect([lost, gateway.desk.leases.get(lease.id)?.state]).toEqual([[], "settled"]);
    }
  });

  test("that is never taken is told to the application, and then nothing of the lease is given back", async () => {
    await using gateway = await fakeGateway();
    const { lease, lost } = await openLeased(gateway);
    gateway.desk.refuses = ({ cost_usd }) => (cost_usd === "0.3" ? "/id" : null);
    for (const costUsd of ["0.1", "0.3", "0.2"]) await call(lease, costUsd);
    await lease.close();
    expect(entriesOf(gateway, lease).map(({ cost_usd }) => cost_usd)).toEqual(["0.1", "0.2"]);
    expect(lost).toMatchObject([{ session: SESSION, action: "search", report: { costUsd: "0.3", outcome: "success" }, error: { status: 422 } }]);
    // Nobody can say that the rest was not spent: the gateway posts it when the lease expires.
    expect(gateway.desk.leases.get(lease.id)?.state).toBe("open");
  });

  test("to a gateway that does not let its holder speak ends the lease, and waits", async () => {
    await using gateway = await fakeGateway();
    const { lease, passUntil } = await openLeased(gateway);
    await call(lease);
    gateway.desk.barred = { status: 403, code: "scope_insufficient" };
    expect(await thrown(lease.settle())).toMatchObject({ name: "GatewayRefusedError", code: "scope_insufficient" });
    expect(lease.isOpen).toBe(false);
    gateway.desk.barred = null;
    await passUntil(() => gateway.desk.leases.get(lease.id)?.state === "settled");
    expect(entriesOf(gateway, lease).length).toBe(1);
  });

  test("is given up ten minutes after the end, told to the application, and kept for who asks once more", async () => {
    await using gateway = await fakeGateway();
    const { lease, lost, passUntil, time } = await openLeased(gateway);
    await call(lease);
    gateway.desk.barred = { status: 403, code: "scope_insufficient" };
    await passUntil(() => lost.length > 0);
    expect(lost).toMatchObject([{ action: "search", report: { costUsd: "0.001" }, error: { code: "scope_insufficient" } }]);
    expect(time.left()).toEqual([]);
    gateway.desk.barred = null;
    await lease.close();
    expect([entriesOf(gateway, lease).length, gateway.desk.leases.get(lease.id)?.state]).toEqual([1, "settled"]);
  });

  test("is bounded: with so much of it the gateway is asked", async () => {
    await using gateway = await fakeGateway();
    const { lease, passing } = await openLeased(gateway, { amountUsd: "9" });
    gateway.desk.barred = { status: 503, code: "authority_unavailable" };
    for (let n = 0; n < 1_001; n++) await call(lease);
    expect(gateway.count(/decisions$/)).toBe(1);
    gateway.desk.barred = null;
    await passing(lease.close());
    expect(entriesOf(gateway, lease).length).toBe(1_000);
  });
});

describe("the end of a lease", () => {
  /** A call that runs until it is ended. */
  const long = (lease: ClientLease) => {
    let end = (): void => undefined;
    const ending = new Promise<void>((resolve) => {
      end = resolve;
    });
    return { end, call: lease.guard({ action: "search", costUsd: "0.5", actualUsd: () => "0.2" }, () => ending)() };
  };

  test("waits for what runs, and gives back what it did not cost", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    const { call, end } = long(lease);
    const closing = Promise.all([lease.close(), lease.close()]);
    await lease.settle();
    expect([lease.isOpen, gateway.seen]).toEqual([false, []]);
    end();
    await call;
    await closing;
    expect(settled(gateway)).toMatchObject([{ entries: [{ cost_usd: "0.2" }], final: true }]);
  });

  test("waits no longer than the lease lasts; what still runs then is told when it ends, with what is left", async () => {
    await using gateway = await fakeGateway();
    const { lease, time, news } = await openLeased(gateway);
    const { call, end } = long(lease);
    await lease.guard({ action: "search", costUsd: "0.1" }, () => 1)();
    const closing = lease.close();
    time.advance(29_000);
    await closing;
    expect(settled(gateway)).toMatchObject([{ entries: [{ cost_usd: "0.1" }], final: false }]);
    end();
    await call;
    time.advance(0);
    await until(() => news.length === 2);
    expect(settled(gateway)[1]).toMatchObject({ entries: [{ cost_usd: "0.2" }], final: true });
    expect(time.left()).toEqual([]);
  });

  test("is waited for no longer than its signal says, and comes all the same", async () => {
    await using gateway = await fakeGateway();
    const { lease, time } = await openLeased(gateway);
    const { call, end } = long(lease);
    const stop = new AbortController();
    const closing = thrown(lease.close({ signal: stop.signal }));
    stop.abort(other);
    expect(await closing).toBe(other);
    end();
    await call;
    time.advance(0);
    await until(() => gateway.desk.leases.get(lease.id)?.state === "settled");
  });

  test("comes with the scope in which it is used", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway, handTime());
    {
      await using lease = await leaseOf(session, WISH);
      await lease.guard({ action: "search", costUsd: "0.1" }, () => 1)();
    }
    expect([...gateway.desk.leases.values()]).toMatchObject([{ state: "settled", returnedMicroUsd: 900_000 }]);
  });

  test("at the gateway is the end here", async () => {
    await using gateway = await fakeGateway();
    const { lease } = await openLeased(gateway);
    await lease.guard({ action: "search", costUsd: "0.1" }, () => 1)();
    const found = gateway.desk.leases.get(lease.id);
    if (found !== undefined) found.state = "expired";
    await lease.settle();
    expect(lease.isOpen).toBe(false);
  });

  test("leaves nothing behind at its session, however many there were", async () => {
    await using gateway = await fakeGateway();
    const { session, time, lease } = await openLeased(gateway);
    await lease.close();
    const { stop } = session;
    /** Who asks whether an order is meant for it: the session's own run, and whoever listens. */
    const asked = (): number => {
      let times = 0;
      session.stop(other, () => {
        times++;
        return false;
      });
      return times;
    };
    const before = asked();
    for (let n = 0; n < 3; n++) {
      const one = await leaseOf(session, WISH);
      expect(asked()).toBe(before + 1);
      await one.close();
    }
    expect([session.stop, asked(), time.left()]).toEqual([stop, before, []]);
  });
});

describe("a lease that is asked for", () => {
  test.each<[string, object]>([
    ["a larger amount", { amount_usd: "2" }],
    ["a smaller amount", { amount_usd: "0.9" }],
    ["another run", { run: "run_2" }],
    ["another session", { session: "ses_2" }],
    ["a longer time", { ttl_ms: 60_000 }],
    ["no time", { ttl_ms: 0 }],
    ["other actions", { actions: ["*"] }],
  ])("and is granted with %s is none", async (_, grant) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway, handTime());
    gateway.desk.grants.push(grant);
    expect(await thrown(leaseOf(session, WISH))).toMatchObject({ name: "GatewayRefusedError", code: "answer_malformed" });
    gateway.desk.grants.length = 0;
  });

  test("may last shorter than was asked for", async () => {
    await using gateway = await fakeGateway();
    gateway.desk.grants.push({ ttl_ms: 2_000 });
    const { lease, time } = await openLeased(gateway);
    time.advance(1_799);
    expect(lease.isOpen).toBe(true);
    time.advance(1);
    expect(lease.isOpen).toBe(false);
  });

  test("counts its time from before it was asked for", async () => {
    await using gateway = await fakeGateway();
    const time = handTime();
    const { session } = await openFake(gateway, {
      ...time,
      fetch: async (url, init) => {
        const answer = await fetch(url, init);
        if (url.endsWith("/leases")) time.advance(3_000);
        return answer;
      },
    });
    const lease = await leaseOf(session, WISH);
    time.advance(25_999);
    expect(lease.isOpen).toBe(true);
    time.advance(1);
    expect(lease.isOpen).toBe(false);
  });

  test.each<[string, Fate[]]>([
    ["nothing was done", ["did nothing", "did nothing"]],
    ["it was granted", ["did it", "did it"]],
  ])("and whose answer is lost is asked for again under its key, and granted once, when %s", async (_, fates) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.fates.push(...fates);
    const lease = await leaseOf(session, WISH);
    expect([gateway.desk.leases.size, new Set(gateway.seen.map(({ headers }) => headers["idempotency-key"])).size]).toEqual([1, 1]);
    await lease.close();
  });

  test("and that nobody waits for any more is given back", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway, { retries: 0 });
    gateway.fates.push("did it");
    expect(await thrown(leaseOf(session, WISH))).toMatchObject({ name: "GatewayUnavailableError" });
    await until(() => [...gateway.desk.leases.values()].some(({ state }) => state === "settled"));
    expect([...gateway.desk.leases.values()]).toMatchObject([{ returnedMicroUsd: 1_000_000 }]);
  });

  test("and that nobody waits for any more is given back once the gateway can be reached, or never when the lease must be over", async () => {
    await using gateway = await fakeGateway();
    const time = handTime();
    const { session } = await openFake(gateway, { retries: 0, ...time });
    const left = (): number => gateway.fates.length;
    gateway.fates.push("did it", "did nothing", "did nothing");
    expect(await thrown(leaseOf(session, WISH))).toMatchObject({ name: "GatewayUnavailableError" });
    for (const lost of [1, 0]) {
      await until(() => left() === lost && time.left()[0] === 2_000);
      time.advance(2_000);
    }
    await until(() => [...gateway.desk.leases.values()].some(({ state }) => state === "settled"));
    gateway.fates.push("did it", "did nothing", "did nothing");
    expect(await thrown(leaseOf(session, WISH))).toMatchObject({ name: "GatewayUnavailableError" });
    await until(() => left() === 1 && time.left()[0] === 2_000);
    time.advance(30_000);
    await until(() => left() === 0 && time.left().length === 0);
    expect([...gateway.desk.leases.values()].map(({ returnedMicroUsd }) => returnedMicroUsd)).toEqual([1_000_000, 0]);
  });

  test.each<[string, number, readonly Fate[]]>([
    ["it was asked for again", 3, ["did it", NOT_AGAIN]],
    ["nobody waited for it any more", 0, ["did it"]],
  ])("and whose answer is lost is given back where something was stopped before %s", async (_, retries, fates) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway, { retries });
    // The gateway gives what is stopped not again, and says which lease it was.
    gateway.fates.push(...fates, NOT_AGAIN);
    expect((await thrown(leaseOf(session, WISH)))?.name).toMatch(retries > 0 ? "GatewayRefusedError" : "GatewayUnavailableError");
    await until(() => [...gateway.desk.leases.values()].some(({ state }) => state === "settled"));
    expect([...gateway.desk.leases.values()]).toMatchObject([{ returnedMicroUsd: 1_000_000 }]);
  });

  test("is refused with the gateway's reason, and then nothing is given back", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.fates.push(problem(409, "lease_refused"));
    const error = await thrown(leaseOf(session, WISH));
    expect(error).toBeInstanceOf(GatewayRefusedError);
    expect(error).toMatchObject({
      code: "lease_refused",
      status: 409,
      recoverable: false,
      message: expect.stringMatching(/^Cannot lease 1 USD: lease_refused/),
    });
    expect([gateway.seen.length, microOf("1")]).toEqual([1, 1_000_000]);
  });
});
