import { describe, expect, it, test } from "vitest";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import { evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import { workBudget } from "../../src/core/policy/findings.ts";
import { AROUND, NOT_ASKED } from "./nothing.ts";
import { ask, documentOf, done, lineOf, more, Playing, REF, type Row, requestOf, scenario, usd } from "./playing.ts";

/** What reviews found broken, each first seen to fail. */
describe("what was not kept does not pass for what was not there", () => {
  const UNLESS_FRAUD = "requires: { x: { after: [a], where: '!has(prior.outputs.fraud)' } }";

  it("when another policy was in force then, which kept nothing", () => {
    const playing = new Playing("strict_mode: true");
    const { id } = playing.decide(requestOf("a"), 0);
    playing.commit(id, { outputs: { fraud: true } }, 0);
    playing.use(UNLESS_FRAUD);
    expect(lineOf(playing.decide(requestOf("x"), 1))).toBe("deny prerequisite_missing /requires/x");
  });

  it("when more money is asked for under another policy", () => {
    const playing = new Playing("strict_mode: true");
    const { id } = playing.decide(requestOf("x", { usd: "0.1", in: { prod: true } }), 0);
    playing.use("rules: [{ id: f, effect: forbid, actions: [x], when: 'estimate_usd > 1.0 && has(inputs.prod)' }]");
    const more = playing.topup(id, "5", 1);
    expect(more.ok && lineOf(more.value)).toBe("deny inputs_required f");
  });

  it("whether its memory was lost meanwhile or not", () => {
    const answer = (evict: boolean): string => {
      const playing = new Playing(
        "{ rules: [{ effect: forbid, actions: [z], when: \"count('read', 3600) > 100 || sum('read', 'inputs.n', 60) > 100.0\" }] }",
        {
          stored: true,
        },
      );
      playing.decide(requestOf("read", { in: { n: 1 } }), 0);
      playing.decide(requestOf("z"), 0);
      // As the object's store erases what was kept long enough.
      for (const [id, trace] of playing.store?.traces ?? []) {
        if ((trace.keptUntil ?? Number.POSITIVE_INFINITY) <= 100_000) playing.store?.traces.set(id, { ...trace, kept: null });
      }
      playing.use("history: [{ id: s, forbid: z, when: \"sum('read', 'inputs.n', 3600) > 100.0\" }]");
      if (evict) playing.evict();
      return lineOf(playing.decide(requestOf("z"), 100_000));
    };
    expect(answer(false)).toBe("deny history_forbids s");
    expect(answer(true)).toBe(answer(false));
  });
});

it("a reserve's late report takes what the reserve still has", () => {
  const playing = new Playing("{ budgets: { session: 1 }, wind_down: { actions: [save], budget: 0.05 } }");
  playing.decide(requestOf("x", { usd: "1" }), 0);
  const { id } = playing.decide(requestOf("save", { usd: "0.04" }), 0);
  playing.release(id, 0);
  expect(playing.commit(id, { costMicroUsd: usd("0.04") }, 0)).toMatchObject({ ok: true, value: { settlement: { overrunMicroUsd: 0, late: true } } });
});

it("what a requirement may still look at is kept to the last instant at which it may", () => {
  const playing = new Playing('requires: { x: { after: [a], within_seconds: 600, where: "prior.outputs.ok == true" } }', { stored: true });
  const { id } = playing.decide(requestOf("a"), 0);
  playing.commit(id, { outputs: { ok: true } }, 0);
  expect(playing.decided.at(-1)?.trace?.keptUntil).toBe(600_001);
  expect(lineOf(playing.decide(requestOf("x"), 600_000))).toBe("allow");
  expect(lineOf(playing.decide(requestOf("x"), 600_001))).toContain("prerequisite_missing");
});

it("what is denied or held is not told that the reserve pays for it", () => {
  const playing = new Playing("{ budgets: { session: 1 }, wind_down: { actions: [save], budget: 0.05 }, approvals: { actions: [save] } }");
  playing.decide(requestOf("x", { usd: "1" }), 0);
  expect(playing.decide(requestOf("save", { usd: "0.04" }), 0)).toMatchObject({ verdict: "hold", advice: [] });
});

test.each<Row>([
  [
    "nothing is not alike to nothing",
    "requires: { y: { after: [a], same: [resource] } }",
    [ask(0, "a", {}, "allow"), ask(0, "y", {}, "deny prerequisite_missing /requires/y")],
  ],
  [
    "two limits on loops do not take each other's digests for their own",
    "loops: [{ threshold: 2, window_seconds: 10 }, { threshold: 5, window_seconds: 10, ignore: [inputs.cursor] }]",
    [ask(0, "x", { in: { q: 1, cursor: 1 } }, "allow"), ask(0, "x", { in: { q: 1 } }, "allow")],
  ],
  [
    "inputs that were not sent are empty ones",
    "loops: { threshold: 2, window_seconds: 10 }",
    [ask(0, "x", {}, "allow"), ask(0, "x", { in: {} }, "deny loop_detected /loops")],
  ],
  [
    "rules over the history are asked again when more money is",
    "history: [{ id: h, forbid: x, when: \"sum('y', 60) + estimate_usd > 1.0\" }]",
    [ask(0, "x", { usd: "0.5" }, "allow"), more(0, 0, "5", "deny history_forbids h")],
  ],
  [
    "rules that do not look at the estimate are not, and a call is not its own past",
    "rules: [{ id: big, effect: forbid, actions: [x], when: \"estimate_usd > 10.0 || (estimate_usd > 0.6 && count('x', 60) >= 1)\" }, { id: n, effect: forbid, actions: [x], when: \"count('x', 60) >= 1\" }]",
    [ask(0, "x", { usd: "0.5" }, "allow"), more(0, 0, "1", "allow"), more(0, 0, "11", "deny rule_forbids big")],
  ],
  [
    "a rule that forbids is told before the inputs that another rule needs",
    "rules: [{ id: p, effect: permit, actions: [x], when: 'inputs.n == 1' }, { id: f, effect: forbid, actions: [x] }]",
    [ask(0, "x", { digest: true, in: {} }, "deny rule_forbids f")],
  ],
  [
    "what is under way may yet return anything",
    "requires: { x: { after: [a], where: '!has(prior.outputs.fraud)' } }",
    [ask(0, "a", {}, "allow"), ask(0, "x", {}, "deny prerequisite_missing /requires/x"), done(0, 0, {}), ask(0, "x", {}, "allow")],
  ],
  [
    "a digest hides what a condition asks for",
    "requires: { x: { after: [a], where: '!has(prior.inputs.dry_run)' } }",
    [ask(0, "a", { in: { dry_run: true }, digest: true }, "allow"), ask(0, "x", {}, "deny prerequisite_missing /requires/x")],
  ],
  [
    "and what more money is asked for with it",
    "rules: [{ id: big, effect: forbid, actions: [x], when: 'estimate_usd > 1.0 && inputs.n == 1', mode: observe }]",
    [ask(0, "x", { usd: "0.5", in: { n: 1 }, digest: true }, "allow ~ inputs_required big"), more(0, 0, "2", "allow ~ inputs_required big")],
  ],
])("%s", (_, policy, steps) => {
  const { wanted, found } = scenario(policy, steps);
  for (const { by, lines } of found) expect(lines, by).toEqual(wanted);
});

it("of several loops the one that lasts longest says when to come back", () => {
  const playing = new Playing("loops: [{ threshold: 3, window_seconds: 10 }, { threshold: 2, window_seconds: 0.5 }]");
  for (const at of [100, 1300]) playing.decide(requestOf("x"), at);
  const { reason } = playing.decide(requestOf("x"), 1500);
  expect(reason.retryAfterMs).toBe(8_600);
  expect(lineOf(playing.decide(requestOf("x"), 10_099))).toContain("loop_detected");
  expect(lineOf(playing.decide(requestOf("x"), 10_100))).toBe("allow");
});

describe("what would not fit the stores", () => {
  it("is not written: a policy of thousands of rules that only observe warns of the first hundred", () => {
    const rules = Array.from({ length: 500 }, (_, n) => ({ id: `r${n}`, effect: "forbid", actions: ["*"], mode: "warn" }));
    const { verdict, warnings, advice } = new Playing({ rules }).decide(requestOf("x"), 0);
    expect([verdict, warnings.length, advice.length]).toEqual(["allow", 100, 100]);
  });

  it("is kept as its digest: numbers print much longer than they were sent", () => {
    const playing = new Playing("strict_mode: true");
    const long = Array.from({ length: 30_000 }, () => 1e20);
    const { id } = playing.decide(requestOf("x", { in: long }), 0);
    playing.commit(id, { outputs: long }, 0);
    const [decided, told] = playing.ledger.slice(-2);
    expect([decided?.payload, told?.payload]).toEqual([null, null]);
    expect(decided?.entry.inputs_digest).toMatch(/^sha-256:/);
    expect(told?.entry.outputs_digest).toBe(decided?.entry.inputs_digest);
  });

  it("is not kept for rules, and then not known", () => {
    const playing = new Playing("requires: { x: { after: [a], where: \"!('fraud' in prior.outputs)\" } }", { stored: true });
    const { id } = playing.decide(requestOf("a"), 0);
    playing.commit(id, { outputs: { fraud: "x".repeat(250_000) } }, 0);
    expect(lineOf(playing.decide(requestOf("x"), 1))).toBe("deny prerequisite_missing /requires/x");
    playing.evict();
    expect(lineOf(playing.decide(requestOf("x"), 1))).toBe("deny prerequisite_missing /requires/x");
    const again = playing.decide(requestOf("a"), 2);
    playing.commit(again.id, { outputs: { fine: true } }, 2);
    expect(lineOf(playing.decide(requestOf("x"), 3))).toBe("allow");
  });
});

it("looking back in a macro thousands of times asks the past once", () => {
  const playing = new Playing(
    "rules: [{ id: r, effect: forbid, actions: [x], when: \"inputs.l.exists(i, distinct('a', 'inputs.k', 3600) > 100000)\" }]",
  );
  for (let n = 0; n < 300; n++) playing.decide(requestOf("a", { in: { k: { n } } }), n);
  let read = 0;
  const { calls } = playing.book.trail;
  playing.book.trail.calls = (...looked) => {
    read++;
    return calls.apply(playing.book.trail, looked);
  };
  expect(lineOf(playing.decide(requestOf("x", { in: { l: Array(5000).fill(0) } }), 400))).toBe("allow");
  expect(read).toBe(1);
});

it("detectors look at all that a caller wrote into an entry", () => {
  const playing = new Playing("redact: { detect: [email] }\narguments: { x: { additionalProperties: false } }");
  const mail = "jane@corp.example";
  const asked = { ...requestOf("x", { in: { [mail]: 1 }, tags: [mail], resource: { type: mail, id: mail } }), model: { name: mail } };
  const decision = playing.decide({ ...asked, sources: [{ source: mail, version: mail }], rationale: mail }, 0);
  expect(lineOf(decision)).toContain("arguments_invalid");
  expect(JSON.stringify([decision.reason, playing.ledger])).not.toContain(mail);
});

it("all conditions of one call share what they may spend, and what needs more than is left cannot be evaluated", () => {
  const rules = Array.from({ length: 40 }, (_, n) => ({
    effect: "forbid",
    actions: ["x"],
    when: `inputs.l.exists(a, inputs.l.exists(b, a + b == ${-n - 1}.0))`,
  }));
  const document = documentOf({ rules });
  const budget = workBudget();
  const inputs = { l: Array<number>(200).fill(1) };
  const found = evaluatePolicy(compilePolicy(document), REF, { ...NOT_ASKED, action: "x", inputs }, { ...AROUND, budget });
  expect(budget.steps).toBeLessThanOrEqual(0);
  // The first did not hold; of 40 times 40,000 pairs the budget lasts for some, and the rest fail to the safe side.
  expect(found.rules.length).toBeGreaterThan(5);
  expect(found.rules.length).toBeLessThan(40);
  expect(found.rules.every(({ said }) => said === "failed")).toBe(true);
});

it("conditions that look at the history share it too, where the history is", () => {
  const rules = Array.from({ length: 40 }, (_, n) => ({
    effect: "forbid",
    actions: ["x"],
    when: `count('a', 60) > 100 || inputs.l.exists(a, inputs.l.exists(b, a + b == ${-n - 1}.0))`,
  }));
  const decide = (length: number) => lineOf(new Playing({ rules }).decide(requestOf("x", { in: { l: Array<number>(length).fill(1) } }), 0));
  expect(decide(20)).toBe("allow");
  expect(decide(200)).toContain("deny rule_forbids");
});
