import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeSigningKeys } from "../../src/local/keys.ts";
import { HAS_CHROMIUM } from "../local/chromium.ts";
import { ask, CAN_SEE_PROCESSES, clear, nothingLeft, npmStart, type Ready, ready, type Started } from "../local/gateway.ts";
import { fakeProvider, type Provider } from "./fetch_provider.ts";
import type { Report, World } from "./runtimes/check.ts";
import { install, pack } from "./runtimes/package.ts";
import {
  DATE_NOW,
  DATE_OLD,
  FLAGS_OLD,
  onChromium,
  onPath,
  onProgram,
  onWorkerd,
  type Project,
  programOf,
  versionOf,
  writeSuite,
} from "./runtimes/runtimes.ts";
import { CASES } from "./runtimes/suite.ts";
import { openWire, type Wire } from "./runtimes/wire.ts";

/** One suite, on everything that the SDK says it runs on, with the package as npm packs and installs it and with a gateway as `npm start` serves it. */

const ROOT_KEY = "a-root-key-for-these-tests";
const PATIENCE_MS = 180_000;

const { arch } = process;
const deno = programOf(`@deno/linux-${arch}-glibc/deno`, "deno");
const bun = programOf(`@oven/bun-linux-${arch === "arm64" ? "aarch64" : arch}/bin/bun`, "bun");
const systemNode = onPath("node");
const systemNodeVersion = systemNode === null ? "" : versionOf(systemNode);

interface Runtime {
  readonly name: string;
  /** Why it cannot be tried here. `null`: it can. */
  readonly missing: string | null;
  /** Where nothing but the machine's owner can provide it, its absence is no failure anywhere. */
  readonly mayBeMissing: boolean;
  /** What it does not have, as its cases say. Default: it has everything. */
  readonly absent?: readonly string[];
  readonly run: (project: Project, world: World) => Promise<Report>;
}

const program = (found: string | null, args: readonly string[] = [], isWeb = false): Runtime["run"] => {
  return (project, world) => onProgram(project, world, found ?? "", args, isWeb);
};

/** Deno asks before anything that a program was not allowed: the package needs the network, and its local ledger a folder. */
const DENO = [
  ...["run", "--no-prompt", "--no-lock", "--no-remote", "--node-modules-dir=manual", "--allow-net=127.0.0.1"],
  ...["--allow-env=AGENT_SENTINEL_HOME", "--allow-read=home", "--allow-write=home"],
];

const WITHOUT_CONTEXT = "it has no AsyncLocalStorage";

const runtimes: readonly Runtime[] = [
  {
    name: "Node 20",
    missing: systemNodeVersion.startsWith("20.") ? null : `this machine's own Node is ${systemNodeVersion || "missing"}`,
    mayBeMissing: true,
    run: program(systemNode),
  },
  { name: "Node 24", missing: null, mayBeMissing: false, run: program(process.execPath) },
  {
    name: "Deno",
    missing: deno === null ? "there is no Deno; npm ci --prefix test installs it" : null,
    mayBeMissing: false,
    run: program(deno, DENO, true),
  },
  {
    name: "Bun",
    missing: bun === null ? "there is no Bun; npm ci --prefix test installs it" : null,
    mayBeMissing: false,
    run: program(bun),
  },
  { name: "workerd", missing: null, mayBeMissing: false, run: (project, world) => onWorkerd(project, world, DATE_NOW) },
  {
    name: "workerd as it was in 2024",
    missing: null,
    mayBeMissing: false,
    absent: [WITHOUT_CONTEXT],
    run: (project, world) => onWorkerd(project, world, DATE_OLD, FLAGS_OLD),
  },
  {
    name: "Chromium",
    missing: HAS_CHROMIUM ? null : "there is no Chromium",
    mayBeMissing: true,
    absent: [WITHOUT_CONTEXT],
    run: (project, world) => onChromium(project, world, allow),
  },
];

/** In CI a runtime that is not there is not passed over. */
const isAbsent = ({ missing, mayBeMissing }: Runtime): boolean => missing !== null && (mayBeMissing || process.env.CI !== "true");
for (const runtime of runtimes) if (isAbsent(runtime)) console.warn(`The SDK's suite is not run on ${runtime.name}: ${runtime.missing}.`);

let home: string;
let started: Started;
let gateway: Ready;
let wire: Wire;
let provider: Provider;
let project: Project;

const allow = async (origin: string): Promise<void> => {
  const { status, body } = await ask(gateway.url, gateway.operator, "PUT", "/v1/settings", { cors_origins: [origin] });
  expect(status, JSON.stringify(body)).toBe(200);
};

/** An agent that only one runtime uses: its money, its windows and its sessions are nobody else's. */
async function worldOf(runtime: string): Promise<World> {
  const subject = runtime.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  const scopes = ["sessions:write", "decisions:write", "ledger:read", "ledger:write", "policies:read", "approvals:read", "events:read"];
  const { status, body } = await ask(gateway.url, ROOT_KEY, "POST", "/v1/tokens", { tenant: "demo", subject, kind: "agent", scopes });
  expect(status, JSON.stringify(body)).toBe(201);
  return { url: gateway.url, agent: body.token, operator: gateway.operator, wire: wire.url };
}

describe.skipIf(!CAN_SEE_PROCESSES)("the SDK's suite", { timeout: PATIENCE_MS }, () => {
  beforeAll(async () => {
    home = mkdtempSync(path.join(tmpdir(), "agentsentinel-runtimes-"));
    started = npmStart(["--port", "0", "--persist-to", path.join(home, "state")], { ROOT_KEY, SIGNING_KEYS: makeSigningKeys() });
    const packed = await pack(home);
    project = { folder: path.join(home, "project"), packed };
    install(packed, project.folder);
    await writeSuite(project);
    gateway = await ready(started);
    provider = await fakeProvider();
    wire = await openWire(gateway.url, provider.url);
  }, PATIENCE_MS);
  afterAll(async () => {
    await wire?.[Symbol.asyncDispose]();
    await provider?.[Symbol.asyncDispose]();
    clear(started);
    await nothingLeft(started);
    rmSync(home, { recursive: true, force: true });
  });

  for (const runtime of runtimes) {
    it.skipIf(isAbsent(runtime))(`passes on ${runtime.name}`, async () => {
      if (runtime.missing !== null) throw new Error(`Cannot run the suite: ${runtime.missing}`);
      const report = await runtime.run(project, await worldOf(runtime.name));
      expect(report.flatMap(({ name, wrong }) => (wrong === null ? [] : [`${name}: ${wrong}`]))).toEqual([]);
      expect(report.map(({ name }) => name)).toEqual(Object.keys(CASES));
      expect(report.flatMap(({ absent }) => absent ?? [])).toEqual(runtime.absent ?? []);
    });
  }
});
