import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerEntry } from "../../sdk/src/wire.ts";
import { ask, type Gateway, startGateway } from "../../src/local/demo/gateway.ts";
import type { Report } from "../../src/local/demo/report.ts";

const DEMO = path.join(import.meta.dirname, "../../src/local/demo/demo.ts");
const MINUTES = 180_000;
/** What a test starts keeps its temporary files here, so that what it leaves is seen. */
const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-demo-test-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly said: string;
}

/** Types `npm run demo -- …` into a pipe: no terminal anywhere. */
function demo(args: readonly string[], environment: { readonly [name: string]: string } = {}): Promise<Ended> {
  const { ROOT_KEY: _, DEMO_URL: __, INIT_CWD: ___, ...env } = process.env;
  const child = spawn(process.execPath, ["--no-warnings", DEMO, ...args], { cwd: home, env: { ...env, TMPDIR: home, ...environment } });
  let out = "";
  let said = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    said += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out, said }));
  });
}

describe("the demo on its own gateway", () => {
  let ended: Ended;
  let report: Report;
  beforeAll(async () => {
    ended = await demo(["--short", "--json"]);
    report = JSON.parse(ended.out || "null");
  }, MINUTES);

  it("exits with 0, and every check holds", () => {
    expect(ended, ended.said).toMatchObject({ code: 0 });
    expect(report.checks.filter(({ holds }) => !holds)).toEqual([]);
    expect(report).toMatchObject({ ok: true, runs: 3, calls: 20, source: "the project's own short trace (invented)" });
  });

  it("decides every call as the policy says, and says why", () => {
    expect(report.verdicts).toEqual({ allow: 14, deny: 3, hold: 3 });
    expect(Object.fromEntries(report.reasons.map(({ reason, actions }) => [reason, actions]))).toMatchObject({
      action_denied: { list_all_airports: 1 },
      rate_exceeded: { book_reservation: 1 },
      action_budget_exceeded: { update_reservation_flights: 1 },
      approval_required: { book_reservation: 1, cancel_reservation: 1, send_certificate: 1 },
    });
    expect(report.observed).toEqual([]);
  });

  it("charges what a tool that failed costs, not what it would have moved", () => {
    expect(report.costs).toContainEqual({ action: "book_reservation", calls: 7, allowed: 5, posted_usd: "241.25" });
    expect(report.costs).toContainEqual({ action: "think", calls: 1, allowed: 1, posted_usd: "0" });
    expect(report.total_usd).toBe("643.0331");
    expect(report.prevented_usd).toBe("2240.902");
  });

  it("measures how long the agent waits for a decision", () => {
    const { p50, p99, slowest } = report.decision_ms;
    expect(p50).toBeGreaterThan(0);
    expect(p99).toBeGreaterThanOrEqual(p50);
    expect(slowest).toBeGreaterThanOrEqual(p99);
  });

  it("draws no bar and no colour in a pipe, and leaves no state behind", () => {
    for (const mark of ["\u001b", "\r", "█"]) expect(ended.out + ended.said).not.toContain(mark);
    expect(readdirSync(home).filter((name) => name.startsWith("agentsentinel-demo-"))).toEqual([]);
  });
});

