import type { Chance } from "./chance.ts";
import type { TokenName } from "./gateway.ts";
import type { Draft, Surroundings } from "./generate.ts";
import { spoiltBody, spoiltText } from "./mutate.ts";
import type { Tree } from "./tree.ts";

/** How a request is spoilt: its body, its headers, its method, its target. */

type Spoiling = (draft: Draft, chance: Chance, tree: Tree | null, around: Surroundings) => void;

const spoilBody: Spoiling = (draft, chance, tree) => {
  if (draft.body === null) draft.body = Buffer.from(chance.pick(["{}", "null", "x", '{"a":1}']));
  else if (draft.body.length < 100_000) draft.body = tree === null ? spoiltText(draft.body.toString(), chance) : spoiltBody(tree, chance);
};

const SPOILINGS: readonly (readonly [weight: number, spoiling: Spoiling])[] = [
  [14, spoilBody],
  [3, (draft, chance, _, around) => setHeader(draft, "Authorization", oddAuthorization(chance, around))],
  [2, (draft, chance) => setHeader(draft, "Content-Type", chance.pick(CONTENT_TYPES))],
  [1, (draft, chance) => setHeader(draft, "Content-Encoding", chance.pick(["gzip", "identity", "br", "", "deflate, gzip", "x".repeat(1000)]))],
  [2, (draft, chance) => setHeader(draft, "Accept", chance.pick(ACCEPTS))],
  [
    2,
    (draft, chance) =>
      setHeader(
        draft,
        "Idempotency-Key",
        chance.pick(["", " ", "a b", "é", "x".repeat(256), "x".repeat(9000), "k-1", "__proto__", "\t", "a\0b".replace("\0", "\u007f")]),
      ),
  ],
  [1, (draft, chance) => setHeader(draft, "X-Request-ID", chance.pick(["", "a b", "x".repeat(129), "é", '{"a":1}', "<script>", "x".repeat(5000)]))],
  [
    1,
    (draft, chance) =>
      setHeader(draft, "Last-Event-ID", chance.pick(["", "0", "-1", "1.2.3", "9".repeat(40), "x", "17.1", "1e5", " 5", "9007199254740993"])),
  ],
  [
    1,
    (draft, chance) =>
      setHeader(draft, chance.pick(["If-None-Match", "If-Match"]), chance.pick(["*", '""', 'W/"x"', '"a", "b"', "x", '"', `"${"x".repeat(3000)}"`])),
  ],
  [1, (draft, chance) => setHeader(draft, "Origin", chance.pick(["null", "https://app.example.com", "x", "", "https://é", "https://a/b"]))],
  [
    1,
    (draft, chance) =>
      setHeader(
        draft,
        chance.pick([
          "Range",
          "Expect",
          "Upgrade",
          "TE",
          "X-HTTP-Method-Override",
          "X-Forwarded-Host",
          "Forwarded",
          "Cookie",
          "CF-Connecting-IP",
          "Referer",
        ]),
        chance.pick(["bytes=0-1", "100-continue", "websocket", "DELETE", "evil.example", "a=b", "é"]),
      ),
  ],
  [1, (draft, chance) => draft.headers.push([...chance.pick(draft.headers.length === 0 ? [["X-A", "b"] as [string, string]] : draft.headers)])],
  [
    2,
    (draft, chance) => {
      draft.method = chance.pick(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]);
    },
  ],
  [
    4,
    (draft, chance) => {
      draft.target = oddTarget(draft.target, chance);
    },
  ],
  [
    4,
    (draft, chance) => {
      draft.target = oddQuery(draft.target, chance);
    },
  ],
];

const WEIGHT = SPOILINGS.reduce((sum, [weight]) => sum + weight, 0);

export function spoilRequest(draft: Draft, tree: Tree | null, chance: Chance, around: Surroundings): void {
  for (let left = chance.pick([1, 1, 1, 2, 3]); left > 0; left--) {
    let at = chance.below(WEIGHT);
    const spoiling = SPOILINGS.find(([weight]) => {
      at -= weight;
      return at < 0;
    });
    spoiling?.[1](draft, chance, tree, around);
  }
  // A method of its own reads what a body says; the others have none, and it goes out without one.
  if (draft.method === "GET" || draft.method === "HEAD") draft.body = chance.isLucky(0.9) ? null : draft.body;
}

function setHeader(draft: Draft, name: string, value: string): void {
  draft.headers = [...draft.headers.filter(([one]) => one.toLowerCase() !== name.toLowerCase()), [name, value]];
}

