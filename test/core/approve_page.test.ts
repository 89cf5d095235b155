import { createHash } from "node:crypto";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import * as examples from "../../src/http/examples.ts";
import { appOver } from "./http_world.ts";

const response = await appOver()("/approve");
const page = await response.text();
const between = (tag: string): string => new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`).exec(page)?.[1] ?? "";
const policy = new Map((response.headers.get("Content-Security-Policy") ?? "").split("; ").map((one) => [one.split(" ", 1)[0] ?? "", one]));

describe("the page of a link", () => {
  it("may run its one script and be styled by its one sheet, and get nothing from elsewhere", () => {
    expect([response.status, response.headers.get("Content-Type")]).toEqual([200, "text/html; charset=utf-8"]);
    const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
    expect(policy.get("default-src")).toBe("default-src 'none'");
    expect(policy.get("script-src")).toBe(`script-src ${hashOf(between("script"))}`);
    expect(policy.get("style-src")).toBe(`style-src ${hashOf(between("style"))}`);
    expect(policy.get("connect-src")).toBe("connect-src 'self'");
    expect(policy.get("frame-ancestors")).toBe("frame-ancestors 'none'");
    expect(response.headers.get("Referrer-Policy")).toBe("no-referrer");
    expect(page.match(/<script/g)).toHaveLength(1);
    // Neither would be run or applied, and none is wanted.
    expect(page).not.toMatch(/\son\w+=|\sstyle=|(src|href|action)=|innerHTML|insertAdjacent|document\.write/);
  });
});

/** As much of a browser as the script uses: elements with a text and no way to give them markup. */
class Element {
  textContent = "";
  hidden = false;
  disabled = false;
  checked = false;
  value = "";
  className = "";
  children: readonly Element[] = [];
  focused = 0;
  readonly #heard = new Map<string, (event: Heard) => unknown>();
  addEventListener(event: string, listener: (event: Heard) => unknown): void {
    this.#heard.set(event, listener);
  }
  replaceChildren(...children: readonly Element[]): void {
    this.children = children;
  }
  focus(): void {
    this.focused++;
  }
  /** Waits for what comes of it. A button that is disabled hears nothing. */
  async hear(event: string, about: Partial<Heard> = {}): Promise<void> {
    if (!this.disabled) await this.#heard.get(event)?.({ detail: 1, key: "", repeat: false, preventDefault: () => undefined, ...about });
    for (let n = 0; n < 20; n++) await Promise.resolve();
  }
}

/** What the script reads of an event. */
interface Heard {
  /** Of a click: which one it is of several in quick succession; 0 by keyboard. */
  readonly detail: number;
  readonly key: string;
  readonly repeat: boolean;
  preventDefault(): void;
}

const claims = (content: object): string => `x.${Buffer.from(JSON.stringify(content)).toString("base64url")}.y`;
const TOKEN = claims({ apr: examples.approval.id });

interface Sent {
  readonly url: string;
  readonly method: string;
  readonly authorization: string;
  readonly body: unknown;
}

/** What a tab keeps while its page is loaded again. */
interface Tab {
  readonly kept: Map<string, string>;
  state: unknown;
}
const newTab = (): Tab => ({ kept: new Map(), state: null });

type At = (id: string) => Element;

/** The page opened in a browser, with what the gateway answers, in order. `null`: it cannot be reached. */
async function opened(
  answers: readonly ({ readonly status: number; readonly body: unknown } | null)[],
  token = TOKEN,
  local?: string,
  tab: Tab = newTab(),
) {
  const elements = new Map(
    [...page.matchAll(/<(\w+)[^>]*\bid="(\w+)"[^>]*>([^<]*)/g)].map(([tag, , id = "", text]) => [id, born(tag, text)] as const),
  );
  const waiting = [...answers];
  const sent: Sent[] = [];
  const address: string[] = [];
  /** A browser writes times as its person wants. */
  class LocalDate extends Date {
    override toLocaleString(): string {
      return local ?? super.toLocaleString();
    }
  }
  runInNewContext(between("script"), {
    Date: LocalDate,
    document: { getElementById: (id: string) => elements.get(id), createElement: () => new Element() },
    location: { hash: token === "" ? "" : `#${token}`, pathname: "/approve", reload: () => undefined },
    history: {
      get state() {
        return tab.state;
      },
      replaceState: (state: unknown, _title: string, url: string) => {
        tab.state = state;
        address.push(url);
      },
    },
    sessionStorage: {
      getItem: (key: string) => tab.kept.get(key) ?? null,
      setItem: (key: string, value: string) => tab.kept.set(key, value),
    },
    addEventListener: () => undefined,
    atob,
    fetch: async (url: string, init: { method: string; headers: Record<string, string>; body?: string }) => {
      sent.push({
        url,
        method: init.method,
        authorization: init.headers.Authorization ?? "",
        body: init.body === undefined ? null : JSON.parse(init.body),
      });
      const next = waiting.shift();
      if (next == null) throw new TypeError("fetch failed");
      return { ok: next.status < 300, status: next.status, json: async () => next.body };
    },
  });
  const at: At = (id) => {
    const found = elements.get(id);
    if (found === undefined) throw new Error(`the page has no ${id}`);
    return found;
  };
  await at("state").hear("nothing");
  const textOf = (id: string): string =>
    at(id)
      .children.map(({ textContent }) => textContent)
      .join("\n");
  const facts = (): string => textOf("facts");
  const look = async (): Promise<void> => {
    at("looked").checked = true;
    await at("looked").hear("change");
  };
  return { at, sent, address, facts, textOf, look, state: () => at("state").textContent };
}

