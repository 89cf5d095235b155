import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { matchesGlob } from "../../sdk/src/glob.ts";
import { createSentinel, type Fetch, type SentinelOptions, type Session, type StreamState } from "../../sdk/src/index.ts";
import { follow, tail } from "../../sdk/src/live.ts";
import type * as wire from "../../sdk/src/wire.ts";
import * as gate from "../../src/core/glob.ts";
import { EVENT, type FakeGateway, fakeGateway, handTime, json, obeyed, problem, RUN, SESSION, TOKEN } from "./gateway.ts";

/** A client of the fake gateway with a session open, on a clock that only the test moves. */
async function openLive(gateway: FakeGateway, options: Partial<SentinelOptions> = {}) {
  const time = handTime();
  const states: StreamState[] = [];
  const sentinel = createSentinel({ url: gateway.url, token: TOKEN, ...time, onStream: (state) => void states.push(state), ...options });
  const session = await sentinel.openSession({ agent: "support-bot" });
  gateway.seen.length = 0;
  const asked = () =>
    gateway.seen.filter(({ path }) => path.startsWith("/v1/events")).map(({ path }) => Object.fromEntries(new URL(path, gateway.url).searchParams));
  return {
    time,
    states,
    sentinel,
    session,
    /** What was asked of the stream, each time. */
    asked,
    stands: (times = 1) => expect.poll(() => states.filter(({ state }) => state === "live").length).toBe(times),
    /** Breaks the stream, does something meanwhile, and lets it come back. */
    async cut(meanwhile: () => void = () => undefined) {
      const cuts = () => states.filter(({ state }) => state === "cut").length;
      const before = cuts();
      gateway.cut();
      await expect.poll(cuts).toBe(before + 1);
      meanwhile();
      time.advance(1000);
    },
  };
}

