import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { insertsOf } from "../../src/core/insert.ts";

describe("rows that are inserted together", () => {
  it("are stored as they are, in their order, however many; no statement binds more than a hundred values", () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.constant(null));
    const rows = fc
      .integer({ min: 1, max: 40 })
      .chain((width) => fc.array(fc.array(value, { minLength: width, maxLength: width }), { maxLength: 130 }));
    fc.assert(
      fc.property(rows, (stored) => {
        const columns = (stored[0] ?? [null]).map((_, place) => `c${place}`);
        const db = new DatabaseSync(":memory:");
        db.exec(`CREATE TABLE t (${columns.join(", ")})`);
        for (const { text, values } of insertsOf("t", columns, stored)) {
          expect(values.length).toBeLessThanOrEqual(100);
          db.prepare(text).run(...values);
        }
        const found = db.prepare("SELECT * FROM t ORDER BY rowid").all();
        expect(found.map((row) => columns.map((column) => row[column]))).toEqual(stored);
        db.close();
      }),
      { numRuns: 50 },
    );
  });
});
