import type { LedgerRecord } from "../../sdk/src/local/ledger/line.ts";

/** Records of all kinds of content, each always the same. */
export const recordOf = (n: number): LedgerRecord => ({
  id: `00000000-0000-7000-8000-${String(n).padStart(12, "0")}`,
  kind: n % 2 === 0 ? "decision" : "outcome",
  timestamp: new Date(n).toISOString(),
  action: "search_web",
  cost_usd: (n % 7) / 100,
  duration_ms: n / 3,
  outcome: n % 2 === 0 ? "allowed" : "success",
  tags: ["search"],
  payload: { inputs: { z: `ä ${n} \ud83d\ude00 "\\`, a: [1e21, null, true] }, outputs: n % 2 === 0 ? null : { count: n } },
  agent_id: "local",
  run_id: "run_1",
  session_id: "ses_1",
  decision_id: `dec_${n - (n % 2)}`,
  verdict: "allow",
  reason: "permitted",
  rule: null,
  policy: null,
  estimate_usd: 0.01,
  parents: [],
});
