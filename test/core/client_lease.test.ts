import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accountOf, type Book, freeOf, spentOf } from "../../src/core/book.ts";
import { type ClientLease, MOST_OPEN_LEASES, MOST_UNTOLD_LEASES } from "../../src/core/client_lease.ts";
import type { LeaseReason } from "../../src/core/decision.ts";
import { eventsOf } from "../../src/core/events.ts";
import { type Granting, judgeLease, type LeaseAsk, lapseOf } from "../../src/core/grant_lease.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { type MicroUsd, microUsdOf } from "../../src/core/money.ts";
import type { Order } from "../../src/core/orders.ts";
import type { BudgetLimit, Findings } from "../../src/core/policy/findings.ts";
import { settleLease } from "../../src/core/settle_lease.ts";
import { standAlone } from "../../src/core/shares.ts";
import { happen } from "../../src/core/turn.ts";
import { Playing, PRINCIPAL, REF, RUN, reportOf, requestOf, SECOND_RUN, usd } from "./playing.ts";

const granted = (granting: Granting): ClientLease => {
  if (granting.kind !== "granted") throw new Error(`not granted: ${JSON.stringify(granting)}`);
  return granting.lease;
};

const told = (action: string, cost: string) => ({ request: requestOf(action, { usd: cost }), cost: usd(cost) });

const sums = ({ total }: Book) => [total.leasedMicroUsd, total.pendingMicroUsd, total.postedMicroUsd, total.overrunMicroUsd].map((sum) => sum / 1e6);

