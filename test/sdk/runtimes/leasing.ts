import type { SessionDetail } from "../../../sdk/src/index.ts";
import { type Cases, refused, same, thrown, until } from "./check.ts";

/** What is decided in the process itself with a slice of the session's budget: `@agentsentinel/sdk/leases`. */

/** Whether anything of the session's own budget is leased. What others hold of an agent's or a tenant's is leased too. */
const isLeased = ({ budgets }: SessionDetail): boolean => budgets.some(({ scope, leasedUsd }) => scope === "session" && leasedUsd !== "0");

const WISH = { amountUsd: "0.05", actions: ["lookup*"], ttlMs: 30_000 };

export const leasing: Cases = {
  async "what a lease covers is decided here, and is on record once it is closed"(stage) {
    const { session, decisions, last } = await stage.open();
    const lease = await stage.leases.leaseOf(session, WISH);
    const lookup = lease.guard({ action: "lookup.city", costUsd: "0.02", actualUsd: () => "0.015" }, async (name: string) => `${name} is there`);
    same(await Promise.all([lookup("Ulm"), lookup("Bonn")]), ["Ulm is there", "Bonn is there"]);
    same([decisions.map(({ reason }) => reason.code), lease.remainingUsd], [["permitted", "permitted"], "0.02"]);
    same(isLeased(await session.read()), true);
    await lease.close();
    const { state, postedUsd, verdict, action } = await last();
    same([state, postedUsd, verdict, action, lease.isOpen], ["posted", "0.015", "allow", "lookup.city", false]);
    const detail = await session.read();
    same([detail.totals.postedUsd, detail.totals.pendingUsd, isLeased(detail)], ["0.03", "0", false]);
    return undefined;
  },

  async "what it does not cover is asked of the gateway, with the session's own answers and errors"(stage) {
    const { session, decisions } = await stage.open();
    const lease = await stage.leases.leaseOf(session, WISH);
    let runs = 0;
    await refused(stage, lease.guard({ action: "delete_database" }, () => runs++)(), "PolicyViolationError", "action_denied");
    same(await lease.guard({ action: "lookup", costUsd: "0.06" }, () => "dear")(), "dear");
    const own = new Error("the function's own");
    const threw = lease.guard({ action: "lookup", costUsd: "0.01" }, () => {
      throw own;
    });
    same([(await thrown(threw())) === own, runs, decisions.length, lease.remainingUsd], [true, 0, 3, "0.04"]);
    await lease.close();
    same((await session.read()).totals.postedUsd, "0.07");
    return undefined;
  },

  async "a lease that the policy cannot answer for is refused, and nothing is taken"(stage) {
    const { session } = await stage.open();
    const error = await refused(stage, stage.leases.leaseOf(session, { ...WISH, actions: ["send_*"] }), "GatewayRefusedError", "lease_refused");
    same([error.status, isLeased(await session.read())], [409, false]);
    return undefined;
  },

  async "what was done is told by itself, and a stop of the session ends the lease and what runs under it"(stage) {
    const { session, last } = await stage.open();
    const lease = await stage.leases.leaseOf(session, { ...WISH, settleMs: 10 });
    await lease.guard({ action: "lookup", costUsd: "0.01" }, () => 1)();
    await until(async () => (await last().catch(() => null))?.state === "posted", "it is on record");
    const reason = new Error("mine");
    let hasBegun = false;
    const work = lease.guard({ action: "lookup", costUsd: "0.01", context: true }, ({ signal }) => {
      hasBegun = true;
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
    })();
    const ended = thrown(work);
    await until(() => hasBegun, "the work has begun");
    session.stop(reason);
    same([(await ended) === reason, lease.isOpen], [true, false]);
    await lease.close();
    same((await session.read()).totals.postedUsd, "0.02");
    return undefined;
  },
};
