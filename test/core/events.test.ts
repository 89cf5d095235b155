import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CHAIN_START, type Entry, type EntryKind, seal } from "../../src/core/entry.ts";
import { type EventFilter, eventsOf, isWanted, placeAfter, placeOf } from "../../src/core/events.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { bodyOf, placeNamed } from "../../src/core/webhooks.ts";
import { sha256 } from "./sha256.ts";

const ENTRY = "ent_00000000-0000-7000-8000-000000000001";
const SESSION = "ses_00000000-0000-7000-8000-000000000001";

function entryOf(kind: EntryKind, says: Partial<Entry> = {}): Entry {
  const common = { id: ENTRY, kind, timestamp: "2026-11-27T12:00:00.000Z", tenant_id: "t", session_id: SESSION } as const;
  return seal(sha256, CHAIN_START, { ...common, agent_id: "bot", ...says }, null).entry;
}
const alert = (threshold: number) => ({ limit_usd: "1", name: "pay", scope: "action", spent_usd: "0.5", threshold }) as const;
const only = (entry: Entry, index = 7) => {
  const [event, ...more] = eventsOf(entry, "h", index);
  if (event === undefined || more.length > 0) throw new Error("one entry tells one thing");
  return event;
};

describe("the name of what an entry tells", () => {
  const event = (name: JsonValue, more: { readonly [key: string]: JsonValue } = {}): Partial<Entry> => ({ details: { event: name, ...more } });

  it.each<readonly [string, EntryKind, Partial<Entry>]>([
    ["decision.allow", "decision", { step: "decide", verdict: "allow" }],
    ["decision.hold", "decision", { step: "decide", verdict: "hold" }],
    ["decision.deny", "decision", { step: null, verdict: "deny" }],
    ["decision.recorded", "decision", { step: "decide" }],
    ["decision.topup", "decision", { step: "topup", verdict: "deny" }],
    ["decision.extend", "decision", { step: "extend" }],
    ["decision.commit", "commit", {}],
    ["decision.release", "release", {}],
    ["decision.expiry", "expiry", event("other")],
    ["lease.expired", "expiry", event("lease_expired", { lease: "lse_1" })],
    ["lease.granted", "lease", event("granted", { lease: "lse_1" })],
    ["intervention.kill", "intervention", event("intervention", { kind: "kill" })],
    ["intervention.intervention", "intervention", event("intervention")],
    ["intervention.intervention", "intervention", event("intervention", { kind: 1 })],
    ["intervention.lifted", "intervention", event("lifted", { kind: "kill" })],
    ["intervention.recorded", "intervention", {}],
    ["lease.renewed", "lease", event("renewed")],
    ["lease.recorded", "lease", {}],
    ["approval.requested", "approval", event("requested")],
    ["policy.activated", "policy", event("activated")],
    ["session.opened", "session", event("opened")],
    ["token.revoked", "token", event("revoked")],
    ["token.recorded", "token", event(5)],
    ["ingest.recorded", "ingest", event(null)],
  ])("is %s, of a %s that says %j", (name, kind, says) => {
    expect(only(entryOf(kind, says)).type).toBe(name);
  });
});

it("an event shows what its entry does, and where that stands", () => {
  const entry = entryOf("decision", {
    run_id: "run_1",
    action: "pay",
    decision_id: "dec_1",
    step: "decide",
    verdict: "deny",
    reason: "rule_forbids",
    rule: "r1",
    estimate_usd: "0.5",
    cost_usd: "0.25",
    overrun_usd: "0.125",
    outcome: "error",
    details: { why: "so" },
  });
  const event = only(entry, 41);
  expect(event).toEqual({
    id: "41",
    type: "decision.deny",
    at: "2026-11-27T12:00:00.000Z",
    session: SESSION,
    run: "run_1",
    agent: "bot",
    action: "pay",
    decision: "dec_1",
    verdict: "deny",
    reason: "rule_forbids",
    rule: "r1",
    estimate_usd: "0.5",
    cost_usd: "0.25",
    overrun_usd: "0.125",
    outcome: "error",
    details: { why: "so" },
    entry: { id: ENTRY, seq: 1, hash: "h", index: 41 },
  });
  expect(JSON.parse(bodyOf(event))).toEqual({ type: "decision.deny", timestamp: event.at, data: event });
});