describe("whether a lease is granted", () => {
  const playing = () => new Playing({ budgets: { session: "10", run: "5" }, denied_actions: ["pay"] });
  const order = (target: Order["target"], id: string): Order => ({
    target,
    id,
    state: "killed",
    intervention: "int_00000000-0000-7000-8000-000000000001",
    at: 0,
  });

  /** The reason for which it is not, where everything else is well; `null`: it is. */
  function reasonOf(change: (ask: LeaseAsk, playing: Playing) => LeaseAsk): LeaseReason | null {
    const session = playing();
    const ask: LeaseAsk = {
      request: {
        id: "lse_00000000-0000-7000-8000-000000000001",
        run: null,
        actions: ["search*"],
        amountMicroUsd: usd("1"),
        ttlMs: 1_000,
        endsBy: 1_000_000,
      },
      principal: PRINCIPAL,
      lease: { fresh: true, policy: REF, orders: [] },
      evaluation: { kind: "findings", findings: session.leaseFindings(["search*"], usd("1")) },
      allowed: true,
      tenant: "heard",
    };
    const judged = judgeLease(session.book, change(ask, session), 0);
    return judged.kind === "refused" ? judged.reason : null;
  }

  it.each<readonly [string, string, (ask: LeaseAsk, playing: Playing) => LeaseAsk]>([
    ["granted", "nothing stands against it", (ask) => ask],
    [
      "session_closed",
      "the session is closed",
      (ask, { book }) => {
        book.closed = true;
        return ask;
      },
    ],
    ["run_closed", "the run is not the session's", (ask) => ({ ...ask, request: { ...ask.request, run: SECOND_RUN } })],
    ["agent_killed", "its agent was killed", (ask) => ({ ...ask, lease: { ...ask.lease, orders: [order("agent", "bot")] } })],
    [
      "action_killed",
      "something that it is for was killed by name",
      (ask) => ({ ...ask, lease: { ...ask.lease, orders: [order("action", "*_web")] } }),
    ],
    ["granted", "something else was", (ask) => ({ ...ask, lease: { ...ask.lease, orders: [order("action", "pay*")] } })],
    ["authority_stale", "the session's own lease lapsed", (ask) => ({ ...ask, lease: { ...ask.lease, fresh: false } })],
    ["policy_missing", "no policy is in force", (ask) => ({ ...ask, lease: { ...ask.lease, policy: null }, evaluation: null })],
    ["policy_invalid", "the policy cannot be read", (ask) => ({ ...ask, evaluation: { kind: "invalid", policy: REF } })],
    ["policy_invalid", "nothing is known of the policy", (ask) => ({ ...ask, evaluation: null })],
    ["not_leasable", "the tenant's settings say no", (ask) => ({ ...ask, allowed: false })],
    [
      "action_denied",
      "the policy denies some of it",
      (ask, session) => ({ ...ask, evaluation: { kind: "findings", findings: session.leaseFindings(["p*"], usd("1")) } }),
    ],
    ["run_budget_exceeded", "it is more than is left", (ask) => ({ ...ask, request: { ...ask.request, amountMicroUsd: usd("5.000001") } })],
    ["granted", "it is all that is left", (ask) => ({ ...ask, request: { ...ask.request, amountMicroUsd: usd("5") } })],
  ])("%s: %s", (code, _what, change) => {
    expect(reasonOf(change)?.code ?? "granted").toBe(code);
  });

  const BY_DECISIONS = "Ask for a decision about each of these actions.";

  it.each<readonly [string, (ask: LeaseAsk, playing: Playing) => LeaseAsk, Omit<LeaseReason, "retryAfterMs">]>([
    [
      "the tenant's settings say no",
      (ask) => ({ ...ask, allowed: false }),
      { code: "not_leasable", message: "The tenant's settings let nobody decide by leases.", rule: null, hint: BY_DECISIONS },
    ],
    [
      "the policy denies some of it",
      (ask, session) => ({ ...ask, evaluation: { kind: "findings", findings: session.leaseFindings(["p*"], usd("1")) } }),
      { code: "action_denied", message: 'The policy denies "pay".', rule: "/denied_actions", hint: "Ask for actions that the policy allows." },
    ],
    [
      "the policy must see each call",
      (ask, session) => {
        session.use("loops: { threshold: 2, window_seconds: 1 }");
        return { ...ask, evaluation: { kind: "findings", findings: session.leaseFindings(["search*"], usd("1")) } };
      },
      { code: "not_leasable", message: 'The policy\'s "/loops" counts calls that are alike.', rule: "/loops", hint: BY_DECISIONS },
    ],
  ])("is told whole where it is not: %s", (_, change, told) => {
    expect(reasonOf(change)).toEqual({ ...told, retryAfterMs: null });
  });

  it.each([
    ["the session's current one", null, SECOND_RUN],
    ["another", RUN, RUN],
  ] as const)("in the run that it is asked for, which is on record: %s", (_, asked, run) => {
    const session = playing();
    session.openRun(SECOND_RUN, 0);
    expect(granted(session.grantLease(["search"], usd("1"), 0, 100, asked)).run).toBe(run);
    expect(session.grantLease(["pay"], usd("1"), 0, 100, asked).kind).toBe("refused");
    expect(session.ledger.map(({ entry }) => [entry.kind, entry.run_id])).toEqual([
      ["lease", run],
      ["lease", run],
    ]);
  });

  it.each<readonly [string, readonly Order[], (session: Playing, lease: ClientLease) => void, string, (asked: string) => string, string]>([
    [
      "was spent from",
      [],
      (session, { id }) => session.settleLease(id, [told("search", "0.1")], false, 1),
      "lease_used",
      (asked) => `${asked} and was spent from since.`,
      "Ask for another under a new Idempotency-Key.",
    ],
    [
      "was settled",
      [],
      (session, { id }) => session.settleLease(id, [], true, 1),
      "lease_used",
      (asked) => `${asked} and was settled since.`,
      "Ask for another under a new Idempotency-Key.",
    ],
    [
      "has run out",
      [],
      (session) => session.turn(100, () => undefined),
      "lease_used",
      (asked) => `${asked} and has expired since.`,
      "Ask for another under a new Idempotency-Key.",
    ],
    [
      "is of a run that was closed",
      [],
      (session) => session.turn(1, (turn) => happen(turn, { kind: "run_closed", run: RUN })),
      "run_closed",
      (asked) => `The run is closed. ${asked} before that: settle it to give back what it holds.`,
      "Start a new run.",
    ],
    [
      "is for something that was killed by name",
      [order("action", "*_web")],
      () => undefined,
      "action_killed",
      (asked) => `The action "*_web" was killed. ${asked} before that: settle it to give back what it holds.`,
      "A person must revive it first. Do not try to go on another way.",
    ],
  ])("is not answered again as one to decide with, where it %s", (_, orders, happens, code, message, hint) => {
    const session = playing();
    const lease = granted(session.grantLease(["search*"], usd("1"), 0, 100));
    const stands = { fresh: true, policy: REF, orders: [] };
    expect(lapseOf(session.book, lease, stands, 0)).toBeNull();
    happens(session, lease);
    const now = session.leases.get(lease.id) ?? lease;
    const asked = `The lease "${lease.id}" was granted under this Idempotency-Key`;
    expect(lapseOf(session.book, now, { ...stands, orders }, 1)).toEqual({ code, message: message(asked), rule: null, retryAfterMs: null, hint });
  });

  it("asks the tenant first for what the session lacks of shared money, and takes nothing meanwhile", () => {
    const session = new Playing({ budgets: { tenant: { day: "10" } } });
    const granting = session.grantLease(["search"], usd("3"), 0);
    expect(granting).toMatchObject({
      kind: "short",
      shorts: [{ kind: "money", amountMicroUsd: 3_000_000, limit: { scope: "tenant", window: "day" } }],
    });
    expect([session.ledger.length, ...sums(session.book)]).toEqual([0, 0, 0, 0, 0]);
  });

  it("so many at once, and so many that ran out without a word", () => {
    const session = new Playing({ budgets: { session: "100" } });
    let now = 0;
    for (let n = 0; n < MOST_UNTOLD_LEASES; n++) {
      if (n % MOST_OPEN_LEASES === 0) now += 1_000;
      granted(session.grantLease(["search"], usd("0.1"), now, 1_000));
    }
    expect(session.grantLease(["search"], usd("0.1"), now)).toMatchObject({
      kind: "refused",
      reason: {
        code: "concurrency_exceeded",
        message: `${MOST_OPEN_LEASES} leases of one session may be open at once, and as many are.`,
        hint: "Settle one.",
      },
    });
    now += 1_000;
    expect(session.grantLease(["search"], usd("0.1"), now)).toMatchObject({
      kind: "refused",
      reason: {
        code: "concurrency_exceeded",
        message: `${MOST_UNTOLD_LEASES} leases of this session have run out, and nobody has said what was spent with them.`,
        hint: "Settle them.",
      },
    });
    const [first] = session.leases.keys();
    if (first === undefined) throw new Error("some were granted");
    session.settleLease(first, [], true, now);
    expect(session.grantLease(["search"], usd("0.1"), now).kind).toBe("granted");
  });
});

