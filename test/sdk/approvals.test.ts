import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, expectTypeOf, test } from "vitest";
import { type ApprovalOptions, guard, type HoldName, resume } from "../../sdk/src/approvals.ts";
import { ApprovalRequiredError, type CallContext, createSentinel, type Guarded, isAgentSentinelError, type Session } from "../../sdk/src/index.ts";
import type * as wire from "../../sdk/src/wire.ts";
import { isId } from "../../src/core/ids.ts";
import {
  answer,
  denied,
  type FakeGateway,
  type Fate,
  fakeGateway,
  fakeTime,
  held,
  LATER,
  openFake,
  problem,
  RUN,
  SESSION,
  TOKEN,
} from "./gateway.ts";

const CALL = { to: "acct_1", amount: 30 };
type Payment = typeof CALL;

/** An agent that must ask a person before it pays, and what it paid. */
async function openPayer(gateway: FakeGateway) {
  gateway.answers.set("send_money", held());
  const { sentinel, session, time } = await openFake(gateway);
  const paid: Payment[] = [];
  const pay = (payment: Payment) => {
    paid.push(payment);
    return `paid ${payment.to}`;
  };
  const options = { action: "send_money", costUsd: "0.30" } as const;
  return {
    sentinel,
    session,
    time,
    paid,
    pay,
    options,
    guarded: (more: ApprovalOptions<[Payment]> & { readonly signal?: AbortSignal }) => guard(session, { ...options, ...more }, pay),
  };
}

const decisionsAsked = (gateway: FakeGateway) => gateway.seen.filter(({ path }) => path.endsWith("/decisions")).map(({ body }) => body);
const posted = (gateway: FakeGateway) => [...gateway.decisions.values()].filter(({ state }) => state === "posted").map(({ id }) => id);
const thrown = (call: Promise<unknown>) =>
  call.then(
    () => null,
    (error: unknown) => error,
  );

/** A client of another process, which knows only what it is told. */
const elsewhere = (gateway: FakeGateway) => createSentinel({ url: gateway.url, token: TOKEN, ...fakeTime() });

