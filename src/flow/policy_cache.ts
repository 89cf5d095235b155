import type { Digest } from "../core/digest.ts";
import type { SessionId } from "../core/ids.ts";
import { type CompiledPolicy, compilePolicy } from "../core/policy/compile.ts";
import { evaluatePolicy } from "../core/policy/evaluate.ts";
import type { Evaluation, PolicyRef } from "../core/policy/findings.ts";
import { readPolicy } from "../core/policy/parse.ts";
import { ok } from "../core/result.ts";
import type { Evaluable, PolicyCache, Tenants } from "./ports.ts";

/**
 * What one isolate remembers of policies. Holds values only, so that requests may share it: a compiled policy by its digest never goes stale,
 * and the one last seen in force for a session is only a guess that the session itself corrects.
 */
export class PolicyMemory {
  /** `null`: the document cannot be read by this code. */
  readonly compiled = new Map<Digest, CompiledPolicy | null>();
  readonly lastSeen = new Map<string, PolicyRef>();
}

const MOST_COMPILED = 200;
const MOST_SESSIONS = 20_000;

/** Policies ready to be evaluated, fetched from their tenants when an isolate first needs them. */
export function openPolicyCache(memory: PolicyMemory, tenants: Tenants): PolicyCache {
  return {
    evaluateLastSeen: (tenant, session, requests) => {
      const policy = memory.lastSeen.get(sessionKey(tenant, session));
      const compiled = policy === undefined ? undefined : memory.compiled.get(policy.digest);
      if (policy === undefined || compiled === undefined) return null;
      return { under: policy.digest, evaluations: evaluateAll(compiled, policy, requests) };
    },
    evaluateUnder: async (tenant, session, { agent, policy }, requests) => {
      let inForce = policy;
      if (!memory.compiled.has(policy.digest)) {
        const fetched = await tenants.effectivePolicy(tenant, agent);
        if (!fetched.ok) return fetched;
        if (fetched.value === null) return ok(null);
        // It may have moved once more since the session was told: then the session says so at the next try.
        inForce = fetched.value.policy;
        const read = readPolicy(fetched.value.document);
        remember(memory.compiled, inForce.digest, read.ok ? compilePolicy(read.value) : null, MOST_COMPILED);
      }
      remember(memory.lastSeen, sessionKey(tenant, session), inForce, MOST_SESSIONS);
      return ok({ under: inForce.digest, evaluations: evaluateAll(memory.compiled.get(inForce.digest) ?? null, inForce, requests) });
    },
  };
}

const evaluateAll = (compiled: CompiledPolicy | null, policy: PolicyRef, requests: readonly Evaluable[]): readonly Evaluation[] =>
  requests.map((request) =>
    compiled === null ? { kind: "invalid", policy } : { kind: "findings", findings: evaluatePolicy(compiled, policy, request) },
  );

const sessionKey = (tenant: string, session: SessionId): string => `${tenant}/${session}`;

/** Remembers at most so many, forgetting the oldest. */
function remember<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= most) return;
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
}
