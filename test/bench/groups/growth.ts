import { setTimeout as sleep } from "node:timers/promises";
import { get, is200, isAllowed, type Load, load, post, sendAll } from "../client.ts";
import { loadOn } from "../cpu.ts";
import type { Group } from "../groups.ts";
import { ALL_GATES, BARE, rulesNaming, SEARCH } from "../policies.ts";
import { atMost, loadTable, type Ratio } from "../report.ts";
import { type Case, cpuOf, type Effort, median, type Rounds, ratioOf, takeTurns } from "../rounds.ts";
import { filledId, fillLedger, fillSessions, sessionOctets } from "../stored.ts";
import { type Tenant, type World, withWorld } from "../world.ts";
import { isAllowedOrPosted, livesOf } from "./lifecycle.ts";

/** Whatever grows, what is done next must take as long as before, or nearly. */
const WANTED = 1.1;
const CONNECTIONS = 8;
const BATCH = 100;
const WAKES = 5;

/** Differences of a tenth are looked for, so turns are shorter and more. */
const finer = ({ rounds, seconds, large }: Effort): Effort => ({ rounds: rounds * 2, seconds: seconds / 2, large });

/** What a turn has recorded is shipped about a second later: so long the next one waits, so as not to pay for it. */
const REST_MS = 1_200;

/** Growth is told twice: by the time that passes, and by the runtime's processor time, which others on the machine hardly disturb. */
const slower = (found: Rounds, large: string, small: string): readonly Ratio[] => [
  atMost(WANTED, `${large} / ${small}`, ratioOf(found, small, large)),
  atMost(WANTED, `${large} / ${small}, CPU`, ratioOf(found, large, small, cpuOf)),
];

type Asking = Pick<Load, "connections" | "next" | "accept"> & { readonly requestsPerStep?: number };

/** A case that rests before each turn, and whose turns tell the runtime's processor time. */
const turn = (name: string, world: World, asking: () => Asking, prepare: () => Promise<unknown> = async () => undefined): Case => ({
  name,
  prepare: async () => {
    await prepare();
    await sleep(REST_MS);
  },
  run: (durationMs) => loadOn(world, { target: world.url, durationMs, ...asking() }),
});

/** Decide and commit, over these sessions in turn. */
const lives = (name: string, world: World, tenant: Tenant, sessions: () => readonly string[], prepare?: () => Promise<unknown>): Case =>
  turn(name, world, () => ({ connections: CONNECTIONS, requestsPerStep: 2, next: livesOf(tenant, sessions()), accept: isAllowedOrPosted }), prepare);

/** One request again and again, on one connection. */
const asking = (name: string, world: World, text: () => string, accept: Load["accept"] = is200): Case =>
  turn(name, world, () => ({ connections: 1, next: text, accept }));

/** Puts so many decisions behind a session, all of which are over when this answers: their reservations last a millisecond. */
async function decideBehind(world: World, tenant: Tenant, session: string, count: number, ttlMs = 1): Promise<void> {
  const text = (size: number) => {
    const body = JSON.stringify({ decisions: Array.from({ length: size }, () => ({ ...SEARCH, ttl_ms: ttlMs })) });
    return post(world.url, `/v1/sessions/${session}/decisions/batch`, { authorization: `Bearer ${tenant.agent}` }, body);
  };
  const [whole, rest] = [text(BATCH), count % BATCH];
  const wholes = Array.from({ length: Math.floor(count / BATCH) }, () => whole);
  await sendAll(world.url, [...wholes, ...(rest > 0 ? [text(rest)] : [])], isAllowed);
}

const sessions: Group = {
  name: "growth.sessions",
  what: "10, 1,000 and 100,000 settled decisions behind a session; its size; waking up",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const tenant = await world.newTenant("bench", ALL_GATES);
      const [long = ""] = await tenant.open(1);
      say("100,000 decisions behind a session");
      await decideBehind(world, tenant, long, 100_000);
      let fresh = "";
      const behind = (count: number) => async () => {
        [fresh = ""] = await tenant.open(1);
        await decideBehind(world, tenant, fresh, count);
      };
      const found = await takeTurns(
        [
          lives("10 behind", world, tenant, () => [fresh], behind(10)),
          lives("1,000 behind", world, tenant, () => [fresh], behind(1_000)),
          lives("100,000 behind", world, tenant, () => [long]),
        ],
        finer(effort),
        say,
      );
      const octets = sessionOctets(world.state, long);
      const short = (await tenant.open(1))[0] ?? "";
      await decideBehind(world, tenant, short, 10);
      const waking = await wake(world, tenant, short, long, say);
      return {
        tables: [
          loadTable("decide + commit", found),
          {
            title: "an object's first decision after a restart",
            columns: ["ms"],
            rows: [
              { name: "10 behind", figures: [waking.shortMs] },
              { name: "100,000 behind", figures: [waking.longMs] },
            ],
          },
          {
            title: "a session's database after more than 100,000 settled decisions",
            columns: ["kB", "octets each"],
            rows: [{ name: "all of it", figures: [octets / 1024, octets / 100_000] }],
          },
        ],
        ratios: [
          ...slower(found, "1,000 behind", "10 behind"),
          ...slower(found, "100,000 behind", "10 behind"),
          atMost(WANTED, "waking up, 100,000 behind / 10 behind", waking.longMs / waking.shortMs),
          atMost(null, "kB kept of a settled decision", octets / 1024 / 100_000),
        ],
        notes: ["Decisions are put behind a session by batches of 100 with reservations of a millisecond, which the next turn expires."],
      };
    }),
};

