import type { IssuedToken, OpenedSession } from "../../../sdk/src/wire.ts";
import { got } from "./calls.ts";
import { micro } from "./record.ts";

/** Whose agents ask, and under which policy: the same in every life. */

/** What no sum may pass. They stay the same whatever else an operator changes, so that one figure is right for the whole record. */
export const CAPS = { session: 3, run: 2, work: 2.5, agent: 4, tenant: 6 } as const;

/** One window for each kind of count, all of which open again many times in a run. */
export const RATES = [
  { action: "ping", per: "session", most: 10, windowMs: 500 },
  { action: "mail", per: "agent", most: 5, windowMs: 1_000 },
  { action: "post", per: "tenant", most: 8, windowMs: 1_000 },
] as const;

export const MOST_JOBS = 3;

/** What each action asks for, and how long its reservation stands. What a commit reports is far less, so that the budgets last for a whole run. */
export const ACTIONS: { readonly [action: string]: { readonly weight: number; readonly price: number; readonly ttlMs: number } } = {
  work: { weight: 30, price: micro(0.18), ttlMs: 3_600_000 },
  step: { weight: 20, price: micro(0.03), ttlMs: 3_600_000 },
  ping: { weight: 15, price: 0, ttlMs: 3_600_000 },
  mail: { weight: 10, price: 0, ttlMs: 3_600_000 },
  post: { weight: 10, price: 0, ttlMs: 3_600_000 },
  job: { weight: 6, price: micro(0.01), ttlMs: 3_600_000 },
  odd: { weight: 6, price: micro(0.001), ttlMs: 3_600_000 },
  /** Nobody settles it: it expires, and is posted at what it asked for. */
  brief: { weight: 3, price: micro(0.0002), ttlMs: 1_500 },
};

/** Variants differ in what does not move a cap. */
export const policyText = (variant: number): string => `version: 1
name: rules
budgets:
  session: ${CAPS.session}
  run: ${CAPS.run}
  actions: { work: ${CAPS.work} }
  agent: { day: ${CAPS.agent} }
  tenant: { day: ${CAPS.tenant} }
denied_actions: [${variant % 2 === 0 ? "never" : "never, odd"}]
concurrency: { job: ${MOST_JOBS} }
rate_limits:
${RATES.map(({ action, per, most, windowMs }) => `  ${action}: { max_count: ${most}, window_seconds: ${windowMs / 1000}${per === "session" ? "" : `, per: ${per}`} }`).join("\n")}
compliance: { variant: "${variant}" }
`;

export interface Agent {
  readonly tenant: string;
  readonly name: string;
  readonly token: string;
  /** Sessions that clients ask in: the first lives as long as the run, of the others the newest few. */
  readonly sessions: string[];
  /** Every session that was ever opened. */
  readonly opened: Set<string>;
}

export interface Tenant {
  readonly id: string;
  readonly operator: string;
  readonly agents: readonly Agent[];
}

const AGENT_SCOPES = ["sessions:write", "decisions:write", "ledger:read"];
const OPERATOR_SCOPES = [...AGENT_SCOPES, "policies:read", "policies:write", "interventions:write", "tokens:write"];

export const issue = (url: string, by: string, tenant: string, subject: string, kind: "agent" | "human"): Promise<IssuedToken> =>
  got<IssuedToken>(url, {
    method: "POST",
    path: "/v1/tokens",
    token: by,
    body: { tenant, subject, kind, scopes: kind === "agent" ? AGENT_SCOPES : OPERATOR_SCOPES },
  });

/** Makes tenants of two agents each, every agent with a session that lives as long as the run. */
export async function settle(url: string, rootKey: string, names: readonly string[]): Promise<readonly Tenant[]> {
  const tenants: Tenant[] = [];
  for (const id of names) {
    await got(url, { method: "POST", path: "/v1/tenants", token: rootKey, body: { id } });
    const { token: operator } = await issue(url, rootKey, id, "operator", "human");
    await got(url, { method: "PUT", path: "/v1/policies/rules", token: operator, body: policyText(0) });
    const agents: Agent[] = [];
    for (const name of ["ann", "bob"]) {
      const { token } = await issue(url, rootKey, id, name, "agent");
      const agent: Agent = { tenant: id, name, token, sessions: [], opened: new Set() };
      remember(agent, await openSession(url, agent));
      agents.push(agent);
    }
    tenants.push({ id, operator, agents });
  }
  return tenants;
}

export const openSession = async (url: string, agent: Agent): Promise<string> =>
  (await got<OpenedSession>(url, { method: "POST", path: "/v1/sessions", token: agent.token, body: {} })).id;

const MOST_ASKED = 4;

export function remember(agent: Agent, session: string): void {
  if (agent.opened.has(session)) return;
  agent.opened.add(session);
  agent.sessions.push(session);
  if (agent.sessions.length > MOST_ASKED) agent.sessions.splice(1, 1);
}

/** Clients leave it alone from here on. */
export function leave(agent: Agent, session: string): void {
  const place = agent.sessions.indexOf(session);
  if (place > 0) agent.sessions.splice(place, 1);
}
