import { CHAIN_START } from "../core/entry.ts";
import { canonicalJson } from "../core/json.ts";
import { TESTIMONY_CHAIN } from "../core/testimony.ts";
import { isMapping } from "./gateway.ts";
import { sha256 } from "./policy_file.ts";

/** Where a chain stands. */
export interface Head {
  readonly seq: number;
  readonly hash: string;
}

/** Where all chains stood once the entry at a place of the tenant's ledger had come, in one digest. */
export interface Heads {
  readonly index: number;
  readonly digest: string;
}

/** Places of a tenant's ledger, both ends included. */
export interface Places {
  readonly from: number;
  readonly to: number;
}

/** Entries of what was reported behind which others are missing: how many times, and the first as a sentence. */
interface Thinned {
  readonly count: number;
  readonly why: string;
}

/** So many gaps are named; the others are counted. */
const GAPS_NAMED = 5;

/**
 * Follows the chains of a gateway's export, entry by entry as it comes: every session has one, the tenant one of its own, and all that was reported is one.
 * Keeps nothing but where each chain stands, and the tenant's ledger as a whole.
 */
export class ExportedChains {
  /** Where each chain stands, and how many places were missing by then. */
  readonly #heads = new Map<string, Head & { readonly missing: number }>();
  readonly #indices = new Map<string, number>();
  readonly #gaps: Places[] = [];
  #missing = 0;
  #erased = 0;
  #begunLater = 0;
  #thinned: Thinned | null = null;
  readonly #sessions = new Set<unknown>();
  readonly #agents = new Set<unknown>();
  readonly #kept: Heads | null;
  /** Where all chains stood at the place of `kept`; `null`: nothing of that place came. */
  #thenStood: Heads | null = null;

  /** `kept`: heads of an earlier reading, to be found again on the way. */
  constructor(kept: Heads | null = null) {
    this.#kept = kept;
  }

  /** Takes the next line. Gives what is wrong with it, as a sentence that begins with its seq or "it", or `null`. After a wrong one nothing more can be said. */
  take(text: string): string | null {
    let entry: unknown;
    try {
      entry = JSON.parse(text);
    } catch {
      return "it is no JSON";
    }
    if (!isMapping(entry)) return "it is no JSON object";
    try {
      return this.#follow(entry, text);
    } catch (fault) {
      // What nests deeper than this can print was never written by a gateway.
      if (fault instanceof RangeError) return "it is nested too deeply for an entry";
      throw fault;
    }
  }

  #follow(entry: { readonly [member: string]: unknown }, text: string): string | null {
    const { kind, seq, prev_hash, hash, index, tenant_id, session_id, agent_id, payload, payload_digest } = entry;
    if (typeof seq !== "number" || !Number.isSafeInteger(seq) || seq < 1 || typeof prev_hash !== "string" || typeof hash !== "string")
      return "it has no seq, prev_hash and hash, so it belongs to no chain";
    if (hasTwice(entry, text)) return `seq ${seq} has a member twice, so that readers may read it differently`;

    // Inputs and outputs lie beside the entry, so that they can be erased; the entry has their digest.
    if (sha256(canonicalJson({ ...entry, hash: undefined, index: undefined, payload: undefined })) !== hash)
      return `seq ${seq} is not what its hash was made of: it was changed after it was written`;
    const isHere = payload !== null && payload !== undefined;
    if (isHere && payload_digest !== `sha-256:${sha256(canonicalJson(payload))}`)
      return `the inputs and outputs of seq ${seq} are not what its payload_digest was made of: they were changed`;

