import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { exportJWK, generateKeyPair, type JWTHeaderParameters, SignJWT } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { issuerKey } from "../../src/authority/directory.ts";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { SessionId } from "../../src/core/ids.ts";
import { newTenant, ports } from "./world.ts";

/** Tokens of tenants' own issuers, as a client meets them: over HTTP, with the real objects behind it. */

const ORIGIN = "https://gate.example";
const ROOT = env.ROOT_KEY;

interface Keys {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: object;
}

async function newKeys(kid: string, alg = "ES256"): Promise<Keys> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
}

const send = (method: string, path: string, token: string, body?: unknown): Promise<Response> =>
  exports.default.fetch(`${ORIGIN}${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, ...(body !== undefined && { "Content-Type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

const codeOf = async (response: Response): Promise<string> => {
  const body: { readonly code?: string } = await response.json();
  return `${response.status} ${body.code ?? "ok"}`;
};

const jsonOf = async <T>(response: Response, status: number): Promise<T> => {
  const text = await response.text();
  expect(response.status, text).toBe(status);
  // The caller says what it reads of it.
  return JSON.parse(text) as T;
};

let unique = 0;

/** A tenant with an operator, and an issuer registered for it. */
async function newWorld(more: { readonly keys?: Keys; readonly issuer?: string; readonly audience?: string } = {}) {
  const { tenant } = await newTenant("budgets: { session: 1 }");
  const issued = await send("POST", "/v1/tokens", ROOT, {
    tenant,
    subject: "ops",
    kind: "human",
    scopes: ["tokens:write", "sessions:write", "ledger:read", "interventions:write"],
  });
  const { token: operator } = await jsonOf<{ token: string }>(issued, 201);
  const keys = more.keys ?? (await newKeys("k1"));
  const issuer = more.issuer ?? `https://id-${unique++}-${tenant}.example`;
  const audience = more.audience ?? `agents/${tenant}`;
  const put = (changes: object = {}) =>
    send("PUT", "/v1/issuers/corp", operator, { issuer, audience, jwks: { keys: [keys.publicJwk] }, claims: { kind: "agent_kind" }, ...changes });
  expect((await put()).status).toBe(201);
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer,
    aud: audience,
    sub: "bot",
    scope: "sessions:write decisions:write",
    agent_kind: "agent",
    iat: now,
    nbf: now,
    exp: now + 600,
    jti: "j1",
  };
  const sign = (changes: object = {}, header: Partial<JWTHeaderParameters> = {}, by: Keys = keys) =>
    new SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg: by.alg, kid: by.kid, typ: "JWT", ...header }).sign(by.privateKey);
  return { tenant, operator, keys, issuer, audience, put, sign, claims, now };
}

const directoryOf = (issuer: string) => env.DIRECTORY.getByName(issuerKey(issuer));
const holdersOf = (issuer: string) => runInDurableObject(directoryOf(issuer), (object) => object.holders());
const open = (token: string) => send("POST", "/v1/sessions", token, {});
const b64 = (value: unknown): string => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

describe("a token of a tenant's own issuer", () => {
  it("opens sessions, asks and is recorded, as the subject and kind that its claims say", async () => {
    const { tenant, sign, operator } = await newWorld();
    const token = await sign();
    const session = await jsonOf<{ id: string; agent: string }>(await open(token), 201);
    expect(session.agent).toBe("bot");
    const decided = await jsonOf<{ verdict: string }>(await send("POST", `/v1/sessions/${session.id}/decisions`, token, { action: "look" }), 200);
    expect(decided.verdict).toBe("allow");
    const entries = await jsonOf<{ items: { principal: { subject: string; kind: string; token_id: string } }[] }>(
      await send("GET", `/v1/ledger?session=${session.id}&kind=decision`, operator),
      200,
    );
    expect(entries.items[0]?.principal).toMatchObject({ subject: "bot", kind: "agent", token_id: expect.stringMatching(/^tok_/) });
    // What was read of it is this tenant's, whatever it says of others.
    const claiming = await sign({ tid: "another", jti: "j2" });
    const mine = await jsonOf<{ items: unknown[] }>(await send("GET", "/v1/sessions", claiming), 200);
    expect(mine.items).toHaveLength(1);
    expect(tenant).not.toBe("another");
  });

  it.each(["RS256", "PS256", "ES256", "ES384", "EdDSA"])("may be signed with %s", async (alg) => {
    const { sign } = await newWorld({ keys: await newKeys("k", alg) });
    expect((await open(await sign())).status).toBe(201);
  });

  it("reads claims at a path, and scopes as a list", async () => {
    const { put, sign } = await newWorld();
    expect((await put({ claims: { subject: "agent.name", scopes: "https://x/scopes", kind: "agent.kind" } })).status).toBe(200);
    const token = await sign({ agent: { name: "deep", kind: "service" }, "https://x/scopes": ["sessions:write", "unknown:scope"] });
    expect((await jsonOf<{ agent: string }>(await open(token), 201)).agent).toBe("deep");
  });

  it("of kind agent never holds what no agent holds, and nobody holds what it does not claim", async () => {
    const { sign } = await newWorld();
    const greedy = await sign({ scope: "tokens:write interventions:write policies:write sessions:write" });
    expect(await codeOf(await send("GET", "/v1/tokens", greedy))).toBe("403 scope_insufficient");
    expect((await open(greedy)).status).toBe(201);
    expect(await codeOf(await send("GET", "/v1/ledger", greedy))).toBe("403 scope_insufficient");
    const person = await sign({ agent_kind: "human", scope: "tokens:write" });
    expect((await send("GET", "/v1/tokens", person)).status).toBe(200);
  });
});

