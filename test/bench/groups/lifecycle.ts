import { uuidv7 } from "../../../sdk/src/ids.ts";
import { is200, is201, isAllowed, post } from "../client.ts";
import { loadOn } from "../cpu.ts";
import type { Group } from "../groups.ts";
import { ALL_GATES, SEARCH } from "../policies.ts";
import { atLeast, loadTable } from "../report.ts";
import { type Case, ratioOf, takeTurns } from "../rounds.ts";
import { type Tenant, withBaselines, withWorld } from "../world.ts";

/**
 * What an agent does for every action: it asks, acts, and says what it cost. Timed from the question to the second answer. And what it does first: it opens a
 * session, which makes an object with a database of its own, as a naive one does when it is first called.
 */
export const lifecycle: Group = {
  name: "lifecycle",
  what: "open a session, decide and commit, as an agent does, at 1, 32 and 64 connections",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, (world) =>
      withBaselines(world.built.migrations, async (baselines) => {
        const { url: base } = baselines;
        const tenant = await world.newTenant("bench", ALL_GATES);
        let sessions: readonly string[] = [];
        const lives = (name: string, connections: number, count: number): Case => ({
          name,
          prepare: async () => {
            sessions = await tenant.open(count);
          },
          run: (durationMs) =>
            loadOn(world, {
              target: world.url,
              connections,
              durationMs,
              requestsPerStep: 2,
              next: livesOf(tenant, sessions),
              accept: isAllowedOrPosted,
            }),
        });
        let made = 0;
        const opened = post(world.url, "/v1/sessions", { authorization: `Bearer ${tenant.agent}` }, "{}");
        const naive = post(base, "/naive/lifecycle", {}, JSON.stringify(SEARCH));
        const cases: readonly Case[] = [
          lives("one session, 1 connection", 1, 1),
          lives("one session, 32", 32, 1),
          lives("64 sessions, 64", 64, 64),
          {
            name: "naive object called twice, 32",
            run: (durationMs) =>
              loadOn(baselines, { target: base, connections: 32, durationMs, requestsPerStep: 2, next: () => naive, accept: is200 }),
          },
          {
            name: "open a session, 8",
            run: (durationMs) => loadOn(world, { target: world.url, connections: 8, durationMs, next: () => opened, accept: is201 }),
          },
          {
            name: "a new naive object, 8",
            run: (durationMs) =>
              loadOn(baselines, {
                target: base,
                connections: 8,
                durationMs,
                next: () => post(base, `/naive/new${made++}`, {}, JSON.stringify(SEARCH)),
                accept: is200,
              }),
          },
        ];
        const found = await takeTurns(cases, effort, say);
        return {
          tables: [loadTable("decide + commit", found)],
          ratios: [
            atLeast(null, "lifecycle / two naive calls (32)", ratioOf(found, "one session, 32", "naive object called twice, 32")),
            atLeast(null, "opening a session / a new naive object (8)", ratioOf(found, "open a session, 8", "a new naive object, 8")),
          ],
          notes: [],
        };
      }),
    ),
};

/**
 * For each connection: a decision under an id of its own, made as the SDK makes it, then its end, again and again, session after session. The end is a
 * commit, unless said.
 */
export function livesOf(
  tenant: Tenant,
  sessions: readonly string[],
  request: object = SEARCH,
  end: (session: string, id: string) => string = (session, id) => tenant.commit(session, id, "0.000001"),
): (connection: number, answered: number) => string {
  const underway = new Map<number, { readonly session: string; readonly id: string }>();
  return (connection, answered) => {
    const open = underway.get(connection);
    if (open !== undefined) {
      underway.delete(connection);
      return end(open.session, open.id);
    }
    const session = sessions[(connection + answered / 2) % sessions.length] ?? "";
    const id = `dec_${uuidv7(Date.now())}`;
    underway.set(connection, { session, id });
    return tenant.decision(session, { id, ...request });
  };
}

export const isAllowedOrPosted = (head: string, body: string): boolean => isAllowed(head, body) || (is200(head) && body.includes('"state":"posted"'));
