import { describe, expect, it } from "vitest";
import { AgentSentinelError, GatewayRefusedError } from "../../sdk/src/errors.ts";
import { createLocalSentinel, guardedAction, LocalEngine, LocalRefusedError, PolicyEngine } from "../../sdk/src/local.ts";

/** What a program got wrong is said in its own words: what was found, and what is wanted. No gateway has anything to do with it. */
describe("a mistake", () => {
  it.each<[what: string, policy: unknown, found: RegExp]>([
    ["an empty policy", {}, /^Cannot use the policy: .*it would limit nothing \(to permit everything on purpose, write \{ version: 1 \}\)$/],
    ["a text that is empty", "# nothing yet", /write \{ version: 1 \}/],
    ["another version", { version: 2 }, /\/version \(line 1, column 12\): wanted 1/],
    ["what is no policy", 7, /found 7/],
    ["what is no data", { version: 1, name: 1n }, /it is no plain data/],
  ])("in a policy is named: %s", (_, policy, found) => {
    // As a program without types writes it.
    const error = thrown(() => createLocalSentinel({ policy: policy as object }));
    expect(error).toBeInstanceOf(LocalRefusedError);
    expect(error).toMatchObject({ code: "policy_invalid", recoverable: false, message: expect.stringMatching(found) });
  });

  it("in an option's name is told: a misspelt cap caps nothing", () => {
    const options: object = { policy: { version: 1 }, budgetUSD: 5 };
    const wanted = 'with the option "budgetUSD": wanted policy, agent, budgetUsd, ';
    expect(thrown(() => createLocalSentinel(options))).toMatchObject({
      name: "TypeError",
      message: expect.stringContaining(`Cannot make a local sentinel ${wanted}`),
    });
    expect(thrown(() => new LocalEngine(options))).toMatchObject({
      name: "TypeError",
      message: expect.stringContaining(`Cannot make an engine ${wanted}`),
    });
  });

  it.each<[option: string, value: unknown, found: string]>([
    ["action", "", 'Cannot ask for "": "action" must be 1 to 128 letters, digits, _ - . : /, found ""'],
    ["action", 7, 'Cannot ask for 7: "action" must be'],
    ["tags", "paid", '"tags" must be a list of at most 64 texts of 1 to 128 characters, found "paid"'],
    ["riskLevel", "huge", '"riskLevel" must be one of low, medium, high, critical, found "huge"'],
    ["rationale", "x".repeat(8193), '"rationale" must be a text of at most 8192 characters, found 8193'],
    ["confidence", "0.5", '"confidence" must be a number from 0 to 1, found "0.5"'],
    ["sources", "kb", '"sources" must be a list of at most 64 like { source: "handbook", version: "7" }'],
    ["sources", ["https://kb.test"], 'found ["https://kb.test"]'],
    ["sources", [null], "found [null]"],
    ["model", "gpt-5", '"model" must be one like { name: "gpt-5", provider: "openai" }, the provider where it is known, found "gpt-5"'],
    ["model", null, "found null"],
    ["usage", { input_tokens: -1 }, '"usage" must be whole numbers of tokens'],
    ["parents", null, '"parents" must be a list of at most 64 ids of decisions, found null'],
    ["parents", ["dec_1"], 'found ["dec_1"]'],
    ["resource", { type: "account" }, '"resource" must be one like { type: "account", id: "acct_1" }, found {"type":"account"}'],
    ["resource", null, "found null"],
    ["approval", "yes", '"approval" must be an approval\'s id'],
    ["ttlMs", 0, '"ttlMs" must be a whole number from 1 to 86400000, found 0'],
    ["tags", [{ toJSON: () => "x".repeat(200) }], `found ["${"x".repeat(78)}...`],
    ["tags", [1n], "found a value that cannot be shown"],
  ])("in what is asked is named, to a guard and to decide: %s, %#", (option, value, found) => {
    const engine = new LocalEngine({ policy: { version: 1 } });
    const sentinel = createLocalSentinel({ policy: { version: 1 } });
    const options = { action: "act", [option]: value };
    let ran = false;
    const run = (): unknown => sentinel.guard(options, () => (ran = true))();
    for (const ask of [run, () => sentinel.decide(options), () => engine.decide(options)]) {
      const error = thrown(ask);
      expect(error).toBeInstanceOf(LocalRefusedError);
      const pointer = option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      expect(error).toMatchObject({ code: "body_invalid", message: expect.stringContaining(found), issues: [{ pointer: `/${pointer}` }] });
    }
    expect(ran).toBe(false);
  });

  it.each<[what: string, guarded: () => unknown]>([
    ["an arrow", () => guardedAction({ costUsd: 1 })(() => 1)],
    ["an empty name", () => guardedAction({ name: "" })(function named() {})],
    ["a method with a nameless symbol", () => guardedAction()({}, Symbol(), { value: () => 1 })],
  ])("of a function without a name says that the option is wanted: %s", (_, guarded) => {
    const error = thrown(guarded);
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ message: 'Cannot guard a function that has no name: wanted the option "name", by which policies know it' });
    expect(() => guardedAction({ name: "one" })(() => 1)).not.toThrow();
  });

  it.each<[what: string, act: () => unknown, code: string]>([
    ["an unknown decision", () => new LocalEngine().commit("dec_1", { costUsd: 0, outcome: "success" }), "not_found"],
    ["a file that is not there", () => PolicyEngine.loadFromYaml("nowhere/policy.yaml"), "policy_unreadable"],
    ["a limit that is none", () => PolicyEngine.configure({ sessionBudget: -1 }), "policy_invalid"],
  ])("is never the gateway's, and tells itself from a verdict: %s", (_, act, code) => {
    const error = thrown(act);
    expect(error).toBeInstanceOf(AgentSentinelError);
    expect(error).not.toBeInstanceOf(GatewayRefusedError);
    expect(error).toMatchObject({ name: "LocalRefusedError", code, decision: null, message: expect.not.stringMatching(/gateway|status|\.$/) });
  });
});

function thrown(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}
