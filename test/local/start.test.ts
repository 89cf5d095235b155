import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { makeSigningKeys } from "../../src/local/keys.ts";
import { ask, CAN_SEE_PROCESSES, clear, nothingLeft, npmStart, processesOf, ROOT, ready, type Started, until } from "./gateway.ts";

const ROOT_KEY = "a-root-key-for-these-tests";
const secrets = { ROOT_KEY, SIGNING_KEYS: makeSigningKeys() };
const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-test-"));
/** With what a shell would take for something else. */
const state = path.join(home, "the user's state");
const started: Started[] = [];

/** On any free port, with secrets of the environment, so that the developer's own `.dev.vars` is neither read nor written. */
function start(...args: string[]): Started {
  const one = npmStart(["--port", "0", "--persist-to", state, ...args], secrets);
  started.push(one);
  return one;
}

const pidOf = (one: Started, pattern: RegExp): number => {
  const found = processesOf(one.mark).find(({ command }) => pattern.test(command));
  if (found === undefined) throw new Error(`No process like ${pattern} among ${JSON.stringify(processesOf(one.mark))}`);
  return found.pid;
};
/** The line that the welcome says to paste. */
const pasted = (one: Started): string => /\n\nIn another shell[^\n]*\n\n([^\n]+)\n\n/.exec(one.output())?.[1] ?? "";
/** What a shell says that knows of no gateway yet. */
const shell = (commands: string, cwd = ROOT) => {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^AGENT|^OPERATOR_TOKEN$|^GATE$/.test(name)));
  return spawnSync("sh", ["-c", commands], { encoding: "utf8", cwd, env: { ...env, NO_COLOR: "1" } });
};
const group = (one: Started, signal: NodeJS.Signals) => process.kill(-(one.npm.pid ?? Number.NaN), signal);

/** A server on a port that was free. */
function listening(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer();
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve({ server, port: typeof address === "object" && address !== null ? address.port : 0 });
    }),
  );
}

const clearAll = () => {
  for (const one of started.splice(0)) clear(one);
};
afterEach(clearAll);
afterAll(() => {
  clearAll();
  rmSync(home, { recursive: true, force: true });
});

