import { runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { Principal } from "../../src/core/request.ts";
import { SCOPES } from "../../src/core/scopes.ts";
import { openSession } from "../../src/flow/open_session.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { decideOne, got, newTenant, ports, usd } from "./world.ts";

afterEach(() => {
  vi.useRealTimers();
});

const ORIGIN = "https://gate.example";
const PAY = "approvals: { actions: [pay], timeout_seconds: 7200 }\nbudgets: { session: 100 }";

const send = (method: string, path: string, token: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  exports.default.fetch(`${ORIGIN}${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, ...(body !== undefined && { "Content-Type": "application/json" }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

/** What an answer says, if it has the wanted status. The caller says what it reads of it. */
async function told<T>(status: number, sent: Promise<Response>): Promise<T> {
  const response = await sent;
  const text = await response.text();
  expect(response.status, text).toBe(status);
  return JSON.parse(text) as T;
}

const refusalOf = async (sent: Promise<Response>): Promise<string> => {
  const response = await sent;
  const { code }: { readonly code?: string } = await response.json();
  return `${response.status} ${code}`;
};

/** A tenant that allows links, unless it is said, and one thing that waits for a person. */
async function desk(policy = PAY, settings: wire.PutSettingsRequest = { approval_links: true }) {
  const { tenant, agent } = await newTenant(policy);
  const issue = async (subject: string, kind: wire.TokenKind, scopes: readonly wire.Scope[]): Promise<string> =>
    (await told<wire.IssuedToken>(201, send("POST", "/v1/tokens", env.ROOT_KEY, { tenant, subject, kind, scopes }))).token;
  const operator = await issue("ops", "human", SCOPES);
  const choose = (chosen: wire.PutSettingsRequest) => told(200, send("PUT", "/v1/settings", operator, chosen));
  await choose(settings);
  const wish = { agent: null, labels: {}, budgetMicroUsd: null, ttlMs: 4 * HOUR_MS };
  const session = got(await openSession(ports, agent, wish, null)).answer.id;
  const hold = async (asker: Principal = agent): Promise<string> => {
    const held = await decideOne(asker, session, "pay", { inputs: { to: "acct_1" }, estimateMicroUsd: usd("30") });
    if (held.approval === null) throw new Error("a hold names its approval");
    return held.approval.id;
  };
  const link = (id: string, body: object, token = operator, headers = {}) => send("POST", `/v1/approvals/${id}/links`, token, body, headers);
  /** The token of a new link: what stands behind `#` in its address. */
  const linked = async (id: string, subject: string, more: object = {}): Promise<string> =>
    new URL((await told<wire.ApprovalLink>(201, link(id, { subject, ...more }))).url).hash.slice(1);
  const read = (id: string, token = operator) => send("GET", `/v1/approvals/${id}`, token);
  const digestOf = async (id: string): Promise<string> => (await told<wire.Approval>(200, read(id))).action_digest;
  const decide = async (id: string, token: string, decision = "approve", more: object = {}): Promise<Response> =>
    send("POST", `/v1/approvals/${id}/decide`, token, { decision, action_digest: await digestOf(id), ...more });
  const entries = async (kind: string) => (await told<wire.Page<wire.LedgerEntry>>(200, send("GET", `/v1/ledger?kind=${kind}`, operator))).items;
  return { tenant, agent, session, operator, issue, choose, hold, link, linked, read, decide, entries };
}

const HOUR_MS = 3_600_000;

describe("a link", () => {
  it("is made only where the settings allow it", async () => {
    const { hold, link, choose } = await desk(PAY, {});
    const id = await hold();
    const refused = await told<wire.Problem>(403, link(id, { subject: "ann" }));
    expect([refused.code, refused.detail]).toEqual(["scope_insufficient", "The tenant's settings do not let approvals be answered by links."]);
    await choose({ approval_links: true });
    expect((await link(id, { subject: "ann" })).status).toBe(201);
  });

  it("names its page and its person, keeps its token behind the #, and is on record with its approval", async () => {
    const { hold, link, entries, operator } = await desk();
    const id = await hold();
    const made = await told<wire.ApprovalLink>(201, link(id, { subject: "ann" }));
    expect(made.subject).toBe("ann");
    const { origin, pathname, search } = new URL(made.url);
    expect([origin, pathname, search]).toEqual([ORIGIN, "/approve", ""]);
    const [issued] = (await entries("token")).filter(({ details }) => details?.subject === "ann");
    expect(issued).toMatchObject({
      principal: { subject: "ops" },
      details: { event: "issued", approval: id, kind: "human", scopes: ["approvals:read", "approvals:write"] },
    });
    const { items } = await told<wire.Page<wire.TokenSummary>>(200, send("GET", "/v1/tokens", operator));
    expect(items.map(({ subject, approval }) => [subject, approval])).toContainEqual(["ann", id]);
    expect(items.map(({ subject, approval }) => [subject, approval])).toContainEqual(["ops", null]);
  });

  it.each([
    ["an hour unless it is said", {}, HOUR_MS],
    ["as long as it is said", { ttl_ms: 60_000 }, 60_000],
  ])("lives %s, and then it is refused", async (_, more, livesMs) => {
    const { hold, link } = await desk();
    const id = await hold();
    const before = Date.now();
    const made = await told<wire.ApprovalLink>(201, link(id, { subject: "ann", ...more }));
    const end = Date.parse(made.expires_at);
    expect(end).toBeGreaterThanOrEqual(before + livesMs);
    expect(end).toBeLessThanOrEqual(Date.now() + livesMs);
    const authorization = `Bearer ${new URL(made.url).hash.slice(1)}`;
    expect(await ports.identity.authenticate(authorization, end - 1)).toMatchObject({
      ok: true,
      value: { principal: { subject: "ann", kind: "human", only: id }, scopes: ["approvals:read", "approvals:write"] },
    });
    expect(await ports.identity.authenticate(authorization, end)).toMatchObject({ ok: false, error: { code: "token_expired" } });
  });

  it("lives no longer than its approval waits", async () => {
    const { hold, link, read } = await desk();
    const id = await hold();
    const made = await told<wire.ApprovalLink>(201, link(id, { subject: "ann", ttl_ms: 24 * HOUR_MS }));
    expect(made.expires_at).toBe((await told<wire.Approval>(200, read(id))).expires_at);
  });

  it("is refused longer than a day, for nobody, and where nothing can be answered any more", async () => {
    const { hold, link, decide, operator, read } = await desk();
    const id = await hold();
    expect(await refusalOf(link(id, { subject: "ann", ttl_ms: 24 * HOUR_MS + 1 }))).toBe("422 body_invalid");
    expect(await refusalOf(link(id, {}))).toBe("422 body_invalid");
    expect((await decide(id, operator, "reject")).status).toBe(200);
    expect(await refusalOf(link(id, { subject: "ann" }))).toBe("409 approval_closed");
    const unanswered = await hold();
    // The clocks of the objects: the door's goes on as it is.
    vi.useFakeTimers({ now: Date.now() + 2 * HOUR_MS, toFake: ["Date"] });
    expect(await refusalOf(link(unanswered, { subject: "ann" }))).toBe("409 approval_closed");
    expect((await told<wire.Approval>(200, read(unanswered))).status).toBe("expired");
  });

  it("is made by people and services that hold what it gives away, and not by agents", async () => {
    const { hold, link, issue, linked } = await desk();
    const id = await hold();
    const gives: readonly wire.Scope[] = ["tokens:write", "approvals:read", "approvals:write"];
    expect((await link(id, { subject: "ann" }, await issue("pep", "service", gives))).status).toBe(201);
    expect(await refusalOf(link(id, { subject: "ann" }, await issue("pep", "service", ["tokens:write"])))).toBe("403 scope_insufficient");
    expect(await refusalOf(link(id, { subject: "ann" }, await issue("bot", "agent", ["approvals:read"])))).toBe("403 scope_insufficient");
    expect(await refusalOf(link(id, { subject: "bob" }, await linked(id, "ann")))).toBe("403 scope_insufficient");
  });

  it("is the same for the same Idempotency-Key, and another body under it is refused", async () => {
    const { hold, link, operator } = await desk();
    const [id, another] = [await hold(), await hold()];
    const headers = { "Idempotency-Key": "k1" };
    const first = await told<wire.ApprovalLink>(201, link(id, { subject: "ann" }, operator, headers));
    expect(await told(201, link(id, { subject: "ann" }, operator, headers))).toEqual(first);
    expect(await refusalOf(link(id, { subject: "bob" }, operator, headers))).toBe("409 idempotency_mismatch");
    expect(await refusalOf(link(another, { subject: "ann" }, operator, headers))).toBe("409 idempotency_mismatch");
    // The same key sent for a token names a token.
    expect((await send("POST", "/v1/tokens", operator, { subject: "ann", kind: "human", scopes: [] }, headers)).status).toBe(201);
  });
});

const claimsIn = (token: string): Record<string, unknown> => JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());

describe("the token of a link", () => {
  it.each<[string, (claims: Record<string, unknown>, another: string) => unknown]>([
    ["another approval is named in", (claims, another) => ({ ...claims, apr: another })],
    ["the approval is taken out of", ({ apr: _, ...claims }) => claims],
    ["more scopes are written into", (claims) => ({ ...claims, scope: SCOPES.join(" ") })],
    ["another person is named in", (claims) => ({ ...claims, sub: "bob" })],
  ])("%s it is nothing any more", async (_, forge) => {
    const { hold, linked, read, decide, operator } = await desk();
    const [id, another] = [await hold(), await hold()];
    const token = await linked(id, "ann");
    const [header, , signature] = token.split(".");
    const claims = Buffer.from(JSON.stringify(forge(claimsIn(token), another))).toString("base64url");
    const forged = `${header}.${claims}.${signature}`;
    for (const each of [id, another]) {
      expect(await refusalOf(read(each, forged))).toBe("401 token_invalid");
      expect(await refusalOf(decide(each, forged))).toBe("401 token_invalid");
    }
    expect((await told<wire.Approval>(200, read(id, operator))).answers).toEqual([]);
  });

  it("is in no entry, no list and no answer but the one that made it", async () => {
    const { hold, linked, read, decide, operator } = await desk();
    const id = await hold();
    const tokens = [await linked(id, "ann"), await linked(id, "bob")];
    for (const token of tokens) await decide(id, token);
    const seen = ["/v1/ledger?limit=100", "/v1/tokens?limit=100", "/v1/approvals", "/v1/approvals/signals", `/v1/approvals/${id}`];
    for (const path of seen) {
      const text = await (await send("GET", path, operator)).text();
      // What nobody can make out of the rest.
      for (const token of tokens) expect(text, path).not.toContain(token.split(".")[2]);
      expect(text, path).not.toContain("/approve#");
    }
    expect(await (await read(id, tokens[1])).text()).not.toContain(tokens[1]);
  });

  it("is told to no session when it ends, so that leases are the same however many there were", async () => {
    const { tenant, session, hold, linked, decide, issue, operator, agent } = await desk();
    const epoch = () =>
      runInDurableObject(
        env.TENANTS.getByName(tenant),
        (_, { storage }) => storage.sql.exec<{ epoch: number }>("SELECT epoch FROM tenant").one().epoch,
      );
    const revoked = () =>
      runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (_, { storage }) => {
        const { lease } = storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one();
        // As the session itself wrote it.
        return (JSON.parse(lease) as { revokedTokens: string[] }).revokedTokens;
      });
    const id = await hold();
    const token = await linked(id, "ann");
    const before = await epoch();
    expect((await decide(id, token)).status).toBe(200);
    expect(await epoch()).toBe(before);
    // Another token is told of, and the link not with it.
    const other = String(claimsIn(await issue("eve", "human", ["approvals:read"])).jti);
    expect((await send("DELETE", `/v1/tokens/${other}`, operator)).status).toBe(204);
    expect((await decideOne(agent, session, "pay", { inputs: { to: "acct_2" } })).verdict).toBe("hold");
    expect(await revoked()).toEqual([other]);
    expect(await refusalOf(decide(id, token))).toBe("401 token_revoked");
  });

  it("that was used is not made good by its Idempotency-Key, and where links are off none is given again", async () => {
    const { hold, link, read, decide, operator, choose } = await desk();
    const id = await hold();
    const headers = { "Idempotency-Key": "once" };
    const made = async () => new URL((await told<wire.ApprovalLink>(201, link(id, { subject: "ann" }, operator, headers))).url).hash.slice(1);
    const token = await made();
    expect((await decide(id, token, "reject")).status).toBe(200);
    expect(await made()).toBe(token);
    expect(await refusalOf(read(id, token))).toBe("401 token_revoked");
    await choose({});
    expect(await refusalOf(link(id, { subject: "ann" }, operator, headers))).toBe("403 scope_insufficient");
  });
});

