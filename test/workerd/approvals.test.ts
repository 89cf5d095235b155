import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { Approval, Edits } from "../../src/core/approvals.ts";
import type { Decision } from "../../src/core/decision.ts";
import type { ApprovalId } from "../../src/core/ids.ts";
import type { InterventionKind } from "../../src/core/orders.ts";
import type { ActionRequest, Principal } from "../../src/core/request.ts";
import { answerApproval, answerMany, cancelApproval, readApproval, respondToApproval } from "../../src/flow/approve.ts";
import { decide } from "../../src/flow/decide.ts";
import { intervene } from "../../src/flow/intervene.ts";
import { openRun } from "../../src/flow/open_run.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { SILENCES, silentOnce } from "./silence.ts";
import { asked, commitOf, decideMany, decideOne, got, newSession, newTenant, ports, readOf, refusalOf, usd } from "./world.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
});

afterEach(() => {
  vi.useRealTimers();
});

const PAY = "approvals: { actions: [pay, refund], timeout_seconds: 600 }\nbudgets: { session: 100 }";
const ASKED = { inputs: { to: "acct_1", amount: 30 }, resource: { type: "account", id: "acct_1" }, estimateMicroUsd: usd("30") } as const;

/** A tenant with people, an agent that waits for them, and objects that lose their memory between every two steps. */
async function desk(policy = PAY) {
  const { tenant, agent, operator, put } = await newTenant(policy);
  const session = await newSession(agent);
  const person = (subject: string): Principal => ({ ...operator, subject });
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    await abortAllDurableObjects();
    return work();
  };
  const ask = (more: Partial<ActionRequest> = {}, action = "pay", where = session): Promise<Decision> =>
    step(() => decideOne(agent, where, action, { ...ASKED, ...more }));
  const hold = async (more: Partial<ActionRequest> = {}, action = "pay"): Promise<ApprovalId> => {
    const held = await ask(more, action);
    expect([held.verdict, held.reason.code]).toEqual(["hold", "approval_required"]);
    if (held.approval === null) throw new Error("a hold names its approval");
    return held.approval.id;
  };
  const read = async (id: ApprovalId, who: Principal = operator): Promise<Approval> => got(await step(() => readApproval(ports, who, id))).approval;
  const answerAs = async (
    who: Principal,
    id: ApprovalId,
    decision: "approve" | "reject" | "request_info",
    more: { readonly digest?: Approval["digest"]; readonly note?: string; readonly edits?: Edits; readonly scopes?: readonly string[] } = {},
  ) => {
    const digest = more.digest ?? (await read(id)).digest;
    // Scopes of an issuer of the tenant's own may be any text.
    const scopes = (more.scopes ?? ["approvals:write"]) as Parameters<typeof answerApproval>[2];
    return step(() => answerApproval(ports, who, scopes, id, { decision, note: more.note ?? null, digest, edits: more.edits ?? null }));
  };
  const answer = (subject: string, id: ApprovalId, decision: "approve" | "reject" | "request_info", more: Parameters<typeof answerAs>[3] = {}) =>
    answerAs(person(subject), id, decision, more);
  const events = async (): Promise<string[]> => {
    const page = got(await step(() => listEntries(ports, tenant, { session, kind: "approval" }, { limit: 1000, cursor: null })));
    return page.items.map(({ canonical }) => JSON.parse(canonical).details.event as string).reverse();
  };
  return { tenant, agent, operator, put, session, person, step, ask, hold, read, answer, answerAs, events };
}

const reasonOf = ({ verdict, reason }: Decision): string => (verdict === "deny" ? reason.code : verdict);

const wait = (ms: number) => vi.setSystemTime(Date.now() + ms);

