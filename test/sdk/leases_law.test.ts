import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import { createSentinel, type Fetch } from "../../sdk/src/index.ts";
import { textOf } from "../../sdk/src/leases/micro_usd.ts";
import { leaseOf } from "../../sdk/src/leases.ts";
import type * as wire from "../../sdk/src/wire.ts";
import { allowed, handTime, json, problem, RUN, SESSION } from "./gateway.ts";
import { deskAnswers, newDesk } from "./lease_desk.ts";

/** What befalls a request that settles: nothing, its death before it arrives or after it was done, or a gateway that is busy. */
type Fate = "well" | "did nothing" | "did it" | "busy";

const microUsd = fc.integer({ min: 0, max: 50 });
const oneOf = <T>(weight: number, arbitrary: fc.Arbitrary<T>) => ({ weight, arbitrary });
const STEP = fc.oneof(
  oneOf(6, fc.record({ does: fc.constant("reserve" as const), amounts: fc.array(microUsd, { minLength: 1, maxLength: 4 }) })),
  oneOf(5, fc.record({ does: fc.constant("commit" as const), at: fc.nat(), microUsd })),
  oneOf(2, fc.record({ does: fc.constant("topup" as const), at: fc.nat(), microUsd })),
  oneOf(1, fc.record({ does: fc.constantFrom("release" as const, "again" as const), at: fc.nat() })),
  oneOf(1, fc.record({ does: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 4_000 }) })),
  oneOf(1, fc.record({ does: fc.constant("settle" as const) })),
);
type Step = typeof STEP extends fc.Arbitrary<infer One> ? One : never;

const STAMP = {
  session: SESSION,
  expires_at: "2026-11-22T12:00:30.000Z",
  policy: { name: "p", version: 1, digest: "d" },
  entry: { id: "ent_1", seq: 1, hash: "h" },
};
/** The lease's own end is a second before the gateway's. */
const LASTS_MS = 29_000;

afterEach(() => vi.restoreAllMocks());

/** A gateway's book in miniature behind a network that fails as it is told to, and a clock that only the test moves. */
async function open(amount: number, fates: Fate[]) {
  const time = handTime();
  const desk = newDesk();
  /** What the gateway was asked to decide. */
  const asked = new Set<string>();
  const answer = (rest: string, headers: Record<string, string>, body: string | null): Response => {
    const said: Partial<wire.DecisionRequest> = JSON.parse(body ?? "{}");
    if (rest === "") return json(201, { id: SESSION, agent: "a", run: RUN, policy: null, expires_at: "" });
    if (rest === "/decisions") return json(200, allowed(String(said.id), { action: String(said.action) }));
    const [, id, verb] = /^\/decisions\/(dec_[\w-]+)\/(\w+)$/.exec(rest) ?? [];
    if (verb !== undefined)
      return json(200, { id, state: "posted", posted_usd: "0", overrun_usd: "0", late: false, reservation: null, budgets: [], entry: STAMP.entry });
    const { status, body: found } = deskAnswers(desk, rest, String(headers["idempotency-key"]), said, problem, STAMP);
    return json(status, found);
  };
  const fetch: Fetch = async (url, { headers, body }) => {
    const rest = url.replace(/^.*\/v1\/sessions(?:\/ses_[\w-]+)?/, "");
    if (rest === "/decisions") asked.add(String(JSON.parse(body ?? "").id));
    const fate = rest.endsWith("/settle") ? (fates.shift() ?? "well") : "well";
    if (fate === "busy") return json(503, problem(503, "authority_unavailable").body);
    const answered = fate === "did nothing" ? null : answer(rest, headers, body);
    if (answered === null || fate === "did it") throw new TypeError("fetch failed");
    return answered;
  };
  const sentinel = createSentinel({ url: "https://gate.test", token: "t", fetch, ...time });
  const session = await sentinel.openSession();
  return { time, desk, asked, lease: await leaseOf(session, { amountUsd: textOf(amount), actions: ["search"] }) };
}

