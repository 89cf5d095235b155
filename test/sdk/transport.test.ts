import { describe, expect, test } from "vitest";
import {
  createSentinel,
  type Fetch,
  GatewayRefusedError,
  GatewayUnavailableError,
  isAgentSentinelError,
  type SentinelOptions,
} from "../../sdk/src/index.ts";
import {
  allowed,
  answer,
  clientOf,
  denied,
  type Fate,
  fakeGateway,
  fakeTime,
  held,
  json,
  LATER,
  openFake,
  problem,
  reason,
  SESSION,
  TOKEN,
} from "./gateway.ts";

const idOf = (init: Parameters<Fetch>[1]): string => JSON.parse(init.body ?? "{}").id;
const asked = (init: Parameters<Fetch>[1]) => allowed(idOf(init), { action: "pay" });

describe("a request that fails", () => {
  test.each([["did nothing"], ["did it"]] as const)("and %s is asked again under the same id, and recorded once", async (fate) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.fates.push(fate, fate);
    const decision = await session.decide({ action: "pay", estimateUsd: "0.3" });
    expect(decision.verdict).toBe("allow");
    expect(gateway.seen.map((each) => each.body)).toEqual(Array(3).fill(gateway.seen[0]?.body));
    expect([...gateway.decisions.keys()]).toEqual([decision.id]);
  });

  test("opens one session under one idempotency key", async () => {
    await using gateway = await fakeGateway();
    gateway.fates.push("did it", "did nothing");
    await createSentinel({ url: gateway.url, token: TOKEN, ...fakeTime() }).openSession();
    expect(gateway.seen.map((each) => each.headers["idempotency-key"])).toEqual(Array(3).fill([...gateway.sessions.keys()][0]));
    expect(gateway.sessions.size).toBe(1);
  });

  test("is given up after its tries, each pause drawn from a longer range", async () => {
    const { open, time } = clientOf(async () => Promise.reject(new TypeError("fetch failed")), { retries: 3 });
    const session = await open();
    await expect(session.decide({ action: "pay" })).rejects.toBeInstanceOf(GatewayUnavailableError);
    expect(time.paused).toEqual([100, 200, 400]);
    expect(time.live()).toBe(0);
  });

  test("with Retry-After waits that long, and not past its own time", async () => {
    const answers = [json(429, problem(429, "throttled").body, { "retry-after": "3" }), json(503, {}, { "retry-after": "60" })];
    const { open, time } = clientOf(async () => answers.shift() ?? json(500, {}));
    const session = await open();
    await expect(session.decide({ action: "pay" })).rejects.toMatchObject({ name: "GatewayUnavailableError", remediation: { retryAfterMs: 60_000 } });
    expect(time.paused).toEqual([3000]);
  });

  test.each([
    ["never", null],
    ["0", null],
    ["7", 7_000],
    ["Sun, 22 Nov 2026 12:00:30 GMT", 30_000],
    ["Sat, 22 Nov 1986 12:00:30 GMT", null],
    // A timer that is longer than 2^31 - 1 fires at once: whoever waits so long would ask without a pause.
    ["99999999999", 86_400_000],
    ["Fri, 22 Nov 2999 12:00:00 GMT", 86_400_000],
  ])("with Retry-After %s tells %s ms, and never more than a day", async (value, retryAfterMs) => {
    const session = await clientOf(async () => json(503, {}, { "retry-after": value }), { retries: 0 }).open();
    await expect(session.decide({ action: "pay" })).rejects.toMatchObject({ remediation: { retryAfterMs } });
  });

  test("because nothing comes is cut off in shares of the time it has, even where fetch ignores its signal", async () => {
    let tries = 0;
    const { open, time } = clientOf(() => new Promise(() => void tries++), { timeoutMs: 9000 });
    const session = await open();
    const began = time.now();
    await expect(session.decide({ action: "pay" })).rejects.toThrow(
      'Cannot decide "pay": the gateway at https://gate.test is unavailable: no answer in time',
    );
    expect([tries, time.now() - began]).toEqual([3, 9000]);
  });

  test("because its caller gave up ends with the caller's own reason, at once", async () => {
    const stop = new AbortController();
    const { open, time } = clientOf(async () => {
      stop.abort("enough");
      return new Promise<Response>(() => {});
    });
    const session = await open();
    await expect(session.decide({ action: "pay" }, { signal: stop.signal })).rejects.toBe("enough");
    await expect(session.decide({ action: "pay" }, { signal: stop.signal })).rejects.toBe("enough");
    expect([time.paused, time.live()]).toEqual([[], 0]);
  });

  const redirect = () => new Response(null, { status: 307, headers: { location: "https://evil.test/" } });
  test.each<[string, Fetch, readonly boolean[]]>([
    ["because its answer was not read, lets go of its connection", async () => redirect(), [true]],
    ["because no answer came, lets go of the connection of each try", () => new Promise(() => undefined), [true, true, true]],
    [
      "not at all keeps its connection for the next one: to abort what is over costs more than to leave it",
      async (_, init) => json(200, asked(init)),
      [false],
    ],
  ])("%s", async (_, fetch, aborted) => {
    const signals: AbortSignal[] = [];
    const { open } = clientOf((url, init) => {
      signals.push(init.signal);
      return fetch(url, init);
    });
    const session = await open();
    await session.decide({ action: "pay" }).catch(() => undefined);
    expect(signals.map((signal) => signal.aborted)).toEqual(aborted);
  });

  test("before its token was there is not sent any more when that comes", async () => {
    const token = Promise.withResolvers<string>();
    let fetched = 0;
    const sentinel = createSentinel({
      url: "https://gate.test",
      token: () => token.promise,
      fetch: async () => json(201, fetched++),
    });
    const stop = new AbortController();
    const opening = sentinel.openSession({}, { signal: stop.signal });
    stop.abort("enough");
    await expect(opening).rejects.toBe("enough");
    token.resolve(TOKEN);
    // Whatever follows from the token has followed by the next turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(fetched).toBe(0);
  });
});

