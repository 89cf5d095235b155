import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createSentinel, type Session } from "../../sdk/src/index.ts";
import type { LiveEvent } from "../../sdk/src/live.ts";
import { lineOf } from "../../src/cli/tail.ts";
import * as examples from "../../src/http/examples.ts";
import { program, terminalFor, typed } from "./cli_typed.ts";
import { CAN_SEE_PROCESSES, type OwnGateway, ownGateway } from "./gateway.ts";

/** An event is told within about a second. On a busy machine within this; that it comes is what is looked at. */
const SOON_MS = 30_000;

const { estimate_usd, cost_usd, overrun_usd, ...event } = examples.ledgerEvent;
const denied: LiveEvent = { ...event, estimateUsd: estimate_usd, costUsd: cost_usd, overrunUsd: overrun_usd };
const nothing = { ...denied, verdict: null, reason: null, rule: null, estimateUsd: null, agent: null, action: null };

describe("agentsentinel tail, before it listens", () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel tail[\s\S]*Exit code: 0 when it was ended \(Ctrl-C/],
    ["what is no option", ["decision.deny"], 2, /takes options only/],
    ["a limit that is none", ["--limit", "0", "--token", "t"], 2, /--limit is a whole number/],
    ["no token", [], 2, /tail wants a token: --token, or AGENTSENTINEL_TOKEN in the environment, which the line that npm start prints sets\n/],
    ["an address with a secret in it", ["--token", "t", "--url", "http://u:p@127.0.0.1:1"], 2, /wanted https:\/\/host\/path\n/],
    [
      "a token that was copied badly",
      ["--token", "secret token"],
      2,
      /^agentsentinel: the token has blanks, line ends or other odd characters in it; copy it again, as one word\n/,
    ],
    ["no gateway", ["--token", "t", "--url", "http://127.0.0.1:1"], 1, /^agentsentinel: no answer from http:\/\/127\.0\.0\.1:1/],
    ...(
      [
        ["decision.denied", /^agentsentinel: no event is called "decision\.denied"; did you mean "decision\.deny"\?\n/],
        ["decision.deny,aproval.*", /^agentsentinel: no event is called "aproval\.\*"; did you mean "approval\.\*"\?\n/],
        ["intervention", /^agentsentinel: no event is called "intervention"; [^\n]*intervention\.\*/],
        // The words after these are the gateway's own to add to.
        ["approval.rejected,lease.of_tomorrow,*,d*.deny,decision.*,budget.threshold", /^agentsentinel: no answer from/],
      ] as const
    ).map(([type, says]): [string, string[], number, RegExp] => [
      "the name of an event",
      ["--type", type, "--token", "t", "--url", "http://127.0.0.1:1"],
      1,
      says,
    ]),
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENTSENTINEL_TOKEN", "");
    const ended = await typed(["tail", ...args]);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
  });

  it.each<[string, LiveEvent, RegExp]>([
    ["a denial with its rule", denied, /^[\d:.]{12} {2}decision\.deny +support-1 +send_email +0\.05 {2}rate_exceeded \/rate_limits\/send_email\n$/],
    ["an allowed call with its session", { ...denied, verdict: "allow", reason: "permitted", rule: null }, /send_email +0\.05 {2}ses_\S+\n$/],
    [
      "what a call cost",
      { ...nothing, type: "decision.commit", costUsd: "0.043", outcome: "error", overrunUsd: "0.01" },
      / 0\.043 {2}failed, 0\.01 above its reservation\n$/,
    ],
    [
      "who was stopped, and why",
      { ...nothing, type: "intervention.kill", details: { target: { type: "agent", id: "bot" }, reason: "It mails." } },
      /agent bot, "It mails\."\n$/,
    ],
    ["who obeys", { ...nothing, type: "intervention.evidence", details: { unanswered_count: 2 } }, /2 unanswered\n$/],
    ["an approval by its id", { ...nothing, type: "approval.requested", details: { approval: "apr_1" } }, /apr_1\n$/],
    ["a threshold", { ...nothing, type: "budget.threshold", details: { threshold: 0.8, name: "run" } }, /80 % of run\n$/],
  ])("lays out %s", (_what, told, line) => {
    expect(lineOf(told, false, terminalFor())).toMatch(line);
  });

  it("fits into a terminal, whose cursor no stranger moves, and names its columns once", () => {
    const odd = { ...denied, agent: "a\u001b[2J".repeat(20), action: "x".repeat(90), details: { reason: "\u001b]0;\u202e".repeat(40) } };
    for (const columns of [80, 100, 119, 120, 200]) {
      const text = lineOf(odd, true, terminalFor(columns));
      for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(columns);
      expect(text).toMatch(/^TIME UTC/);
      for (const each of ["\u001b", "\u202e"]) expect(text).not.toContain(each);
      expect(text).toContain("rate_exceeded");
    }
    expect(lineOf(denied, false, terminalFor(120, { TERM: "xterm" }))).toContain("\u001b[31mdecision.deny");
    expect(lineOf(denied, false, terminalFor(120))).not.toContain("\u001b");
  });
});

