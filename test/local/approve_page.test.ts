import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSentinel, type Session } from "../../sdk/src/index.ts";
import { HAS_CHROMIUM, openChromium } from "./chromium.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway } from "./gateway.ts";

/** The page behind a one-time link, as a person has it: a real browser, on a real gateway. */
describe.skipIf(!HAS_CHROMIUM || !CAN_SEE_PROCESSES)("the page of an approval's link, in Chromium", { timeout: 60_000 }, () => {
  let gateway: OwnGateway;
  let session: Session;
  let browser: Awaited<ReturnType<typeof openChromium>>;

  beforeAll(async () => {
    gateway = await ownGateway();
    expect((await ask(gateway.url, gateway.operator, "PUT", "/v1/settings", { approval_links: true })).status).toBe(200);
    session = await createSentinel({ url: gateway.url, token: gateway.agent }).openSession();
    browser = await openChromium();
  }, 120_000);
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await gateway?.end();
  });

  /** An agent asks for what a person must allow, and somebody sends that person a link. */
  async function linked(rationale = "The invoice of order 17 is due.") {
    const request = { action: "send_money", estimateUsd: "0.30", inputs: { to: "acct_1", amount: 30 }, rationale };
    const held = await session.decide(request);
    const id = held.approval?.id ?? "";
    const made = await ask(gateway.url, gateway.operator, "POST", `/v1/approvals/${id}/links`, { subject: "ann" });
    expect(made.status).toBe(201);
    const { url }: { url: string } = made.body;
    const approval = async () => (await ask(gateway.url, gateway.operator, "GET", `/v1/approvals/${id}`)).body;
    return { url, approval, request };
  }

  /** Opens a link and gives whatever goes wrong on the page. */
  async function opened(url: string): Promise<{ page: Page; wrong: string[] }> {
    const page = await browser.newPage();
    const wrong: string[] = [];
    page.on("pageerror", (error) => wrong.push(error.message));
    page.on("console", (line) => line.type() === "error" && wrong.push(line.text()));
    await page.goto(url);
    await page.locator("#facts dt").first().waitFor();
    return { page, wrong };
  }

  it("shows what is asked, takes no yes before somebody says they looked, and then takes it once", async () => {
    const { url, approval, request } = await linked();
    const { page, wrong } = await opened(url);
    const text = await page.locator("main").innerText();
    for (const each of ["send_money, 0.3 USD", '"to": "acct_1"', request.rationale, "0 of 1"]) expect(text).toContain(each);
    const { action_digest } = await approval();
    expect(text).not.toContain(action_digest);
    await page.locator("summary").click();
    expect(await page.locator("main").innerText()).toContain(action_digest);
    expect(await page.locator("#approve").isDisabled()).toBe(true);
    await page.locator("#looked").check();
    await page.locator("#note").fill("Checked.");
    await page.locator("#approve").click();
    await expect.poll(() => page.locator("#state").innerText()).toContain("You approved it:");
    expect(page.url()).not.toContain("#");
    expect(await approval()).toMatchObject({ status: "approved", answers: [{ subject: "ann", decision: "approve", note: "Checked." }] });
    const said = await page.locator("#state").innerText();
    expect(said).toContain((await approval()).answered_at);
    await page.reload();
    expect(await page.locator("#state").innerText()).toBe(said);
    expect(page.url()).not.toContain("#");
    const again = await browser.newPage();
    await again.goto(url);
    await expect.poll(() => again.locator("#state").innerText()).toContain("used already");
    expect(await again.locator("#approve").isVisible()).toBe(false);
    expect(wrong).toEqual([]);
    const used = await session.decide({ ...request, approval: (await approval()).id });
    expect(used.verdict).toBe("allow");
  });

  it.each([
    { width: 1280, height: 900, seesAll: true },
    { width: 375, height: 812, seesAll: false },
    { width: 320, height: 640, seesAll: false },
  ])("shows the question beside its answers, at $width by $height", async ({ width, height, seesAll }) => {
    const { url } = await linked();
    const { page, wrong } = await opened(url);
    await page.setViewportSize({ width, height });
    const seen = async (ids: readonly string[]) =>
      page.evaluate<string[]>(
        `${JSON.stringify(ids)}.filter((id) => { const { top, bottom } = document.getElementById(id).getBoundingClientRect(); return top >= 0 && bottom <= innerHeight; })`,
      );
    const wanted = ["question", "state", "approve", "request_info", "reject"];
    if (seesAll) expect(await seen([...wanted, "facts", "looked"])).toEqual([...wanted, "facts", "looked"]);
    // On a phone the question stays where it is while a person reads down to the answers.
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)");
    expect(await seen(wanted)).toEqual(wanted);
    expect(await page.evaluate<number>("document.documentElement.scrollWidth")).toBe(width);
    expect(wrong).toEqual([]);
  });

  it("by keyboard: after the tick comes the yes, and no slip of Enter says no", async () => {
    const { url, approval } = await linked();
    const { page, wrong } = await opened(url);
    const focused = () => page.evaluate<string>("document.activeElement.id");
    const press = async (...keys: readonly string[]) => {
      for (const key of keys) await page.keyboard.press(key);
      return focused();
    };
    await page.locator("#looked").focus();
    await press("Space");
    expect(await page.locator("#state").innerText()).toContain("You can approve it now");
    expect([await press("Tab"), await press("Tab"), await press("Tab")]).toEqual(["approve", "request_info", "reject"]);
    // Held down it is one press, and the one press asks.
    await page.keyboard.down("Enter");
    for (let n = 0; n < 5; n++) await page.keyboard.down("Enter");
    await page.keyboard.up("Enter");
    expect([await focused(), await page.locator("#reject").innerText()]).toEqual(["reject", "Press again to reject"]);
    expect(await page.locator("#state").innerText()).toContain("Nothing is rejected yet");
    expect(await press("Shift+Tab")).toBe("request_info");
    expect(await page.locator("#reject").innerText()).toBe("Reject");
    await page.locator("#reject").dblclick();
    expect(await page.locator("#reject").innerText()).toBe("Press again to reject");
    expect((await approval()).status).toBe("pending");
    await page.locator("#looked").focus();
    await press("Tab", "Enter");
    await expect.poll(() => page.locator("#state").innerText()).toContain("You approved it");
    expect([await focused(), (await approval()).status]).toEqual(["state", "approved"]);
    expect(wrong).toEqual([]);
  });

  it("a no ends it, at the second press", async () => {
    const { url, approval } = await linked();
    const { page, wrong } = await opened(url);
    await page.locator("#reject").click();
    expect((await approval()).status).toBe("pending");
    await page.locator("#reject").click();
    await expect.poll(() => page.locator("#state").innerText()).toContain("You rejected it");
    expect(await approval()).toMatchObject({ status: "rejected", answers: [{ subject: "ann", decision: "reject" }] });
    expect(wrong).toEqual([]);
  });

  it("what an agent writes is text, and what nobody sees is shown", async () => {
    const { url } = await linked('<img src=x onerror="document.title=1"><script>document.title=1</script>\u202egnp.exe');
    const { page, wrong } = await opened(url);
    expect(await page.locator("#facts img, #facts script").count()).toBe(0);
    expect(await page.locator("#facts").innerText()).toContain("\\u202egnp.exe");
    expect(await page.title()).toBe("AgentSentinel: an agent asks you");
    expect(wrong).toEqual([]);
  });
});