describe("a guarded call that is held", () => {
  test("throws all that is needed to take it up, also as JSON", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    const error = await thrown(guarded({})(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    const [asked] = decisionsAsked(gateway);
    const facts = {
      name: "ApprovalRequiredError",
      code: "approval_required",
      recoverable: true,
      message: 'Cannot run "send_money": a person must approve it first, by "agentsentinel approvals show apr_1"',
      session: SESSION,
      run: RUN,
      decisionId: asked?.id,
      approvalId: "apr_1",
      url: "https://gate.test/v1/approvals/apr_1",
      expiresAt: LATER,
    };
    const read: unknown = JSON.parse(JSON.stringify(error));
    expect([error, read]).toMatchObject([facts, facts]);
    expect(isAgentSentinelError(read, "ApprovalRequiredError")).toBe(true);
    expect([paid, gateway.seen.length]).toEqual([[], 1]);
  });

  test.each([
    ["and gives back what nobody comes for again", undefined, "released"],
    ["and keeps it for the same call", () => "call-1", "pending"],
  ] as const)("does not run what was changed while the use was asked for, %s", async (_, callId, state) => {
    await using gateway = await fakeGateway();
    const { session, paid, pay, options } = await openPayer(gateway);
    const payment = { ...CALL };
    let asks = 0;
    const inputs = (asked: Payment): Payment => {
      // Once the second question is on its way.
      if (++asks === 2) queueMicrotask(() => Object.assign(payment, { to: "acct_2" }));
      return asked;
    };
    const paying = guard(session, { ...options, onHold: "wait", inputs, ...(callId !== undefined && { callId }) }, pay)(payment);
    await expect.poll(() => gateway.approvals.size).toBe(1);
    answer(gateway, "approved");
    await expect(paying).rejects.toMatchObject({ code: "inputs_changed" });
    await expect.poll(() => [...gateway.decisions.values()].at(-1)?.state).toBe(state);
    expect(paid).toEqual([]);
  });

  test("waits as told, asks nobody twice, and runs under a decision of its own once it is approved", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid, time } = await openPayer(gateway);
    gateway.meanwhile.push(
      () => undefined,
      () => undefined,
      () => answer(gateway, "approved"),
    );
    expect(await guarded({ onHold: "wait" })(CALL)).toBe("paid acct_1");
    const [first, use, ...more] = decisionsAsked(gateway);
    expect([more, gateway.approvals.size, paid]).toEqual([[], 1, [CALL]]);
    expect(use).toEqual({ ...first, id: use?.id, approval: "apr_1" });
    expect(use?.id).not.toBe(first?.id);
    expect(posted(gateway)).toEqual([use?.id]);
    expect(time.live()).toBe(0);
  });

  test.each([
    ["rejected", "approval_rejected"],
    ["cancelled", "approval_rejected"],
    ["expired", "approval_expired"],
    ["consumed", "approval_consumed"],
  ] as const)("that is %s throws %s, which the gateway has on record, and does not run", async (status, code) => {
    await using gateway = await fakeGateway();
    const { guarded, paid, time } = await openPayer(gateway);
    gateway.meanwhile.push(() => answer(gateway, status));
    const error = await thrown(guarded({ onHold: "wait" })(CALL));
    expect(error).toMatchObject({ name: "ApprovalRejectedError", code });
    expect([paid, time.live(), [...gateway.decisions.values()].map(({ reason }) => reason.code)]).toEqual([[], 0, ["approval_required", code]]);
  });

  test("waits no longer once it is killed, though nobody has answered and nothing is followed, and waits out a pause", async () => {
    await using gateway = await fakeGateway();
    const { session, guarded, paid } = await openPayer(gateway);
    const becomes = (kind: string) => () => {
      for (const decision of gateway.decisions.values()) Object.assign(decision, { superseded: { intervention: "int_1", kind } });
    };
    gateway.meanwhile.push(becomes("pause"), () => undefined, becomes("kill"));
    const error = await thrown(guarded({ onHold: "wait" })(CALL));
    const message = 'Cannot run "send_money": a kill stopped it';
    expect(error).toMatchObject({ name: "AgentKilledError", code: "superseded", message, recoverable: false, decision: { state: "held" } });
    expect([paid, gateway.meanwhile.length, decisionsAsked(gateway).length]).toEqual([[], 0, 1]);
    // So does who waits for the answer alone.
    for (const decision of gateway.decisions.values()) Object.assign(decision, { superseded: undefined });
    gateway.meanwhile.push(becomes("kill"));
    const other = await (await openFake(gateway)).session.decide({ action: "send_money" });
    expect(await other.wait()).toMatchObject({ state: "held", approval: { status: "pending" }, superseded: { kind: "kill" } });
    expect(session.signal.aborted).toBe(false);
  });

  test("is not asked for again when the gateway has answered, be it that nobody could decide", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    gateway.answers.set("send_money approved", denied("authority_stale", "The lease has ended."));
    gateway.meanwhile.push(() => answer(gateway, "approved"));
    expect(await thrown(guarded({ onHold: "wait" })(CALL))).toMatchObject({ name: "GatewayUnavailableError", code: "authority_stale" });
    expect([paid, decisionsAsked(gateway).length]).toEqual([[], 2]);
  });

  test("waits no longer than told, and can still be taken up then", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid, time, sentinel, options, pay } = await openPayer(gateway);
    const began = time.now();
    const error = await thrown(guarded({ onHold: "wait", timeoutMs: 300_000 })(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    expect(time.now() - began).toBe(300_000);
    expect([error.decision.approval?.status, paid, time.live()]).toEqual(["pending", [], 0]);
    answer(gateway, "approved");
    expect(await (await resume(sentinel, error)).guard(options, pay)(CALL)).toBe("paid acct_1");
    expect([paid, gateway.approvals.size]).toEqual([[CALL], 1]);
  });

  test("goes on waiting while it is the agent that was asked something", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid, time } = await openPayer(gateway);
    gateway.meanwhile.push(
      () => answer(gateway, "info_requested"),
      () => undefined,
      () => answer(gateway, "approved"),
    );
    await guarded({ onHold: "wait" })(CALL);
    expect([paid, time.paused]).toEqual([[CALL], [5000, 5000]]);
  });

  test.each<[string, (session: Session, stop: AbortController) => void]>([
    ["its signal aborts", (_session, stop) => stop.abort(new Error("enough"))],
    ["its session is stopped", (session) => session.stop(new Error("enough"))],
  ])("stops waiting at once when %s, and leaves no timer", async (_, end) => {
    await using gateway = await fakeGateway();
    const { guarded, session, paid, time } = await openPayer(gateway);
    const stop = new AbortController();
    gateway.meanwhile.push(
      () => undefined,
      () => end(session, stop),
      () => answer(gateway, "approved"),
    );
    await expect(guarded({ onHold: "wait", signal: stop.signal })(CALL)).rejects.toThrow("enough");
    expect([paid, time.live(), decisionsAsked(gateway).length]).toEqual([[], 0, 1]);
    expect([stop.signal, session.signal].flatMap((each) => getEventListeners(each, "abort"))).toEqual([]);
  });

  test("keeps this, name, length and types, and refuses at once what a guard refuses", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openPayer(gateway);
    const till = {
      balance: 5,
      spend: guard(session, { action: "spend", onHold: "wait" }, function spend(this: { balance: number }, amount: number, _note?: string) {
        this.balance -= amount;
        return this.balance;
      }),
    };
    expect(await till.spend(2)).toBe(3);
    expect([till.spend.name, till.spend.length]).toEqual(["spend", 2]);
    expectTypeOf(till.spend).toEqualTypeOf<Guarded<{ balance: number }, [amount: number, _note?: string | undefined], number>>();
    const aborting = guard(session, { action: "spend", context: true }, ({ signal }, amount: number) => [signal.aborted, amount]);
    expectTypeOf<Parameters<typeof aborting>>().toEqualTypeOf<[amount: number]>();
    expect(await aborting(2)).toEqual([false, 2]);
    expect(() =>
      guard(session, { action: "spend" }, function* () {
        yield 1;
      }),
    ).toThrow(/Cannot guard "spend": wanted an async generator/);
  });

  test("has options that may name the first of its arguments only, and of their very types", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openPayer(gateway);
    const options = { action: "spend", inputs: (amount: number) => ({ amount }) };
    const spend = (amount: number, note: string) => `${amount} ${note}`;
    const guards = [
      session.guard(options, spend),
      session.guard({ action: "spend", inputs: (amount) => ({ amount }) }, spend),
      guard(session, { action: "spend", inputs: (amount) => ({ amount }), callId: (_amount, note) => note }, spend),
      guard(session, { action: "spend", costUsd: (amount) => amount, context: true }, (_: CallContext, amount: number, note: string) =>
        spend(amount, note),
      ),
    ];
    for (const each of guards) expect(await each(2, "a")).toBe("2 a");
    expect(decisionsAsked(gateway).map(({ inputs, estimate_usd }) => [inputs, estimate_usd])).toEqual([
      [{ amount: 2 }, undefined],
      [{ amount: 2 }, undefined],
      [{ amount: 2 }, undefined],
      [[2, "a"], "2"],
    ]);
    // @ts-expect-error What is no argument of it is named.
    session.guard({ action: "spend", inputs: (a, b, c) => [a, b, c] }, spend);
    // @ts-expect-error An argument is taken for something else.
    session.guard({ action: "spend", inputs: (amount: string) => amount }, spend);
  });

  test.each<[string, (session: Session) => Promise<unknown>]>([
    ["a hold of another call", (session) => session.guard({ action: "send_money" }, () => undefined)()],
    [
      "an unreachable gateway",
      () => createSentinel({ url: "http://gate.test", token: TOKEN, retries: 0, fetch: () => Promise.reject() }).openSession(),
    ],
  ])("runs once and passes on what the function throws itself, be it %s", async (_, fail) => {
    await using gateway = await fakeGateway();
    const { session } = await openPayer(gateway);
    gateway.answers.set("outer", held());
    gateway.meanwhile.push(() => answer(gateway, "approved"));
    const errors: unknown[] = [];
    const outer = guard(session, { action: "outer", onHold: "wait" }, () =>
      fail(session).catch((error: unknown) => {
        errors.push(error);
        throw error;
      }),
    );
    expect([await thrown(outer())]).toEqual(errors);
    expect(errors).toHaveLength(1);
  });
});

