import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { alertsOf } from "../../src/core/alerts.ts";
import { type Account, EMPTY_ACCOUNT, freeOf, MOST_SPENT, spentOf } from "../../src/core/book.ts";
import { conclude, judge } from "../../src/core/conclude.ts";
import type { Decision } from "../../src/core/decision.ts";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { formatUsd, microUsdOf } from "../../src/core/money.ts";
import type { Price } from "../../src/core/policy/findings.ts";
import type { ActionRequest } from "../../src/core/request.ts";
import { type Asks, ask, done, lineOf, more, Playing, type Row, RUN, released, requestOf, SECOND_RUN, scenario, usd } from "./playing.ts";

const agrees = (_: string, policy: Row[1], steps: Row[2]): void => {
  const { wanted, found } = scenario(policy, steps);
  for (const { by, lines } of found) expect(lines, by).toEqual(wanted);
};

const RESERVE = "{ budgets: { session: 1, run: 0.9, actions: { pay: 0.8 } }, wind_down: { actions: [save, 'notify_*'], budget: 0.05 } }";

describe("winding down", () => {
  test.each<Row>([
    [
      "only its actions, only once a budget says no, and never above its reserve",
      RESERVE,
      [
        ask(0, "save", { usd: "0.1" }, "allow"),
        ask(0, "x", { usd: "0.8" }, "allow"),
        // All of it is pending, and may come back.
        ask(0, "x", { usd: "0.01" }, "deny run_budget_exceeded /budgets/run"),
        ask(0, "save", { usd: "0.03" }, "allow"),
        ask(0, "notify_user", { usd: "0.02" }, "allow"),
        ask(0, "notify_user", { usd: "0.000001" }, "deny run_budget_exceeded /budgets/run"),
        ask(0, "notify_user", {}, "allow"),
        ask(0, "save_state", {}, "allow"),
        ask(0, "save_state", { usd: "0.01" }, "deny run_budget_exceeded /budgets/run"),
        done(0, 0, undefined, "0.1"),
        done(0, 1, undefined, "0.8"),
        ask(0, "x", { usd: "0.01" }, "deny run_budget_exceeded /budgets/run stops run"),
        ask(0, "save", { usd: "0.01" }, "deny run_budget_exceeded /budgets/run"),
        done(0, 3, undefined, "0.03"),
        done(0, 4, undefined, "0.02"),
        ask(0, "save", { usd: "0.01" }, "deny run_budget_exceeded /budgets/run stops run"),
      ],
    ],
    [
      "what is given back can be had again; what was posted cannot; an overrun closes it",
      "{ budgets: { session: 0 }, wind_down: { actions: [save], budget: 0.05 } }",
      [
        ask(0, "save", { usd: "0.05" }, "allow"),
        ask(0, "save", { usd: "0.01" }, "deny session_budget_exceeded /budgets/session"),
        released(0, 0),
        ask(0, "save", { usd: "0.05" }, "allow"),
        done(0, 2, undefined, "0.03"),
        ask(0, "save", { usd: "0.020001" }, "deny session_budget_exceeded /budgets/session"),
        ask(0, "save", { usd: "0.02" }, "allow"),
        done(0, 4, undefined, "0.03"),
        ask(0, "save", { usd: "0.000001" }, "deny session_budget_exceeded /budgets/session stops session"),
        ask(0, "x", {}, "allow"),
      ],
    ],
    [
      "what runs out is posted at its estimate, to the reserve",
      "{ budgets: { session: 0 }, wind_down: { actions: [save], budget: 0.05 } }",
      [
        ask(0, "save", { usd: "0.05", ttl: 10 }, "allow"),
        ask(10, "save", { usd: "0.01" }, "deny session_budget_exceeded /budgets/session stops session"),
      ],
    ],
    [
      "or comes back to it, where the policy says release",
      "{ budgets: { session: 0, on_expiry: release }, wind_down: { actions: [save], budget: 0.05 } }",
      [ask(0, "save", { usd: "0.05", ttl: 10 }, "allow"), ask(10, "save", { usd: "0.05" }, "allow")],
    ],
    [
      "more is asked of the account that it is paid from, and of no other",
      "{ budgets: { session: 1 }, wind_down: { actions: [save], budget: 0.05 } }",
      [
        ask(0, "save", { usd: "0.9" }, "allow"),
        more(0, 0, "1.01", "deny session_budget_exceeded /budgets/session"),
        more(0, 0, "1", "allow"),
        ask(0, "save", { usd: "0.02" }, "allow"),
        more(0, 1, "0.05", "allow"),
        more(0, 1, "0.050001", "deny session_budget_exceeded /wind_down/budget"),
        released(0, 0),
        more(0, 1, "0.5", "deny session_budget_exceeded /wind_down/budget"),
      ],
    ],
    [
      "does not open what anything but a budget closes",
      `{ budgets: { session: 0, default_price: deny }, wind_down: { actions: [save, d], budget: 1 }, denied_actions: [d], approvals: { tags: [t] },
         rules: [{ id: f, effect: forbid, actions: [save], when: "'f' in tags" }], concurrency: { save: 1 } }`,
      [
        ask(0, "d", {}, "deny action_denied /denied_actions"),
        ask(0, "save", { usd: "0.1", tags: ["f"] }, "deny rule_forbids f"),
        ask(0, "save", { usd: "0.1", price: { known: false, basis: "stated", data: "d" } }, "deny price_unknown /budgets/default_price"),
        ask(0, "save", { usd: "0.1", tags: ["t"] }, "hold approval_required /approvals/tags"),
        ask(0, "save", { usd: "0.1" }, "allow"),
        ask(0, "save", { usd: "0.1" }, "deny concurrency_exceeded /concurrency/save"),
      ],
    ],
  ])("%s", agrees);

  it("has an account of its own, and changes no other", () => {
    const playing = new Playing("{ budgets: { session: 1, actions: { '*': 1 } }, wind_down: { actions: [save], budget: 0.05 } }");
    playing.decide(requestOf("x", { usd: "1" }), 0);
    const before = { total: playing.book.total, run: playing.book.runs.get(RUN)?.account, actions: new Map(playing.book.actions) };
    const decision = playing.decide(requestOf("save", { usd: "0.04" }), 0);
    expect(decision.advice).toMatchObject([{ code: "wind_down", details: { rule: "/wind_down" } }]);
    expect(decision.warnings).toEqual([]);
    expect(decision.budgets.at(-1)).toMatchObject({ scope: "wind_down", name: "wind_down", limitMicroUsd: 50_000, pendingMicroUsd: 40_000 });
    expect(playing.book.windDown).toEqual({ ...EMPTY_ACCOUNT, pendingMicroUsd: 40_000 });
    playing.commit(decision.id, { costMicroUsd: usd("0.06") }, 0);
    expect(playing.book.windDown).toEqual({ ...EMPTY_ACCOUNT, postedMicroUsd: 60_000, overrunMicroUsd: 20_000 });
    expect({ total: playing.book.total, run: playing.book.runs.get(RUN)?.account, actions: new Map(playing.book.actions) }).toEqual(before);
    const { accounts } = playing.ledger.at(-1)?.entry ?? { accounts: [] };
    expect(accounts.find(({ scope }) => scope === "wind_down")).toEqual({
      scope: "wind_down",
      name: "wind_down",
      limit_usd: "0.05",
      before: { pending_usd: "0.04", posted_usd: "0" },
      after: { pending_usd: "0", posted_usd: "0.06" },
    });
    expect(accounts.find(({ scope }) => scope === "session")).toMatchObject({ before: { posted_usd: "0" }, after: { posted_usd: "0" } });
  });

  it("an action that a budget still covers is paid from the budgets, and shows no reserve", () => {
    const playing = new Playing(RESERVE);
    const decision = playing.decide(requestOf("save", { usd: "0.01" }), 0);
    expect(decision.advice).toEqual([]);
    expect(decision.budgets.map(({ scope }) => scope)).toEqual(["run", "session"]);
    expect(playing.book).toMatchObject({ windDown: EMPTY_ACCOUNT, total: { pendingMicroUsd: 10_000 } });
  });

  it("counts against the session's own cap as against a budget", () => {
    const playing = new Playing("wind_down: { actions: [save], budget: 0.05 }", { budget: "0.1" });
    expect(lineOf(playing.decide(requestOf("x", { usd: "0.1" }), 0))).toBe("allow");
    expect(lineOf(playing.decide(requestOf("x", { usd: "0.01" }), 0))).toBe("deny session_budget_exceeded /budgets/session");
    expect(lineOf(playing.decide(requestOf("save", { usd: "0.05" }), 0))).toBe("allow");
    expect(playing.book.windDown.pendingMicroUsd).toBe(50_000);
  });

  it("both funds together are what a session counts exactly", () => {
    const playing = new Playing("{ budgets: { session: 0 }, wind_down: { actions: [save], budget: '9000000000' } }");
    const most = formatUsd(MOST_SPENT);
    expect(lineOf(playing.decide(requestOf("save", { usd: most }), 0))).toBe("allow");
    expect(lineOf(playing.decide(requestOf("save", { usd: "0.000001" }), 0))).toBe("deny session_budget_exceeded stops session");
  });
});

