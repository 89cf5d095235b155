import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Matter, Pending } from "../../src/core/book.ts";
import { matchesGlob } from "../../src/core/glob.ts";
import { type DecisionId, idFromDigest } from "../../src/core/ids.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { Pendings } from "../../src/core/pendings.ts";
import { RUN } from "./playing.ts";
import { sha256 } from "./sha256.ts";

const IDS: readonly DecisionId[] = Array.from({ length: 12 }, (_, n) => idFromDigest("dec", sha256(`pending ${n}`)));
const ACTIONS = ["a", "ab", "b"] as const;
const PATTERNS = ["a", "a*", "*", "c", "*b"] as const;

const matterOf = (action: string): Matter => ({
  run: RUN,
  action,
  tags: [],
  riskLevel: null,
  policy: { name: "p", version: 1, digest: "sha-256:0" },
  fund: "budgets",
  limits: [],
  alerts: [],
  keepOutputs: [],
  redaction: null,
  asked: null,
  onExpiry: "post",
  compliance: null,
});

const pendingOf = (n: number, expiresAt: number): Pending => ({
  // Within the list: the numbers below are drawn from its places.
  id: IDS[n] as DecisionId,
  reservation: { amountMicroUsd: microUsdOf(n), expiresAt },
  matter: matterOf(ACTIONS[n % ACTIONS.length] ?? "a"),
  pieces: [],
});

/** The same without any order or count kept: every question looks at all of them. */
class Plain {
  readonly byId = new Map<DecisionId, { pending: Pending; turn: number }>();
  turn = 0;

  set(pending: Pending): void {
    const known = this.byId.get(pending.id);
    const isMoved = known?.pending.reservation.expiresAt !== pending.reservation.expiresAt;
    this.byId.set(pending.id, { pending, turn: known === undefined || isMoved ? this.turn++ : known.turn });
  }

  due(now: number): readonly DecisionId[] {
    const due = [...this.byId.values()].filter(({ pending }) => pending.reservation.expiresAt <= now);
    due.sort((a, b) => a.pending.reservation.expiresAt - b.pending.reservation.expiresAt || a.turn - b.turn);
    return due.map(({ pending }) => pending.id);
  }
}

type Step =
  | { readonly do: "set"; readonly n: number; readonly expiresAt: number }
  | { readonly do: "delete"; readonly n: number }
  | { readonly do: "expire"; readonly by: number }
  | { readonly do: "fork" };

const n = fc.nat({ max: IDS.length - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("set" as const), n, expiresAt: fc.nat({ max: 30 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("delete" as const), n }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("expire" as const), by: fc.nat({ max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fork" as const) }) },
);

describe("what a session has reserved", () => {
  it("answers as if each question looked at every reservation", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        let pendings = new Pendings();
        const plain = new Plain();
        let now = 0;
        for (const one of steps) {
          switch (one.do) {
            case "set":
              // What has run out already is not reserved anew.
              pendings.set(pendingOf(one.n, now + 1 + one.expiresAt));
              plain.set(pendingOf(one.n, now + 1 + one.expiresAt));
              break;
            case "delete":
              pendings.delete(IDS[one.n] as DecisionId);
              plain.byId.delete(IDS[one.n] as DecisionId);
              break;
            case "expire": {
              now += one.by;
              const due = plain.due(now);
              expect(pendings.takeExpired(now).map(({ id }) => id)).toEqual(due);
              for (const id of due) {
                pendings.delete(id);
                plain.byId.delete(id);
              }
              break;
            }
            case "fork": {
              const former = pendings;
              pendings = former.fork();
              for (const id of IDS) former.delete(id);
              break;
            }
          }
          const all = [...plain.byId.values()].map(({ pending }) => pending);
          expect(pendings.size).toBe(all.length);
          expect([...pendings.values()]).toEqual(all);
          for (const pattern of PATTERNS) {
            expect(pendings.count(pattern)).toBe(all.filter(({ matter }) => matchesGlob(pattern, matter.action)).length);
          }
          expect(pendings.nextExpiry).toBe(Math.min(Number.POSITIVE_INFINITY, ...all.map(({ reservation }) => reservation.expiresAt)));
        }
      }),
    );
  });

  it("tells once of one whose expiry went away and came back", () => {
    const pendings = new Pendings();
    for (const expiresAt of [10, 20, 10]) pendings.set(pendingOf(0, expiresAt));
    expect(pendings.takeExpired(10)).toEqual([pendingOf(0, 10)]);
    pendings.delete(IDS[0] as DecisionId);
    expect(pendings.takeExpired(30)).toEqual([]);
    expect(pendings.nextExpiry).toBe(Number.POSITIVE_INFINITY);
  });
});