/** A guarded call that is in flight until its signal aborts. */
async function inFlight(session: Session, action: string): Promise<AbortSignal> {
  const { promise, resolve } = Promise.withResolvers<AbortSignal>();
  const call = session.guard({ action, context: true }, ({ signal }) => {
    resolve(signal);
    return new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  call().catch(() => undefined);
  return promise;
}

const aborted = (signal: AbortSignal) => expect.poll(() => signal.aborted).toBe(true);

describe("following a session", () => {
  test.each(["tenant", "agent", "session"] as const)("aborts all of it for good when its %s is killed, and what ran is committed", async (type) => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, asked } = await openLive(gateway);
    await using _ = follow(sentinel, session);
    await stands();
    expect(asked()).toEqual([{ types: "intervention.obeyed" }]);
    const call = await inFlight(session, "pay");
    const first = session.signal;
    await session.startRun();
    gateway.tell(obeyed(type, "some-id"));
    await aborted(session.signal);
    expect([first.aborted, call.aborted]).toEqual([true, true]);
    expect(session.signal.reason).toMatchObject({
      name: "AgentKilledError",
      code: `${type}_killed`,
      recoverable: false,
      decision: null,
      message: `Cannot go on: the ${type} "some-id" was killed`,
    });
    await expect.poll(() => gateway.seen.find(({ path }) => /commit/.test(path))?.body).toMatchObject({ outcome: "error" });
    await session.startRun();
    expect(session.signal.aborted).toBe(true);
  });

  test("aborts a run that is killed, and its calls alone", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands } = await openLive(gateway);
    await using _ = follow(sentinel, session);
    await stands();
    const one = { signal: session.signal, call: await inFlight(session, "pay") };
    await session.startRun();
    const two = await inFlight(session, "pay");
    gateway.tell(obeyed("run", RUN));
    await aborted(one.signal);
    expect([one.call.aborted, two.aborted, session.signal.aborted]).toEqual([true, false, false]);
    expect(one.call.reason).toMatchObject({ code: "run_killed" });
  });

  test("aborts the calls of an action that is killed, by name or by glob", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands } = await openLive(gateway);
    await using _ = follow(sentinel, session);
    await stands();
    const [read, send, sendAll] = [await inFlight(session, "read"), await inFlight(session, "send"), await inFlight(session, "send_all")];
    gateway.tell(obeyed("action", "send"));
    await aborted(send);
    expect([read.aborted, sendAll.aborted]).toEqual([false, false]);
    gateway.tell(obeyed("action", "send*"));
    await aborted(sendAll);
    expect([read.aborted, session.signal.aborted, sendAll.reason.code]).toEqual([false, false, "action_killed"]);
  });

  test("aborts nothing for a pause, for another session, or for what is lifted", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands } = await openLive(gateway);
    await using _ = follow(sentinel, session);
    await stands();
    const [read, send] = [await inFlight(session, "read"), await inFlight(session, "send")];
    for (const type of ["tenant", "agent", "session", "run", "action"] as const) gateway.tell(obeyed(type, type === "run" ? RUN : "*", "pause"));
    gateway.tell({ ...obeyed("tenant", "t"), session: "ses_another" });
    gateway.tell({ ...obeyed("tenant", "t"), session: null });
    // Told last, and heard last.
    gateway.tell(obeyed("action", "send"));
    await aborted(send);
    expect([read.aborted, session.signal.aborted]).toEqual([false, false]);
  });

  test("is one connection for many, and for each of them until it is removed", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, asked } = await openLive(gateway);
    const others = [await sentinel.session("ses_2"), await sentinel.session("ses_3"), await sentinel.session("ses_4")] as const;
    await using following = follow(sentinel, session, others[0], others[1]);
    await stands();
    following.add(others[2]);
    following.remove(others[1]);
    for (const each of others) gateway.tell({ ...obeyed("session", each.id), session: each.id });
    await aborted(others[2].signal);
    expect([session, ...others].map(({ signal }) => signal.aborted)).toEqual([false, true, false, true]);
    expect(asked()).toHaveLength(1);
  });

  test("lets go of everything when it is closed", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, time, states } = await openLive(gateway);
    const following = follow(sentinel, session);
    await stands();
    await following.close();
    await expect.poll(() => gateway.listeners.size).toBe(0);
    expect([time.left(), states.at(-1)?.state, session.signal.aborted]).toEqual([[], "live", false]);
    await following.close();
    // Also before it stands, and while it waits to come back.
    await follow(sentinel, session).close();
    const again = follow(sentinel, session);
    await stands(2);
    gateway.cut();
    await expect.poll(() => states.at(-1)?.state).toBe("cut");
    await again.close();
    expect(time.left()).toEqual([]);
  });
});

