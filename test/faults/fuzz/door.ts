import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, sign as signBytes, verify as verifyBytes } from "node:crypto";
import { SCOPES, SCOPES_NO_AGENT_HOLDS } from "../../../src/core/scopes.ts";
import type { IssuerRow } from "../../../src/flow/ports.ts";
import { openIdentity } from "../../../src/identity/identity.ts";
import type { Chance } from "./chance.ts";
import { type Look, main, type Seen } from "./loop.ts";
import { spoil, spoiltBody } from "./mutate.ts";
import { textOf, treeOf } from "./tree.ts";

/**
 * Whoever gets in must bear a token that one of three keys signed over just these octets, with claims that say so: looked at here by Node's own
 * cryptography, and by nothing that the door uses. Everybody else is refused, in bounded time, and nothing is thrown.
 */

const ISSUER = "https://gateway.test";
const FOREIGN = "https://id.example";
const AUDIENCE = "agentsentinel";
const ROOT_KEY = "root_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHI";
const NOW = Date.UTC(2026, 10, 22, 12, 0, 0, 700);
const SECONDS = Math.floor(NOW / 1000);
/** Two digests and a verification take a millisecond or two; what takes longer than this can be used to keep the door busy. */
const MOST_MS = 250;

const ed25519 = () => generateKeyPairSync("ed25519").privateKey;
const keys = {
  ours: ed25519(),
  retired: ed25519(),
  stranger: ed25519(),
  foreign: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
  rsa: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
};
const jwk = (key: KeyObject, more: object): object => ({ ...createPublicKey(key).export({ format: "jwk" }), ...more });
const secret = (key: KeyObject, kid: string): object => ({ ...key.export({ format: "jwk" }), kid });

const row: IssuerRow = {
  name: "corp",
  issuer: FOREIGN,
  // What `putIssuer` accepts as a set of public keys.
  keys: { set: { keys: [jwk(keys.foreign, { kid: "f1", alg: "ES256" })] } } as IssuerRow["keys"],
  audience: "acme",
  claims: { subject: "sub", scopes: "scope", kind: "kind" },
  version: 1,
  updatedAt: NOW,
  updatedBy: "ops",
};

const identity = openIdentity(
  { ROOT_KEY, SIGNING_KEYS: JSON.stringify({ keys: [secret(keys.ours, "k1"), jwk(keys.retired, { kid: "k0" })] }), TOKEN_ISSUER: ISSUER },
  {
    issuersOf: async (issuer) => (issuer === FOREIGN ? [{ tenant: "acme", name: "corp", audience: row.audience }] : []),
    readIssuer: async () => row,
  },
  async () => {
    throw new Error("nobody is asked over the network");
  },
);

const OURS = { alg: "EdDSA", typ: "at+jwt", kid: "k1" };
const claims = (chance: Chance) => ({
  iss: ISSUER,
  aud: AUDIENCE,
  sub: chance.pick(["bot-7", "日本語", "a"]),
  tid: "acme",
  kind: chance.pick(["agent", "human", "service"]),
  scope: chance.pick(["sessions:write decisions:write", SCOPES.join(" "), "", "root"]),
  jti: `tok_${chance.uuid()}`,
  iat: SECONDS,
  nbf: SECONDS,
  exp: SECONDS + chance.between(1, 100_000),
});
const foreignClaims = (chance: Chance) => ({
  iss: FOREIGN,
  aud: chance.pick<unknown>(["acme", ["acme", "other"]]),
  sub: "bot",
  kind: chance.pick(["agent", "human"]),
  scope: chance.pick<unknown>([SCOPES.join(" "), ["ledger:read"]]),
  exp: SECONDS + 1000,
  jti: chance.hex(8),
});

const b64 = (text: string | Buffer): string => Buffer.from(text).toString("base64url");

type Signing = (input: string) => Buffer;
const signings: { readonly [name: string]: Signing } = {
  ours: (input) => signBytes(null, Buffer.from(input), keys.ours),
  retired: (input) => signBytes(null, Buffer.from(input), keys.retired),
  stranger: (input) => signBytes(null, Buffer.from(input), keys.stranger),
  foreign: (input) => signBytes("sha256", Buffer.from(input), { key: keys.foreign, dsaEncoding: "ieee-p1363" }),
  "foreign in DER": (input) => signBytes("sha256", Buffer.from(input), keys.foreign),
  rsa: (input) => signBytes("sha256", Buffer.from(input), keys.rsa),
  "a secret that everybody knows": (input) =>
    createHmac("sha256", createPublicKey(keys.ours).export({ type: "spki", format: "pem" }))
      .update(input)
      .digest(),
  "the public octets as a secret": (input) =>
    createHmac("sha256", Buffer.from(String(createPublicKey(keys.ours).export({ format: "jwk" }).x), "base64url"))
      .update(input)
      .digest(),
  nobody: () => Buffer.alloc(0),
  zeros: () => Buffer.alloc(64),
};

