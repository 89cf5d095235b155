import { is200, load } from "../client.ts";
import type { Group } from "../groups.ts";
import { BARE } from "../policies.ts";
import { atMost, type Table } from "../report.ts";
import { quantile } from "../rounds.ts";
import { type Tenant, type World, withWorld } from "../world.ts";

const LIVE = 1_000;
const WORK = { action: "work" };
/** Every session is asked something every ten seconds, so that all their leases run. */
const ASKED_PER_SECOND = LIVE / 10;
const ASKING = 4;
/** So many sessions are asked as soon as a kill has answered. */
const SAMPLED = 20;
/** A kill and a revival belong together. */
const LEAST_KILLS = 20;
const HEARING_PATIENCE_MS = 15_000;

/**
 * How long a person waits who stops a tenant with 1,000 live sessions, and whether what the answer says is true. The sessions go on working meanwhile:
 * whatever is asked after the answer to a kill and before the next revival must not be allowed.
 */
export const interventions: Group = {
  name: "interventions",
  what: "kills and revivals of a tenant with 1,000 live sessions, and when a listener hears of them",
  byDefault: true,
  measure: ({ rounds }, say) =>
    withWorld(say, async (world) => {
      const tenant = await world.newTenant("bench", BARE);
      say(`opening ${LIVE} sessions`);
      const sessions = await tenant.open(LIVE);
      const listener = await listen(world.url, tenant.operator);
      const work = workThrough(world.url, tenant, sessions);
      const kills = Math.max(LEAST_KILLS, rounds * 4);
      const found = { kill: [] as Told[], revive: [] as Told[] };
      let sampled = 0;
      let wrongly = 0;
      try {
        for (let n = 0; n < kills; n++) {
          say(`kill ${n + 1} of ${kills}`);
          found.kill.push(await intervene(world, tenant, "kill", listener));
          work.setKilled(true);
          const answers = await Promise.all(
            Array.from({ length: SAMPLED }, (_, at) => decide(tenant, sessions[(n * SAMPLED + at * 37) % sessions.length] ?? "")),
          );
          sampled += answers.length;
          wrongly += answers.filter((verdict) => verdict !== "deny").length;
          work.setKilled(false);
          found.revive.push(await intervene(world, tenant, "revive", listener));
        }
      } finally {
        await Promise.all([work.end(), listener.end()]);
      }
      const row = (name: string, told: readonly Told[], of: (one: Told) => number) => {
        const numbers = told.map(of);
        return { name, figures: [numbers.length, quantile(numbers, 0.5), quantile(numbers, 0.99)] };
      };
      const table: Table = {
        title: "a tenant with 1,000 live sessions",
        columns: ["times", "p50 ms", "p99 ms"],
        rows: [
          row("processor time until a kill answers", found.kill, ({ cpuMs }) => cpuMs),
          row("kill answers", found.kill, ({ answeredMs }) => answeredMs),
          row("revival answers", found.revive, ({ answeredMs }) => answeredMs),
          row("a listener hears of the kill", found.kill, ({ heardMs }) => heardMs),
          row("a listener hears of the revival", found.revive, ({ heardMs }) => heardMs),
        ],
      };
      const p99 = (of: (one: Told) => number) => quantile([...found.kill, ...found.revive].map(of), 0.99);
      const silent = found.kill.map(({ unanswered }) => unanswered);
      const counted = work.counted();
      return {
        tables: [table],
        ratios: [
          atMost(1, "kills and revivals answer, p99, of 1 s", p99(({ answeredMs }) => answeredMs) / 1000),
          atMost(null, "a listener hears of them, p99, of 1 s", p99(({ heardMs }) => heardMs) / 1000),
          atMost(0, "allowed after a kill had answered", wrongly + counted.wrongly),
          atMost(0, "sessions that did not acknowledge, of 1,000, p99", quantile(silent, 0.99) / LIVE),
        ],
        notes: [
          `Meanwhile ${counted.asked} decisions were asked, ${ASKED_PER_SECOND} a second over all sessions. Between the answer to a kill and the next revival ${sampled} more were asked on purpose, of which ${wrongly} were not denied, and ${counted.killed} of the others were asked and answered, of which ${counted.wrongly} were allowed.`,
          `Acknowledged at each kill: ${Math.min(...found.kill.map(({ acknowledged }) => acknowledged))} to ${Math.max(...found.kill.map(({ acknowledged }) => acknowledged))}.`,
        ],
      };
    }),
};