describe("a kill that came", () => {
  test("before the stream stood is found in what the session reads", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session } = await openLive(gateway);
    gateway.killed.add(SESSION);
    await using _ = follow(sentinel, session);
    await aborted(session.signal);
    expect(session.signal.reason).toMatchObject({ name: "AgentKilledError", code: "session_killed" });
  });

  test("before the stream stood, of what a call does, is found in its decision", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session } = await openLive(gateway);
    const [read, send] = [await inFlight(session, "read"), await inFlight(session, "send")];
    supersede(gateway, "send");
    await using _ = follow(sentinel, session);
    await aborted(send);
    expect([read.aborted, session.signal.aborted]).toEqual([false, false]);
  });

  test("while the stream was cut, before it had told anything, is found in what is read again", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, cut, asked } = await openLive(gateway);
    const [read, send] = [await inFlight(session, "read"), await inFlight(session, "send")];
    await using _ = follow(sentinel, session);
    await stands();
    await cut(() => supersede(gateway, "send"));
    await aborted(send);
    expect([read.aborted, session.signal.aborted]).toEqual([false, false]);
    await stands(2);
    await cut(() => gateway.killed.add(SESSION));
    await aborted(session.signal);
    expect(asked()).toEqual(Array(3).fill({ types: "intervention.obeyed" }));
  });

  test("while the stream was cut is told when it goes on, and nothing need be read", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, cut, asked } = await openLive(gateway);
    const [read, send] = [await inFlight(session, "read"), await inFlight(session, "send")];
    await using _ = follow(sentinel, session);
    await stands();
    gateway.tell(obeyed("action", "read"));
    await aborted(read);
    const reads = gateway.count(/sessions\/[^/]+$/);
    await cut(() => gateway.tell(obeyed("action", "send")));
    await aborted(send);
    expect(asked().at(-1)).toEqual({ types: "intervention.obeyed", last_event_id: "0" });
    expect(gateway.count(/sessions\/[^/]+$/)).toBe(reads);
  });

  test("while nothing was heard any more is found after the silence", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, states, time } = await openLive(gateway);
    await using _ = follow(sentinel, session);
    await stands();
    await expect.poll(time.left).toEqual([40_000]);
    time.advance(39_999);
    expect(states.at(-1)?.state).toBe("live");
    time.advance(1);
    await expect.poll(() => states.at(-1)?.state).toBe("cut");
    gateway.killed.add(SESSION);
    time.advance(1000);
    await aborted(session.signal);
  });

  test("is found at last although the gateway could not be asked at first, and meanwhile no stream is left standing", async () => {
    await using gateway = await fakeGateway();
    let isDead = false;
    const { sentinel, session, states, time } = await openLive(gateway, {
      retries: 0,
      fetch: (url, init) => (isDead && /sessions\/[^/]+$/.test(url) ? Promise.reject(new TypeError("fetch failed")) : fetch(url, init)),
    });
    isDead = true;
    await using _ = follow(sentinel, session);
    await expect.poll(() => states.at(-1)).toMatchObject({ state: "cut", error: { name: "GatewayUnavailableError" } });
    await expect.poll(() => gateway.listeners.size).toBe(0);
    expect(session.signal.aborted).toBe(false);
    isDead = false;
    gateway.killed.add(SESSION);
    time.advance(1000);
    await aborted(session.signal);
  });

  test("before a session was added is found even if the gateway cannot be asked just then", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, states, time, asked } = await openLive(gateway, { retries: 0 });
    const other = await sentinel.session("ses_2");
    await using following = follow(sentinel, session);
    await stands();
    // An event is known, so that nothing else is read again.
    const call = await inFlight(session, "pay");
    gateway.tell(obeyed("action", "pay"));
    await aborted(call);
    gateway.killed.add("ses_2");
    gateway.fates.push("did nothing");
    following.add(other);
    await expect.poll(() => states.at(-1)).toMatchObject({ state: "cut", error: { name: "GatewayUnavailableError" } });
    time.advance(1000);
    await aborted(other.signal);
    expect([asked().at(-1), session.signal.aborted]).toEqual([{ types: "intervention.obeyed", last_event_id: "0" }, false]);
  });
});

const supersede = (gateway: FakeGateway, action: string) => {
  for (const decision of gateway.decisions.values()) {
    if (decision.action === action) Object.assign(decision, { superseded: { intervention: "int_1", kind: "kill" } });
  }
};

describe("a stream that cannot go on", () => {
  test.each([
    ["the token is refused", problem(401, "token_expired"), "token_expired"],
    ["the token may not listen", problem(403, "scope_insufficient"), "scope_insufficient"],
    ["there is no such stream", problem(404, "not_found"), "not_found"],
    ["something else answers", { status: 200, body: { hello: "world" } }, "answer_malformed"],
    ["it points elsewhere", { status: 302, headers: { location: "https://evil.test/" } }, "redirected"],
  ])("because %s is not tried again, is told once, and stops nothing", async (_, fate, code) => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, cut, states, asked, time } = await openLive(gateway);
    await using following = follow(sentinel, session);
    await stands();
    await cut(() => gateway.fates.push(fate));
    await expect.poll(() => states.at(-1)).toMatchObject({ state: "ended", error: { name: "GatewayRefusedError", code } });
    expect([asked().length, time.left(), session.signal.aborted]).toEqual([2, [], false]);
    await following.close();

    gateway.fates.push(fate);
    await expect(tail(sentinel).next()).rejects.toMatchObject({ name: "GatewayRefusedError", code });
  });

  test.each([
    [
      "says of a kill what nobody understands",
      { details: { kind: "kill", target: { type: "planet", id: "x" } } },
      "/details/target/type must be one of",
    ],
    ["says nothing of what it is about", { details: null }, "/details must be an object"],
  ])("because it %s ends, rather than that a kill be missed in silence", async (_, event, detail) => {
    await using gateway = await fakeGateway();
    const { sentinel, session, stands, states } = await openLive(gateway);
    await using following = follow(sentinel, session);
    await stands();
    gateway.tell(event);
    await expect.poll(() => states.at(-1)).toMatchObject({ state: "ended", error: { code: "answer_malformed" } });
    expect(states.at(-1)).toMatchObject({ error: { message: expect.stringContaining(detail) } });
    await following.close();
  });

  test("is refused for a sentinel that this package did not make", () => {
    const foreign = { openSession: () => Promise.reject(), session: () => Promise.reject() };
    expect(() => follow(foreign)).toThrow(TypeError);
    expect(() => tail(foreign)).toThrow(/createSentinel/);
  });
});

