import type { Sha256 } from "../digest.ts";
import type { SessionId } from "../ids.ts";
import type { JsonValue } from "../json.ts";
import type { ActionRequest, Principal } from "../request.ts";
import type { Instant } from "../time.ts";
import type { Circumstances } from "./evaluate.ts";
import type { WorkBudget } from "./findings.ts";

interface Ref {
  readonly type: string;
  readonly id: string;
}

/** What is known when a request is evaluated. */
export interface Known {
  readonly tenant: string;
  readonly session: SessionId;
  readonly agent: string;
  readonly principal: Pick<Principal, "subject" | "kind">;
  readonly request: Pick<ActionRequest, "resource" | "riskLevel" | "confidence" | "rationale" | "sources" | "model">;
  /** What is stored of a subject or a resource. */
  readonly stored: (ref: Ref) => { readonly [attribute: string]: JsonValue };
  readonly now: Instant;
  readonly isTopup: boolean;
  readonly sha256: Sha256;
  readonly budget: WorkBudget;
}

/** Where attributes of an agent are stored. */
export const agentRef = (agent: string): Ref => ({ type: AGENT, id: agent });

const AGENT = "agent";

/**
 * What conditions can look at beside the request's own members. The subject is the agent whose session it is, whoever asks for it: who does stands
 * in `context.principal`.
 */
export function circumstancesOf({ tenant, session, agent, principal, request, stored, now, isTopup, sha256, budget }: Known): Circumstances {
  const { resource, riskLevel, confidence, rationale, sources, model } = request;
  return {
    subject: { ...stored(agentRef(agent)), type: AGENT, kind: AGENT, id: agent },
    resource: resource === null ? {} : stored(resource),
    context: {
      tenant,
      session,
      principal: { subject: principal.subject, kind: principal.kind },
      risk_level: riskLevel,
      confidence,
      rationale,
      sources: sources.map(({ source, version }) => ({ source, version: version ?? null })),
      model: model === null ? null : { provider: model.provider ?? null, name: model.name, version: model.version ?? null },
    },
    now,
    isTopup,
    sha256,
    budget,
  };
}
