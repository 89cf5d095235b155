import { env, exports } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import type { DecisionId, RunId, SessionId, TokenId } from "../../src/core/ids.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { parseUsd, ZERO_USD } from "../../src/core/money.ts";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { Play } from "../../src/core/policy/play.ts";
import { CHANGES, type ChangeKind } from "../../src/core/policy/simulate.ts";
import type { ActionRequest } from "../../src/core/request.ts";
import * as answers from "../../src/http/answers.ts";

const ORIGIN = "https://gate.example";
const ROOT = env.ROOT_KEY;

async function call<T>(status: number, method: string, path: string, token: string, body?: unknown, type = "application/json"): Promise<T> {
  const init: RequestInit = { method, headers: { Authorization: `Bearer ${token}`, "Content-Type": type } };
  if (body !== undefined) init.body = typeof body === "string" ? body : JSON.stringify(body);
  const response = await exports.default.fetch(`${ORIGIN}${path}`, init);
  const text = await response.text();
  expect(response.status, text).toBe(status);
  // What the caller reads; the shape is held against the schema where it matters.
  return JSON.parse(text) as T;
}

const tokenOf = async (tenant: string, subject: string, kind: wire.TokenKind, scopes: readonly wire.Scope[]): Promise<string> =>
  (await call<wire.IssuedToken>(201, "POST", "/v1/tokens", ROOT, { tenant, subject, kind, scopes })).token;

const AGENT: readonly wire.Scope[] = ["sessions:write", "decisions:write", "ledger:read", "policies:read"];
const OPERATOR: readonly wire.Scope[] = ["sessions:write", "decisions:write", "ledger:read", "policies:read", "policies:write"];

interface Tenant {
  readonly id: string;
  readonly operator: string;
  readonly agent: string;
  readonly put: (policy: string, name?: string, query?: string) => Promise<unknown>;
}

let made = 0;

async function newTenant(policy: string): Promise<Tenant> {
  const id = `sim-${++made}`;
  await call(201, "POST", "/v1/tenants", ROOT, { id });
  const operator = await tokenOf(id, "ops", "human", OPERATOR);
  const agent = await tokenOf(id, "ada", "agent", AGENT);
  const put = (text: string, name = "main", query = "") => call(201, "PUT", `/v1/policies/${name}${query}`, operator, text, "application/yaml");
  await put(policy);
  return { id, operator, agent, put };
}

const open = (token: string, body: wire.OpenSessionRequest = {}) => call<wire.OpenedSession>(201, "POST", "/v1/sessions", token, body);

const decide = (token: string, session: string, body: wire.DecisionRequest) =>
  call<wire.Decision>(200, "POST", `/v1/sessions/${session}/decisions`, token, body);

const commit = (token: string, session: string, id: string, body: wire.CommitRequest) =>
  call<wire.Settlement>(200, "POST", `/v1/sessions/${session}/decisions/${id}/commit`, token, body);

const simulate = async (token: string, body: wire.SimulateRequest): Promise<wire.Simulation> =>
  answers.simulation.parse(await call(200, "POST", "/v1/policies/simulate", token, body));

const refused = async (status: number, token: string, body: unknown): Promise<wire.Problem> =>
  call(status, "POST", "/v1/policies/simulate", token, body);

const ledger = async (token: string, session: string): Promise<readonly wire.LedgerEntry[]> =>
  (await call<wire.Page<wire.LedgerEntry>>(200, "GET", `/v1/ledger?session=${session}&limit=1000`, token)).items.toReversed();

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const written = (text: string) => {
  const parsed = parsePolicy(text, "yaml");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.document;
};

const usd = (text: string) => {
  const amount = parseUsd(text);
  if (!amount.ok) throw new Error(amount.error.message);
  return amount.value;
};

/** Numbers from 0 to n-1, the same for the same seed (mulberry32). */
function numbers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

const POLICY = `version: 1
budgets: { session: 3, run: 2, actions: { "c.*": 0.7 } }
denied_actions: [never]
rate_limits: { look_up: { max_count: 9, window_seconds: 3600 }, "c.*": { max_count: 4, window_seconds: 3600, per: run } }
concurrency: { slow: 2 }
loops: { threshold: 4, window_seconds: 3600 }
retries: { threshold: 3, window_seconds: 3600 }
requires: { cancel: { after: [look_up], same: [inputs.id], where: "prior.outputs.cabin == 'business'" } }
history: [{ id: exfil, forbid: "c.*", when: "sum('slow', 3600) > 0.3" }]
approvals: { threshold_usd: 0.5 }
rules:
  - { id: prod, effect: forbid, actions: [slow], when: "inputs.env == 'prod'" }
  - { id: gold, effect: hold, actions: [cancel], when: "inputs.id == 3" }
`;

