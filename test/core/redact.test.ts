import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import {
  DEFAULT_DETECTORS,
  DEFAULT_KEYS,
  DETECTORS,
  type Detector,
  plainKey,
  type Redaction,
  redactJson,
  redactText,
} from "../../src/core/redact.ts";

const redaction = (detect: readonly Detector[], keys: readonly string[] = []): Redaction => ({
  storeInputs: "full",
  storeOutputs: "full",
  keys,
  detect,
});
const all = redaction(DETECTORS);
const textOf = (text: string, detect: readonly Detector[] = DETECTORS): string => redactText(text, redaction(detect)).text;

// Put together here, so that no scanner takes this file for a leak.
const a = (n: number): string => "aB3dE6gH9jK".repeat(10).slice(0, n);
const dashes = "-----";
const begin = (kind: string): string => `${dashes}BEGIN ${kind}${dashes}`;
const end = (kind: string): string => `${dashes}END ${kind}${dashes}`;
const JWT = `eyJ${a(20)}.eyJ${a(30)}.${a(43)}`;

describe("what is an e-mail address", () => {
  it.each([
    ["bob@example.com", "[redacted:email]"],
    ["<bob+tag@a.b.co.uk>.", "<[redacted:email]>."],
    ["Write to o'neil_{x}@example.org, please", "Write to [redacted:email], please"],
    ["bob@example.com.", "[redacted:email]."],
    ["bob@example.com-foo", "[redacted:email]-foo"],
    ["bob@example.com.5", "[redacted:email].5"],
    ["bob@xn--bcher-kva.xn--p1ai", "[redacted:email]"],
    ["bob@bücher.example", "[redacted:email]"],
    ['"john doe"@example.org', "[redacted:email]"],
    ['he said "hi" to bob@example.org', 'he said "hi" to [redacted:email]'],
    [`${"He said it. ".repeat(20)}"john doe"@example.org`, `${"He said it. ".repeat(20)}[redacted:email]`],
    [`"${"john doe".repeat(8)}"@example.org`, "[redacted:email]"],
    ["root@[192.168.0.1]", "[redacted:email]"],
    ["a@b.io,c@d.io", "[redacted:email],[redacted:email]"],
    ["a@b.io@c.io", "[redacted:email]"],
    ["path/to/bob@x.io", "[redacted:email]"],
    ["..bob@x.io", "..[redacted:email]"],
    [".bob@x.io", ".[redacted:email]"],
    ["wait.. then bob@x.io", "wait.. then [redacted:email]"],
    ["root@[IPv6:fe80::1]", "[redacted:email]"],
    ["/bob@x.io", "/[redacted:email]"],
    ["a//b/bob@x.io", "a//b/[redacted:email]"],
    ["https://x.io/help or bob@x.io", "https://x.io/help or [redacted:email]"],
    ["bob@почта.рф-foo", "[redacted:email]-foo"],
    ["😀bob@x.io😀", "😀[redacted:email]😀"],
  ])("%s becomes %s", (text, clean) => expect(textOf(text)).toBe(clean));

  it.each([
    "a@b",
    'x"@example.org',
    '"@example.org',
    `"${"john doe".repeat(8)}!"@example.org`,
    "@handle",
    "hi @handle.bsky.social",
    "pkg@1.2.3",
    "@scope/pkg@1.2.3-beta.rc",
    "pkg@10.20.30-beta.rc",
    "pkg@2.0.0",
    "https://medium.com/@user.name",
    "a@-.com",
    "a@b.c",
    "a@ b.com",
    "@",
    "a@b-.com",
  ])("%s is none", (text) => expect(redactText(text, all)).toEqual({ text, count: 0 }));

  it("every dot-atom at every host is found whole in any surrounding that is no part of it", () => {
    const atom = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+=?^_`{|}~-]{1,12}$/);
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?$/).filter((text) => !/^[0-9]+$/.test(text));
    const address = fc
      .tuple(fc.array(atom, { minLength: 1, maxLength: 3 }), fc.array(label, { minLength: 1, maxLength: 3 }), fc.stringMatching(/^[a-z]{2,8}$/))
      .map(([atoms, labels, top]) => `${atoms.join(".")}@${labels.join(".")}.${top}`);
    const around = fc.constantFrom("", " ", "<", ">", ",", ";", ":", "(", ")", "\n", "…", "é", "日本", "\u0000");
    fc.assert(
      fc.property(address, around, around, (text, before, after) => {
        fc.pre(!/[\p{L}]/u.test(after));
        expect(textOf(before + text + after, ["email"])).toBe(`${before}[redacted:email]${after}`);
      }),
    );
  });
});

describe("what is a card number", () => {
  it.each([
    ["4111111111111111", "[redacted:credit_card]"],
    ["4222222222222", "[redacted:credit_card]"], // 13 digits
    ["card 4111 1111 1111 1111 exp 12", "card [redacted:credit_card] exp 12"],
    ["4111-1111-1111-1111", "[redacted:credit_card]"],
    ["12 4111 1111 1111 1111 99", "12 [redacted:credit_card] 99"],
    ["3782 822463 10005", "[redacted:credit_card]"],
    ["x378282246310005y", "x[redacted:credit_card]y"],
    ["5555555555554444", "[redacted:credit_card]"],
    ["2223003122003222", "[redacted:credit_card]"],
    ["6011111111111117", "[redacted:credit_card]"],
    ["3530111333300000", "[redacted:credit_card]"],
    ["30569309025904", "[redacted:credit_card]"],
    ["6200000000000005", "[redacted:credit_card]"],
    ["abc4111111111111111def", "abc[redacted:credit_card]def"],
    ["7afda076-4d29-4071-8532-39918c4c4952", "7afda076-4d29-4071-8532-39918c4c4952"], // has the digits of one in its middle
    ["ses_7AFDA076-4d29-4071-8532-39918c4c4952, 4111111111111111", "ses_7AFDA076-4d29-4071-8532-39918c4c4952, [redacted:credit_card]"],
    ["4111111111111111; 7afda076-4d29-4071-8532-39918c4c4952", "[redacted:credit_card]; 7afda076-4d29-4071-8532-39918c4c4952"],
    ["7afda076-4d29-4071-8532-39918c4c49521", "7afda076-4d29-[redacted:credit_card]c4c49521"], // is no UUID
    ["sha-256:a4111111111111111bcdef01", "sha-256:a4111111111111111bcdef01"],
    ["sha-256:4111111111111111abcdef01", "sha-256:4111111111111111abcdef01"],
    ["a4111111111111111bcdef0", "a[redacted:credit_card]bcdef0"], // is too short for a digest
    ["4111111111111111 5555555555554444", "[redacted:credit_card] [redacted:credit_card]"],
  ])("%s becomes %s", (text, clean) => expect(textOf(text)).toBe(clean));

  it.each([
    ["fails the check", "4111111111111112"],
    ["is part of a longer run", "94111111111111111"],
    ["is part of a longer run", "41111111111111110"],
    ["has twelve digits", "411111111111"],
    ["is of no issuer", "1234567812345670"],
    ["is of no issuer", "1234567890128"],
    ["is of no issuer", "123456789012347"],
    ["is of no issuer", "1234567890123456785"],
    ["is of no issuer", "0000000000000000"],
    ["has the wrong length for its issuer", "37828224631000"],
    ["has two blanks", "4111  1111 1111 1111"],
    ["is a row of small numbers", "41 11 11 11 11 11 11 11"],
    ["is an instant", "2026-11-22 21:55:20.123"],
    ["is a telephone number", "+49 89 1234 5678 9012"],
  ])("what %s is none: %s", (_why, text) => expect(redactText(text, all)).toEqual({ text, count: 0 }));

  const luhn = (digits: string): number =>
    [...digits].reverse().reduce((sum, d, i) => sum + (i % 2 === 0 ? Number(d) : ([0, 2, 4, 6, 8, 1, 3, 5, 7, 9][Number(d)] ?? 0)), 0) % 10;
  const issuer = fc.constantFrom<readonly [string, number]>(
    ["4", 16],
    ["4", 13],
    ["4", 19],
    ["51", 16],
    ["55", 16],
    ["2221", 16],
    ["2720", 16],
    ["34", 15],
    ["37", 15],
    ["36", 14],
    ["3528", 16],
    ["6011", 16],
    ["65", 16],
    ["62", 19],
    ["5018", 13],
  );
  const number = fc.tuple(issuer, fc.stringMatching(/^[0-9]{18}$/)).map(([[prefix, length], rest]) => {
    const body = (prefix + rest).slice(0, length - 1);
    return body + String((10 - luhn(`${body}0`)) % 10);
  });
  const grouped = fc
    .tuple(number, fc.constantFrom("", " ", "-"), fc.constantFrom(/(.{4})(?=.)/g, /^(.{4})(?=(.{6}))/))
    .map(([digits, by, groups]) => digits.replace(groups, `$1${by}`));

  it("every valid number is found in any surrounding that does not go on with digits", () => {
    const around = fc.string({ unit: "binary", maxLength: 12 }).map((text) => text.replace(/[0-9]/g, "x"));
    fc.assert(
      fc.property(grouped, around, around, (text, before, after) => {
        expect(textOf(before + text + after, ["credit_card"])).toBe(`${before}[redacted:credit_card]${after}`);
      }),
    );
  });

  it("no number that fails the check is ever touched", () => {
    fc.assert(
      fc.property(number, fc.integer({ min: 1, max: 9 }), (digits, by) => {
        const wrong = digits.slice(0, -1) + String((Number(digits.at(-1)) + by) % 10);
        expect(redactText(wrong, all)).toEqual({ text: wrong, count: 0 });
      }),
    );
  });

  it("a JSON number that is a card number is replaced, and no other number", () => {
    const value = {
      card: 4111111111111111,
      minus: -4111111111111111,
      wrong: 4111111111111112,
      id: 17,
      at: 1795298120000,
      half: 0.5,
      long: 4e18,
      none: 1e300,
    };
    const clean = redactJson(value, all);
    expect(clean.value).toEqual({ ...value, card: "[redacted:credit_card]", minus: "[redacted:credit_card]", long: "[redacted:credit_card]" });
    expect(clean.count).toBe(3);
    expect(redactJson(value, redaction(["email"])).value).toBe(value);
  });
});

describe("what is a private key", () => {
  it.each(["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])(
    "a block of %s",
    (kind) => {
      const body = `${a(64)}\n${a(20)}==`;
      expect(textOf(`x ${begin(kind)}\n${body}\n${end(kind)} y`)).toBe("x [redacted:private_key] y");
      expect(textOf(`x ${begin(kind)}\\n${body}\\n${end(kind)}\\n y`)).toBe("x [redacted:private_key]\\n y");
      expect(textOf(`x ${begin(kind)}\n${body}`)).toBe("x [redacted:private_key]");
    },
  );

  it("a PuTTY key, up to its MAC", () => {
    const key = `PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n${a(40)}\nPrivate-MAC: 0123abcd`;
    expect(textOf(`${key}\nrest`)).toBe("[redacted:private_key]\nrest");
    expect(textOf(`${key.replace("MAC: ", "MAC:")}\nrest`)).toBe("[redacted:private_key]\nrest");
    expect(textOf(key.slice(0, -30))).toBe("[redacted:private_key]");
  });

  it("an age key, up to the end of the word", () => {
    expect(textOf(`x AGE-SECRET-KEY-1${a(40).toUpperCase()} y`)).toBe("x [redacted:private_key] y");
    expect(textOf("x AGE-SECRET-KEY-1ABCDEFGHIJ y")).toBe("x [redacted:private_key] y");
    // Too short to be one.
    expect(textOf("x AGE-SECRET-KEY-1ABC y")).toBe("x AGE-SECRET-KEY-1ABC y");
  });

  it("two blocks are two, and what stands between them stays", () => {
    const block = `${begin("PRIVATE KEY")}\n${a(40)}\n${end("PRIVATE KEY")}`;
    expect(redactText(`${block} and ${block}`, all)).toEqual({ text: "[redacted:private_key] and [redacted:private_key]", count: 2 });
  });

  it("a block ends at a line with all its dashes, and not before", () => {
    const short = (kind: string): string => end(kind).replace(dashes, "-");
    expect(textOf(`${begin("PRIVATE KEY")}\n${a(40)}\n${short("PRIVATE KEY")}\n${a(20)}\n${end("PRIVATE KEY")} y`)).toBe("[redacted:private_key] y");
  });

  it.each([begin("PUBLIC KEY"), begin("CERTIFICATE"), "BEGIN PRIVATE KEY", `${dashes}BEGIN PRIVATE`])("%s is none", (text) =>
    expect(redactText(text, all).count).toBe(0),
  );
});

describe("what is a token", () => {
  const tokens: readonly string[] = [
    ...["ghp_", "gho_", "ghu_", "ghs_", "ghr_"].map((prefix) => prefix + a(36)),
    `ghs_123456_${JWT}`,
    `github_pat_${a(22)}_${a(59)}`,
    `sk-${a(48)}`,
    `sk-proj-${a(40)}-${a(20)}_x`,
    `sk-svcacct-${a(40)}`,
    `sk-ant-api03-${a(80)}-AA`,
    `sk-or-v1-${a(40)}`,
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    `AIza${a(35)}`,
    `ya29.${a(40)}`,
    ...["xoxb-", "xoxp-", "xoxe.xoxp-1-", "xoxs-"].map((prefix) => `${prefix}123456789012-${a(24)}`),
    `xapp-1-A0123-${a(20)}`,
    ...["sk_live_", "rk_live_", "sk_test_"].map((prefix) => prefix + a(24)),
    `npm_${a(36)}`,
    `glpat-${a(20)}`,
    `glpat-${a(27)}.01.${"ab12cd3"}`,
    `hf_${a(34)}`,
    `gsk_${a(52)}`,
    `SG.${a(22)}.${a(43)}`,
    JWT,
    `eyJ${a(20)}.eyJ${a(30)}.`,
    // What is encrypted has five parts.
    `eyJ${a(20)}.${a(8)}.${a(9)}.${a(10)}.${a(11)}`,
    `ghs_${a(40)}_${a(9)}.${a(20)}.${a(20)}`,
    ...["dt", "rt", "cbt", "ptt", "ft", "imt", "agent", "oas", "soat", "ffct"].map((kind) => `gl${kind}-${a(24)}`),
    `pypi-AgEIcHlwaS5vcmc${a(30)}`,
    ...["sk-admin-", "sk-None-", "sk-lf-"].map((prefix) => prefix + a(24)),
    ...["xai-", "pplx-"].map((prefix) => prefix + a(40)),
    `r8_${a(40)}`,
    ...["ABIA", "ACCA"].map((prefix) => `${prefix}IOSFODNN7EXAMPLE`),
    `GOCSPX-${a(28)}`,
    ...["services", "workflows", "triggers"].map((kind) => `hooks.slack.com/${kind}/T01/B02/${a(24)}`),
    ...["sk_prod_", "rk_test_"].map((prefix) => prefix + a(24)),
    ...["shpat_", "shpca_", "shppa_", "shpss_"].map((prefix) => prefix + "aB3d".repeat(8)),
    ...["dop_v1_", "doo_v1_", "dor_v1_"].map((prefix) => prefix + "ab12".repeat(16)),
  ];

  it.each(tokens)("%s", (token) => {
    expect(textOf(token)).toBe("[redacted:token]");
    expect(textOf(`key="${token}", more`)).toBe('key="[redacted:token]", more');
    // A line break that was escaped is no letter before it.
    expect(textOf(`one\\n${token}\\ntwo`)).toBe("one\\n[redacted:token]\\ntwo");
    expect(textOf(token, ["email", "credit_card", "private_key"])).toBe(token);
  });

  it.each([
    ["Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted:token]"],
    ["authorization: bearer a1b2c3d4", "authorization: bearer [redacted:token]"],
    [`{"Authorization":"Bearer ${a(40)}=="}`, '{"Authorization":"Bearer [redacted:token]"}'],
    [`{\\"Authorization\\":\\"Basic ${a(12)}=\\"}`, '{\\"Authorization\\":\\"Basic [redacted:token]\\"}'],
    ["Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted:token]"],
    ["https://user:secret@example.com/x", "https://[redacted:token]@example.com/x"],
    ["postgres://u:p@ss@db.example.com:5432/x", "postgres://[redacted:token]@db.example.com:5432/x"],
    ["redis://:secret@localhost:6379", "redis://[redacted:token]@localhost:6379"],
    ["https://u:p[q@example.com", "https://[redacted:token]@example.com"],
    ["https://u:p[redacted:token]@example.com", "https://[redacted:token]@example.com"],
    ["see a://b/c and d://u:p@e/f", "see a://b/c and d://[redacted:token]@e/f"],
    [`whsec_${a(32)}==`, "[redacted:token]"],
    [`${JWT}. More`, "[redacted:token]. More"],
  ])("%s becomes %s", (text, clean) => expect(textOf(text)).toBe(clean));

  it.each([
    "Bearer authentication is required",
    "a bearer token",
    "Basic authentication",
    "sk-estimator-doc-link-very-long-name",
    "task-force-one-two-three-four-five",
    "sk-short",
    "ghp_short",
    "AKIAshort",
    "XAKIAIOSFODNN7EXAMPLE",
    "AKIAIOSFODNN7EXAMPLEX",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
    "https://example.com:8080/@me",
    "https://user@example/",
    "https://example.com/a:b@c",
    "https://:@example/",
    // What was hidden before is not hidden, nor counted, again.
    "https://[redacted:token]@example.com/x",
    `eyJ${a(6)}.${a(30)}.${a(20)}`,
    `eyJ${a(20)}.abc.${a(20)}`,
    `eyJ${a(20)}.${a(30)}`,
  ])("%s is none", (text) => expect(redactText(text, all)).toEqual({ text, count: 0 }));
});

describe("members and their names", () => {
  it.each(["api_key", "apiKey", "API-KEY", "apikey", "Api_Key"])("%s is the key api_key, at any depth, whatever its value", (name) => {
    for (const value of ["x", 5, null, true, { a: 1 }, [1, 2]] as readonly JsonValue[]) {
      expect(redactJson([{ deep: { [name]: value, other: 1 } }], redaction([], ["api_key"]))).toEqual({
        value: [{ deep: { [name]: "[redacted]", other: 1 } }],
        count: 1,
      });
    }
  });

  it("a key of a policy's own in the place of one of those that are meant where it does not say", () => {
    const keys = [...DEFAULT_KEYS.slice(0, -1), "salary"];
    const value = { salary: 1, [DEFAULT_KEYS.at(-1) ?? ""]: 2 };
    expect(redactJson(value, redaction([], keys))).toEqual({ value: { ...value, salary: "[redacted]" }, count: 1 });
  });

  it("names that only resemble a key are left alone", () => {
    const value = { api_keys: 1, "api key": 2, xapikey: 3 };
    expect(redactJson(value, redaction([], ["api_key"]))).toEqual({ value, count: 0 });
  });

  it("a name that is a hit is replaced, and two of them stay two", () => {
    expect(redactJson({ "a@b.io": 1, "c@d.io": 2, x: 3, "[redacted:email]": 4 }, all)).toEqual({
      value: { "[redacted:email]#2": 1, "[redacted:email]#3": 2, x: 3, "[redacted:email]": 4 },
      count: 2,
    });
  });

  it.each<[what: string, value: { readonly [name: string]: JsonValue }, clean: JsonValue]>([
    ["alone it has no number", { "a@b.io": 1 }, { "[redacted:email]": 1 }],
    [
      "a number that another name bears already is left to it",
      { "a@b.io": 1, "c@d.io": 2, "[redacted:email]#2": 3 },
      { "[redacted:email]": 1, "[redacted:email]#3": 2, "[redacted:email]#2": 3 },
    ],
  ])("of names that are replaced no member is lost: %s", (_what, value, clean) => {
    expect(redactJson(value, all).value).toEqual(clean);
  });

  it("an own member called __proto__ stays one, and the prototype stays what it is", () => {
    const value = JSON.parse('{"__proto__": {"password": "x", "mail": "a@b.io"}}') as JsonValue;
    const clean = redactJson(value, redaction(DETECTORS, ["password"])).value as object;
    expect(JSON.stringify(clean)).toBe('{"__proto__":{"password":"[redacted]","mail":"[redacted:email]"}}');
    expect(Object.getPrototypeOf(clean)).toBe(Object.prototype);
  });

  it("a value without a hit comes back as it is, and the parts without one are shared", () => {
    const clean = { list: [1, "two", { three: null }] };
    const value = { clean, hit: "a@b.io" };
    expect(redactJson(clean, redaction(DETECTORS, ["password"])).value).toBe(clean);
    expect((redactJson(value, all).value as { clean: unknown }).clean).toBe(clean);
  });

  it("no detector that was not asked for looks", () => {
    const text = `a@b.io 4111111111111111 ${JWT} ${begin("PRIVATE KEY")}`;
    expect(redactText(text, redaction([]))).toEqual({ text, count: 0 });
    for (const detector of DETECTORS)
      expect(redactText(text, redaction([detector])).text.match(/\[redacted:\w+\]/g)).toEqual([`[redacted:${detector}]`]);
  });

  it("hits that overlap are one, named by the graver", () => {
    expect(textOf(`bob@${begin("PRIVATE KEY")}a@b.io${end("PRIVATE KEY")}`)).toBe("bob@[redacted:private_key]");
    expect(redactText("4111111111111111@example.com", all)).toEqual({ text: "[redacted:credit_card]", count: 1 });
  });

  it("what is too deep to be looked at is replaced whole, 64 levels are not", () => {
    const nested = (depth: number): JsonValue => Array.from({ length: depth }).reduce<JsonValue>((inner) => [inner], "a@b.io");
    expect(JSON.stringify(redactJson(nested(64), all).value)).toContain('"[redacted:email]"');
    const deep = redactJson(nested(20_000), all);
    expect(deep.count).toBe(1);
    expect(redactJson(deep.value, all).value).toBe(deep.value);
  });
});

describe("what is hidden where a policy does not say", () => {
  const unsaid = redaction(DEFAULT_DETECTORS, DEFAULT_KEYS);

  it.each([
    ...[
      "password",
      "passwd",
      "passphrase",
      "secret",
      "client_secret",
      "clientSecret",
      "CLIENT-SECRET",
      "api_key",
      "apikey",
      "X-API-Key",
      "access_token",
    ],
    ...["refresh_token", "id_token", "auth_token", "Authorization", "cookie", "Set-Cookie", "private_key", "credentials", "cvv", "cvc", "pin", "SSN"],
  ])("the value of %s, at any depth", (name) => {
    expect(redactJson({ a: [{ [name]: { b: "hunter2" } }] }, unsaid)).toEqual({ value: { a: [{ [name]: "[redacted]" }] }, count: 1 });
  });

  it("a card number and a private key in any text; to whom a mail goes is seen", () => {
    const text = `4111 1111 1111 1111, ${begin("PRIVATE KEY")}\n${a(40)}\n${end("PRIVATE KEY")}, ann@example.com`;
    expect(redactText(text, unsaid).text).toBe("[redacted:credit_card], [redacted:private_key], ann@example.com");
  });

  // Counts, currencies, pages, postal codes, working directories, key presses: who approves must see them.
  const innocent = [
    ...[
      "token",
      "tokens",
      "max_tokens",
      "input_tokens",
      "token_count",
      "next_page_token",
      "key",
      "keys",
      "primary_key",
      "sort_key",
      "pwd",
      "pin_code",
    ],
    ...[
      "password_reset",
      "forgot_password_url",
      "secretary",
      "cookies_accepted",
      "author",
      "authority",
      "signature",
      "id",
      "order_id",
      "amount_usd",
      "to",
    ],
  ];
  const word = fc.stringMatching(/^[A-Za-z @.:/_-]{0,20}$/).filter((text) => !text.includes("BEGIN") && !text.includes("SECRET"));
  const scalar = fc.oneof(
    word,
    fc.constant(null),
    fc.boolean(),
    fc.integer({ min: -999_999_999_999, max: 999_999_999_999 }),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Number.isInteger(n)),
    // Instants in milliseconds and microseconds, money in whole micro-dollars, ids as people make them.
    fc.integer({ min: 1_600_000_000_000, max: 1_900_000_000_000 }),
    fc.integer({ min: 1_600_000_000_000_000, max: 1_900_000_000_000_000 }),
    fc.tuple(fc.constantFrom("ord", "cus", "INV"), fc.integer({ min: 0, max: 999_999_999_999 })).map(([kind, n]) => `${kind}_${n}`),
    fc.constantFrom("12.50", "+1 415 555 0100", "2026-11-28T08:00:00.000Z", "ann@example.com", "9f86d081-884c-4d63-a1b2-0c9d8e7f6a5b"),
  );
  const name = fc.oneof(fc.constantFrom(...innocent), word).filter((text) => !DEFAULT_KEYS.some((key) => plainKey(key) === plainKey(text)));
  const harmless = fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof({ depthSize: "small" }, scalar, fc.array(tie("value")), fc.dictionary(name, tie("value"))),
  })).value;

  it("and what has no such name and no such value is left as it came", () => {
    fc.assert(
      fc.property(harmless, (value) => {
        const { value: kept, count } = redactJson(value, unsaid);
        expect(kept).toBe(value);
        expect(count).toBe(0);
      }),
      { numRuns: 2000 },
    );
  });

  it("a model's usage, amounts and ids among them", () => {
    const told = {
      usage: { input_tokens: 1200, output_tokens: 80, cache_read_tokens: 4_096, max_tokens: 8_192, token: "USDC" },
      amount: "19.99",
      amount_micro_usd: 19_990_000,
      order: { id: "ord_01JDQ8Z3S6V4K5T7W9X1Y2Z3A4", key: "orders/7", at_ms: 1_795_852_800_000 },
      to: "ann@example.com",
    };
    expect(redactJson(told, unsaid)).toEqual({ value: told, count: 0 });
  });
});

describe("whatever the value", () => {
  const piece = fc.oneof(
    fc.string({ unit: "binary", maxLength: 6 }),
    fc.constantFrom(
      "bob@example.com",
      "@",
      ".",
      "4111 1111 1111 1111",
      "4111111111111111",
      " ",
      "-",
      "1",
      JWT,
      `AIza${a(35)}`,
      "AKIAIOSFODNN7EXAMPLE",
      `sk-${a(20)}`,
    ),
    fc.constantFrom(
      "https://u:p@h.io/",
      "://",
      ":",
      "/",
      "Bearer ",
      "Authorization: ",
      '"',
      "[redacted:email]",
      "[redacted]",
      "[",
      "]",
      "\\n",
      "eyJ",
      "example.com",
      "\ud800",
    ),
    fc.constantFrom(begin("PRIVATE KEY"), end("PRIVATE KEY"), "PuTTY-User-Key-File-2", "AGE-SECRET-KEY-1ABCDEFGHIJKL", "xn--", "é"),
  );
  const hostile = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
  const value = fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      hostile,
      fc.constant(null),
      fc.double(),
      fc.constant(4111111111111111),
      fc.array(tie("value")),
      fc.dictionary(fc.oneof(hostile, fc.constant("password")), tie("value")),
    ),
  })).value;

  it("done twice it changes nothing more", () => {
    fc.assert(
      fc.property(value, (original) => {
        const once = redactJson(original, redaction(DETECTORS, ["password"]));
        const twice = redactJson(once.value, redaction(DETECTORS, ["password"]));
        expect(twice.count).toBe(0);
        expect(twice.value).toBe(once.value);
        if (once.count === 0) expect(once.value).toBe(original);
        else expect(once.value).not.toEqual(original);
      }),
      { numRuns: 2000 },
    );
  });

  // Each would keep an expression that backtracks, or a search that begins again from every place, busy for minutes: the test's own time-out is the claim.
  it.each([
    "@",
    "a@",
    "a@a.",
    "a.",
    "1 ",
    "1111 ",
    "4111 1111 1111 1111 ",
    "eyJ",
    "eyJa.",
    "eyJaaaaaaaaaaaa.aaaaa",
    `${dashes}BEGIN `,
    begin("PRIVATE KEY"),
    `${dashes}BEGIN A`,
    "-",
    "sk-",
    "ghs_1_eyJ.",
    "Bearer ",
    "Bearer a",
    "Authorization: Basic ",
    "://",
    "://a:",
    "://a:b@",
    "xoxb-",
    "a@b.co",
    "a@é.",
    '"',
    '"a"@',
    "PuTTY-User-Key-File-2",
    "SG.aaaaaaaaaaaaaaaa.",
    "a@b-.c",
    "\\n",
    "\ud800",
    "[redacted:email]",
  ])("a megabyte of %j is read in linear time", (unit) => {
    const text = unit.repeat(Math.ceil(1_000_000 / unit.length));
    expect(redactText(text, all).text.length).toBeGreaterThan(0);
  });
});
