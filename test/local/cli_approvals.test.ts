import { spawn } from "node:child_process";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { guard, resume } from "../../sdk/src/approvals.ts";
import { ApprovalRequiredError, createSentinel, type Session } from "../../sdk/src/index.ts";
import type { Approval } from "../../sdk/src/wire.ts";
import { inWords as listed, span } from "../../src/cli/approvals_list.ts";
import { inWords as told } from "../../src/cli/approvals_show.ts";
import { main } from "../../src/cli/main.ts";
import { type Terminal, terminalOf } from "../../src/cli/terminal.ts";
import * as examples from "../../src/http/examples.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway, ROOT } from "./gateway.ts";

/** As much of a stream as the program uses. */
const stream = (isTTY: boolean, write: (text: string) => void) => ({ isTTY, columns: 100, write }) as unknown as NodeJS.WriteStream;

/** Types a command as if into a pipe, or on a terminal where somebody answers what is asked with `says`. */
async function typed(args: readonly string[], says?: string) {
  const ended = { out: "", err: "", asked: "" };
  const side = (name: "out" | "err") =>
    stream(says !== undefined, (text) => {
      ended[name] += text;
    });
  const terminal: Terminal = terminalOf(side("out"), side("err"), { NO_COLOR: "1" });
  const ask = async (question: string) => {
    ended.asked += question;
    return says ?? "";
  };
  const code = await main(["approvals", ...args], ROOT, says === undefined ? terminal : { ...terminal, ask });
  return { code, ...ended };
}

const APR = examples.approval.id;