describe("money is conserved, in the budgets and in the reserve", () => {
  const LIMITS = { session: usd("1"), run: usd("0.9"), "db.*": usd("0.7"), wind_down: usd("0.3") } as const;
  const POLICY = "{ budgets: { session: 1, run: 0.9, actions: { 'db.*': 0.7 } }, wind_down: { actions: ['db.*', save], budget: 0.3 } }";
  const amount = fc.integer({ min: 0, max: 500_000 });
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("decide" as const),
        action: fc.constantFrom("db.a", "db.b", "save", "pay"),
        amount,
        ttl: fc.integer({ min: 1, max: 50 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("commit" as const), which: fc.nat(), amount }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("topup" as const), which: fc.nat(), amount }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("batch" as const), amounts: fc.array(amount, { minLength: 1, maxLength: 3 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 40 }) }) },
  );

  const sum = (accounts: Iterable<Account>): Account =>
    [...accounts].reduce(
      (a, b) => ({
        postedMicroUsd: microUsdOf(a.postedMicroUsd + b.postedMicroUsd),
        pendingMicroUsd: microUsdOf(a.pendingMicroUsd + b.pendingMicroUsd),
        leasedMicroUsd: microUsdOf(a.leasedMicroUsd + b.leasedMicroUsd),
        overrunMicroUsd: microUsdOf(a.overrunMicroUsd + b.overrunMicroUsd),
      }),
      EMPTY_ACCOUNT,
    );

  it("at every step, and the entries add up to both", () => {
    let reserved = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 80 }), (steps) => {
        const playing = new Playing(POLICY);
        let now = 0;
        const pick = (which: number) => [...playing.records.values()][which % Math.max(1, playing.records.size)];
        for (const one of steps) {
          const record = "which" in one ? pick(one.which) : undefined;
          const others = JSON.stringify([playing.book.total, [...playing.book.runs], [...playing.book.actions]]);
          const reserve = JSON.stringify(playing.book.windDown);
          let fund: string | undefined = record?.matter?.fund;
          if (one.do === "decide") {
            const decision = playing.decide(requestOf(one.action, { usd: formatUsd(microUsdOf(one.amount)), ttl: one.ttl }), now);
            fund = playing.record(decision.id).matter?.fund;
            if (fund === "wind_down") {
              reserved++;
              expect(one.action).not.toBe("pay");
            }
          } else if (one.do === "commit" && record !== undefined) playing.commit(record.decision.id, { costMicroUsd: microUsdOf(one.amount) }, now);
          else if (one.do === "release" && record !== undefined) playing.release(record.decision.id, now);
          else if (one.do === "topup" && record !== undefined) playing.topup(record.decision.id, formatUsd(microUsdOf(one.amount)), now);
          else if (one.do === "batch") {
            const requests = one.amounts.map((each) => requestOf("save", { usd: formatUsd(microUsdOf(each)) }));
            const verdicts = new Set(playing.batch(requests, "all_or_nothing", now).map(({ verdict }) => verdict === "allow"));
            expect(verdicts.size).toBe(1);
          } else if (one.do === "wait") {
            now += one.ms;
            playing.turn(now, () => undefined);
          }
          if (one.do !== "wait" && one.do !== "batch") {
            // What one step moves is in one fund.
            if (fund === "wind_down") expect(JSON.stringify([playing.book.total, [...playing.book.runs], [...playing.book.actions]])).toBe(others);
            else expect(JSON.stringify(playing.book.windDown)).toBe(reserve);
          }

          const { total, windDown, runs, actions, pending } = playing.book;
          const db = sum([...actions].filter(([name]) => name.startsWith("db.")).map(([, account]) => account));
          for (const [limit, account] of [
            [LIMITS.session, total],
            [LIMITS.run, runs.get(RUN)?.account ?? EMPTY_ACCOUNT],
            [LIMITS["db.*"], db],
            [LIMITS.wind_down, windDown],
          ] as const) {
            const excess = Math.max(0, spentOf(account) - limit);
            expect(limit + excess).toBe(freeOf(account, limit) + account.leasedMicroUsd + account.pendingMicroUsd + account.postedMicroUsd);
            expect(excess).toBeLessThanOrEqual(account.overrunMicroUsd);
          }
          expect(sum(actions.values())).toEqual(total);
          expect(runs.get(RUN)?.account).toEqual(total);
          const held = (of: string) =>
            [...pending.values()].filter(({ matter }) => matter.fund === of).reduce((all, { reservation }) => all + reservation.amountMicroUsd, 0);
          expect([held("budgets"), held("wind_down")]).toEqual([total.pendingMicroUsd, windDown.pendingMicroUsd]);
        }
        const posted = playing.ledger.reduce((all, { entry }) => all + usd(entry.cost_usd) - usd(entry.corrected_usd), 0);
        expect(posted).toBe(playing.book.total.postedMicroUsd + playing.book.windDown.postedMicroUsd);
        const overrun = playing.ledger.reduce((all, { entry }) => all + usd(entry.overrun_usd), 0);
        expect(overrun).toBe(playing.book.total.overrunMicroUsd + playing.book.windDown.overrunMicroUsd);
      }),
      { numRuns: 150 },
    );
    expect(reserved, "the histories reach the reserve").toBeGreaterThan(100);
  });
});

