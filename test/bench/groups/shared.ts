import { is200 } from "../client.ts";
import { loadOn } from "../cpu.ts";
import type { Group } from "../groups.ts";
import { BARE } from "../policies.ts";
import { atLeast, atMost, loadTable } from "../report.ts";
import { type Case, ratioOf, takeTurns } from "../rounds.ts";
import { type Tenant, withWorld } from "../world.ts";
import { isAllowedOrPosted, livesOf } from "./lifecycle.ts";

const WORK = { action: "work", estimate_usd: "0.01" };
const AMPLE_USD = 1_000_000;
/** As many as may be under way at once under the scarce budget: two for each of 64 sessions, were they divided. */
const SCARCE_USD = 0.01 * 128;

/** The same budget with and without what all sessions of an agent and of the tenant share. */
const SHARING = {
  budgets: { session: AMPLE_USD, agent: { day: AMPLE_USD, month: AMPLE_USD }, tenant: { day: AMPLE_USD, month: AMPLE_USD } },
  rate_limits: { work: [{ max_count: 1_000_000, window_seconds: 60, per: "tenant" }] },
};
/** Everything that is spent is given back, so that the budget is always nearly gone and never is. */
const SCARCE = { budgets: { session: AMPLE_USD, tenant: { day: SCARCE_USD } } };
const GONE = { budgets: { session: AMPLE_USD, tenant: { day: 0 } } };

/**
 * What it costs that sessions share money and rates. A decision spends of its session's slice and asks nobody; what is measured is the counting, and
 * what happens when slices are small because little is left.
 */
export const shared: Group = {
  name: "shared",
  what: "budgets and rates of agent and tenant on 1 and 64 sessions, ample, nearly gone and gone",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const tenants = {
        alone: await world.newTenant("alone", BARE),
        sharing: await world.newTenant("sharing", SHARING),
        scarce: await world.newTenant("scarce", SCARCE),
        gone: await world.newTenant("gone", GONE),
      };
      let sessions: readonly string[] = [];
      const verdicts = new Map<string, { allowed: number; others: number }>();
      const lives = (name: string, tenant: Tenant, count: number, ending: "commit" | "release"): Case => ({
        name,
        prepare: async () => {
          sessions = await tenant.open(count);
        },
        run: (durationMs) => {
          const counted = { allowed: 0, others: 0 };
          verdicts.set(name, counted);
          return loadOn(world, {
            target: world.url,
            connections: 64,
            durationMs,
            requestsPerStep: 2,
            next: livesOf(tenant, sessions, WORK, ending === "commit" ? undefined : tenant.release),
            accept: (head, body) => {
              if (body.includes('"verdict":"allow"')) counted.allowed++;
              else if (body.includes('"verdict":"')) counted.others++;
              // What was denied has nothing to give back, and says so: 409.
              return ending === "commit" ? isAllowedOrPosted(head, body) : is200(head) || head.startsWith("HTTP/1.1 409");
            },
          });
        },
      });
      const denied = (name: string, tenant: Tenant): Case => ({
        name,
        prepare: async () => {
          sessions = await tenant.open(64);
        },
        run: (durationMs) => {
          const texts = sessions.map((session) => tenant.decision(session, WORK));
          const next = (at: number, n: number) => texts[(at + n) % texts.length] ?? "";
          return loadOn(world, {
            target: world.url,
            connections: 64,
            durationMs,
            next,
            accept: (_, body) => body.includes("tenant_budget_exceeded"),
          });
        },
      });
      const cases: readonly Case[] = [
        lives("1 session, nothing shared", tenants.alone, 1, "commit"),
        lives("1 session, sharing", tenants.sharing, 1, "commit"),
        lives("64 sessions, nothing shared", tenants.alone, 64, "commit"),
        lives("64 sessions, sharing", tenants.sharing, 64, "commit"),
        lives("64 sessions, all given back", tenants.sharing, 64, "release"),
        lives("64 sessions, nearly gone, all given back", tenants.scarce, 64, "release"),
        denied("64 sessions, gone: denials", tenants.gone),
      ];
      const found = await takeTurns(cases, effort, say);
      const { allowed, others } = verdicts.get("64 sessions, nearly gone, all given back") ?? { allowed: 0, others: 0 };
      return {
        tables: [loadTable("decide + commit or release, 64 connections", found)],
        ratios: [
          atLeast(null, "sharing / not sharing, 1 session", ratioOf(found, "1 session, sharing", "1 session, nothing shared")),
          atLeast(null, "sharing / not sharing, 64 sessions", ratioOf(found, "64 sessions, sharing", "64 sessions, nothing shared")),
          atLeast(null, "nearly gone / ample", ratioOf(found, "64 sessions, nearly gone, all given back", "64 sessions, all given back")),
          atMost(null, "nearly gone: denied of asked", others / (allowed + others)),
        ],
        notes: [`Nearly gone: in the last round ${allowed} were allowed and ${others} were not; what fits is 128 at once, and at most 64 are.`],
      };
    }),
};
