import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createSentinel, type Session, type StreamState } from "../../sdk/src/index.ts";
import { follow, tail } from "../../sdk/src/live.ts";
import type { InterventionKind, InterventionTargetType } from "../../sdk/src/wire.ts";
import { makeSigningKeys } from "../../src/local/keys.ts";
import { ask, CAN_SEE_PROCESSES, clear, nothingLeft, npmStart, type Ready, ready, type Started } from "./gateway.ts";

/** An event is told within about a second. On a busy machine within this; that it comes is what is looked at. */
const SOON_MS = 30_000;
const TENANT = "demo";

const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-live-"));
let process_: Started;
let gateway: Ready;
beforeAll(async () => {
  const environment = { ROOT_KEY: "a-root-key-for-these-tests", SIGNING_KEYS: makeSigningKeys(), TMPDIR: home };
  process_ = npmStart(["--port", "0", "--persist-to", path.join(home, "state")], environment);
  gateway = await ready(process_);
}, 120_000);
afterAll(async () => {
  clear(process_);
  if (CAN_SEE_PROCESSES) await nothingLeft(process_);
  rmSync(home, { recursive: true, force: true });
});

/** What is in force, to be lifted when its test ends, however it does. */
const standing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const lift of standing.splice(0)) await lift();
});

async function intervene(type: InterventionTargetType, id: string, kind: InterventionKind): Promise<void> {
  const wish = { target: { type, id }, kind, reason: "for the test" };
  const { status, body } = await ask(gateway.url, gateway.operator, "POST", "/v1/interventions", wish);
  expect(status, JSON.stringify(body)).toBe(201);
  if (kind === "kill") standing.push(() => intervene(type, id, "revive"));
  if (kind === "pause") standing.push(() => intervene(type, id, "resume"));
}

/** An agent with a session open, which is followed once `stands` has come true. `url`: where it believes the gateway to be. */
async function newAgent(url = gateway.url) {
  const states: StreamState[] = [];
  const asked: string[] = [];
  const sentinel = createSentinel({
    url,
    token: gateway.agent,
    onStream: (state) => void states.push(state),
    fetch: (address, init) => {
      asked.push(`${init.method} ${new URL(address).pathname.replace(/^.*\/(?=\w+$)/, "")}`);
      return fetch(address, init);
    },
  });
  const session = await sentinel.openSession();
  const stands = (times = 1) => expect.poll(() => states.filter(({ state }) => state === "live").length, { timeout: SOON_MS }).toBe(times);
  return { sentinel, session, states, asked, stands };
}