describe("alerts", () => {
  const alertsIn = (playing: Playing): string[] =>
    playing.ledger.flatMap(({ entry }) =>
      entry.alerts.map(({ scope, threshold, spent_usd, limit_usd }) => `${scope} ${threshold} ${spent_usd}/${limit_usd}`),
    );
  const POLICY = "budgets: { session: 1, alerts: [0.8, 0.5, 1] }";

  it("are told when a part is reached, exactly, once, and several at once if it must be", () => {
    const playing = new Playing(POLICY);
    playing.decide(requestOf("x", { usd: "0.499999" }), 0);
    expect(alertsIn(playing)).toEqual([]);
    const decision = playing.decide(requestOf("x", { usd: "0.000001" }), 0);
    expect(decision.advice).toMatchObject([
      { code: "budget_threshold", details: { scope: "session", threshold: 0.5, spent_usd: "0.5", limit_usd: "1" } },
    ]);
    expect(decision.advice[0]?.message).toContain("50 %");
    expect(alertsIn(playing)).toEqual(["session 0.5 0.5/1"]);
    expect(playing.decide(requestOf("x", { usd: "0.1" }), 0).advice).toEqual([]);
    playing.decide(requestOf("x", { usd: "0.4" }), 0);
    playing.decide(requestOf("x"), 0);
    expect(alertsIn(playing)).toEqual(["session 0.5 0.5/1", "session 0.8 1/1", "session 1 1/1"]);
  });

  it("are not told again after money came back and was taken again, and a denial tells none", () => {
    const playing = new Playing(POLICY);
    const { id } = playing.decide(requestOf("x", { usd: "0.6" }), 0);
    playing.decide(requestOf("x", { usd: "0.6" }), 0);
    playing.release(id, 0);
    playing.decide(requestOf("x", { usd: "0.7" }), 0);
    expect(alertsIn(playing)).toEqual(["session 0.5 0.6/1"]);
  });

  it("a denial tells none, whatever limit it meets", () => {
    const playing = new Playing(POLICY);
    playing.decide(requestOf("x", { usd: "0.6" }), 0);
    playing.use("{ budgets: { session: 0.7, alerts: [0.5] }, denied_actions: [no], approvals: { actions: [held] } }");
    expect(playing.decide(requestOf("no"), 0).advice).toEqual([]);
    expect(playing.decide(requestOf("held"), 0).advice).toEqual([]);
    expect(alertsIn(playing)).toEqual(["session 0.5 0.6/1"]);
  });

  it("are told anew under another limit", () => {
    const playing = new Playing(POLICY);
    playing.decide(requestOf("x", { usd: "0.6" }), 0);
    playing.use("budgets: { session: 1.2, alerts: [0.5] }");
    playing.decide(requestOf("x"), 0);
    playing.use(POLICY);
    playing.decide(requestOf("x"), 0);
    expect(alertsIn(playing)).toEqual(["session 0.5 0.6/1", "session 0.5 0.6/1.2"]);
  });

  it("are told of every account: action, run, session, reserve", () => {
    const playing = new Playing("{ budgets: { session: 1, run: 1, actions: { 'x*': 1 }, alerts: [0.5] }, wind_down: { actions: [x], budget: 1 } }");
    playing.decide(requestOf("x", { usd: "0.5" }), 0);
    expect(alertsIn(playing)).toEqual(["action 0.5 0.5/1", "run 0.5 0.5/1", "session 0.5 0.5/1"]);
    playing.decide(requestOf("x", { usd: "0.6" }), 0);
    expect(alertsIn(playing).slice(3)).toEqual(["wind_down 0.5 0.6/1"]);
    playing.openRun(SECOND_RUN, 0);
    playing.decide(requestOf("y", { usd: "0.5" }), 0);
    expect(alertsIn(playing).slice(4), "another run is another account").toEqual(["run 0.5 0.5/1"]);
  });

  it("are told when a report crosses one, a larger sum does, or a late report does", () => {
    const playing = new Playing("budgets: { session: 1, on_expiry: release, alerts: [0.5, 0.8, 0.9] }");
    const first = playing.decide(requestOf("x", { usd: "0.1" }), 0);
    playing.commit(first.id, { costMicroUsd: usd("0.5") }, 0);
    const second = playing.decide(requestOf("x", { usd: "0.1" }), 0);
    playing.topup(second.id, "0.3", 0);
    playing.release(second.id, 0);
    const third = playing.decide(requestOf("x", { usd: "0.1", ttl: 5 }), 0);
    playing.turn(5, () => undefined);
    playing.commit(third.id, { costMicroUsd: usd("0.4") }, 6);
    expect(playing.ledger.flatMap(({ entry }) => entry.alerts.map(({ threshold }) => [entry.kind, entry.step, threshold]))).toEqual([
      ["commit", null, 0.5],
      ["decision", "topup", 0.8],
      ["commit", null, 0.9],
    ]);
  });

  it("come from the reservation, and its expiry tells nothing twice", () => {
    const playing = new Playing(POLICY);
    playing.decide(requestOf("x", { usd: "0.5", ttl: 5 }), 0);
    playing.turn(5, () => undefined);
    playing.decide(requestOf("x"), 6);
    expect(alertsIn(playing)).toEqual(["session 0.5 0.5/1"]);
  });

  it("of a limit of nothing, or of no limit, are none", () => {
    const playing = new Playing("budgets: { run: 0, alerts: [0.5] }");
    playing.decide(requestOf("x"), 0);
    expect(alertsIn(playing)).toEqual([]);
  });

  it("stay exact whatever the limit", () => {
    const big = fc.integer({ min: 1, max: MOST_SPENT });
    fc.assert(
      fc.property(big, fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: -2, max: 2 }), (limit, millionths, off) => {
        const { book } = new Playing("strict_mode: true");
        const exact = (BigInt(limit) * BigInt(millionths) + 999_999n) / 1_000_000n;
        const spent = Number(exact) + off;
        fc.pre(spent >= 0);
        const balance = {
          scope: "session",
          name: "s",
          limitMicroUsd: microUsdOf(limit),
          postedMicroUsd: microUsdOf(spent),
          pendingMicroUsd: microUsdOf(0),
          leasedMicroUsd: microUsdOf(0),
        } as const;
        expect(alertsOf(book, [balance], [millionths / 1_000_000])).toHaveLength(off >= 0 ? 1 : 0);
      }),
      {
        examples: [
          [MOST_SPENT, 999_999, 0],
          [MOST_SPENT, 999_999, -1],
          [3, 333_333, 0],
          [3, 333_334, -1],
        ],
      },
    );
  });

  it("count what is leased as taken", () => {
    const { book } = new Playing("strict_mode: true");
    const balance = {
      scope: "session",
      name: "s",
      limitMicroUsd: microUsdOf(9),
      postedMicroUsd: microUsdOf(1),
      pendingMicroUsd: microUsdOf(1),
      leasedMicroUsd: microUsdOf(1),
    } as const;
    expect(alertsOf(book, [balance], [0.333333])).toMatchObject([{ spentMicroUsd: 3 }]);
  });
});

