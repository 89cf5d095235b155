import { createHash } from "node:crypto";
import type { CostReport, LedgerEntry } from "../../../sdk/src/wire.ts";
import type { Driven } from "./drive.ts";
import { ask } from "./gateway.ts";
import { type MicroUsd, microOf, usdOf } from "./money.ts";

/** Something that must hold, whether it does, and what was found. */
export interface Check {
  readonly name: string;
  readonly holds: boolean;
  readonly found: string;
}

export interface Record {
  readonly entries: readonly LedgerEntry[];
  readonly costs: CostReport;
}

/** Reads the tenant's whole record and its costs back, as an auditor would. Everything answered before is in both. */
export async function readRecord(url: string, token: string): Promise<Record> {
  const costs: CostReport = JSON.parse(await ask(url, "GET", "/v1/costs?group_by=action", token));
  const lines = (await ask(url, "GET", "/v1/ledger/export", token)).split("\n");
  return { costs, entries: lines.filter((line) => line !== "").map((line): LedgerEntry => JSON.parse(line)) };
}

/** Holds what the agent was told and what it told against what the gateway has recorded. */
export function audit(driven: Driven, { entries, costs }: Record): readonly Check[] {
  const calls = driven.played.length;
  const undecided = driven.played.filter(({ verdict }) => verdict === null);
  const decisions = entries.filter(({ kind, step }) => kind === "decision" && step === "decide");
  const told = new Map(driven.answers.map((answer) => [answer.entry.id, answer]));
  const asTold = decisions.filter((entry) => {
    const answer = told.get(entry.id);
    return (
      answer?.entry.hash === entry.hash && answer.id === entry.decision_id && answer.verdict === entry.verdict && answer.reason.code === entry.reason
    );
  });
  const allowed = driven.played.filter(({ verdict }) => verdict === "allow").length;
  const commits = entries.filter(({ kind }) => kind === "commit").length;
  const sums = {
    sdk: sum(driven.played.map(({ committed }) => committed ?? 0)),
    costs: microOf(costs.total_usd),
    items: sum(costs.items.map(({ posted_usd }) => microOf(posted_usd))),
    ledger: sum(entries.map(({ cost_usd, corrected_usd }) => microOf(cost_usd) - microOf(corrected_usd))),
  };
  const chains = chainsOf(entries);
  const broken = chains.flatMap(([chain, links]) => faultsOf(chain, links));
  const misplaced = entries.findIndex(({ index }, place) => index !== place);
  return [
    {
      name: `Every one of the ${calls} calls is decided`,
      holds: calls > 0 && undecided.length === 0,
      found: undecided.length === 0 ? `${calls} verdicts` : `${undecided.length} without a verdict, the first: ${undecided[0]?.fault}`,
    },
    {
      name: "Every decision is recorded, exactly as it was answered",
      holds: decisions.length === calls && asTold.length === calls,
      found: `${decisions.length} decision entries, ${asTold.length} with the id, verdict, reason and hash that the agent was given`,
    },
    {
      name: "Every allowed call is committed",
      holds: driven.lost === 0 && commits === allowed,
      found: `${commits} commits of ${allowed} allowed calls, ${driven.lost} lost`,
    },
    {
      name: "The ledger's sum equals the commits, to the micro-dollar",
      holds: new Set(Object.values(sums)).size === 1,
      found: `told by the SDK $${usdOf(sums.sdk)}, GET /v1/costs $${usdOf(sums.costs)}, summed over the export $${usdOf(sums.ledger)}`,
    },
    {
      name: "Every chain is without gaps, and every hash is the right one",
      holds: broken.length === 0 && misplaced === -1 && chains.filter(([chain]) => chain !== null).length === driven.sessions,
      found:
        broken[0] ??
        (misplaced === -1
          ? `${entries.length} entries in the chains of ${driven.sessions} sessions and the tenant, recomputed here`
          : `the entry at place ${misplaced} of the export has another index`),
    },
  ];
}

/** Entries by chain, in the order of the export: a session's, or the tenant's own (`null`). */
const chainsOf = (entries: readonly LedgerEntry[]): readonly (readonly [string | null, readonly LedgerEntry[]])[] => [
  ...Map.groupBy(entries, ({ session_id }) => session_id),
];

/** What is wrong with a chain. Recomputed with nothing of the gateway's own code. */
function faultsOf(chain: string | null, entries: readonly LedgerEntry[]): readonly string[] {
  const where = chain ?? "the tenant's chain";
  const faults: string[] = [];
  let previous = "0".repeat(64);
  entries.forEach((entry, place) => {
    const { hash, index: _, payload, ...hashed } = entry;
    if (entry.seq !== place + 1) faults.push(`${where}: seq ${entry.seq} stands where ${place + 1} should`);
    if (entry.prev_hash !== previous) faults.push(`${where}: entry ${entry.seq} does not continue the one before it`);
    if (sha256(canonical(hashed)) !== hash) faults.push(`${where}: entry ${entry.seq} does not have the hash it says`);
    const digest = payload === null ? null : `sha-256:${sha256(canonical(payload))}`;
    if (digest !== entry.payload_digest) faults.push(`${where}: the payload of entry ${entry.seq} is not the one it was recorded with`);
    previous = hash;
  });
  return faults;
}

/** RFC 8785: members sorted by UTF-16 code units, everything else as ECMAScript prints it. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join(",")}}`;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const sum = (amounts: readonly MicroUsd[]): MicroUsd => amounts.reduce((total, amount) => total + amount, 0);
