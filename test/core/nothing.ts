import { ZERO_USD } from "../../src/core/money.ts";
import type { Asked, Circumstances } from "../../src/core/policy/evaluate.ts";
import type { Conditions, Findings, PolicyRef, WorkBudget } from "../../src/core/policy/findings.ts";
import { sha256 } from "./sha256.ts";

/** What tests spread over: values that say nothing, so that a row shows only what matters to it. */

export const noFindings = (policy: PolicyRef): Findings => ({
  policy,
  strict: true,
  deniedBy: null,
  listed: true,
  permits: [],
  rules: [],
  argumentsFault: null,
  argumentsUnseen: false,
  requirements: [],
  loops: [],
  retries: [],
  concurrency: [],
  rates: [],
  estimateMicroUsd: ZERO_USD,
  price: null,
  priceUnknown: false,
  budgets: [],
  windDown: null,
  alerts: [],
  hold: null,
  holdTimeoutMs: 3_600_000,
  keep: null,
  topupPaths: null,
  scene: null,
  redaction: null,
  onExpiry: "post",
  compliance: null,
  chain: { needed: 1, groups: [], fourEyes: false },
});

export const NOT_ASKED: Asked = {
  action: "a",
  tags: [],
  riskLevel: null,
  estimateMicroUsd: ZERO_USD,
  resource: null,
  inputs: undefined,
  inputsDigest: null,
  price: null,
};

/** A budget that no test spends. */
export const ENDLESS: WorkBudget = { steps: Number.POSITIVE_INFINITY };

export const AROUND: Circumstances = {
  subject: { id: "bot", type: "agent" },
  resource: {},
  context: {},
  now: 0,
  isTopup: false,
  sha256,
  budget: ENDLESS,
};

/** Conditions that nobody can answer. */
export const NO_CONDITIONS: Conditions = { rule: () => null, where: () => null };
