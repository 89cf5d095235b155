import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { makeSigningKeys } from "../../src/local/keys.ts";
import { ask, clear, npmStart, type Ready, ROOT, ready, type Started, until } from "./gateway.ts";

/** Webhooks between real programs: what `npm start` starts, and the receiver of the first page. */

const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-webhooks-"));
const program = path.join(home, "receiver.mjs");
let started: Started;
let gateway: Ready;
let receiver: ChildProcess | null = null;
beforeAll(async () => {
  const snippet = /^```js\n(.*?)^```$/ms.exec(readFileSync(path.join(ROOT, "README.md"), "utf8"))?.[1];
  expect(snippet).toContain("standardwebhooks");
  writeFileSync(program, snippet ?? "");
  symlinkSync(path.join(ROOT, "node_modules"), path.join(home, "node_modules"));
  const environment = { ROOT_KEY: "a-root-key-for-these-tests", SIGNING_KEYS: makeSigningKeys(), TMPDIR: home };
  started = npmStart(["--port", "0", "--persist-to", path.join(home, "state")], environment);
  gateway = await ready(started);
}, 120_000);
afterAll(() => {
  receiver?.kill();
  clear(started);
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
});

it("the receiver of the first page gets what it missed while it was down, verifies it, and believes nobody else", async () => {
  const port = await freePort();
  const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
  const made = await ask(gateway.url, gateway.operator, "POST", "/v1/webhooks", {
    url: `http://127.0.0.1:${port}/`,
    events: ["intervention.kill"],
    secret,
  });
  expect(made.status, JSON.stringify(made.body)).toBe(201);
  const kill = { target: { type: "agent", id: "nobody" }, kind: "kill", reason: "for the test" };
  expect((await ask(gateway.url, gateway.operator, "POST", "/v1/interventions", kill)).status).toBe(201);
  await expect
    .poll(deliveriesOf(made.body.id), { timeout: 30_000 })
    .toMatchObject([{ status: "pending", type: "intervention.kill", last_status: null, last_error: "could not be reached" }]);

  receiver = spawn(process.execPath, [program], {
    env: { ...process.env, PORT: String(port), WEBHOOK_SECRET: secret },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [output, errors] = ["", ""];
  receiver.stdout?.on("data", (chunk) => (output += chunk));
  receiver.stderr?.on("data", (chunk) => (errors += chunk));
  // By the gateway's own alarm, five seconds after the first attempt.
  await until(
    () => output.includes("intervention.kill"),
    () => output,
  );
  await expect.poll(deliveriesOf(made.body.id), { timeout: 30_000 }).toMatchObject([{ status: "delivered", last_status: 204 }]);

  const forged = { "webhook-id": "dlv_x", "webhook-timestamp": String(Math.floor(Date.now() / 1000)), "webhook-signature": "v1,AAAA" };
  const post = (headers: Record<string, string>) => fetch(`http://127.0.0.1:${port}/`, { method: "POST", headers, body: "{}" });
  expect([(await post(forged)).status, (await post({})).status]).toEqual([400, 400]);
  // Who hangs up in the middle ends nothing but its own request.
  const cut = connect(port, "127.0.0.1");
  cut.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", () => cut.resetAndDestroy());
  await until(
    () => errors.split("\n").length > 3,
    () => errors,
  );
  expect([(await post(forged)).status, receiver.exitCode]).toEqual([400, null]);
  expect(errors.replaceAll(/^Refused: .+\n/gm, "")).toBe("");
}, 120_000);

it("the receiver of the first page says what it needs", () => {
  const { WEBHOOK_SECRET: _, ...environment } = process.env;
  const { status, stderr } = spawnSync(process.execPath, [program], { env: environment, encoding: "utf8" });
  expect([status, stderr]).toEqual([1, expect.stringMatching(/^Set WEBHOOK_SECRET .+\n$/)]);
});

const deliveriesOf = (webhook: string) => async (): Promise<readonly wire.WebhookDelivery[]> =>
  (await ask(gateway.url, gateway.operator, "GET", `/v1/webhooks/${webhook}/deliveries`)).body.items;

/** A port that nobody listens on. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      // A server on a port has an address with one.
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