const CANDIDATE = `version: 1
budgets: { session: 2, actions: { "c.*": 0.5 } }
rate_limits: { look_up: { max_count: 5, window_seconds: 3600 } }
loops: { threshold: 3, window_seconds: 3600 }
requires: { "c.*": { after: [look_up] } }
approvals: { threshold_usd: 0.3 }
rules: [{ id: prod, effect: forbid, actions: [slow, never], when: "inputs.env == 'prod'" }]
`;

const ACTIONS = ["look_up", "look_up", "cancel", "slow", "c.x", "c.y", "never"] as const;

interface Asked {
  readonly request: wire.DecisionRequest;
  readonly answer: wire.Decision;
  readonly report: wire.CommitRequest | null;
}

describe("the same history means the same everywhere", () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  const asked: Asked[] = [];
  let tenant: Tenant;
  let session: wire.OpenedSession;
  let entries: readonly wire.LedgerEntry[];

  beforeAll(async () => {
    console.log(`simulate.test: seed ${seed}`);
    tenant = await newTenant(POLICY);
    session = await open(tenant.agent);
    const random = numbers(seed);
    for (let n = 0; n < 90; n++) {
      const action = ACTIONS[random(ACTIONS.length)] ?? "look_up";
      const inputs = { id: random(4), env: random(4) === 0 ? "prod" : "test" };
      const request = { action, inputs, run: session.run, estimate_usd: String(random(14) === 0 ? 0.6 : random(20) / 100) };
      const answer = await decide(tenant.agent, session.id, request);
      const settles = answer.verdict === "allow" && random(8) !== 0;
      const outcome = random(4) === 0 ? "error" : "success";
      const report = settles
        ? ({ cost_usd: String(random(20) / 100), outcome, outputs: { cabin: random(2) === 0 ? "business" : "economy" } } as const)
        : null;
      if (report !== null) await commit(tenant.agent, session.id, answer.id, report);
      asked.push({ request, answer, report });
    }
    entries = await ledger(tenant.agent, session.id);
  });

  /** The pure core alone, at the recorded instants, from the requests as they were sent. */
  function played(policy: string) {
    const document = written(policy);
    const opened = entries[0];
    if (opened === undefined) throw new Error("a session begins with an entry");
    const openedAt = Date.parse(opened.timestamp);
    const ref = { name: "main", version: 1, digest: policyDigest(sha256, document) };
    const play = new Play(
      compilePolicy(document),
      ref,
      {
        tenant: tenant.id,
        session: session.id as SessionId,
        agent: "ada",
        run: session.run as RunId,
        openedAt,
        expiresAt: Date.parse(session.expires_at),
        budgetMicroUsd: null,
        principal: { tokenId: "tok_none" as TokenId, tenant: tenant.id, subject: "ada", kind: "agent" },
      },
      sha256,
    );
    const at = (id: string, kind: string): number =>
      Date.parse(entries.find((entry) => entry.decision_id === id && entry.kind === kind)?.timestamp ?? "");
    return asked.map(({ request, answer, report }) => {
      const { decision } = play.decide(requestOf(request, answer.id, session.run), at(answer.id, "decision"));
      if (decision.verdict === "allow") {
        // What never ran is taken for run at once, at its estimate.
        const told = answer.verdict === "allow" ? report : ({ cost_usd: request.estimate_usd ?? "0", outcome: "success" } as const);
        const when = answer.verdict === "allow" && report !== null ? at(answer.id, "commit") : at(answer.id, "decision");
        if (told !== null) {
          const { cost_usd, outcome, outputs } = told as wire.CommitRequest;
          const costMicroUsd = usd(String(cost_usd));
          play.commit(
            decision.id,
            { costMicroUsd, outcome, outputs: outputs as JsonValue | undefined, durationMs: null, error: null, usage: null },
            when,
          );
        }
      }
      return { id: answer.id, was: answer.verdict, verdict: decision.verdict, reason: decision.reason.code, rule: decision.reason.rule };
    });
  }

  it("decided by the object and by the pure core", () => {
    const reasons = new Set(asked.map(({ answer }) => answer.reason.code));
    expect(reasons.size, `seed ${seed}`).toBeGreaterThan(4);
    expect(played(POLICY), `seed ${seed}`).toEqual(
      asked.map(({ answer }) => ({
        id: answer.id,
        was: answer.verdict,
        verdict: answer.verdict,
        reason: answer.reason.code,
        rule: answer.reason.rule,
      })),
    );
  });

  it("and simulated over the ledger", async () => {
    const under = await simulate(tenant.operator, { policy: POLICY });
    expect(under, `seed ${seed}`).toMatchObject({
      sessions: 1,
      entries: entries.length + 1,
      decisions: 90,
      same: 90,
      same_for_another_reason: 0,
      prevented_usd: "0",
      by_rule: [],
      truncated: false,
      next: null,
    });
    expect(under.policy).toEqual({ digest: session.policy?.digest, replaces: null, warnings: expect.any(Array) });
    expect(under.window).toEqual({ from: null, to: null, read_from: entries[0]?.timestamp });
    expect(under.assumptions.length).toBeGreaterThan(3);
  });

  it("under another policy too: the same verdicts change, in the core and in the simulation", async () => {
    const expected: Record<ChangeKind, string[]> = { newly_denied: [], newly_allowed: [], newly_held: [], no_longer_held: [] };
    let prevented = 0;
    for (const { id, was, verdict } of played(CANDIDATE)) {
      if (was === verdict) continue;
      const kind = verdict === "deny" ? "newly_denied" : verdict === "hold" ? "newly_held" : was === "hold" ? "no_longer_held" : "newly_allowed";
      expected[kind].push(entries.find((entry) => entry.decision_id === id && entry.step === "decide")?.id ?? "");
      const one = asked.find(({ answer }) => answer.id === id);
      if (was === "allow" && verdict === "deny") prevented += usd(String(one?.report?.cost_usd ?? one?.request.estimate_usd ?? "0"));
    }
    const simulated = await simulate(tenant.operator, { policy: CANDIDATE, session: session.id });
    for (const kind of CHANGES) expect(simulated.changed[kind].entries, `seed ${seed}, ${kind}`).toEqual(expected[kind]);
    expect(usd(simulated.prevented_usd)).toBe(prevented);
    expect(simulated.changed.newly_denied.count + simulated.changed.newly_allowed.count).toBeGreaterThan(0);
    expect(simulated.uncertain.count).toBe(0);
    expect(simulated.by_rule.reduce((sum, { prevented_usd }) => sum + usd(prevented_usd), 0)).toBe(prevented);
  });

  it("in parts: what lies before an instant gives its state and no figures", async () => {
    const middle = entries.find((entry) => entry.decision_id === asked[45]?.answer.id)?.timestamp ?? "";
    const before = await simulate(tenant.operator, { policy: POLICY, to: middle });
    const after = await simulate(tenant.operator, { policy: POLICY, from: middle });
    expect(after.window.read_from).toBe(entries[0]?.timestamp);
    expect(before.decisions + after.decisions).toBe(90);
    expect([before.same, after.same], `seed ${seed}`).toEqual([before.decisions, after.decisions]);
    expect(after.decisions).toBeLessThan(90);
  });
});

