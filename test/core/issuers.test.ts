import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { parsePublicUrl } from "../../src/core/public_url.ts";
import type { IssuerRow } from "../../src/flow/ports.ts";
import { ForeignTokens, type Registrations } from "../../src/identity/foreign.ts";
import { type Fetch, KEYS_COOLDOWN_MS, KEYS_FRESH_MS, KEYS_STALE_MS, RemoteKeys } from "../../src/identity/remote_keys.ts";

const NOW = Date.UTC(2026, 10, 23, 12);
const ISSUER = "https://id.example.com";
const URI = "https://id.example.com/keys";

const newKeys = async (kid: string) => {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: "ES256" } };
};
const [first, second] = await Promise.all([newKeys("k1"), newKeys("k2")]);

const sign = (keys: typeof first, more: object = {}) =>
  new SignJWT({ iss: ISSUER, aud: "a", sub: "bot", kind: "agent", scope: "sessions:write", exp: NOW / 1000 + 100_000, ...more })
    .setProtectedHeader({ alg: "ES256", kid: keys.kid })
    .sign(keys.privateKey);

const row = (more: Partial<IssuerRow> = {}): IssuerRow => ({
  name: "corp",
  issuer: ISSUER,
  keys: { uri: URI },
  audience: "a",
  claims: { subject: "sub", scopes: "scope", kind: "kind" },
  version: 1,
  updatedAt: NOW,
  updatedBy: "ops",
  ...more,
});

/** What an issuer's address answers, changed as a test goes, and how often it was asked. */
class Address {
  asked = 0;
  inits: RequestInit[] = [];
  answer: () => Response | Promise<Response> = () => Response.json({ keys: [first.jwk] });
  readonly fetch: Fetch = async (_url, init) => {
    this.asked++;
    this.inits.push(init);
    return this.answer();
  };
}

/** `claimed`: the audience that the directory knows of a registration, where that is not the one on record. */
type Registered = IssuerRow & { readonly tenant?: string; readonly claimed?: string | null };

const registered = (...rows: readonly Registered[]): Registrations & { readonly asked: string[] } => ({
  asked: [],
  async issuersOf(issuer) {
    this.asked.push(issuer);
    return rows
      .filter((one) => one.issuer === issuer)
      .map(({ tenant = "acme", name, audience, claimed = audience }) => ({ tenant, name, audience: claimed }));
  },
  readIssuer: async (tenant, name) => rows.find((one) => (one.tenant ?? "acme") === tenant && one.name === name) ?? null,
});

const codeOf = async (tokens: ForeignTokens, token: string, now: number): Promise<string> => {
  const answer = await tokens.authenticate(token, ISSUER, now);
  return answer.ok ? answer.value.principal.subject : answer.error.code;
};

