import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "./gateway.ts";

const PROGRAM = path.join(ROOT, "src/cli/agentsentinel.ts");
const EXAMPLES = path.join(ROOT, "sdk/examples");

/** Every policy that the project ships as an example, by its folder. */
const examples = readdirSync(EXAMPLES, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

it("there are examples", () => {
  expect(examples).toContain("airline");
});

describe.each(examples)("the example %s", (name) => {
  const folder = path.join(EXAMPLES, name);
  const ending = (end: string): readonly string[] => readdirSync(folder).filter((file) => file.endsWith(end));
  const policies = ending(".yaml").filter((file) => !file.endsWith(".test.yaml"));

  it("has a policy without mistakes or warnings", async () => {
    expect(policies).not.toEqual([]);
    const { code, out } = await agentsentinel("policy", "check", "--json", ...policies.map((file) => path.join(folder, file)));
    const { files } = JSON.parse(out);
    expect(files.flatMap(({ issues, warnings }: { issues: object[]; warnings: object[] }) => [...issues, ...warnings])).toEqual([]);
    expect({ code, valid: files.map(({ valid }: { valid: boolean }) => valid) }).toEqual({ code: 0, valid: policies.map(() => true) });
  });

  it("has cases, and they all pass and leave no part of its policy out", async () => {
    expect(ending(".test.yaml")).not.toEqual([]);
    const { code, out } = await agentsentinel("policy", "test", folder, "--json");
    const { ok, passed, failed, files, coverage } = JSON.parse(out);
    expect(files.flatMap(({ cases }: { cases: { failures: object[] }[] }) => cases.flatMap(({ failures }) => failures))).toEqual([]);
    expect({ code, ok, failed }).toEqual({ code: 0, ok: true, failed: 0 });
    expect(passed).toBeGreaterThan(0);
    expect(coverage.map(({ policy }: { policy: string }) => path.basename(policy)).sort()).toEqual([...policies].sort());
    expect(coverage.flatMap((of: { never_asked: unknown[]; never_fired: unknown[] }) => [...of.never_asked, ...of.never_fired])).toEqual([]);
  });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

/** Runs the program as a shell would, from the repository's root. */
function agentsentinel(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { cwd: ROOT, env: { ...process.env, npm_lifecycle_event: "test" } });
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out }));
  });
}
