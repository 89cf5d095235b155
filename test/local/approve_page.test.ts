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
    for (const each of ["send_money", '"to": "acct_1"', "0.3 USD", request.rationale, "0 of 1", (await approval()).action_digest])
      expect(text).toContain(each);
    expect(await page.locator("#approve").isDisabled()).toBe(true);
    await page.locator("#looked").check();
    await page.locator("#note").fill("Checked.");
    await page.locator("#approve").click();
    await expect.poll(() => page.locator("#state").innerText()).toContain("You approved it.");
    expect(page.url()).not.toContain("#");
    expect(await approval()).toMatchObject({ status: "approved", answers: [{ subject: "ann", decision: "approve", note: "Checked." }] });
    const again = await browser.newPage();
    await again.goto(url);
    await expect.poll(() => again.locator("#state").innerText()).toContain("used already");
    expect(await again.locator("#approve").isVisible()).toBe(false);
    expect(wrong).toEqual([]);
    const used = await session.decide({ ...request, approval: (await approval()).id });
    expect(used.verdict).toBe("allow");
  });

  it("a no ends it", async () => {
    const { url, approval } = await linked();
    const { page, wrong } = await opened(url);
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
