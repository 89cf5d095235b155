import { createSentinel } from "../../../sdk/src/index.ts";
import { leaseOf } from "../../../sdk/src/leases.ts";
import type { Group } from "../groups.ts";
import { BARE as BARE_POLICY, SEARCH } from "../policies.ts";
import { atLeast, atMost } from "../report.ts";
import { median, quantile } from "../rounds.ts";
import { withWorld } from "../world.ts";

const BARE = "the function, called bare";
const LEASED = "lease.guard: decided here, run, written down to be told";
const ASKED = "session.guard: decided and committed by the gateway";
/** A leased call costs at most this. */
const MOST_US = 20;
/** So many are made between two settlings: a lease waits with no more than it may. */
const BURST = 500;
const BURSTS = 10;

/** What a lease spares: a guarded call decided in process against the function alone, and against the gateway over loopback. */
export const leases: Group = {
  name: "leases",
  what: "a guarded call decided with a lease, against calling the function bare and against asking the gateway",
  byDefault: true,
  measure: ({ rounds, seconds }, say) =>
    withWorld(say, async (world) => {
      const tenant = await world.newTenant("bench", BARE_POLICY);
      const [id = ""] = await tenant.open(1);
      const session = await createSentinel({ url: world.url.href, token: tenant.agent }).session(id);
      const options = { action: SEARCH.action, costUsd: SEARCH.estimate_usd, tags: SEARCH.tags };
      const search = async (query: string): Promise<number> => query.length;
      const asked = session.guard(options, search);
      const times = new Map([BARE, LEASED, ASKED].map((name) => [name, [] as number[]]));
      const toldUs: number[] = [];
      for (let round = 0; round <= rounds; round++) {
        await using lease = await leaseOf(session, { amountUsd: "1", actions: [SEARCH.action], ttlMs: 60_000 });
        const leased = lease.guard(options, search);
        const cases = [
          { name: BARE, call: search, calls: BURST, bursts: BURSTS },
          { name: LEASED, call: leased, calls: BURST, bursts: BURSTS },
          { name: ASKED, call: asked, calls: 10, bursts: Math.ceil(seconds * 5) },
        ];
        for (const { name, call, calls, bursts } of cases) {
          say(`round ${round} of ${rounds}: ${name}`);
          for (let burst = 0; burst < bursts; burst++) {
            const begun = performance.now();
            for (let count = 0; count < calls; count++) await call("durable objects");
            const ended = performance.now();
            if (name === LEASED) await lease.settle();
            // Round 0 warms up: nothing of it counts.
            if (round === 0) continue;
            times.get(name)?.push(((ended - begun) / calls) * 1000);
            if (name === LEASED) toldUs.push(((performance.now() - ended) / calls) * 1000);
          }
        }
      }
      const us = (name: string): number => median(times.get(name) ?? []);
      return {
        tables: [
          {
            title: "one call, in microseconds",
            columns: ["median", "p95"],
            rows: Array.from(times, ([name, found]) => ({ name, figures: [median(found), quantile(found, 0.95)] })),
          },
        ],
        ratios: [
          atMost(MOST_US, "microseconds that a leased guard adds", us(LEASED) - us(BARE)),
          atLeast(100, "asking the gateway / a leased guard (time of a call)", us(ASKED) / us(LEASED)),
        ],
        notes: [
          `To tell the gateway of a leased call takes ${Math.round(median(toldUs))} microseconds of it, a hundred in a request, beside the calls.`,
        ],
      };
    }),
};
