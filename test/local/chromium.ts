import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type BrowserContext, chromium } from "playwright-core";

/** Debian's Chromium, or whichever is named. `.ci/run` installs it where it is missing. */
export const CHROMIUM = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
export const HAS_CHROMIUM = existsSync(CHROMIUM);
if (!HAS_CHROMIUM)
  console.warn(`No browser at ${CHROMIUM}: what runs in one is not tested. Install Debian's "chromium", or name another with CHROMIUM_PATH.`);

/** A real browser that has never been anywhere, and leaves nothing behind. */
export async function openChromium(): Promise<BrowserContext & AsyncDisposable> {
  const profile = mkdtempSync(path.join(tmpdir(), "agentsentinel-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    viewport: { width: 420, height: 900 },
    // Without these it looks for its maker's hosts, and waits for those it cannot reach.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return Object.assign(context, {
    [Symbol.asyncDispose]: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  });
}