describe("whoever has a link", () => {
  it("comes to another approval by no way of writing its address", async () => {
    const { hold, linked } = await desk();
    const [id, another] = [await hold(), await hold()];
    const token = await linked(id, "ann");
    const coded = another.replace("a", "%61");
    for (const path of [
      coded,
      `${id}/../${another}`,
      `${id}%2F..%2F${another}`,
      `${id};${another}`,
      `${id}?approval=${another}`,
      another.toUpperCase(),
    ]) {
      const response = await send("GET", `/v1/approvals/${path}`, token);
      const text = await response.text();
      expect(text, path).not.toContain(`"id":"${another}"`);
    }
  });

  it("reads what another has answered meanwhile, and answers it no more", async () => {
    const { hold, linked, read, decide, operator } = await desk();
    const id = await hold();
    const token = await linked(id, "ann");
    expect((await decide(id, operator)).status).toBe(200);
    expect(await refusalOf(decide(id, token, "reject"))).toBe("409 approval_closed");
    expect((await told<wire.Approval>(200, read(id, token))).status).toBe("approved");
  });

  it("asks in one window while the other says yes: whatever comes first, one yes is taken and nothing after it", async () => {
    for (let round = 0; round < 5; round++) {
      const { hold, linked, read, decide } = await desk();
      const id = await hold();
      const token = await linked(id, "ann");
      const both = [decide(id, token, "request_info", { note: "Which?" }), decide(id, token)];
      const [asked, said] = await Promise.all(round % 2 === 0 ? both : both.toReversed());
      const yes = round % 2 === 0 ? said : asked;
      expect(yes?.status).toBe(200);
      const { status, answers } = await told<wire.Approval>(200, read(id));
      expect([status, answers.at(-1)?.decision, answers.length <= 2]).toEqual(["approved", "approve", true]);
      expect(await refusalOf(read(id, token))).toBe("401 token_revoked");
    }
  });

  it.each(["human", "service"] as const)("does not approve what a %s asked for on the agent's behalf under that very name", async (kind) => {
    const { hold, linked, decide, agent } = await desk();
    const id = await hold({ ...agent, kind, subject: "carl" });
    expect(await refusalOf(decide(id, await linked(id, "carl")))).toBe("403 self_approval");
    expect(await refusalOf(decide(id, await linked(id, "bot")))).toBe("403 self_approval");
    expect((await decide(id, await linked(id, "ann"))).status).toBe(200);
  });

  it.each([
    ["whom the link's own scopes put into a group", "approvals:write", "approved"],
    ["whose other scopes would", "policies:write", "403 scope_insufficient"],
  ])("answers as somebody %s", async (_, scope, becomes) => {
    const { hold, linked, decide, issue } = await desk(PAY.replace("timeout_seconds", `approvers: [{ scopes: ["${scope}"] }], timeout_seconds`));
    const id = await hold();
    // Ann's own token has every scope, and her link has two.
    const hers = await issue("ann", "human", SCOPES);
    const answer = await decide(id, await linked(id, "ann"));
    const { status, code }: { status: string | number; code?: string } = await answer.json();
    expect(code === undefined ? status : `${status} ${code}`).toBe(becomes);
    if (code !== undefined) expect((await decide(id, hers)).status).toBe(200);
  });

  it("reads and answers one approval, and uses no other route, and this one of no other approval", async () => {
    const { hold, linked, read, decide } = await desk();
    const [id, another] = [await hold(), await hold()];
    const token = await linked(id, "ann");
    const letIn: string[] = [];
    const guarded = ROUTES.filter(({ caller }) => caller !== "anyone");
    for (const { method, path, id: operation } of guarded) {
      const response = await send(method, path.replace("{approval}", id).replaceAll(/\{\w+\}/g, "x"), token);
      if (response.status !== 403) letIn.push(operation);
      else expect(await response.json(), operation).toMatchObject({ code: "scope_insufficient" });
    }
    expect(letIn).toEqual(["readApproval", "decideApproval"]);
    expect(await refusalOf(read(another, token))).toBe("403 scope_insufficient");
    expect(await refusalOf(decide(another, token))).toBe("403 scope_insufficient");
    const answers = [{ id, decision: "approve", action_digest: `sha-256:${"0".repeat(64)}` }];
    expect(await refusalOf(send("POST", "/v1/approvals/decide", token, { answers }))).toBe("403 scope_insufficient");
    expect((await told<wire.Approval>(200, read(another))).status).toBe("pending");
  });

  it.each(["approve", "reject"] as const)("answers once: after %s the link is dead, and the answer stands", async (decision) => {
    const { hold, linked, read, decide, entries } = await desk();
    const id = await hold();
    const token = await linked(id, "ann");
    const answered = await told<wire.Approval>(200, decide(id, token, decision));
    expect([answered.status, answered.answers.map(({ subject }) => subject)]).toEqual([decision === "approve" ? "approved" : "rejected", ["ann"]]);
    expect(await refusalOf(read(id, token))).toBe("401 token_revoked");
    expect(await refusalOf(decide(id, token, decision))).toBe("401 token_revoked");
    const revoked = (await entries("token")).filter(({ details }) => details?.event === "revoked");
    expect(revoked).toMatchObject([{ principal: { subject: "ann" } }]);
  });

  it("answers once, however many answers come at the same time", async () => {
    const { hold, linked, read, decide } = await desk();
    const id = await hold();
    const token = await linked(id, "ann");
    const answers = await Promise.all(["approve", "reject", "approve", "reject"].map((decision) => decide(id, token, decision)));
    const statuses = await Promise.all(answers.filter(({ ok }) => ok).map(async (one) => ((await one.json()) as wire.Approval).status));
    const { status, answers: taken } = await told<wire.Approval>(200, read(id));
    expect(taken).toHaveLength(1);
    expect(new Set(statuses)).toEqual(new Set([status]));
    expect(await refusalOf(read(id, token))).toBe("401 token_revoked");
  });

  it("asks for more and answers later by the same link; an answer that was refused does not end it", async () => {
    const { hold, linked, decide } = await desk();
    const id = await hold();
    const token = await linked(id, "ann");
    expect((await told<wire.Approval>(200, decide(id, token, "request_info", { note: "Which one?" }))).status).toBe("info_requested");
    const digest = `sha-256:${"0".repeat(64)}`;
    expect(await refusalOf(decide(id, token, "approve", { action_digest: digest }))).toBe("422 body_invalid");
    expect((await told<wire.Approval>(200, decide(id, token))).status).toBe("approved");
  });

  it("is turned away once the settings no longer allow links, and let in again when they do", async () => {
    const { hold, linked, read, decide, choose } = await desk();
    const id = await hold();
    const token = await linked(id, "ann");
    await choose({});
    expect(await refusalOf(read(id, token))).toBe("403 scope_insufficient");
    expect(await refusalOf(decide(id, token))).toBe("403 scope_insufficient");
    const { status, answers, seen } = await told<wire.Approval>(200, read(id));
    expect([status, answers, seen.map(({ subject }) => subject)]).toEqual(["pending", [], ["ops"]]);
    await choose({ approval_links: true });
    expect((await decide(id, token)).status).toBe(200);
  });

  it("is turned away once the link was revoked", async () => {
    const { hold, linked, read, decide, operator } = await desk();
    const id = await hold();
    const token = await linked(id, "ann");
    const { items } = await told<wire.Page<wire.TokenSummary>>(200, send("GET", "/v1/tokens", operator));
    const listed = items.find(({ approval }) => approval === id);
    expect((await send("DELETE", `/v1/tokens/${listed?.id}`, operator)).status).toBe(204);
    expect(await refusalOf(read(id, token))).toBe("401 token_revoked");
    expect(await refusalOf(decide(id, token))).toBe("401 token_revoked");
  });

  it("does not approve what they asked for themselves, nor as the agent", async () => {
    const { hold, linked, decide } = await desk();
    const id = await hold();
    expect(await refusalOf(decide(id, await linked(id, "bot")))).toBe("403 self_approval");
  });

  it("does not approve as the agent's owner where four eyes are wanted, and counts as one person", async () => {
    const { hold, linked, decide, operator } = await desk(PAY.replace("timeout_seconds", "four_eyes: true, quorum: 2, timeout_seconds"));
    await told(201, send("PUT", "/v1/entities/agent/bot", operator, { properties: { owner: "olga" } }));
    const id = await hold();
    expect(await refusalOf(decide(id, await linked(id, "olga")))).toBe("403 self_approval");
    expect((await told<wire.Approval>(200, decide(id, await linked(id, "ann")))).status).toBe("pending");
    // Another link of the same person says the same: it is counted once.
    const again = await told<wire.Approval>(200, decide(id, await linked(id, "ann")));
    expect([again.status, again.quorum.approved]).toEqual(["pending", 1]);
    expect((await told<wire.Approval>(200, decide(id, await linked(id, "bob")))).status).toBe("approved");
  });

  it("is not let in by policies that name other people", async () => {
    const { hold, linked, decide } = await desk(PAY.replace("timeout_seconds", "approvers: [{ subjects: [ann] }], timeout_seconds"));
    const id = await hold();
    expect(await refusalOf(decide(id, await linked(id, "bob")))).toBe("403 scope_insufficient");
    expect((await decide(id, await linked(id, "ann"))).status).toBe(200);
  });

  it("has nothing in another tenant, whose people make no link to this one's approvals", async () => {
    const [here, there] = [await desk(), await desk()];
    const [id, theirs] = [await here.hold(), await there.hold()];
    const token = await here.linked(id, "ann");
    expect(await refusalOf(there.link(id, { subject: "ann" }))).toBe("404 not_found");
    expect(await refusalOf(here.read(theirs, token))).toBe("403 scope_insufficient");
    expect((await told<wire.Approval>(200, there.read(theirs))).status).toBe("pending");
    // A link allowed here is no affair of the other tenant's settings.
    await there.choose({});
    expect((await here.decide(id, token)).status).toBe(200);
  });
});
