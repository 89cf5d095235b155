import { createHash } from "node:crypto";
import type { Entry } from "../../../../src/core/entry.ts";
import { type EventFilter, eventsOf, isWanted, type LedgerEvent } from "../../../../src/core/events.ts";
import type { Database } from "../platform/database.ts";
import type { ObjectHost } from "../platform/objects.ts";
import type { Chain } from "./chain.ts";
import { usd } from "./limits.ts";
import { demand } from "./violation.ts";

/** The chain of what was reported: the ledger itself makes it, and no session or tenant has its name. */
const REPORTED = "~ingest";

/** A line that somebody else recorded, as the record tells of it. */
interface Reported {
  readonly hash: unknown;
  readonly action: string | null;
  readonly costMicroUsd: number;
}

interface Placed {
  readonly chain: string;
  readonly seq: number;
  readonly hash: string;
  readonly events: readonly LedgerEvent[];
}

/** One tenant's ledger: the order in which entries got their places, what its object keeps of it, and what D1 has. */
export class LedgerModel {
  readonly tenant: string;
  readonly host: ObjectHost;
  readonly placed: Placed[] = [];
  /** What was reported, by its agent and its own id. */
  readonly reported = new Map<string, Reported>();
  #reportedHead = "0".repeat(64);
  readonly #database: Database;
  readonly #chains: (name: string) => Chain | undefined;
  readonly #accepted = new Map<string, number>();
  /** How many entries D1 has. */
  #stored = 0;

  constructor(host: ObjectHost, tenant: string, database: Database, chains: (name: string) => Chain | undefined) {
    this.host = host;
    this.tenant = tenant;
    this.#database = database;
    this.#chains = chains;
  }

  /** Takes in what has become durable in the ledger's object. */
  durable(): void {
    const { storage } = this.host;
    if (!storage.hasTable("progress")) return;
    const fresh = storage.look<{ idx: number; chain: string; seq: number; hash: string; canonical: string }>(
      "SELECT idx, chain, seq, hash, canonical FROM waiting WHERE idx >= ? ORDER BY idx",
      this.placed.length,
    );
    for (const { idx, chain, seq, hash, canonical } of fresh) {
      const details = () => ({ tenant: this.tenant, idx, chain, seq, expected: { idx: this.placed.length, seq: this.acceptedOf(chain) + 1 } });
      demand(idx === this.placed.length, "a ledger has no gap", details);
      demand(seq === this.acceptedOf(chain) + 1, "a ledger takes a chain's entries in order, each once", details);
      if (chain === REPORTED) this.#takeReported(canonical, hash);
      else demand(this.#chains(chain)?.hashes[seq - 1] === hash, "a ledger has what was recorded", details);
      this.#accepted.set(chain, seq);
      this.placed.push({ chain, seq, hash, events: eventsOf(JSON.parse(canonical) as Entry, hash, idx) });
    }
    const [progress] = storage.look<{ accepted: number; shipped: number }>("SELECT accepted, shipped FROM progress");
    demand(progress?.accepted === this.placed.length, "a ledger counts what it has, and loses nothing", () => ({
      tenant: this.tenant,
      progress,
      has: this.placed.length,
    }));
    demand((progress?.shipped ?? 0) <= this.#stored, "what a ledger calls shipped is in D1", () => ({
      tenant: this.tenant,
      progress,
      stored: this.#stored,
    }));
  }

  #takeReported(canonical: string, hash: string): void {
    // Sealed by the gateway.
    const { kind, prev_hash, action, agent_id, cost_usd, details } = JSON.parse(canonical) as Entry;
    const line = details?.line as { readonly id?: unknown; readonly hash?: unknown } | undefined;
    const key = `${agent_id} ${line?.id}`;
    const shown = (): object => ({ tenant: this.tenant, key, canonical, head: this.#reportedHead });
    demand(kind === "ingest" && prev_hash === this.#reportedHead, "what was reported is a chain of its own", shown);
    demand(createHash("sha256").update(canonical).digest("hex") === hash, "an entry's hash is that of its text", shown);
    demand(!this.reported.has(key), "a line is on record once, however often it is told", shown);
    this.#reportedHead = hash;
    this.reported.set(key, { hash: line?.hash, action, costMicroUsd: usd(cost_usd) });
  }

  /** D1 was written: every new row is the entry that has this place. */
  written(): void {
    for (const row of this.#database.look<{ idx: number; kind: string; session: string | null; seq: number; hash: string }>(
      "SELECT idx, kind, session, seq, hash FROM entries WHERE tenant = ? AND idx >= ? ORDER BY idx",
      this.tenant,
      this.#stored,
    )) {
      const there = this.placed[row.idx];
      const chain = row.kind === "ingest" ? REPORTED : (row.session ?? this.tenant);
      const isTrue = row.idx === this.#stored && there?.hash === row.hash && there.seq === row.seq && there.chain === chain;
      demand(isTrue, "D1 has each entry once, in its place", () => ({
        tenant: this.tenant,
        row,
        there: { ...there, events: undefined },
        stored: this.#stored,
      }));
      this.#stored++;
    }
  }

  get stored(): number {
    return this.#stored;
  }

  acceptedOf(chain: string): number {
    return this.#accepted.get(chain) ?? 0;
  }

  /** What is no longer in an outbox is in the ledger. */
  demandHas(chain: string, seq: number): void {
    demand(this.acceptedOf(chain) >= seq, "an entry leaves its outbox when the ledger has it, and not before", () => ({
      chain,
      shipped: seq,
      accepted: this.acceptedOf(chain),
    }));
  }

  /** The ids of wanted events from a place on, in order. */
  *events(from: { readonly index: number; readonly part: number }, filter: EventFilter): Generator<string> {
    for (let index = from.index; index < this.placed.length; index++) {
      for (const event of this.placed[index]?.events ?? []) {
        const part = Number(event.id.split(".")[1] ?? 0);
        if ((index > from.index || part >= from.part) && isWanted(filter, event)) yield event.id;
      }
    }
  }
}