describe("keys at an address", () => {
  it("are fetched once, and a key that is new is found at the next look, which is not sooner than the cooldown", async () => {
    const address = new Address();
    const tokens = new ForeignTokens(registered(row()), address.fetch, false);
    expect(await codeOf(tokens, await sign(first), NOW)).toBe("bot");
    expect(await codeOf(tokens, await sign(first, { jti: "2" }), NOW + 1)).toBe("bot");
    expect(address.asked).toBe(1);
    expect(address.inits[0]).toMatchObject({ redirect: "manual" });
    address.answer = () => Response.json({ keys: [first.jwk, second.jwk] });
    expect(await codeOf(tokens, await sign(second), NOW + KEYS_COOLDOWN_MS - 1)).toBe("token_invalid");
    expect(address.asked).toBe(1);
    expect(await codeOf(tokens, await sign(second), NOW + KEYS_COOLDOWN_MS)).toBe("bot");
    expect(address.asked).toBe(2);
  });

  it("that were taken back verify no longer than they are fresh", async () => {
    const address = new Address();
    const tokens = new ForeignTokens(registered(row()), address.fetch, false);
    expect(await codeOf(tokens, await sign(first), NOW)).toBe("bot");
    address.answer = () => Response.json({ keys: [second.jwk] });
    expect(await codeOf(tokens, await sign(first, { jti: "2" }), NOW + KEYS_FRESH_MS - 1)).toBe("bot");
    expect(await codeOf(tokens, await sign(first, { jti: "3" }), NOW + KEYS_FRESH_MS)).toBe("token_invalid");
  });

  it.each<[string, () => Response | Promise<Response>]>([
    ["fails", () => Promise.reject(new Error("no route"))],
    ["takes too long", () => Promise.reject(new DOMException("too late", "TimeoutError"))],
    ["answers 500", () => new Response("down", { status: 500 })],
    ["points elsewhere", () => new Response(null, { status: 302, headers: { Location: "https://evil.example" } })],
    ["answers no JSON", () => new Response("<html>")],
    ["answers another thing", () => Response.json({ hello: 1 })],
    ["answers private keys", () => Response.json({ keys: [{ ...first.jwk, d: "AAAA" }] })],
    ["answers more than any key set has", () => new Response(`{"keys":[${" ".repeat(300_000)}]}`)],
    ["answers nothing", () => new Response(null, { status: 200 })],
  ])("whose address %s are used as they were for an hour, and then nobody is let in; it is not asked by every token", async (_, answer) => {
    const address = new Address();
    const tokens = new ForeignTokens(registered(row()), address.fetch, false);
    expect(await codeOf(tokens, await sign(first), NOW)).toBe("bot");
    address.answer = answer;
    const later = NOW + KEYS_FRESH_MS;
    for (let n = 0; n < 5; n++) expect(await codeOf(tokens, await sign(first, { jti: `a${n}` }), later + n)).toBe("bot");
    for (let n = 0; n < 5; n++) expect(await codeOf(tokens, await sign(second, { jti: `b${n}` }), later + n)).toBe("token_invalid");
    expect(address.asked).toBe(2);
    expect(await codeOf(tokens, await sign(first, { jti: "c" }), NOW + KEYS_STALE_MS)).toBe("authority_unavailable");
    address.answer = () => Response.json({ keys: [first.jwk] });
    expect(await codeOf(tokens, await sign(first, { jti: "d" }), NOW + KEYS_STALE_MS + KEYS_COOLDOWN_MS)).toBe("bot");
  });

  it("that could never be fetched let nobody in", async () => {
    const address = new Address();
    address.answer = () => Promise.reject(new Error("no route"));
    const keys = new RemoteKeys(address.fetch, false);
    expect(await keys.at(URI, NOW)).toBeNull();
    expect(await keys.at(URI, NOW + 1)).toBeNull();
    expect(address.asked).toBe(1);
  });

  it.each([
    ["https://id.example.com/keys", true, true],
    ["http://id.example.com/keys", false, true],
    ["https://localhost/keys", false, true],
    ["https://127.0.0.1/keys", false, true],
    ["https://0x7f.1/keys", false, true],
    ["https://[fe80::1]/keys", false, true],
    ["https://metadata/keys", false, true],
    ["https://db.internal./keys", false, true],
    ["https://db.internal../keys", false, true],
    ["https://localhost../keys", false, true],
    ["https://localhost%2e/keys", false, true],
    ["https://127.0.0.1./keys", false, true],
    ["https://127.0.0.1../keys", false, true],
    ["https://017700000001/keys", false, true],
    ["https://①②⑦.0.0.1/keys", false, true],
    ["https://[::ffff:127.0.0.1]/keys", false, true],
    ["https://u:p@id.example.com/keys", false, false],
    ["file:///etc/passwd", false, false],
    ["keys", false, false],
  ])("%s: may be fetched in public %s, in development %s", (uri, inPublic, inDevelopment) => {
    expect([parsePublicUrl(uri, false).ok, parsePublicUrl(uri, true).ok]).toEqual([inPublic, inDevelopment]);
  });
});

