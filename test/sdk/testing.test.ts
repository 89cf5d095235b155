import { describe, expect, it } from "vitest";
import { guard, resume } from "../../sdk/src/approvals.ts";
import {
  ApprovalRejectedError,
  ApprovalRequiredError,
  GatewayUnavailableError,
  isAgentSentinelError,
  PolicyViolationError,
} from "../../sdk/src/index.ts";
import { LocalRefusedError } from "../../sdk/src/local.ts";
import { createTestSentinel, type TestSentinelOptions } from "../../sdk/src/testing.ts";

/** A program as its author writes it: it knows a sentinel, and nothing of tests. */
async function shop(options: TestSentinelOptions = {}) {
  const test = createTestSentinel(options);
  const session = await test.sentinel.openSession({ agent: "shop-bot" });
  const sent: string[] = [];
  const pay = session.guard({ action: "pay", costUsd: 0.3, tags: ["money"] }, async (order: { to: string }) => {
    if (order.to === "nobody") throw new RangeError("no such account");
    sent.push(order.to);
    return `paid ${order.to}`;
  });
  const wire = guard(session, { action: "wire", costUsd: 1, onHold: "wait", timeoutMs: 60_000 }, async (order: { to: string }) => {
    sent.push(order.to);
    return `wired ${order.to}`;
  });
  return { test, session, sent, pay, wire };
}

