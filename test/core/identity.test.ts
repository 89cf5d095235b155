import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { SCOPES, SCOPES_NO_AGENT_HOLDS } from "../../src/core/scopes.ts";
import type { TokenRecord } from "../../src/flow/ports.ts";
import { openIdentity } from "../../src/identity/identity.ts";

const ISSUER = "https://gateway.test";
const ROOT_KEY = "a-root-key-of-some-length";
const NOW = Date.UTC(2026, 10, 22, 12, 0, 0, 700);
const SECONDS = Math.floor(NOW / 1000);

interface Pair {
  readonly privateKey: KeyObject;
  readonly jwk: { readonly kty: string; readonly crv: string; readonly x: string; readonly d: string; readonly kid: string };
}

function pair(kid: string): Pair {
  const { privateKey } = generateKeyPairSync("ed25519");
  const { x = "", d = "" } = privateKey.export({ format: "jwk" });
  return { privateKey, jwk: { kty: "OKP", crv: "Ed25519", x, d, kid } };
}

const ours = pair("k1");
const strangers = pair("k1");
const older = pair("k0");
const env = { ROOT_KEY, SIGNING_KEYS: JSON.stringify({ keys: [ours.jwk] }), TOKEN_ISSUER: ISSUER };
/** Nobody registered an issuer. */
const NOBODY = { issuersOf: async () => [], readIssuer: async () => null };
const identity = openIdentity(env, NOBODY);

const record: TokenRecord = {
  id: "tok_01890000-0000-7000-8000-000000000001",
  subject: "bot-7",
  kind: "agent",
  scopes: ["sessions:write", "decisions:write"],
  issuedAt: NOW,
  expiresAt: NOW + 60_000,
};

const APPROVAL = "apr_01890000-0000-7000-8000-000000000002";

const claims = {
  iss: ISSUER,
  aud: "agentsentinel",
  sub: "bot-7",
  tid: "acme",
  kind: "agent",
  scope: "sessions:write decisions:write",
  jti: record.id,
  iat: SECONDS,
  nbf: SECONDS,
  exp: (NOW + 60_000) / 1000,
};
const header = { alg: "EdDSA", typ: "at+jwt", kid: "k1" };

const b64 = (value: unknown): string => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
/** A token by hand, so that it can be wrong in ways a library would not let it be. */
function forge(changes: object, headerChanges: object = {}, key: KeyObject = ours.privateKey): string {
  const input = `${b64({ ...header, ...headerChanges })}.${b64({ ...claims, ...changes })}`;
  return `${input}.${signBytes(null, Buffer.from(input), key).toString("base64url")}`;
}
const without = (member: keyof typeof claims): string => forge({ [member]: undefined });
const bearer = (token: string, now = NOW) => identity.authenticate(`Bearer ${token}`, now);
const codeOf = async (answer: ReturnType<typeof identity.authenticate>): Promise<string> => {
  const found = await answer;
  return found.ok ? found.value.kind : found.error.code;
};

