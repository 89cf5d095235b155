import { createSentinel } from "../../../sdk/src/index.ts";
import { type Round, roundOf } from "../client.ts";
import type { Group } from "../groups.ts";
import { ALL_GATES, SEARCH } from "../policies.ts";
import { atMost, loadTable } from "../report.ts";
import { type Case, ratioOf, takeTurns } from "../rounds.ts";
import { withWorld } from "../world.ts";

const BARE = "fetch by hand: decide, run, commit";
const GUARDED = "session.guard: the same";
/** So much longer may a guarded call take, of what the same two requests take by hand. */
const MOST = 1.1;
/** What is looked for is a tenth; a machine's mood changes by more within seconds. So turns are short, and there are more of them. */
const TURNS_PER_ROUND = 8;

/**
 * What the SDK adds to its two requests: one call after the other, on the same runtime, through the same `fetch`. By hand there is less than anybody
 * should leave out: no time limit, no second try, no look at more of an answer than its verdict.
 */
export const sdk: Group = {
  name: "sdk",
  what: "a guarded call through the SDK, against its two requests made by hand",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const tenant = await world.newTenant("bench", ALL_GATES);
      const [id = ""] = await tenant.open(1);
      const session = await createSentinel({ url: world.url.href, token: tenant.agent }).session(id);
      const { action, inputs, tags, resource } = SEARCH;
      const send = async (path: string, body: object): Promise<{ readonly [member: string]: unknown }> => {
        const response = await fetch(new URL(`/v1/sessions/${id}/decisions${path}`, world.url), {
          method: "POST",
          headers: { authorization: `Bearer ${tenant.agent}`, "content-type": "application/json" },
          body: JSON.stringify(body),
        });
        return await response.json();
      };
      const byHand = async (): Promise<void> => {
        const decision = `dec_${crypto.randomUUID()}`;
        const { verdict } = await send("", { ...SEARCH, id: decision });
        if (verdict !== "allow") throw new Error(`"${action}" was not allowed: ${String(verdict)}`);
        const { state } = await send(`/${decision}/commit`, { cost_usd: SEARCH.estimate_usd, outcome: "success", duration_ms: 0 });
        if (state !== "posted") throw new Error(`"${action}" was not posted: ${String(state)}`);
      };
      const guarded = session.guard({ action, costUsd: SEARCH.estimate_usd, tags, resource, inputs: () => inputs }, () => undefined);
      const cases: readonly Case[] = [
        { name: BARE, run: (durationMs) => oneAfterAnother(byHand, durationMs) },
        { name: GUARDED, run: (durationMs) => oneAfterAnother(guarded, durationMs) },
      ];
      const turns = { ...effort, rounds: effort.rounds * TURNS_PER_ROUND, seconds: effort.seconds / TURNS_PER_ROUND };
      const found = await takeTurns(cases, turns, say);
      return {
        tables: [loadTable("one call after another", found)],
        ratios: [
          atMost(
            MOST,
            "guard / fetch by hand (median time of a call)",
            ratioOf(found, GUARDED, BARE, ({ p50Ms }) => p50Ms),
          ),
        ],
        notes: [],
      };
    }),
};

async function oneAfterAnother(call: () => Promise<unknown>, durationMs: number): Promise<Round> {
  const latenciesMs: number[] = [];
  const begun = performance.now();
  for (let now = begun; now - begun < durationMs; ) {
    await call();
    const ended = performance.now();
    latenciesMs.push(ended - now);
    now = ended;
  }
  return roundOf(latenciesMs, performance.now() - begun);
}