function requestOf(asked: wire.DecisionRequest, id: string, run: string): ActionRequest {
  return {
    // Both came from the gateway's answers.
    id: id as DecisionId,
    run: run as RunId,
    action: asked.action,
    resource: null,
    estimateMicroUsd: asked.estimate_usd === undefined ? ZERO_USD : usd(String(asked.estimate_usd)),
    price: null,
    tags: [],
    riskLevel: null,
    inputs: asked.inputs as JsonValue | undefined,
    inputsDigest: null,
    rationale: null,
    confidence: null,
    sources: [],
    parents: [],
    model: null,
    approval: null,
    ttlMs: 300_000,
  };
}

describe("what a person approved", () => {
  it("is the same under the policy in force, alone and in its place, and the money that it took is gone", async () => {
    const tenant = await newTenant("version: 1\nbudgets: { session: 1 }\napprovals: { actions: [pay] }\n");
    const ann = await tokenOf(tenant.id, "ann", "human", ["approvals:read", "approvals:write"]);
    const session = await open(tenant.agent);
    const pay: wire.DecisionRequest = { action: "pay", estimate_usd: "0.9", inputs: { to: "x" } };
    const held = await decide(tenant.agent, session.id, pay);
    const path = `/v1/approvals/${held.approval?.id}`;
    const { action_digest } = await call<wire.Approval>(200, "GET", path, ann);
    await call(200, "POST", `${path}/decide`, ann, { decision: "approve", action_digest });
    const used = await decide(tenant.agent, session.id, { ...pay, ...(held.approval && { approval: held.approval.id }) });
    await commit(tenant.agent, session.id, used.id, { cost_usd: "0.9", outcome: "success" });
    const denied = await decide(tenant.agent, session.id, { action: "x", estimate_usd: "0.5" });
    expect([held, used, denied].map(({ verdict }) => verdict)).toEqual(["hold", "allow", "deny"]);

    const policy = { version: 1, budgets: { session: 1 }, approvals: { actions: ["pay"] } };
    for (const asked of [{ policy }, { policy, replaces: "main" }]) {
      expect(await simulate(tenant.operator, asked)).toMatchObject({ decisions: 3, same: 3, same_for_another_reason: 0, by_rule: [] });
    }
    // Two would have had to approve it: it was not done, and its money is there for the other.
    expect(await simulate(tenant.operator, { policy: { ...policy, approvals: { actions: ["pay"], quorum: 2 } } })).toMatchObject({
      same: 1,
      changed: { newly_held: { count: 1, money_usd: "0.9" }, newly_allowed: { count: 1, money_usd: "0.5" } },
    });
    // Nobody would have had to: it was done when it was first asked, once.
    expect(await simulate(tenant.operator, { policy: { version: 1, budgets: { session: 1 } } })).toMatchObject({
      same: 2,
      changed: { no_longer_held: { count: 1, money_usd: "0.9" } },
    });
  });
});

