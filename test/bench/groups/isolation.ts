import { is200, isAllowed, type Load, load, post } from "../client.ts";
import type { Group } from "../groups.ts";
import { ALL_GATES, SEARCH } from "../policies.ts";
import { atMost, loadTable, shownFigure } from "../report.ts";
import { type Case, ratioOf, takeTurns } from "../rounds.ts";
import { withBaselines, withWorld } from "../world.ts";

const STORMING = 32;
/** The quiet one asks so often, one question at a time. */
const QUIET_EVERY_MS = 20;

/**
 * What one tenant feels of another's storm. Client, runtime and both tenants share two cores here, and the runtime runs one thread: with every storm the
 * quiet tenant waits its turn at that thread, whoever else is there. So the storm is a stated part of what the machine can do, and beside it stands
 * what the same part costs where no tenant is involved: a storm from the quiet tenant's own sessions, and one object of a naive Worker beside another.
 * What the gateway adds between tenants is the difference.
 */
export const isolation: Group = {
  name: "isolation",
  what: "a tenant that asks now and then, with and without another's storm",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, (world) =>
      withBaselines(world.built.migrations, async ({ url: base }) => {
        const [stormy, quiet] = [await world.newTenant("stormy", ALL_GATES), await world.newTenant("quiet", ALL_GATES)];
        const [theirs, own, [calm = ""]] = [await stormy.open(STORMING), await quiet.open(STORMING), await quiet.open(1)];
        const texts = { theirs: theirs.map((one) => stormy.decision(one, SEARCH)), own: own.map((one) => quiet.decision(one, SEARCH)) };
        const storm = (from: readonly string[]): Source => ({ target: world.url, next: (at) => from[at] ?? "", accept: isAllowed });
        const naive: Source = { target: base, next: (at) => post(base, `/naive/storm${at}`, {}, JSON.stringify(SEARCH)), accept: is200 };
        const calmText = quiet.decision(calm, SEARCH);
        const asking: Source = { target: world.url, next: () => calmText, accept: isAllowed };
        const calmNaive = post(base, "/naive/calm", {}, JSON.stringify(SEARCH));
        const askingNaive: Source = { target: base, next: () => calmNaive, accept: is200 };

        say("how much the machine can do");
        const most = async (source: Source) => (await load({ ...source, connections: STORMING, durationMs: effort.seconds * 1000 })).perSecond;
        await most(storm(texts.theirs));
        const [capacity, naiveCapacity] = [await most(storm(texts.theirs)), await most(naive)];
        const paced = (name: string, who: Source, by: Source | null, perSecond: number): Case => ({
          name,
          run: async (durationMs) => {
            const stop = new AbortController();
            const everyMs = Number.isFinite(perSecond) ? (1000 * STORMING) / perSecond : 0;
            const raging =
              by === null ? null : load({ ...by, connections: STORMING, durationMs: Number.POSITIVE_INFINITY, everyMs, signal: stop.signal });
            try {
              return await load({ ...who, connections: 1, durationMs, everyMs: QUIET_EVERY_MS });
            } finally {
              stop.abort();
              await raging;
            }
          },
        });
        const found = await takeTurns(
          [
            paced("alone", asking, null, 0),
            paced("another tenant at a quarter", asking, storm(texts.theirs), capacity / 4),
            paced("another tenant at half", asking, storm(texts.theirs), capacity / 2),
            paced("own sessions at half", asking, storm(texts.own), capacity / 2),
            paced("another tenant at all it can", asking, storm(texts.theirs), Number.POSITIVE_INFINITY),
            paced("naive, alone", askingNaive, null, 0),
            paced("naive, another object at half", askingNaive, naive, naiveCapacity / 2),
          ],
          effort,
          say,
        );
        const p50 = (a: string, b: string) => ratioOf(found, a, b, ({ p50Ms }) => p50Ms);
        const p95 = (a: string, b: string) => ratioOf(found, a, b, ({ p95Ms }) => p95Ms);
        return {
          tables: [loadTable("the quiet tenant's decisions", found)],
          ratios: [
            atMost(1.2, "p50, another at a quarter / alone", p50("another tenant at a quarter", "alone")),
            atMost(null, "p95, another at a quarter / alone", p95("another tenant at a quarter", "alone")),
            atMost(1.2, "p50, another at half / alone", p50("another tenant at half", "alone")),
            atMost(null, "p95, another at half / alone", p95("another tenant at half", "alone")),
            atMost(1.2, "p50, another's storm / one's own, at half", p50("another tenant at half", "own sessions at half")),
            atMost(null, "p95, another's storm / one's own, at half", p95("another tenant at half", "own sessions at half")),
            atMost(null, "p50, naive objects, another at half / alone", p50("naive, another object at half", "naive, alone")),
            atMost(null, "p50, another at all it can / alone", p50("another tenant at all it can", "alone")),
          ],
          notes: [
            `All it can: ${shownFigure(capacity)} decisions a second from ${STORMING} connections and as many sessions; naive objects ${shownFigure(naiveCapacity)}. The quiet tenant asks every ${QUIET_EVERY_MS} ms.`,
          ],
        };
      }),
    ),
};

type Source = Pick<Load, "target" | "next" | "accept">;
