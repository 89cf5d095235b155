import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { program, typed } from "./cli_typed.ts";

const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-init-"));
let folder = home;
beforeEach(() => {
  folder = mkdtempSync(path.join(home, "case-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const init = (...args: string[]) => typed(["init", ...args], { directory: folder });
const read = (file: string) => readFileSync(path.join(folder, file), "utf8");

/** What the policy that is written says, case by case; played by `policy test`. */
const CASES = `
policy: callguard.yaml
cases:
  - { name: ordinary work, request: { action: search_web, estimate_usd: 0.01 }, expect: allow }
  - { name: what destroys, request: { action: delete_database }, expect: { verdict: deny, reason: action_denied } }
  - { name: money to others, request: { action: send_money, estimate_usd: 0.10 }, expect: { verdict: hold, reason: approval_required } }
  - { name: what is dear, request: { action: render_film, estimate_usd: 0.80 }, expect: { verdict: hold, reason: approval_required } }
  - { name: more than its action may, request: { action: llm.chat, estimate_usd: 0.51 }, expect: { verdict: deny, reason: action_budget_exceeded } }
  - { name: more than a run may, request: { action: render_film, estimate_usd: 1.01 }, expect: { verdict: deny, reason: run_budget_exceeded } }
  - name: the eleventh mail of a minute
    history: [${Array.from({ length: 10 }, (_, n) => `{ action: send_email, inputs: { to: ${n} } }`).join(", ")}]
    request: { action: send_email, inputs: { to: 10 } }
    expect: { verdict: deny, reason: rate_exceeded }
  - name: the same again and again
    history: [${Array.from({ length: 4 }, () => "{ action: look, inputs: { page: 1 } }").join(", ")}]
    request: { action: look, inputs: { page: 1 } }
    expect: { verdict: deny, reason: loop_detected }
`;

describe("agentsentinel init", () => {
  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel init \[FILE\]/],
    ["two files", ["a.yaml", "b.yaml"], 2, /writes one FILE/],
    ["an ending that is not a policy's", ["policy.json"], 2, /is \.yaml or \.yml, found "policy\.json"/],
    ["a name that is none", ["--name", "x".repeat(300)], 2, /--name:/],
    ["a name under which no gateway takes it", ["--name", "base@2"], 2, /--name: wanted 1 to 128 letters, digits or _ - \. of which/],
    ["a directory that is not there", ["deep/er/p.yaml"], 1, /there is no directory deep\/er.*mkdir -p 'deep\/er'/],
  ])("%s: %j ends with %i, says so and writes nothing", async (_what, args, code, says) => {
    const ended = await init(...args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("writes a policy without a mistake or a warning, and the commands that it names next work", async () => {
    const ended = await init();
    expect([ended.code, ended.err, ended.out]).toEqual([0, "", expect.stringContaining("callguard.yaml is written")]);
    expect(await typed(["policy", "check", "callguard.yaml", "--strict"], { directory: folder })).toMatchObject({ code: 0 });
    const [check, explain] = [...ended.out.matchAll(/^ {2}npx agentsentinel (policy .*)$/gm)].map(([, command = ""]) => command.split(" "));
    for (const command of [check, explain]) expect(await typed(command ?? [], { directory: folder })).toMatchObject({ code: 0, err: "" });
  });

  it("writes a policy that denies, holds, limits and pays as it says", async () => {
    await init();
    writeFileSync(path.join(folder, "all.test.yaml"), CASES);
    const played = await typed(["policy", "test", "all.test.yaml"], { directory: folder });
    expect([played.code, played.out]).toEqual([0, expect.stringMatching(/8 .*pass/)]);
  });

  it("leaves what is there alone, unless it is told otherwise", async () => {
    writeFileSync(path.join(folder, "mine.yaml"), "version: 1\n");
    const refused = await init("mine.yaml");
    expect([refused.code, refused.err, read("mine.yaml")]).toEqual([1, expect.stringContaining("--force"), "version: 1\n"]);
    expect(await init("mine.yaml", "--force", "--name", "mine")).toMatchObject({ code: 0, err: "" });
    expect(read("mine.yaml")).toMatch(/^name: mine$/m);
  });

  it("tells programs what it wrote, and writes to standard output for -", async () => {
    const told = JSON.parse((await init("p.yml", "--json", "--name", "bots")).out);
    expect(told).toMatchObject({ file: "p.yml", name: "bots", digest: expect.stringMatching(/^sha-256:[0-9a-f]{64}$/) });
    const checked = JSON.parse((await typed(["policy", "check", "p.yml", "--json"], { directory: folder })).out);
    expect(checked.files[0].digest).toBe(told.digest);
    const piped = await program(["init", "-", "--name", "bots"], { cwd: folder }).ended;
    expect(piped).toEqual({ code: 0, out: read("p.yml"), err: "" });
  });
});