describe("the action-bound approval protocol, with memory lost between every two steps", () => {
  it("1: what is held does not run before somebody has approved it", async () => {
    const { ask, hold, read, session, agent } = await desk();
    const id = await hold();
    const again = await ask({ approval: id });
    expect([again.verdict, again.approval?.id]).toEqual(["hold", id]);
    expect((await read(id)).status).toBe("pending");
    expect(refusalOf(await commitOf(agent, session, again.id, "1"))).toBe("decision_settled");
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(0);
  });

  it("2: an approval of one thing does not run another", async () => {
    const { ask, hold, answer } = await desk();
    const [a, b] = [await hold(), await hold({ inputs: { to: "acct_2", amount: 30 } })];
    got(await answer("ann", a, "approve"));
    expect(reasonOf(await ask({ approval: a, inputs: { to: "acct_2", amount: 30 } }))).toBe("approval_mismatch");
    expect(reasonOf(await ask({ approval: b, inputs: { to: "acct_2", amount: 30 } }))).toBe("hold");
    expect(reasonOf(await ask({ approval: a }))).toBe("allow");
  });

  const CHANGES: readonly (readonly [what: string, change: Partial<ActionRequest>, action: string])[] = [
    ["the amount", { estimateMicroUsd: usd("30.000001") }, "pay"],
    ["a smaller amount", { estimateMicroUsd: usd("29") }, "pay"],
    ["an argument", { inputs: { to: "acct_1", amount: 31 } }, "pay"],
    ["no inputs", { inputs: undefined }, "pay"],
    ["the resource", { resource: { type: "account", id: "acct_9" } }, "pay"],
    ["no resource", { resource: null }, "pay"],
    ["the action", {}, "refund"],
    ["a tag", { tags: ["production"] }, "pay"],
    ["the risk", { riskLevel: "critical" }, "pay"],
    ["the model", { model: { name: "large" } }, "pay"],
  ];
  it.each(CHANGES)("3: is worth nothing for another request: %s", async (_what, change, action) => {
    const { ask, hold, answer } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve"));
    expect(reasonOf(await ask({ approval: id, ...change }, action))).toBe("approval_mismatch");
    expect(reasonOf(await ask({ approval: id }))).toBe("allow");
  });

  it("3: is worth nothing in another run, session or tenant", async () => {
    const { ask, hold, answer, agent, session, step } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve"));
    const other = await newSession(agent);
    expect(reasonOf(await ask({ approval: id }, "pay", other))).toBe("approval_mismatch");
    const stranger = await desk();
    expect(reasonOf(await stranger.ask({ approval: id }))).toBe("approval_mismatch");
    expect(refusalOf(await readApproval(ports, stranger.operator, id))).toBe("not_found");
    expect(refusalOf(await stranger.step(() => answerApproval(ports, stranger.operator, ["approvals:write"], id, SAID)))).toBe("not_found");
    got(await step(() => openRun(ports, agent, session, null)));
    expect(reasonOf(await ask({ approval: id }))).toBe("approval_mismatch");
  });

  it("3: is worth nothing once the policy or who must approve has changed", async () => {
    const { ask, hold, answer, put } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve"));
    await put(`${PAY}\ndenied_actions: [nothing]`);
    expect(reasonOf(await ask({ approval: id }))).toBe("approval_mismatch");
    await put(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 2"));
    expect(reasonOf(await ask({ approval: id }))).toBe("approval_mismatch");
    // The very policy that was approved under is in force again.
    await put(PAY);
    expect(reasonOf(await ask({ approval: id }))).toBe("allow");
  });

  it("4: what nobody answers, or nobody uses, runs out", async () => {
    const { ask, hold, answer, read, events, step, tenant, session } = await desk();
    const unanswered = await hold();
    wait(599_999);
    expect(reasonOf(await ask({ approval: unanswered }))).toBe("hold");
    wait(1);
    expect(reasonOf(await ask({ approval: unanswered }))).toBe("approval_expired");
    expect(refusalOf(await answer("ann", unanswered, "approve"))).toBe("approval_closed");
    const unused = await hold();
    wait(500_000);
    got(await answer("ann", unused, "approve"));
    wait(599_999);
    expect((await read(unused)).status).toBe("approved");
    wait(1);
    await step(() => runDurableObjectAlarm(env.SESSIONS.getByName(sessionObjectName(tenant, session))));
    expect(reasonOf(await ask({ approval: unused }))).toBe("approval_expired");
    expect(await events()).toEqual(["requested", "expired", "refused", "requested", "shown", "approved", "expired"]);
  });

  it("5: nobody but a person of the tenant, who did not ask, approves; and only of the groups that the policy names", async () => {
    const { agent, hold, read, answerAs, answer, operator } = await desk(
      PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, approvers: [{ subjects: [ann] }, { scopes: [treasury] }]"),
    );
    const id = await hold();
    expect(refusalOf(await answerAs(agent, id, "approve"))).toBe("scope_insufficient");
    expect(refusalOf(await answerAs({ ...operator, kind: "service" }, id, "approve"))).toBe("scope_insufficient");
    expect(refusalOf(await answerAs({ ...operator, subject: agent.subject }, id, "approve"))).toBe("self_approval");
    expect(refusalOf(await answer("mallory", id, "approve"))).toBe("scope_insufficient");
    expect((await read(id)).status).toBe("pending");
    got(await answer("ann", id, "approve"));
    expect((await read(id)).status).toBe("pending");
    got(await answer("bob", id, "approve", { scopes: ["approvals:write", "treasury"] }));
    expect((await read(id)).status).toBe("approved");
  });

  it("5: a person who asked on an agent's behalf does not approve it, nor does the agent's owner where four eyes are wanted", async () => {
    const { tenant, operator, session, agent, hold, answerAs, answer, put } = await desk();
    const own = await decideOne(operator, session, "pay", ASKED);
    if (own.approval === null) throw new Error("a hold names its approval");
    expect(refusalOf(await answerAs(operator, own.approval.id, "approve"))).toBe("self_approval");
    got(await ports.tenants.putEntity(tenant, operator, { type: "agent", id: agent.subject, properties: { owner: "olga" } }));
    const two = await hold();
    got(await answer("olga", two, "approve"));
    await put(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, four_eyes: true"));
    const four = await hold();
    expect(refusalOf(await answer("olga", four, "approve"))).toBe("self_approval");
    got(await answer("ann", four, "approve"));
    for (const [owner, who, wanted] of [
      [["olga", "otto"], "otto", "self_approval"],
      [{ name: "olga" }, "ann", "self_approval"],
    ] as const) {
      got(await ports.tenants.putEntity(tenant, operator, { type: "agent", id: agent.subject, properties: { owner } }));
      expect(refusalOf(await answer(who, await hold(), "approve"))).toBe(wanted);
    }
  });

  it("6: one no ends it, whatever was said before", async () => {
    const { ask, hold, answer, read } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 3"));
    const id = await hold();
    got(await answer("ann", id, "approve"));
    got(await answer("bob", id, "reject", { note: "Not this one." }));
    expect((await read(id)).status).toBe("rejected");
    expect(refusalOf(await answer("eve", id, "approve"))).toBe("approval_closed");
    expect(reasonOf(await ask({ approval: id }))).toBe("approval_rejected");
  });

  it("7: as many different people as the policy asks for; the same person counts once", async () => {
    const { ask, hold, answer, read } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 2"));
    const id = await hold();
    for (const _ of [1, 2, 3]) got(await answer("ann", id, "approve"));
    expect((await read(id)).status).toBe("pending");
    expect(reasonOf(await ask({ approval: id }))).toBe("hold");
    got(await answer("bob", id, "approve"));
    expect(reasonOf(await ask({ approval: id }))).toBe("allow");
  });

  it("8: the same answer twice is one; another answer by the same person is refused and on record", async () => {
    const { hold, answer, read, events } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 2"));
    const id = await hold();
    const first = got(await answer("ann", id, "approve", { note: "fine" }));
    const second = got(await answer("ann", id, "approve", { note: "fine" }));
    expect([first.replayed, second.replayed]).toEqual([false, true]);
    expect(second.answer.approval.answers).toEqual(first.answer.approval.answers);
    expect(refusalOf(await answer("ann", id, "reject"))).toBe("approval_closed");
    expect((await read(id)).status).toBe("pending");
    expect(await events()).toEqual(["requested", "shown", "answered", "refused"]);
  });

  it.each([
    ["the last of the quorum", 1, "approved"],
    ["one of two", 2, "pending"],
  ] as const)("8: the same edit twice is one, also once what it made is asked for: %s", async (_, quorum, status) => {
    const { hold, read, answer, events, ask } = await desk(PAY.replace("timeout_seconds", `quorum: ${quorum}, timeout_seconds`));
    const id = await hold();
    const { digest } = await read(id);
    const edits = { inputs: { to: "acct_1", amount: 20 }, estimateMicroUsd: usd("20") };
    const first = got(await answer("ann", id, "approve", { digest, edits, note: "less" }));
    const { approval } = first.answer;
    expect([first.replayed, approval.status, approval.digest === digest]).toEqual([false, status, false]);
    // The very message again names the digest that was shown then, and it is taken as what it was.
    for (const again of [1, 2]) {
      const replayed = got(await answer("ann", id, "approve", { digest, edits, note: "less" }));
      expect([again, replayed.replayed, replayed.answer.approval]).toEqual([again, true, approval]);
    }
    for (const other of [
      { digest, edits: { ...edits, estimateMicroUsd: usd("21") }, note: "less" },
      { digest, edits: { inputs: edits.inputs }, note: "less" },
      { digest, edits, note: "more" },
      { digest, note: "less" },
      { edits, note: "less" },
    ])
      expect(refusalOf(await answer("ann", id, "approve", other))).toBe("approval_closed");
    if (quorum === 2) got(await answer("bob", id, "approve"));
    expect((await events()).filter((event) => event === "answered" || event === "approved" || event === "refused")).toEqual([
      ...(quorum === 2 ? ["answered"] : []),
      ...(quorum === 1 ? ["approved"] : []),
      ...Array(5).fill("refused"),
      ...(quorum === 2 ? ["approved"] : []),
    ]);
    expect(got(await answer("ann", id, "approve", { digest, edits, note: "less" })).replayed).toBe(true);
    expect((await ask({ ...edits, approval: id })).verdict).toBe("allow");
  });

  it("8: an answer to something else than what is shown is refused", async () => {
    const { hold, answer, read } = await desk();
    const id = await hold();
    expect(refusalOf(await answer("ann", id, "approve", { digest: `sha-256:${"0".repeat(64)}` }))).toBe("body_invalid");
    expect((await read(id)).status).toBe("pending");
  });

  it("9: a hundred who use it at once are allowed once", async () => {
    const { agent, session, hold, answer, read, step } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve"));
    const all = await step(() => Promise.all(Array.from({ length: 100 }, () => decideOne(agent, session, "pay", { ...ASKED, approval: id }))));
    expect(all.filter(({ verdict }) => verdict === "allow")).toHaveLength(1);
    expect(all.filter(({ reason }) => reason.code === "approval_consumed")).toHaveLength(99);
    expect((await read(id)).usedBy).toBe(all.find(({ verdict }) => verdict === "allow")?.id);
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(usd("30"));
  });

  it.each([
    ["independent", ["allow", "approval_consumed"]],
    ["all_or_nothing", ["batch_refused", "approval_consumed"]],
    ["stop_on_deny", ["allow", "approval_consumed"]],
  ] as const)("9: two members of one batch are not allowed by one approval: %s", async (semantics, wanted) => {
    const { agent, session, hold, answer, step, ask } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve"));
    const member = asked("pay", { ...ASKED, approval: id });
    const decisions = await step(() => decideMany(agent, session, [member, member], semantics));
    expect(decisions.map(reasonOf)).toEqual(wanted);
    expect(reasonOf(await ask({ approval: id }))).toBe(semantics === "all_or_nothing" ? "allow" : "approval_consumed");
  });

  it("10: everything is checked again when it is used: kill, deny list, budget", async () => {
    const { tenant, operator, agent, session, ask, hold, answer, step } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve"));
    const target = { type: "session", id: session } as const;
    const order = async (kind: "kill" | "revive", n: number) => {
      const id = `int_00000000-0000-7000-8000-${String(n).padStart(12, "0")}` as const;
      got(await step(() => ports.tenants.intervene(tenant, operator, { id, target, kind, reason: "x", fingerprint: kind })));
    };
    await order("kill", 1);
    expect(reasonOf(await ask({ approval: id }))).toBe("session_killed");
    await order("revive", 2);
    const spent = await decideOne(agent, session, "other", { estimateMicroUsd: usd("80") });
    expect(reasonOf(await ask({ approval: id }))).toBe("session_budget_exceeded");
    got(await ports.sessions.release(tenant, session, agent, spent.id, null));
    expect(reasonOf(await ask({ approval: id }))).toBe("allow");
  });

  it("11: the record alone tells the way from the first no to the execution", async () => {
    const { tenant, session, agent, hold, answer, ask, step } = await desk();
    const id = await hold();
    got(await answer("ann", id, "approve", { note: "checked" }));
    const used = await ask({ approval: id });
    got(await step(() => commitOf(agent, session, used.id, "30")));
    const page = got(await step(() => listEntries(ports, tenant, { session }, { limit: 1000, cursor: null })));
    const entries = page.items.map(({ canonical }) => JSON.parse(canonical)).reverse();
    const way = entries.filter(({ kind }) => kind === "decision" || kind === "approval" || kind === "commit");
    expect(way.map(({ kind, verdict, details }) => [kind, verdict ?? details?.event ?? null])).toEqual([
      ["decision", "hold"],
      ["approval", "requested"],
      ["approval", "shown"],
      ["approval", "approved"],
      ["decision", "allow"],
      ["approval", "consumed"],
      ["commit", null],
    ]);
    const [held, requested, , approved, allowed, consumed] = way;
    expect([requested.decision_id, approved.decision_id, consumed.decision_id]).toEqual(Array(3).fill(held.decision_id));
    expect(allowed.approval.id).toBe(id);
    expect(consumed.details).toMatchObject({ approval: id, used_by: used.id, approved_by: ["ann"] });
    expect(approved).toMatchObject({
      principal: { subject: "ann", kind: "human" },
      details: { note: "checked", action_digest: requested.details.action_digest },
    });
  });
});

const SAID = { decision: "approve", note: null, digest: `sha-256:${"0".repeat(64)}`, edits: null } as const;

describe("what people and agents say to each other", () => {
  it("nobody answers for the agent, nor takes its request back, but who asked and people who may approve", async () => {
    const { agent, operator, hold, answer, step } = await desk();
    const id = await hold();
    expect(refusalOf(await step(() => respondToApproval(ports, agent, id, "Unasked.")))).toBe("approval_closed");
    got(await answer("ann", id, "request_info"));
    const service: Principal = { ...operator, subject: "ci", kind: "service" };
    for (const stranger of [service, operator]) {
      expect(refusalOf(await step(() => respondToApproval(ports, stranger, id, "x")))).toBe("scope_insufficient");
      expect(refusalOf(await step(() => cancelApproval(ports, stranger, ["decisions:write"], id, null)))).toBe("scope_insufficient");
    }
    got(await step(() => cancelApproval(ports, operator, ["approvals:write"], id, null)));
  });

  it("a question stands while others approve, until enough have", async () => {
    const { hold, answer, read } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 2"));
    const id = await hold();
    got(await answer("ann", id, "request_info", { note: "Why?" }));
    got(await answer("bob", id, "approve"));
    expect((await read(id)).status).toBe("info_requested");
    got(await answer("eve", id, "approve"));
    expect((await read(id)).status).toBe("approved");
  });

  it("talk ends before a store is full, and then a person can still say yes or no", async () => {
    const { agent, hold, answer, step } = await desk();
    const id = await hold();
    let refused = "";
    for (let n = 0; n < 60 && refused === ""; n++) {
      const asked = await answer("ann", id, "request_info", { note: `${n}${"\u0001".repeat(8_000)}` });
      const told = asked.ok ? await step(() => respondToApproval(ports, agent, id, `${n}${"\u0001".repeat(8_000)}`)) : asked;
      if (!told.ok) refused = told.error.code;
    }
    expect(refused).toBe("approval_closed");
    got(await answer("bob", id, "reject"));
  });

  it("more is asked for, the agent answers, and a person approves", async () => {
    const { agent, hold, answer, read, step, events } = await desk();
    const id = await hold();
    got(await answer("ann", id, "request_info", { note: "Which invoice?" }));
    expect((await read(id)).status).toBe("info_requested");
    const told = got(await step(() => respondToApproval(ports, agent, id, "Number 17.")));
    expect([told.approval.status, told.approval.answers.map(({ decision, note }) => [decision, note])]).toEqual([
      "pending",
      [
        ["request_info", "Which invoice?"],
        ["respond", "Number 17."],
      ],
    ]);
    got(await answer("ann", id, "approve"));
    expect(await events()).toEqual(["requested", "shown", "info_requested", "responded", "approved"]);
    expect(refusalOf(await step(() => respondToApproval(ports, agent, id, "More.")))).toBe("approval_closed");
  });

  it("what a person edited runs only as edited, and people before are asked anew", async () => {
    const { ask, hold, answer, read } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 2"));
    const id = await hold();
    const shown = (await read(id)).digest;
    got(await answer("ann", id, "approve"));
    const edits = { inputs: { to: "acct_1", amount: 5 }, estimateMicroUsd: usd("5") };
    const edited = got(await answer("bob", id, "approve", { edits })).answer.approval;
    expect([edited.status, edited.digest === shown]).toEqual(["pending", false]);
    expect(refusalOf(await answer("eve", id, "approve", { digest: shown }))).toBe("body_invalid");
    got(await answer("ann", id, "approve"));
    expect((await read(id)).status).toBe("approved");
    expect(reasonOf(await ask({ approval: id }))).toBe("approval_mismatch");
    expect(reasonOf(await ask({ approval: id, ...edits }))).toBe("allow");
  });

  it("the record names who approved what was used, and not who approved what it was before", async () => {
    const { tenant, session, ask, hold, answer, step } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, quorum: 2"));
    const id = await hold();
    const edits = { estimateMicroUsd: usd("5") };
    got(await answer("ann", id, "approve"));
    got(await answer("bob", id, "approve", { edits }));
    got(await answer("eve", id, "approve"));
    expect(reasonOf(await ask({ approval: id, ...edits }))).toBe("allow");
    const page = got(await step(() => listEntries(ports, tenant, { session, kind: "approval" }, { limit: 1, cursor: null })));
    expect(JSON.parse(page.items[0]?.canonical ?? "{}").details).toMatchObject({ event: "consumed", approved_by: ["bob", "eve"] });
  });

  it("who approved, edited or not, does not use it: that is for somebody else to want", async () => {
    const { session, hold, answer, person, step, ask } = await desk(PAY.replace("timeout_seconds: 600", "timeout_seconds: 600, four_eyes: true"));
    const id = await hold();
    const mine = { inputs: { to: "eve", amount: 100 }, resource: { type: "account", id: "eve" }, estimateMicroUsd: usd("100") };
    got(await answer("eve", id, "approve", { edits: mine }));
    expect(reasonOf(await step(() => decideOne(person("eve"), session, "pay", { ...mine, approval: id })))).toBe("approval_mismatch");
    expect(reasonOf(await ask({ ...mine, approval: id }))).toBe("allow");
  });

  it("what a person wrote into it is kept as the record is, and not at all where that keeps nothing", async () => {
    const { tenant, session, hold, answer, step, operator } = await desk(`${PAY}\nredact: { store_inputs: none, detect: [email] }`);
    const id = await hold();
    const edits = { inputs: { to: "CONFIDENTIAL-77" }, resource: { type: "account", id: "olga@example.com" } };
    got(await answer("ann", id, "approve", { edits }));
    got(await step(() => cancelApproval(ports, operator, ["approvals:write"], id, null)));
    const page = got(await step(() => listEntries(ports, tenant, { session }, { limit: 100, cursor: null })));
    const desked = got(await ports.tenants.listApprovals(tenant, {}, { limit: 10, cursor: null }));
    const rows = await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (_, state) =>
      state.storage.sql.exec("SELECT * FROM approvals").toArray(),
    );
    const all = JSON.stringify([page, desked, rows]);
    for (const secret of ["CONFIDENTIAL-77", "olga@example.com"]) expect(all).not.toContain(secret);
  });

  it("a request is taken back, and then nobody can approve it", async () => {
    const { agent, ask, hold, answer, step } = await desk();
    const id = await hold();
    got(await step(() => cancelApproval(ports, agent, [], id, "no longer")));
    got(await step(() => cancelApproval(ports, agent, [], id, "no longer")));
    expect(refusalOf(await answer("ann", id, "approve"))).toBe("approval_closed");
    expect(reasonOf(await ask({ approval: id }))).toBe("approval_rejected");
  });

  it("ends with its run, and people find it on their desk no more", async () => {
    const { tenant, session, agent, hold, answer, read, step } = await desk();
    const id = await hold();
    const { run } = got(await ports.sessions.read(tenant, session, agent));
    got(await step(() => ports.sessions.closeRun(tenant, session, agent, run)));
    const waits = got(await ports.tenants.listApprovals(tenant, { status: "pending" }, { limit: 10, cursor: null }));
    expect(waits.items).toEqual([]);
    expect((await read(id)).status).toBe("cancelled");
    expect(refusalOf(await answer("ann", id, "approve"))).toBe("approval_closed");
    // What is asked for in the next run is another matter.
    got(await step(() => openRun(ports, agent, session, null)));
    expect((await read(await hold())).status).toBe("pending");
  });

  it("ends with its session", async () => {
    const { tenant, session, agent, hold, read, step } = await desk();
    const id = await hold();
    got(await step(() => ports.sessions.close(tenant, session, agent)));
    expect((await read(id)).status).toBe("cancelled");
  });

  it("what shows only a digest of its inputs is not held: nobody could see what is approved", async () => {
    const { ask } = await desk();
    expect(reasonOf(await ask({ inputs: undefined, inputsDigest: `sha-256:${"1".repeat(64)}` }))).toBe("inputs_required");
  });

  it("secrets are hidden from people and from the stores, and inputs that the policy does not keep are gone once it is over", async () => {
    const { tenant, session, hold, answer, operator, step } = await desk(`${PAY}\nredact: { store_inputs: none, keys: [pin] }`);
    const id = await hold({ inputs: { to: "acct_1", pin: "hunter2" } });
    const shown = got(await step(() => readApproval(ports, operator, id)));
    expect(shown.card.inputs).toEqual({ to: "acct_1", pin: "[redacted]" });
    const stored = () =>
      runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (_, state) =>
        JSON.stringify(state.storage.sql.exec("SELECT * FROM approvals").toArray()),
      );
    expect(await stored()).not.toContain("hunter2");
    got(await answer("ann", id, "reject"));
    expect(await stored()).not.toContain('\\"to\\"');
    expect(got(await step(() => readApproval(ports, operator, id))).card.inputs).toBeNull();
  });
});

