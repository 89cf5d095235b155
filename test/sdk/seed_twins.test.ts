import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentSentinelError, BudgetExceededError, PolicyViolationError } from "../../sdk/src/index.ts";
import { CostTracker, guardedAction, Ledger, PolicyEngine } from "../../sdk/src/local.ts";

/**
 * The examples of the Python original's README, in its order and under its headings, each as its twin in TypeScript, doing what the original says. One
 * line is more: `PolicyEngine.configure({})`. The original allowed everything until it was configured; here nothing is allowed until somebody has said so.
 */

let home = "";
const ledger = () => path.join(home, "ledger.jsonl");
const lines = (): readonly { readonly [member: string]: unknown }[] =>
  readFileSync(ledger(), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
/** What the original writes: one line for each call, once it has ended. */
const ended = () => lines().filter(({ kind }) => kind !== "decision");

beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), "agentsentinel-seed-"));
  process.env.AGENT_SENTINEL_HOME = home;
  PolicyEngine.reset();
});

afterEach(() => {
  PolicyEngine.reset();
  delete process.env.AGENT_SENTINEL_HOME;
  rmSync(home, { recursive: true });
});

describe("Quick Start", () => {
  it("Basic Usage: telemetry happens automatically", () => {
    PolicyEngine.configure({});
    const callSearchApi = (query: string) => [`about ${query}`];

    const searchWeb = guardedAction({ name: "search_tool", costUsd: 0.01, tags: ["search", "api"] })((query: string) => {
      const results = callSearchApi(query);
      return { results, count: results.length };
    });
    const response = searchWeb("Python best practices");

    expect(response).toEqual({ results: ["about Python best practices"], count: 1 });
    expect(ended()).toHaveLength(1);
  });

  it("Basic Usage: unconfigured it does not run, and says what to write", () => {
    const searchWeb = guardedAction({ name: "search_tool" })(() => expect.unreachable());
    expect(searchWeb).toThrow(PolicyViolationError);
    expect(searchWeb).toThrow(
      expect.objectContaining({ remediation: { retryAfterMs: null, hint: expect.stringContaining("PolicyEngine.configure({})") } }),
    );
  });

  it("Async Support: async works automatically", async () => {
    PolicyEngine.configure({});
    const generateText = guardedAction({ name: "generate_text", costUsd: 0.05, tags: ["llm"] })(async (prompt: string) => `haiku: ${prompt}`);
    const result = await generateText("Write a haiku about Python");
    expect(result).toBe("haiku: Write a haiku about Python");
    expect(ended()).toMatchObject([{ action: "generate_text", cost_usd: 0.05, outcome: "success" }]);
  });

  it("Complex Objects: no crashes even with what cannot be serialized", async () => {
    PolicyEngine.configure({});
    const server = createServer().listen(0, "127.0.0.1");
    const port = await new Promise<number>((resolve) => {
      server.once("listening", () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
    const connection = connect(port, "127.0.0.1");

    const processData = guardedAction({ name: "process_data", costUsd: 0.001 })(
      (ctx: { userId: number; session: string; connection: unknown }, _data: object) => ({ processed: true, user: ctx.userId }),
    );
    expect(processData({ userId: 123, session: "abc", connection }, { value: 42 })).toEqual({ processed: true, user: 123 });

    const [line] = ended();
    expect(line?.payload).toMatchObject({ inputs: { args: [{ userId: 123, session: "abc" }, { value: 42 }] } });
    connection.destroy();
    server.close();
  });
});

describe("Log Format", () => {
  it("is JSON Lines with all the original's fields", () => {
    PolicyEngine.configure({});
    const searchTool = guardedAction({ name: "search_tool", costUsd: 0.01, tags: ["search", "api"] })((_query: string) => ({
      results: ["..."],
      count: 10,
    }));
    searchTool("Python best practices");
    const [line] = ended();
    expect(line).toMatchObject({
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/),
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      action: "search_tool",
      cost_usd: 0.01,
      duration_ms: expect.any(Number),
      outcome: "success",
      tags: ["search", "api"],
      payload: { inputs: { args: ["Python best practices"], kwargs: {} }, outputs: { results: ["..."], count: 10 } },
    });
  });
});

describe("Advanced Usage", () => {
  it("Budget Enforcement, in code", () => {
    PolicyEngine.configure({
      sessionBudget: 5.0,
      runBudget: 1.0,
      actionBudgets: { expensive_llm: 0.5 },
    });
    const callGpt4 = guardedAction({ name: "expensive_llm", costUsd: 0.3 })((prompt: string) => prompt);
    callGpt4("one");
    expect(() => callGpt4("two")).toThrow(BudgetExceededError);
    expect(`Run total: $${CostTracker.getRunTotal().toFixed(2)}`).toBe("Run total: $0.30");
    CostTracker.resetRun();
    expect(CostTracker.getRunTotal()).toBe(0);
  });

  it("Budget Enforcement, in YAML", () => {
    const file = path.join(home, "callguard.yaml");
    writeFileSync(
      file,
      `budgets:
  session: 5.0
  run: 1.0
  actions:
    expensive_llm: 0.50

denied_actions:
  - delete_database
  - dangerous_operation

strict_mode: true
`,
    );
    PolicyEngine.loadFromYaml(file);
    const callGpt4 = guardedAction({ name: "expensive_llm", costUsd: 0.3 })(() => "text");
    callGpt4();
    expect(callGpt4).toThrow(BudgetExceededError);
    expect(guardedAction({ name: "dangerous_operation" })(() => expect.unreachable())).toThrow(PolicyViolationError);
  });

  it("Deny Dangerous Actions: raises immediately", () => {
    PolicyEngine.configure({ deniedActions: ["delete_database", "send_money"] });
    const deleteDatabase = guardedAction({ name: "delete_database" })(() => expect.unreachable());
    expect(deleteDatabase).toThrow(PolicyViolationError);
  });

  it("Allowlist Safe Actions: all others raise", () => {
    PolicyEngine.configure({ allowedActions: ["read_file", "search_web"] });
    expect(guardedAction({ name: "read_file" })(() => "text")()).toBe("text");
    expect(guardedAction({ name: "write_file" })(() => expect.unreachable())).toThrow(PolicyViolationError);
  });

  it("Custom Action Names", () => {
    PolicyEngine.configure({});
    guardedAction({ costUsd: 0.01 })(function my_function() {})();
    guardedAction({ name: "custom_name", costUsd: 0.01 })(function my_function() {})();
    expect(ended().map(({ action }) => action)).toEqual(["my_function", "custom_name"]);
  });

  it("Tagging and Organization", () => {
    PolicyEngine.configure({});
    guardedAction({ name: "expensive_operation", costUsd: 1.5, tags: ["llm", "gpt4", "production"] })(() => {})();
    expect(ended()).toMatchObject([{ cost_usd: 1.5, tags: ["llm", "gpt4", "production"] }]);
  });

  it("Error Handling: exceptions propagate normally, and are on record", () => {
    PolicyEngine.configure({});
    const oops = new RangeError("Oops!");
    const riskyOperation = guardedAction({ name: "might_fail", costUsd: 0.01 })((somethingBad: boolean) => {
      if (somethingBad) throw oops;
      return "success";
    });
    let caught: unknown;
    try {
      riskyOperation(true);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBe(oops);
    expect(ended()).toMatchObject([{ outcome: "error", payload: { outputs: { name: "RangeError", message: "Oops!" } } }]);
  });

  it("Configuration: the log directory is the environment's", () => {
    process.env.AGENT_SENTINEL_HOME = path.join(home, "my-agent");
    PolicyEngine.reset();
    PolicyEngine.configure({});
    guardedAction({ name: "a" })(() => {})();
    expect(existsSync(path.join(home, "my-agent/ledger.jsonl"))).toBe(true);
  });

  it("Reading Logs Programmatically: sums and filters over all lines are true", () => {
    PolicyEngine.configure({ runBudget: 0.03 });
    const act = guardedAction({ name: "act", costUsd: 0.01 })((fails: boolean) => {
      if (fails) throw new Error("no");
    });
    act(false);
    expect(() => act(true)).toThrow("no");
    act(false);
    expect(() => act(false)).toThrow(BudgetExceededError);

    const entries = lines();
    const totalCost = entries.reduce((sum, entry) => sum + Number(entry.cost_usd), 0);
    expect(`Total cost: $${totalCost.toFixed(2)}`).toBe("Total cost: $0.03");
    const errors = entries.filter(({ outcome }) => outcome === "error");
    expect(`Found ${errors.length} errors`).toBe("Found 1 errors");
  });
});

describe("API Reference", () => {
  it("guarded_action(name, cost_usd, tags): a decorated function that logs telemetry and re-raises exceptions", () => {
    PolicyEngine.configure({});
    const myFunction = guardedAction({ name: "my_action", costUsd: 0.05, tags: ["api", "external"] })((arg1: number, arg2: number) => arg1 + arg2);
    expect(myFunction(1, 2)).toBe(3);
  });

  it("Exceptions: all inherit from AgentSentinelError", () => {
    PolicyEngine.configure({ sessionBudget: 0, deniedActions: ["denied_operation"] });
    const raised = (name: string, costUsd: number): unknown => {
      try {
        guardedAction({ name, costUsd })(() => {})();
      } catch (error) {
        return error;
      }
      return null;
    };
    const [dear, denied] = [raised("expensive_operation", 1), raised("denied_operation", 0)];
    expect([dear instanceof BudgetExceededError, denied instanceof PolicyViolationError]).toEqual([true, true]);
    expect([dear, denied].every((error) => error instanceof AgentSentinelError)).toBe(true);
  });

  it("CostTracker", () => {
    PolicyEngine.configure({});
    const llm = guardedAction({ name: "expensive_llm", costUsd: 0.3 })(() => {});
    llm();
    llm();
    expect([CostTracker.getSessionTotal(), CostTracker.getRunTotal()]).toEqual([0.6, 0.6]);
    const stats = CostTracker.getActionStats("expensive_llm");
    expect(`Calls: ${stats.count}, Cost: $${stats.totalCost.toFixed(2)}`).toBe("Calls: 2, Cost: $0.60");
    const allStats = CostTracker.getActionStats();
    const told = Object.entries(allStats.costs).map(([action, cost]) => `${action}: ${allStats.counts[action]} calls, $${cost.toFixed(2)}`);
    expect(told).toEqual(["expensive_llm: 2 calls, $0.60"]);
    CostTracker.resetRun();
    expect(CostTracker.getSnapshot()).toMatchObject({ sessionTotal: 0.6, runTotal: 0 });
  });

  it("PolicyEngine", () => {
    expect(PolicyEngine.isConfigured()).toBe(false);
    PolicyEngine.configure({
      sessionBudget: 10.0,
      runBudget: 1.0,
      actionBudgets: { expensive_action: 0.5 },
      deniedActions: ["dangerous_op"],
      allowedActions: null, // all are allowed, but those that are denied
      strictMode: true,
    });
    expect(PolicyEngine.isConfigured() && `Run budget: $${PolicyEngine.getConfig()?.runBudget}`).toBe("Run budget: $1");
    PolicyEngine.reset();
    expect([PolicyEngine.isConfigured(), PolicyEngine.getConfig()]).toEqual([false, null]);
  });

  it("Ledger", () => {
    Ledger.record({
      action: "manual_entry",
      inputs: { key: "value" },
      outputs: { result: 42 },
      costUsd: 0.01,
      durationMs: 100.0,
      outcome: "success",
      tags: ["manual"],
    });
    expect(lines()).toMatchObject([
      { action: "manual_entry", cost_usd: 0.01, duration_ms: 100, tags: ["manual"], payload: { inputs: { key: "value" }, outputs: { result: 42 } } },
    ]);
  });
});

describe("Use Cases", () => {
  it("LLM monitoring, tool calls and several agents side by side are told apart by names and tags", async () => {
    PolicyEngine.configure({});
    const callLlm = guardedAction({ name: "llm_call", costUsd: 0.03, tags: ["openai", "gpt4"] })(
      async (messages: readonly object[]) => `${messages.length}`,
    );
    const queryDatabase = guardedAction({ name: "database_query", costUsd: 0.001, tags: ["db"] })((_sql: string) => [1, 2]);
    const callApi = guardedAction({ name: "api_request", costUsd: 0.01, tags: ["external"] })((endpoint: string) => ({ endpoint }));
    const planTasks = guardedAction({ name: "planner_think", costUsd: 0.02, tags: ["agent1", "planning"] })((_goal: string) => ["task1", "task2"]);
    const executeTask = guardedAction({ name: "executor_run", costUsd: 0.05, tags: ["agent2", "execution"] })((task: string) => ({
      status: "done",
      task,
    }));

    expect(await callLlm([{ role: "user", content: "hi" }])).toBe("1");
    expect([queryDatabase("select 1"), callApi("/v1")]).toEqual([[1, 2], { endpoint: "/v1" }]);
    expect(planTasks("ship it").map(executeTask)).toEqual([
      { status: "done", task: "task1" },
      { status: "done", task: "task2" },
    ]);
    const ofAgent2 = ended().filter(({ tags }) => Array.isArray(tags) && tags.includes("agent2"));
    expect(ofAgent2.reduce((sum, { cost_usd }) => sum + Number(cost_usd), 0)).toBe(0.1);
  });
});