describe("agentsentinel approvals, before it asks a gateway", () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel approvals <command>[\s\S]*cancel/],
    ["help of a command", ["approve", "--help"], 0, /^Usage: agentsentinel approvals approve APPROVAL/],
    ["a misspelt command", ["lst"], 2, /there is no command approvals lst/],
    ["a status that there is not", ["list", "--status", "open"], 2, /--status is one of pending/],
    ["a limit that is none", ["list", "--limit", "0"], 2, /--limit is a whole number/],
    ["no approval", ["show"], 2, /wants one APPROVAL/],
    ["what is no approval's id", ["show", "dec_1"], 2, /begins with apr_/],
    ["no question", ["ask", APR], 2, /wants one APPROVAL and one "QUESTION"/],
    ["an empty question", ["ask", APR, " "], 2, /wants one APPROVAL and one "QUESTION"/],
    ["a question without its quotes", ["ask", APR, "Which", "invoice?"], 2, /wants one APPROVAL and one "QUESTION"/],
    ["a question about nothing", ["ask", "Which invoice?", APR], 2, /begins with apr_/],
    ["a link for nobody", ["link", APR, "--token", "t"], 2, /wants --for NAME[\s\S]*Usage: agentsentinel approvals link/],
    ["a link for no length of time", ["link", APR, "--for", "ann", "--ttl", "long"], 2, /--ttl is a length of time like 15m, 4h or 1d, found "long"/],
    ["no token", ["show", APR], 2, /wants a token/],
    ["nobody to ask", ["approve", APR, "--token", "t"], 2, /wants --yes where nobody can be asked/],
    ["inputs that are no JSON", ["approve", APR, "--token", "t", "--yes", "--inputs", "{"], 2, /--inputs is JSON/],
    ["no gateway", ["list", "--token", "t", "--url", "http://127.0.0.1:1"], 1, /no answer from http:\/\/127\.0\.0\.1:1/],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENTSENTINEL_TOKEN", "");
    const ended = await typed(args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
    expect(code === 0 ? ended.err : ended.out).toBe("");
  });

  it("shows everything about an approval, and lets nothing of strangers move the cursor", () => {
    const terminal = terminalOf(
      stream(false, () => undefined),
      stream(false, () => undefined),
      {},
    );
    const odd: Approval = {
      ...examples.approval,
      rationale: "fine\u001b[2J\u202e\u200b\u00a0\u{e0061}\ufe0f\u2800",
      inputs: { to: "\u001b]0;x" },
      edits: { estimate_usd: "20" },
    };
    const text = told(odd, Date.parse(odd.opened_at) + 90_000, terminal);
    const needed = [
      "send_money  30 USD  pending",
      "account acct_1",
      "/approvals/actions",
      "A person must approve this first.",
      "0 of 1 person has approved",
    ];
    const more = [
      "ann or bob",
      "high",
      "payments",
      "crm 7",
      "(1m 30s ago)",
      "The action does not run.",
      odd.action_digest,
      odd.session,
      "changed by a person",
    ];
    for (const each of [...needed, ...more]) expect(text).toContain(each);
    for (const each of ["\u001b", "\u202e", "\u200b", "\u00a0", "\u{e0061}", "\ufe0f", "\u2800"]) expect(text).not.toContain(each);
    const line = listed([{ ...odd, agent: "a\u001b[2Jb" }], { ...NO_COUNTS, pending: 1, consumed: 2 }, true, Date.parse(odd.opened_at), terminal);
    expect(line).toMatch(/^APPROVAL +STATUS +AGE +EXPIRES IN +AGENT +USD +ACTION +RULE\n/);
    expect(line).toContain("1 pending, 2 consumed");
    expect(line).not.toContain("\u001b");
  });

  it("shows each balance on a line of its own, with all that its rest is made of", () => {
    const silent = { ...stream(true, () => undefined), columns: 80 } as NodeJS.WriteStream;
    const money = { limit_usd: "20", posted_usd: "0", pending_usd: "0.1", remaining_usd: "13.125" };
    const { run, session } = examples.approval;
    const budgets: Approval["budgets"] = [
      { scope: "action", name: "llm.*", ...money },
      { scope: "run", name: run, ...money, limit_usd: null, remaining_usd: null },
      { scope: "session", name: session, ...money, leased_usd: "1" },
      { scope: "tenant", name: "demo", window: "month", ...money, leased_usd: "6.775" },
    ];
    const text = told({ ...examples.approval, budgets }, 0, terminalOf(silent, silent, { NO_COLOR: "1" }));
    expect(text).toContain(`Money when it was asked (USD)
  llm.*        13.125 left of 20, 0 spent, 0.1 pending
  run          no limit, 0 spent, 0.1 pending
  session      13.125 left of 20, 0 spent, 0.1 pending, 1 in leases
  tenant month 13.125 left of 20, 0 spent, 0.1 pending, 6.775 in other sessions
`);
  });

  it.each([
    [{ name: "demo", version: 3 }, " of demo version 3\n"],
    // The version of several is the last one's, which the name has already.
    [{ name: "base@2+bot@1", version: 1 }, " of base@2+bot@1\n"],
  ])("names the policy %j that holds an action by its versions once", (policy, said) => {
    const silent = stream(false, () => undefined);
    const text = told({ ...examples.approval, policy: { ...examples.approval.policy, ...policy } }, 0, terminalOf(silent, silent, {}));
    expect(text).toContain(said);
  });

  it.each([
    [0, "0s"],
    [59_999, "59s"],
    [61_000, "1m 1s"],
    [3_600_000, "1h"],
    [90_000_000, "1d 1h"],
    [-1, "over"],
  ])("%i ms are %s", (ms, text) => {
    expect(span(ms)).toBe(text);
  });
});

const NO_COUNTS = { pending: 0, info_requested: 0, approved: 0, rejected: 0, expired: 0, cancelled: 0, consumed: 0 };

