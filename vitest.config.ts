import path from "node:path";
import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { exportJWK, generateKeyPair } from "jose";
import { defineConfig } from "vitest/config";
import { outside } from "./test/workerd/outside.ts";

/** A test that hangs is ended; one on a busy machine is waited for. Speed is not what a test asserts. */
const PATIENCE_MS = 60_000;

/** Two projects: `node` for everything pure, `workerd` for what needs the real runtime, its objects and its D1. */
export default defineConfig(async () => {
  const migrations = await readD1Migrations(path.join(import.meta.dirname, "migrations"));
  const { privateKey } = await generateKeyPair("EdDSA", { extractable: true });
  const signingKeys = JSON.stringify({ keys: [{ ...(await exportJWK(privateKey)), kid: "test", alg: "EdDSA", use: "sig" }] });
  return {
    test: {
      projects: [
        { test: { name: "node", testTimeout: PATIENCE_MS, include: ["test/{core,flow,sdk,house,local}/**/*.test.ts"] } },
        {
          plugins: [
            cloudflareTest({
              wrangler: { configPath: "./wrangler.toml" },
              miniflare: {
                cf: false,
                outboundService: outside,
                bindings: { TEST_MIGRATIONS: migrations, ROOT_KEY: "test-root-key-of-32-characters-00", SIGNING_KEYS: signingKeys },
              },
            }),
          ],
          test: { name: "workerd", testTimeout: PATIENCE_MS, include: ["test/workerd/**/*.test.ts"], setupFiles: ["./test/workerd/setup.ts"] },
        },
      ],
    },
  };
});