describe("default_price", () => {
  const price = (basis: Price["basis"], known: boolean): Price => ({ basis, data: "prices 1", known });
  const DENY = "budgets: { session: 1, default_price: deny }";
  const AMOUNT = "budgets: { session: 1, default_price: 0.2 }";
  const ABSENT = "budgets: { session: 1 }";

  test.each<[policy: string, basis: Price["basis"], known: boolean, stated: string, line: string, estimate: string, recorded: Price["basis"]]>([
    [DENY, "stated", true, "0.1", "allow", "0.1", "stated"],
    [DENY, "computed", true, "0.1", "allow", "0.1", "computed"],
    [DENY, "stated", false, "0.1", "deny price_unknown /budgets/default_price", "0.1", "stated"],
    [DENY, "unpriced", false, "0", "deny price_unknown /budgets/default_price", "0", "unpriced"],
    [DENY, "unpriced", true, "0", "deny price_unknown /budgets/default_price", "0", "unpriced"],
    [DENY, "none", false, "0", "deny price_unknown /budgets/default_price", "0", "none"],
    [DENY, "none", true, "0", "deny price_unknown /budgets/default_price", "0", "none"],
    [AMOUNT, "stated", true, "0.1", "allow", "0.1", "stated"],
    [AMOUNT, "computed", true, "0.1", "allow", "0.1", "computed"],
    [AMOUNT, "stated", false, "0.1", "allow", "0.2", "default"],
    [AMOUNT, "stated", false, "0.2", "allow", "0.2", "stated"],
    [AMOUNT, "stated", false, "0.3", "allow", "0.3", "stated"],
    [AMOUNT, "unpriced", false, "0", "allow", "0.2", "default"],
    [AMOUNT, "none", false, "0", "allow", "0.2", "default"],
    [AMOUNT, "none", true, "0", "allow", "0.2", "default"],
    ["budgets: { session: 1, default_price: 0 }", "none", false, "0", "allow", "0", "default"],
    [ABSENT, "stated", false, "0.1", "allow", "0.1", "stated"],
    [ABSENT, "unpriced", false, "0", "deny price_unknown /budgets/default_price", "0", "unpriced"],
    [ABSENT, "unpriced", true, "0", "deny price_unknown /budgets/default_price", "0", "unpriced"],
  ])("%s: %s, known %s, %s USD", (policy, basis, known, stated, line, estimate, recorded) => {
    const playing = new Playing(policy);
    const decision = playing.decide(requestOf("x", { usd: stated, price: price(basis, known) }), 0);
    expect(lineOf(decision)).toBe(line);
    if (decision.verdict === "allow") {
      expect(decision.reservation?.amountMicroUsd).toBe(usd(estimate));
      expect(playing.book.total.pendingMicroUsd).toBe(usd(estimate));
    }
    expect(playing.ledger.at(-1)?.entry).toMatchObject({ estimate_usd: estimate, price: { basis: recorded, known, data: "prices 1" } });
  });

  it("without a model there is no price to know", () => {
    const playing = new Playing(DENY);
    expect(lineOf(playing.decide(requestOf("x"), 0))).toBe("allow");
    expect(playing.ledger.at(-1)?.entry.price).toBe(null);
  });

  it("what stands for the unknown counts everywhere: budgets, thresholds, rules, the past", () => {
    const unknown: Asks = { price: price("none", false) };
    const line = (policy: string) => lineOf(new Playing(policy).decide(requestOf("x", unknown), 0));
    expect(line("budgets: { session: 0.1, default_price: 0.2 }")).toBe("deny session_budget_exceeded /budgets/session");
    expect(line("{ budgets: { default_price: 0.2 }, approvals: { threshold_usd: 0.1 } }")).toBe("hold approval_required /approvals/threshold_usd");
    expect(line("{ budgets: { default_price: 0.2 }, rules: [{ id: f, effect: forbid, actions: [x], when: 'estimate_usd == 0.2' }] }")).toBe(
      "deny rule_forbids f",
    );
    const playing = new Playing("{ budgets: { default_price: 0.2 }, history: [{ id: h, forbid: y, when: \"sum('x', 60) >= 0.2\" }] }");
    playing.decide(requestOf("x", unknown), 0);
    expect(lineOf(playing.decide(requestOf("y"), 0))).toBe("deny history_forbids h");
  });
});

