import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createSentinel, type Session } from "../../sdk/src/index.ts";
import type { Intervened } from "../../sdk/src/wire.ts";
import { inWords, targetOf } from "../../src/cli/intervene.ts";
import * as examples from "../../src/http/examples.ts";
import { terminalFor, typed } from "./cli_typed.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway, ROOT_KEY } from "./gateway.ts";

const SES = examples.openedSession.id;
const AT = Date.parse(examples.intervened.evidence.in_force_everywhere_by);

describe("agentsentinel kill, pause, resume and revive, before they ask a gateway", () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each<[string, string[], number, RegExp]>([
    [
      "help of one",
      ["kill", "--help"],
      0,
      /^Usage: agentsentinel kill TARGET[\s\S]*Exit code: 0 when every session that it concerns obeys[\s\S]* 4 when/,
    ],
    ["nothing named", ["pause"], 2, /wants one TARGET/],
    ["two targets", ["pause", "agent:a", "agent:b"], 2, /wants one TARGET/],
    ["no token", ["kill", "agent:a", "--reason", "x"], 2, /wants a token/],
    ["a name alone", ["kill", "support-bot", "--token", "t", "--reason", "x"], 2, /found "support-bot"; for an agent write agent:support-bot\n/],
    ["a misspelt type", ["kill", "agnt:a", "--token", "t", "--reason", "x"], 2, /found "agnt:a"; did you mean "agent"\?/],
    ["a type alone", ["kill", "session", "--token", "t", "--reason", "x"], 2, /which session\? Write session:ses_/],
    ["a tenant that nobody names", ["pause", "tenant", "--token", "t", "--reason", "x"], 2, /write tenant:ID/],
    ["no reason, and nobody to ask", ["pause", "agent:a", "--token", "t"], 2, /wants --reason/],
    ["everything, and nobody to ask", ["kill", "tenant:demo", "--token", "t", "--reason", "x"], 2, /stops everything, and wants --yes/],
    ["every action, and nobody to ask", ["kill", "action:*", "--token", "t", "--reason", "x"], 2, /stops everything, and wants --yes/],
    [
      "no gateway",
      ["kill", "agent:a", "--token", "t", "--reason", "x", "--url", "http://127.0.0.1:1"],
      1,
      /no answer[\s\S]*is not known\. Doing it again does no harm/,
    ],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENTSENTINEL_TOKEN", "");
    const ended = await typed(args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
    expect(code === 0 ? ended.err : ended.out).toBe("");
  });

  it.each([
    ["agent:support-bot", { type: "agent", id: "support-bot" }],
    ["agent:a:b", { type: "agent", id: "a:b" }],
    ["action:send_*", { type: "action", id: "send_*" }],
    [SES, { type: "session", id: SES }],
    [`session:${SES}`, { type: "session", id: SES }],
    ["run_1", { type: "run", id: "run_1" }],
    ["tenant", { type: "tenant", id: "acme" }],
    ["tenant:other", { type: "tenant", id: "other" }],
  ])("%s is %j", (text, target) => {
    expect(targetOf(text, "acme", "kill")).toEqual(target);
  });

  const evidence = (acknowledged: number, unanswered: number, leased_until: string | null = null): Intervened => ({
    ...examples.intervened,
    evidence: {
      acknowledged: Array.from({ length: acknowledged }, (_, n) => ({ session: `ses_${n}`, seq: n, at: "2026-01-01T00:00:00.000Z", leased_until })),
      unanswered: Array.from({ length: unanswered }, (_, n) => `ses_late_${n}`),
      in_force_everywhere_by: examples.intervened.evidence.in_force_everywhere_by,
    },
  });

  it.each<[string, Intervened, Parameters<typeof inWords>[2], readonly RegExp[]]>([
    [
      "nobody at work",
      evidence(0, 0),
      "kill",
      [/^Killed agent bot {2}int_/, /No session that it concerns is at work now/, /In force everywhere since/],
    ],
    ["all obey", evidence(2, 0), "pause", [/^Paused/, /2 sessions obey/, /ses_0 {2}opens with it/, /ses_1 {2}since its entry 1 /]],
    [
      "one did not answer",
      evidence(1, 1),
      "kill",
      [/1 session obeys/, /1 session did not answer, and may still allow something until .* \(12s\)/, /ses_late_0/],
    ],
    ["one does not know yet that it may go on", evidence(0, 1), "revive", [/^Revived/, /may still deny it until/]],
    // Something else may stop it all the same.
    ["all have lifted it", evidence(2, 0), "resume", [/^Resumed/, /2 sessions have lifted it\n/]],
    ["nobody at work has anything to lift", evidence(0, 0), "revive", [/^Revived/, /Whichever asks next is not stopped by it any more\.\n/]],
    [
      "client leases run on",
      evidence(2, 0, "2026-11-22T19:00:00.000Z"),
      "kill",
      [/2 sessions obey/, /ses_1 .*\n.*whoever decides by its client leases hears of it by 2026-11-22T19:00:00\.000Z/, /In force everywhere by/],
    ],
    ["many", evidence(30, 30), "kill", [/and 10 more: --json names them all[\s\S]*and 10 more/]],
  ])("tells the evidence where %s", (_what, told, kind, says) => {
    const text = inWords(told, { type: "agent", id: "bot" }, kind, AT - 12_000, terminalFor());
    for (const each of says) expect(text).toMatch(each);
    if (told.evidence.unanswered.length > 0) expect(text).not.toMatch(/In force everywhere/);
  });

  it("shows nothing of strangers that could move the cursor", () => {
    expect(inWords(evidence(0, 0), { type: "agent", id: "a\u001b[2Jb" }, "kill", AT, terminalFor())).not.toContain("\u001b");
  });
});

