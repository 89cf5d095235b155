import { env } from "cloudflare:workers";
import { expect } from "vitest";
import type { Decision } from "../../src/core/decision.ts";
import { type DecisionId, idOf, type SessionId, type TokenId } from "../../src/core/ids.ts";
import { type MicroUsd, microUsdOf, parseUsd } from "../../src/core/money.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import type { ActionRequest, CommitReport, Principal } from "../../src/core/request.ts";
import type { Result } from "../../src/core/result.ts";
import { type AskedAction, decide } from "../../src/flow/decide.ts";
import { openSession } from "../../src/flow/open_session.ts";
import type { BatchSemantics, Ports } from "../../src/flow/ports.ts";
import { openPorts } from "../../src/ports.ts";

/** The real ports over the real runtime. */
export const ports: Ports = openPorts(env);

export const usd = (text: string): MicroUsd => got(parseUsd(text));

/** The value of an answer; a refusal fails the test with its text. */
export function got<T>(result: Result<T, unknown>): T {
  expect(result, result.ok ? "" : JSON.stringify(result)).toMatchObject({ ok: true });
  if (!result.ok) throw new Error("unreachable");
  return result.value;
}

export const refusalOf = (result: Result<unknown, { readonly code: string }>): string =>
  result.ok ? `answered ${JSON.stringify(result.value)}` : result.error.code;

const random = (bytes: number): Uint8Array => crypto.getRandomValues(new Uint8Array(bytes));

export const newDecisionId = (): DecisionId => idOf("dec", Date.now(), random(10));

/** A tenant of its own for every test, with a policy in force and an agent's token. */
export async function newTenant(
  policy: string | null,
): Promise<{ tenant: string; agent: Principal; operator: Principal; put: (text: string, name?: string, agent?: string | null) => Promise<void> }> {
  const tenant = `t-${Buffer.from(random(6)).toString("hex")}`;
  got(await ports.tenants.create({ id: tenant, name: null }));
  const principal = (subject: string, kind: Principal["kind"]): Principal => ({
    tokenId: idOf("tok", Date.now(), random(10)) as TokenId,
    tenant,
    subject,
    kind,
  });
  const operator = principal("ops", "human");
  const put = async (text: string, name = "main", target: string | null = null) => {
    const { document } = got(parsePolicy(text, "yaml"));
    got(
      await ports.tenants.putPolicy(tenant, operator, {
        name,
        scope: target === null ? "tenant" : "agent",
        target,
        document: JSON.parse(JSON.stringify(document)),
        digest: policyDigest(ports.sha256, document),
        text,
        format: "yaml",
        activate: true,
      }),
    );
  };
  if (policy !== null) await put(policy);
  return { tenant, agent: principal("bot", "agent"), operator, put };
}

export async function newSession(principal: Principal, budget: string | null = null): Promise<SessionId> {
  const opened = await openSession(
    ports,
    principal,
    { agent: null, labels: {}, budgetMicroUsd: budget === null ? null : usd(budget), ttlMs: 3_600_000 },
    null,
  );
  return got(opened).answer.id;
}

export const asked = (action: string, more: Partial<AskedAction> = {}): AskedAction => ({
  id: null,
  run: null,
  action,
  resource: null,
  estimateMicroUsd: microUsdOf(0),
  tags: [],
  riskLevel: null,
  inputs: undefined,
  inputsDigest: null,
  rationale: null,
  confidence: null,
  sources: [],
  parents: [],
  model: null,
  usage: null,
  approval: null,
  ttlMs: 300_000,
  ...more,
});

export async function decideOne(principal: Principal, session: SessionId, action: string, more: Partial<ActionRequest> = {}): Promise<Decision> {
  const decisions = got(
    await decide(ports, { principal, session, asked: [asked(action, more)], batch: false, semantics: "independent", key: null, now: Date.now() }),
  );
  const [only] = decisions;
  if (only === undefined) throw new Error("a decision was expected");
  return only.answer;
}

export const decideMany = async (
  principal: Principal,
  session: SessionId,
  all: readonly AskedAction[],
  semantics: BatchSemantics,
): Promise<readonly Decision[]> =>
  got(await decide(ports, { principal, session, asked: all, batch: true, semantics, key: null, now: Date.now() })).map(({ answer }) => answer);

export const report = (cost: string, more: Partial<CommitReport> = {}): CommitReport => ({
  costMicroUsd: usd(cost),
  outcome: "success",
  durationMs: null,
  outputs: undefined,
  error: null,
  usage: null,
  ...more,
});

export const commitOf = (principal: Principal, session: SessionId, id: DecisionId, cost: string) =>
  ports.sessions.commit(principal.tenant, session, principal, id, report(cost), ports.sha256(cost));

export const readOf = async (principal: Principal, session: SessionId) => got(await ports.sessions.read(principal.tenant, session, principal));