describe("the demo on a gateway that runs", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway(() => undefined);
  }, MINUTES);
  afterAll(() => gateway?.stop());

  it(
    "plays recorded runs from a file under a policy that only observes, and its record can be read with the token it prints",
    async () => {
      const data = path.join(home, "runs.ndjson");
      writeFileSync(data, `${JSON.stringify(recorded("list_all_airports", "send_certificate"))}\n\n${JSON.stringify(recorded())}\n`);
      const policy = path.join(home, "policy.yaml");
      writeFileSync(policy, "version: 1\nstrict_mode: false\ndenied_actions: [list_all_*]\n");
      const { code, out, said } = await demo(["--data", "runs.ndjson", "--policy", "policy.yaml", "--url", `${gateway.url}/`], {
        ROOT_KEY: gateway.rootKey,
      });
      expect(code, said + out).toBe(0);
      expect(out).toContain("2 recorded runs, 2 tool calls");
      expect(out).toMatch(/only observed\n\s+action_denied +1\n\s+list_all_airports +1\n/);
      expect(out).toMatch(/send_certificate +1 +1 +100\.050000\n/);

      const token = /Bearer (\S+?)'/.exec(out)?.[1] ?? "";
      const { items } = JSON.parse(await ask(gateway.url, "GET", "/v1/ledger?kind=decision", token));
      expect(items.map(({ action, warnings }: LedgerEntry) => [action, warnings])).toEqual([
        ["send_certificate", []],
        ["list_all_airports", [{ code: "action_denied", rule: "/denied_actions" }]],
      ]);
    },
    MINUTES,
  );

  it(
    "tells what each tool returned, and that it failed, so that rules look back; and says which writes were right",
    async () => {
      const certificate = (amount: number) => ["send_certificate", { amount }, "sent"] as const;
      const gold = ["get_user_details", {}, '{"membership": "gold"}'] as const;
      const thank = ["thank", {}, ""] as const;
      const runs = [
        told([], ["get_user_details", {}, "nobody"], certificate(50)),
        told([{ name: "send_certificate", kwargs: { amount: 50 } }], gold, certificate(50), certificate(100), thank),
        told([{ name: "send_certificate", kwargs: { amount: 50 } }], ["get_user_details", {}, "Error: user not found"], certificate(50)),
        told([], certificate(50), gold),
        told([], gold, ["send_certificate", { amount: 70 }, "Error: not a multiple of 50"], thank),
      ];
      writeFileSync(path.join(home, "told.ndjson"), runs.map((run) => JSON.stringify(run)).join("\n"));
      writeFileSync(
        path.join(home, "looks-back.yaml"),
        [
          "version: 1",
          "requires:",
          "  send_certificate: { after: [get_user_details], where: \"prior.outputs.membership == 'gold'\" }",
          "  thank: { after: [send_certificate] }", // one that failed does not count
        ].join("\n"),
      );
      const args = ["--data", "told.ndjson", "--policy", "looks-back.yaml", "--url", gateway.url];
      const [json, words] = await Promise.all([demo([...args, "--json"], { ROOT_KEY: gateway.rootKey }), demo(args, { ROOT_KEY: gateway.rootKey })]);
      expect(json.code, json.said).toBe(0);
      const report: Report = JSON.parse(json.out);
      const because = { reason: "prerequisite_missing", rule: "/requires/send_certificate" };
      expect(report.writes).toEqual({
        expected: { count: 2, passed: 1, stopped: 1 },
        unexpected: { count: 4, stopped: 2, refused_by_tool: 1, took_effect: 1 },
        stops: [{ ...because, expected: 1, unexpected: 2 }],
        stopped_expected: [{ task: "9", trial: "0", action: "send_certificate", arguments: { amount: 50 }, verdict: "deny", ...because }],
      });
      expect(report.reasons).toContainEqual({ verdict: "deny", reason: because.reason, count: 4, actions: { send_certificate: 3, thank: 1 } });
      // $50.05 and $100.05 for what was sent, and the fee alone for what failed.
      expect(report.costs).toContainEqual({ action: "send_certificate", calls: 6, allowed: 3, posted_usd: "150.15" });
      expect(words.out).toMatch(/not expected +4\n +stopped +2 +50\.0 %\n +passed, and the tool refused it +1 .+\n +passed and took effect +1 /);
      expect(words.out).toMatch(/prerequisite_missing \/requires\/send_certificate +1 +2\n/);
      expect(words.out).toMatch(/expected and stopped: task 9, trial 0: send_certificate because of prerequisite_missing .+\n +\{"amount":50\}\n/);
    },
    MINUTES,
  );

  it.each([
    ["a policy with a mistake", ["--policy", "bad.yaml"], {}, /policy_invalid: .+\n {2}\/budgets\/runn \(line 2\): .+run/],
    ["another root key", [], { ROOT_KEY: "no-key-of-this-gateway" }, /^POST \/v1\/tenants answered 401: token_invalid: .+\n$/],
  ])(
    "%s ends it with 1 and the gateway's own words",
    async (_what, args, environment, words) => {
      writeFileSync(path.join(home, "bad.yaml"), "version: 1\nbudgets: { runn: 5 }\n");
      const { code, out, said } = await demo(["--short", "--url", gateway.url, ...args], { ROOT_KEY: gateway.rootKey, ...environment });
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(said).toMatch(words);
    },
    MINUTES,
  );
});

/** A run in the recording's own shape: each call with the same id, as models do now and then, and its result after it. */
function recorded(...names: readonly string[]): object {
  const call = (name: string) => ({ id: "call_1", name, arguments: JSON.stringify({ amount: 100 }) });
  return {
    task_id: 7,
    trial: 1,
    messages: [
      { role: "user", content: "Hello" },
      ...names.flatMap((name) => [
        { role: "assistant", content: null, tool_calls: [call(name)] },
        { role: "tool", tool_call_id: "call_1", content: `${name} did it` },
      ]),
    ],
  };
}

/** A run that says what was expected of it, with each call's arguments and result. */
function told(expected: readonly object[], ...calls: readonly (readonly [name: string, args: object, result: string])[]): object {
  const messages = calls.flatMap(([name, args, content], place) => [
    { role: "assistant", tool_calls: [{ id: `call_${place}`, name, arguments: JSON.stringify(args) }] },
    { role: "tool", tool_call_id: `call_${place}`, content },
  ]);
  return { task_id: 9, trial: 0, expected_actions: expected, messages };
}
