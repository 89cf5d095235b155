import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LocalEngine } from "../../sdk/src/local/engine.ts";
import { decisionAnswer, settlement } from "../../sdk/src/mapping.ts";
import type { DecisionAnswer, Settlement } from "../../sdk/src/surface.ts";
import type { DecisionId, RunId } from "../../src/core/ids.ts";
import type { JsonValue } from "../../src/core/json.ts";
import type { Result } from "../../src/core/result.ts";
import { openRun } from "../../src/flow/open_run.ts";
import { topup } from "../../src/flow/topup.ts";
import * as present from "../../src/http/present.ts";
import { decideOne, got, newSession, newTenant, ports, report, usd } from "./world.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
});

afterEach(() => {
  vi.useRealTimers();
});

/** Each section of the language is in some of them; amounts are small, so that histories reach every limit. */
const POLICIES = [
  `budgets: { session: 0.9, run: 0.5, actions: { "pay.*": 0.3, pay.a: 0.2 }, alerts: [0.5, 1] }
rate_limits: { look: { max_count: 3, window_seconds: 60 }, "*": { max_count: 12, window_seconds: 600 } }
denied_actions: [drop]`,
  `allowed_actions: ["pay.*", look]
budgets: { run: 0.4, on_expiry: release }
concurrency: { "pay.*": 2 }
approvals: { actions: [pay.b], threshold_usd: 0.15, tags: [risky], timeout_seconds: 300 }`,
  `rules:
  - { id: one, effect: forbid, actions: [look], when: "inputs.n == 1" }
  - { id: often, effect: forbid, actions: ["pay.*"], when: "count('pay.*', 120) >= 3", stops: run }
  - { id: dear, effect: hold, actions: ["*"], when: "estimate_usd > 0.12" }
requires: { drop: { after: [look], within_seconds: 300, same: ["inputs.n"] } }
loops: { threshold: 3, window_seconds: 90 }
retries: { threshold: 2, window_seconds: 60 }
arguments: { pay.a: { properties: { n: { maximum: 1 } } } }
approvals: { tags: [risky], timeout_seconds: 60 }`,
  `strict_mode: false
budgets: { session: 0.3 }
denied_actions: [drop]
wind_down: { actions: [look], budget: 0.1 }`,
  `budgets: { session: 0.25, agent: { hour: 0.6 } }
wind_down: { actions: [look, pay.a], budget: 0.1 }
rate_limits: { "pay.*": { max_count: 2, window_seconds: 30, per: run } }`,
] as const;

const cents = fc.integer({ min: 0, max: 20 }).map((count) => `0.${String(count).padStart(2, "0")}`);
const which = fc.nat(30);

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      action: fc.constantFrom("pay.a", "pay.b", "look", "drop", "other"),
      cost: cents,
      inputs: fc.constantFrom<JsonValue | undefined>(undefined, { n: 0 }, { n: 1 }, { n: 2 }, [1]),
      tags: fc.constantFrom<readonly string[]>([], ["risky"]),
      ttlMs: fc.constantFrom(20_000, 300_000),
      run: fc.option(which, { nil: null, freq: 6 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("commit" as const), of: which, cost: cents, outcome: fc.constantFrom("success", "error") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("release" as const), of: which }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("topup" as const), of: which, cost: cents }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("extend" as const), of: which }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("start run" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("close run" as const), of: which }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 1_000, 15_000, 31_000, 61_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("policy" as const), of: fc.nat(POLICIES.length - 1) }) },
);
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

describe("the local engine", () => {
  it("answers every history as the gateway does: verdicts, reasons, rules, money and limits", async () => {
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: -1, max: POLICIES.length - 1 }),
        fc.option(fc.constantFrom("0.50", "0.80"), { nil: null }),
        fc.array(step, { minLength: 5, maxLength: 30 }),
        async (first, budget, steps) => {
          const both = await beginning(POLICIES[first] ?? null, budget);
          for (const [place, one] of steps.entries()) {
            const { gateway, local } = await both.take(one);
            expect(local, `step ${place + 1}: ${JSON.stringify(one)}`).toEqual(gateway);
            const { verdict = "", reason = "" }: { verdict?: string; reason?: string } = local;
            const what = `${one.kind} ${verdict} ${reason}`;
            seen.set(what, (seen.get(what) ?? 0) + 1);
          }
        },
      ),
      { numRuns: 30 },
    );
    // Histories that never come to a limit would compare nothing.
    expect([...seen.keys()].filter((what) => what.startsWith("ask deny") || what.startsWith("ask hold")).length).toBeGreaterThanOrEqual(5);
  }, 180_000);
});