describe.skipIf(!CAN_SEE_PROCESSES)("agentsentinel approvals, with an agent on a real gateway", { timeout: 60_000 }, () => {
  let gateway: OwnGateway;
  let session: Session;
  const paid: unknown[] = [];
  const pay = (payment: { to: string; amount: number }) => {
    paid.push(payment);
    return `paid ${payment.to}`;
  };
  const options = { action: "send_money", costUsd: "0.30", rationale: "The invoice of order 17 is due." } as const;
  const CALL = { to: "acct_1", amount: 30 };
  const sentinel = () => createSentinel({ url: gateway.url, token: gateway.agent });

  beforeAll(async () => {
    gateway = await ownGateway();
    session = await sentinel().openSession();
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });
  afterEach(() => {
    paid.length = 0;
  });

  const person = (args: readonly string[], says?: string) => typed([...args, "--url", gateway.url, "--token", gateway.operator], says);

  /** An agent asks, and is told to wait. */
  async function hold(): Promise<ApprovalRequiredError> {
    const error = await session
      .guard(
        options,
        pay,
      )(CALL)
      .catch((thrown: unknown) => thrown);
    if (!(error instanceof ApprovalRequiredError)) throw error;
    return error;
  }

  it("list, show and approve, and the agent takes it up in another process", async () => {
    const error = await hold();
    const list = await person(["list"]);
    expect([list.code, list.out]).toEqual([
      0,
      expect.stringMatching(new RegExp(`${error.approvalId} +pending .*0\\.3 +send_money +/approvals/actions`)),
    ]);
    const json = JSON.parse((await person(["list", "--json", "--session", session.id])).out);
    expect(json).toMatchObject({ items: [{ id: error.approvalId, action: "send_money" }], more: false });
    const shown = await person(["show", error.approvalId]);
    for (const each of ['"to": "acct_1"', "The invoice of order 17 is due.", "0 of 1 person has approved"]) expect(shown.out).toContain(each);
    const approved = await person(["approve", error.approvalId, "--note", "Checked."], "y");
    expect([approved.code, approved.asked, approved.out]).toEqual([
      0,
      "Approve this? [y/N] ",
      expect.stringContaining("Approved. The agent may do it once"),
    ]);
    const held = await resume(sentinel(), JSON.parse(JSON.stringify(error)));
    expect(await held.read()).toMatchObject({ status: "approved", answers: [{ decision: "approve", note: "Checked." }] });
    expect(await held.guard(options, pay)(CALL)).toBe("paid acct_1");
    await expect(held.guard(options, pay)(CALL)).rejects.toMatchObject({ name: "ApprovalRejectedError", code: "approval_consumed" });
    expect(paid).toEqual([CALL]);
    const used = JSON.parse((await person(["show", error.approvalId, "--json"])).out);
    expect([used.status, used.used_by]).toEqual(["consumed", expect.stringMatching(/^dec_/)]);
  });

  it("a guard that waits goes on as soon as a person has changed and approved it, with just that", async () => {
    const changed = { to: "acct_1", amount: 20 };
    const waiting = guard(session, { ...options, onHold: "wait", toArguments: (inputs) => [inputs as typeof CALL] }, pay)(CALL);
    const { items } = await vi.waitUntil(async () => {
      const found = JSON.parse((await person(["list", "--json", "--session", session.id])).out);
      return found.items.length > 0 && found;
    });
    const mistyped = await person(["approve", items[0].id, "--yes", "--estimate-usd", "abc"]);
    expect([mistyped.code, mistyped.err]).toEqual([2, expect.stringMatching(/422 body_invalid[\s\S]*Usage: agentsentinel approvals approve/)]);
    const args = ["approve", items[0].id, "--yes", "--json", "--inputs", JSON.stringify(changed), "--estimate-usd", "0.2"];
    expect(JSON.parse((await person(args)).out)).toMatchObject({ status: "approved", edits: { inputs: changed, estimate_usd: "0.2" } });
    expect(await waiting).toBe("paid acct_1");
    expect(paid).toEqual([changed]);
  });

  it.each(["reject", "cancel"] as const)("%s ends it, and there is nothing more to answer", async (verb) => {
    const error = await hold();
    expect(await person([verb, error.approvalId, "--yes", "--note", "No."])).toMatchObject({ code: 0, err: "" });
    const held = await resume(sentinel(), error);
    await expect(held.guard(options, pay)(CALL)).rejects.toMatchObject({ name: "ApprovalRejectedError", code: "approval_rejected" });
    expect(paid).toEqual([]);
    const late = await person(["approve", error.approvalId, "--yes"]);
    expect([late.code, late.err]).toEqual([1, expect.stringMatching(/is (rejected|cancelled), so there is nothing to approve/)]);
  });

  it("ask goes to the agent, whose answer show has, and a person can still decide", async () => {
    const error = await hold();
    const held = await resume(sentinel(), error);
    const other = await person(["ask", error.approvalId, "Which invoice?", "--digest", "sha-256:0"]);
    expect([other.code, other.err]).toEqual([1, expect.stringContaining("is not what --digest names")]);
    const asked = await person(["ask", error.approvalId, "Which invoice?"]);
    expect(asked).toMatchObject({
      code: 0,
      err: "",
      out: `Asked. The agent can answer until ${error.expiresAt}; npx agentsentinel approvals show ${error.approvalId} has what it says.\n`,
    });
    expect((await held.wait()).approval?.status).toBe("info_requested");
    await held.respond("The one of order 17.");
    const shown = await person(["show", error.approvalId]);
    for (const each of ['request info, "Which invoice?"', 'respond, "The one of order 17."']) expect(shown.out).toContain(each);
    const again = JSON.parse((await person(["ask", error.approvalId, "Sure?", "--json"])).out);
    expect(again).toMatchObject({ status: "info_requested", answers: [{}, {}, { decision: "request_info", note: "Sure?" }] });
    expect((await person(["approve", error.approvalId, "--yes"])).code).toBe(0);
    expect(await held.guard(options, pay)(CALL)).toBe("paid acct_1");
    const late = await person(["ask", error.approvalId, "And now?"]);
    expect([late.code, late.err]).toEqual([1, `agentsentinel: ${error.approvalId} is consumed, so there is nothing to ask\n`]);
  });

  it("link is for one person, who answers by it once; where links are off it says how to turn them on", async () => {
    const error = await hold();
    const link = (...more: readonly string[]) => person(["link", error.approvalId, "--for", "ann", ...more]);
    const off = await link();
    expect([off.code, off.out, off.err]).toEqual([1, "", expect.stringMatching(/403 scope_insufficient[\s\S]*turns them on: PUT \/v1\/settings/)]);
    expect(await ask(gateway.url, gateway.operator, "PUT", "/v1/settings", { approval_links: true })).toMatchObject({ status: 200 });

    const agent = await typed(["link", error.approvalId, "--for", "ann", "--url", gateway.url, "--token", gateway.agent]);
    expect([agent.code, agent.err]).toEqual([1, expect.stringMatching(/403 scope_insufficient\): The token lacks the scope tokens:write\.\n$/)]);
    const tooLong = await link("--ttl", "2d");
    expect([tooLong.code, tooLong.err]).toEqual([2, expect.stringContaining("/ttl_ms found 172800000")]);
    const json = JSON.parse((await link("--ttl", "15m", "--json")).out);
    expect(json).toEqual({ url: expect.stringContaining("/approve#"), subject: "ann", expires_at: expect.any(String) });
    expect(Date.parse(json.expires_at) - Date.now()).toBeLessThanOrEqual(900_000);

    const made = await link();
    expect(made).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^http:\S+\/approve#\S+\n$/),
      err: expect.stringMatching(/^For ann alone: .*, once, until /),
    });
    const ofAnn = made.out.trim().split("#")[1] ?? "";
    const shown = await ask(gateway.url, ofAnn, "GET", `/v1/approvals/${error.approvalId}`);
    const yes = { decision: "approve", action_digest: shown.body.action_digest };
    const told = await ask(gateway.url, ofAnn, "POST", `/v1/approvals/${error.approvalId}/decide`, yes);
    expect(told).toMatchObject({ status: 200, body: { status: "approved", answers: [{ subject: "ann", decision: "approve" }] } });
    expect((await ask(gateway.url, ofAnn, "GET", `/v1/approvals/${error.approvalId}`)).status).toBe(401);
    expect(await (await resume(sentinel(), error)).guard(options, pay)(CALL)).toBe("paid acct_1");
    const late = await link();
    expect([late.code, late.err]).toEqual([1, expect.stringContaining("409 approval_closed")]);
  });

  it("answers nothing for a no at the prompt, another digest, or an agent's token", async () => {
    const error = await hold();
    const [no, other] = [
      await person(["approve", error.approvalId], "n"),
      await person(["approve", error.approvalId, "--yes", "--digest", "sha-256:0"]),
    ];
    expect([no.code, no.err, other.code, other.err]).toEqual([
      1,
      "agentsentinel: nothing was answered\n",
      1,
      expect.stringContaining("is not what --digest names"),
    ]);
    const agent = await typed(["approve", error.approvalId, "--yes", "--url", gateway.url, "--token", gateway.agent]);
    expect([agent.code, agent.err]).toEqual([1, expect.stringContaining("403 scope_insufficient")]);
    expect((await (await resume(sentinel(), error)).read()).status).toBe("pending");
  });

  it("the program itself reads the environment, is plain in a pipe, and ends by itself", async () => {
    const error = await hold();
    const environment = { ...process.env, AGENTSENTINEL_URL: gateway.url, AGENTSENTINEL_TOKEN: gateway.operator, npm_lifecycle_event: "test" };
    const child = spawn(process.execPath, [path.join(ROOT, "src/cli/agentsentinel.ts"), "approvals", "show", error.approvalId], { env: environment });
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    const code = await new Promise((resolve) => child.once("close", resolve));
    expect([code, out.includes("\u001b"), out.includes(error.approvalId)]).toEqual([0, false, true]);
  });
});