/** Has `fates` befall what is asked for the `nth` time: a guard first asks without an approval, and then uses it. */
const whenAsked = (gateway: FakeGateway, nth: number, fates: readonly Fate[]) => {
  let asked = 0;
  return (payment: Payment) => {
    if (++asked === nth) gateway.fates.push(...fates);
    return payment;
  };
};

describe("a lost reply", () => {
  test.each<[string, number, readonly Fate[]]>([
    ["once", 2, ["did it"]],
    ["as often as it is tried", 4, ["did it", "did nothing", "did it"]],
    ["with looks after it, for a while", 4, [...Array<Fate>(8).fill("did it"), { status: 503 }]],
  ])("to the use, %s, has it asked for %i times under the same id, and the call runs once", async (_, times, fates) => {
    await using gateway = await fakeGateway();
    const { session, paid, pay, options, time } = await openPayer(gateway);
    gateway.meanwhile.push(() => answer(gateway, "approved"));
    await guard(session, { ...options, onHold: "wait", inputs: whenAsked(gateway, 2, fates) }, pay)(CALL);
    const uses = decisionsAsked(gateway).filter(({ approval }) => approval !== undefined);
    expect([uses.length, new Set(uses.map((use) => JSON.stringify(use))).size]).toEqual([times, 1]);
    expect([paid, posted(gateway), time.live()]).toEqual([[CALL], [uses[0]?.id], 0]);
  });

  test("to a look, however long, is looked for again until the approval expires", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid, time } = await openPayer(gateway);
    gateway.meanwhile.push(
      () => gateway.fates.push(...Array<Fate>(20).fill("did nothing")),
      () => answer(gateway, "approved"),
    );
    expect(await guarded({ onHold: "wait" })(CALL)).toBe("paid acct_1");
    gateway.meanwhile.push(() => gateway.fates.push(...Array<Fate>(1000).fill("did nothing")));
    const began = time.now();
    expect(await thrown(guarded({ onHold: "wait" })(CALL))).toMatchObject({ name: "GatewayUnavailableError" });
    expect([paid, time.live(), time.now() - began <= 60_000]).toEqual([[CALL], 0, true]);
  });

  test("never lets run what is held, not even where an unreachable gateway would let it", async () => {
    for (const when of ["looked at", "used"] as const) {
      await using gateway = await fakeGateway();
      const { session, paid, pay, options } = await openPayer(gateway);
      const dead = Array<Fate>(1000).fill("did nothing");
      gateway.meanwhile.push(() => (when === "used" ? answer(gateway, "approved") : gateway.fates.push(...dead)));
      const inputs = whenAsked(gateway, 2, when === "used" ? dead : []);
      const call = guard(session, { ...options, onHold: "wait", onUnavailable: "allow", inputs }, pay);
      expect(await thrown(call(CALL))).toMatchObject({ name: "GatewayUnavailableError" });
      expect(paid).toEqual([]);
    }
  });
});

