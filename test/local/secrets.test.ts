import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { openIdentity } from "../../src/identity/identity.ts";
import { readSecrets } from "../../src/local/dev_vars.ts";
import * as keys from "../../src/local/keys.ts";

const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-secrets-"));
const file = path.join(folder, ".dev.vars");
const NAMES = ["ROOT_KEY", "SIGNING_KEYS"];
beforeEach(() => rmSync(file, { force: true }));
afterAll(() => rmSync(folder, { recursive: true }));

describe("secrets of this machine", () => {
  it("are made where they are missing, kept for the owner alone, and the same the next time", () => {
    const first = readSecrets(file, NAMES, {});
    expect(first.made).toEqual(NAMES);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const second = readSecrets(file, NAMES, {});
    expect(second).toEqual({ ...first, made: [] });
  });

  it("come from the environment first, and that is never written", () => {
    const found = readSecrets(file, NAMES, { ROOT_KEY: "from-the-environment" });
    expect(found.values.ROOT_KEY).toBe("from-the-environment");
    expect(found.origin).toEqual({ ROOT_KEY: "environment", SIGNING_KEYS: "file" });
    expect(readFileSync(file, "utf8")).not.toMatch(/^ROOT_KEY|from-the-environment/m);
  });

  it("are added to a file that holds other things, which stay", () => {
    writeFileSync(file, 'MINE="a b"\nROOT_KEY=a-key-I-chose-myself');
    expect(readSecrets(file, NAMES, {})).toMatchObject({ made: ["SIGNING_KEYS"], values: { ROOT_KEY: "a-key-I-chose-myself" } });
    expect(readFileSync(file, "utf8")).toMatch(/^MINE="a b"\nROOT_KEY=a-key-I-chose-myself\nSIGNING_KEYS='\{/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it("that nobody can make are refused by name", () => {
    expect(() => readSecrets(file, ["PIN"], {})).toThrow("PIN");
  });

  it("are such that the gateway takes them", async () => {
    const { ROOT_KEY = "", SIGNING_KEYS = "" } = readSecrets(file, NAMES, {}).values;
    const identity = openIdentity(
      { ROOT_KEY, SIGNING_KEYS, TOKEN_ISSUER: "https://issuer.test" },
      { issuersOf: async () => [], readIssuer: async () => null },
    );
    expect(await identity.authenticate(`Bearer ${ROOT_KEY}`, 0)).toEqual({ ok: true, value: { kind: "root" } });
    expect((await identity.keySet()).keys).toHaveLength(1);
    expect(keys.makeSigningKeys()).not.toBe(keys.makeSigningKeys());
  });
});
