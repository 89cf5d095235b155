import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { appOver } from "../core/http_world.ts";
import { HAS_CHROMIUM, openChromium } from "./chromium.ts";

/** The pages for people, as a browser lays them out. */
describe.skipIf(!HAS_CHROMIUM)("a page for people, in Chromium", { timeout: 60_000 }, () => {
  let browser: Awaited<ReturnType<typeof openChromium>>;
  beforeAll(async () => {
    browser = await openChromium();
  }, 60_000);
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
  });

  it.each([
    ["/docs", 375],
    ["/docs", 320],
    ["/docs", 1280],
    ["/docs/problems", 375],
    ["/docs/problems", 320],
    ["/", 320],
    ["/approve", 320],
  ])("%s is read without scrolling sideways, %i px wide", async (path, width) => {
    const response = await appOver()(path, { headers: { Accept: "text/html" } });
    const page = await browser.newPage();
    await page.setViewportSize({ width, height: 812 });
    await page.setContent(await response.text());
    // What sticks out is named, so that a failure says where to look.
    const wide = await page.evaluate<string[]>(`
      [...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && each.closest("pre") === null)
        .map((each) => (each.closest("article")?.id ?? "") + " " + each.tagName + " " + each.textContent.slice(0, 60))
    `);
    expect({ wide, scrolls: await page.evaluate<number>("document.documentElement.scrollWidth") }).toEqual({ wide: [], scrolls: width });
  });
});