describe("a token of ours", () => {
  it("says who calls, with which scopes and until when", async () => {
    expect(await bearer(await identity.sign("acme", record))).toEqual({
      ok: true,
      value: {
        kind: "bearer",
        principal: { tokenId: record.id, tenant: "acme", subject: "bot-7", kind: "agent" },
        scopes: ["sessions:write", "decisions:write"],
        expiresAt: NOW + 60_000,
      },
    });
  });

  it("is the same text each time it is signed from the same record, and equals the one made by hand", async () => {
    const token = await identity.sign("acme", record);
    expect(await identity.sign("acme", record)).toBe(token);
    expect(token).toBe(forge({}));
  });

  it("is a JWT of exactly the documented header and claims", async () => {
    const [head = "", body = ""] = (await identity.sign("acme", record)).split(".");
    expect(JSON.parse(Buffer.from(head, "base64url").toString())).toEqual(header);
    expect(JSON.parse(Buffer.from(body, "base64url").toString())).toEqual(claims);
  });

  it.each(["bearer", "BEARER", "Bearer", "bEaReR"])("is taken under the scheme %s", async (scheme) => {
    expect(await codeOf(identity.authenticate(`${scheme} ${forge({})}`, NOW))).toBe("bearer");
  });

  it.each(["root", "bearer"] as const)("answers many callers at once the same (%s)", async (kind) => {
    const fresh = openIdentity({ ...env, ROOT_KEY: `${ROOT_KEY}-${kind}` }, NOBODY);
    const token = kind === "root" ? `${ROOT_KEY}-root` : forge({});
    const answers = await Promise.all(Array.from({ length: 50 }, () => fresh.authenticate(`Bearer ${token}`, NOW)));
    expect(new Set(answers.map((answer) => answer.ok && answer.value.kind))).toEqual(new Set([kind]));
  });
});

describe("a link", () => {
  it("is for the one approval that was signed, and no other token is for any", async () => {
    const linked = await bearer(await identity.sign("acme", { ...record, kind: "human", approval: APPROVAL }));
    expect(linked).toMatchObject({ ok: true, value: { principal: { only: APPROVAL } } });
    const plain = await bearer(await identity.sign("acme", record));
    expect(plain.ok && plain.value.kind === "bearer" && "only" in plain.value.principal).toBe(false);
  });
});

describe("scopes", () => {
  it("that no agent holds are dropped from an agent's token and kept in a person's", async () => {
    const scope = SCOPES.join(" ");
    const agent = await bearer(forge({ scope }));
    const person = await bearer(forge({ scope, kind: "human" }));
    const held = (answer: typeof agent) => (answer.ok && answer.value.kind === "bearer" ? answer.value.scopes : null);
    expect(held(agent)).toEqual(SCOPES.filter((name) => !SCOPES_NO_AGENT_HOLDS.includes(name)));
    expect(held(person)).toEqual(SCOPES);
  });

  it("are a subject's whose 255 characters are 510 units of UTF-16, too", async () => {
    const subject = "😀".repeat(255);
    const found = await bearer(await identity.sign("acme", { ...record, subject }));
    expect(found.ok && found.value.kind === "bearer" && found.value.principal.subject).toBe(subject);
  });

  it("that nobody knows give nothing, and one said twice counts once", async () => {
    const found = await bearer(forge({ scope: "root ledger:read  everything ledger:read" }));
    expect(found.ok && found.value.kind === "bearer" && found.value.scopes).toEqual(["ledger:read"]);
  });
});

describe("time", () => {
  const at = (seconds: number) => (SECONDS + seconds) * 1000;
  it.each<[string, number, string]>([
    ["one millisecond before its end", NOW + 59_999, "bearer"],
    ["at its end", NOW + 60_000, "token_expired"],
    ["ten seconds after its end", at(70), "token_expired"],
    ["five seconds before its start, for clocks differ", at(-5), "bearer"],
    ["six seconds before its start", at(-6), "token_invalid"],
  ])("a token used %s: %o gives %s, remembered or not", async (_when, now, expected) => {
    const fresh = forge({ sub: `fresh-${now}` });
    expect(await codeOf(bearer(fresh, now))).toBe(expected);
    const remembered = forge({ sub: `remembered-${now}` });
    expect(await codeOf(bearer(remembered, NOW))).toBe("bearer");
    expect(await codeOf(bearer(remembered, now))).toBe(expected);
  });

  it.each([0, 1, 61, 500, 934, 999])("a token issued %i ms after a second ends when its record says, and not before", async (ms) => {
    const issuedAt = at(10) + ms;
    for (const now of [issuedAt, issuedAt + 999, issuedAt + 1_000]) {
      const token = await identity.sign("acme", { ...record, subject: `short ${now}`, issuedAt, expiresAt: issuedAt + 1_000 });
      expect(await codeOf(bearer(token, now))).toBe(now < issuedAt + 1_000 ? "bearer" : "token_expired");
    }
  });
});