describe("what becomes of a lease", () => {
  const LEASED = { session: "10", actions: { "s*": "10" } };

  it.each<readonly [string, string, (session: Playing, lease: ClientLease) => void, readonly number[]]>([
    ["spent below", "post", (session, { id }) => session.settleLease(id, [told("search", "1")], false, 1), [2, 0, 1, 0]],
    ["spent to the end", "post", (session, { id }) => session.settleLease(id, [told("search", "3")], true, 1), [0, 0, 3, 0]],
    ["spent above", "post", (session, { id }) => session.settleLease(id, [told("search", "2"), told("search", "2")], true, 1), [0, 0, 4, 1]],
    ["given back", "post", (session, { id }) => session.settleLease(id, [], true, 1), [0, 0, 0, 0]],
    [
      "given back and told of later",
      "post",
      (session, { id }) => {
        session.settleLease(id, [], true, 1);
        session.settleLease(id, [told("search", "2")], true, 2);
      },
      [0, 0, 2, 0],
    ],
    ["run out", "post", (session) => session.turn(100, () => undefined), [0, 0, 3, 0]],
    ["run out, under a policy that says release", "release", (session) => session.turn(100, () => undefined), [0, 0, 0, 0]],
    ["run out, and told of", "post", (session, { id }) => session.settleLease(id, [told("search", "1")], true, 100), [0, 0, 1, 0]],
    ["run out, and told of in part", "post", (session, { id }) => session.settleLease(id, [told("search", "1")], false, 100), [0, 0, 3, 0]],
    ["run out, and told of above", "post", (session, { id }) => session.settleLease(id, [told("search", "4")], true, 100), [0, 0, 4, 1]],
    [
      "released, and told of while it is free",
      "release",
      (session, { id }) => session.settleLease(id, [told("search", "2")], true, 100),
      [0, 0, 2, 0],
    ],
    [
      "released, and told of when it is free no more",
      "release",
      (session, { id }) => {
        session.decide(requestOf("search", { usd: "9" }), 100);
        session.settleLease(id, [told("search", "2")], true, 100);
      },
      [0, 9, 2, 1],
    ],
    [
      "told of twice",
      "post",
      (session, { id }) => {
        const one = told("search", "2");
        for (const now of [1, 2, 101]) session.settleLease(id, [one], true, now);
      },
      [0, 0, 2, 0],
    ],
  ])("%s (%s)", (_what, on_expiry, happens, [leased, pending, posted, overrun]) => {
    const session = new Playing({ budgets: { ...LEASED, on_expiry } });
    happens(session, granted(session.grantLease(["search*"], usd("3"), 0, 100)));
    expect(sums(session.book)).toEqual([leased, pending, posted, overrun]);
    demandWhole(session, [{ scope: "session", limitMicroUsd: usd("10") }]);
  });

  it.each<readonly [string, number]>([
    ["search", 3],
    ["search_web", 3],
    ["s*", 3],
    ["*", 3],
    ["pay", 0],
    ["*_mail", 3],
    ["pay*", 0],
  ])("counts against the budget of every action that it may be spent on, and of no other: %s, %d", (pattern, leased) => {
    const session = new Playing({ budgets: LEASED });
    granted(session.grantLease(["search*"], usd("3"), 0, 100));
    const account = accountOf(session.book, { scope: "action", pattern, limitMicroUsd: usd("10") }, RUN);
    expect([account.leasedMicroUsd, account.pendingMicroUsd, account.postedMicroUsd]).toEqual([leased * 1_000_000, 0, 0]);
  });

  /** What is told of an action, beside how it was found. */
  const action = (cost: MicroUsd, findings: Findings | null) => {
    const request = requestOf("search", { usd: "1" });
    return { pointer: "/entries/0", request, report: { ...reportOf(), costMicroUsd: cost }, decidedAt: null, fingerprint: "", findings, known: null };
  };

  it("makes of what was done a decision that names the lease, and counts it for the rates of a policy that came later", () => {
    const session = new Playing({ budgets: LEASED });
    const lease = granted(session.grantLease(["search*"], usd("3"), 0));
    const told = action(usd("1"), null);
    const later = new Playing({ rate_limits: { "search*": { max_count: 5, window_seconds: 60 } } });
    const counted = { ...action(usd("1"), null), findings: later.findings(told.request, 7) };
    session.turn(7, (turn) => settleLease(turn, lease, { actions: [told, counted], final: false, principal: PRINCIPAL }));
    const { decision } = session.record(told.request.id);
    expect(decision).toMatchObject({
      verdict: "allow",
      reason: { code: "permitted", message: `It was decided with the lease "${lease.id}".` },
      rates: [],
    });
    const rates = [{ name: expect.any(String), per: "session", limit: 5, remaining: 4, windowMs: 60_000, resetMs: 60_000 }];
    expect(session.record(counted.request.id).decision.rates).toEqual(rates);
    const said = session.ledger.flatMap(({ entry }) => (entry.decision_id === counted.request.id && entry.step === "decide" ? entry.rates : []));
    expect(said).toMatchObject([{ limit: 5, remaining: 4, per: "session" }]);
  });

  it.each<readonly [string, string, number, readonly (readonly [at: number, usd: string])[]]>([
    ["from what was granted, when that was", "1", 50, [[0, "1"]]],
    ["above it, only what was granted", "4", 50, [[0, "3"]]],
    ["of nothing, nowhere", "0", 50, []],
    ["after its end, what went back, when it is taken again", "2", 100, [[100, "2"]]],
  ])("is spent in the spans in which it is: %s", (_, cost, now, pieces) => {
    const session = new Playing({ budgets: { ...LEASED, on_expiry: "release" } });
    const { id } = granted(session.grantLease(["search*"], usd("3"), 0, 100));
    const one = told("search", cost);
    session.settleLease(id, [one], false, now);
    const spent = session.decided.find(({ decision }) => decision.id === one.request.id)?.pieces;
    expect(spent).toEqual(pieces.map(([at, sum]) => ({ at, microUsd: usd(sum) })));
  });

  it("of more than can be told exactly is refused, to the millionth", () => {
    const settled = (cost: number) => {
      const session = new Playing({ version: 1 });
      const lease = granted(session.grantLease(["search*"], usd("3"), 0));
      return session.turn(1, (turn) => settleLease(turn, lease, { actions: [action(microUsdOf(cost), null)], final: false, principal: PRINCIPAL }));
    };
    // What is leased out counts beside it.
    expect(settled(Number.MAX_SAFE_INTEGER - usd("3")).ok).toBe(true);
    expect(settled(Number.MAX_SAFE_INTEGER - usd("3") + 1).ok).toBe(false);
    const session = new Playing({ version: 1 });
    const lease = granted(session.grantLease(["search*"], usd("3"), 0));
    const both = [action(microUsdOf(1), null), { ...action(microUsdOf(Number.MAX_SAFE_INTEGER), null), pointer: "/entries/1" }];
    const refused = session.turn(1, (turn) => settleLease(turn, lease, { actions: both, final: false, principal: PRINCIPAL }));
    expect(refused).toMatchObject({ ok: false, error: { code: "money_precision", issues: [{ pointer: "/entries/1/cost_usd" }] } });
  });

  it("is written down, in canonical order, and told as events under names of its own", () => {
    const session = new Playing({ budgets: { session: "10", alerts: [0.2] } });
    const one = granted(session.grantLease(["search*"], usd("3"), 0, 100));
    session.settleLease(one.id, [told("search", "1")], false, 1);
    session.grantLease(["search*"], usd("30"), 2);
    session.turn(100, () => undefined);
    session.settleLease(one.id, [told("search", "1")], true, 101);
    for (const { entry, canonical } of session.ledger) {
      expect(JSON.stringify(entry)).toBe(canonical);
      expect(canonicalJson(JSON.parse(canonical))).toBe(canonical);
    }
    expect(session.ledger.flatMap(({ entry, hash }, place) => eventsOf(entry, hash, place)).map(({ type }) => type)).toEqual([
      "lease.granted",
      "budget.threshold",
      "decision.allow",
      "decision.commit",
      "lease.settled",
      "lease.refused",
      "lease.expired",
      "decision.allow",
      "decision.commit",
      "lease.settled",
    ]);
    expect(session.ledger.map(({ entry }) => [entry.kind, entry.cost_usd, entry.corrected_usd, entry.late])).toEqual([
      ["lease", "0", "0", false],
      ["decision", "0", "0", false],
      ["commit", "1", "0", false],
      ["lease", "0", "0", false],
      ["lease", "0", "0", false],
      ["expiry", "2", "0", false],
      ["decision", "0", "0", true],
      ["commit", "1", "0", true],
      ["lease", "0", "2", true],
    ]);
  });

  it("is about what the lease was about, where no policy can be asked any more", () => {
    const session = new Playing({ budgets: { ...LEASED, on_expiry: "release" }, redact: { detect: ["email"] }, compliance: { system: "s" } });
    const lease = granted(session.grantLease(["search"], usd("3"), 0));
    const request = { ...requestOf("search", { usd: "1", tags: ["t"], risk: "high", in: { to: "a@example.org" } }), rationale: "for a@example.org" };
    const report = { ...reportOf(), costMicroUsd: usd("1") };
    const action = { pointer: "/entries/0", request, report, decidedAt: null, fingerprint: "", findings: null, known: null };
    session.turn(1, (turn) => settleLease(turn, lease, { actions: [action], final: false, principal: PRINCIPAL }));
    expect(session.record(request.id)).toMatchObject({
      state: "posted",
      postedMicroUsd: usd("1"),
      matter: {
        run: RUN,
        action: "search",
        tags: ["t"],
        riskLevel: "high",
        policy: REF,
        fund: "budgets",
        limits: lease.limits,
        alerts: [],
        keepOutputs: [],
        asked: null,
        onExpiry: "release",
        compliance: { system: "s" },
      },
    });
    const decided = session.ledger.find(({ entry }) => entry.kind === "decision");
    expect([decided?.entry.rationale, decided?.payload?.inputs]).toEqual(["for [redacted:email]", { to: "[redacted:email]" }]);
    // Nothing of it is kept to be looked back at.
    session.use({ requires: { pay: { after: ["search"], same: ["inputs.to"] } } });
    expect(session.decide(requestOf("pay", { in: { to: "a@example.org" } }), 2).verdict).toBe("deny");
  });

  it.each<readonly [string, (session: Playing, lease: ClientLease) => void]>([
    ["its grant", () => undefined],
    ["what was told of it", (session, { id }) => session.settleLease(id, [told("search", "1")], false, 1)],
    ["its settling", (session, { id }) => session.settleLease(id, [], true, 1)],
    ["its end", (session) => session.turn(100, () => undefined)],
  ])("is kept with the last entry about it: that of %s", (_, happens) => {
    const session = new Playing({ budgets: LEASED });
    const lease = granted(session.grantLease(["search"], usd("3"), 0, 100));
    happens(session, lease);
    const last = session.ledger.at(-1);
    expect(session.leases.get(lease.id)?.entry).toEqual({ id: last?.entry.id, seq: last?.entry.seq, hash: last?.hash });
  });

  it("ends at its own time, also where another has ended before", () => {
    const session = new Playing({ budgets: LEASED });
    const ids = [100, 200].map((ttl) => granted(session.grantLease(["search"], usd("3"), 0, ttl)).id);
    const states = [99, 100, 199, 200].map((now) => {
      session.turn(now, () => undefined);
      return ids.map((id) => session.leases.get(id)?.state);
    });
    expect(states).toEqual([
      ["open", "open"],
      ["expired", "open"],
      ["expired", "open"],
      ["expired", "expired"],
    ]);
  });

  it("ends before another that was granted earlier and runs longer, where both have run out unseen", () => {
    const session = new Playing({ budgets: LEASED });
    const [long, short] = [200, 100].map((ttl) => granted(session.grantLease(["search"], usd("3"), 0, ttl)).id);
    session.turn(300, () => undefined);
    const ended = session.ledger.flatMap(({ entry }) => (entry.kind === "expiry" ? [entry.details] : []));
    expect(ended).toMatchObject([{ lease: short }, { lease: long }]);
  });

  it("ends once, however often that is said", () => {
    const session = new Playing({ budgets: LEASED });
    const { id } = granted(session.grantLease(["search"], usd("3"), 0));
    const lengths = [1, 2, 3].map((now) => {
      session.settleLease(id, [], true, now);
      return session.ledger.length;
    });
    expect(lengths).toEqual([2, 2, 2]);
  });

  it.each([
    ["budgets: { session: 1 }", "session_budget_exceeded", null],
    ["loops: { threshold: 2, window_seconds: 1 }", null, "/loops"],
  ])("that is refused is on record with its reason, where decisions have such a one: %s", (policy, reason, rule) => {
    const session = new Playing(policy);
    expect(session.grantLease(["search"], usd("3"), 0).kind).toBe("refused");
    expect(session.ledger.map(({ entry }) => [entry.kind, entry.reason, entry.rule])).toEqual([["lease", reason, rule ?? "/budgets/session"]]);
  });

  it("is a decision as any other, which nothing was said against", () => {
    const session = new Playing({ budgets: LEASED });
    session.settleLease(granted(session.grantLease(["search*"], usd("3"), 0)).id, [told("search", "1")], false, 1);
    expect(
      session.decided.map(({ decision: { verdict, stops, warnings, advice, approval } }) => [verdict, stops, warnings, advice, approval]),
    ).toEqual([["allow", null, [], [], null]]);
  });

  it("of an action that the lease is not for, or of an id with another body, is refused with its place, and nothing is done", () => {
    const session = new Playing({ budgets: LEASED });
    const { id } = granted(session.grantLease(["search*", "find"], usd("3"), 0));
    const first = told("search", "1");
    session.settleLease(id, [first], false, 1);
    const before = session.ledger.length;
    expect(session.settleLease(id, [told("search", "1"), told("pay", "1")], true, 2)).toMatchObject({
      error: {
        code: "body_invalid",
        detail: `The lease "${id}" is not for "pay".`,
        issues: [{ pointer: "/entries/1/action", message: 'must be one of "search*", "find", found "pay"' }],
      },
    });
    expect(session.settleLease(id, [{ ...first, cost: usd("2") }], true, 2)).toMatchObject({
      error: {
        code: "idempotency_mismatch",
        detail: `The decision "${first.request.id}" was told or asked before with another body.`,
        issues: [{ pointer: "/entries/0/id" }],
      },
    });
    const rest = told("search", "9007199254.740991");
    expect(session.settleLease(id, [rest], true, 2)).toMatchObject({
      error: {
        code: "money_precision",
        detail: "The session's sum would be beyond 9007199254.740991 USD and could not be told exactly.",
        issues: [{ pointer: "/entries/0/cost_usd", message: "would take the session's sum beyond 9007199254.740991 USD" }],
      },
    });
    expect([session.ledger.length, ...sums(session.book)]).toEqual([before, 2, 0, 1, 0]);
  });

  it("is counted against the limits of the policy that is in force when it is told of", () => {
    const session = new Playing({ budgets: { session: "10" } });
    const { id } = granted(session.grantLease(["search"], usd("3"), 0));
    session.use({ budgets: { session: "20", run: "5" } });
    const one = told("search", "1");
    session.settleLease(id, [one], true, 1);
    const { decision, matter } = session.record(one.request.id);
    const limits = { run: usd("5"), session: usd("20") };
    expect(Object.fromEntries(decision.budgets.map(({ scope, limitMicroUsd }) => [scope, limitMicroUsd]))).toEqual(limits);
    expect(Object.fromEntries(matter?.limits.map(({ scope, limitMicroUsd }) => [scope, limitMicroUsd]) ?? [])).toEqual(limits);
  });

  it("is looked back at by the policy that is in force when it is told of", () => {
    const session = new Playing({ budgets: LEASED });
    const { id } = granted(session.grantLease(["search"], usd("3"), 0));
    session.use({ requires: { pay: { after: ["search"], same: ["inputs.id"] } } });
    session.settleLease(id, [{ request: requestOf("search", { usd: "1", in: { id: 1 } }), cost: usd("1") }], true, 1);
    expect([1, 2].map((known) => session.decide(requestOf("pay", { in: { id: known } }), 2).verdict)).toEqual(["allow", "deny"]);
  });
});

