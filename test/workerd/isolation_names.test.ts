import { beforeAll, describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import type { IdPrefix } from "../../src/core/ids.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { ask, type Estate, idsIn, leaked, type Names, newEstate, type Question, type Sender, stateOf, told } from "./isolation_estate.ts";
import { question, ROWS, routeOf } from "./isolation_table.ts";

/** What things are called gives no power over them: ids cannot be guessed, and the same name, key or id in two places means two things. */

/** Two tenants whose people gave everything the same names. */
let mine: Estate;
let other: Estate;
beforeAll(async () => {
  mine = await newEstate();
  other = await newEstate(mine.names);
});

type Asked = readonly [method: string, path: string];

const post = (path: string, body?: unknown): Question => ({ method: "POST", path, body });

const decided = (sender: Sender, session: string, body: wire.DecisionRequest) =>
  told<wire.Decision>(200, sender, post(`/v1/sessions/${session}/decisions`, body));

describe("an id that the gateway makes", () => {
  const SAMPLES = 64;
  const many = <T>(make: () => Promise<T>): Promise<readonly T[]> => Promise.all(Array.from({ length: SAMPLES }, make));

  /** Ids by their prefix, each made for a request of its own, or for one of many in a batch. */
  async function sampled(): Promise<ReadonlyMap<string, readonly string[]>> {
    const [busy, quiet] = await Promise.all([newEstate(), newEstate()]);
    const batch = { decisions: Array.from({ length: SAMPLES }, () => ({ action: "pay" })) };
    const reason = { target: { type: "action", id: "nothing" }, kind: "resume", reason: "for the test" };
    const token = { subject: "x", kind: "human", scopes: [] };
    const answers = [
      ...(await many(() => told(201, busy.agent, post("/v1/sessions")))),
      ...(await many(() => told(201, quiet.operator, post("/v1/tokens", token)))),
      ...(await many(() => told(201, quiet.operator, post("/v1/interventions", reason)))),
      await told(200, busy.agent, post(`/v1/sessions/${busy.names.session}/decisions/batch`, batch)),
    ];
    const known = new Set([...Object.values(busy.names), ...Object.values(quiet.names), quiet.peerSession]);
    const made = new Set(answers.flatMap((answer) => idsIn(JSON.stringify(answer))).filter((id) => !known.has(id)));
    return Map.groupBy(made, (id) => id.slice(0, 3));
  }

  it("has 74 bits of chance, whatever it is of", async () => {
    const byPrefix = await sampled();
    expect([...byPrefix.keys()].sort()).toEqual(["apr", "dec", "ent", "int", "run", "ses", "tok"] satisfies IdPrefix[]);
    for (const [prefix, ids] of byPrefix) {
      expect(ids.length, prefix).toBeGreaterThanOrEqual(SAMPLES);
      const chances = ids.map(chanceOf);
      const ones = Array.from({ length: 74 }, (_, bit) => chances.filter((bits) => bits[bit] === "1").length);
      // A bit that is always the same is no chance: 64 fair ones are so once in 2 ** 63 times. Nor are all of them together off by six deviations.
      for (const [bit, count] of ones.entries()) expect(count > 0 && count < ids.length, `${prefix}, bit ${bit}`).toBe(true);
      const tosses = 74 * ids.length;
      const total = ones.reduce((sum, count) => sum + count, 0);
      expect(Math.abs(total - tosses / 2), prefix).toBeLessThan(6 * Math.sqrt(tosses / 4));
      expect(new Set(chances).size).toBe(ids.length);
    }
  });

  /** What of a UUIDv7 is neither time nor form (RFC 9562 section 5.7), as a text of bits. */
  function chanceOf(id: string): string {
    const digits = id.slice(4).replaceAll("-", "");
    const bits = BigInt(`0x${digits}`).toString(2).padStart(128, "0");
    return `${bits.slice(52, 64)}${bits.slice(66)}`;
  }

  it.each([
    ["session", (of: Names): Asked => ["GET", `/v1/sessions/${of.session}`]],
    ["run", (of: Names): Asked => ["POST", `/v1/sessions/${of.session}/runs/${of.run}/close`]],
    ["pending", (of: Names): Asked => ["GET", `/v1/sessions/${of.session}/decisions/${of.pending}`]],
    ["entry", (of: Names): Asked => ["GET", `/v1/ledger/${of.entry}`]],
    ["token", (of: Names): Asked => ["DELETE", `/v1/tokens/${of.token}`]],
    ["webhook", (of: Names): Asked => ["POST", `/v1/webhooks/${of.webhook}/resume`]],
    ["delivery", (of: Names): Asked => ["POST", `/v1/webhooks/${of.webhook}/deliveries/${of.delivery}/redeliver`]],
  ] as const)("of the %s is nobody's when one digit is another, even to whose it is", async (name, asked) => {
    const estate = await newEstate();
    // A tenant without issuers knows every token that there is.
    for (const issuer of [estate.names.issuer, "login"]) await ask(estate.operator, { method: "DELETE", path: `/v1/issuers/${issuer}` });
    const before = await stateOf(estate);
    const id = estate.names[name];
    const places = Array.from(id, (_, place) => place).filter((place) => place > 3 && id[place] !== "-");
    expect(places).toHaveLength(32);
    await Promise.all(
      places.map(async (place) => {
        const digit = (Number.parseInt(id.charAt(place), 16) ^ 1).toString(16);
        const [method, path] = asked({ ...estate.names, [name]: `${id.slice(0, place)}${digit}${id.slice(place + 1)}` });
        expect(await told(404, estate.operator, { method, path })).toMatchObject({ code: "not_found" });
      }),
    );
    expect(await stateOf(estate)).toEqual(before);
  });
});

describe("an Idempotency-Key", () => {
  /** Every operation that makes something, asked in the same words whoever asks, but for a note. */
  const KEYED: readonly (readonly [id: string, isForAgents: boolean, asked: (session: string, note: string, of: Names) => Question])[] = [
    ["openSession", true, (_, note) => post("/v1/sessions", { labels: { note } })],
    ["openRun", true, (session) => post(`/v1/sessions/${session}/runs`)],
    ["grantLease", true, (session) => post(`/v1/sessions/${session}/leases`, { amount_usd: "0.01", actions: ["look"] })],
    ["decide", true, (session, note) => post(`/v1/sessions/${session}/decisions`, { action: "look", rationale: note })],
    ["decideBatch", true, (session, note) => post(`/v1/sessions/${session}/decisions/batch`, { decisions: [{ action: "look", rationale: note }] })],
    ["issueToken", false, (_, note) => post("/v1/tokens", { subject: note, kind: "human", scopes: [] })],
    ["linkApproval", false, (_session, note, of) => post(`/v1/approvals/${of.approval}/links`, { subject: note })],
    ["intervene", false, (_, note) => post("/v1/interventions", { target: { type: "agent", id: "x" }, kind: "pause", reason: note })],
    ["createWebhook", false, (_, note) => post("/v1/webhooks", { url: `https://hook.example/${encodeURIComponent(note)}`, events: ["ingest.*"] })],
    ["rotateWebhook", false, (_session, _note, of) => post(`/v1/webhooks/${of.webhook}/rotate`)],
  ];

  it("is tried with everything that makes something for a tenant", () => {
    // A tenant is made by the root key, which is one. Of a report nothing comes back that has a name: its keys are tried in `ingest.test.ts`.
    const making = ROUTES.filter(({ id, creates, caller }) => creates && caller !== "root" && id !== "ingestEntries").map(({ id }) => id);
    expect(KEYED.map(([id]) => id).sort()).toEqual(making.sort());
  });

  it.each(KEYED)(
    "of %s is its sender's own: from another it is another key, with the same body and with any other",
    async (_, isForAgents, asked) => {
      const senders: readonly (readonly [Sender, session: string])[] = [
        [mine.operator, mine.names.session],
        [mine.service, mine.names.session],
        [other.operator, other.names.session],
        [other.service, other.names.session],
        ...(isForAgents
          ? ([
              [mine.agent, mine.names.session],
              [mine.peer, mine.peerSession],
              [other.agent, other.names.session],
            ] as const)
          : []),
      ];
      for (const noteOf of [() => "same", (place: number) => `note ${place}`]) {
        const headers = { "Idempotency-Key": crypto.randomUUID() };
        const made: string[] = [];
        for (const [place, [sender, session]] of senders.entries()) {
          const { names } = sender.tenant === mine.names.tenant ? mine : other;
          const sent = { ...asked(session, noteOf(place), names), headers };
          const first = await ask(sender, sent);
          expect(first.status, first.text).toBeLessThan(300);
          expect(first.headers).not.toContain("idempotency-replayed");
          const again = await ask(sender, sent);
          expect(again.headers).toContain("idempotency-replayed: true");
          expect(again.text).toBe(first.text);
          const answer: { id?: string; url?: string; secret?: string; decisions?: readonly { id: string }[] } = JSON.parse(first.text);
          // Of a webhook its secret is what is made, and of a link its address.
          made.push(answer.secret ?? answer.url ?? answer.id ?? answer.decisions?.[0]?.id ?? "");
        }
        expect(new Set(made).size).toBe(senders.length);
      }
    },
  );
});

describe("a decision's id that a client made", () => {
  it("is another decision in another session, whoever knows it", async () => {
    const id = `dec_${crypto.randomUUID()}`;
    const first = await decided(mine.agent, mine.names.session, { id, action: "look", estimate_usd: "0.5", inputs: { of: "mine" } });
    const others = [
      [other.agent, other.names.session],
      [mine.peer, mine.peerSession],
    ] as const;
    for (const [sender, session] of others) {
      const sent = post(`/v1/sessions/${session}/decisions`, { id, action: "rm", inputs: { of: "theirs" } });
      const answer = await ask(sender, sent);
      expect(answer.headers).not.toContain("idempotency-replayed");
      expect(JSON.parse(answer.text)).toMatchObject({ id, session, verdict: "deny", action: "rm" });
      expect(leaked(answer, sent, new Set(idsIn(JSON.stringify(first))))).toEqual([]);
      // What is denied there has nothing to be settled, and what is settled there is not this.
      const settled = await ask(sender, post(`/v1/sessions/${session}/decisions/${id}/commit`, { cost_usd: "3", outcome: "success" }));
      expect(settled.status).toBe(409);
    }
    const read = await told<wire.DecisionNow>(200, mine.agent, { method: "GET", path: `/v1/sessions/${mine.names.session}/decisions/${id}` });
    expect(read).toMatchObject({ state: "pending", verdict: "allow", action: "look", reservation: { amount_usd: "0.5" } });
    const { items } = await told<wire.Page<wire.LedgerEntry>>(200, mine.operator, {
      method: "GET",
      path: `/v1/ledger?session=${mine.names.session}`,
    });
    expect(items.filter(({ decision_id }) => decision_id === id).map(({ action }) => action)).toEqual(["look"]);
  });
});

describe("an event's id", () => {
  const heard = async (sender: Sender, more: Partial<Question>): Promise<{ readonly text: string; readonly ids: readonly string[] }> => {
    const { text } = await ask(sender, { method: "GET", path: "/v1/events", ...more });
    return { text, ids: Array.from(text.matchAll(/^id: (.*)$/gm), ([, id = ""]) => id) };
  };

  it("of one tenant is a place among the events of whoever sends it", async () => {
    const [long, short] = await Promise.all([newEstate(), newEstate()]);
    for (let n = 0; n < 5; n++) await decided(long.agent, long.names.session, { action: "look" });
    // What is read of the ledger first is in the stream.
    for (const { operator } of [long, short]) await ask(operator, { method: "GET", path: "/v1/ledger" });
    const theirs = await heard(long.operator, { headers: { "Last-Event-ID": "0" } });
    const own = await heard(short.operator, { headers: { "Last-Event-ID": "0" } });
    expect(theirs.ids.length).toBeGreaterThan(own.ids.length);
    for (const id of theirs.ids) {
      const resumed = await heard(short.operator, { headers: { "Last-Event-ID": id } });
      expect(resumed.ids).toEqual(own.ids.filter((known) => Number(known) > Number(id)));
      expect([...long.marks].filter((mark) => resumed.text.includes(mark))).toEqual([]);
      const asked = { method: "GET", path: `/v1/events/ws?last_event_id=${id}`, headers: { Upgrade: "websocket" } };
      const socket = await ask(short.operator, asked);
      expect(socket.text === "" ? [] : socket.text.split("\n").map((line) => JSON.parse(line).id)).toEqual(resumed.ids);
    }
  });
});

describe("what two tenants call the same", () => {
  it("is two things, whatever is read of them", async () => {
    const secrets = new Set([...mine.marks].filter((mark) => !Object.values(other.names).includes(mark)));
    expect(secrets.size).toBeGreaterThan(30);
    for (const row of ROWS.filter((one) => routeOf(one).method === "GET")) {
      const asked = question(row, other.names);
      const answer = await ask(row.by === "anyone" ? { tenant: "", authorization: null } : other.operator, asked);
      expect(answer.status, `${row.id}: ${answer.text}`).toBe(row.status);
      expect(leaked(answer, asked, secrets), row.id).toEqual([]);
    }
  });

  it("spends and stops apart", async () => {
    const limits = { budgets: { agent: { total: "1" }, tenant: { total: "1" } } };
    for (const { operator } of [mine, other]) await told(201, operator, { method: "PUT", path: "/v1/policies/limits", body: limits });
    const spend = (estate: Estate) => decided(estate.agent, estate.names.session, { action: "look", estimate_usd: "0.4" });
    const verdicts: string[] = [];
    for (let n = 0; n < 3; n++) verdicts.push((await spend(mine)).reason.code);
    expect(verdicts.at(-1)).toBe("agent_budget_exceeded");
    expect((await spend(other)).verdict).toBe("allow");
    const kill = { target: { type: "agent", id: mine.names.agent }, kind: "kill", reason: "for the test" };
    await told(201, mine.operator, post("/v1/interventions", kill));
    expect((await spend(mine)).reason.code).toBe("agent_killed");
    expect((await spend(other)).verdict).toBe("allow");
    expect((await told<wire.SessionDetail>(200, other.agent, { method: "GET", path: `/v1/sessions/${other.names.session}` })).state).toBe("active");
  });
});
