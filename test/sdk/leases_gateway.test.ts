import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { createSentinel, type Fetch, type LeaseNews, type SentinelOptions } from "../../sdk/src/index.ts";
import { leaseOf } from "../../sdk/src/leases.ts";
import { follow } from "../../sdk/src/live.ts";
import type { Intervened, LedgerEntry } from "../../sdk/src/wire.ts";
import { gone, Home, type Life, strike } from "../faults/real/life.ts";
import { ask, CAN_SEE_PROCESSES, until } from "../local/gateway.ts";

/** Leases against a gateway as `npm start` serves it, killed with SIGKILL and started again on the same state. */

const POLICY = "version: 1\nname: demo\nbudgets: { session: 3.00 }\n";
const WISH = { amountUsd: "1", actions: ["work*"], ttlMs: 60_000, settleMs: 20 };

const home = new Home("leases");
let life: Life;
beforeEach(async () => {
  life = await home.start();
  await ask(life.url, life.operator, "PUT", "/v1/policies/demo", POLICY);
}, 120_000);
afterEach(() => home.stop());
afterAll(() => home.end());

/** Finds the gateway wherever it lives now. */
const anywhere: Fetch = (url, init) => fetch(url.replace("https://gate.test", life.url), init);

async function open(options: Partial<SentinelOptions> = {}) {
  const sentinel = createSentinel({ url: "https://gate.test", token: () => life.agent, fetch: anywhere, retries: 0, timeoutMs: 20_000, ...options });
  return { sentinel, session: await sentinel.openSession() };
}

const commitsOf = async (session: string): Promise<readonly LedgerEntry[]> => {
  const commits = () => ask(life.url, life.operator, "GET", `/v1/ledger?kind=commit&session=${session}&limit=1000`);
  return (await commits()).body.items;
};

describe.skipIf(!CAN_SEE_PROCESSES)("a lease of a real gateway", { timeout: 180_000 }, () => {
  it("decides on while that is killed and started again, and all that ran is on record once, at its cost", async () => {
    const news: LeaseNews[] = [];
    const { session } = await open({ onLease: (each) => news.push(each) });
    const lease = await leaseOf(session, WISH);
    let ran = 0;
    const work = lease.guard({ action: "work", costUsd: "0.01", actualUsd: () => "0.007" }, async () => {
      ran++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    });
    const several = (count: number) => Promise.all(Array.from({ length: count }, () => work()));
    await several(10);
    await until(
      () => news.some(({ state }) => state === "settled"),
      () => "nothing was told",
    );
    // Some of these are on their way when it dies.
    const last = several(10);
    strike(life.process, "all");
    await last;
    await gone(life.process, "all");
    await several(20);
    await expect(session.guard({ action: "other" }, () => 1)()).rejects.toMatchObject({ name: "GatewayUnavailableError" });
    expect([ran, lease.isOpen, lease.remainingUsd]).toEqual([40, true, "0.72"]);
    life = await home.start();
    await several(10);
    expect(await lease.settle({ final: true })).toMatchObject({ state: "settled", postedUsd: "0.35", overrunUsd: "0", returnedUsd: "0.65" });
    const { totals, budgets } = await session.read();
    expect([totals.postedUsd, totals.pendingUsd, totals.decisions.allow]).toEqual(["0.35", "0", 50]);
    expect(budgets.find(({ scope }) => scope === "session")).toMatchObject({ leasedUsd: "0", remainingUsd: "2.65" });
    const commits = await commitsOf(session.id);
    expect(new Set(commits.map(({ decision_id }) => decision_id)).size).toBe(50);
    expect(commits.map(({ cost_usd, action }) => [cost_usd, action])).toEqual(Array(50).fill(["0.007", "work"]));
  });

  it("takes its money from everybody: many leases and many who ask never spend more than the budget", async () => {
    const { session } = await open();
    const leases = await Promise.all([1, 2].map(() => leaseOf(session, WISH)));
    await expect(leaseOf(session, { ...WISH, amountUsd: "1.000001" })).rejects.toMatchObject({ code: "lease_refused" });
    let ran = 0;
    const fn = (): number => ++ran;
    const guards = [session, ...leases].map((asked) => asked.guard({ action: "work", costUsd: "0.25" }, fn));
    const ends = await Promise.allSettled(guards.flatMap((guard) => Array.from({ length: 8 }, () => guard())));
    const denied = ends.filter((end) => end.status === "rejected").map(({ reason }) => reason.code);
    expect([ran, new Set(denied)]).toEqual([12, new Set(["session_budget_exceeded"])]);
    await Promise.all(leases.map((lease) => lease.close()));
    expect((await session.read()).totals).toMatchObject({ postedUsd: "3", overrunUsd: "0" });
  });

  it("that nobody closes is posted at its end, and what is told late corrects it", async () => {
    const { session } = await open();
    const lease = await leaseOf(session, { ...WISH, ttlMs: 1_000 });
    const one = await lease.decide({ action: "work", estimateUsd: "0.5" });
    await until(
      () => !lease.isOpen,
      () => "it does not end",
    );
    const spent = async () => (await session.read()).totals.postedUsd;
    await expect.poll(spent, { timeout: 30_000 }).toBe("1");
    await lease.commit(one.id, { outcome: "success", costUsd: "0.2" });
    expect(await lease.settle({ final: true })).toMatchObject({
      state: "settled",
      late: true,
      postedUsd: "0.2",
      overrunUsd: "0",
      returnedUsd: "0.8",
    });
    expect(await spent()).toBe("0.2");
  });

  it("ends with a kill that is heard of, whose evidence says until when it might not have been", async () => {
    const scopes = ["sessions:write", "decisions:write", "events:read"];
    const wanted = { tenant: "demo", subject: "listener", kind: "agent", scopes };
    const { body } = await ask(life.url, home.rootKey, "POST", "/v1/tokens", wanted);
    let isLive = false;
    const { sentinel, session } = await open({
      token: body.token,
      onStream: ({ state }) => {
        isLive ||= state === "live";
      },
    });
    await using _ = follow(sentinel, session);
    await until(
      () => isLive,
      () => "the stream does not stand",
    );
    const lease = await leaseOf(session, WISH);
    let begun = (): void => undefined;
    const running = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const work = lease.guard({ action: "work.long", costUsd: "0.25", context: true }, ({ signal }: { readonly signal: AbortSignal }) => {
      begun();
      return new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    })();
    const ended = work.catch((error: unknown) => error);
    await running;
    const kill = { kind: "kill", target: { type: "action", id: "work.*" }, reason: "for the test" };
    const { evidence }: Intervened = (await ask(life.url, life.operator, "POST", "/v1/interventions", kill)).body;
    expect(evidence.acknowledged.find((one) => one.session === session.id)).toMatchObject({ leased_until: lease.expiresAt });
    expect(evidence.in_force_everywhere_by >= lease.expiresAt).toBe(true);
    expect(await ended).toMatchObject({ name: "AgentKilledError", code: "action_killed" });
    const again = lease.guard({ action: "work.short" }, () => 1);
    await expect(again()).rejects.toMatchObject({ name: "AgentKilledError", code: "action_killed" });
    // Another action under the same glob of the lease goes on.
    expect([await lease.guard({ action: "work" }, () => 1)(), lease.isOpen]).toEqual([1, true]);
    await lease.close();
    expect((await commitsOf(session.id)).map(({ action, outcome }) => [action, outcome])).toEqual(
      expect.arrayContaining([
        ["work.long", "error"],
        ["work", "success"],
      ]),
    );
    await expect(leaseOf(session, WISH)).rejects.toMatchObject({ code: "lease_refused" });
  });
});