const HEADERS: readonly object[] = [
  { alg: "none" },
  { ...OURS, alg: "none" },
  { ...OURS, alg: "HS256" },
  { ...OURS, alg: "ES256" },
  { ...OURS, alg: "Ed25519" },
  { ...OURS, alg: "eddsa" },
  { ...OURS, kid: "k0" },
  { ...OURS, kid: "f1" },
  { ...OURS, kid: "__proto__" },
  { ...OURS, kid: "constructor" },
  { ...OURS, typ: "JWT" },
  { ...OURS, typ: "application/at+jwt" },
  { ...OURS, typ: "dpop+jwt" },
  { ...OURS, crit: ["exp"] },
  { ...OURS, b64: false, crit: ["b64"] },
  { ...OURS, jku: "http://127.0.0.1/" },
  { ...OURS, x5u: "http://127.0.0.1/" },
  { ...OURS, jwk: jwk(keys.stranger, {}) },
  { ...OURS, zip: "DEF" },
  { alg: "ES256", kid: "f1" },
  { alg: "ES256", kid: "f1", typ: "at+jwt" },
  { alg: "HS256", kid: "f1" },
  { alg: "ES256" },
];

function tokenOf(chance: Chance): { readonly token: string; readonly signer: string; readonly isPlain: boolean } {
  const isForeign = chance.isLucky(0.3);
  const isPlain = chance.isLucky(0.1);
  const header = isForeign ? { alg: "ES256", kid: "f1" } : OURS;
  const body = isForeign ? foreignClaims(chance) : claims(chance);
  const signer = isPlain || chance.isLucky(0.75) ? (isForeign ? "foreign" : "ours") : chance.pick(Object.keys(signings));
  const signing = signings[signer] ?? (() => Buffer.alloc(0));
  if (isPlain) {
    const input = `${b64(JSON.stringify(header))}.${b64(JSON.stringify(body))}`;
    return { token: `${input}.${b64(signing(input))}`, signer, isPlain };
  }
  const head = chance.isLucky(0.6)
    ? JSON.stringify(header)
    : chance.isLucky(0.7)
      ? JSON.stringify(chance.pick(HEADERS))
      : textOf(spoil(treeOf(header), chance));
  const told = chance.isLucky(0.25)
    ? Buffer.from(JSON.stringify(body))
    : chance.isLucky(0.5)
      ? Buffer.from(JSON.stringify({ ...body, ...oddClaim(chance) }))
      : spoiltBody(treeOf(body), chance);
  // A token is small; what is larger is refused by its length alone.
  const input = `${b64(head.slice(0, 4000))}.${b64(told.subarray(0, 5000))}`;
  const token = `${input}.${b64(signing(input))}`;
  return { token: chance.isLucky(0.3) ? scratched(token, chance) : token, signer, isPlain };
}

const oddClaim = (chance: Chance): object =>
  chance.pick<object>([
    { exp: SECONDS },
    { exp: SECONDS - 1 },
    { exp: SECONDS + 0.5 },
    { exp: String(SECONDS + 60) },
    { exp: 1e300 },
    { exp: null },
    { exp: [SECONDS + 60] },
    { nbf: SECONDS + 5 },
    { nbf: SECONDS + 60 },
    { nbf: "0" },
    { iat: SECONDS + 60 },
    { aud: [AUDIENCE] },
    { aud: "acme" },
    { aud: [AUDIENCE, "acme"] },
    { iss: FOREIGN },
    { iss: ISSUER },
    { iss: `${ISSUER}/` },
    { iss: [ISSUER] },
    { tid: "Acme" },
    { tid: "other" },
    { tid: "" },
    { tid: "__proto__" },
    { kind: "root" },
    { kind: "agent " },
    { kind: ["human"] },
    { sub: "" },
    { sub: "x".repeat(300) },
    { sub: "a\nb" },
    { sub: "\ud800" },
    { sub: { toString: 1 } },
    { scope: SCOPES },
    { scope: null },
    { scope: { includes: 1 } },
    { jti: "tok_x" },
    { jti: 7 },
    { nonce: "x" },
    { "": 1 },
  ]);

function scratched(token: string, chance: Chance): string {
  const at = chance.below(token.length);
  return chance.pick([
    token.slice(0, at) + chance.pick(["A", "_", "=", ".", " ", "+", "/", "é", "%"]) + token.slice(at + 1),
    token.slice(0, at) + token.slice(at + 1),
    `${token}=`,
    `${token}.`,
    `${token}.${token}`,
    `.${token}`,
    token.replace(".", ".."),
    token.split(".").reverse().join("."),
    token.slice(0, token.lastIndexOf(".") + 1),
    // The last letter of 64 octets in base64url has two bits that mean nothing: another letter, the same signature.
    token.slice(0, -1) + String.fromCharCode(token.charCodeAt(token.length - 1) + 1),
    token.toLowerCase(),
    `${token}${"A".repeat(9000)}`,
    token.repeat(20),
  ]);
}

