import { type Case, type Cases, identical, passed, refused, type Stage, same, thrown, until } from "./check.ts";

/** What an agent asks for and does: `@agentsentinel/sdk`. */

const twoPieces = async function* (last = "b"): AsyncGenerator<string, number, undefined> {
  yield "a";
  yield last;
  return 2;
};

const readable = (...pieces: string[]): ReadableStream<string> =>
  new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });

async function piecesOf<T>(stream: ReadableStream<T>): Promise<T[]> {
  const found: T[] = [];
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return found;
    found.push(value);
  }
}

/** Denied as the demo policy says: how it is asked for, the error's class and its code. */
const denials: readonly (readonly [
  what: string,
  guard: { readonly action: string; readonly costUsd?: string },
  name: "PolicyViolationError" | "BudgetExceededError" | "ApprovalRequiredError",
  code: string,
])[] = [
  ["an action that is denied by name", { action: "delete_database" }, "PolicyViolationError", "action_denied"],
  ["an action that is denied by a glob", { action: "fs.rmdir" }, "PolicyViolationError", "action_denied"],
  ["an action that costs more than its budget", { action: "web_search", costUsd: "0.30" }, "BudgetExceededError", "action_budget_exceeded"],
  ["an action that costs more than its run has", { action: "buy", costUsd: "2.01" }, "BudgetExceededError", "run_budget_exceeded"],
  ["an action that a person must approve", { action: "send_money", costUsd: "0.01" }, "ApprovalRequiredError", "approval_required"],
];

/** Arguments that JSON cannot carry. The function is given them as they are, and the gateway nothing of them. */
const hostile: { readonly [what: string]: () => unknown } = {
  "a bigint": () => 10n ** 40n,
  "a symbol": () => Symbol("s"),
  "a function": () => () => 1,
  "a map": () => new Map([[{}, 1]]),
  "a class's instance": () => new (class Hidden {})(),
  bytes: () => new Uint8Array(8),
  "a getter that throws": () =>
    Object.defineProperty({}, "a", {
      enumerable: true,
      get: () => {
        throw new Error("never read");
      },
    }),
  "a proxy that throws": () =>
    new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("never listed");
        },
        getPrototypeOf: () => {
          throw new Error("never asked");
        },
      },
    ),
  "a circle": () => {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    return circle;
  },
  "a toJSON that lies": () => ({ toJSON: () => ({ to: "another" }) }),
  "not a number": () => Number.NaN,
  "three megabytes of text": () => "x".repeat(3_000_000),
};

