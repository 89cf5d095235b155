import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import type { Decision, DecisionBatch, EntryMark, SessionDetail } from "../../../sdk/src/wire.ts";
import { Audit } from "./audit.ts";
import { each, got, send, type Told } from "./calls.ts";
import { type Chance, chanceOf, drawn, type Extent, oneOf } from "./chance.ts";
import { assertSame, type Deed, type Hear, IS_REPEATABLE, work } from "./clients.ts";
import { gone, Home, type Life, strike, type Victim } from "./life.ts";
import { Operator } from "./operator.ts";
import { micro, usd } from "./record.ts";
import { type Agent, CAPS, openSession, remember, settle, type Tenant } from "./world.ts";

const HELP = `node test/faults/real/kill.ts [--rounds N] [--seed N] [--clients N] [--json]

Kills what \`npm start\` starts with SIGKILL, under load, again and again on one state, and holds every life against what was answered in the ones
before it. --rounds (default 36), --clients for each agent (default 4), --seed: what clients and operators do and when the blow falls; what the blow
meets is the machine's own. About twenty seconds a round. --json prints the figures as one object.`;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "36" },
    seed: { type: "string" },
    clients: { type: "string", default: "4" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

const ROUNDS = Number(values.rounds);
const CLIENTS = Number(values.clients);
const SEED = Number(values.seed ?? randomInt(2 ** 31));
/** Answers before the blow, at most; in odd rounds after the limits were felt. */
const MOST_ANSWERS = 1_500;
/** No load lasts longer than this, whatever it waits for. */
const MOST_LOAD_MS = 10_000;
/** Demand above a cap goes on for so long before it is found to have ended too early. */
const MOST_SPENDING_MS = 10_000;
/** In every so manieth round, and at the end, the whole record is read again, and in the others a part of what is old. The rest is in whole at the end. */
const EVERYTHING_EACH = 6;
/** So many requests of one earlier round are sent again in each: of many rounds they would wake all their sessions, and whoever reads one waits for those. */
const DRAWN_DEEDS = 300;
const say = (text: string): void => void process.stderr.write(`${text}\n`);

const figures = {
  seed: SEED,
  rounds: 0,
  kills_of_all: 0,
  kills_of_the_runtime: 0,
  kills_while_starting: 0,
  answers: 0,
  unheard: 0,
  answers_checked: 0,
  orders_checked: 0,
  sessions_shown: 0,
  entries: 0,
  entries_read_again: 0,
  most_of_the_cap_reached: 0,
  least_of_the_cap_reached: 1,
};

const home = new Home("kill");
say(`seed ${SEED}`);
try {
  await run();
  console.log(
    values.json
      ? JSON.stringify(figures)
      : Object.entries(figures)
          .map(([name, value]) => `${name.replaceAll("_", " ").padEnd(26)} ${value}`)
          .join("\n"),
  );
} catch (fault) {
  process.exitCode = 1;
  console.error(`Failed in round ${figures.rounds} of seed ${SEED}:`, fault);
} finally {
  await home.end();
}

async function run(): Promise<void> {
  let life = await home.start();
  const tenants = await settle(life.url, home.rootKey, ["alpha", "beta", "gamma"]);
  const watched = tenants.map((tenant) => ({ tenant, audit: new Audit(tenant), operator: new Operator(tenant) }));
  const remembered: (readonly Deed[])[] = [];
  for (; figures.rounds < ROUNDS; figures.rounds++) {
    const chance = chanceOf(SEED, `round ${figures.rounds}`);
    for (const agent of tenants.flatMap(({ agents }) => agents)) remember(agent, await openSession(life.url, agent));
    const isWhole = (figures.rounds + 1) % EVERYTHING_EACH === 0;
    const lap = stopwatch();
    const victim: Victim = chance() < 0.65 ? "all" : "runtime";
    const deeds = await loadAndKill(life, watched, victim, chance);
    const loadSeconds = lap();
    if (chance() < 0.2) await killStarting(chance);
    life = await home.start();
    const startSeconds = lap();

    await recheck(life.url, watched, chance);
    await each(deeds, 16, (deed) => repeat(life.url, deed));
    const earlier = remembered.length === 0 ? [] : oneOf(chance, remembered);
    await each(drawn(chance, earlier, DRAWN_DEEDS), 16, (deed) => repeat(life.url, deed));
    remembered.push(deeds);
    const againSeconds = lap();

    const { url } = life;
    const auditOne = async ({ tenant, audit, operator }: Watched): Promise<void> => {
      const part = chanceOf(SEED, `seen again ${figures.rounds} ${tenant.id}`);
      await audit.followToRest(url, isWhole ? "everything" : part);
      for (const deed of deeds) if (deed.agent.tenant === tenant.id) assertRecorded(audit, deed);
      assertObeyed(audit, operator);
      await each(decisionsOf(deeds, tenant), 16, ({ id, token }) => audit.assertState(url, token, id));
      const shown = await audit.assertShown(url, part);
      // Not in one statement: the other tenants' are added while this waits.
      figures.sessions_shown += shown;
      // What this life's clients had pending is settled, so that the next have room to spend.
      await settleAll(url, tenant, audit);
    };
    await Promise.all(watched.map(auditOne));
    const auditSeconds = lap();
    const chosen = watched[figures.rounds % watched.length];
    if (chosen !== undefined) await spendAll(life.url, chosen.tenant, chosen.audit, chosen.operator);
    const entries = watched.reduce((sum, { audit }) => sum + audit.entries, 0);
    say(
      `round ${figures.rounds + 1} of ${ROUNDS}: ${victim}, ${deeds.length} requests, ${entries} entries; ${loadSeconds} s load, ${startSeconds} s start, ${againSeconds} s asked again, ${auditSeconds} s audit${isWhole ? " of everything" : ""}, ${lap()} s spending`,
    );
  }
  await recheck(life.url, watched, "everything");
  await each(remembered.flat(), 16, (deed) => repeat(life.url, deed));
  for (const { audit } of watched) {
    await audit.followToRest(life.url, "everything");
    figures.sessions_shown += await audit.assertShown(life.url, "everything");
    figures.entries += audit.entries;
    figures.entries_read_again += audit.readAgain;
  }
}

type Watched = { readonly tenant: Tenant; readonly audit: Audit; readonly operator: Operator };

/** Seconds since it was asked last. */
function stopwatch(): () => string {
  let since = performance.now();
  return () => {
    const now = performance.now();
    const seconds = ((now - since) / 1000).toFixed(1);
    since = now;
    return seconds;
  };
}

async function recheck(url: string, watched: readonly Watched[], extent: Extent): Promise<void> {
  for (const { operator } of watched) figures.orders_checked += await operator.recheck(url, extent);
}

/**
 * Lets everybody work until the blow falls, and answers what clients remember. In even rounds it falls some answers after the first, while there is
 * money; in odd ones some after limits of every reach have been felt.
 */
async function loadAndKill(life: Life, watched: readonly Watched[], victim: Victim, chance: Chance): Promise<readonly Deed[]> {
  const awaited = new Set(figures.rounds % 2 === 0 ? [] : ["rate_exceeded", "agent_budget_exceeded"]);
  // Counted in answers, not in time: a slow machine has as much behind it when the blow falls.
  let untilBlow = 1 + Math.floor(MOST_ANSWERS * chance() ** 2);
  const killAfterMs = 20 * chance();
  const deadline = Date.now() + MOST_LOAD_MS;
  let killed = false;
  let timer: NodeJS.Timeout | undefined;
  const hear: Hear = async <T>(call: Parameters<Hear>[0]) => {
    const told = await send<T>(life.url, call).catch((fault) => {
      if (killed) return null;
      throw fault;
    });
    if (told === null) return null;
    // A runtime that is going down answers nothing, and never a fault.
    assert.ok(told.status < 500, `${call.method} ${call.path} answered ${told.status}: ${JSON.stringify(told.body)}`);
    awaited.delete(codeOf(told));
    if ((awaited.size === 0 && untilBlow-- <= 0) || Date.now() > deadline) {
      timer ??= setTimeout(() => {
        killed = true;
        strike(life.process, victim);
      }, killAfterMs);
    }
    return told;
  };
  const deeds: Deed[] = [];
  const label = `${figures.rounds}`;
  try {
    await Promise.all(
      watched.flatMap(({ tenant, operator }) => [
        operator.work(chanceOf(SEED, `operator ${label} ${tenant.id}`), hear),
        ...tenant.agents.flatMap((agent) =>
          Array.from({ length: CLIENTS }, (_, number) =>
            work(agent, chanceOf(SEED, `client ${label} ${tenant.id} ${agent.name} ${number}`), hear, deeds),
          ),
        ),
      ]),
    );
  } finally {
    clearTimeout(timer);
  }
  await gone(life.process, victim);
  if (victim === "all") figures.kills_of_all++;
  else figures.kills_of_the_runtime++;
  const unheard = deeds.filter(({ told }) => told === null).length;
  // It was killed under load: every client was left waiting for an answer.
  assert.equal(unheard, watched.length * 2 * CLIENTS);
  figures.unheard += unheard;
  figures.answers += deeds.length - unheard;
  return deeds;
}

/** A life that ends while it begins. */
async function killStarting(chance: Chance): Promise<void> {
  const started = home.begin();
  await new Promise((resolve) => setTimeout(resolve, 200 + 2_500 * chance()));
  strike(started, "all");
  await gone(started, "all");
  figures.kills_while_starting++;
}

/** The same again. What was answered is answered to the letter. What was not is asked twice at once, and gets one answer. */
async function repeat(url: string, deed: Deed): Promise<void> {
  if (!IS_REPEATABLE[deed.kind]) return;
  const what = `${deed.kind} ${deed.call.path} again`;
  if (deed.told !== null) {
    assertSame(deed.told, await send(url, deed.call), what);
    figures.answers_checked++;
    return;
  }
  const [one, two] = await Promise.all([send(url, deed.call), send(url, deed.call)]);
  assert.ok(
    one.status < 300 || (deed.kind === "mismatch" && one.status === 409) || (deed.kind === "run" && one.status === 409),
    `${what}: ${JSON.stringify(one)}`,
  );
  assertSame(one, two, what);
  if (deed.kind === "open" && hasId(one.body)) remember(deed.agent, one.body.id);
  deed.told = one;
  figures.answers_checked++;
}

/** Every answer names its entry, and that is in the record. */
function assertRecorded(audit: Audit, { kind, told, ids }: Deed): void {
  if (told === null || told.status >= 300) return;
  const { body } = told;
  if (kind === "batch") {
    // What the wire promises of a batch; below, of whatever has an entry.
    for (const { id, entry } of (body as DecisionBatch).decisions) assert.ok(audit.has(entry, id), `${id} is in the record`);
  } else if (kind !== "open" && kind !== "run" && kind !== "close") {
    const { id, entry } = body as { readonly id: string; readonly entry: EntryMark };
    assert.ok(audit.has(entry, id), `${kind} of ${id} is in the record`);
    if (ids[0] !== undefined) assert.equal(id, ids[0]);
  }
}

/** Who acknowledged an intervention obeys it since the entry that it named, or an earlier one. */
function assertObeyed(audit: Audit, { acknowledged }: Operator): void {
  for (const { kind, answer } of acknowledged.splice(0)) {
    if (kind !== "kill" && kind !== "pause") continue;
    for (const { session, seq } of answer.evidence.acknowledged) {
      const since = audit.obeysSince(session, answer.id);
      if (seq > 0) assert.ok(since !== undefined && since <= seq, `${session} acknowledged ${answer.id} at ${seq} and obeys it since ${since}`);
    }
  }
}

/** Every decision that a client was told of, once. */
function decisionsOf(deeds: readonly Deed[], tenant: Tenant): readonly { readonly id: string; readonly token: string }[] {
  const found = new Map<string, string>();
  for (const { kind, agent, told } of deeds) {
    if (agent.tenant !== tenant.id || told === null || told.status !== 200) continue;
    const decisions =
      kind === "batch" ? (told.body as DecisionBatch).decisions : kind === "decide" || kind === "keyed" ? [told.body as Decision] : [];
    for (const { id } of decisions) found.set(id, agent.token);
  }
  return Array.from(found, ([id, token]) => ({ id, token }));
}

async function settleAll(url: string, tenant: Tenant, audit: Audit): Promise<void> {
  await each(audit.pending(), 16, async (id) => {
    const money = audit.find(id);
    const agent = tenant.agents.find(({ name }) => name === money?.agent);
    if (money === undefined || agent === undefined || money.action === "brief") return;
    const path = `/v1/sessions/${money.session}/decisions/${id}`;
    // To the end of its life in both ways.
    if (money.reservedMicroUsd % 2 === 0)
      await got(url, { method: "POST", path: `${path}/commit`, token: agent.token, body: { cost_usd: "0", outcome: "error" } });
    else await got(url, { method: "POST", path: `${path}/release`, token: agent.token, body: {} });
  });
}

/** After a kill the money is all there: demand above the tenant's budget ends within a hundredth of it, and never above. */
async function spendAll(url: string, tenant: Tenant, audit: Audit, operator: Operator): Promise<void> {
  await operator.letGo(url);
  const day = new Date().getUTCDate();
  const asked: { readonly token: string; readonly path: string }[] = [];
  const sessions = await Promise.all(
    tenant.agents.flatMap((agent) =>
      [0, 1].map(async () => {
        const session = await openSession(url, agent);
        agent.opened.add(session);
        return { agent, session };
      }),
    ),
  );
  const reasons = new Set<string>();
  /** Why each was refused last, and how long that took. */
  const last = new Map<string, string>();
  const ask = async ({ agent, session }: (typeof sessions)[number]): Promise<void> => {
    for (;;) {
      const path = `/v1/sessions/${session}/decisions`;
      const askedAt = performance.now();
      const decision = await got<Decision>(url, {
        method: "POST",
        path,
        token: agent.token,
        body: { action: "step", estimate_usd: usd(micro(0.03)), ttl_ms: 3_600_000 },
      });
      if (decision.verdict !== "allow") {
        reasons.add(decision.reason.code);
        last.set(session, `${agent.name}: ${decision.reason.code} after ${Math.round(performance.now() - askedAt)} ms`);
        return;
      }
      asked.push({ token: agent.token, path: `${path}/${decision.id}` });
    }
  };
  await Promise.all(sessions.flatMap((one) => [ask(one), ask(one), ask(one)]));
  // Whoever was refused while another held some asks again: on a starved machine what others hold is not given back before the asker's patience ends.
  const until = Date.now() + MOST_SPENDING_MS;
  let passes = 0;
  do {
    passes++;
    for (const one of sessions) await ask(one);
    await audit.follow(url);
  } while (audit.spentToday() < 0.99 * micro(CAPS.tenant) && Date.now() < until);
  if (new Date().getUTCDate() === day) {
    const share = audit.spentToday() / micro(CAPS.tenant);
    if (share < 0.99) {
      const [one] = sessions;
      const shown = one === undefined ? "" : await sharedBy(url, one);
      assert.fail(`${tenant.id} could spend only ${share} of its budget, asked again ${passes} times; ${[...last.values()]}; ${shown}`);
    }
    assert.ok(reasons.has("tenant_budget_exceeded"), `refused for ${[...reasons]}`);
    figures.most_of_the_cap_reached = Math.max(figures.most_of_the_cap_reached, share);
    figures.least_of_the_cap_reached = Math.min(figures.least_of_the_cap_reached, share);
  }
  await each(asked, 16, async ({ token, path }) => void (await got(url, { method: "POST", path: `${path}/release`, token, body: {} })));
  await audit.follow(url);
}

/** How the money stands that sessions share, as one of them is shown it: what the next is shown may be later. */
async function sharedBy(url: string, { agent, session }: { readonly agent: Agent; readonly session: string }): Promise<string> {
  const { budgets } = await got<SessionDetail>(url, { method: "GET", path: `/v1/sessions/${session}`, token: agent.token });
  return budgets
    .filter(({ scope }) => scope === "agent" || scope === "tenant")
    .map(
      ({ name, posted_usd, pending_usd, leased_usd, remaining_usd }) =>
        `${name}: ${posted_usd} posted, ${pending_usd} pending, ${leased_usd} with sessions, ${remaining_usd} left`,
    )
    .join("; ");
}

function hasId(body: unknown): body is { readonly id: string } {
  return typeof body === "object" && body !== null && "id" in body && typeof body.id === "string";
}

/** The reason of a decision, where that is what was answered. */
function codeOf({ body }: Told): string {
  const reason = typeof body === "object" && body !== null && "reason" in body ? body.reason : null;
  return typeof reason === "object" && reason !== null && "code" in reason ? String(reason.code) : "";
}
