import { describe, expect, it } from "vitest";
import type { ApprovalStatus } from "../../src/core/approvals.ts";
import { EMPTY_ACCOUNT } from "../../src/core/book.ts";
import { type Order, TARGETS, type Target } from "../../src/core/orders.ts";
import { heldState, isNewer, isStopped, moved, ordersNews, type Standing, stateOf, underLease } from "../../src/core/standing.ts";
import { REF, RUN, SECOND_RUN } from "./playing.ts";

const order = (target: Target, id: string, state: Order["state"] = "killed", intervention = 1): Order => ({
  target,
  id,
  state,
  intervention: `int_00000000-0000-7000-8000-00000000000${intervention}`,
  at: 0,
});

const OTHER = `sha-256:${"b".repeat(64)}` as const;

describe("whether a request must be evaluated again", () => {
  const lease: Standing = { fresh: true, policy: REF, orders: [], entities: 5 };

  it.each<readonly [boolean, string, Partial<Standing>, Partial<Parameters<typeof moved>[1]>]>([
    [false, "it was under the policy in force", {}, {}],
    [true, "it was under another policy", {}, { under: OTHER }],
    [true, "nobody knew the policy", {}, { under: null }],
    [false, "the lease lapsed: whatever the policy says, that denies", { fresh: false }, { under: OTHER }],
    [false, "no policy is in force", { policy: null }, { under: OTHER }],
    [false, "no attributes were looked at, however new some are", {}, { entities: null, entitiesFloor: 9 }],
    [false, "the newest attributes were looked at", {}, { entities: 5 }],
    [true, "attributes were older than the lease knows of", {}, { entities: 4 }],
    [false, "attributes were newer than the lease knows of", {}, { entities: 6 }],
    [false, "attributes were as new as when it was first asked for", {}, { entities: 3, entitiesFloor: 3 }],
    [true, "attributes were older than when it was first asked for", {}, { entities: 2, entitiesFloor: 3 }],
    [false, "the lease knows of none as new as was asked for", {}, { entities: 5, entitiesFloor: 9 }],
    [true, "attributes were older than the first revision", {}, { entities: -1, entitiesFloor: 0 }],
  ])("%s: %s", (again, _, standing, call) => {
    expect(moved({ ...lease, ...standing }, { under: REF.digest, entities: null, entitiesFloor: null, ...call })).toBe(again);
  });
});

describe("an evaluation", () => {
  const older = { name: "before", version: 1, digest: REF.digest };
  const found = { kind: "findings", findings: { policy: older, more: "kept" } } as const;
  const invalid = { kind: "invalid", policy: older } as const;

  it.each([
    [
      "has the lease's own name for its policy, and nothing else anew",
      found,
      REF.digest,
      REF,
      { kind: "findings", findings: { policy: REF, more: "kept" } },
    ],
    ["that could not be made stays that", invalid, REF.digest, REF, invalid],
    ["that is missing stays missing", null, REF.digest, REF, null],
    ["under another policy counts for nothing", found, OTHER, REF, null],
    ["under nothing counts for nothing", invalid, null, REF, null],
    ["counts for nothing where no policy is in force", found, REF.digest, null, null],
    ["under nothing counts for nothing there either", found, null, null, null],
  ] as const)("%s", (_, evaluation, under, policy, expected) => {
    expect(underLease<{ readonly policy: typeof REF | typeof older; readonly more: string }>(evaluation, under, { policy })).toEqual(expected);
    expect(found.findings.policy).toBe(older);
  });
});

describe("what a tenant told", () => {
  it.each([
    [true, "a later epoch", [3, 1], [2, 9]],
    [false, "an earlier epoch, whatever its attributes", [2, 9], [3, 1]],
    [true, "newer attributes in the same epoch", [3, 2], [3, 1]],
    [false, "older attributes in the same epoch", [3, 1], [3, 2]],
    [false, "the same again", [3, 1], [3, 1]],
  ] as const)("is newer: %s, of %s", (newer, _, [epoch, entities], [thanEpoch, thanEntities]) => {
    expect(isNewer({ epoch, entities }, { epoch: thanEpoch, entities: thanEntities })).toBe(newer);
  });
});