it("what was paid from the reserve for winding down, because another session had spent what they share, is the same", async () => {
  const policy = "version: 1\nbudgets: { session: 0.55, agent: { total: 1 } }\nwind_down: { actions: [save], budget: 0.3 }\n";
  const tenant = await newTenant(policy);
  const [other, session] = [await open(tenant.agent), await open(tenant.agent)];
  await decide(tenant.agent, other.id, { action: "x", estimate_usd: "0.55" });
  const asked: (readonly [string, string])[] = [
    ["x", "0.35"],
    ["save", "0.2"],
    ["x", "0.1"],
  ];
  const answers: wire.Decision[] = [];
  for (const [action, estimate_usd] of asked) answers.push(await decide(tenant.agent, session.id, { action, estimate_usd }));
  expect(answers).toMatchObject([{ verdict: "allow" }, { verdict: "allow", advice: [{ code: "wind_down" }] }, { verdict: "allow" }]);
  expect(await simulate(tenant.operator, { policy, session: session.id })).toMatchObject({ decisions: 3, same: 3, by_rule: [] });
});

describe("who may ask, and about what", () => {
  let tenant: Tenant;
  let eve: string;
  let ofAda: wire.OpenedSession;
  let ofEve: wire.OpenedSession;

  beforeAll(async () => {
    tenant = await newTenant("version: 1\nbudgets: { session: 5 }\n");
    eve = await tokenOf(tenant.id, "eve", "agent", AGENT);
    ofAda = await open(tenant.agent);
    ofEve = await open(eve);
    await decide(tenant.agent, ofAda.id, { action: "a", estimate_usd: "1" });
    await decide(eve, ofEve.id, { action: "a", estimate_usd: "2" });
    await decide(eve, ofEve.id, { action: "b", estimate_usd: "0.5", inputs: { env: "prod" } });
  });

  const DENY = { version: 1, denied_actions: ["a"] };

  it("an operator is told of all sessions, the latest first, or of one agent's, or of one", async () => {
    const all = await simulate(tenant.operator, { policy: DENY });
    expect(all).toMatchObject({ sessions: 2, decisions: 3, changed: { newly_denied: { count: 2, money_usd: "3" } }, prevented_usd: "3" });
    expect(await simulate(tenant.operator, { policy: DENY, agent: "eve" })).toMatchObject({ sessions: 1, decisions: 2, prevented_usd: "2" });
    expect(await simulate(tenant.operator, { policy: DENY, session: ofAda.id })).toMatchObject({ sessions: 1, decisions: 1, prevented_usd: "1" });
  });

  it("an agent is told of its own", async () => {
    expect(await simulate(eve, { policy: DENY })).toMatchObject({ sessions: 1, decisions: 2, prevented_usd: "2" });
    expect(await refused(403, eve, { policy: DENY, agent: "ada" })).toMatchObject({ code: "not_your_session", issues: [{ pointer: "/agent" }] });
    expect(await refused(403, eve, { policy: DENY, session: ofAda.id })).toMatchObject({
      code: "not_your_session",
      issues: [{ pointer: "/session" }],
    });
  });

  it("nobody is told of another tenant's session, nor of one that never was", async () => {
    const other = await newTenant("version: 1");
    expect(await refused(404, other.operator, { policy: DENY, session: ofAda.id })).toMatchObject({ code: "not_found" });
    expect(await simulate(other.operator, { policy: DENY })).toMatchObject({ sessions: 0, decisions: 0 });
  });

  it("a document's mistakes are below /policy, and a text's have lines", async () => {
    expect(await refused(422, tenant.operator, { policy: { version: 1, denied_acts: ["a"], budgets: { session: -1 } } })).toMatchObject({
      code: "policy_invalid",
      issues: [{ pointer: "/policy/denied_acts" }, { pointer: "/policy/budgets/session" }],
    });
    const problem = await refused(422, tenant.operator, { policy: "version: 1\nrules:\n  - { effect: forbid, actions: [a], when: 'inputs.' }\n" });
    expect(problem).toMatchObject({ code: "policy_invalid", issues: [{ pointer: "/policy/rules/0/when", line: 3 }] });
    const ofDocument = await refused(422, tenant.operator, { policy: { version: 1, denied_acts: [] } });
    expect(ofDocument.issues?.[0]).not.toHaveProperty("line");
  });

  it("stands alone, or beside the other layers in the place of one", async () => {
    const layered = await newTenant("version: 1\ndenied_actions: [a]\n");
    await layered.put("version: 1\ndenied_actions: [b]\n", "second");
    await layered.put("version: 1\ndenied_actions: [c]\n", "eves", "?scope=agent&target=eve");
    const session = await open(layered.agent);
    for (const action of ["a", "b", "c"]) await decide(layered.agent, session.id, { action });
    const policy = { version: 1, denied_actions: ["c"] };
    expect(await simulate(layered.operator, { policy })).toMatchObject({
      decisions: 3,
      same: 0,
      changed: { newly_allowed: { count: 2 }, newly_denied: { count: 1 } },
    });
    // The second layer still denies b, and the candidate stands in the place of the first.
    expect(await simulate(layered.operator, { policy, replaces: "main" })).toMatchObject({
      policy: { replaces: "main" },
      same: 1,
      changed: { newly_allowed: { count: 1 }, newly_denied: { count: 1 } },
    });
    // A policy of one agent says nothing about another's sessions.
    expect(await simulate(layered.operator, { policy, replaces: "eves" })).toMatchObject({ sessions: 0 });
    expect(await refused(422, layered.operator, { policy, replaces: "eves", agent: "ada" })).toMatchObject({ issues: [{ pointer: "/agent" }] });
    expect(await refused(404, layered.operator, { policy, replaces: "none" })).toMatchObject({ code: "not_found" });
  });

  it("knows from the policy of then whether inputs were sent", async () => {
    const policy = "rules: [{ id: r, effect: forbid, actions: [b, c], when: \"inputs.env == 'prod'\" }]";
    const digests = await newTenant("version: 1\nredact: { store_inputs: digest }\n");
    const session = await open(digests.agent);
    await decide(digests.agent, session.id, { action: "b", inputs: { env: "prod" } });
    await decide(digests.agent, session.id, { action: "c" });
    // Of b only a digest is kept; c was called with nothing, and a rule that fails forbids.
    expect(await simulate(digests.operator, { policy })).toMatchObject({ uncertain: { count: 1 }, changed: { newly_denied: { count: 1 } } });
    expect(await simulate(tenant.operator, { policy })).toMatchObject({
      uncertain: { count: 0 },
      changed: { newly_denied: { count: 1, money_usd: "0.5" } },
    });
  });

  it("looks at stored attributes", async () => {
    const policy = "rules: [{ id: r, effect: forbid, actions: [d], when: \"resource.tier == 'gold' && subject.team == 'red'\" }]";
    await decide(tenant.agent, ofAda.id, { action: "d", resource: { type: "customer", id: "c-1" } });
    await call(201, "PUT", "/v1/entities/customer/c-1", tenant.operator, { properties: { tier: "gold" } });
    await call(201, "PUT", "/v1/entities/agent/ada", tenant.operator, { properties: { team: "red" } });
    expect(await simulate(tenant.operator, { policy, session: ofAda.id })).toMatchObject({
      changed: { newly_denied: { count: 1 } },
      by_rule: [{ rule: "r", reason: "rule_forbids" }],
    });
  });
});
