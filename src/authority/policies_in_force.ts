import type { Digest } from "../core/digest.ts";
import type { JsonValue } from "../core/json.ts";
import { policyDigest } from "../core/policy/digest.ts";
import type { PolicyRef } from "../core/policy/findings.ts";
import { mergePolicies, nameOfLayers } from "../core/policy/merge.ts";
import { readPolicy } from "../core/policy/parse.ts";
import { DEFAULT_DETECTORS, type Detector } from "../core/redact.ts";
import type { EffectivePolicy } from "../flow/ports.ts";
import type { SettingsStore } from "./settings_store.ts";
import { sha256 } from "./sha256.ts";
import type { TenantStore } from "./tenant_store.ts";

/** Which policy binds which agent of a tenant, by its active versions and its settings. Remembered until it is told to `forget`. */
export class PoliciesInForce {
  readonly #store: TenantStore;
  readonly #settings: SettingsStore;
  /** What is in force, by the versions that it comes of, until anything changes. */
  readonly #effective = new Map<string, EffectivePolicy | null>();
  /** The same without the documents, which may be large: leases name a policy and do not carry it. */
  readonly #policies = new Map<string, PolicyRef | null>();

  constructor(store: TenantStore, settings: SettingsStore) {
    this.#store = store;
    this.#settings = settings;
  }

  /** Which policy is in force for an agent. Agents under the same versions share what comes of them. */
  policyFor(agent: string | null): PolicyRef | null {
    const key = JSON.stringify(this.#versionsFor(agent));
    const known = this.#policies.get(key);
    if (known !== undefined) return known;
    const policy = this.effectiveFor(agent)?.policy ?? null;
    if (this.#policies.size >= MOST_IN_FORCE) this.#policies.clear();
    this.#policies.set(key, policy);
    return policy;
  }

  effectiveFor(agent: string | null): EffectivePolicy | null {
    const key = JSON.stringify(this.#versionsFor(agent));
    const known = this.#effective.get(key);
    if (known !== undefined) return known;
    const effective = this.#merge(agent);
    if (this.#effective.size >= MOST_EFFECTIVE) this.#effective.clear();
    this.#effective.set(key, effective);
    return effective;
  }

  /**
   * What is hidden in texts about an agent, or (`null`) about whichever: all that any policy hides that is in force for it. `undefined`: none is in force
   * for it, or one that does not say so in words known here, and nobody knows what must be hidden.
   */
  hiddenFor(agent: string | null): { readonly detect: readonly Detector[] } | undefined {
    const own = this.#versionsFor(agent);
    if (own.length === 0) return undefined;
    const detect = new Set<Detector>();
    for (const [name, version] of agent === null ? [...own, ...this.#store.activeVersionsOfAgents()] : own) {
      const named = this.#store.detectorsOf(name, version);
      if (named === undefined) return undefined;
      for (const each of named ?? DEFAULT_DETECTORS) detect.add(each);
    }
    return { detect: [...detect] };
  }

  /** Which versions are in force for an agent: the active ones, or where none is, the tenant's default, if it has one. */
  #versionsFor(agent: string | null): readonly (readonly [name: string, version: number])[] {
    const active = this.#store.activeVersions(agent);
    if (active.length > 0) return active;
    const { defaultPolicy } = this.#settings.read();
    const policy = defaultPolicy === null ? null : this.#store.findPolicy(defaultPolicy);
    return policy === null ? [] : [[policy.name, policy.activeVersion ?? policy.latestVersion]];
  }

  #merge(agent: string | null): EffectivePolicy | null {
    const layers = this.#versionsFor(agent).flatMap(([name, version]) => this.#store.readVersion(name, version) ?? []);
    const last = layers.at(-1);
    if (last === undefined) return null;
    if (layers.length === 1)
      return { policy: { name: last.name, version: last.version, digest: last.digest }, document: last.document, conflicts: [] };
    const named = (digest: Digest): PolicyRef => ({ name: nameOfLayers(layers), version: last.version, digest });
    const readable: Parameters<typeof mergePolicies>[0][number][] = [];
    for (const { name, version, document, digest } of layers) {
      const read = readPolicy(document);
      // A stored layer that this code cannot read must not silently drop out: handed on as it is, it makes every decision `policy_invalid`.
      if (!read.ok) return { policy: named(digest), document, conflicts: [] };
      readable.push({ name, version, document: read.value });
    }
    const { document, conflicts } = mergePolicies(readable);
    // A document is plain JSON; its type says more of its members than JSON's own type can.
    return { policy: named(policyDigest(sha256, document)), document: document as unknown as JsonValue, conflicts };
  }

  /** A version, a default or what it stands for has changed. */
  forget(): void {
    this.#effective.clear();
    this.#policies.clear();
  }
}

/** So many agents' merged policies are kept ready. */
const MOST_EFFECTIVE = 8;
const MOST_IN_FORCE = 1_000;