describe("who registered an issuer", () => {
  const inline = (keys: typeof first): Pick<IssuerRow, "keys"> => ({ keys: { set: { keys: [keys.jwk] } } });

  it("is remembered for one lease term, and forgotten sooner when somebody says so", async () => {
    const rows = [row(inline(first))];
    const registrations = registered(...rows);
    const tokens = new ForeignTokens(registrations, new Address().fetch, false);
    const token = await sign(first);
    expect(await codeOf(tokens, token, NOW)).toBe("bot");
    registrations.readIssuer = async () => null;
    expect(await codeOf(tokens, token, NOW + 29_999)).toBe("bot");
    expect(await codeOf(tokens, token, NOW + 30_000)).toBe("token_invalid");
    registrations.readIssuer = async () => row(inline(first));
    expect(await codeOf(tokens, token, NOW + 30_001)).toBe("token_invalid");
    tokens.forget(token);
    expect(await codeOf(tokens, token, NOW + 30_002)).toBe("bot");
  });

  it("is asked of the tenant: a directory that is behind lets nobody in", async () => {
    const registrations = registered({ ...row(inline(first)), issuer: "https://other.example" });
    registrations.issuersOf = () => registered(row()).issuersOf(ISSUER);
    expect(await codeOf(new ForeignTokens(registrations, new Address().fetch, false), await sign(first), NOW)).toBe("token_invalid");
  });

  it("cannot be asked when it is out of reach, and that is said", async () => {
    const registrations = registered(row(inline(first)));
    registrations.readIssuer = () => Promise.reject(new Error("away"));
    expect(await codeOf(new ForeignTokens(registrations, new Address().fetch, false), await sign(first), NOW)).toBe("authority_unavailable");
  });

  it("decides whose a token is that fits several: whom it names, else nobody's", async () => {
    const both = ["acme", "evil"].map((tenant) => ({ ...row(inline(first)), tenant }));
    const registrations = registered(
      ...both,
      { ...row(inline(first)), name: "own", audience: "agents/acme", tenant: "acme" },
      { ...row(inline(first)), name: "stolen", audience: "agents/acme", tenant: "evil" },
    );
    const tokens = new ForeignTokens(registrations, new Address().fetch, false);
    const tenantOf = async (more: object) => {
      const answer = await tokens.authenticate(await sign(first, more), ISSUER, NOW);
      return answer.ok ? answer.value.principal.tenant : answer.error.code;
    };
    expect(await tenantOf({ jti: "1" })).toBe("token_invalid");
    expect(await tenantOf({ jti: "2", tid: "evil" })).toBe("evil");
    expect(await tenantOf({ jti: "3", tid: "nobody" })).toBe("token_invalid");
    expect(await tenantOf({ jti: "4", aud: "agents/acme" })).toBe("acme");
  });

  it("makes no links: what its tokens say of an approval is nothing to this gateway", async () => {
    const tokens = new ForeignTokens(registered(row(inline(first))), new Address().fetch, false);
    const token = await sign(first, { apr: "apr_01890000-0000-7000-8000-000000000002" });
    const answer = await tokens.authenticate(token, ISSUER, NOW);
    expect(answer.ok && "only" in answer.value.principal).toBe(false);
    expect(answer.ok).toBe(true);
  });

  it("is asked at most a hundred times a second for names that nobody knows", async () => {
    const registrations = registered();
    const tokens = new ForeignTokens(registrations, new Address().fetch, false);
    const codes: string[] = [];
    for (let n = 0; n < 150; n++) {
      const answer = await tokens.authenticate("a.b.c", `https://${n}.example`, NOW);
      codes.push(answer.ok ? "ok" : answer.error.code);
    }
    expect(registrations.asked).toHaveLength(100);
    expect(codes.filter((code) => code === "throttled")).toHaveLength(50);
    expect((await tokens.authenticate("a.b.c", "https://later.example", NOW + 1_000)).ok).toBe(false);
    expect(registrations.asked).toHaveLength(101);
  });

  it("is asked again after a lease term though made-up names have used up all that may be looked up", async () => {
    const tokens = new ForeignTokens(registered(row(inline(first))), new Address().fetch, false);
    expect(await codeOf(tokens, await sign(first, { jti: "1" }), NOW)).toBe("bot");
    for (let n = 0; n < 100; n++) await tokens.authenticate("a.b.c", `https://${n}.example`, NOW + 30_000);
    expect(await codeOf(tokens, await sign(first, { jti: "2" }), NOW + 30_001)).toBe("bot");
  });

  it("is not pushed out of memory by names that are made up", async () => {
    const registrations = registered(row(inline(first)));
    const tokens = new ForeignTokens(registrations, new Address().fetch, false);
    expect(await codeOf(tokens, await sign(first, { jti: "1" }), NOW)).toBe("bot");
    for (let n = 0; n < 2_000; n++) await tokens.authenticate("a.b.c", `https://${n}.example`, NOW + 1_000 + n * 10);
    expect(await codeOf(tokens, await sign(first, { jti: "2" }), NOW + 21_000)).toBe("bot");
    expect(registrations.asked.filter((issuer) => issuer === ISSUER)).toHaveLength(1);
  });

  it("is not asked by every repetition of a token that was revoked, and the issuer's other tokens are let in", async () => {
    const registrations = registered(row(inline(first)));
    const tokens = new ForeignTokens(registrations, new Address().fetch, false);
    const revoked = await sign(first, { jti: "revoked" });
    for (let n = 0; n < 150; n++) {
      await tokens.authenticate(revoked, ISSUER, NOW + n);
      tokens.forget(revoked);
    }
    expect(await codeOf(tokens, await sign(first, { jti: "1" }), NOW + 150)).toBe("bot");
    expect(registrations.asked).toHaveLength(1);
    expect(await codeOf(tokens, await sign(first, { jti: "2" }), NOW + 1_000)).toBe("bot");
    expect(registrations.asked).toHaveLength(2);
  });

  it("for another audience than a token's is not looked at: its keys are neither fetched nor waited for", async () => {
    const address = new Address();
    address.answer = () => new Promise(() => undefined);
    const registrations = registered({ ...row({ audience: "other" }), tenant: "slow" }, { ...row(inline(first)), tenant: "acme" });
    expect(await codeOf(new ForeignTokens(registrations, address.fetch, false), await sign(first), NOW)).toBe("bot");
    expect(address.asked).toBe(0);
  });
});