/** A gateway that is only a stream, made anew for each connection. Pauses take no time; nothing times out. */
function streaming(connect: (last: string | null, init: Parameters<Fetch>[1]) => Response, options: Partial<SentinelOptions> = {}) {
  const pauses: number[] = [];
  const states: StreamState[] = [];
  const sentinel = createSentinel({
    url: "https://gate.test",
    token: TOKEN,
    timeoutMs: 600_000,
    random: () => 0.5,
    fetch: async (url, init) => connect(new URL(url).searchParams.get("last_event_id"), init),
    onStream: (state) => void states.push(state),
    schedule: (callback, ms) => {
      if (ms <= 30_000) {
        pauses.push(ms);
        queueMicrotask(callback);
      }
      return () => undefined;
    },
    ...options,
  });
  return { sentinel, pauses, states };
}

/** A stream of these pieces that then stays open, ends, or breaks. It gives a piece when it is asked for one. */
function bodyOf(pieces: Iterable<Uint8Array>, end: "stays" | "ends" | "breaks" = "stays"): ReadableStream<Uint8Array> {
  const left = pieces[Symbol.iterator]();
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = left.next();
        if (!done) controller.enqueue(value);
        else if (end === "ends") controller.close();
        else if (end === "breaks") controller.error(new TypeError("terminated"));
        else await new Promise(() => undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

const eventStream = (body: ReadableStream<Uint8Array> | null) =>
  new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
const bytes = (text: string) => new TextEncoder().encode(text);
const written = (event: wire.LedgerEvent, end = "\n") => ["", `id: ${event.id}`, `data: ${JSON.stringify(event)}`, "", ""].join(end);

describe("the tail", () => {
  test("gives events as the SDK spells them, for what was asked", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, asked } = await openLive(gateway);
    await using events = tail(sentinel, {
      types: ["decision.*", "budget.threshold"],
      session: SESSION,
      agent: "support-bot",
      action: "pay",
      after: "7.1",
    });
    const first = events.next();
    await expect.poll(() => gateway.listeners.size).toBe(1);
    gateway.tell({ type: "decision.deny", verdict: "deny", estimate_usd: "0.3", details: { snake_case: 1 } });
    const { id, type, at, session, run, agent, action, decision, reason, rule, outcome, entry } = EVENT;
    expect((await first).value).toEqual({
      ...{ id, type, at, session, run, agent, action, decision, reason, rule, outcome, entry },
      type: "decision.deny",
      verdict: "deny",
      estimateUsd: "0.3",
      costUsd: "0",
      overrunUsd: "0",
      details: { snake_case: 1 },
    });
    expect(asked()).toEqual([{ types: "decision.*,budget.threshold", session: SESSION, agent: "support-bot", action: "pay", last_event_id: "7.1" }]);
    expect(gateway.seen[0]?.headers).toMatchObject({ accept: "text/event-stream", authorization: `Bearer ${TOKEN}` });
  });

  test("gives each event once and in order, wherever the stream is cut and however it is written", async () => {
    const piece = fc.integer({ min: 1, max: 200 });
    const scenario = fc.record({
      details: fc.array(fc.oneof(fc.string({ unit: "grapheme" }), fc.jsonValue()), { minLength: 1, maxLength: 8 }),
      end: fc.constantFrom("\n", "\r\n", "\r"),
      noise: fc.constantFrom("", ": still here", "retry: 10", "event: x", "unheard"),
      connections: fc.array(fc.record({ most: fc.nat(2000), end: fc.constantFrom("ends" as const, "breaks" as const) }), { maxLength: 5 }),
      pieces: fc.array(piece, { minLength: 1, maxLength: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ details, end, noise, connections, pieces }) => {
        // What `JSON.parse` gave is JSON.
        const events = details.map((each, place) => ({
          ...EVENT,
          id: String(place + 1),
          details: { each: each as wire.Json } as wire.LedgerEvent["details"],
        }));
        const left = [...connections];
        const { sentinel } = streaming((last) => {
          const text = `${noise}${end}${events
            .slice(Number(last))
            .map((event) => written(event, end))
            .join("")}${end}`;
          const { most, end: how } = left.shift() ?? { most: Number.POSITIVE_INFINITY, end: "stays" as const };
          return eventStream(bodyOf(cutUp(bytes(text).subarray(0, most), pieces), how));
        });
        const found: unknown[] = [];
        for await (const { id, details: told } of tail(sentinel, { after: "0" })) if (found.push([id, told]) === events.length) break;
        expect(found).toEqual(JSON.parse(JSON.stringify(events.map((event) => [event.id, event.details]))));
      }),
      { numRuns: 150 },
    );
  });

  test("comes back after ever longer pauses, up to half a minute, or as long as it is told, and soon again once it has heard something", async () => {
    const dead = () => json(503, problem(503, "ledger_unavailable").body);
    const answers = [
      ...Array.from({ length: 7 }, () => dead),
      () => json(429, problem(429, "throttled").body, { "retry-after": "17" }),
      () => eventStream(bodyOf([bytes(": still here\n\n")], "ends")),
      () => eventStream(null),
      () => eventStream(bodyOf([bytes(written({ ...EVENT, id: "1" }))])),
    ];
    const { sentinel, pauses, states } = streaming(() => (answers.shift() ?? dead)());
    await using events = tail(sentinel);
    expect((await events.next()).value?.id).toBe("1");
    expect(pauses).toEqual([750, 1500, 3000, 6000, 12_000, 22_500, 22_500, 22_500, 750, 1500]);
    expect(states.map(({ state }) => state).join(" ")).toBe(`${"cut ".repeat(8)}live cut live cut live`);
  });

  test("waits as long as Retry-After says where that is longer", async () => {
    const answers = [() => json(429, problem(429, "throttled").body, { "retry-after": "17" }), () => eventStream(bodyOf([bytes(written(EVENT))]))];
    const { sentinel, pauses } = streaming(() => answers.shift()?.() ?? json(500, {}));
    await using events = tail(sentinel);
    await events.next();
    expect(pauses).toEqual([17_000]);
  });

  test("asks for the token each time, and waits for one that is not to be had", async () => {
    const tokens = ["t1", "", "t3"];
    const seen: (string | undefined)[] = [];
    const { sentinel, states } = streaming(
      (_, init) => {
        seen.push(init.headers.authorization);
        return eventStream(bodyOf([bytes(written({ ...EVENT, id: String(seen.length) }))], "ends"));
      },
      { token: () => tokens.shift() ?? "" },
    );
    await using events = tail(sentinel);
    expect([(await events.next()).value?.id, (await events.next()).value?.id]).toEqual(["1", "2"]);
    expect(seen).toEqual(["Bearer t1", "Bearer t3"]);
    expect(states.filter(({ state }) => state === "cut").map((each) => "error" in each && each.error.code)).toEqual([
      "gateway_unavailable",
      "token_unavailable",
    ]);
  });

  test.each([
    ["an event that is no JSON", "data: {\n\n", "/ must be JSON"],
    ["an event without an id", `data: ${JSON.stringify({ ...EVENT, id: undefined })}\n\n`, "/id must be a string"],
    ["an event of another shape", `data: ${JSON.stringify({ ...EVENT, entry: [] })}\n\n`, "/entry must be an object"],
    ["a line that never ends", `data: ${"x".repeat(1_100_000)}`, "short messages"],
    ["an event that never ends", `data: ${"x".repeat(999)}\n`.repeat(1100), "short messages"],
  ])("ends at %s", async (_, text, message) => {
    const { sentinel } = streaming(() => eventStream(bodyOf([bytes(text)])));
    await expect(tail(sentinel).next()).rejects.toMatchObject({ code: "answer_malformed", message: expect.stringContaining(message) });
  });

  test("reads no faster than it is asked", async () => {
    let read = 0;
    function* pieces() {
      for (let n = 0; n < 1000; n++) {
        read++;
        yield bytes(written({ ...EVENT, id: String(n) }));
      }
    }
    const { sentinel } = streaming(() => eventStream(bodyOf(pieces())));
    await using events = tail(sentinel);
    expect(read).toBe(0);
    await events.next();
    await events.next();
    expect(read).toBe(2);
  });

  test("lets go of its stream also where fetch minds no signal", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const { sentinel, states } = streaming(() => eventStream(new ReadableStream({ cancel: () => resolve("let go") }, { highWaterMark: 0 })));
    const events = tail(sentinel);
    const waiting = events.next();
    await expect.poll(() => states.at(-1)?.state).toBe("live");
    await events.close();
    expect([await waiting, await promise]).toEqual([{ done: true, value: undefined }, "let go"]);
  });

  test("ends for who closes it, rejects for who aborts it, and lets go of its connection either way", async () => {
    await using gateway = await fakeGateway();
    const { sentinel, time } = await openLive(gateway);
    const gone = async () => {
      await expect.poll(() => gateway.listeners.size).toBe(0);
      expect(time.left()).toEqual([]);
    };
    const stands = () => expect.poll(() => gateway.listeners.size).toBe(1);

    const closed = tail(sentinel);
    const waiting = closed.next();
    await stands();
    await closed.close();
    expect([await waiting, await closed.next()]).toEqual(Array(2).fill({ done: true, value: undefined }));
    await gone();

    const stop = new AbortController();
    const waits = expect(tail(sentinel, { signal: stop.signal }).next()).rejects.toThrow("enough");
    await stands();
    stop.abort(new Error("enough"));
    await waits;
    await gone();
    await expect(tail(sentinel, { signal: stop.signal }).next()).rejects.toThrow("enough");

    for (const leave of [async () => undefined, () => Promise.reject(new RangeError("own"))]) {
      const left = (async () => {
        for await (const _ of tail(sentinel)) {
          await leave();
          break;
        }
      })().catch((error: unknown) => error);
      await stands();
      gateway.tell({});
      const error = await left;
      if (error !== undefined) expect(error).toBeInstanceOf(RangeError);
      await gone();
    }
    const unbegun = tail(sentinel);
    await unbegun.close();
    expect((await unbegun.next()).done).toBe(true);
    expect(gateway.count(/events/)).toBe(4);
  });
});

/** The same bytes in pieces of these lengths, over and over. */
function* cutUp(whole: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  let from = 0;
  for (let n = 0; from < whole.length; n++) {
    const to = from + (lengths[n % lengths.length] ?? 1);
    yield whole.subarray(from, to);
    from = to;
  }
}

test("An action's glob names here what it names in the gateway.", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 8 });
  const glob = fc.string({ unit: fc.constantFrom("a", "b", ".", "*"), maxLength: 8 });
  fc.assert(
    fc.property(glob, name, (pattern, action) => {
      expect(matchesGlob(pattern, action)).toBe(gate.matchesGlob(pattern, action));
    }),
    { numRuns: 3000 },
  );
});
