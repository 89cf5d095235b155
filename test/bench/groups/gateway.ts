import { is200, isAllowed, post, sendAll } from "../client.ts";
import { loadOn } from "../cpu.ts";
import { takeExample } from "../example.ts";
import type { Group } from "../groups.ts";
import { ALL_GATES, SEARCH } from "../policies.ts";
import { atLeast, loadTable } from "../report.ts";
import { type Case, cpuOf, ratioOf, takeTurns } from "../rounds.ts";
import { withBaselines, withWorld } from "../world.ts";

const BATCH = 100;

/**
 * A full decision (token, policy with 100 rules, every gate, chain, outbox) against what it is made of: a route, a call of an object, and a call that
 * writes twice. Each round has sessions of its own, as the naive objects' rounds would be of no use to somebody whose sessions never ended.
 */
export const gateway: Group = {
  name: "gateway",
  what: "a full decision against a bare route, an in-memory object, a naive one and one that only keeps the record",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, (world) =>
      withBaselines(world.built.migrations, async (baselines) => {
        const { url: base } = baselines;
        const tenant = await world.newTenant("bench", ALL_GATES);
        const [first = ""] = await tenant.open(1);
        const example = JSON.stringify(await takeExample(world, tenant, first));
        await sendAll(base, [post(base, "/example", {}, example)], is200);
        let sessions: readonly string[] = [];
        let round = 0;
        const reopen = (count: number) => async () => {
          round++;
          sessions = await tenant.open(count);
        };
        const against = (name: string, route: string, connections: number, { objects = 1, count = 1 } = {}): Case => ({
          name,
          prepare: async () => void round++,
          run: (durationMs) => {
            const texts = Array.from({ length: objects }, (_, n) => post(base, `${route}/r${round}n${n}?count=${count}`, {}, JSON.stringify(SEARCH)));
            return loadOn(baselines, { target: base, connections, durationMs, next: (at, n) => texts[(at + n) % objects] ?? "", accept: is200 });
          },
        });
        const decide = (name: string, connections: number, count: number): Case => ({
          name,
          prepare: reopen(count),
          run: (durationMs) => {
            const texts = sessions.map((session) => tenant.decision(session, SEARCH));
            return loadOn(world, { target: world.url, connections, durationMs, next: (at, n) => texts[(at + n) % count] ?? "", accept: isAllowed });
          },
        });
        const bare = post(base, "/bare", {}, JSON.stringify(SEARCH));
        const batch = JSON.stringify({ decisions: Array.from({ length: BATCH }, () => SEARCH) });
        const batches = (name: string, connections: number): Case => ({
          name,
          prepare: reopen(1),
          run: (durationMs) => {
            const text = post(world.url, `/v1/sessions/${sessions[0]}/decisions/batch`, { authorization: `Bearer ${tenant.agent}` }, batch);
            return loadOn(world, { target: world.url, connections, durationMs, next: () => text, accept: isAllowed });
          },
        });
        const cases: readonly Case[] = [
          {
            name: "bare route, 32",
            run: (durationMs) => loadOn(baselines, { target: base, connections: 32, durationMs, next: () => bare, accept: is200 }),
          },
          against("in-memory object, 32", "/memory", 32),
          against("naive object, 32", "/naive", 32),
          against("recording object, 32", "/recorded", 32),
          decide("decision, one session, 32", 32, 1),
          against("in-memory object, 64", "/memory", 64),
          against("naive object, 64", "/naive", 64),
          decide("decision, one session, 64", 64, 1),
          against("64 naive objects, 64", "/naive", 64, { objects: 64 }),
          against("64 recording objects, 64", "/recorded", 64, { objects: 64 }),
          decide("decision, 64 sessions, 64", 64, 64),
          batches("batches of 100, 4", 4),
          against("batches of 100 recorded, 4", "/recorded", 4, { count: BATCH }),
          decide("decision, one caller, 1", 1, 1),
          batches("batches of 100, one caller, 1", 1),
        ];
        const found = await takeTurns(cases, effort, say);
        const ratio = (wanted: number | null, name: string, a: string, b: string) => [
          atLeast(wanted, name, ratioOf(found, a, b)),
          // How fast the one would be beside the other where nothing but the runtime's processor time counts: hardly disturbed by what else is running.
          atLeast(null, `${name}, by CPU`, ratioOf(found, b, a, cpuOf)),
        ];
        return {
          tables: [loadTable("full decision", found)],
          ratios: [
            ...ratio(null, "decision / bare route (32)", "decision, one session, 32", "bare route, 32"),
            ...ratio(0.7, "decision / in-memory object (32)", "decision, one session, 32", "in-memory object, 32"),
            ...ratio(1, "decision / naive object (32)", "decision, one session, 32", "naive object, 32"),
            ...ratio(null, "decision / recording object (32)", "decision, one session, 32", "recording object, 32"),
            ...ratio(null, "recording object / naive object (32)", "recording object, 32", "naive object, 32"),
            ...ratio(0.7, "decision / in-memory object (64)", "decision, one session, 64", "in-memory object, 64"),
            ...ratio(1, "decision / naive object (64)", "decision, one session, 64", "naive object, 64"),
            ...ratio(0.8, "64 sessions / 64 naive objects (64)", "decision, 64 sessions, 64", "64 naive objects, 64"),
            ...ratio(null, "64 sessions / 64 recording objects (64)", "decision, 64 sessions, 64", "64 recording objects, 64"),
            atLeast(10, "batch of 100 / single decisions", BATCH * ratioOf(found, "batches of 100, 4", "decision, one session, 32")),
            atLeast(
              10,
              "batch of 100 / single decisions, one caller",
              BATCH * ratioOf(found, "batches of 100, one caller, 1", "decision, one caller, 1"),
            ),
            atLeast(null, "batch of 100 recorded / single recorded", BATCH * ratioOf(found, "batches of 100 recorded, 4", "recording object, 32")),
          ],
          notes: ["The number behind a case is of its connections. Batches are counted as such: each is 100 decisions."],
        };
      }),
    ),
};