describe.skipIf(!CAN_SEE_PROCESSES)("agentsentinel tail, on a real gateway", { timeout: 90_000 }, () => {
  let gateway: OwnGateway;
  let session: Session;
  beforeAll(async () => {
    gateway = await ownGateway();
    session = await createSentinel({ url: gateway.url, token: gateway.agent }).openSession();
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });

  const running: ReturnType<typeof program>[] = [];
  afterEach(() => {
    for (const { child } of running.splice(0)) child.kill("SIGKILL");
  });
  function tail(args: readonly string[], url = gateway.url) {
    const begun = program(["tail", ...args], { environment: { AGENTSENTINEL_URL: url, AGENTSENTINEL_TOKEN: gateway.operator } });
    running.push(begun);
    return begun;
  }

  /** Has events told until the first is heard: nothing says beforehand that somebody listens. */
  async function untilHeard(heard: { readonly out: string }, action: string): Promise<void> {
    await vi.waitUntil(
      async () => {
        await session.decide({ action });
        return heard.out.includes(action);
      },
      { timeout: SOON_MS, interval: 500 },
    );
  }

  it.each(["SIGINT", "SIGTERM"] as const)("shows what is wanted, plainly in a pipe, until %s, and ends with 0", async (signal) => {
    const { child, heard, ended } = tail(["--type", "decision.deny", "--type", "intervention.*,approval.*"]);
    await untilHeard(heard, "delete_database");
    await session.decide({ action: "allowed_here" });
    await session.decide({ action: "fs.rm_all" });
    await vi.waitUntil(() => heard.out.includes("fs.rm_all"), { timeout: SOON_MS });
    child.kill(signal);
    expect(await ended).toMatchObject({ code: 0, err: "" });
    const [head = "", first = ""] = heard.out.split("\n");
    expect(head).toMatch(/^TIME UTC +EVENT +AGENT +ACTION +USD +WHY$/);
    expect(first).toMatch(/^[\d:.]{12} {2}decision\.deny +demo-agent +delete_database +0 {2}action_denied \/denied_actions$/);
    expect(heard.out).not.toContain("allowed_here");
    expect(heard.out).not.toContain("\u001b");
  });

  it("tells programs each event as the gateway does, after the one that is named, up to so many", async () => {
    const first = tail(["--json", "--limit", "1", "--session", session.id]);
    await untilHeard(first.heard, "delete_database");
    expect(await first.ended).toMatchObject({ code: 0, err: "" });
    const event = JSON.parse(first.heard.out);
    expect(Object.keys(event).sort()).toEqual(Object.keys(examples.ledgerEvent).sort());
    expect(event).toMatchObject({ type: "decision.deny", session: session.id, estimate_usd: "0", cost_usd: "0" });
    await session.decide({ action: "fs.rm_all" });
    await session.decide({ action: "fs.rm_more" });
    const second = await tail(["--json", "--limit", "1", "--after", event.id, "--action", "fs.rm_more"]).ended;
    expect(JSON.parse(second.out)).toMatchObject({ action: "fs.rm_more" });
  });

  it("says that it waits, where nothing is on record after the event that is named", async () => {
    const { child, heard, ended } = tail(["--json", "--after", "999999"]);
    await untilHeard(heard, "delete_database");
    child.kill("SIGINT");
    expect(await ended).toMatchObject({
      code: 0,
      err: "agentsentinel: nothing later than event 999999 is on record yet; waiting for what comes\n",
    });
  });

  it("ends when the pipe that it writes into is closed", async () => {
    const { child, heard, ended } = tail(["--json"]);
    await untilHeard(heard, "delete_database");
    child.stdout.destroy();
    const asking = setInterval(() => void session.decide({ action: "delete_database" }), 300);
    expect((await ended.finally(() => clearInterval(asking))).code).toBe(0);
  });

  it("comes back after a cut, says so, and has left out nothing", async () => {
    await using wire = await wireTo(gateway.url);
    const { child, heard, ended } = tail(["--json", "--type", "decision.deny"], wire.url);
    await untilHeard(heard, "delete_database");
    wire.cut();
    await vi.waitUntil(() => heard.err.includes("was cut"), { timeout: SOON_MS });
    await session.decide({ action: "fs.rm_meanwhile" });
    wire.mend();
    await vi.waitUntil(() => heard.out.includes("fs.rm_meanwhile"), { timeout: SOON_MS });
    child.kill("SIGINT");
    expect((await ended).code).toBe(0);
    expect(heard.err).toMatch(
      /^agentsentinel: the stream of \S+ was cut; trying to come back\nagentsentinel: it is back, and goes on where it was\n$/,
    );
    const ids = heard.out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it.each<[string, readonly string[], number, RegExp]>([
    ["a token that is none", ["--token", "nonsense"], 1, /refuses \(401 token_invalid\)/],
    ["a type that there is not", ["--type", "odd"], 2, /refuses \(422 body_invalid\).*\/types/],
  ])("says why it cannot listen with %s", async (_what, args, code, says) => {
    const ended = await tail(args).ended;
    expect([ended.code, ended.out, ended.err]).toEqual([code, "", expect.stringMatching(says)]);
  });
});

/** A wire to a gateway that can be cut. */
async function wireTo(url: string) {
  const ends = new Set<Socket>();
  const { hostname, port } = new URL(url);
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    const far = connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      ends.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        ends.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port: own } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${own}`,
    cut() {
      isCut = true;
      for (const end of ends) end.destroy();
    },
    mend() {
      isCut = false;
    },
    async [Symbol.asyncDispose]() {
      for (const end of ends) end.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
