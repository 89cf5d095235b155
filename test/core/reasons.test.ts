import { expect, it } from "vitest";
import { REASONS, SENTENCES } from "../../src/core/reasons.ts";

it("every reason has a sentence of its own, for whoever reads the documents", () => {
  const sentences = REASONS.map((reason) => SENTENCES[reason]);
  expect(Object.keys(SENTENCES).sort()).toEqual([...REASONS].sort());
  for (const sentence of sentences) expect(sentence).toMatch(/^[A-Z].{10,}\.$/);
  expect(new Set(sentences).size).toBe(REASONS.length);
});
