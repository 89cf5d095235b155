import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseJson } from "../../src/http/json.ts";

describe("parseJson() refuses a number that a double would change", () => {
  it.each(["12345678901234567890", "9007199254740993", "0.10000000000000001", "3.14159265358979323846", "1e400", "-1e400", "1.00000000000000001"])(
    "%s",
    (literal) => {
      const parsed = parseJson(`{"a":[${literal}]}`);
      expect(parsed).toMatchObject({ ok: false, error: { code: "body_malformed", issues: [{ pointer: "/a/0" }] } });
    },
  );
});

describe("parseJson() takes a number that a double keeps", () => {
  it.each([
    "9007199254740992",
    "0.1",
    "0.30000000000000004",
    "1e21",
    "1E+2",
    "100000000000000000000",
    "1.50",
    "-0.0",
    "0e5",
    "5e-324",
    "123456789012345.6",
  ])("%s", (literal) => {
    expect(parseJson(`[${literal}]`)).toEqual({ ok: true, value: [Number(literal)] });
  });

  it("however JavaScript prints it", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
        expect(parseJson(JSON.stringify([number]))).toMatchObject({ ok: true });
      }),
    );
  });
});
