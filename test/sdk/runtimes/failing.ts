import { type Cases, identical, refused, type Stage, same, thrown } from "./check.ts";

/** What a guard promises when the gateway cannot be heard, or not understood. The gateway is the real one; the way to it is bad. */

const DECISION = /^POST .*\/decisions -> (\w+)$/;
const fatesOf = (seen: readonly string[]): readonly string[] => seen.flatMap((line) => DECISION.exec(line)?.slice(1) ?? []);

async function counted(stage: Stage, fault: Parameters<Stage["openOn"]>[0], options: Parameters<Stage["openOn"]>[1] = {}, guard: object = {}) {
  const opened = await stage.openOn(fault, options);
  let runs = 0;
  const act = opened.session.guard({ action: "act", costUsd: "0.01", ...guard }, async () => ++runs);
  return { ...opened, act, runs: () => runs };
}

export const failing: Cases = {
  async "a reply that is lost is asked for again, and decided once"(stage) {
    const { act, runs, seen, session } = await counted(stage, "lost");
    same(await act(), 1);
    const fates = fatesOf(await seen());
    // A runtime's own fetch may have asked again too: under the same id that changes nothing.
    same([fates[0], fates.at(-1), runs()], ["lost", "passed", 1]);
    const { totals } = await session.read();
    same([totals.decisions.allow, totals.postedUsd], [1, "0.01"]);
    return undefined;
  },

  async "a gateway that is busy is asked again after the pause that it wants"(stage) {
    const { act, seen } = await counted(stage, "busy");
    same(await act(), 1);
    same(fatesOf(await seen()), ["busy", "busy", "passed"]);
    return undefined;
  },

  async "a gateway that cannot be reached lets nothing run, unless a guard says so in writing"(stage) {
    const { act, runs } = await counted(stage, "dead", { timeoutMs: 5_000 });
    const error = await refused(stage, act(), "GatewayUnavailableError", "gateway_unavailable");
    same([error.recoverable, runs()], [true, 0]);
    const told: string[] = [];
    const lenient = await counted(
      stage,
      "dead",
      { timeoutMs: 5_000, onUnguarded: ({ action, error }) => void told.push(`${action}: ${error.code}`) },
      { onUnavailable: "allow" },
    );
    same([await lenient.act(), told], [1, ["act: gateway_unavailable"]]);
    return undefined;
  },

  async "nobody on the other side at all is a GatewayUnavailableError"(stage) {
    // Port 9 discards; on loopback nobody listens there.
    const sentinel = stage.core.createSentinel({ url: "http://127.0.0.1:59999", token: "t", timeoutMs: 5_000 });
    await refused(stage, sentinel.openSession(), "GatewayUnavailableError", "gateway_unavailable");
    return undefined;
  },

  async "an answer that does not come is waited for as long as is said"(stage) {
    const { act, runs } = await counted(stage, "silent", { timeoutMs: 300, retries: 0 });
    const startedAt = Date.now();
    const error = await refused(stage, act(), "GatewayUnavailableError", "gateway_unavailable");
    identical(Date.now() - startedAt >= 290, true, "That it waited");
    identical(/^Cannot decide "act": the gateway at http:\S+ is unavailable: no answer in time; /.test(error.message), true, error.message);
    identical(runs(), 0);
    return undefined;
  },

  async "a token follows no redirect"(stage) {
    const { act, runs, seen } = await counted(stage, "elsewhere", {}, { onUnavailable: "allow" });
    await refused(stage, act(), "GatewayRefusedError", "redirected");
    same([fatesOf(await seen()), (await seen()).filter((line) => line.includes("caught")), runs()], [["elsewhere"], [], 0]);
    return undefined;
  },

  async "an answer that is none lets nothing run"(stage) {
    const { act, runs } = await counted(stage, "garbled", {}, { onUnavailable: "allow" });
    await refused(stage, act(), "GatewayRefusedError", "answer_malformed");
    same(runs(), 0);
    return undefined;
  },

  async "an answer that breaks off is asked for again"(stage) {
    const { act, seen, session } = await counted(stage, "short");
    same(await act(), 1);
    const fates = fatesOf(await seen());
    same([fates[0], fates.at(-1)], ["short", "passed"]);
    same((await session.read()).totals.decisions.allow, 1);
    return undefined;
  },

  async "a token that cannot be had is no unreachable gateway"(stage) {
    let has = true;
    const { session } = await stage.open({ token: () => (has ? stage.world.agent : Promise.reject(new Error("locked"))) });
    has = false;
    let runs = 0;
    const act = session.guard({ action: "act", onUnavailable: "allow" }, async () => ++runs);
    const error = await refused(stage, act(), "GatewayRefusedError", "token_unavailable");
    same([String(error.cause), runs], ["Error: locked", 0]);
    return undefined;
  },

  async "options that can never work are refused at once"({ core, open }) {
    for (const [options, error] of [
      [{ url: "gate.example.com" }, TypeError],
      [{ url: "https://user:secret@gate.example.com" }, TypeError],
      [{ url: "http://127.0.0.1", timeoutMs: 0 }, RangeError],
      [{ url: "http://127.0.0.1", retries: 1.5 }, RangeError],
    ] as const) {
      const found = await thrown((async () => core.createSentinel({ token: "t", ...options }))());
      identical(found instanceof error, true, `What ${JSON.stringify(options)} gives`);
      same(String(found).includes("secret"), false);
    }
    const { session } = await open();
    const found = await thrown((async () => session.guard({ action: "list" }, function* () {}))());
    identical(found instanceof TypeError, true);
    return undefined;
  },
};
