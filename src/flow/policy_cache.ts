import type { Digest, Sha256 } from "../core/digest.ts";
import type { SessionId } from "../core/ids.ts";
import type { JsonValue } from "../core/json.ts";
import { roomOf } from "../core/policy/authored.ts";
import { agentRef, circumstancesOf } from "../core/policy/circumstances.ts";
import { type CompiledPolicy, compilePolicy } from "../core/policy/compile.ts";
import type { PolicyDocument } from "../core/policy/document.ts";
import { evaluatePolicy } from "../core/policy/evaluate.ts";
import { type Evaluation, type PolicyRef, workBudget } from "../core/policy/findings.ts";
import { leaseFindings } from "../core/policy/leasable.ts";
import { readPolicy } from "../core/policy/parse.ts";
import { ok } from "../core/result.ts";
import type { EntityRef, Evaluable, Evaluated, PolicyCache, Questions, Reply, Tenants } from "./ports.ts";

/**
 * What one isolate remembers of policies. Holds values only, so that requests may share it: a compiled policy by its digest never goes stale,
 * and what was last seen in force for a session is only a guess that the session itself corrects.
 */
export class PolicyMemory {
  /** `null`: the document cannot be read by this code. */
  readonly compiled = new Map<Digest, Ready | null>();
  /** How much room the compiled policies take, in characters of text, each and together. */
  readonly rooms = new Map<Digest, number>();
  compiledRoom = 0;
  readonly lastSeen = new Map<string, Seen>();
  /** The same for an agent, whose next session will most likely follow it too. */
  readonly lastSeenOf = new Map<string, Seen>();
  /** Stored attributes, each with the revision of its tenant's entities at which it was read. */
  readonly entities = new Map<string, Remembered>();
  /** How many characters of JSON the entities are together. */
  entityCharacters = 0;
}

/** A policy ready to be asked, with its text for what is asked of it as a whole. */
interface Ready {
  readonly compiled: CompiledPolicy;
  readonly document: PolicyDocument;
}

interface Remembered {
  readonly revision: number;
  readonly properties: Properties;
  readonly characters: number;
}

interface Seen {
  readonly agent: string;
  readonly policy: PolicyRef;
  /** Attributes read at an older revision than this must be read again. */
  readonly entities: number;
}

type Properties = { readonly [attribute: string]: JsonValue };

/** A policy ready to be asked takes some times the room of its text: some 60 megabytes of the 128 that an isolate has. */
const MOST_COMPILED_ROOM = 2_000_000;
const MOST_SESSIONS = 20_000;
const MOST_ENTITY_CHARACTERS = 8_000_000;
/** What remembering one takes beside its text, about. */
const CHARACTERS_PER_ENTITY = 300;
/** What `readEntities` answers at once, in requests: each looks at no more than two entities. */
const MOST_READ = 8;