/**
 * Answers as a gateway whose sessions do not, which a real one on this machine is never brought to. `fails`: so often it breaks off first. Every agent is
 * known to it.
 */
async function gatewayWhose(told: () => Intervened, fails = 0) {
  const keys: (string | string[] | undefined)[] = [];
  const looked: string[] = [];
  let left = fails;
  const server = createServer((request, response) => {
    if (request.method === "GET") {
      looked.push(request.url ?? "");
      return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ items: [examples.sessionSummary] }));
    }
    keys.push(request.headers["idempotency-key"]);
    if (left-- > 0) return request.socket.destroy();
    return request.resume().on("end", () => response.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify(told())));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port } = server.address() as AddressInfo;
  const options = ["--url", `http://127.0.0.1:${port}`, "--token", "t", "--reason", "x"];
  return {
    options,
    keys,
    looked,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("agentsentinel kill, where a session does not answer", () => {
  const late = (by: number): Intervened => ({
    ...examples.intervened,
    evidence: { acknowledged: [], unanswered: [SES], in_force_everywhere_by: new Date(by).toISOString() },
  });

  it("says until when, and ends with 4", async () => {
    await using gateway = await gatewayWhose(() => late(Date.now() + 30_000));
    const ended = await typed(["kill", "agent:a", ...gateway.options]);
    expect([ended.code, ended.out]).toEqual([4, expect.stringContaining("did not answer")]);
    const json = await typed(["kill", "agent:a", "--json", ...gateway.options]);
    expect([json.code, JSON.parse(json.out).evidence.unanswered]).toEqual([4, [SES]]);
  });

  it("waits with --wait until that has passed, and ends with 0", async () => {
    let by = 0;
    await using gateway = await gatewayWhose(() => {
      by = Date.now() + 1_500;
      return late(by);
    });
    const ended = await typed(["kill", "agent:a", "--wait", ...gateway.options]);
    // The server's clock is told in whole seconds, cut downwards: it is waited for longer rather than shorter.
    expect([ended.code, Date.now() >= by]).toEqual([0, true]);
    expect(ended.out).toMatch(/It is in force everywhere now\.\n$/);
  });

  it("asks again under the same key where the answer is lost", async () => {
    await using gateway = await gatewayWhose(() => ({ ...late(0), evidence: { ...late(0).evidence, unanswered: [] } }), 2);
    const ended = await typed(["kill", "agent:a", ...gateway.options]);
    expect([ended.code, gateway.keys.length, new Set(gateway.keys).size, ended.err.match(/asking again/g)?.length]).toEqual([0, 3, 1, 2]);
    expect(gateway.keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("agentsentinel kill, of what no session answers for", () => {
  const nobody = (known: boolean | null): Intervened => ({
    ...examples.intervened,
    known,
    evidence: { ...examples.intervened.evidence, acknowledged: [], unanswered: [] },
  });

  /** What a gateway of an older version says. */
  const older = (): Intervened => {
    const { known: _, lifted: __, ...told } = nobody(null);
    // A gateway may be older than the contract says.
    return told as Intervened;
  };

  it.each<[what: string, told: () => Intervened, target: string, code: number, says: RegExp, looked: readonly string[]]>([
    ["the gateway knows it", () => nobody(true), "agent:a", 0, /^$/, []],
    ["the gateway never saw it", () => nobody(false), "agent:a", 5, /BUT no agent of that name/, ["/v1/sessions?limit=1000"]],
    ["the gateway cannot tell, and it is found", () => nobody(null), "run:run_1", 0, /^$/, ["/v1/ledger?run=run_1&limit=1"]],
    ["the gateway is an older one, and it is found", older, "agent:a", 0, /^$/, ["/v1/sessions?agent=a&limit=1"]],
    ["it is an action", () => nobody(null), "action:send_*", 0, /^$/, []],
  ])("ends as it is known, and looks up no more than it must: %s", async (_what, told, target, code, says, looked) => {
    await using gateway = await gatewayWhose(told);
    const ended = await typed(["kill", target, ...gateway.options]);
    expect([ended.code, ended.err, gateway.looked]).toEqual([code, expect.stringMatching(says), looked]);
  });
});

describe.skipIf(!CAN_SEE_PROCESSES)("agentsentinel kill, pause, resume and revive, on a real gateway", { timeout: 60_000 }, () => {
  let gateway: OwnGateway;
  let session: Session;
  beforeAll(async () => {
    gateway = await ownGateway();
    session = await createSentinel({ url: gateway.url, token: gateway.agent }).openSession();
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });

  const person = (args: readonly string[], says?: readonly string[]) =>
    typed([...args, "--url", gateway.url, "--token", gateway.operator], says === undefined ? {} : { says });
  const reason = async () => (await session.decide({ action: "send_note" })).reason.code;

  it.each([
    ["agent", () => "agent:demo-agent", "agent_killed"],
    ["session", () => session.id, "session_killed"],
    ["action", () => "action:send_*", "action_killed"],
    ["tenant", () => "tenant", "tenant_killed"],
  ])("a kill of %s names the session that obeys and denies at once, until it is revived", async (_what, target, code) => {
    const killed = await person(["kill", target(), "--reason", "It mails the wrong people.", "--yes"]);
    expect([killed.code, killed.err, killed.out]).toEqual([
      0,
      "",
      expect.stringMatching(new RegExp(`1 session obeys\\n +${session.id} {2}since its entry \\d+`)),
    ]);
    expect(await reason()).toBe(code);
    const revived = await person(["revive", target(), "--reason", "It is mended.", "--json"]);
    expect([revived.code, JSON.parse(revived.out).evidence.acknowledged[0].session]).toEqual([0, session.id]);
    expect(await reason()).toBe("permitted");
  });

  it("a pause asks for its reason at a terminal, and is lifted by resume", async () => {
    const paused = await person(["pause", "agent:demo-agent"], ["The mail server is moved."]);
    expect([paused.code, paused.asked]).toEqual([0, ["Why? It goes on record: "]]);
    expect(await reason()).toBe("agent_paused");
    expect(await person(["resume", "agent:demo-agent", "--reason", "Moved."])).toMatchObject({ code: 0, err: "" });
    expect(await reason()).toBe("permitted");
  });

  it("a kill of everything asks first, and does nothing for a no or without a reason", async () => {
    const no = await person(["kill", "tenant", "--reason", "x"], ["n"]);
    expect([no.code, no.err, no.asked]).toEqual([
      1,
      "agentsentinel: nothing was done\n",
      [expect.stringContaining("Kill everything of the tenant demo on http")],
    ]);
    expect(await person(["kill", "tenant"], [""])).toMatchObject({ code: 1, err: expect.stringContaining("wants a reason") });
    expect(await reason()).toBe("permitted");
    expect(await person(["kill", "tenant", "--reason", "x"], ["y"])).toMatchObject({ code: 0 });
    expect(await reason()).toBe("tenant_killed");
    expect(await person(["revive", "tenant", "--reason", "x"])).toMatchObject({ code: 0 });
  });

  it.each<[string, () => string | Promise<string>, number, RegExp]>([
    ["an agent that was mistyped", () => "agent:demo-agnet", 5, /is in force, BUT no agent of that name .*; did you mean "demo-agent"\?\nNothing/],
    ["an agent like no other", () => "agent:wholly/another", 5, /BUT no agent of that name has ever opened a session here\nNothing/],
    ["a run that nobody opened", () => "run:run_019a9c1e-7f00-7abc-8def-0000000000aa", 5, /BUT no such run is on record here\n/],
    ["an agent that is known", () => "agent:demo-agent", 0, /^$/],
    ["a run that is known", () => `run:${session.run}`, 0, /^$/],
    [
      "an agent whose only session has ended",
      async () => {
        const { body } = await ask(gateway.url, gateway.operator, "POST", "/v1/sessions", { agent: "gone-home" });
        expect((await ask(gateway.url, gateway.operator, "POST", `/v1/sessions/${body.id}/close`, {})).status).toBe(200);
        return "agent:gone-home";
      },
      0,
      /^$/,
    ],
    [
      "a run whose session has ended",
      async () => {
        const { body } = await ask(gateway.url, gateway.operator, "POST", "/v1/sessions", { agent: "gone-home" });
        expect((await ask(gateway.url, gateway.operator, "POST", `/v1/sessions/${body.id}/close`, {})).status).toBe(200);
        return `run:${body.run}`;
      },
      0,
      /^$/,
    ],
  ])("says loudly that nobody of a name was ever seen, and puts the stop in force all the same: %s", async (_what, target, code, says) => {
    const named = await target();
    for (const [stop, lift] of [
      ["kill", "revive"],
      ["pause", "resume"],
    ] as const) {
      const stopped = await person([stop, named, "--reason", "x", "--json"]);
      expect([stopped.code, stopped.err]).toEqual([code, expect.stringMatching(says)]);
      expect(JSON.parse(stopped.out)).toMatchObject({ id: expect.stringMatching(/^int_/), evidence: { unanswered: [] } });
      // What lifts it stops nobody, and looks nobody up.
      expect(await person([lift, named, "--reason", "x"])).toMatchObject({ code: 0, err: "" });
    }
  });

  it("says that nothing was lifted of what is over, and the stop with it", async () => {
    const { body } = await ask(gateway.url, gateway.operator, "POST", "/v1/sessions", { agent: "gone-home" });
    const target = `session:${body.id}`;
    expect(await person(["kill", target, "--reason", "x"])).toMatchObject({ code: 0, err: "" });
    expect((await ask(gateway.url, gateway.operator, "POST", `/v1/sessions/${body.id}/close`, {})).status).toBe(200);
    const revived = await person(["revive", target, "--reason", "x"]);
    expect([revived.code, revived.err]).toEqual([0, expect.stringMatching(/session "ses_\S+" was not killed any more, so nothing was lifted\n$/)]);
  });

  /** What is typed in turn, how it ends and what it says besides the evidence, with "" for nothing. */
  it.each<[string, readonly (readonly [string, string, number, RegExp | ""])[]]>([
    [
      "nothing was ever stopped under a name, with the name that was",
      [
        ["kill", "agent:demo-agent", 0, ""],
        ["revive", "agent:demo-agant", 5, /agent "demo-agant" was not killed, so nothing was lifted; did you mean "demo-agent"\?\n$/],
        ["revive", "agent:like/no-other", 5, /agent "like\/no-other" was not killed, so nothing was lifted; killed are agent "demo-agent"\n$/],
        [
          "resume",
          "action:unheard_of",
          5,
          /action "unheard_of" was not paused, so nothing was lifted; nothing is paused here\n.*still in force is the kill of agent "demo-agent"/,
        ],
        ["revive", "agent:demo-agent", 0, ""],
      ],
    ],
    [
      "somebody has lifted it before",
      [
        ["pause", "action:send_*", 0, ""],
        ["resume", "action:send_*", 0, ""],
        ["resume", "action:send_*", 0, /action "send_\*" was not paused any more: demo-operator resumed it at 20\S+Z\n$/],
      ],
    ],
    [
      "something else still stops it",
      [
        ["kill", "tenant", 0, ""],
        ["kill", "agent:demo-agent", 0, ""],
        ["pause", "agent:demo-agent", 0, ""],
        [
          "revive",
          "agent:demo-agent",
          0,
          /^agentsentinel: still in force is the pause of agent "demo-agent", since 20\S+Z by demo-operator: "x"\nagentsentinel: still in force is the kill of tenant "demo", since/,
        ],
        ["resume", "agent:demo-agent", 0, /^agentsentinel: still in force is the kill of tenant "demo", [^\n]*\n$/],
        ["revive", "tenant", 0, ""],
      ],
    ],
    [
      "what stops others does not stop it",
      [
        ["kill", "agent:demo-agent", 0, ""],
        ["kill", "agent:other", 5, /BUT no agent/],
        ["revive", "agent:other", 0, ""],
        ["revive", "agent:demo-agent", 0, ""],
      ],
    ],
  ])("says of what lifts a stop where %s", async (_what, steps) => {
    for (const [kind, target, code, says] of steps) {
      const ended = await person([kind, target, "--reason", "x", "--yes", "--json"]);
      expect([kind, target, ended.code, ended.err]).toEqual([kind, target, code, says === "" ? "" : expect.stringMatching(says)]);
      expect(JSON.parse(ended.out)).toMatchObject({ id: expect.stringMatching(/^int_/) });
    }
  });

  it("says that it could not look, where the token may stop and not read, unless the gateway knows by itself", async () => {
    const wish = { tenant: "demo", subject: "ops", kind: "human", scopes: ["interventions:write"] };
    const { body } = await ask(gateway.url, ROOT_KEY, "POST", "/v1/tokens", wish);
    const stop = (target: string) => typed(["kill", target, "--reason", "x", "--url", gateway.url, "--token", body.token]);
    const run = "run_019a9c1e-7f00-7abc-8def-0000000000aa";
    const ended = await stop(run);
    expect([ended.code, ended.err]).toEqual([0, expect.stringMatching(/whether any run ".*" was ever seen here could not be looked up .*403/)]);
    expect(ended.out).toMatch(/^Killed run run_/);
    const stranger = await stop("agent:demo-agnet");
    // Which name is near it may not read either.
    expect([stranger.code, stranger.err]).toEqual([5, expect.stringMatching(/BUT no agent of that name has ever opened a session here\nNothing/)]);
    for (const named of [run, "agent:demo-agnet"]) await person(["revive", named, "--reason", "x"]);
  });

  it("says what the gateway refuses", async () => {
    const agent = await typed(["kill", "agent:demo-agent", "--reason", "x", "--url", gateway.url, "--token", gateway.agent]);
    expect([agent.code, agent.err]).toEqual([1, expect.stringContaining("403 scope_insufficient")]);
    expect(agent.err).not.toContain("asking again");
    const nobody = await person(["kill", `session:${SES}`, "--reason", "x"]);
    expect([nobody.code, nobody.err]).toEqual([1, expect.stringContaining("404 not_found")]);
    const mistyped = await person(["kill", "session:nope", "--reason", "x"]);
    expect([mistyped.code, mistyped.err]).toEqual([2, expect.stringMatching(/422 body_invalid[\s\S]*Usage: agentsentinel kill TARGET/)]);
  });
});