function born(tag: string, text = ""): Element {
  const element = new Element();
  element.textContent = text;
  element.hidden = / hidden/.test(tag);
  element.disabled = / disabled/.test(tag);
  return element;
}

const ok = (body: wire.Approval) => ({ status: 200, body });
const problem = (status: number, code: string, detail = "No.") => ({ status, body: { status, code, detail } });
const PENDING = examples.approval;
const ANSWERED_AT = "2026-11-22T19:01:00.000Z";
const APPROVED = ok({
  ...PENDING,
  status: "approved",
  quorum: { needed: 1, approved: 1 },
  answers: [{ subject: "ann", decision: "approve", note: null, at: ANSWERED_AT }],
});

describe("a person with a link", () => {
  it("sees all that is asked, as text", async () => {
    const rationale = "<img src=x onerror=alert(1)> \u202egnihton";
    const { facts, textOf, sent, at } = await opened([ok({ ...PENDING, rationale })]);
    expect(sent).toEqual([{ url: `/v1/approvals/${PENDING.id}`, method: "GET", authorization: `Bearer ${TOKEN}`, body: null }]);
    const { agent, action, rule, reason, expires_at, action_digest, estimate_usd } = PENDING;
    expect(at("question").textContent).toBe(`${action}, ${estimate_usd} USD`);
    for (const said of [agent, "account acct_1", '"amount": 30', reason.message, expires_at]) expect(facts()).toContain(said);
    expect(facts()).toContain("run: 0.95 USD left of 1 USD");
    // What only whoever compares reads is there, and not in between.
    for (const said of [rule, action_digest, PENDING.id, PENDING.decision_id, PENDING.run, PENDING.session]) {
      expect(textOf("ids")).toContain(said);
      expect(facts()).not.toContain(said);
    }
    // What cannot be seen is shown by its number.
    expect(facts()).toContain("<img src=x onerror=alert(1)> \\u202egnihton");
    expect(at("asked").hidden).toBe(false);
  });

  it.each([
    ["a blank that is none", "acct\u00a01", "acct\\u00a01"],
    ["a wide blank", "acct\u30001", "acct\\u30001"],
    ["letters of a plane that nobody sees", "pay\u{e0061}\u{e0062}", "pay\\udb40\\udc61\\udb40\\udc62"],
    ["a selector of variants", "pay\ufe0f\u{e0100}", "pay\\ufe0f\\udb40\\udd00"],
    ["a filler", "pay\u3164\u115f\u2800", "pay\\u3164\\u115f\\u2800"],
    ["half a letter", "pay\ud800", "pay\\ud800"],
    ["what everybody sees", "naïve \u4f60\u597d 🙂\tone\nother", "naïve \u4f60\u597d 🙂\tone\nother"],
  ])("is shown %s as what it is", async (_, rationale, shown) => {
    const { facts } = await opened([ok({ ...PENDING, rationale })]);
    expect(facts().split("The agent says why\n")[1]).toMatch(new RegExp(`^${shown.replaceAll("\\", "\\\\")}\\n`));
  });

  it.each([
    ["as it is approved, where a person edited it", { edits: { estimate_usd: "12.5" } }, "send_money, 12.5 USD"],
    ["as it was asked, where a person edited something else", { edits: { inputs: 1 } }, "send_money, 30 USD"],
    ["with what nobody sees", { action: "send\u202emoney" }, "send\\u202emoney, 30 USD"],
  ] as const)("is asked in the heading, %s", async (_, changed, heading) => {
    const { at } = await opened([ok({ ...PENDING, ...changed })]);
    expect(at("question").textContent).toBe(heading);
  });

  it("sees everything else that is approved: tags, risk, confidence, model, sources and what it follows from", async () => {
    const { facts } = await opened([
      ok({
        ...PENDING,
        tags: ["production", "two\nlines"],
        risk_level: "critical",
        confidence: 0.25,
        model: { provider: "acme", name: "large", version: "3" },
        sources: [{ source: "crm", version: "7" }],
        parents: ["dec_00000000-0000-7000-8000-000000000009", "dec_00000000-0000-7000-8000-000000000010"],
      }),
    ]);
    expect(facts()).toContain("Tags\nproduction\ntwo\\u000alines\n");
    expect(facts()).toContain("Risk\ncritical\n");
    expect(facts()).toContain("\n0.25\n");
    expect(facts()).toContain("Model\nacme large 3\n");
    expect(facts()).toContain("crm 7\n");
    expect(facts()).toContain("Follows from\ndec_00000000-0000-7000-8000-000000000009\ndec_00000000-0000-7000-8000-000000000010\n");
    expect((await opened([ok({ ...PENDING, tags: [], model: null, parents: [] })])).facts()).not.toMatch(/^(Tags|Model|Follows from)$/m);
  });

  it.each([
    [{ name: "demo", version: 3 }, "Policy\ndemo version 3\n"],
    // The version of several is the last one's, which the name has already.
    [{ name: "base@2+bot@1", version: 1 }, "Policy\nbase@2+bot@1\n"],
  ])("is told the policy %j by its versions, once", async (policy, said) => {
    const { textOf } = await opened([ok({ ...PENDING, policy: { ...PENDING.policy, ...policy } })]);
    expect(textOf("ids")).toContain(said);
  });

  it("is not shown one answer, source or resource as two", async () => {
    const at = PENDING.opened_at;
    const note = "ok\u201d, now\nboss: approve \u201cgo ahead";
    const { facts } = await opened([
      ok({
        ...PENDING,
        answers: [{ subject: "bot", decision: "respond", note, at }],
        sources: [{ source: "wiki\nsigned: boss", version: "1\n2" }],
        resource: { type: "account", id: "acct_1\nacct_2" },
      }),
    ]);
    const lines = facts().split("\n");
    expect(lines.filter((one) => /boss|acct_2/.test(one))).toEqual([
      "account acct_1\\u000aacct_2",
      "wiki\\u000asigned: boss 1\\u000a2",
      expect.stringMatching(/Z\), bot: respond \u201cok\u201d, now\\u000aboss: approve \u201cgo ahead\u201d$/),
    ]);
  });

  it.each([
    ["7:00:00\u202fPM", "7:00:00 PM ("],
    ["22\u200f/11\u200f/2026", "22/11/2026 ("],
  ])("reads %j, as a browser may write a time, without signs that nobody sees", async (local, shown) => {
    const { facts } = await opened([ok(PENDING)], TOKEN, local);
    expect(facts()).toContain(shown);
    expect(facts()).not.toContain("\\u");
  });

  it("cannot approve before they say that they looked, and approves what was shown", async () => {
    const { at, sent, look, state, address } = await opened([ok(PENDING), APPROVED]);
    expect([at("approve").disabled, at("reject").disabled, at("request_info").disabled]).toEqual([true, false, false]);
    await at("approve").hear("click");
    expect(sent).toHaveLength(1);
    await look();
    at("note").value = " fine ";
    await at("approve").hear("click");
    expect(sent[1]).toMatchObject({
      url: `/v1/approvals/${PENDING.id}/decide`,
      method: "POST",
      body: { decision: "approve", action_digest: PENDING.action_digest, note: "fine" },
    });
    expect(state()).toMatch(/^You approved it: send_money, 30 USD. .*2026-11-22T19:01:00.000Z/);
    expect([at("answer").hidden, at("approve").disabled, address]).toEqual([true, true, ["/approve"]]);
  });

  it("says what they want to know, and can answer later", async () => {
    const { at, sent, state } = await opened([ok(PENDING), ok({ ...PENDING, status: "info_requested" })]);
    await at("request_info").hear("click");
    expect([sent.length, state()]).toEqual([1, "Write into the note what you want to know."]);
    at("note").value = "Which invoice?";
    await at("request_info").hear("click");
    expect(sent[1]?.body).toEqual({ decision: "request_info", action_digest: PENDING.action_digest, note: "Which invoice?" });
    expect([at("answer").hidden, at("reject").disabled, at("again").hidden]).toEqual([false, false, false]);
  });

  it.each([
    ["has ended", TOKEN, problem(401, "token_expired"), "time has run out"],
    ["was used", TOKEN, problem(401, "token_revoked"), "used already"],
    ["is not allowed any more", TOKEN, problem(403, "scope_insufficient", "Links are off."), "Links are off."],
    ["is about what is answered", TOKEN, ok({ ...PENDING, status: "rejected" }), "It is rejected."],
  ] as const)("is told that it is over when the link %s", async (_, token, answer, says) => {
    const { at, state } = await opened(answer === null ? [] : [answer], token);
    expect(state()).toContain("This is over.");
    expect(state()).toContain(says);
    expect([at("answer").hidden, at("approve").disabled, at("reject").disabled]).toEqual([true, true, true]);
  });

  it.each([
    ["is missing", "", null, "There is no link in this address"],
    ["is a word", "abc", null, "cut short or changed"],
    ["is cut short", TOKEN.slice(0, 20), null, "cut short or changed"],
    ["has letters that were changed", TOKEN.replace(/\.../, ".!!"), null, "cut short or changed"],
    ["is for nothing", claims({ sub: "ann" }), null, "names no approval"],
    ["is not what the gateway signed", TOKEN, problem(401, "token_invalid"), "not made here"],
  ] as const)("is told what is wrong with a link that %s, and not that anything is over", async (_, token, answer, says) => {
    const { at, state, sent } = await opened(answer === null ? [] : [answer], token);
    expect(state()).toContain(says);
    expect(state()).toContain("Open the link exactly as it was sent.");
    expect(state()).not.toContain("This is over");
    expect([sent.length, at("answer").hidden, at("reject").disabled]).toEqual([answer === null ? 0 : 1, true, true]);
  });

  it.each([
    ["reloads the page", "", []],
    ["opens the link again", TOKEN, [problem(401, "token_revoked")]],
  ] as const)("who answered and %s is told what they answered, and when", async (_, token, answers) => {
    const tab = newTab();
    const first = await opened([ok(PENDING), APPROVED], TOKEN, undefined, tab);
    await first.look();
    await first.at("approve").hear("click");
    expect([...tab.kept.keys(), JSON.stringify(tab.state)]).toEqual([`answered ${PENDING.id}`, JSON.stringify({ approval: PENDING.id })]);
    expect(JSON.stringify([[...tab.kept], tab.state])).not.toContain(TOKEN);
    const { at, state, sent } = await opened([...answers], token, undefined, tab);
    expect(state()).toBe(first.state());
    expect([sent.length, at("answer").hidden, at("asked").hidden]).toEqual([answers.length, true, true]);
  });

  it("who answered another approval in this tab is not told of that one", async () => {
    const tab = newTab();
    tab.kept.set(`answered ${PENDING.id}`, "nonsense");
    tab.kept.set("answered another", JSON.stringify({ decision: "approve", action: "x", amount: "1", at: ANSWERED_AT, more: 0 }));
    const { state } = await opened([problem(401, "token_revoked")], TOKEN, undefined, tab);
    expect(state()).toContain("This is over. The link was used already");
  });

  it("rejects by a second press alone: the first asks, on the same button, and says so", async () => {
    const { at, sent, state } = await opened([ok(PENDING), ok({ ...PENDING, status: "rejected" })]);
    const before = state();
    await at("reject").hear("click");
    expect([sent.length, at("reject").disabled]).toEqual([1, false]);
    expect(at("reject").textContent).toBe("Press again to reject");
    expect(at("reject").focused).toBe(1);
    expect(state()).toContain("Nothing is rejected yet");
    expect(state()).not.toBe(before);
    await at("reject").hear("click");
    expect(sent[1]?.body).toEqual({ decision: "reject", action_digest: PENDING.action_digest });
    expect([state(), at("reject").textContent]).toEqual([expect.stringContaining("You rejected it"), "Reject"]);
  });

  it.each([
    ["is the second of a double click", (at: At) => at("reject").hear("click", { detail: 2 }), "Press again to reject"],
    ["is left for another place", (at: At) => at("reject").hear("blur"), "Reject"],
    ["is given up by Escape", (at: At) => at("reject").hear("keydown", { key: "Escape" }), "Reject"],
    ["is followed by the tick", (at: At) => at("looked").hear("change"), "Reject"],
    ["is followed by a question without words", (at: At) => at("request_info").hear("click"), "Reject"],
  ] as const)("rejects nothing when the press %s", async (_, then, label) => {
    const { at, sent } = await opened([ok(PENDING), null]);
    await at("reject").hear("click");
    await then(at);
    expect([sent.length, at("reject").textContent]).toEqual([1, label]);
    // What was taken back is asked anew.
    await at("reject").hear("click");
    expect(sent).toHaveLength(label === "Reject" ? 1 : 2);
  });

  it("answers nothing by a key that is held down", async () => {
    const { at } = await opened([ok(PENDING)]);
    for (const id of ["approve", "request_info", "reject"]) {
      at(id).disabled = false;
      const prevented: string[] = [];
      const preventDefault = () => prevented.push(id);
      await at(id).hear("keydown", { key: "Enter", preventDefault });
      expect(prevented).toEqual([]);
      await at(id).hear("keydown", { key: "Enter", repeat: true, preventDefault });
      expect(prevented).toEqual([id]);
    }
  });

  it("is told once a yes can be said, and that it cannot any more", async () => {
    const { at, look, state } = await opened([ok(PENDING)]);
    await look();
    expect([state(), at("approve").disabled]).toEqual(["Nothing has been answered by you yet. You can approve it now.", false]);
    at("looked").checked = false;
    await at("looked").hear("change");
    expect([state(), at("approve").disabled]).toEqual([expect.not.stringContaining("approve it now"), true]);
  });

  it("comes by keyboard from the tick to the yes first, and to the no last", () => {
    const ids = [...page.matchAll(/<(?:textarea|input|button)[^>]*\bid="(\w+)"/g)].map(([, id]) => id);
    expect(ids).toEqual(["note", "looked", "approve", "request_info", "reject", "again"]);
    expect(page).not.toContain('tabindex="1');
  });

  it("can send the same answer again when none came back", async () => {
    const done = ok({ ...PENDING, status: "rejected" });
    const { at, sent, state } = await opened([ok(PENDING), null, problem(503, "authority_unavailable"), done]);
    const reject = async (): Promise<void> => {
      await at("reject").hear("click");
      await at("reject").hear("click");
    };
    await reject();
    expect(state()).toContain("No answer came.");
    await reject();
    expect(state()).toContain("No answer came.");
    await reject();
    expect(sent.slice(1).map(({ body }) => body)).toEqual(Array(3).fill({ decision: "reject", action_digest: PENDING.action_digest }));
    expect(state()).toContain("You rejected it");
  });
});