describe.skipIf(!CAN_SEE_PROCESSES)("npm start", () => {
  const first: { url: string; agent: string; operator: string; session: string; decision: string } = {
    url: "",
    agent: "",
    operator: "",
    session: "",
    decision: "",
  };

  beforeAll(async () => {
    const one = start();
    Object.assign(first, await ready(one));
    const session = await ask(first.url, first.agent, "POST", "/v1/sessions", {});
    first.session = session.body.id;
    const decision = await ask(first.url, first.agent, "POST", `/v1/sessions/${first.session}/decisions`, {
      action: "send_email",
      estimate_usd: "0.05",
    });
    expect(decision.body).toMatchObject({ verdict: "allow", policy: { name: "demo", version: 1 } });
    first.decision = decision.body.id;

    // What the welcome says to paste and to try is tried as it stands, by a shell.
    const [, commands = ""] = /\n\nTry it[^\n]*\n\n([\s\S]*?)\n\nCtrl-C/.exec(one.output()) ?? [];
    const tried = shell(`${pasted(one)}\n${commands}`);
    expect(tried.stdout).toMatch(/"verdict":"allow"[\s\S]*"verdict":"deny"[\s\S]*ok +accepted[\s\S]*Nothing is wrong/);

    expect(one.output()).not.toContain(ROOT_KEY);
    expect(one.output()).not.toContain("\u001b[");
    expect((await fetch(`${first.url}/docs`)).status).toBe(200);
    // Everything is killed at once, right after the last answer: what was answered must have been on disk.
    group(one, "SIGKILL");
    await nothingLeft(one);
  }, 120_000);

  it("starts again on what it left: the same tokens, nothing answered lost, nothing changed that somebody put", async () => {
    const one = start();
    const again = await ready(one);
    expect(one.output()).not.toMatch(/Applied|Made/);
    expect([again.agent, again.operator]).toEqual([first.agent, first.operator]);
    const decision = await ask(again.url, again.agent, "GET", `/v1/sessions/${first.session}/decisions/${first.decision}`);
    expect(decision).toMatchObject({ status: 200, body: { verdict: "allow", state: "pending" } });
    const session = await ask(again.url, again.agent, "GET", `/v1/sessions/${first.session}`);
    expect(session.body.totals).toMatchObject({ pending_usd: "0.05" });
    const put = await ask(again.url, again.operator, "PUT", "/v1/policies/demo", "version: 1\nname: demo\ndenied_actions: [send_email]\n");
    expect(put).toMatchObject({ status: 201, body: { version: 2 } });
    const says = `${pasted(one)} && echo "$GATE $AGENT_TOKEN $OPERATOR_TOKEN $AGENTSENTINEL_URL $AGENTSENTINEL_TOKEN"`;
    // From anywhere, for it is pasted wherever somebody is; and this start's, whose port is another.
    expect(shell(says, home).stdout.split(/\s/)).toEqual([again.url, again.agent, again.operator, again.url, again.operator, ""]);
    one.npm.kill("SIGTERM");
    await nothingLeft(one);

    const two = start();
    const { url, operator } = await ready(two);
    expect((await ask(url, operator, "GET", "/v1/policies/demo")).body).toMatchObject({ version: 2 });
  }, 120_000);

  it("keeps its state where wrangler looks for it, with each migration applied once", async () => {
    const folder = path.join(state, "v3/d1/miniflare-D1DatabaseObject");
    const file = readdirSync(folder).find((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"));
    const database = new DatabaseSync(path.join(folder, file ?? ""), { readOnly: true });
    const applied = database.prepare("SELECT name FROM d1_migrations ORDER BY id").all();
    database.close();
    expect(applied.map((row) => row.name)).toEqual(
      readdirSync("migrations")
        .filter((name) => name.endsWith(".sql"))
        .sort(),
    );
    for (const kept of ["demo-tokens.json", "demo.env"]) expect(statSync(path.join(state, kept)).mode & 0o777).toBe(0o600);
  });

  it("is ready when /healthz answers: on a new state, too, the demo tenant has its policy by then", async () => {
    const { server, port } = await listening();
    await new Promise((resolve) => server.close(resolve));
    const one = npmStart(["--port", `${port}`, "--persist-to", path.join(home, "new")], secrets);
    started.push(one);
    const url = `http://127.0.0.1:${port}`;
    while ((await fetch(`${url}/healthz`).catch(() => null))?.status !== 200) await new Promise((resolve) => setTimeout(resolve, 10));
    const made = await ask(url, ROOT_KEY, "POST", "/v1/tokens", {
      tenant: "demo",
      subject: "early",
      kind: "agent",
      scopes: ["sessions:write", "policies:read"],
    });
    expect(made).toMatchObject({ status: 201 });
    const session = await ask(url, made.body.token, "POST", "/v1/sessions", {});
    expect(session).toMatchObject({ status: 201, body: { policy: { name: "demo", version: 1 } } });
    await ready(one);
  }, 60_000);

  it("answers nobody on a state of an older version before its database has what it lacks", async () => {
    const before = path.join(home, "before");
    const one = npmStart(["--port", "0", "--persist-to", before], secrets);
    started.push(one);
    const { operator } = await ready(one);
    one.npm.kill("SIGTERM");
    await nothingLeft(one);
    // As the first version left it: costs are read by an index that came later, and nobody has noted which there are.
    const folder = path.join(before, "v3/d1/miniflare-D1DatabaseObject");
    const file = readdirSync(folder).find((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"));
    const database = new DatabaseSync(path.join(folder, file ?? ""));
    database.exec(
      `DROP INDEX entries_that_post_by_decision; DROP INDEX entries_that_intervene; DELETE FROM d1_migrations WHERE name <> '0001_ledger.sql'`,
    );
    database.close();
    rmSync(path.join(before, "migrations.json"), { force: true });

    const { server, port } = await listening();
    await new Promise((resolve) => server.close(resolve));
    const two = npmStart(["--port", `${port}`, "--persist-to", before], secrets);
    started.push(two);
    const costs = () => fetch(`http://127.0.0.1:${port}/v1/costs`, { headers: { authorization: `Bearer ${operator}` } }).catch(() => null);
    let first = await costs();
    for (; first === null; first = await costs()) await new Promise((resolve) => setTimeout(resolve, 2));
    expect({ status: first.status, body: await first.text() }).toMatchObject({ status: 200 });
    await ready(two);
    expect(two.output()).toContain("Applied the migrations 0002_reported.sql, 0003_interventions.sql to the local database.");
  }, 120_000);

  it("ends with 1 and says what to do on a state of a newer version", async () => {
    const after = path.join(home, "after");
    const one = npmStart(["--port", "0", "--persist-to", after], secrets);
    started.push(one);
    await ready(one);
    one.npm.kill("SIGTERM");
    await nothingLeft(one);
    const folder = path.join(after, "v3/do/agentsentinel-TenantAuthority");
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".sqlite"))) {
      const database = new DatabaseSync(path.join(folder, file));
      if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'tenant'").get() !== undefined)
        database.exec("UPDATE schema_version SET version = version + 1");
      database.close();
    }
    const two = npmStart(["--port", "0", "--persist-to", after], secrets);
    started.push(two);
    expect(await two.exit).toBe(1);
    expect(two.output()).toContain("If a newer version of the gateway has run on this state");
    expect(two.output()).not.toContain("    at ");
  }, 120_000);

  it.each<[string, (one: Started) => void]>([
    ["npm gets SIGINT", (one) => one.npm.kill("SIGINT")],
    ["npm gets SIGTERM", (one) => one.npm.kill("SIGTERM")],
    ["npm gets SIGHUP", (one) => one.npm.kill("SIGHUP")],
    ["npm gets SIGKILL", (one) => one.npm.kill("SIGKILL")],
    ["the whole group gets SIGINT, as by Ctrl-C", (one) => group(one, "SIGINT")],
    ["the whole group gets SIGHUP, as by a closed terminal", (one) => group(one, "SIGHUP")],
    ["the start program gets SIGTERM", (one) => process.kill(pidOf(one, /^node src\/local\/start/), "SIGTERM")],
    ["the start program gets SIGKILL", (one) => process.kill(pidOf(one, /^node src\/local\/start/), "SIGKILL")],
  ])(
    "leaves no process behind when %s",
    async (_how, stop) => {
      const one = start();
      await ready(one);
      pidOf(one, /workerd serve/);
      stop(one);
      await nothingLeft(one);
    },
    60_000,
  );

  it("leaves no process behind when it is stopped in the middle of its start", async () => {
    const one = start();
    await until(() => processesOf(one.mark).some(({ command }) => /^node src\/local\/start/.test(command)), one.output);
    group(one, "SIGTERM");
    await nothingLeft(one);
  }, 60_000);

  it("says so and ends with 1 when the runtime dies by itself", async () => {
    const one = start();
    await ready(one);
    process.kill(pidOf(one, /workerd serve/), "SIGKILL");
    expect(await one.exit).toBe(1);
    expect(one.output()).toMatch(/The Workers runtime ended by itself \(signal SIGKILL\)/);
    await nothingLeft(one);
  }, 60_000);

  it("ends with 1 and a sentence when another gateway runs on the same state", async () => {
    const one = start();
    await ready(one);
    const two = start();
    expect(await two.exit).toBe(1);
    expect(two.output()).toContain("Another gateway is running on");
  }, 60_000);

  it("ends with 1 and a sentence when the port is in use", async () => {
    const { server, port } = await listening();
    const one = start("--port", String(port));
    expect(await one.exit).toBe(1);
    server.close();
    expect(one.output()).toContain(`Port ${port} on 127.0.0.1 is in use.`);
  }, 60_000);

  it("ends with 2 and its usage for a flag it does not know", async () => {
    const one = npmStart(["--prot", "1"]);
    expect(await one.exit).toBe(2);
    expect(one.output()).toContain("Usage: npm start");
  }, 30_000);

  it("tells its usage and ends with 0 when asked", async () => {
    const one = npmStart(["--help"]);
    expect(await one.exit).toBe(0);
    expect(one.output()).toContain("--persist-to DIR");
  }, 30_000);
});
