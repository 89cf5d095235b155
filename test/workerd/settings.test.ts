import { env, exports } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { decideOne, newSession, newTenant } from "./world.ts";

const ORIGIN = "https://gate.example";
const PAGE = "https://app.example";

const send = (method: string, path: string, token: string | null, body?: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  exports.default.fetch(`${ORIGIN}${path}`, {
    method,
    headers: {
      ...(token !== null && { Authorization: `Bearer ${token}` }),
      ...(body !== undefined && { "Content-Type": "application/json" }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

async function newWorld(policy: string | null = null) {
  const world = await newTenant(policy);
  const issue = async (subject: string, kind: string, scopes: readonly string[]): Promise<string> => {
    const response = await send("POST", "/v1/tokens", env.ROOT_KEY, { tenant: world.tenant, subject, kind, scopes });
    const { token }: wire.IssuedToken = await response.json();
    return token;
  };
  const operator = await issue("ops", "human", ["policies:read", "policies:write", "ledger:read"]);
  const agentToken = await issue("bot", "agent", ["sessions:write", "decisions:write"]);
  const put = (body: wire.PutSettingsRequest) => send("PUT", "/v1/settings", operator, body);
  return { ...world, operatorToken: operator, agentToken, put };
}

describe("settings", () => {
  it("are those of nobody until somebody chooses, replace each other whole, and are on record once", async () => {
    const { operatorToken, put } = await newWorld();
    const none = { cors_origins: [], retention_days: 183, default_policy: null, throttle: null, approval_links: false, client_leases: true };
    expect(await (await send("GET", "/v1/settings", operatorToken)).json()).toEqual(none);
    const chosen = {
      cors_origins: [PAGE, "http://localhost:3000"],
      retention_days: 400,
      throttle: { requests: 600, window_ms: 60_000 },
      approval_links: true,
      client_leases: false,
    };
    const expected = { ...none, ...chosen, cors_origins: ["http://localhost:3000", PAGE] };
    expect(await (await put(chosen)).json()).toEqual(expected);
    expect((await put(chosen)).status).toBe(200);
    expect(await (await send("GET", "/v1/settings", operatorToken)).json()).toEqual(expected);
    const { items }: wire.Page<wire.LedgerEntry> = await (await send("GET", "/v1/ledger?kind=policy", operatorToken)).json();
    const puts = items.filter(({ details }) => details?.event === "settings_put");
    expect(puts).toMatchObject([{ principal: { subject: "ops" }, details: { retention_days: 400, approval_links: true, client_leases: false } }]);
    expect(await (await put({})).json()).toEqual(none);
  });

  it.each([
    [{ retention_days: 182 }, "/retention_days"],
    [{ cors_origins: ["*"] }, "/cors_origins/0"],
    [{ cors_origins: ["null"] }, "/cors_origins/0"],
    [{ cors_origins: ["http://app.example"] }, "/cors_origins/0"],
    [{ cors_origins: ["https://app.example/"] }, "/cors_origins/0"],
    [{ cors_origins: ["https://App.example"] }, "/cors_origins/0"],
    [{ throttle: { requests: 0, window_ms: 1_000 } }, "/throttle/requests"],
    [{ throttle: { requests: 1, window_ms: 1 } }, "/throttle/window_ms"],
    [{ approval_links: "yes" }, "/approval_links"],
    [{ client_leases: 1 }, "/client_leases"],
    [{ default_policy: "not-there" }, "/default_policy"],
    [{ retention: 1 }, "/retention"],
  ])("%j are refused at their place", async (body, pointer) => {
    const { operatorToken } = await newWorld();
    const response = await send("PUT", "/v1/settings", operatorToken, body);
    expect(response.status).toBe(422);
    const { issues }: wire.Problem = await response.json();
    expect(issues?.map((issue) => issue.pointer)).toContain(pointer);
  });

  it("may name the policy of whom no other is for, and then the next decision is under it", async () => {
    const { agent, operatorToken, put } = await newWorld();
    const session = await newSession(agent);
    expect((await decideOne(agent, session, "look")).reason.code).toBe("policy_missing");
    const stored = await send("PUT", "/v1/policies/fallback?activate=false", operatorToken, { denied_actions: ["rm"] });
    expect(stored.status).toBe(201);
    expect((await decideOne(agent, session, "look")).reason.code).toBe("policy_missing");
    expect((await put({ default_policy: "fallback" })).status).toBe(200);
    expect((await decideOne(agent, session, "look")).verdict).toBe("allow");
    expect((await decideOne(agent, session, "rm")).reason.code).toBe("action_denied");
    // Its newest version counts.
    expect((await send("PUT", "/v1/policies/fallback?activate=false", operatorToken, { denied_actions: ["look"] })).status).toBe(201);
    expect((await decideOne(agent, session, "look")).reason.code).toBe("action_denied");
    expect((await send("PUT", "/v1/policies/main", operatorToken, { denied_actions: ["pay"] })).status).toBe(201);
    expect((await decideOne(agent, session, "look")).verdict).toBe("allow");
    expect((await send("DELETE", "/v1/policies/main", operatorToken)).status).toBe(204);
    expect((await decideOne(agent, session, "look")).reason.code).toBe("action_denied");
    expect((await send("DELETE", "/v1/policies/fallback", operatorToken)).status).toBe(204);
    expect((await decideOne(agent, session, "look")).reason.code).toBe("policy_missing");
    expect(await (await send("GET", "/v1/settings", operatorToken)).json()).toMatchObject({ default_policy: null });
  });
});

describe("who comes too often", () => {
  it("is turned away with when to come back, by token, and nothing of it is a verdict", async () => {
    const { agent, agentToken, operatorToken, put } = await newWorld("denied_actions: [rm]");
    expect((await put({ throttle: { requests: 3, window_ms: 3_600_000 } })).status).toBe(200);
    const session = await newSession(agent);
    const ask = () => send("POST", `/v1/sessions/${session}/decisions`, agentToken, { action: "look" });
    // The first request is by the gateway's own limit: the tenant's is learned beside it.
    expect((await ask()).status).toBe(200);
    let answers = await Promise.all([ask(), ask(), ask(), ask(), ask()]);
    while (answers.every(({ status }) => status === 200)) answers = await Promise.all([ask(), ask(), ask(), ask(), ask()]);
    const refused = await ask();
    expect(refused.status).toBe(429);
    expect(refused.headers.get("RateLimit-Policy")).toBe('"token";q=3;w=3600');
    expect(refused.headers.get("RateLimit")).toMatch(/^"token";r=0;t=\d+$/);
    expect(Number(refused.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: "throttled", status: 429 });
    // Another token of the same tenant has a bucket of its own.
    expect((await send("GET", "/v1/settings", operatorToken)).status).toBe(200);
  });
});

describe("pages in browsers", () => {
  const preflight = (origin: string) =>
    exports.default.fetch(`${ORIGIN}/v1/sessions`, {
      method: "OPTIONS",
      headers: { Origin: origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type" },
    });

  it("may read nothing unless their origin is listed, and then only what the tenant that lists it says", async () => {
    const listed = await newWorld("denied_actions: [rm]");
    const other = await newWorld("denied_actions: [rm]");
    const page = `https://page-${listed.tenant}.example`;
    const before = await preflight(page);
    expect([before.status, before.headers.get("Access-Control-Allow-Origin")]).toEqual([405, null]);
    const own = await send("GET", "/v1/sessions", listed.agentToken, undefined, { Origin: page });
    expect([own.status, own.headers.get("Access-Control-Allow-Origin"), own.headers.get("Vary")]).toEqual([200, null, "Origin"]);

    expect((await listed.put({ cors_origins: [page] })).status).toBe(200);
    const after = await preflight(page);
    expect(after.status).toBe(204);
    expect(after.headers.get("Access-Control-Allow-Origin")).toBe(page);
    for (const name of ["Authorization", "If-Match", "If-None-Match"]) expect(after.headers.get("Access-Control-Allow-Headers")).toContain(name);
    expect(after.headers.get("Access-Control-Allow-Credentials")).toBeNull();
    const read = await send("GET", "/v1/sessions", listed.agentToken, undefined, { Origin: page });
    expect(read.headers.get("Access-Control-Allow-Origin")).toBe(page);
    for (const name of ["Retry-After", "ETag"]) expect(read.headers.get("Access-Control-Expose-Headers")).toContain(name);
    const problem = await send("GET", "/v1/ledger", listed.agentToken, undefined, { Origin: page });
    expect([problem.status, problem.headers.get("Access-Control-Allow-Origin")]).toEqual([403, page]);
    // Also how a token is refused that is no tenant's: what a page cannot read it takes for no answer at all.
    const nobodys = await send("GET", "/v1/sessions", "no.such.token", undefined, { Origin: page });
    expect([nobodys.status, nobodys.headers.get("Access-Control-Allow-Origin")]).toEqual([401, page]);
    const stranger = await send("GET", "/v1/sessions", "no.such.token", undefined, { Origin: "https://nobody.example" });
    expect([stranger.status, stranger.headers.get("Access-Control-Allow-Origin"), stranger.headers.get("Vary")]).toEqual([401, null, "Origin"]);
    for (const [token, origin] of [
      [other.agentToken, page],
      [listed.agentToken, "https://evil.example"],
      [listed.agentToken, "null"],
    ] as const) {
      expect((await send("GET", "/v1/sessions", token, undefined, { Origin: origin })).headers.get("Access-Control-Allow-Origin")).toBeNull();
    }
    expect((await preflight("https://evil.example")).status).toBe(405);

    expect((await listed.put({})).status).toBe(200);
    expect((await preflight(page)).status).toBe(405);
    expect((await send("GET", "/v1/sessions", listed.agentToken, undefined, { Origin: page })).headers.get("Access-Control-Allow-Origin")).toBeNull();
  });
});
