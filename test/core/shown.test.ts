import { expect, it } from "vitest";
import { emptyBook } from "../../src/core/book.ts";
import { traceOf } from "../../src/core/conclude.ts";
import { circumstancesOf } from "../../src/core/policy/circumstances.ts";
import type { Redaction } from "../../src/core/redact.ts";
import { recordedInputs, shownReport, shownRequest } from "../../src/core/shown.ts";
import { Trail } from "../../src/core/trail.ts";
import { noFindings } from "./nothing.ts";
import { PRINCIPAL, REF, RUN, reportOf, requestOf, usd } from "./playing.ts";
import { sha256 } from "./sha256.ts";

/** What the record shows of what was sent: as little as the policy wants, and all that it does not hide. */

const MAIL = "a@example.org";
const HIDDEN = "[redacted:email]";
const hides: Redaction = { storeInputs: "full", storeOutputs: "full", keys: [], detect: ["email"] };
const request = (more: object = {}) => ({ ...requestOf("send"), ...more });

it.each([[{ name: "m" }], [{ provider: "p", name: "m" }], [{ name: "m", version: "1" }], [{ provider: "p", name: "m", version: "1" }], [null]])(
  "a model stays what it is: %j",
  (model) => {
    expect(shownRequest(sha256, request({ model }), null).says.model).toEqual(model);
  },
);

it("all that a request says is hidden as the policy wants, wherever it says it", () => {
  const shown = shownRequest(
    sha256,
    request({
      inputs: { to: MAIL },
      resource: { type: MAIL, id: MAIL },
      rationale: MAIL,
      sources: [{ source: MAIL, version: MAIL }, { source: "crm" }],
      tags: [MAIL],
      model: { provider: MAIL, name: MAIL, version: MAIL },
    }),
    hides,
  );
  expect(shown).toEqual({
    says: {
      resource: { type: HIDDEN, id: HIDDEN },
      rationale: HIDDEN,
      sources: [{ source: HIDDEN, version: HIDDEN }, { source: "crm" }],
      tags: [HIDDEN],
      model: { provider: HIDDEN, name: HIDDEN, version: HIDDEN },
      inputs_digest: null,
      redacted: 10,
    },
    payload: { inputs: { to: HIDDEN } },
  });
});

it("where no policy could be asked, no inputs are kept and every detector looks at the rest", () => {
  const shown = shownRequest(sha256, request({ inputs: { to: "x" }, rationale: MAIL }), undefined);
  expect(shown.payload).toBe(null);
  expect(shown.says).toMatchObject({ rationale: HIDDEN, inputs_digest: null });
});

it("a report's error, usage and outputs are hidden, too", () => {
  const report = reportOf({ error: MAIL, outputs: { to: MAIL }, usage: { model: MAIL } });
  expect(shownReport(sha256, report, hides)).toEqual({
    says: { error: HIDDEN, usage: { model: HIDDEN }, outputs_digest: null, redacted: 3 },
    payload: { outputs: { to: HIDDEN } },
  });
  expect(shownReport(sha256, report, { ...hides, storeOutputs: "none" }).payload).toBe(null);
  expect(shownReport(sha256, reportOf(), hides)).toEqual({ says: { error: null, usage: null, outputs_digest: null, redacted: 0 }, payload: null });
});

it("what is too large to be kept is kept as its digest, where any of it is", () => {
  const large = request({ inputs: { text: "x".repeat(500_000) } });
  const shown = (redaction: Redaction) => shownRequest(sha256, large, redaction);
  expect(shown(hides)).toMatchObject({ says: { inputs_digest: expect.stringMatching(/^sha-256:/) }, payload: null });
  expect(shown({ ...hides, storeInputs: "none" })).toMatchObject({ says: { inputs_digest: null }, payload: null });
});

it("inputs that a person wrote are kept as those that an agent sends", () => {
  expect(recordedInputs({ to: MAIL }, null)).toEqual({ to: MAIL });
  expect(recordedInputs({ to: MAIL }, hides)).toEqual({ to: HIDDEN });
  for (const storeInputs of ["digest", "none"] as const) expect(recordedInputs({ to: MAIL }, { ...hides, storeInputs })).toBe(null);
});

it("what conditions see of a request is what it said of itself", () => {
  const said = request({
    resource: { type: "box", id: "1" },
    rationale: "why",
    confidence: 0.5,
    riskLevel: "high",
    sources: [{ source: "crm" }, { source: "web", version: "2" }],
    model: { name: "m" },
  });
  const stored = ({ type, id }: { readonly type: string; readonly id: string }) => ({ stored: `${type} ${id}`, id: "another", type: "another" });
  const around = circumstancesOf({
    tenant: "t",
    session: "ses_00000000-0000-7000-8000-000000000001",
    agent: "bot",
    principal: { ...PRINCIPAL, subject: "desk", kind: "service" },
    request: said,
    stored,
    now: 5,
    isTopup: false,
    sha256,
    budget: { steps: 1 },
  });
  // What is stored of an agent cannot say who it is.
  expect(around.subject).toEqual({ stored: "agent bot", id: "bot", type: "agent", kind: "agent" });
  expect(around.resource).toMatchObject({ stored: "box 1" });
  expect(around.context).toEqual({
    tenant: "t",
    session: "ses_00000000-0000-7000-8000-000000000001",
    principal: { subject: "desk", kind: "service" },
    risk_level: "high",
    confidence: 0.5,
    rationale: "why",
    sources: [
      { source: "crm", version: null },
      { source: "web", version: "2" },
    ],
    model: { provider: null, name: "m", version: null },
  });
});

it("what is too large to be kept for rules that look back is not known, and must not pass for what was not there", () => {
  const opening = { tenant: "t", session: "ses_00000000-0000-7000-8000-000000000001", agent: "bot", run: RUN } as const;
  const book = emptyBook({ ...opening, openedAt: 0, expiresAt: 1_000, budgetMicroUsd: null }, new Trail(null));
  const findings = {
    ...noFindings(REF),
    keep: {
      paths: [
        ["inputs", "to"],
        ["outputs", "ok"],
      ],
      forMs: null,
    },
  };
  const keptOf = (to: string) => traceOf(book, request({ inputs: { to } }), RUN, usd("0"), findings, 0).kept;
  expect(keptOf("x")).toMatchObject({
    paths: [
      ["inputs", "to"],
      ["outputs", "ok"],
    ],
    inputs: { to: "x" },
  });
  expect(keptOf("x".repeat(200_001))?.paths).toEqual([["outputs", "ok"]]);
});