/** A guarded function that works until it is aborted: how it ended, and its signal. */
async function longWork(session: Session, action: string) {
  const { promise, resolve } = Promise.withResolvers<AbortSignal>();
  const work = session.guard({ action, costUsd: "0.10", context: true }, ({ signal }) => {
    resolve(signal);
    return new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  const ended = work().catch((error: unknown) => error);
  const signal = await Promise.race([promise, ended]);
  if (!(signal instanceof AbortSignal)) throw signal;
  return { signal, ended };
}

const aborted = (signal: AbortSignal) => expect.poll(() => signal.aborted, { timeout: SOON_MS }).toBe(true);

/** A wire to the gateway that can be cut. */
async function wire() {
  const ends = new Set<Socket>();
  const { hostname, port } = new URL(gateway.url);
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return near.destroy();
    const far = connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      ends.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        ends.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port: own } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${own}`,
    cut() {
      isCut = true;
      for (const end of ends) end.destroy();
    },
    mend() {
      isCut = false;
    },
    async [Symbol.asyncDispose]() {
      for (const end of ends) end.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("an agent that is followed", () => {
  it.each(["session", "agent", "tenant", "run", "action"] as const)(
    "stops what it is doing when its %s is killed, though it asks nothing, and what it did is on record",
    async (type) => {
      const { sentinel, session, asked, stands } = await newAgent();
      await using _ = follow(sentinel, session);
      await stands();
      const { signal, ended } = await longWork(session, "render.video");
      const before = asked.length;
      const id = { session: session.id, agent: session.agent, tenant: TENANT, run: session.run, action: "render.*" }[type];
      await intervene(type, id, "kill");
      await aborted(signal);
      const error = await ended;
      expect(error).toBe(signal.reason);
      expect(error).toMatchObject({ name: "AgentKilledError", code: `${type}_killed` });
      expect(session.signal.aborted).toBe(type !== "action");
      // Nothing was asked but to commit what had run.
      expect(asked.slice(before)).toEqual(["POST commit"]);
      expect((await session.read()).totals).toMatchObject({ postedUsd: "0.1", pendingUsd: "0" });
    },
  );

  it("goes on when it is paused, and its next decision is denied", async () => {
    const { sentinel, session, stands } = await newAgent();
    await using _ = follow(sentinel, session);
    await stands();
    const { signal } = await longWork(session, "render.video");
    const marked = await longWork(session, "mark");
    const targets = [
      ["tenant", TENANT],
      ["agent", session.agent],
      ["session", session.id],
      ["run", session.run],
      ["action", "render.*"],
    ] as const;
    for (const [type, id] of targets) await intervene(type, id, "pause");
    expect((await session.decide({ action: "render.video" })).reason.code).toBe("tenant_paused");
    // Told after the pauses, and so heard after them.
    await intervene("action", "mark", "kill");
    await aborted(marked.signal);
    expect([signal.aborted, session.signal.aborted]).toEqual([false, false]);
  });

  it("stops for a kill that came while its stream was cut, whether or not it had heard anything before", async () => {
    await using line = await wire();
    const { sentinel, session, states, stands } = await newAgent(line.url);
    await using _ = follow(sentinel, session);
    await stands();
    const [first, second, third] = [await longWork(session, "one"), await longWork(session, "two"), await longWork(session, "three")];
    const killUnheard = async (type: InterventionTargetType, id: string) => {
      line.cut();
      await expect.poll(() => states.at(-1)?.state, { timeout: SOON_MS }).toBe("cut");
      await intervene(type, id, "kill");
      line.mend();
    };
    await killUnheard("action", "one");
    await aborted(first.signal);
    expect([second.signal.aborted, session.signal.aborted]).toEqual([false, false]);
    await stands(2);
    await intervene("action", "two", "kill");
    await aborted(second.signal);
    await killUnheard("agent", session.agent);
    await aborted(session.signal);
    expect(third.signal.reason).toMatchObject({ code: "agent_killed" });
  });

  it("was killed before it is followed, and stops", async () => {
    const { sentinel, session } = await newAgent();
    const { signal } = await longWork(session, "render.video");
    await intervene("session", session.id, "kill");
    await using _ = follow(sentinel, session);
    await aborted(signal);
    expect(signal.reason).toMatchObject({ code: "session_killed" });
  });
});

describe("the tail", () => {
  it("tells an operator what agents do, and goes on from where another listener stopped", async () => {
    const { session } = await newAgent();
    const operator = createSentinel({ url: gateway.url, token: gateway.operator });
    const seen: string[] = [];
    let last = "";
    await session.decide({ action: "delete_database" });
    for await (const { type, action, costUsd, id } of tail(operator, { types: ["decision.*"], session: session.id, after: "0" })) {
      if (seen.push(`${type} ${action} ${costUsd}`) === 1) last = id;
      if (seen.length === 1) await session.guard({ action: "lookup", costUsd: "0.02" }, () => "found")();
      if (seen.length === 3) break;
    }
    expect(seen).toEqual(["decision.deny delete_database 0", "decision.allow lookup 0", "decision.commit lookup 0.02"]);
    await using rest = tail(operator, { types: ["decision.*"], session: session.id, after: last });
    expect((await rest.next()).value).toMatchObject({ type: "decision.allow", session: session.id, agent: session.agent, estimateUsd: "0.02" });
  });

  it("is refused for a token that may not listen", async () => {
    const { body } = await ask(gateway.url, gateway.operator, "POST", "/v1/tokens", { subject: "deaf", kind: "agent", scopes: ["sessions:write"] });
    await expect(tail(createSentinel({ url: gateway.url, token: body.token })).next()).rejects.toMatchObject({
      code: "scope_insufficient",
      status: 403,
    });
  });
});