/** Answers that no function may run on. `unreachable`: only those count for `onUnavailable: "allow"`. */
const HOSTILE: readonly (readonly [string, (init: Parameters<Fetch>[1]) => Response, code: string])[] = [
  ["a page instead of JSON", () => new Response("<html>Please log in</html>", { status: 200 }), "answer_malformed"],
  ["an empty body", () => new Response("", { status: 200 }), "answer_malformed"],
  ["null", () => json(200, null), "answer_malformed"],
  ["a list", () => json(200, []), "answer_malformed"],
  ["a bare yes", () => json(200, { decision: true, verdict: "allow" }), "answer_malformed"],
  ["half an answer", (init) => new Response(JSON.stringify(asked(init)).slice(0, 90), { status: 200 }), "answer_malformed"],
  ["an unknown verdict", (init) => json(200, { ...asked(init), verdict: "permit" }), "answer_malformed"],
  ["a verdict in capitals", (init) => json(200, { ...asked(init), verdict: "ALLOW" }), "answer_malformed"],
  ["allow with decision false", (init) => json(200, { ...asked(init), decision: false }), "answer_malformed"],
  ["deny with decision true", (init) => json(200, { ...asked(init), ...denied("action_denied", "No."), decision: true }), "answer_malformed"],
  ["decision as a text", (init) => json(200, { ...asked(init), decision: "true" }), "answer_malformed"],
  ["allow for a reason to deny", (init) => json(200, { ...asked(init), reason: reason("action_denied") }), "answer_malformed"],
  ["allow for an unheard reason", (init) => json(200, { ...asked(init), reason: { ...reason("permitted"), code: "why_not" } }), "answer_malformed"],
  ["allow that stops the run", (init) => json(200, { ...asked(init), stops: "run" }), "answer_malformed"],
  ["hold without an approval", (init) => json(200, { ...asked(init), ...held(), approval: null }), "answer_malformed"],
  ["another decision's id", (init) => json(200, { ...asked(init), id: "dec_01890000-0000-7000-8000-00000000ffff" }), "answer_malformed"],
  ["another action", (init) => json(200, { ...asked(init), action: "read" }), "answer_malformed"],
  ["another session", (init) => json(200, { ...asked(init), session: "ses_2" }), "answer_malformed"],
  ["another run", (init) => json(200, { ...asked(init), run: "run_2" }), "answer_malformed"],
  ["a status of success that is none of the contract's", (init) => json(202, asked(init)), "problem_malformed"],
  ["a redirect", () => new Response(null, { status: 307, headers: { location: "https://evil.test/" } }), "redirected"],
  ["401", () => json(401, problem(401, "token_expired").body), "token_expired"],
  ["403", () => json(403, problem(403, "scope_insufficient").body), "scope_insufficient"],
  ["409", () => json(409, problem(409, "idempotency_mismatch").body), "idempotency_mismatch"],
  ["422", () => json(422, problem(422, "body_invalid").body), "body_invalid"],
  ["429 to the end", () => json(429, problem(429, "throttled").body), "throttled"],
  ["500 to the end", () => json(500, problem(500, "internal").body), "internal"],
  ["a refusal that is no problem document", () => new Response("nope", { status: 418 }), "problem_malformed"],
  ["503 to the end", () => json(503, problem(503, "authority_unavailable").body), "unreachable"],
  ["502 from something before it", () => new Response("<h1>Bad gateway</h1>", { status: 502 }), "unreachable"],
];