describe("thresholds that were reached", () => {
  it("come after what their entry tells, each an event with a place of its own", () => {
    const events = eventsOf(entryOf("commit", { alerts: [alert(0.5), alert(0.8)], details: { why: "so" } }), "h", 7);
    expect(events.map(({ id, type }) => [id, type])).toEqual([
      ["7", "decision.commit"],
      ["7.1", "budget.threshold"],
      ["7.2", "budget.threshold"],
    ]);
    expect(events.map(({ details }) => details)).toEqual([{ why: "so" }, { why: "so", ...alert(0.5) }, { why: "so", ...alert(0.8) }]);
    expect(events.map(placeOf)).toEqual([
      { index: 7, part: 0 },
      { index: 7, part: 1 },
      { index: 7, part: 2 },
    ]);
  });

  it("are all that a lease tells which has any", () => {
    const events = eventsOf(entryOf("lease", { alerts: [alert(0.5), alert(0.8)], details: { event: "renewed" } }), "h", 7);
    expect(events.map(({ id, type }) => [id, type])).toEqual([
      ["7", "budget.threshold"],
      ["7.1", "budget.threshold"],
    ]);
  });
});

describe("what a listener wants", () => {
  const event = only(entryOf("decision", { step: "decide", verdict: "deny", action: "pay" }));

  it.each<readonly [EventFilter, boolean]>([
    [{}, true],
    [{ types: ["decision.deny"] }, true],
    [{ types: ["session.*", "decision.*"] }, true],
    [{ types: ["session.*"] }, false],
    [{ types: [] }, false],
    [{ session: SESSION }, true],
    [{ session: "ses_2" }, false],
    [{ agent: "bot" }, true],
    [{ agent: "bee" }, false],
    [{ action: "pay" }, true],
    [{ action: "other" }, false],
    [{ types: ["decision.*"], session: SESSION, agent: "bot", action: "pay" }, true],
    [{ types: ["decision.*"], session: SESSION, agent: "bot", action: "other" }, false],
    [{ types: ["decision.*"], session: SESSION, agent: "bee", action: "pay" }, false],
    [{ types: ["decision.*"], session: "ses_2", agent: "bot", action: "pay" }, false],
  ])("%j: %s", (filter, wanted) => {
    expect(isWanted(filter, event)).toBe(wanted);
  });
});

describe("an event's id", () => {
  it("leads to the event that follows it, and to itself", () => {
    fc.assert(
      fc.property(fc.nat({ max: 999_999_999 }), fc.integer({ min: 1, max: 999_998 }), (index, part) => {
        expect([placeAfter(String(index)), placeNamed(String(index))]).toEqual([
          { index, part: 1 },
          { index, part: 0 },
        ]);
        expect([placeAfter(`${index}.${part}`), placeNamed(`${index}.${part}`)]).toEqual([
          { index, part: part + 1 },
          { index, part },
        ]);
      }),
    );
  });

  it("has at most fifteen digits, and six for its part", () => {
    expect(placeAfter(`${"9".repeat(15)}.${"9".repeat(6)}`)).toEqual({ index: 999_999_999_999_999, part: 1_000_000 });
  });

  it.each(["", "x", "-1", "1.", ".1", "1.2.3", " 1", "1 ", "1.x", "a1", "1a", "9".repeat(16), `1.${"9".repeat(7)}`, "1e5"])("is not %j", (id) => {
    expect([placeAfter(id), placeNamed(id)]).toEqual([null, null]);
  });
});