describe("an attack", () => {
  let world: Awaited<ReturnType<typeof newWorld>>;
  let other: Awaited<ReturnType<typeof newWorld>>;
  beforeAll(async () => {
    world = await newWorld();
    other = await newWorld();
  });

  const attacks: [name: string, make: () => Promise<string> | string, expected?: string][] = [
    ["with alg none", () => `${b64({ alg: "none", typ: "JWT" })}.${b64(world.claims)}.`],
    ["with alg none and a signature", () => `${b64({ alg: "none", typ: "JWT", kid: "k1" })}.${b64(world.claims)}.${b64("x")}`],
    [
      "with HS256 signed with the public key",
      () =>
        new SignJWT(world.claims)
          .setProtectedHeader({ alg: "HS256", kid: "k1", typ: "JWT" })
          .sign(new TextEncoder().encode(JSON.stringify(world.keys.publicJwk))),
    ],
    [
      "with a key of its own embedded",
      async () => {
        const mine = await newKeys("k1");
        return world.sign({}, { jwk: mine.publicJwk }, mine);
      },
    ],
    ["with a jku", async () => world.sign({}, { jku: "https://evil.example/keys" })],
    ["with an x5u", async () => world.sign({}, { x5u: "https://evil.example/cert" })],
    ["with an x5c", async () => world.sign({}, { x5c: ["AAAA"] })],
    ["with a crit", async () => world.sign({}, { crit: ["b64"], b64: true })],
    ["signed by another key of the same name", async () => world.sign({}, {}, await newKeys("k1"))],
    ["that names a key that is not there", async () => world.sign({}, { kid: "k9" })],
    ["with another algorithm than the key's", async () => world.sign({}, {}, await newKeys("k1", "RS256"))],
    ["for another audience", () => world.sign({ aud: "somebody-else" })],
    ["for no audience", () => world.sign({ aud: undefined })],
    ["for our own gateway's audience", () => world.sign({ aud: "agentsentinel" })],
    ["of an issuer that nobody registered", () => world.sign({ iss: "https://nobody.example" })],
    ["of the issuer with a slash", () => world.sign({ iss: `${world.issuer}/` })],
    ["that says it is ours", () => world.sign({ iss: env.TOKEN_ISSUER, aud: "agentsentinel", tid: world.tenant, kind: "human" })],
    ["of another tenant's issuer, claiming ours", () => other.sign({ iss: world.issuer, aud: world.audience, tid: world.tenant })],
    ["that is an ID token by its typ", () => world.sign({}, { typ: "id_token+jwt" })],
    ["that is an ID token by its nonce", () => world.sign({ nonce: "n" })],
    ["that is an ID token by its at_hash", () => world.sign({ at_hash: "h" })],
    ["that has expired", () => world.sign({ exp: world.now - 60 }), "401 token_expired"],
    ["that never expires", () => world.sign({ exp: undefined })],
    ["that is not good yet", () => world.sign({ nbf: world.now + 600 })],
    ["that was issued in the future", () => world.sign({ iat: world.now + 600, nbf: undefined })],
    ["without a subject", () => world.sign({ sub: undefined })],
    ["with an empty subject", () => world.sign({ sub: "" })],
    ["with a subject that is no text", () => world.sign({ sub: 7 })],
    ["with a subject of 256 characters", () => world.sign({ sub: "x".repeat(256) })],
    ["without a kind", () => world.sign({ agent_kind: undefined })],
    ["with a kind that is none", () => world.sign({ agent_kind: "root" })],
    [
      "whose claims were changed",
      async () => {
        const [head = "", , signature = ""] = (await world.sign()).split(".");
        return `${head}.${b64({ ...world.claims, agent_kind: "human" })}.${signature}`;
      },
    ],
    [
      "whose header was changed",
      async () => {
        const [, body = "", signature = ""] = (await world.sign()).split(".");
        return `${b64({ alg: "ES256", kid: "k1", typ: "JWT", x: 1 })}.${body}.${signature}`;
      },
    ],
    ["whose signature was cut", async () => (await world.sign()).slice(0, -10)],
    ["whose signature was left out", async () => `${(await world.sign()).split(".").slice(0, 2).join(".")}.`],
    ["of two parts", async () => (await world.sign()).split(".").slice(0, 2).join(".")],
    ["of 9,000 characters", async () => world.sign({ pad: "x".repeat(7_000) })],
    ["whose claims are no object", () => `${b64({ alg: "ES256", kid: "k1" })}.${b64("[1]")}.${b64("x")}`],
    ["whose header is no JSON", () => `${b64("{")}.${b64(world.claims)}.${b64("x")}`],
  ];

  it.each(attacks)("%s is refused", async (_, make, expected = "401 token_invalid") => {
    const response = await open(await make());
    expect(response.headers.get("WWW-Authenticate")).toContain('error="invalid_token"');
    expect(await codeOf(response)).toBe(expected);
  });

  it("by a tenant that registers another's issuer and keys gains nothing of the other's", async () => {
    const copy = await newWorld({ keys: world.keys, issuer: world.issuer, audience: world.audience });
    const token = await world.sign({ jti: "shared" });
    const session = await jsonOf<{ id: string }>(await open(token), 201);
    // The first to register it has it, unless the token says whom it means; and then it is that tenant's alone.
    expect((await ports.tenants.listSessions(world.tenant, { limit: 100, cursor: null }, "bot")).ok).toBe(true);
    expect(await codeOf(await send("GET", `/v1/sessions/${session.id}`, await copy.sign({ tid: copy.tenant, jti: "theirs" })))).toBe("404 not_found");
    expect((await send("GET", `/v1/sessions/${session.id}`, await copy.sign({ tid: world.tenant, jti: "ours" }))).status).toBe(200);
  });
});

