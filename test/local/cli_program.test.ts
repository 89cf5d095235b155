import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Simulation } from "../../sdk/src/wire.ts";
import { calledAs } from "../../src/cli/called_as.ts";
import { main } from "../../src/cli/main.ts";
import { added } from "../../src/cli/simulate.ts";
import { terminalOf } from "../../src/cli/terminal.ts";
import * as examples from "../../src/http/examples.ts";
import { EXAMPLE_IDS } from "../../src/http/fields.ts";
import { ROOT } from "./gateway.ts";

const PROGRAM = path.join(ROOT, "src/cli/agentsentinel.ts");
const FIXTURES = path.join(ROOT, "test/local/fixtures");
const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-cli-"));
const GOOD = "version: 1\nname: small\ndenied_actions: [rm]\nbudgets: { session: 1 }\n";

beforeAll(() => {
  const files: { readonly [name: string]: string } = {
    "good.yaml": GOOD,
    "good.json": JSON.stringify({ version: 1, name: "small", denied_actions: ["rm"], budgets: { session: 1 } }),
    "looser.yml": GOOD.replace("session: 1", "session: 2"),
    "warned.yaml": `${GOOD}strict_mode: false\n`,
    "bad.yaml": "version: 1\nbudget: { session: 1 }\nbudgets:\n  session: -3\n",
    "history.yaml": "history:\n  - { action: search, cost_usd: 0.9 }\n",
    "minute.yaml": "history:\n  - { action: search, ago_seconds: 60 }\n",
    "denied.yaml": "history:\n  - { action: rm }\n",
    "cases/one.test.yaml":
      'policy: ../good.yaml\ncases:\n  - name: it passes\n    request: { action: search }\n    expect: allow\n  - name: it fails\n    request: { action: rm }\n    expect: { verdict: allow, rule: "x" }\n',
    "passing/two.test.json": JSON.stringify({ policy: "../good.yaml", cases: [{ name: "ok", request: { action: "search" }, expect: "allow" }] }),
    "mistaken/three.test.yaml": "policy: ../nowhere.yaml\ncases:\n  - { name: a, request: { action: b }, expect: allow }\n",
    "none/read.me": "",
    "linked/own.test.yaml": "policy: ../good.yaml\ncases:\n  - { name: own, request: { action: b }, expect: allow }\n",
    "elsewhere/deep/far.test.yaml": "policy: ../near.yaml\ncases:\n  - { name: far, request: { action: rm }, expect: deny }\n",
    "elsewhere/near.yaml": GOOD,
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  for (const [name, to] of [
    ["linked/cases", "../elsewhere/deep"],
    ["linked/again", "../elsewhere/deep"],
    ["elsewhere/deep/back", "../../linked"],
    ["linked/twice.test.yaml", "own.test.yaml"],
    ["linked/nowhere", "gone"],
    ["astray/gone.test.yaml", "nowhere"],
  ] as const) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    symlinkSync(to, path.join(folder, name));
  }
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the program as a shell would. */
function agentsentinel(
  args: readonly string[],
  given: { readonly input?: string; readonly environment?: object; readonly cwd?: string } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    // Whoever runs the tests may forbid colours; here it is each test that says so, and Node warns of both at once.
    const { NO_COLOR: _, ...inherited } = process.env;
    const environment = { ...inherited, npm_lifecycle_event: "test", FORCE_COLOR: "1", ...given.environment };
    const child = spawn(process.execPath, [PROGRAM, ...args], { cwd: given.cwd ?? folder, env: environment });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out, err }));
    child.stdin.end(given.input ?? "");
  });
}

/** As much of a stream as the program uses. */
const stream = (isTTY: boolean, write: (text: string) => void) => ({ isTTY, columns: 80, write }) as unknown as NodeJS.WriteStream;

/** The same without a process of its own, and as if standard output were a pipe. */
async function typed(...args: string[]): Promise<Ended> {
  const ended = { out: "", err: "" };
  const pipe = (side: "out" | "err") =>
    stream(false, (text) => {
      ended[side] += text;
    });
  const code = await main(args, folder, terminalOf(pipe("out"), pipe("err"), {}));
  return { code, ...ended };
}

const policy = (...args: string[]) => typed("policy", ...args);

