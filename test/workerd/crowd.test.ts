import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { LEASE_TERM_MS } from "../../src/authority/lease_term.ts";
import { decide } from "../../src/flow/decide.ts";
import { asked, commitOf, decideOne, got, newDecisionId, newSession, newTenant, ports, readOf, refusalOf, usd } from "./world.ts";

afterEach(() => {
  vi.useRealTimers();
});

describe("of more than can wait for one session", () => {
  it("those who come first are decided, the rest is turned away uncharged, and reports are still taken", async () => {
    const { agent } = await newTenant("budgets: { session: 1000 }");
    const session = await newSession(agent);
    const done = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("1") });
    const ids = Array.from({ length: 2_000 }, () => newDecisionId());
    const ask = (id: (typeof ids)[number]) =>
      decide(ports, {
        principal: agent,
        session,
        asked: [asked("pay", { id, estimateMicroUsd: usd("0.1") })],
        batch: false,
        semantics: "independent",
        key: null,
        now: Date.now(),
      });
    const asking = Promise.all(ids.map(ask));
    const reported = await commitOf(agent, session, done.id, "1");
    const answers = await asking;
    expect(got(reported).answer.state).toBe("posted");
    const refused = answers.filter((answer) => !answer.ok);
    const decided = answers.length - refused.length;
    expect(decided).toBeGreaterThanOrEqual(1_000);
    expect(refused.length).toBeGreaterThan(0);
    expect(new Set(refused.map(refusalOf))).toEqual(new Set(["authority_unavailable"]));
    const before = await readOf(agent, session);
    expect(before.total.pendingMicroUsd).toBe(decided * 100_000);
    // The same id again, when there is room: it had not been decided.
    const late = ids[answers.findIndex((answer) => !answer.ok)];
    if (late !== undefined) expect(got(await ask(late))[0]).toMatchObject({ replayed: false, answer: { verdict: "allow" } });
  });

  it("who has waited ten seconds is refused uncharged, since nobody waits for the answer any more", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 1000 }");
    const session = await newSession(agent);
    const start = Date.now() + 2 * LEASE_TERM_MS;
    vi.useFakeTimers({ now: start, toFake: ["Date"] });
    // Its lease has lapsed, and the tenant answers only when ten seconds have passed.
    await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (object) => {
      const real = env.TENANTS.getByName(tenant);
      const draw: typeof real.draw = (call) => {
        vi.setSystemTime(start + 10_001);
        return real.draw(call);
      };
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => ({ draw }) } });
    });
    const [id, estimateMicroUsd] = [newDecisionId(), usd("1")];
    const ask = () =>
      decide(ports, {
        principal: agent,
        session,
        asked: [asked("pay", { id, estimateMicroUsd })],
        batch: false,
        semantics: "independent",
        key: null,
        now: Date.now(),
      });
    expect(refusalOf(await ask())).toBe("authority_unavailable");
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(0);
    expect(got(await ask())[0]).toMatchObject({ replayed: false, answer: { verdict: "allow" } });
  });
});