describe("redaction", () => {
  const CARD = "4242 4242 4242 4242";
  const MAIL = "ann@example.com";
  const SECRET = "hunter2-raw";
  const HIDING = "redact: { keys: [Password], detect: [email, credit_card] }";
  const told = (more: Partial<ActionRequest> = {}): ActionRequest => ({
    ...requestOf("x", { in: { password: SECRET, note: `write to ${MAIL}`, deep: [{ PASS_WORD: { a: SECRET } }], card: CARD, n: 1 } }),
    resource: { type: "mailbox", id: MAIL },
    rationale: `because ${MAIL} asked`,
    sources: [{ source: `crm of ${MAIL}`, version: "7" }],
    ...more,
  });
  const written = (playing: Playing): string => JSON.stringify(playing.ledger);
  const raw = (text: string): string[] => [CARD, MAIL, SECRET].filter((secret) => text.includes(secret));

  it("leaves nothing raw in any entry or payload: of the request, the report, a release", () => {
    const playing = new Playing(HIDING);
    const { id } = playing.decide(told(), 0);
    playing.commit(
      id,
      { outputs: { password: SECRET, to: MAIL }, error: `no ${MAIL}`, usage: { model: MAIL, password: SECRET, input_tokens: 5 }, outcome: "error" },
      0,
    );
    const other = playing.decide(told(), 0);
    playing.release(other.id, 0, `${MAIL} changed her mind`);
    const third = playing.decide(told(), 0);
    playing.topup(third.id, "0.1", 0);
    expect(raw(written(playing))).toEqual([]);
    const [decision, commit] = playing.ledger;
    expect(decision?.payload?.inputs).toEqual({
      password: "[redacted]",
      note: "write to [redacted:email]",
      deep: [{ PASS_WORD: "[redacted]" }],
      card: "[redacted:credit_card]",
      n: 1,
    });
    expect(decision?.entry).toMatchObject({
      rationale: "because [redacted:email] asked",
      resource: { type: "mailbox", id: "[redacted:email]" },
      sources: [{ source: "crm of [redacted:email]", version: "7" }],
      inputs_digest: null,
      redacted: 7,
    });
    expect(commit?.payload?.outputs).toEqual({ password: "[redacted]", to: "[redacted:email]" });
    expect(commit?.entry).toMatchObject({
      error: "no [redacted:email]",
      usage: { model: "[redacted:email]", password: "[redacted]", input_tokens: 5 },
      redacted: 5,
    });
    expect(playing.ledger.find(({ entry }) => entry.kind === "release")?.entry.details).toEqual({ reason: "[redacted:email] changed her mind" });
  });

  it("leaves nothing raw of what is denied or held either", () => {
    for (const no of ["denied_actions: [x]", "approvals: { actions: [x] }", "rules: [{ effect: forbid, actions: [x] }]"]) {
      const playing = new Playing(`${HIDING}\n${no}`);
      expect(playing.decide(told(), 0).verdict).not.toBe("allow");
      expect(raw(written(playing))).toEqual([]);
      expect(raw(JSON.stringify(playing.decided))).toEqual([]);
    }
  });

  it("keeps a digest of what is redacted, or nothing, of inputs and outputs each by itself", () => {
    const run = (redact: string) => {
      const playing = new Playing(redact);
      const { id } = playing.decide(told(), 0);
      playing.commit(id, { outputs: { to: MAIL } }, 0);
      const [decision, commit] = playing.ledger;
      return [decision?.payload, decision?.entry.inputs_digest, commit?.payload, commit?.entry.outputs_digest];
    };
    const digest = expect.stringMatching(/^sha-256:[0-9a-f]{64}$/);
    expect(run("redact: { store_inputs: digest, detect: [email] }")).toEqual([null, digest, null, digest]);
    expect(run("redact: { store_inputs: none }")).toEqual([null, null, null, null]);
    expect(run("redact: { store_inputs: digest, store_outputs: full, detect: [email] }")).toEqual([
      null,
      digest,
      { outputs: { to: "[redacted:email]" }, salt: "0".repeat(32) },
      null,
    ]);
    expect(run("redact: { store_inputs: none, store_outputs: digest }")).toEqual([null, null, null, digest]);
    const digests = ["redact: { store_inputs: digest }", "redact: { store_inputs: digest, detect: [email] }"].map((redact) => run(redact)[1]);
    expect(new Set(digests).size, "it is the digest of what would have been kept").toBe(2);
  });

  const KEY = ["-----BEGIN PRIVATE", " KEY-----\\nMIIE"].join("");

  it.each([
    ["has no redact section", "strict_mode: true"],
    ["says only what is kept", "redact: { store_inputs: full }"],
    ["names keys, and no detector: the detectors", "redact: { keys: [password, note] }"],
    ["names a detector, and no key: the keys", "redact: { detect: [credit_card, private_key] }"],
  ])("hides secrets, cards and private keys without being told to, where the policy %s", (_, policy) => {
    for (const more of ["", "approvals: { actions: [x] }", "denied_actions: [x]"]) {
      const playing = new Playing(`${policy}\n${more}`);
      const { id } = playing.decide(told({ rationale: `pays with ${CARD} for ${MAIL}: ${KEY}` }), 0);
      if (more === "")
        playing.commit(id, { outputs: { passWord: SECRET, text: KEY }, error: `no ${CARD}`, usage: { input_tokens: 5, max_tokens: 9 } }, 0);
      const all = written(playing) + JSON.stringify(playing.decided);
      expect(raw(all)).toEqual([MAIL]);
      expect(all).not.toContain("MIIE");
      if (more === "") expect(playing.ledger[1]?.entry.usage).toEqual({ input_tokens: 5, max_tokens: 9 });
    }
  });

  it("hides nothing where the policy says so, and says that nothing was hidden", () => {
    const playing = new Playing("redact: { keys: [], detect: [] }");
    playing.decide(told(), 0);
    expect(playing.ledger[0]).toMatchObject({
      entry: { redacted: 0, rationale: `because ${MAIL} asked` },
      payload: { inputs: { password: SECRET, card: CARD } },
    });
  });

  it("where no policy could be asked, keeps no inputs and lets every detector look at the rest", () => {
    const playing = new Playing("strict_mode: true");
    const decision = playing.turn(0, (turn) => {
      const asked = { ...playing.askOf(told(), 0), evaluation: null, lease: { fresh: true, policy: null, orders: [] } };
      return conclude(turn, asked, judge(turn.book, asked, 0, turn.sha256), "");
    });
    expect(decision.reason.code).toBe("policy_missing");
    expect(raw(written(playing))).toEqual([]);
    expect(playing.ledger[0]).toMatchObject({ payload: null, entry: { rationale: "because [redacted:email] asked", inputs_digest: null } });
  });

  it("hides nothing from rules: they see what was sent, now and when they look back", () => {
    const playing = new Playing(`
      redact: { store_inputs: none, keys: [to], detect: [email] }
      rules: [{ id: f, effect: forbid, actions: [x], when: "inputs.to == '${MAIL}'" }]
      requires: { y: { after: [look], same: [inputs.to], where: "prior.outputs.owner == '${MAIL}'" } }
      history: [{ id: h, forbid: z, when: "distinct('look', 'inputs.to', 60) >= 2" }]`);
    const line = (action: string, to: string): Decision => playing.decide(requestOf(action, { in: { to, other: SECRET } }), 0);
    expect(lineOf(line("x", MAIL))).toBe("deny rule_forbids f");
    expect(lineOf(line("x", "b@example.com"))).toBe("allow");
    playing.commit(line("look", MAIL).id, { outputs: { owner: MAIL, other: SECRET } }, 0);
    expect(lineOf(line("y", MAIL))).toBe("allow");
    expect(lineOf(line("y", "b@example.com"))).toBe("deny prerequisite_missing /requires/y");
    line("look", "b@example.com");
    expect(lineOf(line("z", MAIL))).toBe("deny history_forbids h");
    expect(raw(written(playing))).toEqual([]);
  });

  it("what rules need is kept by its path alone, and no longer than the longest of them looks back", () => {
    const kept = (policy: string, action = "look") => {
      const playing = new Playing(policy);
      const { id } = playing.decide(requestOf(action, { in: { a: { b: 1, c: SECRET }, d: 2, e: SECRET }, resource: { type: "t", id: "i" } }), 500);
      playing.commit(id, { outputs: { o: 1, p: SECRET } }, 600);
      const decided = playing.decided.at(-1);
      return [decided?.trace?.keptUntil, playing.book.trail.calls(action, 1_000, 600)[0]?.kept];
    };
    expect(kept("strict_mode: true")).toEqual([null, null]);
    expect(kept("history: [{ forbid: x, when: \"count('look', 60) > 1\" }]"), "a count needs nothing").toEqual([null, null]);
    expect(kept("history: [{ forbid: x, when: \"sum('look', 60) > 1.0\" }]"), "a cost needs nothing").toEqual([null, null]);
    expect(kept("history: [{ forbid: x, when: \"sum('look', 'inputs.a.b', 60) > 1.0 || distinct('lo*', 'inputs.d', 90) > 1\" }]")).toEqual([
      90_500,
      {
        paths: [
          ["inputs", "a", "b"],
          ["inputs", "d"],
        ].sort((x, y) => x.length - y.length),
        inputs: { a: { b: 1 }, d: 2 },
        loopKeys: [],
      },
    ]);
    expect(kept("history: [{ forbid: x, when: \"sum('look', 'inputs.a.b', 60) > 1.0\" }]", "other")).toEqual([null, null]);
    expect(kept("requires: { x: { after: [look], same: [resource.id, inputs.d], where: 'prior.outputs.o == 1' } }")).toEqual([
      1_000_000_000,
      {
        paths: [
          ["inputs", "d"],
          ["resource", "id"],
          ["outputs", "o"],
        ],
        inputs: { d: 2 },
        outputs: { o: 1 },
        resource: { type: "t", id: "i" },
        loopKeys: [],
      },
    ]);
    expect(
      kept("{ loops: { threshold: 2, window_seconds: 10 }, rules: [{ effect: forbid, actions: [x], when: \"sum('look', 'inputs.d', 5) > 1.0\" }] }"),
    ).toEqual([10_500, { paths: [["inputs", "d"]], inputs: { d: 2 }, loopKeys: [expect.stringMatching(/^sha-256:/)] }]);
  });
});