describe("agentsentinel policy", { timeout: 30_000 }, () => {
  it.each<[string, string[], number, RegExp]>([
    ["nothing", [], 0, /^Usage: agentsentinel policy <command>/],
    ["--help", ["policy", "--help"], 0, /simulate/],
    ["--version", ["--version"], 0, /^agentsentinel \d+\.\d+\.\d+, Node \d+\.\d+\.\d+\n$/],
    ["-v", ["-v"], 0, /^agentsentinel \d/],
    ["--version of a room", ["policy", "--version"], 2, /there is no command policy --version/],
    ["help of a command", ["policy", "diff", "--help"], 0, /^Usage: agentsentinel policy diff A B/],
    ["another room", ["polcy", "check"], 2, /did you mean "policy"\?/],
    ["a command without its room", ["check", "good.yaml"], 2, /did you mean "policy check"\?/],
    ["a misspelt command", ["policy", "chekc"], 2, /did you mean "check"\?|known are check/],
    [
      "a command that its room has not",
      ["policy", "lint", "good.yaml"],
      2,
      /known are check, [^\n]*\n\nUsage: agentsentinel policy <command> \.\.\.\n$/,
    ],
    ["a misspelt option", ["policy", "check", "--jsn", "good.yaml"], 2, /did you mean "--json"\?/],
    ["a value that a flag does not take", ["policy", "check", "--json=1", "good.yaml"], 2, /--json takes no value/],
    ["an option without its value", ["policy", "test", "--grep"], 2, /--grep needs a value/],
    ["no file", ["policy", "check"], 2, /at least one FILE/],
    ["an ending that says nothing", ["policy", "check", "good.txt"], 2, /neither \.yaml, \.yml nor \.json/],
    ["a file that is not there", ["policy", "check", "gone.yaml"], 1, /gone\.yaml cannot be read: there is no such file/],
    ["one file too few", ["policy", "diff", "good.yaml"], 2, /two files/],
    ["a bad --now", ["policy", "explain", "good.yaml", "a", "--now", "noon"], 2, /RFC 3339/],
    ["a --now before 1970", ["policy", "explain", "good.yaml", "a", "--now", "0001-01-01T00:00:00Z"], 2, /so early that it begins before 1970/],
    [
      "a history before 1970",
      ["policy", "explain", "good.yaml", "a", "--history", "minute.yaml", "--now", "1970-01-01T00:00:00Z"],
      2,
      /so early that the history begins before 1970/,
    ],
    ["simulate without a beginning", ["policy", "simulate", "good.yaml"], 2, /wants --from/],
    ["simulate that ends before it begins", ["policy", "simulate", "good.yaml", "--from", "1d", "--to", "2d"], 2, /--from is before --to/],
    ["simulate without a token", ["policy", "simulate", "good.yaml", "--from", "1d"], 2, /wants a token/],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENTSENTINEL_TOKEN", "");
    const ended = await typed(...args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
    expect(code === 0 ? ended.err : ended.out).toBe("");
  });

  it.each<[string, NodeJS.ProcessEnv, string, string]>([
    ["npx", { npm_lifecycle_event: "npx" }, "/clone", "npx agentsentinel"],
    ["node itself", {}, "/clone", "npx agentsentinel"],
    ["npm, where npx would fetch a stranger's", { npm_lifecycle_event: "agentsentinel" }, "/clone", "npm --prefix /clone run -s agentsentinel --"],
    ["npm, from an odd place", { npm_lifecycle_event: "agentsentinel" }, "/a b's", "npm --prefix '/a b'\\''s' run -s agentsentinel --"],
  ])("tells commands to type as it was called itself: by %s", (_how, environment, root, called) => {
    expect(calledAs(environment, root)).toBe(called);
  });

  it("what its helps tell to type is typed as it was called, and is a command that there is", async () => {
    const environment = { npm_lifecycle_event: "agentsentinel" };
    const { out: rooms } = await agentsentinel(["--help"], { environment });
    expect(rooms).toContain(`\nHere it is called as: npm --prefix ${ROOT} run -s agentsentinel -- <command> ...\n`);
    const examples = ["doctor", "verify", "kill", "approvals link"];
    const helps = await Promise.all(examples.map((command) => agentsentinel([...command.split(" "), "--help"], { environment })));
    for (const [place, { out }] of helps.entries()) {
      const typed = [...out.matchAll(/^ {2}.*?(\S.* )?agentsentinel (-- )?(\S+(?: link)?)/gm)].filter(([line]) => !line.includes("Usage"));
      expect(typed.map(([, before = "", dashes, command]) => [before.split("| ").at(-1), dashes, command])).toEqual([
        [`npm --prefix ${ROOT} run -s `, "-- ", examples[place]],
      ]);
    }
  });

  it("check points at every mistake with its line marked, and at nothing in a good policy", async () => {
    const bad = await agentsentinel(["policy", "check", "bad.yaml", "good.yaml"]);
    expect(bad).toEqual({
      code: 1,
      err: "",
      out: `bad.yaml:2:1 mistake /budget "budget" is not known here; did you mean "budgets"?
 2 | budget: { session: 1 }
   | ^
bad.yaml:4:12 mistake /budgets/session a USD amount is digits with up to six decimals, like "0.05", found -3
 4 |   session: -3
   |            ^
✗ bad.yaml has 2 mistakes
✓ good.yaml "small" is good

1 of 2 policies is good
`,
    });
    const warned = await policy("check", "warned.yaml", "--json");
    const { files } = JSON.parse(warned.out);
    expect([warned.code, files[0].valid, files[0].warnings[0].pointer, files[0].issues]).toEqual([0, true, "/strict_mode", []]);
    expect((await policy("check", "warned.yaml", "--strict")).code).toBe(1);
  });

  it("check reads standard input, YAML or JSON", async () => {
    expect(await agentsentinel(["policy", "check", "-"], { input: GOOD })).toMatchObject({ code: 0, out: '✓ (standard input) "small" is good\n' });
    const json = await agentsentinel(["policy", "check", "-", "--json"], { input: '{"version": 1, "buget": {}}' });
    expect([json.code, JSON.parse(json.out).files[0].issues[0]]).toMatchObject([1, { pointer: "/buget", line: 1, column: 16 }]);
  });

  it("test says of a failing case what was expected, what was found, why, and where it stands", async () => {
    const ended = await policy("test", "cases");
    expect(ended.code).toBe(1);
    expect(ended.out).toBe(`✗ cases/one.test.yaml: 1 of 2 cases failed

  ✗ it fails cases/one.test.yaml:6
    request (cases/one.test.yaml:8:13)
               expected  found
      verdict  allow     deny
      rule     x         /denied_actions
      why      The policy denies "rm". (action_denied by /denied_actions)

1 failed, 1 passed
`);
  });

  it("test passes, fails, finds mistakes and finds nothing with honest exit codes", async () => {
    const [passing, grep, mistaken, none, noMatch, candidate] = await Promise.all([
      policy("test", "passing"),
      policy("test", "cases", "--grep", "PASSES", "--json"),
      policy("test", "mistaken"),
      policy("test", "none"),
      policy("test", "passing", "--grep", "nothing like it"),
      policy("test", "cases", "--file", "bad.yaml"),
    ]);
    expect([passing.code, passing.out]).toEqual([0, "✓ passing/two.test.json 1 case\n\n1 passed\n"]);
    expect([grep.code, JSON.parse(grep.out)]).toMatchObject([
      0,
      { ok: true, passed: 1, failed: 0, files: [{ cases: [{ name: "it passes", line: 3 }] }] },
    ]);
    expect([mistaken.code, mistaken.out]).toMatchObject([1, expect.stringContaining("mistaken/three.test.yaml:1:9 mistake /policy")]);
    expect([none.code, none.out]).toEqual([1, "No case was found: cases stand in files called *.test.yaml.\n"]);
    expect([noMatch.code, noMatch.out]).toEqual([1, "No case has a name that matches nothing like it.\n"]);
    expect([candidate.code, candidate.out]).toMatchObject([1, expect.stringContaining("bad.yaml:2:1 mistake")]);
  });

  it.each<[string, string[], string[]]>([
    ["a directory with links, one of which leads back", ["linked"], ["elsewhere/deep/far.test.yaml", "linked/own.test.yaml"]],
    ["a link that is named", ["linked/again"], ["linked/own.test.yaml", "elsewhere/deep/far.test.yaml"]],
    ["a file twice", ["linked/own.test.yaml", "./linked/own.test.yaml", "linked/twice.test.yaml"], ["linked/own.test.yaml"]],
    ["a file and where it lies", ["./linked/own.test.yaml", "linked"], ["./linked/own.test.yaml", "elsewhere/deep/far.test.yaml"]],
  ])("test follows links and plays each file once: %s", async (_what, names, files) => {
    const ended = await policy("test", ...names, "--json");
    const told = JSON.parse(ended.out);
    expect([ended.code, told.passed, told.files.map(({ file }: { file: string }) => file)]).toEqual([0, files.length, files]);
  });

  it("test says of a link to no file that there is none", async () => {
    expect(await policy("test", "astray")).toMatchObject({
      code: 1,
      err: "agentsentinel: astray/gone.test.yaml cannot be read: there is no such file\n",
    });
  });

  it("test plays the cases that the project ships, and says what of the policy they leave out", async () => {
    const ended = await policy("test", FIXTURES, "--json");
    const told = JSON.parse(ended.out);
    expect(told.files.flatMap(({ cases }: { cases: { failures: object[] }[] }) => cases.flatMap(({ failures }) => failures))).toEqual([]);
    expect([ended.code, told.ok, told.passed]).toEqual([0, true, 18]);
    expect(told.coverage).toMatchObject([{ never_asked: [], never_fired: [] }]);
    const schema = JSON.parse((await policy("test", "--schema")).out);
    expect(Object.keys(schema.properties)).toEqual(["policy", "agent", "now", "session", "defaults", "entities", "cases"]);
    expect(schema.$defs.expectation.anyOf[0]).toEqual({ enum: ["allow", "deny", "hold"] });
  });

  it("diff ends with 0 where two texts mean the same, with 1 where they do not, and says which is the tighter", async () => {
    const [same, looser, json] = await Promise.all([
      policy("diff", "good.yaml", "good.json"),
      policy("diff", "good.yaml", "looser.yml"),
      policy("diff", "looser.yml", "good.yaml", "--json"),
    ]);
    expect([same.code, same.out]).toEqual([0, "good.yaml and good.json mean the same.\n"]);
    expect([looser.code, looser.out]).toEqual([1, 'budgets\n  ~ looser     session  "1" → "2"\n\n1 difference: 1 looser\n']);
    expect([json.code, JSON.parse(json.out)]).toMatchObject([
      1,
      { same: false, direction: "tighter", differences: [{ at: "/budgets/session", before: "2", after: "1", change: "changed" }] },
    ]);
  });

  it("explain tells the gates, and plays the history first", async () => {
    const [text, json, mistaken, impossible, bad] = await Promise.all([
      policy("explain", "good.yaml", "rm"),
      policy("explain", "good.yaml", '{action: search, estimate_usd: "0.2"}', "--history", "history.yaml", "--json"),
      policy("explain", "good.yaml", '{"action": "a", "estimate": 1}'),
      policy("explain", "good.yaml", "a", "--history", "denied.yaml"),
      policy("explain", "bad.yaml", "a"),
    ]);
    expect([text.code, text.out]).toMatchObject([
      0,
      expect.stringMatching(/✗ denied and allowed actions +says no\n[\s\S]*not asked[\s\S]*\nDENY action_denied by \/denied_actions/),
    ]);
    const told = JSON.parse(json.out);
    expect([json.code, told.decision.verdict, told.decision.reason.rule]).toEqual([0, "deny", "/budgets/session"]);
    expect(told.gates.at(-2)).toMatchObject({
      gate: "budgets",
      outcome: "denied",
      facts: [{ rule: "/budgets/session", says: "0.9 taken, 0.2 asked, of 1 USD" }],
    });
    expect([mistaken.code, mistaken.err]).toMatchObject([1, expect.stringContaining('/estimate is unknown; did you mean "estimate_usd"?')]);
    expect([impossible.code, impossible.err]).toMatchObject([1, expect.stringContaining("history 1 (rm) did not happen as it says")]);
    expect([bad.code, bad.out, bad.err]).toMatchObject([1, "", expect.stringContaining("bad.yaml:2:1")]);
  });

  const named = (section: string) => `version: 1\nname: small\n${section}\n`;
  it.each<[string, string, string, RegExp | null]>([
    [
      "a name that is near",
      named("denied_actions: [send_money]"),
      "send_mony",
      /names no action "send_mony", and no glob in it meets it; did you mean "send_money"\?/,
    ],
    ["names that are far", named("allowed_actions: [a, b]"), "search_web", /names no action "search_web", .*; known are a, b\. What follows/],
    ["no names", named("budgets: { session: 1 }"), "search", /names no action "search", and no glob in it meets it\. What follows/],
    [
      "a glob that does not meet it",
      named("rate_limits: { 'db.*': { max_count: 1, window_seconds: 9 } }"),
      "db",
      /did you mean "db\.\*"\?|known are db\.\*/,
    ],
    [
      "many names that are far",
      named(`allowed_actions: [${Array.from({ length: 21 }, (_, n) => `act${n}`).join(", ")}]`),
      "search",
      /meets it\. What/,
    ],
    ["a glob that meets it", named("denied_actions: ['send_*']"), "send_mony", null],
    ["an argument's schema", named("arguments: { a: { required: [to] } }"), "a", null],
    ["a requirement", named("requires: { a: [{ after: [b] }] }"), "a", null],
    ["what a requirement wants", named("requires: { a: [{ after: [b] }] }"), "b", null],
    ["a limit of what runs at once", named("concurrency: { a: 1 }"), "a", null],
    ["a rate", named("rate_limits: { a: { max_count: 1, window_seconds: 9 } }"), "a", null],
    ["a budget", named("budgets: { actions: { a: 1 } }"), "a", null],
    ["an approval", named("approvals: { actions: [a] }"), "a", null],
    ["a wind-down", named("budgets: { session: 1 }\nwind_down: { actions: [a], budget: 0.1 }"), "a", null],
    ["a rule", named("rules: [{ id: r, effect: forbid, actions: [a] }]"), "a", null],
    ["a rule over the history", named("history: [{ id: h, forbid: [a], when: \"count('b', 9) > 0\" }]"), "a", null],
  ])("explain says where the policy does not name the action, and keeps its verdict: %s", async (what, text, action, says) => {
    const file = `${what.replaceAll(/\W/g, "_")}.yaml`;
    writeFileSync(path.join(folder, file), text);
    const [words, json] = await Promise.all([policy("explain", file, action), policy("explain", file, action, "--json")]);
    expect([words.code, words.err, json.code]).toEqual([0, "", 0]);
    if (says === null) expect(words.out).not.toContain("names no action");
    else expect(words.out).toMatch(says);
    const told = JSON.parse(json.out);
    expect([told.named, words.out.includes(`\n${told.decision.verdict.toUpperCase()} `)]).toEqual([says === null, true]);
  });

  it("explain shows a condition on one line, however its author broke it", async () => {
    const rules = "rules:\n  - id: r\n    effect: forbid\n    actions: [a]\n    when: |-\n      inputs.n == 1\n        && inputs.m == 2\n";
    const { out } = await agentsentinel(["policy", "explain", "-", '{"action": "a", "inputs": {"n": 1}}'], { input: rules });
    expect(out).toContain("when inputs.n == 1 && inputs.m == 2\n");
  });

  it("nothing is coloured in a pipe, and on a terminal only where NO_COLOR does not forbid it", async () => {
    const all = await Promise.all([
      policy("check", "bad.yaml"),
      policy("test", "cases", "--coverage"),
      policy("diff", "good.yaml", "looser.yml"),
      policy("explain", "good.yaml", "a"),
    ]);
    for (const { out, err } of all) expect(out + err).not.toContain("\u001b");
    const looks = async (isTTY: boolean, environment: object) => {
      let out = "";
      const screen = stream(isTTY, (text) => {
        out += text;
      });
      await main(["policy", "check", "bad.yaml"], folder, terminalOf(screen, screen, { ...environment }));
      return out.includes("\u001b");
    };
    expect([await looks(true, {}), await looks(true, { NO_COLOR: "1" }), await looks(true, { TERM: "dumb" }), await looks(false, {})]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it("a reader that has seen enough is no fault", async () => {
    const many = Array.from({ length: 3000 }, (_, n) => `  - { name: case number ${n}, request: { action: rm }, expect: allow }`).join("\n");
    writeFileSync(path.join(folder, "many.test.yaml"), `policy: good.yaml\ncases:\n${many}\n`);
    const ended = await new Promise<{ code: number | null; err: string }>((resolve) => {
      const child = spawn(process.execPath, [PROGRAM, "policy", "test", "many.test.yaml"], { cwd: folder });
      let err = "";
      child.stderr.on("data", (chunk) => (err += chunk));
      child.stdout.once("data", () => child.stdout.destroy());
      child.once("close", (code) => resolve({ code, err }));
    });
    expect(ended).toEqual({ code: 1, err: "" });
  });

  it("files are named from where the command was typed, also through npm run", async () => {
    const environment = { npm_lifecycle_event: "agentsentinel", INIT_CWD: folder };
    expect(await agentsentinel(["policy", "check", "good.yaml"], { cwd: ROOT, environment })).toMatchObject({ code: 0 });
    expect(await agentsentinel(["policy", "check", "good.yaml"], { cwd: ROOT })).toMatchObject({ code: 1 });
  });

  it.each([
    ["outside of the clone", () => folder],
    ["where another package.json lies", () => path.join(ROOT, "test")],
    ["in a workspace", () => path.join(ROOT, "sdk/src")],
  ])("runs by the clone's path as its README says, and names files from there: %s", async (_what, where) => {
    const named = path.relative(where(), path.join(folder, "good.yaml"));
    const args = ["--prefix", ROOT, "run", "-s", "agentsentinel", "--", "policy", "check", named];
    // Whoever runs the tests by npm has told it where that was typed.
    const { INIT_CWD: _, ...environment } = process.env;
    const { stdout } = await promisify(execFile)("npm", args, { cwd: where(), env: environment });
    expect(stdout).toBe(`✓ ${named} "small" is good\n`);
  });
});

describe("agentsentinel at an address that is not the gateway's", { timeout: 30_000 }, () => {
  const problem = { type: "about:blank", title: "Not found", status: 404, code: "not_found", detail: "There is nothing here.", request_id: "r" };
  const plainly = createServer((_, response) => response.writeHead(404, { "content-type": "application/problem+json" }).end(JSON.stringify(problem)));
  // Without a certificate it does what one with a certificate does to what is no TLS.
  const secret = createSecureServer({});
  const servers = [plainly, secret];
  beforeAll(() => Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)))));
  afterAll(() => Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve)))));
  // They listen on TCP.
  const at = (server: typeof plainly | typeof secret) => `127.0.0.1:${(server.address() as AddressInfo).port}`;

  it.each<[string, () => string, RegExp | null]>([
    ["https where http is spoken", () => `https://${at(plainly)}`, /that port speaks no https; try http:\/\/127\.0\.0\.1:\d+$/m],
    ["http where https is spoken", () => `http://${at(secret)}`, /hung up without a word; if it speaks https, try https:\/\/127\.0\.0\.1:\d+$/m],
    [
      "a path that is not its root",
      () => `http://${at(plainly)}/docs`,
      /404 not_found[\s\S]*Is http:\S+\/docs the gateway's root\? Try http:\/\/127\.0\.0\.1:\d+$/m,
    ],
    ["its root", () => `http://${at(plainly)}/`, null],
  ])("says what is wrong and what to try: %s", async (_what, url, says) => {
    const { code, err } = await typed("approvals", "list", "--token", "t0", "--url", url());
    expect(code).toBe(1);
    if (says === null) expect(err).not.toContain("root");
    else expect(err).toMatch(says);
    expect(err).not.toContain("SSL");
  });
});

