import { describe, expect, it } from "vitest";
import type { DecisionId } from "../../src/core/ids.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { extend } from "../../src/core/settle.ts";
import { formatInstant } from "../../src/core/time.ts";
import { Playing, PRINCIPAL, requestOf, usd } from "./playing.ts";

const POLICY = "budgets: { session: 10 }\ndenied_actions: [bad]";
const TTL_MS = 1_000;

/** How a decision may stand, and how it comes to that. All are asked at 0, and what is done to them is done at 10. */
const STATES = ["denied", "pending", "posted", "released", "expired"] as const;
type State = (typeof STATES)[number];

function decidedAs(state: State): { readonly playing: Playing; readonly id: DecisionId; readonly now: number } {
  const playing = new Playing(POLICY);
  const { id } = playing.decide(requestOf(state === "denied" ? "bad" : "pay", { usd: "2", ttl: TTL_MS }), 0);
  if (state === "posted") playing.commit(id, { costMicroUsd: usd("1") }, 5);
  if (state === "released") playing.release(id, 5);
  return { playing, id, now: state === "expired" ? TTL_MS : 10 };
}

const extended = (playing: Playing, id: DecisionId, now: number, ttlMs: number) =>
  playing.turn(now, (turn) => extend(turn, playing.record(id), PRINCIPAL, ttlMs));

const settled = (state: string, more: object) => ({ ok: true, value: { settlement: { state, ...more } } });
const refused = (detail: string) => ({ ok: false, error: { code: "decision_settled", detail } });

describe("a report", () => {
  it.each([
    ["denied", refused("The decision was not allowed (deny): there is nothing to commit.")],
    ["pending", settled("posted", { postedMicroUsd: 3_000_000, overrunMicroUsd: 1_000_000, late: false })],
    ["posted", refused("The decision was committed before, with a different report.")],
    ["released", settled("posted", { postedMicroUsd: 3_000_000, overrunMicroUsd: 1_000_000, late: true })],
    ["expired", settled("posted", { postedMicroUsd: 3_000_000, overrunMicroUsd: 1_000_000, late: true })],
  ] as const)("of what is %s", (state, told) => {
    const { playing, id, now } = decidedAs(state);
    expect(playing.commit(id, { costMicroUsd: usd("3") }, now)).toMatchObject(told);
  });

  it("that is repeated gets the recorded answer, and nothing happens", () => {
    const { playing, id } = decidedAs("pending");
    const first = playing.commit(id, { costMicroUsd: usd("3") }, 10);
    expect(first).toMatchObject({ ok: true, value: { replayed: false } });
    const entries = playing.ledger.length;
    expect(playing.commit(id, { costMicroUsd: usd("3") }, 20)).toEqual({
      ok: true,
      value: { settlement: first.ok ? first.value.settlement : null, replayed: true },
    });
    expect(playing.ledger.length).toBe(entries);
  });

  it("is refused where the sum could no longer be told exactly, and taken up to there", () => {
    const { playing, id } = decidedAs("posted");
    const other = playing.decide(requestOf("pay"), 20).id;
    const most = Number.MAX_SAFE_INTEGER - usd("1");
    expect(playing.record(id).postedMicroUsd).toBe(1_000_000);
    expect(playing.commit(other, { costMicroUsd: microUsdOf(most + 1) }, 30)).toEqual({
      ok: false,
      error: {
        code: "money_precision",
        detail: "The session's sum would be beyond 9007199254.740991 USD and could not be told exactly.",
      },
    });
    expect(playing.commit(other, { costMicroUsd: microUsdOf(most) }, 30)).toMatchObject(settled("posted", { postedMicroUsd: most }));
  });
});

describe("giving back", () => {
  it.each([
    ["denied", refused("The decision was not allowed (deny): there is nothing to release.")],
    ["pending", settled("released", { postedMicroUsd: 0, overrunMicroUsd: 0, late: false })],
    ["posted", refused("The decision was committed: what was spent cannot be released.")],
    ["released", { ok: true, value: { replayed: true } }],
    ["expired", settled("released", { postedMicroUsd: 0, overrunMicroUsd: 0, late: true })],
  ] as const)("what is %s", (state, told) => {
    const { playing, id, now } = decidedAs(state);
    const before = state === "released" ? playing.record(id).told?.settlement : undefined;
    const found = playing.release(id, now);
    expect(found).toMatchObject(told);
    if (before !== undefined) expect(found).toEqual({ ok: true, value: { settlement: before, replayed: true } });
    if (state === "pending" || state === "expired") expect(found).toMatchObject({ value: { replayed: false } });
  });

  it("records why, and nothing where nobody said", () => {
    for (const reason of ["changed my mind", null]) {
      const { playing, id } = decidedAs("pending");
      playing.release(id, 10, reason);
      expect(playing.ledger.at(-1)?.entry.details).toEqual(reason === null ? null : { reason });
    }
  });
});

describe("letting stand longer, and asking for another sum,", () => {
  it.each(STATES.filter((state) => state !== "pending"))("is refused for what is %s", (state) => {
    const { playing, id, now } = decidedAs(state);
    const entries = () => playing.ledger.length;
    // What has run out is recorded when a turn opens, not by what is asked in it.
    playing.turn(now, () => undefined);
    const before = entries();
    expect(extended(playing, id, now, 500)).toMatchObject(refused(`Only a pending reservation can be extended: this one is ${state}.`));
    // What was kept of a denied request is nothing that could be asked again.
    if (state !== "denied")
      expect(playing.topup(id, "3", now)).toMatchObject(refused(`Only a pending reservation can be topped up: this one is ${state}.`));
    expect(entries()).toBe(before);
  });

  it.each([
    [500, 1_000],
    [990, 1_000],
    [991, 1_001],
    [5_000, 5_010],
  ])("for %i ms at 10 what stands until 1000: it stands until %i", (ttlMs, expiresAt) => {
    const { playing, id } = decidedAs("pending");
    const told = extended(playing, id, 10, ttlMs);
    expect(told).toMatchObject({ ok: true, value: { replayed: false } });
    expect(told).toMatchObject(settled("pending", { id, postedMicroUsd: 0, overrunMicroUsd: 0, late: false, reservation: { expiresAt } }));
    const entry = playing.ledger.at(-1)?.entry;
    expect(entry).toMatchObject({ kind: "decision", step: "extend", reservation: { amount_usd: "2", expires_at: formatInstant(expiresAt) } });
    expect(told).toMatchObject({ value: { settlement: { entry: { seq: entry?.seq, hash: playing.ledger.at(-1)?.hash } } } });
    // It pends up to that instant, and has run out at it.
    playing.turn(expiresAt - 1, () => undefined);
    expect(playing.record(id).state).toBe("pending");
    playing.turn(expiresAt, () => undefined);
    expect(playing.record(id).state).toBe("expired");
  });
});