it("entries of every kind above stand in canonical order from the start", () => {
  const playing = new Playing(
    "{ budgets: { session: 1, alerts: [0.5], default_price: 0.1 }, wind_down: { actions: [x], budget: 1 }, redact: { detect: [email] }, rules: [{ id: w, effect: forbid, actions: [x], mode: warn }] }",
  );
  const first = playing.decide(requestOf("x", { usd: "0.9", in: { a: 1 } as JsonValue }), 0);
  const second = playing.decide(requestOf("x", { price: { basis: "none", data: "d", known: false }, usd: "0", in: {} }), 0);
  const third = playing.decide(requestOf("x", { usd: "0.5", ttl: 1 }), 0);
  playing.topup(first.id, "1", 0);
  playing.commit(first.id, { outputs: {}, usage: {} }, 0);
  playing.release(second.id, 0, "why");
  playing.turn(1, () => undefined);
  expect(third.verdict).toBe("allow");
  expect(new Set(playing.ledger.map(({ entry }) => entry.kind))).toEqual(new Set(["decision", "commit", "release", "expiry"]));
  for (const { entry, canonical } of playing.ledger) {
    expect(JSON.stringify(entry)).toBe(canonical);
    expect(canonicalJson(entry)).toBe(canonical);
  }
});

it("what the policy says for auditors stands in every entry of what it allowed, and of what it denied", () => {
  const playing = new Playing(
    "{ compliance: { risk_level: high_risk, system: support-bot, oversight: named-team }, denied_actions: [no], budgets: { session: 9 } }",
  );
  playing.decide(requestOf("no"), 0);
  const [first, second, third] = [5, 100, 100].map((ttl) => playing.decide(requestOf("x", { usd: "0.1", ttl }), 0));
  if (first === undefined || second === undefined || third === undefined) throw new Error("three were asked");
  playing.topup(second.id, "0.2", 0);
  playing.commit(second.id, {}, 0);
  playing.release(third.id, 0);
  playing.turn(5, () => undefined);
  expect(playing.ledger.map(({ entry }) => entry.kind)).toEqual([
    "decision",
    "decision",
    "decision",
    "decision",
    "decision",
    "commit",
    "release",
    "expiry",
  ]);
  for (const { entry } of playing.ledger) {
    expect(entry.compliance_metadata).toEqual({ oversight: "named-team", risk_level: "high_risk", system: "support-bot" });
  }
});