describe("an issuer that many tenants registered", () => {
  const inline = { keys: { set: { keys: [first.jwk] } } };
  /** What tenants were asked, and how many of them at once. */
  class Tenants {
    readonly asked: string[] = [];
    mostAtOnce = 0;
    #open = 0;
    readonly registrations: Registrations;

    constructor(rows: readonly Registered[], silent: ReadonlySet<string> = new Set()) {
      const real = registered(...rows);
      this.registrations = {
        issuersOf: (issuer) => real.issuersOf(issuer),
        readIssuer: async (tenant, name) => {
          this.asked.push(tenant);
          this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#open);
          // One turn of the event loop: whoever is asked at the same time is asked by then.
          await new Promise(setImmediate);
          this.#open--;
          if (silent.has(tenant)) throw new Error("away");
          return real.readIssuer(tenant, name);
        },
      };
    }
  }

  const many = (count: number, of: (n: number) => Partial<Registered>): readonly Registered[] =>
    Array.from({ length: count }, (_, n) => ({ ...row(inline), tenant: `t${n}`, ...of(n) }));
  const tenantOf = async (tokens: ForeignTokens, more: object, now = NOW): Promise<string> => {
    const answer = await tokens.authenticate(await sign(first, more), ISSUER, now);
    return answer.ok ? answer.value.principal.tenant : answer.error.code;
  };

  it.each<[string, (n: number) => Partial<Registered>, more: object, asked: number, atOnce: number]>([
    ["each for its own audience asks one", (n) => ({ audience: `for t${n}` }), { aud: "for t99" }, 1, 1],
    ["a token for two audiences asks both", (n) => ({ audience: `for t${n}` }), { aud: ["for t99", "for t7", "other"], tid: "t99" }, 2, 2],
    ["all for one audience asks them sixteen at a time", () => ({}), { tid: "t99" }, 100, 16],
    [
      "before audiences were kept asks them as before, sixteen at a time",
      (n) => ({ audience: `for t${n}`, claimed: null }),
      { aud: "for t99" },
      100,
      16,
    ],
  ])("%s", async (_, of, more, asked, atOnce) => {
    const tenants = new Tenants(many(100, of));
    const tokens = new ForeignTokens(tenants.registrations, new Address().fetch, false);
    expect(await tenantOf(tokens, { jti: "1", ...more })).toBe("t99");
    expect([tenants.asked.length, tenants.mostAtOnce]).toEqual([asked, atOnce]);
    // Nobody is asked again within a lease term, and everybody concerned after it.
    expect(await tenantOf(tokens, { jti: "2", ...more }, NOW + 29_999)).toBe("t99");
    expect(tenants.asked.length).toBe(asked);
    expect(await tenantOf(tokens, { jti: "3", ...more }, NOW + 30_000)).toBe("t99");
    expect(tenants.asked.length).toBe(2 * asked);
  });

  it("costs nobody anything by tokens for audiences that nobody registered", async () => {
    const tenants = new Tenants(many(3, (n) => ({ audience: `for t${n}` })));
    const tokens = new ForeignTokens(tenants.registrations, new Address().fetch, false);
    for (let n = 0; n < 20; n++) expect(await tenantOf(tokens, { aud: `made up ${n}` })).toBe("token_invalid");
    expect(tenants.asked).toEqual([]);
    expect(await tenantOf(tokens, { aud: "for t1" })).toBe("t1");
  });

  it("stands still for a tenant that cannot be reached only where a token may be that tenant's", async () => {
    const tenants = new Tenants(
      many(3, (n) => ({ audience: `for t${n}` })),
      new Set(["t0"]),
    );
    const tokens = new ForeignTokens(tenants.registrations, new Address().fetch, false);
    expect(await tenantOf(tokens, { aud: "for t0" })).toBe("authority_unavailable");
    expect(await tenantOf(tokens, { aud: "for t1" })).toBe("t1");
    expect(await tenantOf(tokens, { aud: ["for t0", "for t1"] })).toBe("authority_unavailable");
  });

  it("is believed as the tenant has it on record, whatever audience the directory knows", async () => {
    const tokens = new ForeignTokens(registered({ ...row(inline), claimed: "another" }), new Address().fetch, false);
    expect(await tenantOf(tokens, { aud: "another" })).toBe("token_invalid");
    expect(await tenantOf(tokens, { aud: ["another", "a"] })).toBe("acme");
  });
});

