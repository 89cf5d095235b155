import { Agent, Seat } from "./actors/agent.ts";
import { Listener } from "./actors/listener.ts";
import { Operator } from "./actors/operator.ts";
import { Person } from "./actors/person.ts";
import { PEOPLE, publish } from "./actors/policies.ts";
import { Program } from "./actors/program.ts";
import { Reader } from "./actors/reader.ts";
import { Recorder } from "./actors/recorder.ts";
import { drawFaults, type FaultKind, type Faults, NO_FAULTS } from "./faults.ts";
import { Answers } from "./oracle/answers.ts";
import { Calls } from "./oracle/calls.ts";
import { Oracle } from "./oracle/oracle.ts";
import { demandRecord, demandRest, unrest } from "./oracle/rest.ts";
import type { SessionModel } from "./oracle/session.ts";
import { demand } from "./oracle/violation.ts";
import type { Treachery } from "./platform/objects.ts";
import { Platform } from "./platform/platform.ts";
import { Random } from "./random.ts";
import { Trouble } from "./trouble.ts";

/** One world from its beginning to its rest, and everything it depends on. */
export interface EpisodeWish {
  readonly seed: number;
  /** Steps under faults; the way to rest comes after them. */
  readonly steps: number;
  readonly without: ReadonlySet<FaultKind>;
  /** At most so many tenants, agents of each, sessions of each agent, seats of each agent; `null`: as chance has it. */
  readonly most: number | null;
  readonly treachery: Treachery | null;
  readonly trace: ((line: string) => void) | null;
}

