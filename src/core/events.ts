import type { Entry } from "./entry.ts";
import { matchesGlob } from "./glob.ts";
import type { JsonValue } from "./json.ts";

/**
 * What the live stream tells: the tenant's record, entry by entry, in its order. An event's id is the entry's place in the tenant's ledger, with the
 * number of the event where one entry has several: so whoever names the last id it saw goes on after it, and misses nothing.
 */
export interface LedgerEvent {
  readonly id: string;
  /** Such as `decision.deny`: what it is about, and what happened. */
  readonly type: string;
  readonly at: string;
  readonly session: string | null;
  readonly run: string | null;
  readonly agent: string | null;
  readonly action: string | null;
  readonly decision: string | null;
  readonly verdict: Entry["verdict"];
  readonly reason: Entry["reason"];
  readonly rule: string | null;
  readonly estimate_usd: string | null;
  readonly cost_usd: string;
  readonly overrun_usd: string;
  readonly outcome: Entry["outcome"];
  /** What a kind has to say beyond the common members; of a threshold, the account and the part of its limit. */
  readonly details: { readonly [key: string]: JsonValue } | null;
  readonly entry: { readonly id: string; readonly seq: number; readonly hash: string; readonly index: number };
}

/** Where a listener stands: the next event it is told is this one, or a later one. */
export interface Place {
  readonly index: number;
  /** Of several events of one entry. */
  readonly part: number;
}

/** Which events a listener wants. Absent: all. */
export interface EventFilter {
  /** Names of events, or globs of them. */
  readonly types?: readonly string[] | undefined;
  readonly session?: string | undefined;
  readonly agent?: string | undefined;
  readonly action?: string | undefined;
}

/** So many listeners one token may be at once, so that no agent takes the places of the people who watch. */
export const MOST_LISTENERS_OF_ONE_TOKEN = 10;

/**
 * The events of one entry, in order. An event shows what the entry itself shows, such as the reason that a person gave for a kill; inputs and outputs lie
 * beside the entry and stay there: who may read the ledger reads them.
 */
export function eventsOf(entry: Entry, hash: string, index: number): readonly LedgerEvent[] {
  const event = (part: number, type: string, details: LedgerEvent["details"]): LedgerEvent => ({
    id: part === 0 ? String(index) : `${index}.${part}`,
    type,
    at: entry.timestamp,
    session: entry.session_id,
    run: entry.run_id,
    agent: entry.agent_id,
    action: entry.action,
    decision: entry.decision_id,
    verdict: entry.verdict,
    reason: entry.reason,
    rule: entry.rule,
    estimate_usd: entry.estimate_usd,
    cost_usd: entry.cost_usd,
    overrun_usd: entry.overrun_usd,
    outcome: entry.outcome,
    details,
    entry: { id: entry.id, seq: entry.seq, hash, index },
  });
  const name = nameOf(entry);
  const first = name === null ? [] : [event(0, name, entry.details)];
  const alerts = entry.alerts.map((alert, place) => event(place + first.length, "budget.threshold", { ...entry.details, ...alert }));
  return [...first, ...alerts];
}

/** What an entry is called as an event; `null` where its alerts are all it says. */
function nameOf(entry: Entry): string | null {
  const happened = typeof entry.details?.event === "string" ? entry.details.event : null;
  const isOfClientLease = typeof entry.details?.lease === "string";
  switch (entry.kind) {
    case "decision":
      return `decision.${entry.step === "decide" || entry.step === null ? (entry.verdict ?? "recorded") : entry.step}`;
    case "commit":
    case "release":
      return `decision.${entry.kind}`;
    case "expiry":
      // What ran out is a decision's reservation, or a client lease.
      return isOfClientLease ? "lease.expired" : "decision.expiry";
    case "intervention":
      return `intervention.${happened === "intervention" && typeof entry.details?.kind === "string" ? entry.details.kind : (happened ?? "recorded")}`;
    case "lease":
      return entry.alerts.length > 0 && !isOfClientLease ? null : `lease.${happened ?? "recorded"}`;
    case "approval":
    case "policy":
    case "session":
    case "token":
    case "ingest":
      return `${entry.kind}.${happened ?? "recorded"}`;
  }
}

export const isWanted = ({ types, session, agent, action }: EventFilter, event: LedgerEvent): boolean =>
  (types === undefined || types.some((pattern) => matchesGlob(pattern, event.type))) &&
  (session === undefined || session === event.session) &&
  (agent === undefined || agent === event.agent) &&
  (action === undefined || action === event.action);

/** The place after an event, by its id; `null`: no event has such an id. */
export function placeAfter(id: string): Place | null {
  const [, index, part] = /^(\d{1,15})(?:\.(\d{1,6}))?$/.exec(id) ?? [];
  return index === undefined ? null : { index: Number(index), part: part === undefined ? 1 : Number(part) + 1 };
}

/** The place of an event. */
export const placeOf = ({ entry, id }: LedgerEvent): Place => ({ index: entry.index, part: Number(id.split(".")[1] ?? 0) });
