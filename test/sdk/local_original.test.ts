import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from "vitest";
import { BudgetExceededError, isAgentSentinelError } from "../../sdk/src/errors.ts";
import { theDesk } from "../../sdk/src/local/default.ts";
import { CostTracker, guardedAction, Ledger, type PolicyConfig, PolicyEngine } from "../../sdk/src/local.ts";

let home = "";

beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), "agentsentinel-original-"));
  process.env.AGENT_SENTINEL_HOME = home;
  PolicyEngine.reset();
});

afterEach(() => {
  PolicyEngine.reset();
  delete process.env.AGENT_SENTINEL_HOME;
  rmSync(home, { recursive: true });
});

const codeOf = (act: () => unknown): unknown => {
  try {
    act();
  } catch (error) {
    return Reflect.get(Object(error), "code");
  }
  return "allowed";
};

const act = (name: string, costUsd: number | string = 0) => guardedAction({ name, costUsd })(() => "done");

describe("PolicyEngine", () => {
  it.each<[what: string, config: PolicyConfig | null, code: string]>([
    ["is not configured", null, "policy_missing"],
    ["is configured with nothing", {}, "allowed"],
    ["denies it", { deniedActions: ["act"] }, "action_denied"],
    ["allows something else", { allowedActions: ["other"] }, "action_not_allowed"],
    ["allows none", { allowedActions: [] }, "action_not_allowed"],
    ["allows all", { allowedActions: null }, "allowed"],
    ["allows all that is not denied", { allowedActions: undefined, deniedActions: ["a*t"] }, "action_denied"],
    ["has no money for the action", { actionBudgets: { act: 0.1 } }, "action_budget_exceeded"],
    ["has just enough", { actionBudgets: { act: 0.1 + 0.2 }, runBudget: 0.3, sessionBudget: "0.3" }, "allowed"],
    ["has no money for the run", { runBudget: 0.29 }, "run_budget_exceeded"],
    ["has no money at all", { sessionBudget: 0 }, "session_budget_exceeded"],
    ["has used up its rate", { rateLimits: { act: { maxCount: 0, windowSeconds: 1 } } }, "rate_exceeded"],
    ["only observes", { deniedActions: ["act"], sessionBudget: 0, strictMode: false }, "allowed"],
  ])("that %s: %s", (_, config, code) => {
    if (config !== null) PolicyEngine.configure(config);
    expect(codeOf(act("act", 0.3))).toBe(code);
    expect(PolicyEngine.isConfigured()).toBe(config !== null);
  });

  it.each<[what: string, config: object, message: string]>([
    ["misspelt", { sessionBugdet: 1 }, 'Cannot configure "sessionBugdet": wanted sessionBudget, runBudget'],
    ["negative", { runBudget: -1 }, "/budgets/run"],
    ["no amount", { runBudget: Number.NaN }, "/budgets/run"],
    ["finer than a micro-dollar", { sessionBudget: 0.0000001 }, "/budgets/session"],
    ["no list", { deniedActions: "drop" }, "/denied_actions"],
    ["no window", { rateLimits: { act: { maxCount: 1 } } }, "/rate_limits/act"],
  ])("refuses a limit that is %s, and what was in force stays", (_, config, message) => {
    PolicyEngine.configure({ deniedActions: ["drop"] });
    // What a program without types could say.
    expect(() => PolicyEngine.configure(config as PolicyConfig)).toThrow(message);
    expect([codeOf(act("drop")), codeOf(act("keep"))]).toEqual(["action_denied", "allowed"]);
  });

  it("loads the original's file from a path or as a text, and says what it says", () => {
    const text = `
budgets:
  session: 5.0
  run: 1.0
  actions:
    expensive_llm: 0.50

denied_actions:
  - delete_database
  - dangerous_operation

rate_limits:
  send_email: { max_count: 10, window_seconds: 60 }

strict_mode: true
`;
    const file = path.join(home, "callguard.yaml");
    writeFileSync(file, text);
    for (const source of [file, text]) {
      PolicyEngine.reset();
      expect(PolicyEngine.getConfig()).toBeNull();
      PolicyEngine.loadFromYaml(source);
      expect(PolicyEngine.getConfig()).toEqual({
        sessionBudget: 5,
        runBudget: 1,
        actionBudgets: { expensive_llm: 0.5 },
        deniedActions: ["dangerous_operation", "delete_database"],
        allowedActions: null,
        rateLimits: { send_email: { maxCount: 10, windowSeconds: 60 } },
        strictMode: true,
      });
      expect(codeOf(act("delete_database"))).toBe("action_denied");
    }
  });

  it.each<[what: string, source: string, code: string]>([
    ["a file that is not there", "nowhere/callguard.yaml", "policy_unreadable"],
    ["a folder", ".", "policy_unreadable"],
    ["a text with a mistake", "denied_actions: delete\nbudget: 1\n", "policy_invalid"],
    ["a text that is no YAML", "a: [1\nb: }", "policy_invalid"],
    ["nothing", "\n", "policy_invalid"],
  ])("does not load %s, and never allows anything for it", (_, source, code) => {
    expect(codeOf(() => PolicyEngine.loadFromYaml(source))).toBe(code);
    expect(codeOf(act("act"))).toBe("policy_missing");
    PolicyEngine.configure({ deniedActions: ["act"] });
    expect(codeOf(() => PolicyEngine.loadFromYaml(source))).toBe(code);
    expect(codeOf(act("act"))).toBe("action_denied");
  });
});