describe("what a person changed", () => {
  const edited = { to: "acct_1", amount: 20 };
  const toArguments = (inputs: unknown): [Payment] => {
    // The test's own edits.
    return [inputs as Payment];
  };

  test("runs with just that where the guard says how, and is charged as changed", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    gateway.meanwhile.push(() => answer(gateway, "approved", { inputs: edited, estimate_usd: "0.20" }));
    await guarded({ onHold: "wait", toArguments })(CALL);
    expect(paid).toEqual([edited]);
    expect(decisionsAsked(gateway)[1]).toMatchObject({ inputs: edited, estimate_usd: "0.20" });
    expect(gateway.seen.at(-1)?.body).toMatchObject({ cost_usd: "0.20" });
  });

  test("in nothing but the estimate needs no saying", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    gateway.meanwhile.push(() => answer(gateway, "approved", { estimate_usd: "0.10" }));
    await guarded({ onHold: "wait" })(CALL);
    expect([paid, gateway.seen.at(-1)?.body.cost_usd]).toEqual([[CALL], "0.10"]);
  });

  test.each<[string, ApprovalOptions<[Payment]>, wire.ApprovalEdits]>([
    ["the guard does not say how", {}, { inputs: edited }],
    ["the guard makes something else of it", { toArguments: () => [{ ...edited, amount: 21 }] }, { inputs: edited }],
    ["the guard leaves it as it was", { toArguments: (_, args) => args }, { inputs: edited }],
    ["it is the resource, which the guard does not name", { toArguments }, { resource: { type: "account", id: "acct_2" } }],
  ])("does not run where %s", async (_, more, edits) => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    gateway.meanwhile.push(() => answer(gateway, "approved", edits));
    expect(await thrown(guarded({ onHold: "wait", ...more })(CALL))).toMatchObject({ name: "ApprovalRejectedError", code: "approval_mismatch" });
    expect([paid, gateway.approvals.get("apr_1")?.status]).toEqual([[], "approved"]);
  });

  test.each([
    ["nothing", null, null, [CALL]],
    ["something", { inputs: edited }, "approval_mismatch", []],
  ] as const)("being %s, is left to the gateway where the token may not read approvals", async (_, edits, code, ran) => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    gateway.unread.set("apr_1", problem(403, "scope_insufficient"));
    gateway.meanwhile.push(() => answer(gateway, "approved", edits));
    const error = await thrown(guarded({ onHold: "wait", toArguments })(CALL));
    expect([isAgentSentinelError(error) ? error.code : error, paid]).toEqual([code, ran]);
  });

  test("in another approval than the one that was asked about is not believed", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    gateway.unread.set("apr_1", {
      status: 200,
      body: { id: "apr_2", status: "approved", expires_at: LATER, answers: [], edits: null, used_by: null },
    });
    gateway.meanwhile.push(() => answer(gateway, "approved"));
    expect(await thrown(guarded({ onHold: "wait" })(CALL))).toMatchObject({ name: "GatewayRefusedError", code: "answer_malformed" });
    expect(paid).toEqual([]);
  });

  test("is what the gateway is asked for, also where the caller changes an argument while it waits", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid } = await openPayer(gateway);
    const payment = { ...CALL };
    gateway.meanwhile.push(() => {
      payment.amount = 3000;
      answer(gateway, "approved");
    });
    expect(await thrown(guarded({ onHold: "wait" })(payment))).toMatchObject({ code: "approval_mismatch" });
    expect(paid).toEqual([]);
  });
});