/** What holds of a book with leases at every step. */
function demandWhole(session: Playing, limits: readonly BudgetLimit[]): void {
  const { book, ledger, leases } = session;
  const all = [...leases.values()];
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  const held = (state: ClientLease["state"]): number => sum(all.filter((lease) => lease.state === state).map(({ heldMicroUsd }) => heldMicroUsd));
  for (const limit of limits) {
    const account = accountOf(book, limit, RUN);
    const excess = Math.max(0, spentOf(account) - limit.limitMicroUsd);
    expect(limit.limitMicroUsd + excess).toBe(
      freeOf(account, limit.limitMicroUsd) + account.leasedMicroUsd + account.pendingMicroUsd + account.postedMicroUsd,
    );
    // Only what an overrun names is ever above a limit.
    expect(excess).toBeLessThanOrEqual(account.overrunMicroUsd);
  }
  for (const lease of all)
    expect(lease.amountMicroUsd).toBe(lease.heldMicroUsd + lease.returnedMicroUsd + lease.postedMicroUsd - lease.overrunMicroUsd);
  const { total } = book;
  expect(total.leasedMicroUsd).toBe(held("open"));
  expect(held("settled")).toBe(0);
  const actions = [...book.actions.values()];
  expect(total.postedMicroUsd).toBe(sum(actions.map(({ postedMicroUsd }) => postedMicroUsd)) + held("expired"));
  expect(total.pendingMicroUsd).toBe(sum(actions.map(({ pendingMicroUsd }) => pendingMicroUsd)));
  expect(book.runs.get(RUN)?.account).toEqual(total);
  const micro = (text: string): MicroUsd => usd(text);
  expect(sum(ledger.map(({ entry }) => micro(entry.cost_usd) - micro(entry.corrected_usd)))).toBe(total.postedMicroUsd);
  expect(sum(ledger.map(({ entry }) => micro(entry.overrun_usd)))).toBe(total.overrunMicroUsd);
  const always = book.shares.spans.find(({ window }) => window === "total");
  expect([always?.pendingMicroUsd, always?.postedMicroUsd]).toEqual([total.pendingMicroUsd + total.leasedMicroUsd, total.postedMicroUsd]);
}