    // What was reported may name a session, and is no part of that one's chain.
    const chain = kind === "ingest" ? TESTIMONY_CHAIN : session_id;
    const name = JSON.stringify([tenant_id, chain]);
    const whose =
      chain === null
        ? `of the chain of the tenant ${JSON.stringify(tenant_id)}`
        : kind === "ingest"
          ? `of what was reported to the tenant ${JSON.stringify(tenant_id)}`
          : `of ${String(chain)}`;
    const before = this.#heads.get(name);
    const misplaced = this.#place(String(tenant_id), index);
    const wrong = before === undefined ? wrongBeginning(seq, prev_hash) : wrongNext(before, seq, prev_hash);
    // An export of one session has what was reported of it, and not what was reported of others: that is among the places that are missing since.
    const isThinned = kind === "ingest" && before !== undefined && seq > before.seq + 1 && this.#missing - before.missing >= seq - before.seq - 1;
    const astray = (isThinned ? null : wrong) ?? misplaced;
    if (astray !== null) return `seq ${seq} ${whose} ${astray}`;
    if (isThinned) this.#thinned = { count: (this.#thinned?.count ?? 0) + 1, why: this.#thinned?.why ?? `seq ${seq} ${whose} ${wrong}` };
    // More than one is all that is asked.
    if (this.#sessions.size < 2) this.#sessions.add(session_id);
    if (this.#agents.size < 2) this.#agents.add(agent_id);
    if (!isHere && payload_digest !== null) this.#erased++;
    if (before === undefined && seq > 1) this.#begunLater++;
    this.#heads.set(name, { seq, hash, missing: this.#missing });
    if (index === this.#kept?.index) this.#thenStood = this.heads;
    return null;
  }

  /** The index is in no hash. But an export comes in its order, so whatever is not here leaves a gap, unless it is the end. */
  #place(tenant: string, index: unknown): string | null {
    if (typeof index !== "number" || !Number.isSafeInteger(index) || index < 0) return "has no index, which is its place in the tenant's ledger";
    const last = this.#indices.get(tenant) ?? -1;
    if (index === last) return `has index ${index}, as the entry before it has`;
    if (index < last) return `has index ${index}, and stands behind index ${last}: entries are out of order, or an index was changed`;
    if (index > last + 1) {
      this.#missing += index - last - 1;
      if (this.#gaps.length < GAPS_NAMED) this.#gaps.push({ from: last + 1, to: index - 1 });
    }
    this.#indices.set(tenant, index);
    return null;
  }

  get chains(): number {
    return this.#heads.size;
  }

  /** Chains whose first entry here is not their first: what came before was not there to be looked at. */
  get begunLater(): number {
    return this.#begunLater;
  }

  /** How many places before the last one are not here, and where the first gaps are. */
  get missing(): { readonly count: number; readonly first: readonly Places[] } {
    return { count: this.#missing, first: this.#gaps };
  }

  /** How often others are missing before an entry of what was reported: that one was held against nothing that stands before it. */
  get thinned(): number {
    return this.#thinned?.count ?? 0;
  }

  /** The first of them as a fault, unless all that is here is of one session or of one agent: then it is of an export of that one. */
  get thinnedFault(): string | null {
    return this.#sessions.size > 1 && this.#agents.size > 1 ? (this.#thinned?.why ?? null) : null;
  }

  /** Whose entries came, in the order of their first. */
  get tenants(): readonly string[] {
    return [...this.#indices.keys()];
  }

  /** Entries whose inputs and outputs are not there. */
  get erased(): number {
    return this.#erased;
  }

  /** Where the chain ends, if there is one only. */
  get head(): Head | null {
    const [only] = this.#heads.values();
    return this.#heads.size === 1 && only !== undefined ? { seq: only.seq, hash: only.hash } : null;
  }

  /** Where all chains stand; `null` when none came, or those of several tenants, whose places nothing orders. */
  get heads(): Heads | null {
    const [index] = this.#indices.values();
    if (index === undefined || this.#indices.size > 1) return null;
    const stand = [...this.#heads].map(([name, { seq, hash }]) => [name, seq, hash] as const);
    stand.sort(([a], [b]) => (a < b ? -1 : 1));
    return { index, digest: sha256(canonicalJson(stand)) };
  }

  /** What speaks against the heads that were kept, as a sentence. It may have gone on since. */
  get keptFault(): string | null {
    const [kept, heads] = [this.#kept, this.heads];
    if (kept === null || this.#thenStood?.digest === kept.digest) return null;
    if (heads !== null && heads.index < kept.index)
      return `It ends with index ${heads.index}, and --head is of index ${kept.index}: its end was cut off.`;
    return `Up to index ${kept.index} it is not what it was when --head was printed: something was cut off, left out or written anew.`;
  }

  /** Whether some chain ends with this. */
  endsWith({ seq, hash }: Head): boolean {
    for (const head of this.#heads.values()) if (head.hash === hash && head.seq === seq) return true;
    return false;
  }
}

const wrongBeginning = (seq: number, previous: string): string | null =>
  seq === 1 && previous !== CHAIN_START.hash ? "is the first of its chain, and names an entry before it" : null;

function wrongNext(before: Head, seq: number, previous: string): string | null {
  if (seq > before.seq + 1) {
    const [first, last] = [before.seq + 1, seq - 1];
    return `comes after seq ${before.seq}: ${first === last ? `seq ${first} is` : `seq ${first} to ${last} are`} missing, or the export was filtered`;
  }
  if (seq <= before.seq) return `comes after seq ${before.seq}: entries are out of order, or there twice`;
  return previous === before.hash ? null : `was not chained to the seq ${before.seq} that stands before it: one of them was written anew`;
}

/** Whether some object of the text names a member twice, of which `JSON.parse` keeps the last and another reader may keep the first. */
function hasTwice(entry: object, text: string): boolean {
  // Nearly every entry is printed again as it was written; then reading it lost nothing.
  if (JSON.stringify(entry) === text) return false;
  // A string that a colon follows is a member's name.
  let names = 0;
  for (const [, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*(:?)/g)) if (colon === ":") names++;
  return names !== membersOf(entry);
}

function membersOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const inside = Object.values(value).reduce((sum: number, each) => sum + membersOf(each), 0);
  return Array.isArray(value) ? inside : inside + Object.keys(value).length;
}