describe("a registration", () => {
  it.each([
    ["a symmetric key", { jwks: { keys: [{ kty: "oct", k: "AAAA", kid: "a" }] } }, "/jwks/keys/0/kty"],
    ["a private key", { jwks: { keys: [{ kty: "OKP", crv: "Ed25519", x: "AA", d: "AA", kid: "a" }] } }, "/jwks/keys/0/d"],
    ["no keys", { jwks: { keys: [] } }, "/jwks/keys"],
    [
      "two keys of one name",
      {
        jwks: {
          keys: [
            { kty: "RSA", kid: "a" },
            { kty: "RSA", kid: "a" },
          ],
        },
      },
      "/jwks/keys/1/kid",
    ],
    ["both keys and their address", { jwks_uri: "https://id.example.com/k" }, "/jwks"],
    ["neither", { jwks: undefined }, "/jwks_uri"],
    ["plain http", { jwks: undefined, jwks_uri: "http://id.example.com/k" }, "/jwks_uri"],
    ["this machine", { jwks: undefined, jwks_uri: "https://localhost/k" }, "/jwks_uri"],
    ["an address of numbers", { jwks: undefined, jwks_uri: "https://169.254.169.254/k" }, "/jwks_uri"],
    ["an address of numbers in disguise", { jwks: undefined, jwks_uri: "https://2130706433/k" }, "/jwks_uri"],
    ["an address of IPv6", { jwks: undefined, jwks_uri: "https://[::1]/k" }, "/jwks_uri"],
    ["a name inside", { jwks: undefined, jwks_uri: "https://vault.internal/k" }, "/jwks_uri"],
    ["a user in it", { jwks: undefined, jwks_uri: "https://a:b@id.example.com/k" }, "/jwks_uri"],
    ["this gateway", { issuer: env.TOKEN_ISSUER }, "/issuer"],
    ["no audience", { audience: "" }, "/audience"],
  ])("of %s is refused at its place", async (_, changes, pointer) => {
    const { put } = await newWorld();
    const body = await jsonOf<{ code: string; issues: { pointer: string }[] }>(await put(changes), 422);
    expect(body.code).toBe("body_invalid");
    expect(body.issues.map((issue) => issue.pointer)).toContain(pointer);
  });

  it("is listed, read and recorded, and the same again changes nothing", async () => {
    const { operator, put, issuer, tenant } = await newWorld();
    expect((await put()).status).toBe(200);
    const listed = await jsonOf<{ items: { name: string; version: number; issuer: string }[] }>(await send("GET", "/v1/issuers", operator), 200);
    expect(listed.items).toMatchObject([{ name: "corp", version: 1, issuer }]);
    await jsonOf(await put({ audience: "other" }), 200);
    expect(await jsonOf(await send("GET", "/v1/issuers/corp", operator), 200)).toMatchObject({ version: 2, audience: "other", updated_by: "ops" });
    const { items } = await jsonOf<{ items: { details: { event: string; version: number } }[] }>(
      await send("GET", "/v1/ledger?kind=token", operator),
      200,
    );
    expect(items.filter(({ details }) => details.event === "issuer_put").map(({ details }) => details.version)).toEqual([2, 1]);
    expect(await holdersOf(issuer)).toEqual([{ tenant, name: "corp", audience: "other" }]);
  });

  it("that is deleted or replaced is believed no more, in sessions too, at once", async () => {
    const { operator, put, sign, keys } = await newWorld();
    const token = await sign();
    const session = await jsonOf<{ id: string }>(await open(token), 201);
    const decide = (by: string) => send("POST", `/v1/sessions/${session.id}/decisions`, by, { action: "look" });
    expect((await decide(token)).status).toBe(200);
    const next = await newKeys("k2");
    await jsonOf(await put({ jwks: { keys: [next.publicJwk] } }), 200);
    // Its session knows at once. The door, which remembers for a second who registered what, may leave it to that.
    const REFUSED = /^401 token_(revoked|invalid)$/;
    expect(await codeOf(await decide(token))).toBe("401 token_revoked");
    expect(await codeOf(await decide(token))).toMatch(REFUSED);
    expect((await decide(await sign({}, {}, next))).status).toBe(200);
    expect(await codeOf(await decide(await sign({}, {}, keys)))).toMatch(REFUSED);
    expect((await send("DELETE", "/v1/issuers/corp", operator)).status).toBe(204);
    expect(await codeOf(await decide(await sign({}, {}, next)))).toBe("401 token_revoked");
    expect(await codeOf(await decide(await sign({}, {}, next)))).toMatch(REFUSED);
    expect(await codeOf(await send("GET", "/v1/issuers/corp", operator))).toBe("404 not_found");
    // The same name again is another registration.
    expect((await put()).status).toBe(201);
    expect((await jsonOf<{ version: number }>(await send("GET", "/v1/issuers/corp", operator), 200)).version).toBeGreaterThan(2);
  });

  it("that is one too many leaves nothing in what tenants share", async () => {
    const { tenant, operator, keys } = await newWorld();
    const victims = await newTenant(null);
    const issuer = `https://login-${victims.tenant}.example`;
    const statuses: number[] = [];
    for (let n = 0; n < 40; n++) {
      const body = { issuer, audience: "mine", jwks: { keys: [keys.publicJwk] } };
      statuses.push((await send("PUT", `/v1/issuers/n${n}`, operator, body)).status);
    }
    const accepted = statuses.flatMap((status, n) => (status === 201 ? [{ tenant, name: `n${n}`, audience: "mine" }] : []));
    expect(accepted.length).toBeLessThan(40);
    expect(new Set(statuses)).toEqual(new Set([201, 422]));
    expect(await holdersOf(issuer)).toEqual(accepted);
  });

  it("for another audience than before is believed for that one, at once, and the directory knows for which", async () => {
    const { put, sign, issuer, audience, tenant } = await newWorld();
    expect((await open(await sign({ jti: "before" }))).status).toBe(201);
    await jsonOf(await put({ audience: "new" }), 200);
    expect((await open(await sign({ aud: "new", jti: "after" }))).status).toBe(201);
    expect(await codeOf(await open(await sign({ aud: audience, jti: "late" })))).toBe("401 token_invalid");
    expect(await holdersOf(issuer)).toEqual([{ tenant, name: "corp", audience: "new" }]);
  });

  it("that came to grief while its audience was changed is asked for any, and its tokens of before are let in", async () => {
    const { put, sign, issuer, audience, tenant } = await newWorld();
    // So far it had come: the claim was made, and nothing was written after it.
    await runInDurableObject(directoryOf(issuer), (object) => object.claim({ tenant, name: "corp", audience: "new" }));
    expect(await holdersOf(issuer)).toEqual([{ tenant, name: "corp", audience: null }]);
    expect((await open(await sign())).status).toBe(201);
    expect((await put()).status).toBe(200);
    expect(await holdersOf(issuer)).toEqual([{ tenant, name: "corp", audience }]);
  });

  it("that was claimed before audiences were kept is asked as before, and the same again says for which it is", async () => {
    const { put, sign, issuer, audience, tenant } = await newWorld();
    await runInDurableObject(directoryOf(issuer), (_, { storage }) => {
      storage.sql.exec("DROP TABLE schema_version; ALTER TABLE claims DROP COLUMN audience");
    });
    await evictDurableObject(directoryOf(issuer));
    expect((await open(await sign())).status).toBe(201);
    expect(await holdersOf(issuer)).toEqual([{ tenant, name: "corp", audience: null }]);
    expect((await put()).status).toBe(200);
    expect(await holdersOf(issuer)).toEqual([{ tenant, name: "corp", audience }]);
  });

  it("of an issuer that 1000 registrations name already is refused with what was found and is wanted, and leaves nothing", async () => {
    const { operator, put, sign, issuer, audience, keys } = await newWorld();
    await runInDurableObject(directoryOf(issuer), (object) => {
      for (let n = 1; n < 1000; n++) expect(object.claim({ tenant: `crowd-${n}`, name: "corp", audience: `agents/crowd-${n}` })).toBeNull();
    });
    const before = await holdersOf(issuer);
    const more = () => send("PUT", "/v1/issuers/more", operator, { issuer, audience: "more", jwks: { keys: [keys.publicJwk] } });
    expect(await jsonOf(await more(), 422)).toMatchObject({
      code: "body_invalid",
      issues: [{ pointer: "/issuer", message: "found 1000 registrations of it; wanted fewer" }],
    });
    expect(await codeOf(await send("GET", "/v1/issuers/more", operator))).toBe("404 not_found");
    expect(await holdersOf(issuer)).toEqual(before);
    // One that has its place keeps it, whatever becomes of it, and the place of one that goes is free.
    expect((await put({ audience: "new" })).status).toBe(200);
    expect((await open(await sign({ aud: "new" }))).status).toBe(201);
    expect((await put({ audience })).status).toBe(200);
    expect((await send("DELETE", "/v1/issuers/corp", operator)).status).toBe(204);
    expect((await more()).status).toBe(201);
  });

  /** Opens a session with a token, and has a person revoke that by the id it is recorded under. */
  async function revoke({ operator }: Awaited<ReturnType<typeof newWorld>>, token: string): Promise<string> {
    const session = await jsonOf<{ id: string }>(await open(token), 201);
    const { items } = await jsonOf<{ items: { principal: { token_id: string } }[] }>(
      await send("GET", `/v1/ledger?session=${session.id}`, operator),
      200,
    );
    expect((await send("DELETE", `/v1/tokens/${items[0]?.principal.token_id}`, operator)).status).toBe(204);
    return session.id;
  }

  it("has tokens that a person can revoke by the id they are recorded under", async () => {
    const world = await newWorld();
    const token = await world.sign({ jti: "to-revoke" });
    const session = await revoke(world, token);
    expect(await codeOf(await send("POST", `/v1/sessions/${session}/decisions`, token, { action: "look" }))).toBe("401 token_revoked");
    expect(await codeOf(await open(token))).toBe("401 token_revoked");
    expect((await open(await world.sign({ jti: "another" }))).status).toBe(201);
  });

  it("has tokens without an id, and one that was revoked is revoked however its signature is spelled", async () => {
    const world = await newWorld();
    const token = await world.sign({ jti: undefined });
    await revoke(world, token);
    // Of 64 octets in base64url the last character has four bits that nobody reads.
    const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const respelled = token.slice(0, -1) + digits.charAt(digits.indexOf(token.slice(-1)) ^ 1);
    expect(respelled).not.toBe(token);
    expect(await codeOf(await open(respelled))).toBe("401 token_revoked");
  });

  it("has tokens of which so many can be revoked as a lease names: one more is refused, and the first stays revoked", async () => {
    const world = await newWorld();
    const token = await world.sign({ jti: "first" });
    const session = await revoke(world, token);
    // As many more as there may be, later than the first.
    await runInDurableObject(env.TENANTS.getByName(world.tenant), (_, { storage }) => {
      for (let n = 0; n < 999; n++)
        storage.sql.exec("INSERT INTO revoked_foreign (id, revoked_at) VALUES (?, ?)", ports.newId("tok"), Date.now() + 1);
    });
    expect(await jsonOf(await send("DELETE", `/v1/tokens/${ports.newId("tok")}`, world.operator), 422)).toMatchObject({
      code: "body_invalid",
      issues: [{ pointer: "/token", message: "found 1000 that are revoked; wanted fewer" }],
    });
    expect(await codeOf(await send("POST", `/v1/sessions/${session}/decisions`, token, { action: "look" }))).toBe("401 token_revoked");
  });

  it("has tokens whose revocation is forgotten once none of then can still be good: there is room again, and leases name it no more", async () => {
    const world = await newWorld();
    const tenant = env.TENANTS.getByName(world.tenant);
    const young = ports.newId("tok");
    await runInDurableObject(tenant, (_, { storage }) => {
      const write = (id: string, daysAgo: number) =>
        storage.sql.exec("INSERT INTO revoked_foreign (id, revoked_at) VALUES (?, ?)", id, Date.now() - daysAgo * 86_400_000);
      write(young, 366);
      for (let n = 0; n < 999; n++) write(ports.newId("tok"), 367);
    });
    const revoked = ports.newId("tok");
    const session = await jsonOf<{ id: SessionId }>(await open(await world.sign()), 201);
    const named = () =>
      runInDurableObject(env.SESSIONS.getByName(sessionObjectName(world.tenant, session.id)), (_, { storage }): readonly string[] => {
        const [row] = storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").toArray();
        return JSON.parse(row?.lease ?? "{}").revokedTokens;
      });
    expect(await named()).toEqual([young]);
    expect((await send("DELETE", `/v1/tokens/${revoked}`, world.operator)).status).toBe(204);
    expect(new Set(await named())).toEqual(new Set([young, revoked]));
    const kept = await runInDurableObject(tenant, (_, { storage }) => storage.sql.exec<{ id: string }>("SELECT id FROM revoked_foreign").toArray());
    expect(new Set(kept.map(({ id }) => id))).toEqual(new Set([young, revoked]));
    // The same again is no other one.
    expect((await send("DELETE", `/v1/tokens/${revoked}`, world.operator)).status).toBe(204);
  });

  it("has subjects no longer than the names of agents that a person can stop", async () => {
    const { operator, sign } = await newWorld();
    const sub = "x".repeat(255);
    expect((await open(await sign({ sub }))).status).toBe(201);
    const stop = { target: { type: "agent", id: sub }, kind: "kill", reason: "r" };
    const killed = await jsonOf<{ evidence: { acknowledged: unknown[] } }>(await send("POST", "/v1/interventions", operator, stop), 201);
    expect(killed.evidence.acknowledged).toHaveLength(1);
  });
});

describe("how the gateway is protected", () => {
  it("is said to anyone (RFC 9728), and where nobody is let in", async () => {
    const metadata = await jsonOf<{ resource: string }>(await exports.default.fetch(`${ORIGIN}/.well-known/oauth-protected-resource`), 200);
    expect(metadata).toMatchObject({ resource: ORIGIN, bearer_methods_supported: ["header"] });
    // That would be keys with which the gateway signs as a resource: it has none.
    expect(metadata).not.toHaveProperty("jwks_uri");
    const refused = await exports.default.fetch(`${ORIGIN}/v1/sessions`);
    expect(refused.headers.get("WWW-Authenticate")).toBe(
      `Bearer realm="agentsentinel", resource_metadata="${ORIGIN}/.well-known/oauth-protected-resource"`,
    );
    // A token elsewhere than in the header is none (RFC 6750 section 2).
    const { sign } = await newWorld();
    expect((await exports.default.fetch(`${ORIGIN}/v1/sessions?access_token=${await sign()}`)).status).toBe(401);
  });
});