describe("a call with a name", () => {
  const callId = () => "toolu_1";

  test("is one call in every process: it waits for one approval, then runs once, and afterwards not again", async () => {
    await using gateway = await fakeGateway();
    const { paid, pay, options } = await openPayer(gateway);
    const again = async () => guard(await elsewhere(gateway).session(SESSION), { ...options, callId }, pay)(CALL);
    const errors = [await thrown(again()), await thrown(again())];
    expect(errors).toMatchObject([{ approvalId: "apr_1" }, { approvalId: "apr_1" }]);
    expect(gateway.approvals.size).toBe(1);
    answer(gateway, "approved");
    expect(await again()).toBe("paid acct_1");
    expect(await thrown(again())).toMatchObject({ name: "ApprovalRejectedError", code: "approval_consumed" });
    expect([paid, posted(gateway).length, gateway.approvals.size]).toEqual([[CALL], 1, 1]);
  });

  test("takes up a use of which an earlier process heard nothing", async () => {
    await using gateway = await fakeGateway();
    const { paid, pay, options, session } = await openPayer(gateway);
    await thrown(guard(session, { ...options, callId }, pay)(CALL));
    answer(gateway, "approved");
    const lost = guard(session, { ...options, callId, inputs: whenAsked(gateway, 2, ["did it", "did it", "did it"]) }, pay);
    expect(await thrown(lost(CALL))).toMatchObject({ name: "GatewayUnavailableError" });
    expect([paid, gateway.approvals.get("apr_1")?.status]).toEqual([[], "consumed"]);
    expect(await guard(await elsewhere(gateway).session(SESSION), { ...options, callId }, pay)(CALL)).toBe("paid acct_1");
    expect([paid, gateway.count(/release/), posted(gateway)]).toEqual([[CALL], 0, [gateway.approvals.get("apr_1")?.used_by]]);
  });

  test("is taken up by name after resuming, too", async () => {
    await using gateway = await fakeGateway();
    const { paid, pay, options, session, sentinel } = await openPayer(gateway);
    const error = await thrown(guard(session, { ...options, callId }, pay)(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    answer(gateway, "approved");
    expect(await (await resume(sentinel, error, { callId: "toolu_1" })).guard(options, pay)(CALL)).toBe("paid acct_1");
    expect(await thrown(guard(session, { ...options, callId }, pay)(CALL))).toMatchObject({ code: "approval_consumed" });
    expect(paid).toEqual([CALL]);
  });

  test("that another has used meanwhile throws so", async () => {
    await using gateway = await fakeGateway();
    const { paid, pay, options, session, sentinel } = await openPayer(gateway);
    const error = await thrown(guard(session, { ...options, callId }, pay)(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    answer(gateway, "approved");
    await (await resume(sentinel, error)).guard(options, pay)(CALL);
    expect(await thrown(guard(session, { ...options, callId }, pay)(CALL))).toMatchObject({ code: "approval_consumed" });
    expect(paid).toEqual([CALL]);
  });

  test("whose use was denied for another reason asks for it anew, and what that came to is taken up too", async () => {
    await using gateway = await fakeGateway();
    const { paid, pay, options, sentinel, session } = await openPayer(gateway);
    const error = await thrown(guard(session, { ...options, callId }, pay)(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    answer(gateway, "approved");
    const paused = denied("session_paused", "The session is paused.");
    gateway.answers.set("send_money approved", paused);
    for (const life of [1, 2]) {
      const taken = await resume(elsewhere(gateway), error, { callId: "toolu_1" });
      expect(await thrown(taken.guard(options, pay)(CALL)), `life ${life}`).toMatchObject({ code: "session_paused" });
      // The fake has used it up all the same.
      answer(gateway, "approved");
    }
    gateway.answers.delete("send_money approved");
    const lost = guard(session, { ...options, callId, inputs: whenAsked(gateway, 2, ["did it", "did it", "did it"]) }, pay);
    expect(await thrown(lost(CALL))).toMatchObject({ name: "GatewayUnavailableError" });
    const taken = await resume(sentinel, error, { callId: "toolu_1" });
    const request = { action: "send_money", inputs: CALL, estimateUsd: "0.30" };
    expect(await taken.use(request)).toMatchObject({ verdict: "allow", id: gateway.approvals.get("apr_1")?.used_by });
    expect(await guard(session, { ...options, callId }, pay)(CALL)).toBe("paid acct_1");
    expect((await taken.use(request)).reason.code).toBe("approval_consumed");
    const uses = new Set(decisionsAsked(gateway).flatMap(({ id, approval }) => (approval === undefined ? [] : [id])));
    // Two that were denied, the one that ran, and one that is told that it is over.
    expect([paid, uses.size]).toEqual([[CALL], 4]);
  });

  test("that nobody had to approve runs once, whoever repeats it, unless its process fell before it could say so", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    let runs = 0;
    const work = async () => {
      runs++;
      await session.read();
    };
    const options = { action: "work", callId };
    const here = guard(session, options, work);
    const settled = { name: "GatewayRefusedError", code: "decision_settled" };
    const [first, second] = await Promise.all([thrown(here()), thrown(here())]);
    expect([first, second, await thrown(here())]).toMatchObject([null, settled, settled]);
    expect([runs, decisionsAsked(gateway).length]).toEqual([1, 1]);
    expect(await thrown(guard(await elsewhere(gateway).session(SESSION), options, work)())).toMatchObject(settled);
    expect([runs, gateway.count(/commit/)]).toEqual([1, 1]);
    // As if nobody had told.
    for (const decision of gateway.decisions.values()) decision.state = "pending";
    expect(await thrown(guard(await elsewhere(gateway).session(SESSION), options, work)())).toBeNull();
    expect([runs, gateway.count(/commit/)]).toEqual([2, 2]);
  });

  test("that gets none is refused, and nothing is asked", async () => {
    await using gateway = await fakeGateway();
    const { paid, pay, options, session } = await openPayer(gateway);
    // What a caller without types may well give.
    const nameless = { callId: (() => undefined) as unknown as () => string };
    expect(await thrown(guard(session, { ...options, ...nameless }, pay)(CALL))).toMatchObject({ name: "TypeError" });
    expect([paid, gateway.seen]).toEqual([[], []]);
  });

  test("is another in another run, of another action or by another name", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const ask = async (action: string, name: string) =>
      thrown(guard(await elsewhere(gateway).session(SESSION), { action, run: session.run, callId: () => name }, () => undefined)());
    for (const [action, name] of [
      ["a", "1"],
      ["a", "1"],
      ["a", "2"],
      ["b", "1"],
    ] as const)
      await ask(action, name);
    await session.startRun();
    await ask("a", "1");
    const ids = decisionsAsked(gateway).map(({ id }) => String(id));
    expect(ids[0]).toBe(ids[1]);
    expect(new Set(ids).size).toBe(4);
    for (const id of ids) expect(isId("dec", id)).toBe(true);
  });
});

describe("resuming", () => {
  test.each<[string, (error: ApprovalRequiredError) => HoldName]>([
    ["the error", (error) => error],
    ["what JSON made of it", (error) => JSON.parse(JSON.stringify(error))],
    ["its decision", (error) => error.decision],
    ["a text", (error) => `${error.session}/${error.decisionId}`],
  ])("by %s goes on in another process, and in the run in which it was asked", async (_, nameOf) => {
    await using gateway = await fakeGateway();
    const { session, guarded, paid, pay, options } = await openPayer(gateway);
    await session.startRun();
    const error = await thrown(guarded({})(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    const taken = await resume(elsewhere(gateway), nameOf(error));
    expect(taken).toMatchObject({ action: "send_money", run: session.run, approvalId: "apr_1", expiresAt: LATER });
    gateway.meanwhile.push(
      () => undefined,
      () => answer(gateway, "approved"),
    );
    expect((await taken.wait()).approval?.status).toBe("approved");
    expect(await taken.guard(options, pay)(CALL)).toBe("paid acct_1");
    expect([paid, decisionsAsked(gateway).at(-1)?.run]).toEqual([[CALL], session.run]);
  });

  test("what nobody has answered throws until it is, or waits as told", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid, pay, options, sentinel } = await openPayer(gateway);
    const error = await thrown(guarded({})(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    const taken = await resume(sentinel, error);
    expect(await thrown(taken.guard(options, pay)(CALL))).toMatchObject({ name: "ApprovalRequiredError", approvalId: "apr_1" });
    gateway.meanwhile.push(() => answer(gateway, "approved"));
    await taken.guard({ ...options, onHold: "wait" }, pay)(CALL);
    expect([paid, decisionsAsked(gateway).length]).toEqual([[CALL], 2]);
  });

  test.each<[string, number, number]>([
    ["a hundred processes at once", 100, 1],
    ["one handle a hundred times", 1, 100],
  ])("in %s runs once", async (_, processes, times) => {
    await using gateway = await fakeGateway();
    const { guarded, paid, pay, options } = await openPayer(gateway);
    const error = await thrown(guarded({})(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    answer(gateway, "approved");
    const handles = await Promise.all(Array.from({ length: processes }, () => resume(elsewhere(gateway), error)));
    const all = await Promise.all(handles.flatMap((taken) => Array.from({ length: times }, () => thrown(taken.guard(options, pay)(CALL)))));
    expect(all.filter((each) => each === null)).toHaveLength(1);
    expect(new Set(all.map((each) => (isAgentSentinelError(each) ? each.code : each)))).toEqual(new Set([null, "approval_consumed"]));
    expect(paid).toEqual([CALL]);
  });

  test("a use that brought no answer is repeated under its id by the same handle, and by no other", async () => {
    await using gateway = await fakeGateway();
    const { guarded, paid, pay, options, sentinel } = await openPayer(gateway);
    const error = await thrown(guarded({})(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    answer(gateway, "approved");
    const [one, other] = [await resume(sentinel, error), await resume(sentinel, error)];
    const lost = one.guard({ ...options, inputs: whenAsked(gateway, 1, ["did it", "did it", "did it"]) }, pay);
    expect(await thrown(lost(CALL))).toMatchObject({ name: "GatewayUnavailableError" });
    expect(await thrown(other.guard(options, pay)(CALL))).toMatchObject({ code: "approval_consumed" });
    expect(await lost(CALL)).toBe("paid acct_1");
    expect(await thrown(lost(CALL))).toMatchObject({ code: "approval_consumed" });
    expect(paid).toEqual([CALL]);
  });

  test("by hand: reads, responds, cancels and uses", async () => {
    await using gateway = await fakeGateway();
    const { guarded, sentinel, session } = await openPayer(gateway);
    await session.startRun();
    const error = await thrown(guarded({})(CALL));
    if (!(error instanceof ApprovalRequiredError)) throw error;
    const taken = await resume(sentinel, error);
    answer(gateway, "info_requested");
    expect((await taken.wait()).approval?.status).toBe("info_requested");
    expect(await taken.respond("It is the invoice of order 17.")).toMatchObject({
      status: "pending",
      answers: [{ decision: "respond", note: "It is the invoice of order 17." }],
    });
    answer(gateway, "approved", { estimate_usd: 0.2 });
    expect((await taken.read()).edits).toEqual({ inputs: null, resource: null, estimateUsd: 0.2 });
    const request = { action: "send_money", inputs: CALL, estimateUsd: 0.2 };
    expect((await taken.use({ ...request, estimateUsd: 0.3 })).reason.code).toBe("approval_mismatch");
    expect((await taken.use(request)).verdict).toBe("allow");
    expect((await taken.use(request)).reason.code).toBe("approval_consumed");
    expect(await taken.cancel({ note: "too late" })).toMatchObject({ answers: [{}, { decision: "cancel", note: "too late" }] });
  });

  test.each<[string, HoldName, RegExp]>([
    ["a decision that was not held", "", /it was decided and not held/],
    ["what is no name", "dec_1", /Cannot resume this/],
    ["a name with more behind it", "ses_1/dec_1/x", /Cannot resume this/],
    ["what JSON made of another error", JSON.parse('{"name":"PolicyViolationError","decision":{"id":"dec_1"}}'), /Cannot resume this/],
    ["a name that a path would read differently", "../x", /must be an id/],
  ])("%s is refused", async (_, name, message) => {
    await using gateway = await fakeGateway();
    const { session, sentinel } = await openFake(gateway);
    const { id } = await session.decide({ action: "read" });
    await expect(resume(sentinel, name || `${session.id}/${id}`)).rejects.toThrow(message);
  });
});

test("Whatever is lost, answered and repeated: what runs was approved as it runs, and runs once for each use.", async () => {
  const fate = fc.constantFrom<Fate>("did nothing", "did it", { status: 503 });
  const life = fc.record({
    fates: fc.array(fate, { maxLength: 6 }),
    status: fc.constantFrom("pending" as const, "approved" as const, "rejected" as const, "expired" as const),
    isEdited: fc.boolean(),
    isNamed: fc.boolean(),
    amount: fc.constantFrom(30, 31),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 5 }), async (lives) => {
      await using gateway = await fakeGateway();
      const { paid, pay, options, session } = await openPayer(gateway);
      for (const { fates, status, isEdited, isNamed, amount } of lives) {
        gateway.fates.splice(0, Number.POSITIVE_INFINITY, ...fates);
        gateway.meanwhile.splice(0, Number.POSITIVE_INFINITY, () => {
          for (const approval of gateway.approvals.values()) {
            if (approval.status !== "pending") continue;
            Object.assign(approval, { status, edits: isEdited ? { inputs: { to: "acct_1", amount: 20 } } : null });
          }
        });
        const more = { onHold: "wait" as const, timeoutMs: 10_000, toArguments: (inputs: unknown): [Payment] => [inputs as Payment] };
        await thrown(guard(session, { ...options, ...more, ...(isNamed && { callId: () => `call ${amount}` }) }, pay)({ ...CALL, amount }));
      }
      const consumed = [...gateway.approvals.values()].filter(({ used_by }) => used_by !== null);
      expect(paid.length).toBeLessThanOrEqual(consumed.length);
      const approved = consumed.map(({ asked, edits }) => JSON.stringify(edits?.inputs ?? asked.inputs));
      for (const payment of paid) expect(approved).toContain(JSON.stringify(payment));
    }),
    { numRuns: 40 },
  );
});