/** What was asked at the same time has been answered, as far as no clock has to move for it. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

async function holds(amount: number, steps: readonly Step[], fates: Fate[]): Promise<void> {
  const { time, desk, asked, lease } = await open(amount, fates);
  const began = time.now();
  const running = new Map<string, number>();
  const done = new Map<string, number>();
  const sum = (of: Map<string, number>): number => [...of.values()].reduce((all, each) => all + each, 0);
  const isOver = (): boolean => time.now() - began >= LASTS_MS;
  const left = (): number => (isOver() ? 0 : Math.max(0, amount - sum(running) - sum(done)));
  const oneOf = (ids: Map<string, number>, at: number): string => [...ids.keys()][at % ids.size] ?? "";

  const act = async (step: Step): Promise<void> => {
    switch (step.does) {
      case "reserve": {
        // All of them at once: none waits for the one before it.
        let room = amount - sum(running) - sum(done);
        const decisions = step.amounts.map((microUsd) => {
          const isCovered = !isOver() && microUsd <= room;
          if (isCovered) room -= microUsd;
          return { microUsd, isCovered, decision: lease.decide({ action: "search", estimateUsd: textOf(microUsd) }) };
        });
        for (const { microUsd, isCovered, decision } of decisions) {
          const { id, verdict } = await decision;
          expect([verdict, !asked.has(id)]).toEqual(["allow", isCovered]);
          if (isCovered) running.set(id, microUsd);
        }
        // The law: what it lets run at the same time, and has let run, is never more than it has.
        if (decisions.some(({ isCovered }) => isCovered)) expect(sum(running) + sum(done)).toBeLessThanOrEqual(amount);
        return;
      }
      case "commit": {
        const id = oneOf(running, step.at);
        if (id === "") return;
        await lease.commit(id, { outcome: "success", costUsd: textOf(step.microUsd) });
        running.delete(id);
        done.set(id, step.microUsd);
        return;
      }
      case "topup": {
        const id = oneOf(running, step.at);
        const before = running.get(id);
        if (before === undefined) return;
        const isCovered = step.microUsd <= before || step.microUsd - before <= left();
        const { verdict } = await lease.topup(id, textOf(step.microUsd));
        expect(verdict).toBe(isCovered ? "allow" : "deny");
        if (isCovered) running.set(id, step.microUsd);
        return;
      }
      case "release": {
        const id = oneOf(running, step.at);
        if (id === "") return;
        await lease.release(id);
        running.delete(id);
        return;
      }
      case "again":
        // Told with another cost: what was said first stands.
        if (done.size > 0) await lease.commit(oneOf(done, step.at), { outcome: "error", costUsd: "9" });
        return;
      case "pass":
        time.advance(step.ms);
        await turn();
        return;
      case "settle":
        lease.settle().catch(() => undefined);
        await turn();
        return;
    }
  };
  for (const step of steps) {
    await act(step);
    expect([lease.isOpen, lease.remainingUsd]).toEqual([!isOver(), textOf(left())]);
  }

  fates.length = 0;
  for (const id of [...running.keys()]) await act({ does: "commit", at: [...running.keys()].indexOf(id), microUsd: running.get(id) ?? 0 });
  let isClosed = false;
  const closing = lease.close().then(() => {
    isClosed = true;
  });
  for (await turn(); !isClosed; await turn()) time.advance(Math.max(0, time.left()[0] ?? 0));
  await closing;
  const [found] = desk.leases.values();
  const recorded = [...(found?.entries.values() ?? [])].map(({ id, cost_usd }) => [id, cost_usd]);
  expect(Object.fromEntries(recorded)).toEqual(Object.fromEntries(Array.from(done, ([id, cost]) => [id, textOf(cost)])));
  expect([desk.leases.size, recorded.length, found?.state]).toEqual([1, done.size, "settled"]);
  expect(found?.returnedMicroUsd).toBe(Math.max(0, amount - sum(done)));
}

test("A lease never lets run more than it has, and what ran with it is on record once, at its cost, whatever the network does.", async () => {
  vi.spyOn(performance, "now").mockReturnValue(0);
  const fate = fc.constantFrom<Fate>("well", "did nothing", "did it", "busy");
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 120 }), fc.array(STEP, { maxLength: 60 }), fc.array(fate, { maxLength: 20 }), (amount, steps, fates) =>
      holds(amount, steps, [...fates]),
    ),
    { numRuns: 300 },
  );
});