it("a session of before there were approvals is brought up to them when it wakes", async () => {
  const { tenant, session, hold, read } = await desk();
  await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (_, { storage }) => {
    storage.sql.exec("DROP TABLE approvals; DROP TABLE client_leases; DROP TABLE lease_answers");
    storage.sql.exec("CREATE UNIQUE INDEX approvals ON decisions (approval) WHERE approval IS NOT NULL");
    storage.sql.exec("UPDATE schema_version SET version = 4");
  });
  expect((await read(await hold())).status).toBe("pending");
});

describe("the desk", () => {
  it("lists what is asked, by status, with counts, as soon as the agent knows", async () => {
    const { tenant, hold, answer } = await desk();
    const [a, b, c] = [await hold(), await hold(), await hold()];
    got(await answer("ann", a, "reject"));
    const list = async (status?: "pending" | "rejected") => got(await ports.tenants.listApprovals(tenant, { status }, { limit: 2, cursor: null }));
    expect((await list()).items.map(({ approval }) => approval.id)).toEqual(expect.arrayContaining([expect.any(String), expect.any(String)]));
    expect((await list("pending")).items.map(({ approval }) => approval.id).sort()).toEqual([b, c].sort());
    expect((await list("rejected")).items.map(({ approval }) => approval.id)).toEqual([a]);
    expect((await list()).counts).toMatchObject({ pending: 2, rejected: 1 });
    const first = await list();
    const second = got(await ports.tenants.listApprovals(tenant, {}, { limit: 2, cursor: first.nextCursor }));
    expect([...first.items, ...second.items].map(({ approval }) => approval.id).sort()).toEqual([a, b, c].sort());
    wait(600_000);
    expect((await list("pending")).items).toEqual([]);
    expect((await list()).counts).toMatchObject({ pending: 0, expired: 2, rejected: 1 });
  });

  it("tells how people answer", async () => {
    const { tenant, hold, answer } = await desk();
    const from = Date.now();
    for (const [subject, decision, after] of [
      ["ann", "approve", 1_000],
      ["ann", "approve", 3_000],
      ["ann", "reject", 5_000],
      ["bob", "approve", 2_000],
    ] as const) {
      const id = await hold();
      wait(after);
      got(await answer(subject, id, decision));
    }
    await hold();
    const signals = got(await ports.tenants.approvalSignals(tenant, from, Date.now() + 1));
    expect(signals).toMatchObject({ approved: 3, rejected: 1, medianMs: 2_000, pending: 1 });
    expect(signals.people).toEqual([
      { subject: "ann", answers: 3, approved: 2, medianMs: 3_000, mostInAnHour: 3 },
      { subject: "bob", answers: 1, approved: 1, medianMs: 2_000, mostInAnHour: 1 },
    ]);
  });

  it("counts answers from the first instant to before the last, and within an hour those that are less than one apart", async () => {
    const { tenant, agent, answer, ask } = await desk();
    const began = Date.now();
    const at: number[] = [];
    for (const [pause, waited, decision] of [
      [0, 0, "approve"],
      [3_599_990, 9, "reject"],
      [0, 1, "approve"],
      [3_599_970, 30, "reject"],
    ] as const) {
      wait(pause);
      const { approval } = await ask({}, "pay", await newSession(agent));
      wait(waited);
      at.push(Date.now() - began);
      if (approval === null) throw new Error("a hold names its approval");
      got(await answer("ann", approval.id, decision));
    }
    expect(at).toEqual([0, 3_599_999, 3_600_000, 7_200_000]);
    const of = async (from: number, to: number) => got(await ports.tenants.approvalSignals(tenant, began + from, began + to));
    for (const [from, to, approved, rejected] of [
      [0, 7_200_001, 2, 2],
      [0, 7_200_000, 2, 1],
      [1, 7_200_001, 1, 2],
      [0, 1, 1, 0],
      [0, 0, 0, 0],
      [3_600_001, 7_200_000, 0, 0],
    ] as const) {
      const { approved: yes, rejected: no, people } = await of(from, to);
      expect([from, to, yes, no, people.length]).toEqual([from, to, approved, rejected, approved + rejected > 0 ? 1 : 0]);
    }
    // Two within an hour, twice; the first and the third are a whole hour apart.
    expect((await of(0, 7_200_001)).people).toEqual([expect.objectContaining({ answers: 4, approved: 2, mostInAnHour: 2, medianMs: 1 })]);
    expect(await of(0, 0)).toMatchObject({ medianMs: null, people: [], pending: 0, oldestPendingAt: null });
  });

  it("keeps for its signals 30 days, of answers and no longer", async () => {
    const { tenant, hold, answer } = await desk();
    const from = Date.now();
    got(await answer("ann", await hold(), "approve"));
    const month = 30 * 24 * 3_600_000;
    const clearAt = async (afterMs: number): Promise<number> => {
      vi.setSystemTime(from + afterMs);
      // It clears first thing after it wakes, with the next that it is told.
      await abortAllDurableObjects();
      await ports.tenants.approvalSignals(tenant, from, from + 1);
      await env.TENANTS.getByName(tenant).noteApprovals([]);
      return got(await ports.tenants.approvalSignals(tenant, from, from + 1)).approved;
    };
    expect([await clearAt(month), await clearAt(month + 1)]).toEqual([1, 0]);
  });

  it("shows pages that cross between objects whatever is asked, and none of what is over", async () => {
    const { tenant, hold, answer } = await desk();
    const big = Array.from({ length: 60_000 }, () => 0.5);
    const ids: ApprovalId[] = [];
    for (let n = 0; n < 12; n++) ids.push(await hold({ inputs: { n, big } }));
    const seen: ApprovalId[] = [];
    for (let cursor: string | null = null, more = true; more; ) {
      const page: { items: readonly { approval: Approval }[]; nextCursor: string | null } = got(
        await ports.tenants.listApprovals(tenant, {}, { limit: 1_000, cursor }),
      );
      seen.push(...page.items.map(({ approval }) => approval.id));
      cursor = page.nextCursor;
      more = cursor !== null;
    }
    expect(seen.sort()).toEqual([...ids].sort());
    const [first] = ids;
    if (first === undefined) throw new Error("there are twelve");
    got(await answer("ann", first, "reject"));
    const rejected = got(await ports.tenants.listApprovals(tenant, { status: "rejected" }, { limit: 10, cursor: null }));
    expect(rejected.items.map(({ card }) => card.inputs)).toEqual([null]);
  }, 60_000);

  it("is not crowded without bound: a session waits for 500 answers at most", async () => {
    const { agent, session, step, answer, ask } = await desk();
    const waiting: Decision[] = [];
    for (let batch = 0; batch < 5; batch++) {
      const members = Array.from({ length: 100 }, () => asked("pay", ASKED));
      waiting.push(...(await step(() => decideMany(agent, session, members, "independent"))));
    }
    expect(waiting.every(({ verdict }) => verdict === "hold")).toBe(true);
    expect([(await ask()).verdict, (await ask()).reason.code]).toEqual(["deny", "approval_required"]);
    got(await answer("ann", waiting[0]?.approval?.id ?? "apr_00000000-0000-7000-8000-000000000000", "reject"));
    expect((await ask()).verdict).toBe("hold");
    wait(600_000);
    expect((await ask()).verdict).toBe("hold");
  }, 60_000);

  it("tells its tenant of each answer once, of however many in one request", async () => {
    const { tenant, agent, session, operator, person } = await desk();
    const held = await decideMany(
      agent,
      session,
      Array.from({ length: 40 }, () => asked("pay", ASKED)),
      "independent",
    );
    const answers = await Promise.all(
      held.map(async ({ approval }) => {
        const read = got(await readApproval(ports, operator, approval?.id ?? "apr_00000000-0000-7000-8000-000000000000"));
        return { id: read.approval.id, decision: "approve", digest: read.approval.digest, note: null, edits: null } as const;
      }),
    );
    const told: number[] = [];
    await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (object) => {
      const real = env.TENANTS.getByName(tenant);
      const noteApprovals = async (all: Parameters<typeof real.noteApprovals>[0]): Promise<void> => {
        told.push(all.length);
        await real.noteApprovals(all);
      };
      const mine = new Proxy(real, { get: (of, name) => (name === "noteApprovals" ? noteApprovals : Reflect.get(of, name)) });
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => mine } });
    });
    const answered = await answerMany(ports, person("ann"), ["approvals:write"], answers);
    expect(answered.map(({ told: { ok } }) => ok)).toEqual(held.map(() => true));
    // Whoever has only seen an approval is told of too: each at most twice.
    expect(told.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(80);
    const waits = got(await ports.tenants.listApprovals(tenant, { status: "pending" }, { limit: 10, cursor: null }));
    expect(waits.items).toEqual([]);
  });

  it.each(SILENCES)("hears soon of what its tenant fell under, and of what was asked meanwhile, where that %s", async (_, does) => {
    const { tenant, agent, session, operator } = await desk();
    await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (object) => {
      const { object: silent } = silentOnce(env.TENANTS.getByName(tenant), "noteApprovals", does);
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => silent } });
    });
    const hold = async () => (await decideMany(agent, session, [asked("pay", ASKED)], "independent"))[0]?.approval?.id ?? expect.fail("it is held");
    const both = [await hold(), await hold()];
    const statuses = () => Promise.all(both.map(async (id) => got(await readApproval(ports, operator, id)).approval.status));
    // Long before a call without an answer is given up otherwise, and without an alarm.
    await vi.waitFor(async () => expect(await statuses()).toEqual(["pending", "pending"]), { timeout: 6_000 });
  });

  it("hears of each once, whatever is asked after it and however often the alarm rings", async () => {
    const { tenant, agent, session } = await desk();
    const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
    const told: ApprovalId[] = [];
    await runInDurableObject(stub, (object) => {
      const real = env.TENANTS.getByName(tenant);
      const noteApprovals = (all: Parameters<typeof real.noteApprovals>[0]) => {
        told.push(...all.map(({ approval }) => approval.id));
        return real.noteApprovals(all);
      };
      const mine = new Proxy(real, { get: (of, name) => (name === "noteApprovals" ? noteApprovals : Reflect.get(of, name)) });
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => mine } });
    });
    const hold = async () => (await decideMany(agent, session, [asked("pay", ASKED)], "independent"))[0]?.approval?.id;
    const both = [await hold(), await hold()];
    await runDurableObjectAlarm(stub);
    expect(told).toEqual(both);
  });

  it("hears of all but one under which its tenant falls each time it is told of it", async () => {
    const { tenant, agent, session, operator } = await desk();
    const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
    let untold: ApprovalId | null = null;
    const told: number[] = [];
    await runInDurableObject(stub, (object) => {
      const real = env.TENANTS.getByName(tenant);
      const noteApprovals = (all: Parameters<typeof real.noteApprovals>[0]) => {
        told.push(all.length);
        untold ??= all[0]?.approval.id ?? null;
        return all.some(({ approval }) => approval.id === untold) ? new Promise(() => {}) : real.noteApprovals(all);
      };
      const mine = new Proxy(real, { get: (of, name) => (name === "noteApprovals" ? noteApprovals : Reflect.get(of, name)) });
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => mine } });
    });
    const hold = async () => (await decideMany(agent, session, [asked("pay", ASKED)], "independent"))[0]?.approval?.id ?? expect.fail("it is held");
    const first = await hold();
    const others = [await hold(), await hold()];
    const isKnown = async (id: ApprovalId) => (await readApproval(ports, operator, id)).ok;
    await vi.waitFor(async () => expect(await Promise.all(others.map(isKnown))).toEqual([true, true]), { timeout: 6_000 });
    await runDurableObjectAlarm(stub);
    const last = await hold();
    await vi.waitFor(async () => expect(await isKnown(last)).toBe(true), { timeout: 6_000 });
    expect([untold, await isKnown(first)]).toEqual([first, false]);
    // While it is waited for nothing is sent again and again.
    expect(told.length).toBeLessThan(12);
  });

  it("is asked by the alarm of all that it does not have, while a tenant that says nothing is asked still", async () => {
    const { tenant, agent, session, operator } = await desk();
    const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
    let isSilent = true;
    await runInDurableObject(stub, (object) => {
      const real = env.TENANTS.getByName(tenant);
      const noteApprovals = (all: Parameters<typeof real.noteApprovals>[0]) => (isSilent ? new Promise(() => {}) : real.noteApprovals(all));
      const mine = new Proxy(real, { get: (of, name) => (name === "noteApprovals" ? noteApprovals : Reflect.get(of, name)) });
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => mine } });
    });
    const held = await decideMany(agent, session, [asked("pay", ASKED), asked("pay", ASKED), asked("pay", ASKED)], "independent");
    await runDurableObjectAlarm(stub);
    isSilent = false;
    await runDurableObjectAlarm(stub);
    for (const { approval } of held) got(await readApproval(ports, operator, approval?.id ?? expect.fail("it is held")));
  });

  it("has all that its tenant takes, whatever one approval among them that it does not take, and that one too once it does", async () => {
    const { tenant, agent, session, read } = await desk();
    const told: (readonly ApprovalId[])[] = [];
    let untaken: ApprovalId | null = null;
    await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), (object) => {
      const real = env.TENANTS.getByName(tenant);
      const noteApprovals = async (all: Parameters<typeof real.noteApprovals>[0]): Promise<void> => {
        told.push(all.map(({ approval }) => approval.id));
        untaken ??= all[1]?.approval.id ?? null;
        if (all.some(({ approval }) => approval.id === untaken)) throw new Error("not this one");
        await real.noteApprovals(all);
      };
      const mine = new Proxy(real, { get: (of, name) => (name === "noteApprovals" ? noteApprovals : Reflect.get(of, name)) });
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => mine } });
    });
    const held = await decideMany(agent, session, [asked("pay", ASKED), asked("pay", ASKED), asked("pay", ASKED)], "independent");
    const ids = held.map(({ approval }) => approval?.id);
    const listed = async () =>
      got(await ports.tenants.listApprovals(tenant, {}, { limit: 10, cursor: null })).items.map(({ approval }) => approval.id);
    expect(ids).toContain(untaken);
    expect((await listed()).sort()).toEqual(ids.filter((id) => id !== untaken).sort());
    // What it has taken it is not told again.
    expect(told.map(({ length }) => length)).toEqual([3, 1, 1, 1]);
    if (untaken === null) throw new Error("there are three");
    expect(refusalOf(await readApproval(ports, agent, untaken))).toBe("not_found");
    // The object dies, and its next life tells, here by the alarm.
    await abortAllDurableObjects();
    await runDurableObjectAlarm(env.SESSIONS.getByName(sessionObjectName(tenant, session)));
    expect((await listed()).sort()).toEqual([...ids].sort());
    expect((await read(untaken)).status).toBe("pending");
  });

  it("wakes whoever waits for the answer, also who began in the very turn that brought it", async () => {
    vi.useRealTimers();
    const { tenant, agent, session, hold, person, operator } = await desk();
    const id = await hold();
    const { approval } = got(await readApproval(ports, operator, id));
    const said = { decision: "approve", note: null, digest: approval.digest, edits: null } as const;
    const by = { principal: person("ann"), scopes: ["approvals:write"], owners: [] };
    const began = Date.now();
    const read = await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), async (object) => {
      const [waited] = await Promise.all([object.readDecision(agent, approval.decision, 20_000), object.answerApproval({ id, by, said })]);
      return waited;
    });
    expect(got(read)).toMatchObject({ approval: "approved" });
    expect(Date.now() - began).toBeLessThan(10_000);
  });

  it.each(["session", "action"] as const)(
    "wakes whoever waits for it when a kill of the %s reaches the session, and says so from then on",
    async (type) => {
      vi.useRealTimers();
      const { tenant, agent, session, hold, operator } = await desk();
      const id = await hold();
      const { decision } = got(await readApproval(ports, operator, id)).approval;
      const look = (waitMs: number) => ports.sessions.readDecision(tenant, session, agent, decision, waitMs);
      const order = async (kind: InterventionKind) =>
        got(await intervene(ports, operator, { target: { type, id: { session, action: "pay" }[type] }, kind, reason: "stop" }, null)).answer;
      // What is only paused may be waited out.
      const paused = await order("pause");
      const began = Date.now();
      expect(got(await look(1_000))).toMatchObject({ state: "held", superseded: { intervention: paused.id, kind: "pause" } });
      expect(Date.now() - began).toBeGreaterThanOrEqual(1_000);
      await order("resume");
      const waiting = look(30_000);
      // Comes to the session behind the reader, who is waiting once this is answered.
      expect(got(await look(0))).toMatchObject({ state: "held", superseded: null });
      const killed = await order("kill");
      const asOf = Date.now();
      const superseded = { intervention: killed.id, kind: "kill" };
      expect(got(await waiting)).toMatchObject({ state: "held", approval: "pending", superseded });
      expect(got(await look(30_000))).toMatchObject({ state: "held", approval: "pending", superseded });
      const asks = {
        principal: agent,
        session,
        asked: [asked("pay", { ...ASKED, id: decision })],
        batch: false,
        semantics: "independent",
        key: null,
      } as const;
      expect(got(await decide(ports, { ...asks, now: Date.now() }))).toMatchObject([{ answer: { verdict: "hold" }, replayed: true, superseded }]);
      expect(Date.now() - asOf).toBeLessThan(10_000);
      await order("revive");
      expect(got(await look(0))).toMatchObject({ state: "held", approval: "pending", superseded: null });
    },
  );

  it("wakes whoever waits for the answer", async () => {
    vi.useRealTimers();
    const { tenant, agent, session, hold, person, operator } = await desk();
    const id = await hold();
    const { approval } = got(await readApproval(ports, operator, id));
    const waiting = ports.sessions.readDecision(tenant, session, agent, approval.decision, 30_000);
    const said = { decision: "approve", note: null, digest: approval.digest, edits: null } as const;
    // Comes to the session behind the reader, who is waiting once this is answered.
    got(await readApproval(ports, operator, id));
    got(await answerApproval(ports, person("ann"), ["approvals:write"], id, said));
    const began = Date.now();
    expect(got(await waiting)).toMatchObject({ state: "held", approval: "approved" });
    expect(Date.now() - began).toBeLessThan(10_000);
  });
});