describe("how long a token may live", () => {
  const DAYS = 86_400;
  const at = NOW / 1000;

  it.each<[string, { readonly iat?: number; readonly exp: number }, string]>([
    ["366 days since it was made is let in", { iat: at - 10 * DAYS, exp: at + 356 * DAYS }, "bot"],
    ["a second longer is refused", { iat: at - 10 * DAYS, exp: at + 356 * DAYS + 1 }, "token_invalid"],
    ["ten years is refused near its end too", { iat: at - 3_640 * DAYS, exp: at + 10 * DAYS }, "token_invalid"],
    ["366 days from now, and does not say since when, is let in", { exp: at + 366 * DAYS }, "bot"],
    ["a second longer, and does not say since when, is refused", { exp: at + 366 * DAYS + 1 }, "token_invalid"],
  ])("one of %s", async (_, claims, expected) => {
    expect(await codeOf(new ForeignTokens(registered(row()), new Address().fetch, false), await sign(first, claims), NOW)).toBe(expected);
  });

  it("is told to whoever sends one that lives too long", async () => {
    const answer = await new ForeignTokens(registered(row()), new Address().fetch, false).authenticate(
      await sign(first, { exp: at + 400 * DAYS }),
      ISSUER,
      NOW,
    );
    expect(answer.ok ? "" : answer.error.detail).toBe(
      "The token lives too long: found an end at 2027-12-28T12:00:00.000Z; wanted one at most 366 days after it was made.",
    );
  });
});

describe("the id of a token that has none of its own", () => {
  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  /** The order of the group of P-256 (SEC 2, section 2.4.2). */
  const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

  /** The last character of 64 octets in base64url has four bits that nobody reads. */
  const respelled = (token: string): string => token.slice(0, -1) + DIGITS.charAt(DIGITS.indexOf(token.slice(-1)) ^ 1);

  /** Of a signature (r, s) by ECDSA everybody can make (r, -s), which verifies as well. */
  function mirrored(token: string): string {
    const [head, body, signature = ""] = token.split(".");
    const octets = Buffer.from(signature, "base64url");
    const s = (ORDER - BigInt(`0x${octets.toString("hex", 32)}`)).toString(16).padStart(64, "0");
    return [head, body, Buffer.concat([octets.subarray(0, 32), Buffer.from(s, "hex")]).toString("base64url")].join(".");
  }

  it.each([
    ["spelled otherwise", respelled],
    ["the other that is as good", mirrored],
  ])("is the same when its signature is %s", async (_, changed) => {
    const idOf = async (token: string): Promise<string> => {
      const answer = await new ForeignTokens(registered(row()), new Address().fetch, false).authenticate(token, ISSUER, NOW);
      return answer.ok ? answer.value.principal.tokenId : answer.error.code;
    };
    const token = await sign(first);
    expect(changed(token)).not.toBe(token);
    expect(await idOf(token)).toMatch(/^tok_/);
    expect(await idOf(changed(token))).toBe(await idOf(token));
  });
});

it("a token of an issuer of the tenant's own is never a link: what it says under a link's claim is its own affair", async () => {
  const tokens = new ForeignTokens(registered(row()), new Address().fetch, false);
  const apr = "apr_01890000-0000-7000-8000-000000000001";
  for (const more of [{ apr }, { apr: 7 }, { only: apr, approval: apr }]) {
    const answer = await tokens.authenticate(await sign(first, { kind: "human", scope: "approvals:write", ...more }), ISSUER, NOW);
    expect(answer).toMatchObject({ ok: true, value: { scopes: ["approvals:write"], principal: { subject: "bot", kind: "human" } } });
    expect(answer.ok && "only" in answer.value.principal).toBe(false);
  }
});