describe("agentsentinel policy simulate", { timeout: 30_000 }, () => {
  const asked: { readonly authorization: string | undefined; readonly body: { readonly [member: string]: unknown } }[] = [];
  const none = { count: 0, money_usd: "0", entries: [] };
  const unchanged = { newly_denied: none, newly_allowed: none, newly_held: none, no_longer_held: none };
  let settled: Simulation = { ...examples.simulation, changed: unchanged, by_rule: [] };
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => (text += chunk));
    request.on("end", () => {
      const body = JSON.parse(text);
      asked.push({ authorization: request.headers.authorization, body });
      if (body.agent === "busy" && asked.filter(({ body }) => body.agent === "busy").length === 1) {
        const busy = { type: "about:blank", title: "Too many requests", status: 429, code: "throttled", detail: "Come back.", request_id: "r" };
        response.writeHead(429, { "content-type": "application/problem+json", "retry-after": "0" }).end(JSON.stringify(busy));
        return;
      }
      const refused = body.session !== undefined;
      const problem = {
        type: "about:blank",
        title: "Not found",
        status: 404,
        code: "not_found",
        detail: "There is no such session in the record.",
        request_id: "r",
      };
      const answer = refused
        ? problem
        : body.agent === "settled"
          ? settled
          : { ...examples.simulation, next: body.cursor === undefined ? "more" : null, truncated: body.cursor === undefined };
      response.writeHead(refused ? 404 : 200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
  afterAll(() => new Promise((resolve) => server.close(resolve)));
  const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on TCP

  it("asks for every part with the same question and adds them up", async () => {
    const environment = { AGENTSENTINEL_TOKEN: "t0", AGENTSENTINEL_URL: url() };
    const ended = await agentsentinel(["policy", "simulate", "good.yaml", "--from", "2026-11-01T00:00:00Z", "--agent", "bot", "--json"], {
      environment,
    });
    expect([ended.err, ended.code]).toEqual(["", 0]);
    const one = examples.simulation;
    expect(JSON.parse(ended.out)).toMatchObject({
      decisions: 2 * one.decisions,
      prevented_usd: "0.086",
      next: null,
      truncated: false,
      changed: { newly_denied: { count: 2 * one.changed.newly_denied.count, money_usd: "0.086" } },
      by_rule: [{ rule: "/denied_actions", prevented_usd: "0.086" }],
      not_comparable: [{ reason: "session_closed", count: 2 }],
    });
    const question = { policy: GOOD, from: "2026-11-01T00:00:00.000Z", agent: "bot" };
    expect(asked).toEqual([
      { authorization: "Bearer t0", body: question },
      { authorization: "Bearer t0", body: { ...question, cursor: "more" } },
    ]);
  });

  it("comes back when a gateway says that it is busy with its simulations", async () => {
    const args = ["policy", "simulate", "good.yaml", "--token", "t0", "--url", url(), "--from", "1d", "--agent", "busy"];
    expect((await typed(...args)).code).toBe(0);
    const mine = asked.flatMap(({ body }) => (body.agent === "busy" ? [body.cursor ?? null] : []));
    expect(mine).toEqual([null, null, "more"]);
  });

  it("ends with 1 where the gateway refuses, where there is none, and on request where anything would change", async () => {
    const common = ["policy", "simulate", "good.yaml", "--token", "t0", "--url"];
    const [refused, nobody, changed, bad] = await Promise.all([
      typed(...[...common, url(), "--session", EXAMPLE_IDS.ses]),
      typed(...[...common, "http://127.0.0.1:1", "--from", "1d"]),
      typed(...[...common, url(), "--from", "1d", "--exit-code"]),
      typed(...["policy", "simulate", "bad.yaml", "--token", "t0", "--url", url(), "--from", "1d"]),
    ]);
    expect([refused.code, refused.err]).toEqual([1, "agentsentinel: the gateway refuses (404 not_found): There is no such session in the record.\n"]);
    expect([nobody.code, nobody.err]).toMatchObject([1, expect.stringContaining("no answer from http://127.0.0.1:1")]);
    expect([changed.code, changed.out]).toMatchObject([
      1,
      expect.stringMatching(/newly denied +2 +0\.086 USD[\s\S]*It would have prevented 0\.086 USD/),
    ]);
    expect([bad.code, bad.err]).toMatchObject([1, expect.stringContaining("bad.yaml:2:1 mistake")]);
  });

  it.each<[string, Partial<Simulation>, number]>([
    ["nothing is otherwise", {}, 0],
    ["a decision is newly denied", { changed: { ...unchanged, newly_denied: { ...none, count: 1 } } }, 1],
    ["a decision is uncertain", { uncertain: { ...none, count: 1 } }, 1],
    ["a session was cut", { cut_sessions: [{ session: EXAMPLE_IDS.ses, through: "2026-11-22T19:00:00.000Z" }] }, 1],
  ])("with --exit-code, where %s, it ends with its own code", async (_what, found, code) => {
    settled = { ...examples.simulation, changed: unchanged, by_rule: [], ...found };
    const args = ["policy", "simulate", "good.yaml", "--token", "t0", "--url", url(), "--from", "1d", "--agent", "settled"];
    expect([(await typed(...args, "--exit-code")).code, (await typed(...args)).code]).toEqual([code, 0]);
  });

  it("brings the rules of several parts into the order of one", () => {
    const rule = (name: string, count: number) => {
      return { rule: name, reason: "rule_forbids", changed: { ...unchanged, newly_denied: { ...none, count } }, prevented_usd: "0" } as const;
    };
    const parts = [[rule("a", 3), rule("b", 2)], [rule("b", 2), rule("c", 1)], [rule("c", 4)]].map(
      (by_rule): Simulation => ({ ...examples.simulation, by_rule }),
    );
    expect(parts.reduce((one, other) => added(one, other)).by_rule.map(({ rule }) => rule)).toEqual(["c", "b", "a"]);
  });
});
