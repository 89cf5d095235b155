import type { Chance } from "./chance.ts";
import type { Operation } from "./operations.ts";

/** What a lane has seen of its tenant: names and ids that answers told, so that later requests reach what is there. */
export class Pools {
  readonly #kept = new Map<PoolName, (readonly string[])[]>();

  /** Remembers something with what it belongs to: a decision with its session. The latest hundred of a kind. */
  add(pool: PoolName, ...parts: readonly unknown[]): void {
    if (!parts.every((part) => typeof part === "string" && part !== "")) return;
    // Looked at just above.
    const texts = parts as readonly string[];
    const kept = this.#kept.get(pool) ?? [];
    if (kept.some((one) => one.join("\0") === texts.join("\0"))) return;
    kept.push(texts);
    this.#kept.set(pool, kept.slice(-100));
  }

  drop(pool: PoolName, last: string): void {
    this.#kept.set(
      pool,
      (this.#kept.get(pool) ?? []).filter((one) => one.at(-1) !== last),
    );
  }

  /** One of a kind, more often a late one; `null`: none was seen. */
  pick(pool: PoolName, chance: Chance): readonly string[] | null {
    const kept = this.#kept.get(pool) ?? [];
    if (kept.length === 0) return null;
    return (
      (chance.isLucky(0.6) ? kept.slice(-4) : kept)[chance.below(Math.min(kept.length, chance.isLucky(0.6) ? 4 : kept.length))] ?? kept.at(-1) ?? null
    );
  }

  /** One of a kind that belongs to something. */
  pickOf(pool: PoolName, owner: string, chance: Chance): string | null {
    const own = (this.#kept.get(pool) ?? []).filter(([first]) => first === owner);
    return own.length === 0 ? null : (chance.pick(own).at(-1) ?? null);
  }

  /** The latest of a kind that belongs to something. */
  lastOf(pool: PoolName, owner: string): string | null {
    return (this.#kept.get(pool) ?? []).findLast(([first]) => first === owner)?.at(-1) ?? null;
  }

  last(pool: PoolName): readonly string[] | null {
    return this.#kept.get(pool)?.at(-1) ?? null;
  }

  /** Every text that is known, with a name for it: longest first. */
  names(): readonly (readonly [text: string, name: string])[] {
    return [...this.#kept]
      .flatMap(([pool, all]) => all.map((parts) => [parts.at(-1) ?? "", pool] as const))
      .sort((a, b) => b[0].length - a[0].length);
  }
}

export type PoolName =
  | "session"
  | "run"
  | "decision"
  | "pending"
  | "entry"
  | "token"
  | "policy"
  | "version"
  | "entity"
  | "issuer"
  | "approval"
  | "waiting"
  | "questioned"
  | "digest"
  | "webhook"
  | "delivery"
  | "lease"
  | "etag"
  | `cursor ${string}`;

/** Which approvals can still be answered, and which the agent is asked about. */
const OPEN_APPROVALS: readonly (readonly [PoolName, readonly string[]])[] = [
  ["waiting", ["pending", "info_requested"]],
  ["questioned", ["info_requested"]],
];

type Members = { readonly [name: string]: unknown };

const membersOf = (value: unknown): Members => (typeof value === "object" && value !== null ? (value as Members) : {});
const itemsOf = (value: unknown): readonly Members[] => (Array.isArray(value) ? value.map(membersOf) : []);

/** Learns from a good answer what can be asked for later. `own`: token ids that the lane needs itself. */
export function learn(
  pools: Pools,
  operation: Operation,
  path: { readonly [name: string]: string },
  answer: unknown,
  etag: string | undefined,
  own: readonly string[],
): void {
  const body = membersOf(answer);
  const { session = "" } = path;
  const decided = (one: Members): void => {
    pools.add("decision", one.session, one.id);
    if (one.verdict === "allow") pools.add("pending", one.session, one.id);
    pools.add("approval", membersOf(one.approval).id);
    pools.add("waiting", membersOf(one.approval).id);
    pools.add("entry", membersOf(one.entry).id);
  };
  if (etag !== undefined) pools.add("etag", etag);
  if (typeof body.next_cursor === "string") pools.add(`cursor ${operation.id}`, body.next_cursor);
  if (typeof body.next === "string") pools.add(`cursor ${operation.id}`, body.next);
  const asked = (one: Members): void => {
    pools.add("approval", one.id);
    pools.add("digest", one.id, one.action_digest);
    for (const [pool, statuses] of OPEN_APPROVALS) {
      if (statuses.includes(String(one.status))) pools.add(pool, one.id);
      else pools.drop(pool, String(one.id));
    }
  };
  switch (operation.id) {
    case "readApproval":
    case "decideApproval":
    case "respondApproval":
    case "cancelApproval":
      asked(body);
      break;
    case "listApprovals":
      for (const one of itemsOf(body.items).slice(0, 5)) asked(one);
      break;
    case "createWebhook":
      pools.add("webhook", body.id);
      break;
    case "listDeliveries":
      for (const { id } of itemsOf(body.items).slice(0, 5)) pools.add("delivery", path.webhook, id);
      break;
    case "deleteWebhook":
      if (path.webhook !== undefined) pools.drop("webhook", path.webhook);
      break;
    case "openSession":
      pools.add("session", body.id);
      pools.add("run", body.id, body.run);
      break;
    case "listSessions":
      for (const { id } of itemsOf(body.items).slice(0, 3)) pools.add("session", id);
      break;
    case "openRun":
      pools.add("run", session, body.id);
      break;
    case "closeSession":
      if (path.session !== undefined) pools.drop("session", path.session);
      break;
    case "decide":
      decided(body);
      break;
    case "decideBatch":
      for (const one of itemsOf(body.decisions)) decided(one);
      break;
    case "grantLease":
      pools.add("lease", session, body.id);
      break;
    case "commitDecision":
    case "releaseDecision":
      if (path.decision !== undefined) pools.drop("pending", path.decision);
      break;
    case "listEntries":
      for (const { id } of itemsOf(body.items).slice(0, 5)) pools.add("entry", id);
      break;
    case "putPolicy":
      pools.add("policy", body.name);
      pools.add("version", body.name, String(body.version));
      break;
    case "deletePolicy":
      if (path.name !== undefined) pools.drop("policy", path.name);
      break;
    case "putEntity":
      pools.add("entity", body.type, body.id);
      break;
    case "deleteEntity":
      if (path.id !== undefined) pools.drop("entity", path.id);
      break;
    case "putIssuer":
      pools.add("issuer", body.name);
      break;
    case "deleteIssuer":
      if (path.name !== undefined) pools.drop("issuer", path.name);
      break;
    case "issueToken":
      if (typeof body.id === "string" && !own.includes(body.id)) pools.add("token", body.id);
      break;
    case "revokeToken":
      if (path.token !== undefined) pools.drop("token", path.token);
      break;
  }
}
