import { createHash } from "node:crypto";
import { LEASE_TERM_MS } from "../../../../src/authority/lease_term.ts";
import { policyDigest } from "../../../../src/core/policy/digest.ts";
import type { PolicyDocument } from "../../../../src/core/policy/document.ts";
import { mergePolicies } from "../../../../src/core/policy/merge.ts";
import { type Limits, readLimits } from "./limits.ts";
import { demand } from "./violation.ts";

interface Known {
  readonly scope: string;
  readonly target: string | null;
  readonly versions: Map<number, string>;
  active: number | null;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Which policy was in force for which agent, from when to when, as the tenant's own entries say. */
export class Policies {
  readonly #documents = new Map<string, PolicyDocument>();
  readonly #limits = new Map<string, Limits>();
  readonly #named = new Map<string, Known>();
  readonly #agents: readonly string[];
  /** By agent: each digest with the instant from which on it was in force, the newest last. */
  readonly #history = new Map<string, { readonly digest: string | null; readonly since: number }[]>();

  constructor(agents: readonly string[]) {
    this.#agents = agents;
    for (const agent of agents) this.#history.set(agent, [{ digest: null, since: 0 }]);
  }

  /** A document that somebody is about to publish. */
  learn(digest: string, document: PolicyDocument): void {
    this.#documents.set(digest, document);
  }

  put(name: string, version: number, digest: string, scope: string, target: string | null, isActive: boolean, at: number): void {
    const known = this.#named.get(name);
    const next: Known = { scope, target, versions: known?.versions ?? new Map(), active: isActive ? version : (known?.active ?? null) };
    next.versions.set(version, digest);
    this.#named.set(name, next);
    this.#note(at);
  }

  activate(name: string, version: number | null, at: number): void {
    const known = this.#named.get(name);
    if (known !== undefined) known.active = version;
    this.#note(at);
  }

  /** The limits of a policy, which must have been in force for an agent at some instant within a lease's term. */
  limitsInForce(agent: string, digest: string, at: number, setBackMs: number, chain: string, seq: number): Limits {
    const history = this.#history.get(agent) ?? [];
    const earliest = at - LEASE_TERM_MS - setBackMs;
    let isFound = false;
    for (let place = history.length - 1; place >= 0; place--) {
      const one = history[place];
      const until = history[place + 1]?.since ?? Number.POSITIVE_INFINITY;
      if (one === undefined || until <= earliest) break;
      if (one.digest === digest && one.since <= at) isFound = true;
    }
    demand(isFound, "what is in force is in force everywhere within a lease's term", () => ({
      chain,
      seq,
      agent,
      digest,
      at,
      history: history.slice(-4),
    }));
    return this.#limitsOf(digest);
  }

  #limitsOf(digest: string): Limits {
    const known = this.#limits.get(digest);
    if (known !== undefined) return known;
    const document = this.#documents.get(digest);
    if (document === undefined) throw new Error(`nobody published ${digest}`);
    const limits = readLimits(document);
    this.#limits.set(digest, limits);
    return limits;
  }

  #note(at: number): void {
    for (const agent of this.#agents) {
      const history = this.#history.get(agent) ?? [];
      const digest = this.#effective(agent);
      if (history.at(-1)?.digest !== digest) history.push({ digest, since: at });
    }
  }

  #effective(agent: string): string | null {
    const layers = Array.from(this.#named)
      .filter(([, { active, scope, target }]) => active !== null && (scope === "tenant" || target === agent))
      .sort(([a, { scope: s }], [b, { scope: t }]) => (s === t ? (a < b ? -1 : 1) : s === "tenant" ? -1 : 1))
      .map(([name, { active, versions }]) => ({ name, version: active ?? 0, digest: versions.get(active ?? 0) ?? "" }));
    const [first] = layers;
    if (first === undefined) return null;
    if (layers.length === 1) return first.digest;
    const { document } = mergePolicies(
      layers.map(({ name, version, digest }) => {
        const found = this.#documents.get(digest);
        if (found === undefined) throw new Error(`nobody published ${digest}`);
        return { name, version, document: found };
      }),
    );
    const digest = policyDigest(sha256, document);
    this.#documents.set(digest, document);
    return digest;
  }
}