describe("CostTracker", () => {
  it("counts what ran, by run, session and action; a new run gives the run's budget back and not the session's", () => {
    PolicyEngine.configure({ runBudget: 0.3, sessionBudget: 0.5 });
    const llm = act("llm", 0.2);
    llm();
    expect(codeOf(llm)).toBe("run_budget_exceeded");
    CostTracker.resetRun();
    llm();
    const fail = guardedAction({ name: "fail", costUsd: "0.05" })(() => {
      throw new Error("Oops!");
    });
    expect(fail).toThrow("Oops!");
    expect([CostTracker.getSessionTotal(), CostTracker.getRunTotal()]).toEqual([0.45, 0.25]);
    expect(CostTracker.getActionStats("llm")).toEqual({ count: 2, totalCost: 0.4 });
    expect(CostTracker.getActionStats("constructor")).toEqual({ count: 0, totalCost: 0 });
    expect(CostTracker.getActionStats()).toEqual({ costs: { llm: 0.4, fail: 0.05 }, counts: { llm: 2, fail: 1 } });
    expect(CostTracker.getSnapshot()).toEqual({
      sessionTotal: 0.45,
      runTotal: 0.25,
      actionCosts: { llm: 0.4, fail: 0.05 },
      actionCounts: { llm: 2, fail: 1 },
    });
    expect([...theDesk().authority.book.runs.values()].map(({ closed }) => closed)).toEqual([true, false]);
    for (let again = 0; again < 3; again++) {
      CostTracker.resetRun();
      expect(codeOf(llm)).toBe("session_budget_exceeded");
    }
  });

  it("does not lose what was spent when another policy comes", () => {
    PolicyEngine.configure({ sessionBudget: 1 });
    act("llm", 0.9)();
    PolicyEngine.configure({ sessionBudget: 1 });
    expect(codeOf(act("llm", 0.2))).toBe("session_budget_exceeded");
  });
});

