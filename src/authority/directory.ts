import { DurableObject } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Directory as DirectoryPort } from "../flow/ports.ts";
import type { AuthorityEnv } from "./env.ts";
import { bringTables, type SchemaStep } from "./tables.ts";

/** The key of what names an issuer, or a page's origin. */
export const issuerKey = (issuer: string): string => `issuer:${createHash("sha256").update(issuer).digest("hex")}`;
export const originKey = (origin: string): string => `origin:${origin}`;

interface Holder {
  readonly tenant: string;
  readonly name: string;
}

export interface Claim extends Holder {
  /** Of an issuer: for whom its tokens must be. `null`: that is not known here, and of an origin it is nothing. */
  readonly audience: string | null;
}

/** Most registrations of one issuer, by all tenants together: a token's way to its tenant leads past the claims of all of them. */
const MOST_REGISTRATIONS = 1_000;

/**
 * What the whole deployment shares: which tenants have said something of one issuer, or of one origin. An object for each. Only a hint where to ask:
 * what a tenant itself has on record is always read after it and is the truth, so a claim too many does nothing, and one that was lost is made again
 * by whoever says it again.
 */
export class Directory extends DurableObject<AuthorityEnv> {
  constructor(ctx: DurableObjectState, env: AuthorityEnv) {
    super(ctx, env);
    if (this.#hasClaims()) this.#bringTables();
  }

  /**
   * Remembers a claim. The first place is kept, whoever claims it again. Under another audience than before it is for nobody knows whom until
   * {@link settle} says: the tenant is about to write it, and may come to grief before. `null`: it has its place. A refusal: one too many of an issuer.
   */
  claim({ tenant, name, audience }: Holder & { readonly audience?: string }): Refusal | null {
    this.#bringTables();
    const { sql } = this.ctx.storage;
    const held = sql.exec("SELECT 1 FROM claims WHERE tenant = ? AND name = ?", tenant, name).toArray().length > 0;
    // Of an origin it is never asked who claims it, only whether anybody does.
    if (!held && audience !== undefined && sql.exec<{ count: number }>("SELECT COUNT(*) AS count FROM claims").one().count >= MOST_REGISTRATIONS)
      return TOO_MANY;
    sql.exec(
      `INSERT INTO claims (tenant, name, audience) VALUES (?, ?, ?)
       ON CONFLICT (tenant, name) DO UPDATE SET audience = NULL WHERE audience IS NOT excluded.audience`,
      tenant,
      name,
      audience ?? null,
    );
    return null;
  }

  /** What a tenant has on record under a name, now that it is written. */
  settle({ tenant, name, audience }: Claim): void {
    this.#bringTables();
    this.ctx.storage.sql.exec(
      "INSERT INTO claims (tenant, name, audience) VALUES (?, ?, ?) ON CONFLICT (tenant, name) DO UPDATE SET audience = excluded.audience",
      tenant,
      name,
      audience,
    );
  }

  release({ tenant, name }: Holder): void {
    if (!this.#hasClaims()) return;
    this.ctx.storage.sql.exec("DELETE FROM claims WHERE tenant = ? AND name = ?", tenant, name);
  }

  /** The oldest first. Asking writes nothing. */
  holders(): readonly Claim[] {
    if (!this.#hasClaims()) return [];
    return this.ctx.storage.sql
      .exec<{ tenant: string; name: string; audience: string | null }>("SELECT tenant, name, audience FROM claims ORDER BY place")
      .toArray();
  }

  isHeld(): boolean {
    return this.#hasClaims() && this.ctx.storage.sql.exec("SELECT 1 FROM claims LIMIT 1").toArray().length > 0;
  }

  /** Older code made the claims' table and no schema's version beside it. */
  #hasClaims(): boolean {
    return this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'claims'").toArray().length > 0;
  }

  #bringTables(): void {
    this.ctx.storage.transactionSync(() => bringTables(this.ctx.storage.sql, { steps: STEPS }));
  }
}

/** A claim that older code stored is for nobody knows whom, and is asked as it was. `migrations/README.md` says what each field is for. */
const STEPS: readonly SchemaStep[] = [
  // If not: older code made it without a version.
  `CREATE TABLE IF NOT EXISTS claims (
    place INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (tenant, name)
  ) STRICT`,
  "ALTER TABLE claims ADD COLUMN audience TEXT",
];

const TOO_MANY = refusal("body_invalid", `All tenants together register one issuer at most ${MOST_REGISTRATIONS} times.`, [
  { pointer: "/issuer", message: `found ${MOST_REGISTRATIONS} registrations of it; wanted fewer` },
]);

/** The directory's objects behind the port of that name. */
export const openDirectory = (env: AuthorityEnv): DirectoryPort => ({
  issuersOf: async (issuer) => env.DIRECTORY.getByName(issuerKey(issuer)).holders(),
  isOriginKnown: async (origin) => env.DIRECTORY.getByName(originKey(origin)).isHeld(),
});