const SCHEMES = ["Bearer", "bearer", "BEARER", "Bearer ", "Basic", "", "Bearer\t", "Bearer Bearer", "DPoP"];

export const look: Look = async (chance) => {
  const { token, signer, isPlain } = tokenOf(chance);
  const scheme = isPlain || chance.isLucky(0.85) ? "Bearer" : chance.pick(SCHEMES);
  const shown = chance.isLucky(0.01) ? chance.pick([ROOT_KEY, ROOT_KEY.slice(1), `${ROOT_KEY}x`, ROOT_KEY.toLowerCase(), ""]) : token;
  const header = `${scheme} ${shown}`;
  const startedAt = performance.now();
  const answer = await identity.authenticate(header, NOW);
  const tookMs = performance.now() - startedAt;
  const odd = (fault: string): Seen => ({ fault, input: `signed by ${signer}: ${header.slice(0, 2500)} → ${JSON.stringify(answer)}` });
  if (tookMs > MOST_MS) {
    // On a busy machine once is no proof.
    const again = performance.now();
    await identity.authenticate(header, NOW);
    if (performance.now() - again > MOST_MS) return odd(`took more than ${MOST_MS} ms twice`);
  }
  if (!answer.ok) {
    if (isPlain && shown === token) return odd("a good token was refused");
    if (!/^token_(missing|invalid|expired)$/.test(answer.error.code)) return odd(`refused with ${answer.error.code}`);
    return { outcome: `${answer.error.code}` };
  }
  if (answer.value.kind === "root") return shown === ROOT_KEY ? { outcome: "root" } : odd("the root key was taken for another text");
  const why = unproven(shown, answer.value);
  return why === null ? { outcome: `let in, signed by ${signer}` } : odd(`let in: ${why}`);
};

type Bearer = Extract<Extract<Awaited<ReturnType<typeof identity.authenticate>>, { ok: true }>["value"], { kind: "bearer" }>;

/** Why a token does not prove what the door made of it; `null`: it does. */
function unproven(token: string, { principal, scopes, expiresAt }: Bearer): string | null {
  const [head = "", body = "", signature = "", ...more] = token.split(".");
  if (more.length > 0) return "it has more than three parts";
  const input = Buffer.from(`${head}.${body}`);
  const octets = Buffer.from(signature, "base64url");
  const isOurs = [keys.ours, keys.retired].some((key) => verifyBytes(null, input, createPublicKey(key), octets));
  const isForeign = !isOurs && verifyBytes("sha256", input, { key: createPublicKey(keys.foreign), dsaEncoding: "ieee-p1363" }, octets);
  if (!isOurs && !isForeign) return "no key of ours or of the registered issuer signed these octets";
  const told = new Map<string, unknown>(Object.entries(Object(read(body))));
  const alg: unknown = Reflect.get(Object(read(head)), "alg");
  if (alg !== (isOurs ? "EdDSA" : "ES256")) return `its header says ${alg}`;
  if (told.get("iss") !== (isOurs ? ISSUER : FOREIGN)) return "its issuer is another";
  const audience = told.get("aud");
  if (isOurs ? audience !== AUDIENCE : audience !== "acme" && !(Array.isArray(audience) && audience.includes("acme")))
    return "its audience is another";
  const exp = told.get("exp");
  if (typeof exp !== "number" || exp * 1000 <= NOW || expiresAt !== exp * 1000) return "its end is another, or past";
  const nbf = told.get("nbf");
  if (nbf !== undefined && (typeof nbf !== "number" || nbf * 1000 > NOW + 5000)) return "it is not good yet";
  if (principal.subject !== told.get("sub") || principal.kind !== told.get("kind")) return "somebody else was let in";
  if (principal.tenant !== (isOurs ? told.get("tid") : "acme")) return "it is of another tenant";
  if (isOurs && principal.tokenId !== told.get("jti")) return "it has another id";
  const scope = told.get("scope");
  const stated = typeof scope === "string" ? scope.split(" ") : Array.isArray(scope) && isForeign ? scope : [];
  if (scopes.some((one) => !stated.includes(one))) return "it has more scopes than it says";
  if (principal.kind === "agent" && scopes.some((one) => SCOPES_NO_AGENT_HOLDS.includes(one))) return "an agent has a scope that no agent holds";
  return null;
}

/** As texts are read everywhere: without a byte order mark. */
const read = (part: string): unknown =>
  JSON.parse(
    Buffer.from(part, "base64url")
      .toString("utf8")
      .replace(/^\ufeff/, ""),
  );

if (import.meta.main) await main("JWT door", look, 100_000);
