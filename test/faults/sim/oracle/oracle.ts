import { isOutage } from "../platform/network.ts";
import type { ObjectHost, Watch } from "../platform/objects.ts";
import type { Platform } from "../platform/platform.ts";
import { LedgerModel } from "./ledger.ts";
import { SessionModel } from "./session.ts";
import { TenantModel } from "./tenant.ts";
import { Violation } from "./violation.ts";

/**
 * Watches over everything that becomes durable and everything that is answered, and knows no more of the gateway than what it records. What it finds
 * broken first is its verdict.
 */
export class Oracle implements Watch {
  violation: Error | null = null;
  /** What objects threw that was an outage, by its text: expected, and counted. */
  readonly outages = new Map<string, number>();
  readonly refusals = new Map<string, number>();
  readonly tenants = new Map<string, TenantModel>();
  readonly #models = new Map<ObjectHost, Watched>();
  #platform: Platform | null = null;

  /** Begins to watch a tenant that is about to be made. */
  open(platform: Platform, tenants: readonly { readonly id: string; readonly agents: readonly string[] }[], hasTrueClocks: boolean): void {
    this.#platform = platform;
    for (const { id, agents } of tenants) {
      const ledgerHost = platform.host("LEDGERS", id);
      const ledger = new LedgerModel(ledgerHost, id, platform.database, (name) => (name === id ? tenant.chain : tenant.sessions.get(name)?.chain));
      const tenantHost = platform.host("TENANTS", id);
      const tenant = new TenantModel(tenantHost, id, agents, ledger, hasTrueClocks, () => platform.world.now);
      this.tenants.set(id, tenant);
      this.#models.set(tenantHost, this.#noted(tenant, "SELECT seq FROM tenant"));
      this.#models.set(ledgerHost, { durable: () => ledger.durable(), fell: () => ledger.durable(), ran: () => undefined });
    }
    platform.database.written = () => {
      for (const tenant of this.tenants.values()) this.#guard(() => tenant.ledger.written());
    };
    platform.database.broke = (fault) => this.#guard(() => Violation.of("D1 takes whatever it is sent", fault));
  }

  /** Begins to watch a session's object when it is first called. */
  #adopt(host: ObjectHost): void {
    const [ofTenant = "", session = ""] = host.id.name.split("/");
    const owner = this.tenants.get(ofTenant);
    if (owner === undefined || session === "") return;
    const model = new SessionModel(host, session, owner);
    owner.sessions.set(session, model);
    this.#models.set(host, this.#noted(model, "SELECT seq FROM session"));
  }

  /** A model with a chain, whose entries are noted when they are written and taken when they are durable. */
  #noted(model: TenantModel | SessionModel, query: string): Watched {
    return {
      durable: (now) => model.durable(now),
      fell: () => {
        model.chain.forgetUnwritten();
        model.durable(this.#now());
      },
      ran: (now) => {
        const { storage } = model.host;
        if (!storage.isDirty || !storage.hasTable("outbox")) return;
        const [row] = storage.look<{ seq: number }>(query);
        if (row !== undefined) model.chain.note(row.seq, now);
      },
    };
  }

  durable(host: ObjectHost): void {
    this.#guard(() => this.#modelOf(host)?.durable(this.#now()));
  }

  ran(host: ObjectHost): void {
    this.#guard(() => this.#modelOf(host)?.ran(this.#now()));
  }

  fell(host: ObjectHost): void {
    this.#guard(() => this.#modelOf(host)?.fell());
  }

  broke(host: ObjectHost, fault: unknown): void {
    const text = String(fault);
    if (isOutage(fault) || EXPECTED.some((pattern) => pattern.test(text))) {
      const kind = text.replaceAll(/(ses|ent|dec)_[0-9a-f-]{36}|\d+/g, "…").slice(0, 120);
      this.outages.set(kind, (this.outages.get(kind) ?? 0) + 1);
      return;
    }
    this.#guard(() => Violation.of(`no law of the gateway's own breaks (${host.name})`, fault));
  }

  /** A client was answered with a fault instead of an answer. */
  thrown(what: string, fault: unknown): void {
    const kind = `${what}: ${String(fault)
      .replaceAll(/(ses|ent|dec)_[0-9a-f-]{36}|\d+/g, "…")
      .slice(0, 120)}`;
    this.outages.set(kind, (this.outages.get(kind) ?? 0) + 1);
  }

  /** A client was refused an answer. */
  refused(code: string): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }

  /** Runs a check; the first that fails is the verdict. */
  #guard(check: () => void): void {
    if (this.violation !== null) return;
    try {
      check();
    } catch (fault) {
      this.violation = fault instanceof Error ? fault : new Error(String(fault));
    }
  }

  check(demanded: () => void): void {
    this.#guard(demanded);
  }

  #modelOf(host: ObjectHost) {
    const known = this.#models.get(host);
    if (known !== undefined || !host.name.startsWith("SESSIONS ")) return known;
    this.#adopt(host);
    return this.#models.get(host);
  }

  #now(): number {
    return this.#platform?.world.now ?? 0;
  }
}

interface Watched {
  durable(now: number): void;
  fell(): void;
  ran(now: number): void;
}

/** What objects throw of themselves when others are out of reach. */
const EXPECTED = [
  /the tenant could not be told what comes back/,
  /the ledger has chain .* only up to/,
  /The record is safe but cannot be read just now/,
];