describe("what a lease newly orders", () => {
  const runs = new Map([[RUN, { closed: false, account: EMPTY_ACCOUNT }]]);
  const agent = order("agent", "bot");
  const paused = order("agent", "bot", "paused", 2);
  const again = order("agent", "bot", "killed", 3);
  const here = order("run", RUN, "killed", 4);
  const elsewhere = order("run", SECOND_RUN, "killed", 5);
  const action = order("action", "pay*", "paused", 6);
  const web = order("action", "web*", "paused", 7);

  it.each<readonly [string, readonly Order[], readonly Order[], readonly (readonly [Order, "obeyed" | "lifted"])[]]>([
    ["nothing, where all is as it was", [agent, here], [here, agent], []],
    [
      "what was not ordered before",
      [agent],
      [agent, here, action],
      [
        [here, "obeyed"],
        [action, "obeyed"],
      ],
    ],
    [
      "what is ordered no more",
      [agent, here, action],
      [agent],
      [
        [here, "lifted"],
        [action, "lifted"],
      ],
    ],
    [
      "what it obeys before what it obeys no more",
      [agent],
      [action],
      [
        [action, "obeyed"],
        [agent, "lifted"],
      ],
    ],
    ["what is ordered no more where the like of another stays", [action, web], [web], [[action, "lifted"]]],
    ["nothing of runs of other sessions", [elsewhere], [order("run", "run_x")], []],
    ["a second kill of the same, which lifts nothing", [agent], [again], [[again, "obeyed"]]],
    [
      "that a pause is gone where a kill of the same has come",
      [paused],
      [agent],
      [
        [agent, "obeyed"],
        [paused, "lifted"],
      ],
    ],
    ["that a kill is gone where a pause of the same stays", [agent, paused], [paused], [[agent, "lifted"]]],
    ["a pause by an intervention that killed before", [agent], [agent, { ...agent, state: "paused" }], [[{ ...agent, state: "paused" }, "obeyed"]]],
    [
      "the same id of another target",
      [agent],
      [{ ...agent, target: "session", intervention: again.intervention }],
      [
        [{ ...agent, target: "session", intervention: again.intervention }, "obeyed"],
        [agent, "lifted"],
      ],
    ],
  ])("%s", (_, before, after, news) => {
    expect(ordersNews(before, after, { runs })).toEqual(news.map(([one, event]) => ({ order: one, event })));
  });
});

describe("what the holder of a client lease may do", () => {
  it.each<readonly [boolean, Target, string]>([
    [true, "tenant", "t"],
    [true, "agent", "bot"],
    [true, "session", "ses_1"],
    [true, "run", RUN],
    [false, "run", SECOND_RUN],
    [true, "action", "mail.send"],
    [true, "action", "*.send"],
    [true, "action", "pay"],
    [false, "action", "pay.all"],
    [false, "action", "web*"],
  ])("is stopped: %s, by an intervention against the %s %s", (stopped, type, id) => {
    expect(isStopped({ run: RUN, actions: ["mail.*", "pay"] }, { target: { type, id } })).toBe(stopped);
  });

  it("is stopped by no name where it is for no action", () => {
    expect(isStopped({ run: RUN, actions: [] }, { target: { type: "action", id: "*" } })).toBe(false);
  });
});

describe("a session", () => {
  const kill = (target: Target) => order(target, "one");
  const pause = (target: Target) => order(target, "one", "paused", 2);

  it.each<readonly [ReturnType<typeof stateOf>, string, boolean, number, readonly Order[]]>([
    ["active", "nothing stands against it", false, 9, []],
    ["closed", "it was closed, even if it would have run out and was killed", true, 10, [kill("session")]],
    ["expired", "its time is up, even if it was killed", false, 10, [kill("session")]],
    ["killed", "it was killed, and paused before that", false, 9, [pause("session"), kill("agent")]],
    ["active", "only runs and actions were stopped", false, 9, [kill("run"), pause("action")]],
    ["paused", "it was paused, and one of its runs killed", false, 9, [kill("run"), pause("tenant")]],
  ])("is %s where %s", (state, _, closed, now, orders) => {
    expect(stateOf({ closed, expiresAt: 10 }, now, orders)).toBe(state);
  });

  it.each(TARGETS)("is stopped as a whole by its tenant, its agent or itself: %s", (target) => {
    const isWhole = ["tenant", "agent", "session"].includes(target);
    expect(stateOf({ closed: false, expiresAt: 10 }, 0, [kill(target)])).toBe(isWhole ? "killed" : "active");
    expect(stateOf({ closed: false, expiresAt: 10 }, 0, [pause(target)])).toBe(isWhole ? "paused" : "active");
  });
});

describe("a held decision", () => {
  it.each<readonly [ReturnType<typeof heldState>, ApprovalStatus]>([
    ["held", "pending"],
    ["held", "info_requested"],
    ["held", "approved"],
    ["held", "consumed"],
    ["denied", "rejected"],
    ["denied", "cancelled"],
    ["expired", "expired"],
  ])("is %s once its approval is %s", (state, status) => {
    expect(heldState(status)).toBe(state);
  });
});
