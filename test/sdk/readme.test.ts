import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway, ROOT, ROOT_KEY } from "../local/gateway.ts";

/** The programs of the SDK's page that are whole by themselves, run as they stand; what they print stands beside it, after an arrow. */
const PAGE = readFileSync(path.join(ROOT, "sdk/README.md"), "utf8");
const PROGRAMS = PAGE.split(/^##+ /m).flatMap((section) => {
  const title = section.slice(0, section.indexOf("\n"));
  return [...section.matchAll(/^```ts\n(.*?)^```$/gms)].flatMap(([, code = ""]) =>
    /"@agentsentinel\/sdk\/(?:local|leases|testing)"/.test(code) ? [{ title, code }] : [],
  );
});
const needsGateway = ({ code }: { readonly code: string }): boolean => code.includes("https://gate.example.com");
const printedBy = (code: string): readonly string[] => [...code.matchAll(/\/\/ → (.*)$/gm)].map(([, text = ""]) => text);

let home: string;
beforeAll(() => {
  home = mkdtempSync(path.join(tmpdir(), "agentsentinel-page-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

function run(code: string, environment: { readonly [name: string]: string } = {}): Promise<{ lines: readonly string[]; status: number | null }> {
  const folder = mkdtempSync(path.join(home, "run-"));
  const file = path.join(folder, "program.ts");
  writeFileSync(
    file,
    code.replaceAll(/"@agentsentinel\/sdk(\/\w+)?"/g, (_, entry = "/index") => JSON.stringify(path.join(ROOT, `sdk/src${entry}.ts`))),
  );
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--no-warnings", file], {
      cwd: folder,
      env: { ...process.env, AGENT_SENTINEL_HOME: folder, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const side of [child.stdout, child.stderr]) side.on("data", (chunk) => (output += chunk));
    child.once("error", reject);
    child.once("close", (status) => resolve({ lines: output.trim().split("\n"), status }));
  });
}

describe("the SDK's page", () => {
  it("has a line for each entry of the package, and for nothing else", () => {
    const { exports } = JSON.parse(readFileSync(path.join(ROOT, "sdk/package.json"), "utf8"));
    const entries = Object.keys(exports).filter((entry) => entry !== "./package.json");
    const named = [...PAGE.matchAll(/^\| `(?:@agentsentinel\/sdk|…)(\/\w+)?` \|/gm)].map(([, entry = ""]) => `.${entry}`);
    expect(named.sort()).toEqual(entries.sort());
  });

  it("has its whole programs where this test looks for them", () => {
    expect(PROGRAMS.map(({ title }) => title)).toEqual([
      "Deciding in this process, with a lease",
      "Without a gateway",
      "Testing an agent",
      "Testing an agent",
      "Beside a gateway: checked at home first",
      "Coming from the Python original",
    ]);
  });

  it.each(PROGRAMS.filter((program) => !needsGateway(program)))("$title: prints what it says", async ({ code }) => {
    expect(printedBy(code).length).toBeGreaterThan(1);
    expect(await run(code)).toEqual({ lines: printedBy(code), status: 0 });
  });

  describe.skipIf(!CAN_SEE_PROCESSES)("with a gateway", { timeout: 120_000 }, () => {
    let gateway: OwnGateway;
    beforeAll(async () => {
      gateway = await ownGateway();
    }, 120_000);
    afterAll(async () => {
      await gateway?.end();
    });

    it.each(PROGRAMS.filter(needsGateway))("$title: prints what it says, and is on record", async ({ title, code }) => {
      const { token } = (
        await ask(gateway.url, ROOT_KEY, "POST", "/v1/tokens", {
          tenant: "demo",
          subject: `page-bot-${title.length}`,
          kind: "agent",
          scopes: ["sessions:write", "decisions:write", "policies:read", "ledger:read", "ledger:write"],
        })
      ).body;
      const given = 'const readToken = async () => process.env.TOKEN ?? "";\nconst writeLog = (line: string) => line;\n';
      const program = `${given}${code.replaceAll("https://gate.example.com", gateway.url)}`;
      expect(await run(program, { TOKEN: token })).toEqual({ lines: printedBy(code), status: 0 });
      const { body } = await ask(gateway.url, token, "GET", "/v1/ledger?kind=commit");
      expect(body.items.map((item: { readonly action: string; readonly outcome: string }) => [item.action, item.outcome])).toEqual(
        Array(code.includes("leaseOf") ? 3 : 1).fill([code.includes("leaseOf") ? "search.web" : "write_log", "success"]),
      );
    });
  });
});