/** What one intervention came to. */
interface Told {
  readonly answeredMs: number;
  readonly heardMs: number;
  /** The runtime's processor time until the answer, with what the sessions at work took of it meanwhile. */
  readonly cpuMs: number;
  readonly acknowledged: number;
  readonly unanswered: number;
}

async function intervene(world: World, tenant: Tenant, kind: "kill" | "revive", listener: Listener): Promise<Told> {
  const [began, before] = [performance.now(), world.cpuMs()];
  const answer = await tenant.send(tenant.operator, "POST", "/v1/interventions", {
    target: { type: "tenant", id: tenant.id },
    kind,
    reason: "bench",
  });
  const [answeredMs, cpuMs] = [performance.now() - began, world.cpuMs() - before];
  // The contract's answer to an intervention.
  const { acknowledged, unanswered } = answer.evidence as { readonly acknowledged: readonly unknown[]; readonly unanswered: readonly unknown[] };
  const heardMs = (await listener.heardOf(answer.id ?? "")) - began;
  return { answeredMs, heardMs, cpuMs, acknowledged: acknowledged.length, unanswered: unanswered.length };
}

const decide = async (tenant: Tenant, session: string) =>
  (await tenant.send(tenant.agent, "POST", `/v1/sessions/${session}/decisions`, WORK)).verdict;

/** Sessions at work, one after the other. Of what was asked and answered while everything was known to be killed it counts what was allowed. */
function workThrough(target: URL, tenant: Tenant, sessions: readonly string[]) {
  const texts = sessions.map((session) => tenant.decision(session, WORK));
  const stop = new AbortController();
  /** Of each connection, under which kill it has asked what is not answered yet. */
  const askedUnder = new Map<number, number>();
  const counted = { asked: 0, killed: 0, wrongly: 0 };
  let isKilled = false;
  let kill = 0;
  const working = load({
    target,
    connections: ASKING,
    durationMs: Number.POSITIVE_INFINITY,
    everyMs: (1000 * ASKING) / ASKED_PER_SECOND,
    signal: stop.signal,
    next: (connection) => {
      if (isKilled) askedUnder.set(connection, kill);
      return texts[counted.asked++ % texts.length] ?? "";
    },
    accept: (head, body, connection) => {
      const under = askedUnder.get(connection);
      askedUnder.delete(connection);
      // What is answered later may have been decided after the revival was asked for.
      if (isKilled && under === kill) {
        counted.killed++;
        if (body.includes('"verdict":"allow"')) counted.wrongly++;
      }
      return is200(head);
    },
  });
  return {
    setKilled: (killed: boolean) => {
      isKilled = killed;
      if (killed) kill++;
    },
    counted: () => counted,
    end: () => {
      stop.abort();
      return working;
    },
  };
}

interface Listener {
  /** When the intervention was heard of. Rejects when nobody hears of it for long. */
  heardOf(id: string): Promise<number>;
  end(): Promise<void>;
}

/** Listens as a dashboard would, to interventions alone. */
async function listen(url: URL, bearer: string): Promise<Listener> {
  const stop = new AbortController();
  const heard = new Map<string, number>();
  const waiting = new Map<string, (at: number) => void>();
  const stream = await fetch(new URL("/v1/events?types=intervention.kill,intervention.revive", url), {
    headers: { authorization: `Bearer ${bearer}`, accept: "text/event-stream" },
    signal: stop.signal,
  });
  if (!stream.ok || stream.body === null) throw new Error(`the stream answered ${stream.status}`);
  const body = stream.body.pipeThrough(new TextDecoderStream());
  const reading = (async () => {
    let text = "";
    for await (const chunk of body) {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        // The contract's event, whose details name the intervention.
        const { details } = JSON.parse(line.slice("data: ".length)) as { readonly details: { readonly id: string } };
        heard.set(details.id, performance.now());
        waiting.get(details.id)?.(performance.now());
      }
    }
  })().catch((fault: unknown) => {
    if (!stop.signal.aborted) throw fault;
  });
  return {
    heardOf: (id) =>
      new Promise((resolve, reject) => {
        const at = heard.get(id);
        if (at !== undefined) return resolve(at);
        const late = setTimeout(() => reject(new Error(`nobody heard of ${id}`)), HEARING_PATIENCE_MS);
        waiting.set(id, (when) => {
          clearTimeout(late);
          resolve(when);
        });
      }),
    end: () => {
      stop.abort();
      return reading;
    },
  };
}