function oddAuthorization(chance: Chance, { tenant, rootKey }: Surroundings): string {
  const names: readonly TokenName[] = ["operator", "agent", "otherAgent", "service", "scopeless", "stranger", "revoked", "expired"];
  const token = tenant.tokens[chance.pick(names)];
  const [head = "", claims = "", signature = ""] = token.split(".");
  return chance.pick([
    `Bearer ${token}`,
    `Bearer ${token}`,
    `Bearer ${token}`,
    `Bearer ${rootKey}`,
    `Bearer ${rootKey.slice(0, -1)}`,
    "",
    "Bearer",
    "Bearer ",
    `bearer ${token}`,
    `Bearer  ${token}`,
    `Bearer ${token} x`,
    `Bearer ${token},Bearer ${token}`,
    `Basic ${Buffer.from("a:b").toString("base64")}`,
    `Token ${token}`,
    token,
    `Bearer ${head}.${claims}.`,
    `Bearer ${head}.${claims}`,
    `Bearer ${head}.${claims}.${signature.slice(2)}AA`,
    `Bearer ${Buffer.from('{"alg":"none"}').toString("base64url")}.${claims}.`,
    `Bearer ${head}.${Buffer.from('{"sub":"x","iss":"https://unknown.example"}').toString("base64url")}.${signature}`,
    `Bearer ${"a".repeat(8300)}`,
    "Bearer é",
    "Bearer ..",
    `Bearer ${Buffer.from("{}").toString("base64url").repeat(3)}`,
  ]);
}

const CONTENT_TYPES = [
  "",
  "text/plain",
  "application/json; charset=utf-8",
  'application/json; charset="UTF-8"',
  "application/json; charset=utf-16",
  "APPLICATION/JSON",
  "application/problem+json",
  "application/x-www-form-urlencoded",
  "multipart/form-data; boundary=x",
  "application/yaml",
  "text/yaml",
  "application/json, application/yaml",
  "application/json;",
  ";",
  "*/*",
  "application/json; charset=",
  "é/é",
  `application/${"x".repeat(5000)}`,
];

const ACCEPTS = [
  "",
  "text/plain",
  "text/html",
  "image/png",
  "application/json;q=0",
  "application/json;q=2",
  "application/json;q=abc",
  "*/*;q=0",
  "application/yaml",
  "application/problem+json",
  "text/event-stream",
  "application/x-ndjson",
  ",",
  ";;;",
  "a/b/c",
  "é/*",
  `${"a/b,".repeat(2000)}*/*`,
  "application/*;q=0.1, text/*",
];

function oddTarget(target: string, chance: Chance): string {
  const [path = "/", query] = target.split("?", 2);
  const parts = path.split("/");
  const at = chance.between(1, Math.max(1, parts.length - 1));
  const part = parts[at] ?? "";
  const changed = chance.pick([
    `${part}%00`,
    `${part}%`,
    `${part}%zz`,
    `${part}%FC`,
    `${part}%2F`,
    `${part}%252F`,
    `${part}%5C`,
    `${part}%C0%AF`,
    `${part}%ED%A0%80`,
    `${part}%20`,
    `${part};a=b`,
    `${part}.json`,
    `${part}/`,
    `/${part}`,
    `./${part}`,
    `../${part}`,
    `%2e%2e/${part}`,
    `..;/${part}`,
    part.toUpperCase(),
    part.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    "",
    "{session}",
    "*",
    ":session",
    "__proto__",
    "x".repeat(chance.pick([200, 3000, 7000])),
    encodeURIComponent("日本語".repeat(50)),
    "é",
    "\\",
  ]);
  parts[at] = changed;
  const made = parts.join("/");
  // An origin form begins with a slash; the rest is for the raw cases.
  return `${made.startsWith("/") ? "" : "/"}${made}${query === undefined ? "" : `?${query}`}`;
}

function oddQuery(target: string, chance: Chance): string {
  const joint = target.includes("?") ? "&" : "?";
  const name = chance.pick([
    "limit",
    "cursor",
    "session",
    "agent",
    "from",
    "to",
    "wait_ms",
    "kinds",
    "types",
    "activate",
    "scope",
    "tenant",
    "last_event_id",
    "group_by",
    "tag",
    "x",
    "__proto__",
    "constructor",
    "limit%00",
    "",
  ]);
  const value = chance.pick([
    "",
    "0",
    "1",
    "-1",
    "1001",
    "1e3",
    "9".repeat(16),
    "1.5",
    "%00",
    "%",
    "%FF",
    "%ED%A0%80",
    "null",
    "true",
    "a,b,,c",
    "*",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00.000Z",
    "0000-01-01T00:00:00Z",
    "+010000-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
    "'%20OR%201=1--",
    "%E2%80%AE",
    "é",
    "a".repeat(chance.pick([300, 1025, 5000])),
    "eyJhIjoxfQ",
    "bnVsbA==",
  ]);
  return chance.pick([
    `${target}${joint}${name}=${value}`,
    `${target}${joint}${name}=${value}&${name}=${value}`,
    `${target}${joint}${name}`,
    `${target}${joint}&&=&`,
    `${target}#${name}`,
    `${target}?${name}=${value}`,
    `${target.split("?", 1)[0]}?${name}[]=${value}`,
  ]);
}
