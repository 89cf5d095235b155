import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createFileStore } from "../../sdk/src/local/ledger/file_store.ts";
import { Ledger } from "../../sdk/src/local/ledger/ledger.ts";
import { createRecorder } from "../../sdk/src/local/ledger/recorder.ts";
import { claimsOf } from "../../src/cli/claims.ts";
import { type Check, clockCheck, environmentCheck, ledgerChecks, lineOf, nodeCheck, scopesCheck, tokenCheck } from "../../src/cli/doctor.ts";
import { SCOPES } from "../../src/core/scopes.ts";
import { program, terminalFor, typed } from "./cli_typed.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway, ROOT_KEY } from "./gateway.ts";

const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-doctor-"));
let folder = home;
beforeEach(() => {
  folder = mkdtempSync(path.join(home, "case-"));
  for (const name of Object.keys(process.env)) if (/^AGENT_?SENTINEL_(URL|TOKEN|HOME)$/.test(name)) vi.stubEnv(name, undefined);
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rmSync(home, { recursive: true, force: true }));

const NOW = Date.parse("2026-06-01T12:00:00.000Z");
const HOUR_MS = 3_600_000;
const jwt = (claims: object): string => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
const seconds = (ms: number) => Math.floor((NOW + ms) / 1000);
const human = { sub: "ops", tid: "acme", kind: "human", scope: SCOPES.join(" ") };

/** A check in short, to be compared. */
const short = ({ state, found, wayOut }: Check) => [state, found, wayOut ?? ""].join(" | ");

describe("agentsentinel doctor", () => {
  it.each<[string, Check["state"]]>([
    ["24.21.0", "ok"],
    ["22.18.0", "ok"],
    ["22.17.1", "warning"],
    ["20.20.2", "warning"],
    ["18.19.0", "failed"],
  ])("of Node %s says %s", (version, state) => {
    expect(nodeCheck(version)).toMatchObject({ state, found: version, wayOut: state === "ok" ? null : expect.stringContaining("22.18") });
  });

  it.each<[string, NodeJS.ProcessEnv, RegExp]>([
    ["nothing", { PATH: "/bin" }, /^ok \| none of AGENTSENTINEL_URL, AGENTSENTINEL_TOKEN, AGENT_SENTINEL_HOME is set/],
    ["what is read", { AGENTSENTINEL_URL: "u", AGENT_SENTINEL_HOME: "h" }, /^ok \| AGENTSENTINEL_URL, AGENT_SENTINEL_HOME are set/],
    ["the other spelling", { AGENT_SENTINEL_TOKEN: "t" }, /^warning \|.*nobody reads AGENT_SENTINEL_TOKEN \| Did you mean "AGENTSENTINEL_TOKEN"\?/],
    ["the other spelling of the home", { AGENTSENTINEL_HOME: "h" }, /^warning \|.*Did you mean "AGENT_SENTINEL_HOME"\?/],
    ["a misspelt one", { AGENTSENTINEL_TOKN: "t" }, /^warning \|.*Did you mean "AGENTSENTINEL_TOKEN"\?/],
  ])("looks at an environment with %s, and tells no value", (_what, environment, said) => {
    expect(short(environmentCheck(environment))).toMatch(said);
  });

  it.each<[string, string, RegExp]>([
    ["none", "", /^failed \| there is none \| Set AGENTSENTINEL_TOKEN, or --token: the line that npm start prints does/],
    ["one with Bearer before it", "Bearer x.y.z", /^failed \| it begins with "Bearer"/],
    ["one with a line end", "x.y.z\n", /^failed \| it has blanks, line ends/],
    ["a root key", "a-root-key", /^warning \| it is no JWT/],
    ["one that has expired", jwt({ ...human, exp: seconds(-2 * HOUR_MS) }), /^failed \| it expired 2h ago \| Ask for a new one/],
    ["one that ends soon", jwt({ ...human, exp: seconds(60_000) }), /^warning \| .*good for 1m \|/],
    ["one that begins later", jwt({ ...human, exp: seconds(9 * HOUR_MS), nbf: seconds(HOUR_MS) }), /^failed \| it is good only in 1h/],
    ["one without an end", jwt(human), /^warning \| .*does not say when it expires/],
    ["a good one", jwt({ ...human, exp: seconds(26 * HOUR_MS) }), /^ok \| it can be read, and is good for 1d 2h \| $/],
  ])("looks at a token: %s", (_what, token, said) => {
    expect(short(tokenCheck(token, NOW))).toMatch(said);
  });

  it.each<[string, object, RegExp]>([
    ["a person's", human, /^ok \| human ops, tenant acme: every scope/],
    [
      "an agent's",
      { ...human, kind: "agent", scope: "sessions:write decisions:write" },
      /^ok \| agent ops, tenant acme: sessions:write decisions:write/,
    ],
    ["an agent's that cannot be guarded", { ...human, kind: "agent", scope: "sessions:write" }, /^warning \|.*an agent needs decisions:write too/],
    ["one that may do nothing", { ...human, scope: "" }, /^failed \|.*no scopes are named \| It may do nothing/],
    ["another issuer's", { sub: "x" }, /^skipped \| a token x: no scopes are named/],
  ])("reads scopes and kind: %s", (_what, claims, said) => {
    const read = claimsOf(jwt(claims));
    expect(read && short(scopesCheck(read))).toMatch(said);
  });

  it.each<[string, number | null, RegExp]>([
    ["does not tell the time", null, /^skipped/],
    ["agrees", NOW, /^ok/],
    ["told a second that was cut", NOW - 999, /^ok/],
    ["is a little ahead", NOW + 9_000, /^warning \| this machine is 8s behind the gateway/],
    ["is far behind", NOW - 400_000, /^failed \| this machine is 6m 39s ahead of the gateway \| Set this machine's clock/],
  ])("compares clocks where the gateway %s", (_what, clock, said) => {
    expect(short(clockCheck(clock, NOW, NOW + 200))).toMatch(said);
  });

  async function record(count: number): Promise<void> {
    const store = createFileStore({ path: path.join(folder, ".agent-sentinel/ledger.jsonl") });
    const ledger = new Ledger({ store, recorder: () => createRecorder({ redaction: null }) });
    for (let n = 0; n < count; n++) ledger.record({ action: "search", costUsd: "0.01" });
    await ledger.flush();
    ledger.close();
  }

  it.each<[string, () => void | Promise<void>, NodeJS.ProcessEnv, readonly RegExp[]]>([
    ["is not there yet", () => undefined, {}, [/^ok \| \.agent-sentinel is not there yet; the SDK makes it/, /^skipped/]],
    ["is whole", () => record(2), {}, [/^ok \| \.agent-sentinel can be written to/, /^ok \| 2 lines, whole/]],
    [
      "was changed",
      async () => {
        await record(2);
        writeFileSync(path.join(folder, ".agent-sentinel/ledger.jsonl"), "{}\n{}\n");
      },
      {},
      [/^ok/, /^failed \| .*ledger\.jsonl:1 Line 1 cannot be read.* \| Keep the file as it is/],
    ],
    [
      "ends half-way",
      async () => {
        await record(2);
        writeFileSync(path.join(folder, ".agent-sentinel/ledger.jsonl"), '{"id":', { flag: "a" });
      },
      {},
      [/^ok/, /^warning \| 2 lines, whole, but .*:3 is half-written/],
    ],
    [
      "was emptied",
      async () => {
        await record(2);
        writeFileSync(path.join(folder, ".agent-sentinel/ledger.jsonl"), "");
      },
      {},
      [/^ok/, /^failed \| .*ledger\.jsonl: nothing came: it is empty \| Keep the file/],
    ],
    ["would be a file", () => writeFileSync(path.join(folder, "taken"), ""), { AGENT_SENTINEL_HOME: "taken" }, [/^failed \| taken is no directory/]],
  ])("looks at a local ledger that %s", async (_what, prepare, environment, said) => {
    await prepare();
    const checks = ledgerChecks(environment, folder, terminalFor());
    expect(checks.map(short)).toEqual(said.map((each) => expect.stringMatching(each)));
  });

  // Root may write everywhere.
  it.skipIf(process.getuid?.() === 0)("says where nothing can be written", () => {
    mkdirSync(path.join(folder, "locked"));
    chmodSync(path.join(folder, "locked"), 0o500);
    const [check] = ledgerChecks({ AGENT_SENTINEL_HOME: "locked/home" }, folder, terminalFor());
    expect(check && short(check)).toMatch(/^failed \| nothing can be written to locked \|/);
  });

  it("writes each on its lines, and shows strangers' text as what it is", () => {
    const text = lineOf({ name: "policy", state: "failed", found: "a\u001b[2J", wayOut: "word ".repeat(60).trim() }, terminalFor(80));
    expect(text).not.toContain("\u001b");
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel doctor/],
    ["a name", ["everything"], 2, /takes options only/],
    ["no address", ["--url", "here"], 2, /--url is an http\(s\) address/],
    ["only what is here", ["--local"], 0, /^ok {7}node[\s\S]*Nothing is wrong/],
    [
      "no gateway",
      ["--url", "http://127.0.0.1:1"],
      1,
      /failed {3}gateway {7}no answer from http:\/\/127\.0\.0\.1:1[\s\S]*→ Set AGENTSENTINEL_URL[\s\S]*2 failed/,
    ],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    const ended = await typed(["doctor", ...args], { directory: folder });
    expect({ code: ended.code, said: code === 2 ? ended.err : ended.out }).toEqual({ code, said: expect.stringMatching(says) });
  });

  it("knows what is no gateway", async () => {
    const server = createServer((_, response) => response.end("<html>"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // A server that listens on a port has an address with a port.
    const { port } = server.address() as AddressInfo;
    const ended = await typed(["doctor", "--url", `http://127.0.0.1:${port}`, "--json"], { directory: folder });
    await new Promise((resolve) => server.close(resolve));
    const gateway = JSON.parse(ended.out).checks.find(({ name }: { readonly name: string }) => name === "gateway");
    expect([ended.code, gateway]).toMatchObject([1, { state: "failed", found: expect.stringContaining("no gateway's answer") }]);
  });
});

describe.skipIf(!CAN_SEE_PROCESSES)("agentsentinel doctor, on a real gateway", { timeout: 60_000 }, () => {
  let gateway: OwnGateway;
  beforeAll(async () => {
    gateway = await ownGateway();
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });

  const doctor = async (token: string) => {
    const ended = await typed(["doctor", "--json", "--url", gateway.url, "--token", token], { directory: folder });
    const {
      healthy,
      checks,
    }: { readonly healthy: boolean; readonly checks: readonly (Omit<Check, "wayOut"> & { readonly way_out: string | null })[] } = JSON.parse(
      ended.out,
    );
    expect([ended.code, ended.err]).toEqual([healthy ? 0 : 1, ""]);
    return Object.fromEntries(checks.map(({ name, state, found, way_out }) => [name, short({ name, state, found, wayOut: way_out })]));
  };

  async function tokenOf(tenant: string, scopes: readonly string[]): Promise<{ readonly id: string; readonly token: string }> {
    const { status, body } = await ask(gateway.url, ROOT_KEY, "POST", "/v1/tokens", { tenant, subject: "ops", kind: "human", scopes });
    expect(status, JSON.stringify(body)).toBe(201);
    return body;
  }

  it("finds nothing wrong with what npm start made, in a program of its own", async () => {
    const environment = { AGENTSENTINEL_URL: gateway.url, AGENTSENTINEL_TOKEN: gateway.agent, FORCE_COLOR: "1" };
    const ended = await program(["doctor"], { cwd: folder, environment }).ended;
    expect([ended.code, ended.err]).toEqual([0, ""]);
    for (const each of [
      /ok {7}gateway {7}http\S+ answers, API version \S/,
      /ok {7}clock {9}agrees with the gateway's within 5s/,
      /ok {7}accepted/,
      /ok {7}policy {8}demo version 1 is in force/,
      /Nothing is wrong\./,
    ])
      expect(ended.out).toMatch(each);
    expect(ended.out).not.toContain("\u001b");
    expect(ended.out).not.toContain(gateway.agent);
  });

  it.each<[string, () => Promise<string>, { readonly [name: string]: RegExp }]>([
    [
      "of a tenant without a policy",
      async () => {
        await ask(gateway.url, ROOT_KEY, "POST", "/v1/tenants", { id: "bare" });
        return (await tokenOf("bare", ["policies:read"])).token;
      },
      { accepted: /^ok/, policy: /^failed \| none is in force, so everything is denied .* \| npx agentsentinel init/ },
    ],
    [
      "that may not read policies",
      async () => (await tokenOf("demo", ["ledger:read"])).token,
      { accepted: /^ok/, policy: /^skipped \| it may not read policies/ },
    ],
    [
      "that was revoked",
      async () => {
        const { id, token } = await tokenOf("demo", ["policies:read"]);
        await fetch(`${gateway.url}/v1/tokens/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${gateway.operator}` } });
        return token;
      },
      { token: /^ok/, accepted: /^failed \| the gateway refuses it: .* \| Somebody revoked it/, policy: /^skipped/ },
    ],
    [
      "of somebody else's gateway",
      async () => jwt({ ...human, exp: Math.floor(Date.now() / 1000) + 9_999 }),
      { token: /^ok/, scopes: /^ok/, accepted: /^failed/ },
    ],
  ])("says what is wrong with a token %s", async (_what, token, said) => {
    const checks = await doctor(await token());
    for (const [name, each] of Object.entries(said)) expect(checks[name]).toMatch(each);
  });

  it("names several policies that hold together by the versions in their names, and by no other", async () => {
    await ask(gateway.url, ROOT_KEY, "POST", "/v1/tenants", { id: "layered" });
    const { token } = await tokenOf("layered", ["policies:read", "policies:write"]);
    for (const [name, budget] of [
      ["base", 2],
      ["base", 3],
      ["extra", 1],
    ]) {
      const { status } = await ask(gateway.url, token, "PUT", `/v1/policies/${name}`, `version: 1\nname: ${name}\nbudgets: { run: ${budget} }\n`);
      expect(status).toBe(201);
    }
    expect((await doctor(token)).policy).toMatch(/^ok \| base@2\+extra@1 is in force \|/);
  });

  it("warns of a policy that only observes", async () => {
    const { status } = await ask(gateway.url, gateway.operator, "PUT", "/v1/policies/demo", "version: 1\nname: demo\nstrict_mode: false\n");
    // `ask` sends a text as YAML.
    expect(status).toBe(201);
    expect((await doctor(gateway.operator)).policy).toMatch(
      /^warning \| demo version 2 is in force, and only observes \| strict_mode: false allows everything/,
    );
  });
});