describe("what is not a token of ours is refused", () => {
  const publicPem = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" });
  const hmac = (secret: string): string => {
    const input = `${b64({ ...header, alg: "HS256" })}.${b64(claims)}`;
    return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
  };
  const flip = (text: string, at: number): string => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
  const good = forge({});

  it.each<[string, string]>([
    ["alg none without a signature", `${b64({ ...header, alg: "none" })}.${b64(claims)}.`],
    ["alg none with our signature", forge({}, { alg: "none" })],
    ["alg nOnE", forge({}, { alg: "nOnE" })],
    ["HS256 with the public key's x as the secret", hmac(ours.jwk.x)],
    ["HS256 with a PEM as the secret", hmac(String(publicPem))],
    ["HS256 with an empty secret", hmac("")],
    ["Ed25519 said by its new name, which we do not use", forge({}, { alg: "Ed25519" })],
    ["ES256 said of our signature", forge({}, { alg: "ES256" })],
    ["a stranger's key under our kid", forge({}, {}, strangers.privateKey)],
    ["a stranger's key, embedded as jwk", forge({}, { jwk: { kty: "OKP", crv: "Ed25519", x: strangers.jwk.x } }, strangers.privateKey)],
    ["our own key, embedded as jwk", forge({}, { jwk: { kty: "OKP", crv: "Ed25519", x: ours.jwk.x } })],
    ["a jku", forge({}, { jku: "https://evil.test/jwks.json" })],
    ["an x5u", forge({}, { x5u: "https://evil.test/cert.pem" })],
    ["an x5c", forge({}, { x5c: ["MIIB"] })],
    ["a crit we do not understand", forge({}, { crit: ["exp"] })],
    ["a crit of b64", forge({}, { crit: ["b64"], b64: true })],
    ["an unknown kid", forge({}, { kid: "k2" })],
    ["no kid", forge({}, { kid: undefined })],
    ["a kid that is no text", forge({}, { kid: 1 })],
    ["a kid that is a member of every object", forge({}, { kid: "constructor" })],
    ["no typ", forge({}, { typ: undefined })],
    ["the typ of an ID token", forge({}, { typ: "JWT" })],
    ["another issuer", forge({ iss: "https://gateway.test.evil" })],
    ["another audience", forge({ aud: "other" })],
    ["an audience besides ours", forge({ aud: ["agentsentinel", "other"] })],
    ["no issuer", without("iss")],
    ["no audience", without("aud")],
    ["no exp", without("exp")],
    ["no jti", without("jti")],
    ["no sub", without("sub")],
    ["no tid", without("tid")],
    ["no kind", without("kind")],
    ["no scope", without("scope")],
    ["an unknown kind", forge({ kind: "root" })],
    ["a kind that is no text", forge({ kind: ["human"] })],
    ["a tid with a slash", forge({ tid: "acme/../other" })],
    ["an empty tid", forge({ tid: "" })],
    ["a tid that is too long", forge({ tid: "a".repeat(64) })],
    ["a tid that is no text", forge({ tid: 7 })],
    ["an empty sub", forge({ sub: "" })],
    ["a sub that is too long", forge({ sub: "a".repeat(256) })],
    ["a sub of too many characters of two units", forge({ sub: "😀".repeat(256) })],
    ["a sub with half a character", forge({ sub: "a\ud800" })],
    ["a jti of another kind", forge({ jti: record.id.replace("tok_", "ses_") })],
    ["an apr that is no approval's id", forge({ apr: record.id })],
    ["an apr that is empty", forge({ apr: "" })],
    ["an apr that is nothing", forge({ apr: null })],
    ["approvals in a list", forge({ apr: [APPROVAL] })],
    ["scopes in a list", forge({ scope: ["policies:write"] })],
    ["an exp that is a text", forge({ exp: "9999999999" })],
    ["an exp beyond all numbers", forge({ exp: 1e300 })],
    ["an nbf that is a text", forge({ nbf: "0" })],
    ["a changed payload", flip(good, good.indexOf(".") + 20)],
    ["a changed signature", flip(good, good.length - 20)],
    ["no signature", good.slice(0, good.lastIndexOf(".") + 1)],
    ["two parts", good.slice(0, good.lastIndexOf("."))],
    ["four parts", `${good}.x`],
    ["a payload that is no JSON", `${b64(header)}.${b64("hello")}.AAAA`],
    ["an encrypted token's five parts", "a.b.c.d.e"],
    ["a word", "hello"],
    ["the root key's beginning", ROOT_KEY.slice(0, -1)],
    ["the root key and more", `${ROOT_KEY}x`],
    ["the root key in capitals", ROOT_KEY.toUpperCase()],
  ])("%s", async (_what, token) => {
    expect(await codeOf(bearer(token))).toBe("token_invalid");
    expect(await codeOf(bearer(token))).toBe("token_invalid");
  });

  it.each<[string, string | null, string]>([
    ["no header", null, "token_missing"],
    ["an empty header", "", "token_missing"],
    ["another scheme", "Basic dXNlcjpwYXNz", "token_missing"],
    ["a scheme that begins like ours", `BearerX ${good}`, "token_missing"],
    ["the scheme alone", "Bearer", "token_invalid"],
    ["the scheme and a blank", "Bearer ", "token_invalid"],
    ["two tokens", `Bearer ${good} ${good}`, "token_invalid"],
    ["two headers made one", `Bearer ${good}, Bearer ${good}`, "token_invalid"],
    ["a header of 9,000 characters", `Bearer ${"a".repeat(9000)}`, "token_invalid"],
    ["a good token behind too many blanks", `Bearer${" ".repeat(9000)}${good}`, "token_invalid"],
  ])("header: %s", async (_what, value, expected) => {
    expect(await codeOf(identity.authenticate(value, NOW))).toBe(expected);
  });

  it("and a refusal says nothing of the token or the keys", async () => {
    const secret = forge({ sub: "SECRET-SUBJECT" }, {}, strangers.privateKey);
    const found = await bearer(secret);
    expect(JSON.stringify(found)).not.toMatch(new RegExp(`SECRET|${secret.slice(-20)}|${ours.jwk.d}`));
  });
});