describe("guardedAction", () => {
  it("knows the Python original's names by none but its own: a cost that nobody reads would cost nothing", () => {
    // What a program without types could say.
    const options: object = { cost_usd: 0.1 };
    expect(() => guardedAction(options)).toThrow(new TypeError('Cannot guard with the option "cost_usd": wanted name, costUsd, tags, actualUsd'));
  });

  it("names an action after its function, and keeps the function's type", () => {
    PolicyEngine.configure({});
    const search = guardedAction({ costUsd: 0.01, tags: ["web"] })(async function search_web(query: string) {
      return query.length;
    });
    expectTypeOf(search).toEqualTypeOf<(query: string) => Promise<number>>();
    void search("cats");
    expect([...Ledger.read()].map(({ action, tags }) => `${action} ${tags}`)).toEqual(["search_web web"]);
    expect(() =>
      guardedAction()(
        (
          () => () =>
            1
        )(),
      ),
    ).toThrow("Cannot guard a function that has no name");
    // @ts-expect-error: a number cannot be guarded.
    expect(() => guardedAction()(1)).toThrow(TypeError);
  });

  it("gives up nothing of a call that ends after a reset: it is settled where it was decided", async () => {
    PolicyEngine.configure({});
    let finish = () => {};
    const slow = guardedAction({ name: "slow", costUsd: 0.1 })(() => new Promise<void>((resolve) => (finish = resolve)));
    const running = slow();
    PolicyEngine.reset();
    finish();
    await running;
    expect(CostTracker.getSessionTotal()).toBe(0);
    expect([...Ledger.read()].map(({ kind, cost_usd }) => `${kind} ${cost_usd}`)).toEqual(["decision 0", "outcome 0.1"]);
  });

  it.each(["standard", "legacy"] as const)("decorates methods and fields in the %s way", async (kind) => {
    const decorated = `
import { guardedAction } from ${JSON.stringify(path.join(import.meta.dirname, "../../sdk/src/local.ts"))};
import { CostTracker, PolicyEngine } from ${JSON.stringify(path.join(import.meta.dirname, "../../sdk/src/local.ts"))};
PolicyEngine.configure({ deniedActions: ["drop"] });
class Tools {
  prefix = "found ";
  @guardedAction({ name: "search_tool", costUsd: 0.01, tags: ["search"] })
  search(query: string): string {
    return this.prefix + query;
  }
  @guardedAction()
  async drop(): Promise<void> {}
  @guardedAction({ costUsd: "0.02" })
  static twice(n: number): number {
    return n * 2;
  }
  ${kind === "standard" ? "@guardedAction({ costUsd: 0.04 })\n  later = (text: string): string => this.prefix + text;" : "later = (text: string): string => this.prefix + text;"}
}
const tools = new Tools();
export const results = [tools.search("cats"), tools.later("it"), Tools.twice(21), tools.search.name, tools.search.length, await tools.drop().catch((error) => error.code)];
export const costs = CostTracker.getSnapshot().actionCosts;
`;
    const out = path.join(home, `${kind}.mjs`);
    mkdirSync(home, { recursive: true });
    await build({
      stdin: { contents: decorated, loader: "ts", resolveDir: import.meta.dirname },
      bundle: true,
      format: "esm",
      platform: "node",
      target: "es2022",
      outfile: out,
      tsconfigRaw: { compilerOptions: { experimentalDecorators: kind === "legacy" } },
    });
    // The module is written above.
    const { results, costs } = (await import(/* @vite-ignore */ out)) as { results: unknown; costs: unknown };
    expect(results).toEqual(["found cats", "found it", 42, "search", 1, "action_denied"]);
    expect(costs).toEqual({ search_tool: 0.01, twice: 0.02, ...(kind === "standard" && { later: 0.04 }) });
  });
});

describe("The ledger of the process", () => {
  it("is the file in AGENT_SENTINEL_HOME, whole and chained, and can be written by hand", () => {
    PolicyEngine.configure({ runBudget: 0.01 });
    expect(act("small", 0.01)()).toBe("done");
    expect(isAgentSentinelError(undefined)).toBe(false);
    expect(act("large", 0.01)).toThrow(BudgetExceededError);
    Ledger.record({ action: "manual_entry", inputs: { key: "value" }, outputs: { result: 42 }, costUsd: 0.01, durationMs: 100, tags: ["manual"] });
    expect(Ledger.path).toBe(path.join(home, "ledger.jsonl"));
    const lines = readFileSync(path.join(home, "ledger.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ seq, action, outcome, cost_usd }) => `${seq} ${action} ${outcome} ${cost_usd}`)).toEqual([
      "1 small allowed 0",
      "2 small success 0.01",
      "3 large denied 0",
      "4 manual_entry success 0.01",
    ]);
    expect(Ledger.verify()).toMatchObject({ ok: true, lines: 4 });
    expect(lines[3]).toMatchObject({ run_id: lines[0].run_id, agent_id: "local" });
  });
});
