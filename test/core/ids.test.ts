import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idFromDigest, idOf, isId } from "../../src/core/ids.ts";
import { sha256 } from "./sha256.ts";

const bytes = fc.uint8Array({ minLength: 10, maxLength: 16 });
const instant = fc.integer({ min: 0, max: 2 ** 48 - 1 });

describe("an id of an instant", () => {
  it("is a UUID of version 7, as RFC 9562 has it", () => {
    const random = Uint8Array.from([0xff, 0x01, 0xff, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09]);
    expect(idOf("dec", 0x0123_4567_89ab, random)).toBe("dec_01234567-89ab-7f01-bf02-030405060708");
    expect(idOf("dec", -1, random)).toBe("dec_00000000-0000-7f01-bf02-030405060708");
  });

  it("is an id, whatever the bytes, and later ones stand after earlier ones", () => {
    fc.assert(
      fc.property(instant, instant, bytes, bytes, (one, other, a, b) => {
        const [first, second] = [idOf("ent", one, a), idOf("ent", other, b)];
        expect(isId("ent", first)).toBe(true);
        expect(isId("dec", first)).toBe(false);
        if (one !== other) expect(first < second).toBe(one < other);
        expect(Number.parseInt(first.slice(4, 17).replace("-", ""), 16)).toBe(one);
      }),
    );
  });
});

it("an id of a digest is the same for the same digest, and another for another", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (one, other) => {
      expect(isId("ses", idFromDigest("ses", sha256(one)))).toBe(true);
      expect(idFromDigest("ses", sha256(one)) === idFromDigest("ses", sha256(other))).toBe(one === other);
    }),
  );
});

it.each([
  "",
  "dec_",
  "dec-01234567-89ab-7f01-bf02-030405060708",
  "dec_01234567-89ab-0f01-bf02-030405060708",
  "dec_01234567-89ab-7f01-cf02-030405060708",
  "dec_01234567-89AB-7f01-bf02-030405060708",
  "dec_01234567-89ab-7f01-bf02-0304050607080",
  "xdec_01234567-89ab-7f01-bf02-030405060708",
])("%j is no id of a decision", (text) => {
  expect(isId("dec", text)).toBe(false);
});