describe("A test's own sentinel", () => {
  it.each(["run", "session"] as const)("cancels what waits for a person when its %s is closed, as the gateway does", async (what) => {
    const test = createTestSentinel({ policy: "version: 1\napprovals: { actions: [fax], timeout_seconds: 6000 }" });
    const session = await test.sentinel.openSession();
    const held = await session.decide({ action: "fax" });
    const waiting = held.wait();
    await (what === "run" ? session.closeRun() : session.close());
    expect((await waiting).approval?.status).toBe("cancelled");
    expect((await session.readDecision(held.id)).state).toBe("denied");
  });

  it("lets a program run as in production, and tells what it asked for and what came of it", async () => {
    const { test, session, sent, pay } = await shop({
      policy: "version: 1\nbudgets: { session: 0.7 }\nrate_limits: { pay: { max_count: 9, window_seconds: 60 } }",
    });
    expect(await pay({ to: "ann" })).toBe("paid ann");
    await expect(pay({ to: "nobody" })).rejects.toThrow("no such account");
    await expect(pay({ to: "eve" })).rejects.toMatchObject({ name: "BudgetExceededError", code: "session_budget_exceeded" });
    expect(sent).toEqual(["ann"]);
    const about = { action: "pay", session: session.id, run: session.run, tags: ["money"], estimateUsd: "0.3" };
    expect(test.calls()).toMatchObject([
      { ...about, inputs: { to: "ann" }, verdict: "allow", reason: "permitted", outcome: "success", costUsd: "0.3", error: null },
      { ...about, inputs: { to: "nobody" }, outcome: "error", costUsd: "0.3", error: "RangeError: no such account" },
      { ...about, inputs: { to: "eve" }, verdict: "deny", reason: "session_budget_exceeded", outcome: null, costUsd: null },
    ]);
    expect(test.calls("other")).toEqual([]);
    expect((await session.read()).totals).toMatchObject({ postedUsd: "0.6", decisions: { allow: 2, deny: 1, hold: 0 } });
  });

  it("denies, holds and allows by a real policy that a script only tightens", async () => {
    const { test, pay } = await shop({ policy: "version: 1\ndenied_actions: [drop]\napprovals: { actions: [fax] }" });
    test.deny("pa*");
    await expect(pay({ to: "ann" })).rejects.toBeInstanceOf(PolicyViolationError);
    test.allow("pa*");
    test.allow("drop");
    expect(await pay({ to: "ann" })).toBe("paid ann");
    test.hold("pay");
    await expect(pay({ to: "ann" })).rejects.toBeInstanceOf(ApprovalRequiredError);
    // A session that is opened later is under the same script.
    const later = await test.sentinel.openSession();
    const verdict = async (action: string) => (await later.decide({ action })).verdict;
    expect([later.agent, await verdict("drop"), await verdict("pay"), await verdict("fax"), await verdict("read")]).toEqual([
      "test-agent",
      "deny",
      "hold",
      "hold",
      "allow",
    ]);
  });

  it("has a person at hand: what waits goes on when it is approved, and not when it is rejected", async () => {
    const { test, sent, wire } = await shop();
    test.hold("wire");
    const [one, other] = [wire({ to: "ann" }), wire({ to: "eve" })];
    expect(await test.approve("wire")).toMatchObject({ action: "wire", approval: { status: "approved" } });
    const rejected = expect(other).rejects.toBeInstanceOf(ApprovalRejectedError);
    await test.reject("wire", { by: "carol", note: "not her" });
    expect(await one).toBe("wired ann");
    await rejected;
    expect(sent).toEqual(["ann"]);
    expect(test.calls("wire").map(({ verdict, outcome }) => [verdict, outcome])).toEqual([
      ["hold", null],
      ["hold", null],
      ["allow", "success"],
      ["deny", null],
    ]);
    await expect(Promise.all([test.approve(), wire({ to: "bob" })])).resolves.toHaveLength(2);
    const asked = wire({ to: "itself" });
    await expect(test.approve("wire", { by: "shop-bot" })).rejects.toMatchObject({ name: "LocalRefusedError", code: "self_approval" });
    const waited = expect(asked).rejects.toBeInstanceOf(ApprovalRequiredError);
    await test.advance(61_000);
    await waited;
  });

  it("shows a session as it stands: what was said of it, what is spent, reserved and left", async () => {
    const test = createTestSentinel({
      policy: "version: 1\nbudgets: { session: 5, run: 2, actions: { 'mail*': 1 }, agent: { day: 3 } }\nwind_down: { actions: [save], budget: 0.5 }",
    });
    const session = await test.sentinel.openSession({ labels: { teamName: "Ü" }, budgetUsd: 4, ttlMs: 3_600_000 });
    await session.guard({ action: "mail.send", costUsd: "0.25", actualUsd: () => "0.5" }, () => "sent")();
    await session.decide({ action: "mail.read", estimateUsd: "0.125" });
    await session.decide({ action: "web", estimateUsd: 3 });
    await test.advance(60_000);
    const read = await session.read();
    expect(read).toMatchObject({
      labels: { teamName: "Ü" },
      openedAt: "2026-01-01T00:00:00.000Z",
      expiresAt: session.expiresAt,
      totals: { postedUsd: "0.5", pendingUsd: "0.125", preventedUsd: "3", overrunUsd: "0.25", decisions: { allow: 2, deny: 1, hold: 0 } },
    });
    expect(session.expiresAt).toBe("2026-01-01T01:00:00.000Z");
    expect(read.budgets.map(({ scope, name, limitUsd, remainingUsd }) => [scope, name, limitUsd, remainingUsd])).toEqual([
      ["action", "mail*", "1", "0.375"],
      ["run", session.run, "2", "1.375"],
      ["session", session.id, "4", "3.375"],
      ["wind_down", "wind_down", "0.5", "0.5"],
      ["agent", "test-agent", "3", "2.375"],
    ]);
  });

  it("ends the waiting for a person when the approval's time is up", async () => {
    const { test, session } = await shop({ policy: "version: 1\napprovals: { actions: [fax], timeout_seconds: 60 }" });
    const ended = guard(session, { action: "fax", onHold: "wait" }, () => "sent")().catch((error: unknown) => error);
    await test.advance(0);
    const seen = (await session.decide({ action: "fax" })).wait();
    await test.advance(60_000);
    // What waits for nothing any more has ended by now; what still waits would never end.
    const [call, approval] = await Promise.race([Promise.all([ended, seen]), new Promise<[]>((resolve) => setImmediate(resolve, []))]);
    expect([call, approval?.approval?.status]).toMatchObject([{ name: "ApprovalRejectedError", code: "approval_expired" }, "expired"]);
  });

  it("lets a held decision be resumed by its name", async () => {
    const { test, pay, session } = await shop();
    test.hold("pay");
    const error = await pay({ to: "ann" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ApprovalRequiredError);
    const held = await resume(test.sentinel, error as ApprovalRequiredError);
    await test.approve();
    expect(await held.guard({ action: "pay", costUsd: 0.3, tags: ["money"] }, async (order: { to: string }) => order.to)({ to: "ann" })).toBe("ann");
    expect((await session.read()).totals.decisions).toEqual({ allow: 1, deny: 0, hold: 1 });
  });

  it("stands still in time until the test moves it, and is the same each time", async () => {
    const twice = await Promise.all(
      [1, 2].map(async () => {
        const { test, session, pay } = await shop({ policy: "version: 1\nrate_limits: { pay: { max_count: 1, window_seconds: 60 } }" });
        const began = test.now();
        await pay({ to: "ann" });
        await expect(pay({ to: "ann" })).rejects.toMatchObject({ name: "RateLimitError", remediation: { retryAfterMs: 60_000 } });
        await test.advance(60_000);
        await pay({ to: "ann" });
        const { id } = await session.decide({ action: "slow", estimateUsd: 2, ttlMs: 1_000 });
        expect((await session.readDecision(id)).state).toBe("pending");
        await test.advance(1_000);
        expect(await session.readDecision(id)).toMatchObject({ state: "expired", postedUsd: "2" });
        return [began, test.now(), session.id, test.calls()];
      }),
    );
    expect(twice[0]).toEqual(twice[1]);
    expect(twice[0]?.slice(0, 2)).toEqual([Date.UTC(2026, 0), Date.UTC(2026, 0) + 61_000]);
  });

  it("says when a budget that is gone is there again, and how long to wait for that", async () => {
    const test = createTestSentinel({ policy: { version: 1, budgets: { agent: { day: 1 }, run: 5 } } });
    const session = await test.sentinel.openSession();
    const pay = session.guard({ action: "pay", costUsd: 0.8 }, () => "paid");
    expect(await pay()).toBe("paid");
    const error = await pay().catch((thrown: unknown) => thrown);
    if (!isAgentSentinelError(error, "BudgetExceededError")) throw error;
    const retryAfterMs = error.remediation.retryAfterMs ?? 0;
    const { budgets } = error.decision;
    expect(budgets.find(({ scope }) => scope === "run")).toMatchObject({ window: null, resetsAt: null });
    const resetsAt = new Date(test.now() + retryAfterMs).toISOString();
    expect(budgets.find(({ scope }) => scope === "agent")).toMatchObject({ window: "day", leasedUsd: "0", remainingUsd: "0.2", resetsAt });
    await test.advance(retryAfterMs - 1);
    await expect(pay()).rejects.toMatchObject({ name: "BudgetExceededError" });
    await test.advance(1);
    expect(await pay()).toBe("paid");
  });

  it("can be out of reach, for what a program does then", async () => {
    const unguarded: string[] = [];
    const { test, session, pay, sent } = await shop({ onUnguarded: ({ action }) => unguarded.push(action) });
    test.isReachable = false;
    await expect(pay({ to: "ann" })).rejects.toBeInstanceOf(GatewayUnavailableError);
    expect(await session.guard({ action: "log", onUnavailable: "allow" }, () => "logged")()).toBe("logged");
    test.isReachable = true;
    expect([await pay({ to: "ann" }), sent, unguarded]).toEqual(["paid ann", ["ann"], ["log"]]);
  });

  it("answers all that a session asks, and refuses what it has not", async () => {
    const { test, session } = await shop();
    const [first, second] = await session.decideAll([{ action: "a", estimateUsd: 1 }, { action: "b" }]);
    expect(await session.topup(first?.id ?? "", 2)).toMatchObject({ verdict: "allow", reservation: { amountUsd: "2" } });
    expect(await session.extend(first?.id ?? "", 5_000)).toMatchObject({ state: "pending" });
    expect(await session.release(second?.id ?? "", { reason: "not needed" })).toMatchObject({ state: "released" });
    const again = await test.sentinel.session(session.id);
    expect([again.agent, again.run]).toEqual(["shop-bot", session.run]);
    await session.startRun();
    await session.closeRun();
    expect((await session.decide({ action: "a" })).reason.code).toBe("run_closed");
    await session.close();
    expect((await again.decide({ action: "a" })).verdict).toBe("deny");
    expect((await again.read()).state).toBe("closed");
    await expect(session.decideAll([{ action: "a" }], { semantics: "all_or_nothing" })).rejects.toMatchObject({ status: 404 });
    await expect(session.commit("dec_unknown", { costUsd: 1, outcome: "success" })).rejects.toMatchObject({ code: "not_found" });
    await expect(test.sentinel.session("ses_unknown")).rejects.toMatchObject({ code: "not_found" });
    expect(() => createTestSentinel({ policy: {} })).toThrow(LocalRefusedError);
  });
});