describe("the root key", () => {
  it("makes its holder root", async () => expect(await bearer(ROOT_KEY)).toEqual({ ok: true, value: { kind: "root" } }));

  it("is nothing where none is set", async () => {
    const keyless = openIdentity({ ...env, ROOT_KEY: "" }, NOBODY);
    for (const header of ["Bearer ", "Bearer", "Bearer undefined"]) expect(await codeOf(keyless.authenticate(header, NOW))).toBe("token_invalid");
  });
});

describe("keys", () => {
  const keysOf = (...keys: object[]) => openIdentity({ ...env, SIGNING_KEYS: JSON.stringify({ keys }) }, NOBODY);

  it("are rotated: the first signs, all verify, also one of which only the public part was kept", async () => {
    const retired = { kty: "OKP", crv: "Ed25519", x: ours.jwk.x, kid: "k1" };
    const rotated = keysOf(older.jwk, retired);
    const fresh = await rotated.sign("acme", record);
    expect(JSON.parse(Buffer.from(fresh.split(".")[0] ?? "", "base64url").toString()).kid).toBe("k0");
    expect(await codeOf(rotated.authenticate(`Bearer ${fresh}`, NOW))).toBe("bearer");
    expect(await codeOf(rotated.authenticate(`Bearer ${forge({})}`, NOW))).toBe("bearer");
  });

  it("that were removed verify nothing more, though the token was seen before", async () => {
    expect(await codeOf(bearer(forge({})))).toBe("bearer");
    expect(await codeOf(keysOf(older.jwk).authenticate(`Bearer ${forge({})}`, NOW))).toBe("token_invalid");
  });

  it("are published without their private members", async () => {
    expect(await keysOf(older.jwk, ours.jwk).keySet()).toEqual({
      keys: [older, ours].map(({ jwk: { kty, crv, x, kid } }) => ({ kty, crv, x, kid, alg: "EdDSA", use: "sig" })),
    });
  });

  const { d: _, ...publicOnly } = ours.jwk;
  it.each<[string, string]>([
    ["nothing", ""],
    ["no JSON", "{"],
    ["null", "null"],
    ["a bare key", JSON.stringify(ours.jwk)],
    ["an empty set", '{"keys":[]}'],
    ["a set of texts", '{"keys":["a"]}'],
    ["seventeen keys", JSON.stringify({ keys: Array.from({ length: 17 }, (_, i) => ({ ...ours.jwk, kid: `${i}` })) })],
    ["an RSA key", JSON.stringify({ keys: [{ kty: "RSA", n: "AQAB", e: "AQAB", kid: "r" }] })],
    ["a symmetric key", JSON.stringify({ keys: [{ kty: "oct", k: "c2VjcmV0", kid: "s" }] })],
    ["a key for another algorithm", JSON.stringify({ keys: [{ ...ours.jwk, alg: "ES256" }] })],
    ["a key for encryption", JSON.stringify({ keys: [{ ...ours.jwk, use: "enc" }] })],
    ["a key without kid", JSON.stringify({ keys: [{ ...ours.jwk, kid: undefined }] })],
    ["one kid twice", JSON.stringify({ keys: [ours.jwk, { ...older.jwk, kid: "k1" }] })],
    ["only a public key", JSON.stringify({ keys: [publicOnly] })],
    ["a public key before the private one", JSON.stringify({ keys: [publicOnly, older.jwk] })],
    ["a short d", JSON.stringify({ keys: [{ ...ours.jwk, d: "AAAA" }] })],
    ["an x that belongs to another d", JSON.stringify({ keys: [{ ...ours.jwk, x: older.jwk.x }] })],
    ["a good key and then a bad one", JSON.stringify({ keys: [ours.jwk, { ...older.jwk, x: ours.jwk.x }] })],
  ])("that cannot be read refuse everybody, root too, and show no secret: %s", async (_what, SIGNING_KEYS) => {
    const shut = openIdentity({ ...env, SIGNING_KEYS }, NOBODY);
    for (const token of [forge({}), ROOT_KEY]) {
      const found = await shut.authenticate(`Bearer ${token}`, NOW);
      expect(found).toMatchObject({ ok: false, error: { code: "authority_unavailable" } });
      expect(JSON.stringify(found)).not.toContain(ours.jwk.d);
    }
    expect(await shut.keySet()).toEqual({ keys: [] });
    await expect(shut.sign("acme", record)).rejects.toThrow("signing keys");
  });
});

it("remembers a bounded number of tokens and forgets none of the checks", async () => {
  const crowd = openIdentity({ ...env, ROOT_KEY: "a-root-key-for-a-crowd" }, NOBODY);
  for (let i = 0; i < 2100; i++) {
    const token = forge({ sub: `bot-${i}` });
    const found = await crowd.authenticate(`Bearer ${token}`, NOW);
    if (!found.ok || found.value.kind !== "bearer" || found.value.principal.subject !== `bot-${i}`) throw new Error(`bot-${i} was not let in`);
  }
  expect(await codeOf(crowd.authenticate(`Bearer ${forge({ sub: "bot-0" })}`, NOW))).toBe("bearer");
  expect(await codeOf(crowd.authenticate(`Bearer ${forge({ sub: "bot-2099" })}`, NOW + 60_000))).toBe("token_expired");
});