const ACTIONS = ["a", "ab", "b"] as const;
const GLOBS = [["a"], ["a*"], ["*b", "b"], ["*"]] as const;
const LIMITS: readonly BudgetLimit[] = [
  { scope: "action", pattern: "a", limitMicroUsd: microUsdOf(300) },
  { scope: "action", pattern: "a*", limitMicroUsd: microUsdOf(500) },
  { scope: "action", pattern: "*b", limitMicroUsd: microUsdOf(400) },
  { scope: "run", limitMicroUsd: microUsdOf(800) },
  { scope: "session", limitMicroUsd: microUsdOf(900) },
  { scope: "agent", window: "total", limitMicroUsd: microUsdOf(850) },
];
const LAW_POLICY = (on_expiry: string) => ({
  budgets: {
    actions: { a: "0.0003", "a*": "0.0005", "*b": "0.0004" },
    run: "0.0008",
    session: "0.0009",
    agent: { total: "0.00085" },
    on_expiry,
  },
});

it("money is conserved under any grants, spends, settlements, endings and decisions, and only a named overrun ever passes a limit", () => {
  const amount = fc.integer({ min: 1, max: 400 });
  const action = fc.constantFrom(...ACTIONS);
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant("grant" as const), globs: fc.constantFrom(...GLOBS), amount, ttl: fc.integer({ min: 1, max: 40 }) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("decide" as const), action, amount, ttl: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("commit" as const), which: fc.nat(), amount }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant("settle" as const),
        which: fc.nat(),
        spends: fc.array(fc.record({ action, amount: fc.integer({ min: 0, max: 300 }) }), { maxLength: 3 }),
        final: fc.boolean(),
        twice: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: -5, max: 30 }) }) },
  );
  const seen = { granted: 0, late: 0, overrun: 0, refused: 0 };
  fc.assert(
    fc.property(fc.constantFrom("post", "release"), fc.array(step, { maxLength: 40, size: "max" }), (on_expiry, steps) => {
      const session = new Playing(LAW_POLICY(on_expiry));
      standAlone(session.book.shares, { budgets: LIMITS, rates: [] }, 0);
      let now = 0;
      for (const one of steps) {
        switch (one.do) {
          case "grant": {
            const granting = session.grantLease(one.globs, microUsdOf(one.amount), now, one.ttl);
            seen[granting.kind === "granted" ? "granted" : "refused"]++;
            break;
          }
          case "decide":
            session.decide({ ...requestOf(one.action, { ttl: one.ttl }), estimateMicroUsd: microUsdOf(one.amount) }, now);
            break;
          case "commit": {
            const ids = [...session.records.values()].map(({ decision }) => decision.id);
            const id = ids[one.which % Math.max(1, ids.length)];
            if (id !== undefined) session.commit(id, { costMicroUsd: microUsdOf(one.amount) }, now);
            break;
          }
          case "settle": {
            const ids = [...session.leases.keys()];
            const id = ids[one.which % Math.max(1, ids.length)];
            if (id === undefined) break;
            const spends = one.spends.map((spend) => ({ request: requestOf(spend.action), cost: microUsdOf(spend.amount) }));
            const first = session.settleLease(id, spends, one.final, now);
            if (first.ok && first.value.late) seen.late++;
            if (first.ok && first.value.lease.overrunMicroUsd > 0) seen.overrun++;
            if (!one.twice || !first.ok) break;
            // Told again, it changes nothing.
            const before = [canonicalJson({ ...session.book.total }), session.ledger.length];
            const again = session.settleLease(id, spends, one.final, now);
            expect(again).toMatchObject({ ok: true, value: { accepted: 0, duplicates: spends.length } });
            expect([canonicalJson({ ...session.book.total }), session.ledger.length]).toEqual(before);
            break;
          }
          case "wait":
            now += one.ms;
            session.turn(now, () => undefined);
        }
        demandWhole(session, LIMITS);
      }
    }),
    { numRuns: 200 },
  );
  // The histories are not all of one kind.
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(20);
});
