import { createHmac } from "node:crypto";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { describe, expect, it } from "vitest";
import { parsePublicUrl } from "../../src/core/public_url.ts";
import { type Answer, headersOf, MOST_ATTEMPTS, outcomeOf, parseSecret, placeNamed, RETRY_DELAYS_MS, secretOf } from "../../src/core/webhooks.ts";

const NOW = Date.UTC(2026, 10, 27, 12);
const DAY_MS = 86_400_000;

const hmac = (key: Uint8Array, text: string): string => createHmac("sha256", key).update(text).digest("base64");

const bytesOf = (secret: string): Uint8Array => {
  const parsed = parseSecret(secret);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

describe("a signature", () => {
  it("is the one that the standard gives as its example", () => {
    const sent = {
      id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
      body: '{"test": 2432232314}',
      secrets: [bytesOf("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    };
    expect(headersOf(hmac, sent, 1_614_265_330_999)).toEqual({
      "content-type": "application/json",
      "user-agent": "AgentSentinel-Webhooks/1",
      "webhook-id": sent.id,
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    });
  });

  it("is what the standard's own library verifies, with any of the secrets, whatever is sent", () => {
    const secret = fc.uint8Array({ minLength: 24, maxLength: 64 });
    const cases = fc.record({ id: fc.uuid(), body: fc.json(), secrets: fc.array(secret, { minLength: 1, maxLength: 5 }) });
    fc.assert(
      fc.property(cases, (sent) => {
        const headers = headersOf(hmac, sent, Date.now());
        for (const bytes of sent.secrets) expect(() => new Webhook(secretOf(bytes)).verify(sent.body, { ...headers })).not.toThrow();
      }),
    );
  });
});

describe("a secret", () => {
  it("is read as it is written, of 24 to 64 bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 80 }), (bytes) => {
        const read = parseSecret(secretOf(bytes));
        expect(read.ok).toBe(bytes.length >= 24 && bytes.length <= 64);
        if (read.ok) expect([...read.value]).toEqual([...bytes]);
      }),
    );
  });

  const base64 = btoa("0123456789abcdef01234567890");
  const GOOD = new Uint8Array(24);
  it.each([
    base64,
    `whpk_${base64}`,
    `whsec_${base64}=`,
    `whsec_${base64.replace(/.$/, "-")}`,
    `whsec_ ${base64}`,
    `whsec_${base64}\n`,
    `x${secretOf(GOOD)}`,
    `${secretOf(GOOD)}x`,
    `${secretOf(GOOD)}=`,
    "",
  ])("%j is none", (text) => {
    expect(parseSecret(text).ok).toBe(false);
  });
});

describe("an answer", () => {
  const answered = (status: number): Answer => ({ status, retryAfter: null });
  it.each([
    [answered(200), "delivered", null],
    [answered(204), "delivered", null],
    [answered(299), "delivered", null],
    [answered(100), "failed", "answered 100"],
    [answered(301), "failed", "answered 301: redirects are not followed"],
    [answered(308), "failed", "answered 308: redirects are not followed"],
    [answered(404), "failed", "answered 404"],
    [answered(410), "gone", "answered 410"],
    [answered(500), "failed", "answered 500"],
    [{ fault: "could not be reached" }, "failed", "could not be reached"],
  ] as const)("%j is %s", (answer, kind, error) => {
    const outcome = outcomeOf(answer, 1, NOW, 0);
    expect([outcome.kind, outcome.kind === "delivered" ? null : outcome.error]).toEqual([kind, error]);
  });

  const waitOf = (retryAfter: string | null, attempts = 1, chance = 0): number | null => {
    const outcome = outcomeOf({ status: 503, retryAfter }, attempts, NOW, chance);
    return outcome.kind === "delivered" || outcome.retryAt === null ? null : outcome.retryAt - NOW;
  };

  it("that is no good is asked for again ten times in all, never sooner than the standard says and at most a fifth later", () => {
    const waits = Array.from({ length: MOST_ATTEMPTS }, (_, n) => waitOf(null, n + 1));
    expect(waits).toEqual([5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000, null]);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: RETRY_DELAYS_MS.length }), fc.double({ min: 0, max: 1, noNaN: true }), (attempts, chance) => {
        const least = RETRY_DELAYS_MS[attempts - 1] ?? 0;
        const wait = waitOf(null, attempts, chance) ?? 0;
        expect(wait).toBeGreaterThanOrEqual(least);
        expect(wait).toBeLessThanOrEqual(least * 1.2);
      }),
    );
  });

  it.each([
    ["0", 5_000],
    ["4", 5_000],
    ["60", 60_000],
    ["86400", DAY_MS],
    ["86401", DAY_MS],
    ["999999999", DAY_MS],
    ["9999999999", 5_000],
    ["-60", 5_000],
    ["1.5", 5_000],
    ["soon", 5_000],
    ["", 5_000],
    [new Date(NOW + 3_600_000).toUTCString(), 3_600_000],
    [new Date(NOW - 3_600_000).toUTCString(), 5_000],
    ["Fri, 99 Nov 2026 12:00:00 GMT", 5_000],
    ["2026-11-28", 5_000],
    // A date of HTTP is in GMT and nothing else, though the runtime reads more.
    ["Fri, 27 Nov 2026 13:00:00 GMT-0100", 5_000],
    ["x Fri, 27 Nov 2026 13:00:00 GMT", 5_000],
  ])("with Retry-After %j is asked for again after %s ms", (retryAfter, waitMs) => {
    expect(waitOf(retryAfter)).toBe(waitMs);
  });
});

describe("an address", () => {
  it.each([
    ["https://hooks.example.com/x?y=z", true, true],
    ["https://hooks.example.com:8443/", true, true],
    ["http://hooks.example.com/", false, true],
    ["http://127.0.0.1:9000/", false, true],
    ["https://10.1.2.3/", false, true],
    ["https://172.16.0.1/", false, true],
    ["https://192.168.0.1/", false, true],
    ["https://169.254.169.254/", false, true],
    ["https://0/", false, true],
    ["https://[::]/", false, true],
    ["https://[fe80::1]/", false, true],
    ["https://[::ffff:169.254.169.254]/", false, true],
    ["https://metadata.google.internal/", false, true],
    ["https://instance-data/", false, true],
    ["https://LOCALHOST/", false, true],
    ["https://u@hooks.example.com/", false, false],
    ["gopher://hooks.example.com/", false, false],
    ["//hooks.example.com/", false, false],
  ])("%s: may be sent to in public %s, in development %s", (url, inPublic, inDevelopment) => {
    expect([parsePublicUrl(url, false).ok, parsePublicUrl(url, true).ok]).toEqual([inPublic, inDevelopment]);
  });
});

it.each([
  ["0", { index: 0, part: 0 }],
  ["17", { index: 17, part: 0 }],
  ["17.2", { index: 17, part: 2 }],
  ["-1", null],
  ["17.", null],
  ["x", null],
])("the event named %j stands at %j", (id, place) => {
  expect(placeNamed(id)).toEqual(place);
});

it("a secret that is none is told why, and nothing of it", () => {
  const of = (bytes: number) => parseSecret(`whsec_${btoa("x".repeat(bytes))}`);
  const wanted = "wanted whsec_ and the base64 of 24 to 64 bytes";
  expect([of(23), of(65), parseSecret("secret")]).toEqual([
    { ok: false, error: `found 23 bytes; ${wanted}` },
    { ok: false, error: `found 65 bytes; ${wanted}` },
    { ok: false, error: wanted },
  ]);
  expect([of(24).ok, of(64).ok]).toEqual([true, true]);
});
