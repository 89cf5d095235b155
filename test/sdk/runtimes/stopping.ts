import type { Session, StreamState } from "../../../sdk/src/index.ts";
import { type Cases, identical, refused, type Stage, same, until, within } from "./check.ts";

/** Kills, and what is live: `@agentsentinel/sdk/live`. */

const intervene = (stage: Stage, kind: "kill" | "pause", type: "session" | "run" | "action", id: string): Promise<unknown> =>
  stage.desk("POST", "/v1/interventions", { kind, target: { type, id }, reason: "for the test" });

/** A client whose stream's states are counted. */
async function listening(stage: Stage, isWired = false) {
  const states: StreamState["state"][] = [];
  const onStream = ({ state }: StreamState): void => void states.push(state);
  const opened = isWired ? await stage.openOn("cut", { onStream }) : { ...(await stage.open({ onStream })), sever: async () => undefined };
  const stands = (times = 1): Promise<void> =>
    until(() => states.filter((state) => state === "live").length >= times, `the stream stood ${times} times`);
  return { ...opened, states, stands };
}

/** Begins guarded work that goes on until its signal is aborted. `ended` gives the reason. */
async function longWork(session: Session, action = "work"): Promise<{ readonly ended: () => Promise<unknown> }> {
  let hasBegun = false;
  const work = session.guard({ action, costUsd: "0.01", context: true }, ({ signal }) => {
    hasBegun = true;
    return new Promise<unknown>((resolve) => signal.addEventListener("abort", () => resolve(signal.reason), { once: true }));
  })();
  await until(() => hasBegun, "the work has begun");
  return { ended: () => within(30_000, work) };
}

export const stopping: Cases = {
  async "a kill aborts what runs where it is followed, and is in force at the next decision"(stage) {
    const { sentinel, session, last, stands } = await listening(stage);
    const following = stage.live.follow(sentinel, session);
    await stands();
    const { ended } = await longWork(session);
    await intervene(stage, "kill", "session", session.id);
    const reason = await ended();
    if (!stage.core.isAgentSentinelError(reason, "AgentKilledError")) throw new Error(`It ended with ${String(reason)}`);
    same([reason.code, session.signal.aborted], ["session_killed", true]);
    same((await last()).state, "posted");
    await refused(stage, session.guard({ action: "work" }, () => 1)(), "AgentKilledError", "session_killed");
    await following.close();
    return undefined;
  },

  async "a kill of an action aborts its calls alone, and a kill of a run that run alone"(stage) {
    const { sentinel, session, stands } = await listening(stage);
    const following = stage.live.follow(sentinel);
    following.add(session);
    await stands();
    const name = `work.${crypto.randomUUID()}`;
    const [meant, other] = [await longWork(session, `${name}.a`), await longWork(session)];
    await intervene(stage, "kill", "action", `${name}.*`);
    same(Reflect.get(Object(await meant.ended()), "code"), "action_killed");
    same(session.signal.aborted, false);
    await intervene(stage, "kill", "run", session.run);
    same(Reflect.get(Object(await other.ended()), "code"), "run_killed");
    const { signal } = session;
    await session.startRun();
    same([signal.aborted, session.signal.aborted], [true, false]);
    await following.close();
    return undefined;
  },

  async "without follow a kill is heard of with the next answer"(stage) {
    const { session } = await stage.open();
    const { ended } = await longWork(session);
    await intervene(stage, "kill", "session", session.id);
    await session.check();
    same(Reflect.get(Object(await ended()), "code"), "session_killed");
    return undefined;
  },

  async "a pause aborts nothing, and denies the next decision"(stage) {
    const { session } = await stage.open();
    const { ended } = await longWork(session);
    await intervene(stage, "pause", "session", session.id);
    const error = await refused(stage, session.guard({ action: "work" }, () => 1)(), "AgentKilledError", "session_paused");
    same(error.recoverable, true);
    await intervene(stage, "kill", "session", session.id);
    await session.check();
    await ended();
    return undefined;
  },

  async "what happens is told as it happens, each event once, though the stream is cut"(stage) {
    const { sentinel, session, states, stands, sever } = await listening(stage, true);
    const whole = await listening(stage);
    const wanted = { types: ["decision.*"], session: session.id };
    const [tail, other] = [stage.live.tail(sentinel, wanted), stage.live.tail(whole.sentinel, wanted)];
    const [first, otherFirst] = [tail.next(), other.next()];
    await Promise.all([stands(), whole.stands()]);
    await session.decide({ action: "one" });
    const told = [await within(30_000, first)];
    // When the stream is asked for again, the others were told already: to somebody who was there.
    await sever();
    await session.decide({ action: "two" });
    await session.decide({ action: "delete_database" });
    await within(
      30_000,
      otherFirst.then(() => other.next()).then(() => other.next()),
    );
    await other.close();
    while (told.length < 3) told.push(await within(30_000, tail.next()));
    same(
      told.map(({ value }) => [value?.action, value?.verdict]),
      [
        ["one", "allow"],
        ["two", "allow"],
        ["delete_database", "deny"],
      ],
    );
    same(states.slice(0, 3), ["live", "cut", "live"]);
    const waiting = tail.next();
    await tail.close();
    same(await waiting, { done: true });
    return undefined;
  },

  async "a listener that is aborted throws the signal's own reason"(stage) {
    const { sentinel, stands } = await listening(stage);
    const controller = new AbortController();
    const reason = new Error("mine");
    const next = stage.live.tail(sentinel, { signal: controller.signal }).next();
    await stands();
    controller.abort(reason);
    identical(await next.catch((error: unknown) => error), reason);
    return undefined;
  },
};