export interface EpisodeResult {
  readonly steps: number;
  readonly faults: Faults;
  /** `null`: every promise was kept. */
  readonly violation: { readonly law: string; readonly message: string; readonly recent: readonly string[] } | null;
  readonly counts: { readonly [what: string]: number };
  /** Of everything that happened, in its order: the same for the same wish. */
  readonly digest: string;
}

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/** Lets a world live for so many steps under faults, then heals it and lets it come to rest. Every step is watched; the same wish gives the same world. */
export async function live(wish: EpisodeWish): Promise<EpisodeResult> {
  const random = new Random(wish.seed);
  const faults = drawFaults(random, wish.without);
  const at = (most: number): number => Math.min(most, wish.most ?? most);
  const oracle = new Oracle();
  const answers = new Answers();
  // Somewhere in a month, mostly near the end of an hour: that is where stretches change.
  const begins =
    Date.UTC(2026, 10, 1) +
    random.between(0, 29) * DAY_MS +
    random.between(0, 23) * 60 * MINUTE_MS +
    59 * MINUTE_MS -
    random.between(-5, 10) * MINUTE_MS;
  const platform = new Platform(begins, random, NO_FAULTS, random.between(1, at(3)), oracle, wish.treachery);
  const { world } = platform;
  world.trace = wish.trace;
  const names = Array.from({ length: random.between(1, at(2)) }, (_, n) => ({
    id: `t${n}`,
    agents: Array.from({ length: random.between(1, at(3)) }, (_, a) => `a${a}`),
  }));
  oracle.open(platform, names, faults.clocks === "true");

  const seats: Seat[] = [];
  const operators: Operator[] = [];
  const programs: Program[] = [];
  const calls: Calls[] = [];
  const recorders: Recorder[] = [];
  const readers: Reader[] = [];
  const people: Person[] = [];
  const listeners: Listener[] = [];
  const tightness = random.pick([0.3, 1, 1, 5]);
  const isBusy = random.chance(0.3);
  // In some worlds nobody uses the SDK, in some nearly everybody.
  const perAgent = random.pick([0, 1, 1, 2, 5]);
  // In some worlds nobody is asked, in some people are asked all the time.
  const asks = random.pick([0, 0.3, 1, 1, 1]);
  // In some worlds hardly anything can be leased, in some nearly everything.
  const leases = random.pick([0, 0.5, 0.9, 1]);
  // In some worlds nobody goes on for long without being stopped.
  const stops = random.pick([1, 1, 8]);
  for (const { id, agents: ofTenant } of names) {
    const tenant = oracle.tenants.get(id);
    if (tenant === undefined) throw new Error("every tenant is watched");
    const agents = ofTenant.map((name) => new Agent(tenant, name, "tok_", random.between(1, at(4))));
    for (const agent of agents) {
      for (let n = random.between(1, at(4)); n > 0; n--) seats.push(new Seat(`${id} ${agent.name} seat ${n}`, agent, answers, platform, oracle));
    }
    for (const agent of agents) {
      for (let n = at(perAgent); n > 0; n--) {
        const own = new Calls(tenant);
        calls.push(own);
        programs.push(new Program(`${id} ${agent.name} program ${n}`, agent, own, platform, oracle));
      }
      if (perAgent > 0 && random.chance(0.5)) recorders.push(new Recorder(`${id} ${agent.name} recorder`, agent, platform, oracle));
    }
    const restMs = isBusy ? 400 : stops > 1 ? 1_500 : random.pick([3_000, 20_000]);
    operators.push(new Operator(`${id} operator`, tenant, agents, { restMs, tightness, asks, leases, stops }, platform, oracle));
    if (at(2) > 1) readers.push(new Reader(`${id} reader`, tenant, random.pick([1_000, 10_000]), platform, oracle));
    if (asks > 0)
      for (const subject of PEOPLE) people.push(new Person(`${id} ${subject}`, tenant, subject, random.pick([30, 100, 500]), platform, oracle));
    if (random.chance(0.5))
      listeners.push(new Listener(`${id} listener`, tenant, random.chance(0.5) ? {} : { types: ["decision.*", "intervention.*"] }, platform, oracle));
  }
  const actors = [...seats, ...programs, ...recorders, ...operators, ...readers, ...people, ...listeners];
  const verdict = (): boolean => oracle.violation !== null;

  /** Lets time pass until a promise is kept, or somebody has found a promise broken. */
  const until = async (promise: Promise<unknown>, patienceMs: number): Promise<boolean> => {
    let isDone = false;
    promise.then(
      () => {
        isDone = true;
      },
      (fault: unknown) => {
        oracle.violation ??= fault instanceof Error ? fault : new Error(String(fault));
      },
    );
    const late = world.now + patienceMs;
    while (!isDone && !verdict() && (await world.step(late)));
    return isDone;
  };
  const passUntil = async (instant: number): Promise<void> => {
    while (!verdict() && (await world.step(instant)));
    world.now = Math.max(world.now, instant);
  };

  const trouble = new Trouble(platform, faults, random);
  try {
    for (const operator of operators) {
      let made: Promise<void> = Promise.resolve();
      await world.runAs(operator, () => {
        made = operator.prepare();
      });
      await until(made, MINUTE_MS);
    }
    const first = world.steps;
    platform.network.faults = faults;
    trouble.begin();
    for (const actor of actors) actor.start();
    while (!verdict() && world.steps - first < wish.steps) {
      trouble.strike();
      if (!(await world.step(Number.MAX_SAFE_INTEGER))) break;
    }

    // Nothing goes wrong any more, and nobody asks for anything new: everything comes to rest.
    platform.network.heal(NO_FAULTS);
    for (const actor of [...seats, ...programs, ...recorders, ...operators, ...readers, ...people]) actor.isStopped = true;
    await passUntil(world.now + 5 * MINUTE_MS + trouble.standstillMs());
    // Who was made to pause for hours in the middle of a call ends it then.
    const isAnybodyBusy = (): boolean => calls.some((own) => !own.haveEnded) || [...programs, ...recorders].some(({ hasEnded }) => !hasEnded);
    for (let waited = 0; waited < 200 && !verdict() && isAnybodyBusy(); waited++) await passUntil(world.now + 5 * MINUTE_MS);
    for (let waited = 0; waited < 12 && !verdict(); waited++) {
      if (unrest(oracle, platform, listeners) === null) break;
      await passUntil(world.now + 5 * MINUTE_MS);
    }
    oracle.check(() => {
      demandRest(oracle, platform, listeners);
      answers.demandKept(oracle.tenants.values());
      for (const own of calls) own.demandKept();
      for (const recorder of recorders) recorder.demandKept();
    });

    for (const [place, operator] of operators.entries()) {
      const tenant = oracle.tenants.get(names[place]?.id ?? "");
      const reader = readers[place];
      if (verdict() || tenant === undefined) break;
      if (reader !== undefined) {
        let read: Promise<void> = Promise.resolve();
        await world.runAs(reader, () => {
          read = demandRecord(reader, tenant, oracle);
        });
        if (!(await until(read, MINUTE_MS)) && !verdict())
          oracle.check(() => demand(false, "when all is well the record is read within a minute", () => tenant.id));
      }
      await demandUse(
        operator,
        tenant,
        seats.filter(({ agent }) => agent.tenant === tenant),
      );
    }
  } finally {
    platform.close();
  }

  async function demandUse(operator: Operator, tenant: NonNullable<ReturnType<typeof oracle.tenants.get>>, drains: readonly Seat[]): Promise<void> {
    const spent = [...tenant.sessions.values()].reduce((sum, { total }) => sum + total.posted + total.pending, 0);
    const room = 400_000;
    const cap = spent + room;
    let capped: Promise<void> = Promise.resolve();
    await world.runAs(operator, () => {
      capped = (async () => {
        for (const stop of tenant.standing()) await operator.lift(stop);
        await operator.cap(publish(JSON.stringify({ version: 1, budgets: { tenant: { total: (cap / 1_000_000).toFixed(6) } } })));
      })();
    });
    if (!(await until(capped, 5 * MINUTE_MS))) return;
    for (const seat of drains) {
      seat.isStopped = false;
      seat.drains = Math.floor(room / 250);
      seat.start();
    }
    const late = world.now + 30 * MINUTE_MS;
    while (!verdict() && drains.some(({ isStopped }) => !isStopped) && (await world.step(late)));
    const used = [...tenant.sessions.values()].reduce((sum, { total }) => sum + total.posted + total.pending, 0) - spent;
    oracle.check(() =>
      demand(used <= room && used >= room * 0.99, "demand above a cap ends within 1 % of it", () => ({
        tenant: tenant.id,
        room,
        used,
        seats: drains.length,
      })),
    );
  }

  const { violation } = oracle;
  return {
    steps: world.steps,
    faults,
    digest: world.digest(),
    violation:
      violation === null
        ? null
        : {
            law: "law" in violation ? String(violation.law) : violation.name,
            message: violation.stack ?? violation.message,
            recent: world.recent.slice(-120),
          },
    counts: {
      decisions: sum(oracle, (session) => session.decisions.size),
      allowed: sum(oracle, (session) => session.allowed.length),
      asked_of_people: sum(oracle, ({ approvals }) => approvals.asked.size),
      approved: sum(oracle, ({ approvals }) => [...approvals.asked.values()].filter(({ statuses }) => statuses.has("approved")).length),
      used: sum(oracle, ({ approvals }) => [...approvals.asked.values()].filter(({ usedBy }) => usedBy !== null).length),
      sessions: sum(oracle, () => 1),
      entries: [...oracle.tenants.values()].reduce((all, { ledger }) => all + ledger.placed.length, 0),
      answers: answers.heard,
      repeated: answers.repeated,
      lives: programs.reduce((all, { lives }) => all + lives, 0),
      calls: calls.reduce((all, { made }) => all + made, 0),
      ran: calls.reduce((all, { ran }) => all + ran, 0),
      kept_to_once: calls.reduce((all, { keptToOnce }) => all + keptToOnce, 0),
      leases: sum(oracle, ({ leases }) => leases.size),
      ran_leased: calls.reduce((all, { ranLeased }) => all + ranLeased, 0),
      ran_approved: calls.reduce((all, { usedApprovals }) => all + usedApprovals, 0),
      recorded: recorders.reduce((all, { recorded }) => all + recorded, 0),
      reported: [...oracle.tenants.values()].reduce((all, { ledger }) => all + ledger.reported.size, 0),
      events: listeners.reduce((all, { heard }) => all + heard, 0),
      read: readers.reduce((all, { rows }) => all + rows, 0),
      ...trouble.counts,
    },
  };
}

function sum(oracle: Oracle, of: (session: SessionModel) => number): number {
  let all = 0;
  for (const { sessions } of oracle.tenants.values()) for (const session of sessions.values()) all += of(session);
  return all;
}