/** What an object's first decision takes when it was not in memory: the runtime is started anew, and other sessions' work has warmed it up. */
async function wake(world: World, tenant: Tenant, short: string, long: string, say: (text: string) => void) {
  const times: { readonly short: number[]; readonly long: number[] } = { short: [], long: [] };
  for (let n = 0; n < WAKES; n++) {
    say(`waking up, ${n + 1} of ${WAKES}`);
    await world.restart(() => undefined);
    const warm = await tenant.open(1);
    await load({
      target: world.url,
      connections: CONNECTIONS,
      durationMs: 500,
      requestsPerStep: 2,
      next: livesOf(tenant, warm),
      accept: isAllowedOrPosted,
    });
    for (const [session, kept] of n % 2 === 0
      ? ([
          [short, times.short],
          [long, times.long],
        ] as const)
      : ([
          [long, times.long],
          [short, times.short],
        ] as const)) {
      const began = performance.now();
      await tenant.send(tenant.agent, "POST", `/v1/sessions/${session}/decisions`, SEARCH);
      kept.push(performance.now() - began);
    }
  }
  return { shortMs: median(times.short), longMs: median(times.long) };
}

const pending: Group = {
  name: "growth.pending",
  what: "10 and 10,000 reservations under way in a session",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const tenant = await world.newTenant("bench", ALL_GATES);
      const [few = "", many = ""] = await tenant.open(2);
      say("10,000 reservations");
      const hourMs = 3_600_000;
      await decideBehind(world, tenant, few, 10, hourMs);
      await decideBehind(world, tenant, many, 10_000, hourMs);
      const found = await takeTurns(
        [lives("10 under way", world, tenant, () => [few]), lives("10,000 under way", world, tenant, () => [many])],
        finer(effort),
        say,
      );
      return { tables: [loadTable("decide + commit", found)], ratios: slower(found, "10,000 under way", "10 under way"), notes: [] };
    }),
};

const ledger: Group = {
  name: "growth.ledger",
  what: "a tenant's ledger of 1,000 entries and of 100,000, with --large 1,000,000",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, (small) =>
      withWorld(say, async (large) => {
        const total = effort.large ? 1_000_000 : 100_000;
        const prepared = async (world: World, entries: number) => {
          const tenant = await world.newTenant("bench", BARE);
          const opened = await tenant.open(CONNECTIONS);
          // As many as are read of a session, in both.
          await decideBehind(world, tenant, opened[0] ?? "", 100);
          await load({
            target: world.url,
            connections: CONNECTIONS,
            durationMs: 300,
            requestsPerStep: 2,
            next: livesOf(tenant, opened),
            accept: isAllowedOrPosted,
          });
          await tenant.send(tenant.operator, "GET", "/v1/ledger?limit=1");
          say(`a ledger of ${entries} entries`);
          await world.restart(() => fillLedger(world.state, "bench", entries));
          return { tenant, opened };
        };
        // What a second of decisions adds is more than the small ledger has: it is made of 1,000, and both grow alike.
        const [few, many] = [await prepared(small, 1_000), await prepared(large, total)];
        const far = new Date(Date.now() - 600_000).toISOString();
        const read = (name: string, routeOf: (opened: readonly string[]) => string) =>
          [
            asking(`${name}, 1,000`, small, () => get(small.url, routeOf(few.opened), { authorization: `Bearer ${few.tenant.operator}` })),
            asking(`${name}, ${total}`, large, () => get(large.url, routeOf(many.opened), { authorization: `Bearer ${many.tenant.operator}` })),
          ] as const;
        const entry = filledId("ent", 990);
        const cases = [
          lives("decide + commit, 1,000", small, few.tenant, () => few.opened),
          lives(`decide + commit, ${total}`, large, many.tenant, () => many.opened),
          ...read("newest 100 entries", () => "/v1/ledger?limit=100"),
          ...read("newest 100 of a session", ([session]) => `/v1/ledger?limit=100&session=${session}`),
          ...read("one entry", () => `/v1/ledger/${entry}`),
          ...read("costs of ten minutes", () => `/v1/costs?from=${far}`),
        ];
        const found = await takeTurns(cases, finer(effort), say);
        const names = ["decide + commit", "newest 100 entries", "newest 100 of a session", "one entry", "costs of ten minutes"];
        return {
          tables: [loadTable("under a ledger of so many entries", found)],
          ratios: names.flatMap((name) => slower(found, `${name}, ${total}`, `${name}, 1,000`)),
          notes: [
            "Ledgers are filled past the runtime, which is stopped meanwhile: copies of real entries in D1, and the object's own count of them. Two runtimes take turns.",
          ],
        };
      }),
    ),
};

