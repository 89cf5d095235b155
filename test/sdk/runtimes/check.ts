import type * as approvals from "../../../sdk/src/approvals.ts";
import type * as guardedFetch from "../../../sdk/src/fetch.ts";
import type * as core from "../../../sdk/src/index.ts";
import type * as leases from "../../../sdk/src/leases.ts";
import type * as live from "../../../sdk/src/live.ts";
import type * as local from "../../../sdk/src/local.ts";

/** The runner of the suite that every runtime runs: a few lines of plain JavaScript, because no test framework runs on all of them. */

/** The package as it was built and installed, entry by entry; who starts the suite imports it, and the types are those of its sources. */
export interface Entries {
  readonly core: typeof core;
  readonly live: typeof live;
  readonly approvals: typeof approvals;
  readonly leases: typeof leases;
  readonly local: typeof local;
  readonly fetch: typeof guardedFetch;
}

/** What stands on loopback while the suite runs. */
export interface World {
  /** A real gateway, as `npm start` serves it, with the demo policy. */
  readonly url: string;
  /** A token of an agent that only this runtime uses, and one of a person who may do everything. */
  readonly agent: string;
  readonly operator: string;
  /** The way to the same gateway on which things go wrong. See `wire.ts`. */
  readonly wire: string;
}

/** Gives a sentence where the runtime lacks what it looks at, which is then in the report. Throws where something is wrong. */
export type Case = (stage: Stage) => Promise<string | undefined>;
/** By their names, in their order. */
export type Cases = { readonly [name: string]: Case };

export interface Outcome {
  readonly name: string;
  /** `null`: it passed. */
  readonly wrong: string | null;
  /** `null`: this runtime has all that it looks at. */
  readonly absent: string | null;
  readonly ms: number;
}

export type Report = readonly Outcome[];

type Options = Partial<core.SentinelOptions>;

/** What a case is played with. */
export interface Stage extends Entries {
  readonly world: World;
  /** Rejections that nobody has listened to, in this whole process. */
  readonly unheard: readonly unknown[];
  /** A client of the gateway with a session open, and every decision that it was told. */
  open(options?: Options): Promise<Opened>;
  /** A client on the wire with this fault. `seen` tells what the gateway was asked on it; `sever` cuts its streams of events. */
  openOn(
    fault: Fault,
    options?: Options,
  ): Promise<Opened & { readonly seen: () => Promise<readonly string[]>; readonly sever: () => Promise<unknown> }>;
  /** Asks the gateway as a person. */
  desk<Answer>(method: string, path: string, body?: object): Promise<Answer>;
}

export interface Opened {
  readonly sentinel: core.Sentinel;
  readonly session: core.Session;
  readonly decisions: readonly core.DecisionAnswer[];
  /** How the last decision and its money stand at the gateway. */
  readonly last: () => Promise<core.DecisionNow>;
}

/** What befalls decisions on the wire; everything else gets through. On `cut` all does, until its streams are severed. */
export type Fault = "lost" | "busy" | "dead" | "silent" | "elsewhere" | "garbled" | "short" | "cut";

/** No case takes nearly so long, on any machine. */
const LONGEST_CASE_MS = 60_000;

/** A timer that is left behind keeps the program alive for so long, and whoever waits for its end sees it. */
const PATIENCE_MS = 300_000;

/** Plays the cases one after the other. `heed` has `unheard` told of every rejection that nobody listens to. */
export async function play(cases: Cases, entries: Entries, world: World, heed: (unheard: (reason: unknown) => void) => void): Promise<Report> {
  const unheard: unknown[] = [];
  heed((reason) => void unheard.push(reason));
  const outcomes: Outcome[] = [];
  for (const [name, act] of Object.entries(cases)) {
    const startedAt = Date.now();
    let wrong: string | null = null;
    let absent: string | null = null;
    try {
      absent = (await within(LONGEST_CASE_MS, act(stageOf(entries, world, unheard)))) ?? null;
    } catch (error) {
      wrong = error instanceof Error ? `${error.name}: ${error.message}\n${error.stack ?? ""}` : `thrown: ${String(error)}`;
    }
    outcomes.push({ name, wrong, absent, ms: Date.now() - startedAt });
  }
  return outcomes;
}

function stageOf(entries: Entries, world: World, unheard: readonly unknown[]): Stage {
  const open = async (options: Options = {}): Promise<Opened> => {
    const decisions: core.DecisionAnswer[] = [];
    const onDecision = (decision: core.DecisionAnswer): void => void decisions.push(decision);
    const sentinel = entries.core.createSentinel({ url: world.url, token: world.agent, timeoutMs: PATIENCE_MS, onDecision, ...options });
    const session = await sentinel.openSession();
    return { sentinel, session, decisions, last: () => session.readDecision(decisions.at(-1)?.id ?? "") };
  };
  return {
    ...entries,
    world,
    unheard,
    open,
    async openOn(fault, options) {
      const name = crypto.randomUUID();
      const opened = await open({ url: `${world.wire}/${fault}/${name}`, ...options });
      const told = async (what: string) => (await fetch(`${world.wire}/${what}/${name}`)).json();
      return { ...opened, seen: async () => Object(await told("seen")), sever: () => told("sever") };
    },
    async desk<Answer>(method: string, path: string, body?: object): Promise<Answer> {
      const answer = await fetch(world.url + path, {
        method,
        headers: { authorization: `Bearer ${world.operator}`, "content-type": "application/json" },
        body: body === undefined ? null : JSON.stringify(body),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
      return JSON.parse(text);
    },
  };
}

/** Throws unless both are the same when they are written as JSON. */
export function same(found: unknown, wanted: unknown, what = "It"): void {
  const [a = "undefined", b = "undefined"] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what} is ${a.slice(0, 500)}, wanted ${b.slice(0, 500)}`);
}

/** Throws unless both are the very same value. */
export function identical(found: unknown, wanted: unknown, what = "It"): void {
  if (!Object.is(found, wanted)) throw new Error(`${what} is not the very same: ${String(found)}`);
}

/** What a promise rejects with; throws where it does not. */
export const thrown = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => {
      throw new Error(`Nothing was thrown, it gave ${String(JSON.stringify(value)).slice(0, 200)}`);
    },
    (error: unknown) => error,
  );

/** The SDK's error of that name with which a promise rejects. `code`: which, where it matters. */
export async function refused<Name extends core.AnyAgentSentinelError["name"]>(
  { core }: Stage,
  promise: Promise<unknown>,
  name: Name,
  code?: string,
): Promise<Extract<core.AnyAgentSentinelError, { readonly name: Name }>> {
  const error = await thrown(promise);
  if (!core.isAgentSentinelError(error, name) || !(error instanceof core[name])) throw new Error(`Wanted ${name}, found ${String(error)}`);
  if (code !== undefined) same(error.code, code, `The code of ${name}`);
  return error;
}

export const passed = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks again and again until the answer is yes. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`It took too long until ${what}`);
    await passed(20);
  }
}

/** Rejects when a promise takes longer. Leaves no timer behind. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`It took longer than ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