/** One session at the gateway and one in the engine, to which the same things happen. */
async function beginning(policy: string | null, budget: string | null) {
  const { agent, put } = await newTenant(policy);
  const session = await newSession(agent, budget);
  const { tenant } = agent;
  const engine = new LocalEngine({ policy, agent: "bot", ...(budget !== null && { budgetUsd: budget }) });
  const opened = got(await ports.sessions.read(tenant, session, agent)).run;
  const runs: { readonly there: RunId; readonly here: string }[] = [{ there: opened, here: engine.run }];
  const decided: { readonly there: DecisionId; readonly here: string }[] = [];
  const places = { there: () => [session, ...runs.map(({ there }) => there)], here: () => [engine.session, ...runs.map(({ here }) => here)] };
  const told = (result: Result<Parameters<typeof present.settlement>[0], { readonly code: string }>) =>
    result.ok ? settled(settlement(present.settlement(result.value), ""), places.there()) : { refused: result.error.code };
  const tried = (act: () => Settlement) => attempt(() => settled(act(), places.here()));

  const take = async (one: Step) => {
    const { there, here } = ("of" in one && one.of !== null ? decided[one.of % Math.max(1, decided.length)] : undefined) ?? NONE;
    switch (one.kind) {
      case "ask": {
        const run = one.run === null ? null : (runs[one.run % runs.length] ?? null);
        const { cost, inputs, tags, ttlMs, action } = one;
        const facts = { tags, ttlMs, inputs };
        const answer = await decideOne(agent, session, action, { ...facts, estimateMicroUsd: usd(cost), run: run?.there ?? null });
        const local = engine.decide({ ...facts, action, estimateUsd: cost, ...(run !== null && { run: run.here }) });
        decided.push({ there: answer.id, here: local.id });
        return {
          gateway: answered(decisionAnswer(present.decision(answer, ""), ""), places.there()),
          local: answered(local, places.here()),
        };
      }
      case "topup": {
        const answer = await topup(ports, agent, session, there, usd(one.cost), Date.now());
        const local = attempt(() => answered(engine.topup(here, one.cost), places.here()));
        const gateway = answer.ok
          ? answered(decisionAnswer(present.decision(answer.value.decision, ""), ""), places.there())
          : { refused: answer.error.code };
        return { gateway, local };
      }
      case "commit": {
        const { cost, outcome } = one;
        const said = await ports.sessions.commit(tenant, session, agent, there, report(cost, { outcome }), `${cost} ${outcome}`);
        const gateway = told(said.ok ? { ok: true, value: said.value.answer } : said);
        return lately({ gateway, local: tried(() => engine.commit(here, { costUsd: cost, outcome })) });
      }
      case "release": {
        const said = await ports.sessions.release(tenant, session, agent, there, null);
        return { gateway: told(said.ok ? { ok: true, value: said.value.answer } : said), local: tried(() => engine.release(here)) };
      }
      case "extend": {
        const said = await ports.sessions.extend(tenant, session, agent, there, 40_000);
        return { gateway: told(said.ok ? { ok: true, value: said.value.answer } : said), local: tried(() => engine.extend(here, 40_000)) };
      }
      case "start run":
        runs.push({ there: got(await openRun(ports, agent, session, null)).answer.id, here: engine.startRun() });
        return NOTHING;
      case "close run": {
        const run = runs[one.of % runs.length];
        if (run === undefined) return NOTHING;
        got(await ports.sessions.closeRun(tenant, session, agent, run.there));
        engine.closeRun(run.here);
        return NOTHING;
      }
      case "wait":
        vi.setSystemTime(Date.now() + one.ms);
        return NOTHING;
      case "policy": {
        const text = POLICIES[one.of] ?? "";
        await put(text);
        engine.use(text);
        return NOTHING;
      }
    }
  };
  return { take };
}

const NONE = { there: "dec_00000000-0000-7000-8000-000000000000", here: "dec_00000000-0000-7000-8000-000000000000" } as const;
const NOTHING = { gateway: {}, local: {} };

/** All of an answer but what each side names by itself. The session and its runs are called by their places in `names`, also within sentences. */
function answered(answer: DecisionAnswer, names: readonly string[]) {
  const { id: _, entry: __, policy, approval, reason, ...rest } = answer;
  const { remediation, code, ...why } = reason;
  // Who puts a policy in force is somebody else here than there.
  const hint = code === "policy_missing" ? null : remediation.hint;
  return {
    ...renamed(rest, names),
    reason: code,
    why: renamed({ ...why, remediation: { ...remediation, hint } }, names),
    policy: policy?.digest ?? null,
    approval: approval?.expiresAt ?? null,
  };
}

const settled = ({ id: _, entry: __, ...rest }: Settlement, names: readonly string[]) => renamed(rest, names);

type Reported = ReturnType<typeof settled> | { readonly refused: unknown };

/**
 * What is reported late takes what is still free, and what nobody kept for it is named an overrun. Of money that sessions share, free is at the gateway
 * what this session's slice has left, which may have gone back to the tenant; in a process alone it is the whole limit. So there it may be less, never more.
 */
function lately({ gateway, local }: { readonly gateway: Reported; readonly local: Reported }) {
  if (!("late" in gateway && "late" in local && gateway.late && local.late)) return { gateway, local };
  expect(usd(local.overrunUsd)).toBeLessThanOrEqual(usd(gateway.overrunUsd));
  return { gateway, local: { ...local, overrunUsd: gateway.overrunUsd } };
}

/** The same value: an answer is plain data. */
const renamed = <T>(value: T, names: readonly string[]): T =>
  JSON.parse(names.reduce((text, name, place) => text.replaceAll(name, `#${place}`), JSON.stringify(value)));

function attempt<T>(act: () => T): T | { readonly refused: unknown } {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error && "code" in error) return { refused: error.code };
    throw error;
  }
}