const policies: Group = {
  name: "growth.policies",
  what: "policies of 10 and 10,000 rules, behind the door",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const rules = (others: number) => ({
        ...BARE,
        rules: [
          ...rulesNaming("search", 10),
          ...Array.from({ length: others }, (_, n) => ({ effect: "forbid", actions: [`svc${n}.*`], when: `inputs.env == 'e${n}'` })),
        ],
      });
      const [few, many] = [await world.newTenant("few", rules(0)), await world.newTenant("many", rules(9_990))];
      const [short, long] = [await few.open(CONNECTIONS), await many.open(CONNECTIONS)];
      const found = await takeTurns([lives("10 rules", world, few, () => short), lives("10,000 rules", world, many, () => long)], finer(effort), say);
      return { tables: [loadTable("decide + commit", found)], ratios: slower(found, "10,000 rules", "10 rules"), notes: [] };
    }),
};

const live: Group = {
  name: "growth.live",
  what: "10 and 10,000 live sessions of a tenant",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const [few, many] = [await world.newTenant("few", BARE), await world.newTenant("many", BARE)];
      const [short, long] = [await few.open(10), await many.open(10)];
      say("10,000 sessions");
      await world.restart(() => fillSessions(world.state, "many", 10_000));
      const opening = (name: string, tenant: Tenant): Case => {
        const text = () => post(world.url, "/v1/sessions", { authorization: `Bearer ${tenant.agent}` }, '{"ttl_ms":1000}');
        return asking(name, world, text, (head) => head.startsWith("HTTP/1.1 201"));
      };
      const listing = (name: string, tenant: Tenant): Case =>
        asking(name, world, () => get(world.url, "/v1/sessions?limit=10", { authorization: `Bearer ${tenant.agent}` }));
      const found = await takeTurns(
        [
          lives("decide + commit, 10 live", world, few, () => short),
          lives("decide + commit, 10,000 live", world, many, () => long),
          opening("opening, 10 live", few),
          opening("opening, 10,000 live", many),
          listing("newest 10 sessions, 10 live", few),
          listing("newest 10 sessions, 10,000 live", many),
        ],
        finer(effort),
        say,
      );
      return {
        tables: [loadTable("of a tenant with so many sessions", found)],
        ratios: ["decide + commit", "opening", "newest 10 sessions"].flatMap((name) => slower(found, `${name}, 10,000 live`, `${name}, 10 live`)),
        notes: [
          "All but ten of the 10,000 are written into the tenant's own object, past the runtime, which is stopped meanwhile: each would take 12 ms of its time to open.",
          "Sessions that are opened while opening is measured last a second.",
        ],
      };
    }),
};

const tenants: Group = {
  name: "growth.tenants",
  what: "50 sessions of one tenant, and of 50",
  byDefault: true,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const count = 50;
      const alone = await world.newTenant("alone", ALL_GATES);
      const together = await alone.open(count);
      const others: { readonly tenant: Tenant; readonly sessions: readonly string[] }[] = [];
      for (let n = 0; n < count; n++) {
        say(`tenant ${n + 1} of ${count}`);
        const tenant = await world.newTenant(`t${n}`, ALL_GATES);
        others.push({ tenant, sessions: await tenant.open(1) });
      }
      const found = await takeTurns(
        [
          lives("1 tenant", world, alone, () => together),
          turn("50 tenants", world, () => {
            // Each connection goes from tenant to tenant, as it goes from session to session of one.
            const each = others.map(({ tenant, sessions }) => livesOf(tenant, sessions));
            const next = (at: number, answered: number) => each[(at + Math.floor(answered / 2)) % count]?.(at, answered) ?? "";
            return { connections: CONNECTIONS, requestsPerStep: 2, next, accept: isAllowedOrPosted };
          }),
        ],
        finer(effort),
        say,
      );
      return { tables: [loadTable("decide + commit", found)], ratios: slower(found, "50 tenants", "1 tenant"), notes: [] };
    }),
};

/** What must take no longer however much there is. */
export const growth: readonly Group[] = [sessions, pending, ledger, policies, live, tenants];