/** Policies ready to be evaluated, fetched from their tenants when an isolate first needs them; stored attributes likewise. */
export function openPolicyCache(memory: PolicyMemory, tenants: Tenants, sha256: Sha256): PolicyCache {
  /** Evaluates every request, reading what is stored of its agent and resource where a condition looks at that and it is not known yet. */
  const evaluate = async (tenant: string, session: SessionId, seen: Seen, questions: Questions): Reply<Evaluated | null> => {
    const ready = memory.compiled.get(seen.policy.digest);
    if (ready !== undefined) {
      memory.compiled.delete(seen.policy.digest);
      memory.compiled.set(seen.policy.digest, ready);
    }
    if (ready === undefined) return ok(null);
    if (ready === null) {
      const invalid = { kind: "invalid", policy: seen.policy } as const;
      return ok({ under: seen.policy.digest, entities: null, evaluations: questions.requests.map((): Evaluation => invalid), lease: invalid });
    }
    const { compiled, document } = ready;
    const wanted = questions.requests.map((request) => refsOf(compiled, seen.agent, request));
    const known = new Map<string, Properties>();
    for (const ref of wanted.flat()) {
      const key = entityKey(tenant, ref);
      const found = memory.entities.get(key);
      if (found === undefined || found.revision < seen.entities) continue;
      known.set(key, found.properties);
      // What is in use is forgotten last.
      memory.entities.delete(key);
      memory.entities.set(key, found);
    }
    // Attributes that are seen together are read together: what is known of the agent is read again with a resource that is not.
    const missing = wanted.flat().every((ref) => known.has(entityKey(tenant, ref))) ? [] : wanted;
    for (let from = 0; from < missing.length; from += MOST_READ) {
      const refs = missing.slice(from, from + MOST_READ).flat();
      const read = await tenants.readEntities(tenant, refs);
      if (!read.ok) return read;
      for (const [place, ref] of refs.entries()) {
        const properties = read.value.properties[place] ?? {};
        known.set(entityKey(tenant, ref), properties);
        rememberEntity(memory, entityKey(tenant, ref), read.value.revision, properties);
      }
    }
    const budget = workBudget();
    const evaluations = questions.requests.map((request): Evaluation => {
      const stored = (ref: EntityRef) => known.get(entityKey(tenant, ref)) ?? {};
      const { principal, now, isTopup } = questions;
      const around = circumstancesOf({ tenant, session, agent: seen.agent, principal, request, stored, now, isTopup, sha256, budget });
      return { kind: "findings", findings: evaluatePolicy(compiled, seen.policy, request, around) };
    });
    const entities = wanted.every((refs) => refs.length === 0) ? null : seen.entities;
    const evaluated = { under: seen.policy.digest, entities, evaluations };
    if (questions.lease === undefined) return ok(evaluated);
    return ok({ ...evaluated, lease: { kind: "findings", findings: leaseFindings(document, compiled, seen.policy, questions.lease) } });
  };

  const readyOf = (policy: PolicyRef, document: JsonValue): Ready | null => {
    const known = memory.compiled.get(policy.digest);
    if (known !== undefined) return known;
    const read = readPolicy(document);
    const ready = read.ok ? { compiled: compilePolicy(read.value), document: read.value } : null;
    rememberCompiled(memory, policy.digest, ready, roomOf(document));
    return ready;
  };

  return {
    redactionFor: async (tenant, agent) => {
      const fetched = await tenants.effectivePolicy(tenant, agent);
      if (!fetched.ok) return fetched;
      return ok(fetched.value === null ? undefined : readyOf(fetched.value.policy, fetched.value.document)?.compiled.redaction);
    },
    evaluateLastSeen: async (tenant, session, questions) => {
      const { kind, subject } = questions.principal;
      // A session belongs to the agent that may decide in it.
      const seen =
        memory.lastSeen.get(sessionKey(tenant, session)) ?? (kind === "agent" ? memory.lastSeenOf.get(agentKey(tenant, subject)) : undefined);
      if (seen === undefined) return null;
      const evaluated = await evaluate(tenant, session, seen, questions);
      // Attributes that cannot be read are asked for again once the session says that they are needed.
      return evaluated.ok ? evaluated.value : null;
    },
    evaluateUnder: async (tenant, session, { agent, policy, entities }, questions) => {
      let inForce = policy;
      if (!memory.compiled.has(policy.digest)) {
        const fetched = await tenants.effectivePolicy(tenant, agent);
        if (!fetched.ok) return fetched;
        if (fetched.value === null) return ok(null);
        // It may have moved once more since the session was told: then the session says so at the next try.
        inForce = fetched.value.policy;
        readyOf(inForce, fetched.value.document);
      }
      const seen: Seen = { agent, policy: inForce, entities };
      remember(memory.lastSeen, sessionKey(tenant, session), seen, MOST_SESSIONS);
      remember(memory.lastSeenOf, agentKey(tenant, agent), seen, MOST_SESSIONS);
      return evaluate(tenant, session, seen, questions);
    },
  };
}

/** The stored things that conditions on this request look at. */
function refsOf(compiled: CompiledPolicy, agent: string, { action, resource }: Evaluable): readonly EntityRef[] {
  const { looksAt } = compiled.ofAction(action);
  return [...(looksAt.subject ? [agentRef(agent)] : []), ...(looksAt.resource && resource !== null ? [resource] : [])];
}

const sessionKey = (tenant: string, session: SessionId): string => `${tenant}/${session}`;
const agentKey = (tenant: string, agent: string): string => `${tenant}/${agent}`;
const entityKey = (tenant: string, { type, id }: EntityRef): string => JSON.stringify([tenant, type, id]);

/** Remembers a compiled policy, forgetting the oldest beyond what an isolate has room for; the newest always stays. */
function rememberCompiled(memory: PolicyMemory, digest: Digest, compiled: Ready | null, room: number): void {
  memory.compiledRoom += room - (memory.rooms.get(digest) ?? 0);
  memory.compiled.set(digest, compiled);
  memory.rooms.set(digest, room);
  for (const oldest of memory.compiled.keys()) {
    if (memory.compiledRoom <= MOST_COMPILED_ROOM || oldest === digest) return;
    memory.compiledRoom -= memory.rooms.get(oldest) ?? 0;
    memory.compiled.delete(oldest);
    memory.rooms.delete(oldest);
  }
}

/** Remembers stored attributes, forgetting the oldest beyond what an isolate has room for. */
function rememberEntity(memory: PolicyMemory, key: string, revision: number, properties: Properties): void {
  const { entities } = memory;
  const characters = key.length + JSON.stringify(properties).length + CHARACTERS_PER_ENTITY;
  memory.entityCharacters += characters - (entities.get(key)?.characters ?? 0);
  entities.delete(key);
  entities.set(key, { revision, properties, characters });
  for (const [oldest, { characters: gone }] of entities) {
    if (memory.entityCharacters <= MOST_ENTITY_CHARACTERS) return;
    entities.delete(oldest);
    memory.entityCharacters -= gone;
  }
}

/** Remembers at most so many, forgetting the oldest. */
function remember<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= most) return;
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
}