describe("an answer", () => {
  const ID = "dec_01890000-0000-7000-8000-000000000001";
  test.each(HOSTILE)("that is %s runs nothing", async (_, respond, code) => {
    const session = await clientOf(async (_url, init) => respond(init)).open();
    let runs = 0;
    const error = await session
      .guard({ action: "pay" }, () => runs++)()
      .catch((thrown) => thrown);
    expect([isAgentSentinelError(error), runs]).toEqual([true, 0]);
    expect(code === "unreachable" ? error.name : error.code).toBe(code === "unreachable" ? "GatewayUnavailableError" : code);
    // Only an unreachable gateway lets run what may run without it.
    await session
      .guard({ action: "pay", onUnavailable: "allow" }, () => runs++)()
      .catch(() => undefined);
    expect(runs).toBe(code === "unreachable" ? 1 : 0);
  });

  test("of a deny because a person would have to approve, where none can be waited for, is a deny and no malformed answer", async () => {
    // So answers a top-up of what runs already, and a session with 500 requests that wait.
    const session = await clientOf(async () =>
      json(200, { ...allowed(ID, { action: "pay" }), ...denied("approval_required", "A person must approve it.") }),
    ).open();
    const decision = await session.topup(ID, 2);
    expect([decision.verdict, decision.reason.code]).toEqual(["deny", "approval_required"]);
    expect(() => decision.assertAllowed()).toThrow("a person must approve it");
  });

  test("of a deny for a reason that is newer than this SDK is still a deny, in the gateway's words", async () => {
    const newer = { ...denied("action_denied", "The moon is full."), reason: { ...reason("action_denied", "The moon is full."), code: "moon_full" } };
    const session = await clientOf(async (_url, init) => json(200, { ...asked(init), ...newer, some_new_member: 1 })).open();
    await expect(session.guard({ action: "pay" }, () => 1)()).rejects.toMatchObject({
      name: "PolicyViolationError",
      code: "unrecognized",
      message: 'Cannot run "pay": the moon is full',
    });
  });

  test("that refuses says status, code, detail, issues and request, and never the token", async () => {
    const body = problem(422, "body_invalid", {
      detail: `Bearer ${TOKEN} sent nonsense.`,
      issues: [{ pointer: "/action", message: `${TOKEN}?` }, 7],
    }).body;
    const session = await clientOf(async () => json(422, body)).open();
    const error = await session.decide({ action: "a b" }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(GatewayRefusedError);
    expect(error).toMatchObject({
      status: 422,
      code: "body_invalid",
      detail: "Bearer [token] sent nonsense",
      issues: [{ pointer: "/action", message: "[token]?" }],
      requestId: "req_1",
      recoverable: false,
      message: 'Cannot decide "a b": body_invalid (status 422): Bearer [token] sent nonsense',
    });
    expect(JSON.stringify(error) + error.stack).not.toContain(TOKEN);
  });
});

/** A refusal as it came, and what is told of it where the token was this. */
test.each<[string, object, object]>([
  ["t", { code: "token_expired", detail: "The token is expired." }, { code: "token_expired", detail: "The token is expired" }],
  ["token", { code: "token_expired", detail: "The token is expired." }, { code: "token_expired", detail: "The token is expired" }],
  [
    "idempotency_mismatch",
    { code: "idempotency_mismatch", detail: "No idempotency_mismatch." },
    { code: "idempotency_mismatch", detail: "No [token]" },
  ],
  ["a".repeat(15), { code: "body_invalid", detail: "a".repeat(15) }, { code: "body_invalid", detail: "a".repeat(15) }],
  ["a".repeat(16), { code: `no ${"a".repeat(16)}`, detail: "a".repeat(16) }, { code: "problem_malformed", detail: "[token]" }],
])("A refusal of the token %s has its own code, and the token in its texts only where that is no secret.", async (token, said, told) => {
  const sentinel = createSentinel({ url: "https://gate.test", token, ...fakeTime(), fetch: async () => json(401, problem(401, "", said).body) });
  await expect(sentinel.openSession()).rejects.toMatchObject({ name: "GatewayRefusedError", ...told });
});

describe("a message says what was tried, what came of it, and what to look at", () => {
  test.each<[string, unknown, string]>([
    ["Node was refused", new TypeError("fetch failed", { cause: Object.assign(new AggregateError([]), { code: "ECONNREFUSED" }) }), "ECONNREFUSED"],
    ["Node found no address", new TypeError("fetch failed", { cause: Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" }) }), "ENOTFOUND"],
    ["a browser tells no more", new TypeError("Failed to fetch"), "Failed to fetch"],
    ["a fetch tells something long", new Error("x".repeat(9999)), "x".repeat(500)],
    ["a fetch quotes the token", new Error(`Invalid header: Bearer ${TOKEN}`), "Invalid header: Bearer [token]"],
    ["a fetch's cause quotes the token", new Error("no", { cause: { code: TOKEN, message: TOKEN } }), "[token]"],
    ["a fetch throws a text", "nope", "no answer"],
    ["a fetch throws nothing", undefined, "no answer"],
  ])("of a gateway that could not be reached, where %s", async (_, thrown, why) => {
    const { open } = clientOf(() => Promise.reject(thrown));
    const error = await (await open()).decide({ action: "pay" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(GatewayUnavailableError);
    expect(String(error)).toContain(`Cannot decide "pay": the gateway at https://gate.test is unavailable: ${why}; is the gateway's address right?`);
    expect(String(error)).not.toContain(TOKEN);
  });

  const page = (status: number) => new Response("<html>Hello</html>", { status, headers: { "content-type": "text/html; charset=utf-8" } });
  const found = 'https://gate.test/v1/sessions/ses_01890000-0000-7000-8000-000000000001/decisions answered "text/html; charset=utf-8"';
  test.each<[string, () => Response, string]>([
    ["a page", () => page(200), `answer_malformed (status 200): ${found}; is the gateway's address right?`],
    ["a page that is not there", () => page(404), `problem_malformed (status 404): ${found}; is the gateway's address right?`],
    [
      "somebody else's refusal",
      () => json(404, { error: "no such route" }),
      `problem_malformed (status 404): ${found.replace("text/html; charset=utf-8", "application/json")}; is the gateway's address right?`,
    ],
    [
      "a refusal with nothing in it",
      () => new Response(null, { status: 405 }),
      `(status 405): ${found.replace("text/html; charset=utf-8", "")}; is the`,
    ],
    [
      "a type that quotes the token",
      () => new Response("x", { status: 404, headers: { "content-type": TOKEN } }),
      `${found.replace("text/html; charset=utf-8", "[token]")}; is the gateway's`,
    ],
    [
      "a way to somewhere else",
      () => new Response(null, { status: 308, headers: { location: `https://gate.test/?${TOKEN}` } }),
      `redirected (status 308): a token is never sent to "https://gate.test/?[token]"; is the gateway's address right?`,
    ],
  ])("of %s in the place of an answer", async (_, respond, message) => {
    const error = await (await clientOf(async () => respond()).open()).decide({ action: "pay" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(GatewayRefusedError);
    expect(String(error)).toContain(message);
    expect(String(error)).not.toContain(TOKEN);
  });

  test("of what is unavailable, or does not answer in time, where it was asked", async () => {
    const away = await clientOf(async () => page(502)).open();
    await expect(away.decide({ action: "pay" })).rejects.toThrow('Cannot decide "pay": the gateway at https://gate.test is unavailable: status 502');
    const silent = await clientOf(() => new Promise(() => undefined)).open();
    await expect(silent.decide({ action: "pay" })).rejects.toThrow(
      'Cannot decide "pay": the gateway at https://gate.test is unavailable: no answer in time',
    );
  });

  test("of a real connection that is refused, and of one that speaks no TLS", async () => {
    await using gateway = await fakeGateway();
    const tls = createSentinel({ url: gateway.url.replace("http:", "https:"), token: TOKEN, retries: 0 });
    await expect(tls.openSession()).rejects.toThrow(/the gateway at https:\S+ is unavailable: ERR_SSL_/);
    const { url } = gateway;
    await gateway[Symbol.asyncDispose]();
    const gone = createSentinel({ url, token: TOKEN, retries: 0 });
    await expect(gone.openSession()).rejects.toThrow(`Cannot open a session: the gateway at ${url} is unavailable: ECONNREFUSED; is the`);
  });

  const NONE = "no token: wanted printable ASCII without blanks";
  test.each<[string, SentinelOptions["token"], string]>([
    ["is empty", "", NONE],
    // As of an environment that has none.
    ["is missing", undefined as never, NONE],
    ["is missing from its source", () => undefined as never, NONE],
    ["has a blank", "Bearer abc", NONE],
    ["cannot be had", () => Promise.reject(new Error("vault is sealed")), NONE],
  ])("of a token that %s", async (_, token, detail) => {
    const sentinel = createSentinel({ url: "https://gate.test", token, ...fakeTime(), fetch: async () => json(201, {}) });
    await expect(sentinel.openSession()).rejects.toMatchObject({ message: `Cannot open a session: token_unavailable: ${detail}`, detail });
  });

  test.each([[""], [undefined as never], [null as never]])("of the address %j", (url) => {
    expect(() => createSentinel({ url, token: TOKEN })).toThrow('Cannot use the option "url": wanted https://host/path');
  });
});

describe("the token", () => {
  test("is asked for before each try and sent in one header to one place, which redirects do not change", async () => {
    let minted = 0;
    const seen: unknown[] = [];
    const { open } = clientOf(
      async (url, init) => {
        seen.push([new URL(url).origin, init.headers.authorization, init.redirect]);
        return json(503, {});
      },
      { token: async () => `t${++minted}` },
    );
    const session = await open();
    await session.decide({ action: "pay" }).catch(() => undefined);
    expect(seen).toEqual(["t2", "t3", "t4"].map((token) => ["https://gate.test", `Bearer ${token}`, "manual"]));
  });

  test.each<[string, SentinelOptions["token"]]>([
    ["throws", () => Promise.reject(new Error("vault is sealed"))],
    ["never answers", () => new Promise<string>(() => {})],
    ["gives what no header can carry", () => "two\nlines"],
    ["is empty", ""],
  ])("that %s is a refusal, not an unreachable gateway, and is not quoted", async (_, token) => {
    let fetched = 0;
    const time = fakeTime();
    const sentinel = createSentinel({
      url: "https://gate.test",
      token,
      ...time,
      fetch: async () => {
        fetched++;
        return json(201, {});
      },
    });
    const error = await sentinel.openSession().catch((thrown) => thrown);
    expect([error.name, error.code, fetched]).toEqual(["GatewayRefusedError", "token_unavailable", 0]);
    expect(error.message + String(error.cause)).not.toContain("two");
  });
});

describe("a decision", () => {
  test.each(["info_requested", "approved", "rejected", "expired", "cancelled", "consumed"] as const)(
    "that is held waits in long polls at a measured pace, and stops when it is %s",
    async (status) => {
      await using gateway = await fakeGateway();
      gateway.answers.set("send", held());
      const { session, time } = await openFake(gateway);
      const decision = await session.decide({ action: "send" });
      expect(() => decision.assertAllowed()).toThrow('Cannot run "send": a person must approve it first');
      gateway.meanwhile.push(
        () => undefined,
        () => undefined,
        () => answer(gateway, status),
      );
      expect((await decision.wait()).approval?.status).toBe(status);
      expect(gateway.seen.slice(1).map((each) => each.path)).toEqual(Array(3).fill(`/v1/sessions/${SESSION}/decisions/${decision.id}?wait_ms=25000`));
      expect([time.paused, time.live()]).toEqual([[1000, 1000], 0]);
    },
  );

  test("that is held waits no longer than it was told to, and says how it stands", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("send", held());
    const { session, time } = await openFake(gateway);
    const decision = await session.decide({ action: "send" });
    expect(await decision.wait({ timeoutMs: 2500 })).toMatchObject({ state: "held", approval: { status: "pending" } });
    const asked = gateway.seen.slice(1).map((each) => new URL(each.path, gateway.url).searchParams.get("wait_ms"));
    expect([asked, time.live()]).toEqual([["2500", "1500", "500", "0"], 0]);
    const stop = new AbortController();
    gateway.meanwhile.push(() => stop.abort("enough"));
    await expect(decision.wait({ signal: stop.signal })).rejects.toBe("enough");
    expect(time.live()).toBe(0);
  });

  const lost = Array<Fate>(1000).fill("did nothing");
  const full = { status: 429, body: problem(429, "throttled").body, headers: { "retry-after": "7" } };
  test.each<[string, readonly Fate[], readonly number[]]>([
    // Where it says when, nothing is asked before; three tries are one look.
    ["told to come later", [full, full, full], [7_000, 7_000, 7_000]],
    ["out of reach", lost.slice(0, 4), [100, 200, 5_000, 100]],
    ["out of order for a while", [{ status: 500 }, { status: 503 }, { status: 502 }], [100, 200, 5_000]],
  ])("that is held is waited for although the gateway is %s", async (_, fates, paused) => {
    await using gateway = await fakeGateway();
    gateway.answers.set("send", { ...held(), approval: { id: "apr_1", url: "", expires_at: LATER } });
    const { session, time } = await openFake(gateway);
    const decision = await session.decide({ action: "send" });
    gateway.fates.push(...fates);
    gateway.meanwhile.push(() => answer(gateway, "approved"));
    expect((await decision.wait()).approval?.status).toBe("approved");
    expect([time.paused, time.live()]).toEqual([paused, 0]);
  });

  test.each<[string, readonly Fate[], number | undefined, string, number]>([
    ["its hold has expired", lost, undefined, "gateway_unavailable", 60_000],
    ["its time is over", lost, 20_000, "gateway_unavailable", 20_000],
    ["it is refused", [...lost.slice(0, 3), { status: 403, body: problem(403, "scope_insufficient").body }], undefined, "scope_insufficient", 60_000],
    ["it would be told only after that", [full, full, { ...full, headers: { "retry-after": "55" } }], undefined, "throttled", 60_000],
  ])("that is held is not waited for any more, and the error tells why, when %s", async (_, fates, timeoutMs, code, mostMs) => {
    await using gateway = await fakeGateway();
    gateway.answers.set("send", held());
    const { session, time } = await openFake(gateway);
    const decision = await session.decide({ action: "send" });
    gateway.fates.push(...fates);
    const began = time.now();
    await expect(decision.wait({ timeoutMs })).rejects.toMatchObject({ code });
    expect([time.now() - began <= mostMs, time.live()]).toEqual([true, 0]);
  });

  const HELD = "dec_01890000-0000-7000-8000-0000000000aa";
  type Holding = { readonly tells: "pending" | "approved"; readonly afterMs: number } | { readonly dies: number } | "hangs";
  /** A gateway that holds its answer back as it is asked to, or for so long as `fates` say, one for each try. */
  const holding = (fates: readonly Holding[], options: Partial<SentinelOptions> = {}) => {
    const asked: number[] = [];
    const client = clientOf((url, init) => {
      const pending = { ...allowed(HELD, { action: "send" }), ...held(), state: "held", posted_usd: "0", overrun_usd: "0" };
      if (init.method === "POST") return Promise.resolve(json(200, { ...pending, id: idOf(init) }));
      const waitMs = Number(new URL(url).searchParams.get("wait_ms"));
      const fate = fates[asked.length] ?? { tells: "pending", afterMs: waitMs };
      asked.push(waitMs);
      const id = /dec_[\w-]+/.exec(url)?.[0] ?? "";
      return new Promise((resolve, reject) => {
        if (fate === "hangs") return;
        const end = (): void =>
          "dies" in fate
            ? reject(new TypeError("lost"))
            : resolve(json(200, { ...pending, id, approval: { ...pending.approval, status: fate.tells } }));
        client.time.schedule(end, "dies" in fate ? fate.dies : fate.afterMs);
      });
    }, options);
    return { asked, ...client };
  };

  // Ten seconds in three tries are 3,333 ms each beside what the gateway holds its answer back for; a lost connection is followed by a pause of 100 ms.
  test.each<[string, number | undefined, readonly Holding[], string, number, readonly number[]]>([
    ["for 8 s ends then, as it stands", 8_000, [], "pending", 8_000, [8_000]],
    ["for 25 s ends then, as it stands", 25_000, [], "pending", 25_000, [25_000]],
    ["for 1.5 s ends then, and adds no pause", 1_500, [], "pending", 1_500, [1_500]],
    [
      "for 1.5 s that is answered at once pauses no longer than that",
      1_500,
      [
        { tells: "pending", afterMs: 0 },
        { tells: "pending", afterMs: 0 },
      ],
      "pending",
      1_500,
      [1_500, 500, 0],
    ],
    [
      "for ever is no error while a person thinks",
      undefined,
      [
        { tells: "pending", afterMs: 25_000 },
        { tells: "pending", afterMs: 25_000 },
        { tells: "approved", afterMs: 20_000 },
      ],
      "approved",
      72_000,
      [25_000, 25_000, 25_000],
    ],
    ["whose connection dies is asked for again", 8_000, [{ dies: 5_000 }], "pending", 13_100, [8_000, 8_000]],
    ["whose answer is lost is asked for again", 8_000, [{ dies: 8_000 }], "pending", 16_100, [8_000, 8_000]],
    ["whose answer never comes is cut off past its end, and asked for again", 8_000, ["hangs"], "pending", 19_433, [8_000, 8_000]],
  ])("that is held is waited for; a wait %s", async (_, timeoutMs, fates, status, took, waits) => {
    const { open, time, asked } = holding(fates);
    const decision = await (await open()).decide({ action: "send" });
    const began = time.now();
    expect((await decision.wait({ timeoutMs })).approval?.status).toBe(status);
    expect([Math.round(time.now() - began), asked, time.live()]).toEqual([took, waits, 0]);
  });

  test("that is held is read with a wait of up to 30 s, whole, and without any answer is given up after three waits and the time of one call", async () => {
    const patient = holding([]);
    const before = patient.time.now();
    expect((await (await patient.open()).readDecision(HELD, { waitMs: 30_000 })).approval?.status).toBe("pending");
    expect(patient.time.now() - before).toBe(30_000);
    const { open, time, asked } = holding(["hangs", "hangs", "hangs"], { timeoutMs: 9_000 });
    const session = await open();
    const began = time.now();
    await expect(session.readDecision(HELD, { waitMs: 30_000 })).rejects.toThrow(
      `Cannot read ${HELD}: the gateway at https://gate.test is unavailable: no answer in time`,
    );
    expect([time.now() - began, asked, time.live()]).toEqual([99_000, [30_000, 30_000, 30_000], 0]);
  });

  test("can be committed, released, extended, topped up and read; a session can be read, taken up and closed", async () => {
    await using gateway = await fakeGateway();
    const { session, sentinel } = await openFake(gateway);
    const { id } = await session.decide({ action: "pay", estimateUsd: 1 });
    expect((await session.extend(id, 5000)).id).toBe(id);
    expect((await session.topup(id, 2.5)).reservation?.amountUsd).toBe("2.5");
    expect((await session.commit(id, { costUsd: 2, outcome: "success", usage: { input_tokens: 7 } })).postedUsd).toBe("2");
    expect((await session.readDecision(id)).state).toBe("posted");
    expect((await session.release(id, { reason: "never mind" })).state).toBe("released");
    expect((await session.read()).budgets.map((each) => each.resetsAt)).toEqual([null, "2026-11-22T12:01:00.000Z"]);
    expect((await sentinel.session(SESSION)).run).toBe(session.run);
    await session.closeRun();
    await session.close();
    const paths = gateway.seen.map((each) => each.path.replace(`/v1/sessions/${SESSION}`, "").replace(id, "D"));
    expect(paths.join(" ")).toBe(
      `/decisions /decisions/D/extend /decisions/D/topup /decisions/D/commit /decisions/D /decisions/D/release   /runs/${session.run}/close /close`,
    );
    expect(gateway.seen[3]?.body).toEqual({ cost_usd: "2", outcome: "success", usage: { input_tokens: 7 } });
  });

  test("of many is answered each in its place, and a missing answer is none", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("b", denied("action_denied", "No."));
    const { session } = await openFake(gateway);
    const answers = await session.decideAll([{ action: "a" }, { action: "b" }], { semantics: "independent" });
    expect(answers.map((each) => each.verdict)).toEqual(["allow", "deny"]);
    gateway.fates.push({ status: 200, body: { decisions: [] } });
    await expect(session.decideAll([{ action: "a" }])).rejects.toMatchObject({ code: "answer_malformed" });
  });

  test.each(["..", "a/b", "", "x?y", "%2e"])("whose id is %j never becomes a path", async (id) => {
    await using gateway = await fakeGateway();
    const { session, sentinel } = await openFake(gateway);
    await expect(session.release(id)).rejects.toThrow(TypeError);
    await expect(sentinel.session(id)).rejects.toThrow(TypeError);
    expect(gateway.seen).toEqual([]);
  });
});

test.each<[string, Partial<SentinelOptions>]>([
  ["no address", { url: "gate" }],
  ["another protocol", { url: "ftp://gate.test" }],
  ["credentials in the address", { url: "https://me:secret@gate.test" }],
  ["a query in the address", { url: "https://gate.test?x=1" }],
  ["a fragment in the address", { url: "https://gate.test/#x" }],
  ["no time at all", { timeoutMs: 0 }],
  ["endless tries", { retries: Number.POSITIVE_INFINITY }],
])("A client with %s is not made, and says which option it is without quoting a secret.", (_, options) => {
  expect(() => createSentinel({ url: "https://gate.test", token: TOKEN, ...options })).toThrow(new RegExp(`option "${Object.keys(options)[0]}"`));
  expect(() => createSentinel({ url: "https://me:secret@gate.test", token: TOKEN })).not.toThrow(/secret/);
  expect(() => createSentinel({ url: "http://[::1]:8787/of/@acme/", token: TOKEN })).not.toThrow();
});