export const asking: Cases = {
  async "an async function is asked for, runs once and is charged what it says"({ open }) {
    const { session, last } = await open();
    let runs = 0;
    const search = session.guard({ action: "search", costUsd: "0.05", actualUsd: (found) => found.usd }, async (text: string) => {
      runs++;
      await passed(1);
      return { text, usd: "0.03" };
    });
    same(await search("x"), { text: "x", usd: "0.03" });
    const { state, postedUsd, verdict } = await last();
    same([runs, verdict, state, postedUsd], [1, "allow", "posted", "0.03"]);
    return undefined;
  },

  async "a sync function gives a promise, and is charged its estimate"({ open }) {
    const { session, last } = await open();
    const add = session.guard({ action: "add", costUsd: 0.02 }, (a: number, b: number) => a + b);
    const sum = add(1, 2);
    identical(sum instanceof Promise, true);
    same(await sum, 3);
    same((await last()).postedUsd, "0.02");
    return undefined;
  },

  async "what a function throws passes unchanged, whatever it is, and is charged"({ open }) {
    const { session, last } = await open();
    for (const what of [new RangeError("mine"), undefined, "a text", Symbol.iterator, Object.freeze({ a: 1 })]) {
      const fail = session.guard({ action: "fail", costUsd: "0.01" }, async () => {
        throw what;
      });
      identical(await thrown(fail()), what);
      same((await last()).postedUsd, "0.01");
    }
    return undefined;
  },

  async "this, name and length stay, as a method and as a function"({ open }) {
    const { session } = await open();
    const account = {
      owner: "ann",
      pay: session.guard({ action: "pay" }, function payOut(this: { owner: string }, to: string, amount: number) {
        return `${this.owner} pays ${to} ${amount}`;
      }),
    };
    same(await account.pay("bob", 2), "ann pays bob 2");
    same([account.pay.name, account.pay.length], ["payOut", 2]);
    const { pay } = account;
    same(await pay.call({ owner: "eve" }, "bob", 3), "eve pays bob 3");
    return undefined;
  },

  async "an async generator is charged when it has given all, was left, or has failed"({ open }) {
    const { session, last } = await open();
    const options = { action: "talk", costUsd: "0.01" };
    const found: string[] = [];
    for await (const piece of await session.guard(options, twoPieces)("c")) {
      if (found.length === 0) same((await last()).state, "pending");
      found.push(piece);
    }
    same([found, (await last()).state], [["a", "c"], "posted"]);

    for await (const piece of await session.guard(options, twoPieces)()) {
      same(piece, "a");
      break;
    }
    same((await last()).state, "posted");

    const broken = await session.guard(options, async function* () {
      yield 1;
      throw new RangeError("broken");
    })();
    same(await broken.next(), { value: 1, done: false });
    same(String(await thrown(broken.next())), "RangeError: broken");
    same((await last()).state, "posted");
    return undefined;
  },

  async "a ReadableStream is charged when it has given all, or was cancelled"({ open }) {
    const { session, last } = await open();
    const speak = session.guard({ action: "speak", costUsd: "0.01" }, readable);
    const stream = await speak("a", "b");
    identical(stream instanceof ReadableStream, true);
    same((await last()).state, "pending");
    same(await piecesOf(stream), ["a", "b"]);
    same((await last()).state, "posted");

    await (await speak("a", "b")).cancel("enough");
    same((await last()).state, "posted");

    const locked = readable("a");
    locked.getReader();
    const error = await thrown(session.guard({ action: "speak" }, () => locked)());
    identical(error instanceof TypeError, true);
    return undefined;
  },

  async "what the network gives piece by piece is passed through a guard, and piped on"({ open, world }) {
    const { session, last } = await open();
    const read = session.guard({ action: "read", costUsd: "0.01" }, async () => {
      const { body } = await fetch(`${world.url}/v1/policies/demo`, { headers: { authorization: `Bearer ${world.agent}` } });
      if (body === null) throw new Error("No body");
      return body;
    });
    const plain = await piecesOf((await read()).pipeThrough(new TextDecoderStream()));
    same(JSON.parse(plain.join("")).name, "demo");
    same((await last()).state, "posted");

    // Whoever has the type of a ReadableStream reads bytes into buffers of their own, where the source lends itself to it.
    const bytes = new ReadableStream({
      type: "bytes",
      start(controller) {
        controller.enqueue(new Uint8Array([1, 2, 3]));
        controller.close();
      },
    });
    const reader = (await session.guard({ action: "read" }, () => bytes)()).getReader({ mode: "byob" });
    const first = await reader.read(new Uint8Array(2));
    const second = await reader.read(new Uint8Array(2));
    same([[...(first.value ?? [])], [...(second.value ?? [])]], [[1, 2], [3]]);
    same((await reader.read(new Uint8Array(2))).done, true);
    await until(async () => (await last()).state === "posted", "the bytes were charged");
    return undefined;
  },

  async "a stream that cannot be watched is refused and stopped"({ open }) {
    const { session } = await open();
    let isStopped = false;
    const list = session.guard({ action: "list" }, () => ({
      next: () => ({ done: true, value: undefined }),
      return: () => {
        isStopped = true;
        return { done: true, value: undefined };
      },
      [Symbol.iterator]() {
        return this;
      },
    }));
    identical((await thrown(list())) instanceof TypeError, true);
    identical(isStopped, true);
    return undefined;
  },

  ...Object.fromEntries(
    denials.map(([what, options, name, code]): readonly [string, Case] => [
      `${what} does not run: ${code}`,
      async (stage) => {
        const { session } = await stage.open();
        let runs = 0;
        const act = session.guard(options, async () => runs++);
        const error = await refused(stage, act(), name, code);
        same([runs, error.decision.reason.code, error.decision.action], [0, code, options.action]);
        same(error.message.startsWith(`Cannot run "${options.action}": `), true);
        return undefined;
      },
    ]),
  ),

  async "too many at once is a RateLimitError, and of twenty at once no more than the budget covers run"(stage) {
    const { session } = await stage.open();
    let release = (): void => undefined;
    const opened = new Promise<void>((resolve) => {
      release = resolve;
    });
    let open = 0;
    const browse = session.guard({ action: "browser.open" }, async () => {
      open++;
      await opened;
    });
    const three = [browse(), browse(), browse()];
    await until(() => open === 3, "three run");
    const error = await refused(stage, browse(), "RateLimitError", "concurrency_exceeded");
    same([error.recoverable, error.retryAfterMs], [true, null]);
    release();
    await Promise.all(three);

    let runs = 0;
    const search = session.guard({ action: "web_search", costUsd: "0.10" }, async () => runs++);
    const all = await Promise.allSettled(Array.from({ length: 20 }, () => search()));
    same([runs, all.filter(({ status }) => status === "rejected").length], [2, 18]);
    return undefined;
  },

  async "what a token may not do is a GatewayRefusedError"(stage) {
    const { sentinel } = await stage.open();
    const { id } = await stage.desk<{ readonly id: string }>("POST", "/v1/sessions", { agent: "another" });
    const error = await refused(stage, sentinel.session(id), "GatewayRefusedError", "not_your_session");
    same([error.status, error.recoverable], [403, false]);
    return undefined;
  },

  async "a token that is none is a GatewayRefusedError, and is nowhere in it"(stage) {
    const { url } = stage.world;
    const token = "a-token-that-nobody-gave";
    const error = await refused(stage, stage.core.createSentinel({ url, token }).openSession(), "GatewayRefusedError", "token_invalid");
    same([error.status, error.recoverable], [401, false]);
    same(JSON.stringify(error).includes(token) || String(error.stack).includes(token), false);
    return undefined;
  },

  async "an error is itself again after JSON, and tells a model what can be done"(stage) {
    const { session } = await stage.open();
    const error = await refused(stage, session.guard({ action: "delete_database" }, () => 1)(), "PolicyViolationError");
    const copy: unknown = JSON.parse(JSON.stringify(error));
    if (!stage.core.isAgentSentinelError(copy, "PolicyViolationError")) throw new Error(`It is not told by its name: ${JSON.stringify(copy)}`);
    same([copy.code, copy.message, copy.recoverable], [error.code, error.message, error.recoverable]);
    same(typeof copy.remediation.hint, "string");
    same(error instanceof Error && error instanceof stage.core.AgentSentinelError, true);
    same(`${error}`, `PolicyViolationError: ${error.message}`);
    return undefined;
  },

  async "decisions of a batch are made in one request, with each of its semantics"({ open }) {
    const { session } = await open();
    const asked = ["search", "delete_database", "search"].map((action) => ({ action }));
    const verdicts = async (semantics?: "all_or_nothing" | "stop_on_deny") =>
      (await session.decideAll(asked, { semantics })).map(({ verdict }) => verdict);
    same(await verdicts(), ["allow", "deny", "allow"]);
    same(await verdicts("stop_on_deny"), ["allow", "deny"]);
    same(await verdicts("all_or_nothing"), ["deny", "deny", "deny"]);
    return undefined;
  },

  async "a reservation is topped up, extended, committed and released by hand"({ open }) {
    const { session } = await open();
    const decision = await session.decide({ action: "write", estimateUsd: "0.10", tags: ["t"], inputs: { to: "naïve 🦦 \u2028" } });
    decision.assertAllowed();
    same((await session.topup(decision.id, "0.30")).reservation?.amountUsd, "0.3");
    same((await session.extend(decision.id, 60_000)).state, "pending");
    const { postedUsd, overrunUsd } = await session.commit(decision.id, { costUsd: "0.35", outcome: "success", outputs: ["ok"] });
    same([postedUsd, overrunUsd], ["0.35", "0.05"]);
    const other = await session.decide({ action: "write", estimateUsd: "0.10" });
    same((await session.release(other.id, { reason: "not needed" })).state, "released");
    const { totals } = await session.read();
    same([totals.postedUsd, totals.pendingUsd], ["0.35", "0"]);
    return undefined;
  },

  async "a run and a session that are closed deny, and abort their signals"(stage) {
    const { session } = await stage.open();
    const { run: first, signal } = session;
    await session.startRun();
    same([session.run === first, session.signal === signal], [false, false]);
    const act = session.guard({ action: "act" }, () => 1);
    same(await act(), 1);
    await session.close();
    await refused(stage, act(), "AgentKilledError", "session_closed");
    same([session.signal.aborted, session.signal.reason.code], [true, "session_closed"]);
    return undefined;
  },

  async "an aborted signal stops the asking with its own reason"({ open, openOn }) {
    const { session } = await open();
    const reason = { mine: true };
    const early = session.guard({ action: "act", signal: AbortSignal.abort(reason) }, () => 1);
    identical(await thrown(early()), reason);

    // What may have been reserved is given back behind the caller's back, as long as a call may take: so long the program lives on.
    const { session: waiting } = await openOn("silent", { timeoutMs: 3_000 });
    const controller = new AbortController();
    const late = waiting.guard({ action: "act", signal: controller.signal }, () => 1);
    const asked = thrown(late());
    setTimeout(() => controller.abort(reason), 50);
    identical(await asked, reason);

    const timedOut = await thrown(waiting.decide({ action: "act" }, { signal: AbortSignal.timeout(50) }));
    same(timedOut instanceof Error ? timedOut.name : timedOut, "TimeoutError");
    return undefined;
  },

  ...Object.fromEntries(
    Object.entries(hostile).map(([what, make]): readonly [string, Case] => [
      `an argument that is ${what} reaches the function as it is, and harms nothing`,
      async ({ open }) => {
        const { session, last } = await open();
        const value = make();
        let given: unknown;
        const take = session.guard({ action: "take", outputs: () => value }, async (found: unknown) => {
          given = found;
        });
        await take(value);
        identical(Object.is(given, value), true, "What was given");
        same((await last()).state, "posted");
        return undefined;
      },
    ]),
  ),
};

/** Comes last: whatever went before has left no rejection behind that nobody heard. */
export const ending: Cases = {
  async "no rejection was left without anybody who listens"({ unheard }) {
    await passed(50);
    same(unheard.map(String), []);
    // The same must be told of one that is made here, or nothing would ever be told.
    void Promise.reject(new Error("nobody listens"));
    await until(() => unheard.length > 0, "this runtime has told of a rejection that nobody listens to");
    same(unheard.map(String), ["Error: nobody listens"]);
    return undefined;
  },
} satisfies { readonly [name: string]: (stage: Stage) => unknown };
