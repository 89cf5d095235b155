import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROUTES } from "../../src/http/routes.ts";
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

  /** A page as the gateway serves it, under the policy that it serves with it. What goes wrong on it is in `faults`. */
  async function open(path: string, width: number, smuggled = "") {
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    await page.setViewportSize({ width, height: 812 });
    const response = await appOver()(path, { headers: { Accept: "text/html" } });
    const served = {
      status: 200,
      headers: Object.fromEntries(response.headers),
      body: (await response.text()).replace("</main>", `${smuggled}</main>`),
    };
    await page.route("**/*", (route) => (new URL(route.request().url()).pathname === path ? route.fulfill(served) : route.abort()));
    await page.goto(`http://gate.example${path}`);
    /** The list as it is seen: the paths in it, none where it is folded away. */
    const listed = (): Promise<string[]> =>
      page.locator("#contents li a > span:last-child").evaluateAll((lines) =>
        // The browser's own element, of which this side knows nothing.
        lines
          .filter((line) => (line as unknown as { checkVisibility(): boolean }).checkVisibility())
          .map((line) => line.firstChild?.textContent ?? ""),
      );
    return { page, faults, listed };
  }

  it("beside the text, the operations are listed, and narrowed down by what they are called or, failing that, by what is said of them", async () => {
    const { page, faults, listed } = await open("/docs", 1280);
    const find = page.getByRole("searchbox", { name: "Find an operation" });
    const all = await listed();
    expect(all.length).toBe(ROUTES.filter(({ documented }) => documented).length);
    await page.keyboard.press("/");
    expect(await find.evaluate("document.activeElement.id")).toBe("find");
    const told = page.locator("#contents output");
    const rows: readonly (readonly [typed: string, told: RegExp, ids: RegExp])[] = [
      ["post Decisions/BATCH", /^1 of \d+$/, /^decideBatch$/],
      ["approval link", /^1 of \d+$/, /^linkApproval$/],
      ["/v1/approvals post", /^\d of \d+$/, /approval/i],
      ["self_approval", /^None is called so; mentioned by \d+$/, /./],
      ["flibbertigibbet", /^None$/, /never/],
    ];
    for (const [typed, says, ids] of rows) {
      await find.fill(typed);
      expect(await told.textContent()).toMatch(says);
      const shown = await page
        .locator("#contents li:not([hidden]) a")
        .evaluateAll((lines) => lines.map((line) => line.getAttribute("href")?.slice(1) ?? ""));
      for (const id of shown) expect(id).toMatch(ids);
      expect(shown.length).toBe(/^None$/.test((await told.textContent()) ?? "") ? 0 : Number(/\d+/.exec((await told.textContent()) ?? "")?.[0]));
    }
    await find.fill("approval link");
    await find.press("Enter");
    expect(new URL(page.url()).hash).toBe("#linkApproval");
    expect(await page.locator("#linkApproval h3").boundingBox()).toMatchObject({ y: expect.closeTo(100, -2) });
    await find.fill("");
    expect([await told.textContent(), await listed()]).toEqual(["", all]);
    expect(faults).toEqual([]);
  });

  it("on a phone, they are a tap away from anywhere, and out of the way again", async () => {
    const { page, faults, listed } = await open("/docs", 375);
    expect(await listed()).toEqual([]);
    await page.evaluate("scrollTo(0, 9000)");
    await page.locator("#contents summary").click();
    expect((await listed()).length).toBeGreaterThan(50);
    await page.getByRole("searchbox").fill("revoke");
    await page.locator("#contents li:not([hidden]) a").first().click();
    expect(await listed()).toEqual([]);
    const { hash } = new URL(page.url());
    const [bar, heading] = [await page.locator("#contents").boundingBox(), await page.locator(`${hash} h3`).boundingBox()];
    expect(bar?.y).toBe(0);
    expect(heading?.y).toBeGreaterThanOrEqual(bar?.height ?? 0);
    expect(heading?.y).toBeLessThan(150);
    expect(faults).toEqual([]);
  });

  it("runs no script but its own, whatever would come to stand on it", async () => {
    const { page, faults } = await open("/docs", 1280, "<script>document.title = 'ran'</script><img src=x onerror='document.title = 1'>");
    expect(await page.title()).toBe("AgentSentinel API");
    expect(faults.filter((fault) => fault.includes("Content Security Policy")).length).toBeGreaterThanOrEqual(2);
    await page.getByRole("searchbox").fill("kill");
    expect(await page.locator("#contents output").textContent()).toMatch(/^\d of \d+$/);
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
    const { page } = await open(path, width);
    await page.locator("#contents").evaluateAll(([box]) => box?.setAttribute("open", ""));
    // What sticks out is named, so that a failure says where to look.
    const wide = await page.evaluate<string[]>(`
      [...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && each.closest("pre") === null)
        .map((each) => (each.closest("article")?.id ?? "") + " " + each.tagName + " " + each.textContent.slice(0, 60))
    `);
    expect({ wide, scrolls: await page.evaluate<number>("document.documentElement.scrollWidth") }).toEqual({ wide: [], scrolls: width });
  });
});
