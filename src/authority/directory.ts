import { DurableObject } from "cloudflare:workers";
import { createHash } from "node:crypto";
import type { Directory as DirectoryPort } from "../flow/ports.ts";
import type { AuthorityEnv } from "./env.ts";

/** The key of what names an issuer, or a page's origin. */
export const issuerKey = (issuer: string): string => `issuer:${createHash("sha256").update(issuer).digest("hex")}`;
export const originKey = (origin: string): string => `origin:${origin}`;

export interface Claim {
  readonly tenant: string;
  readonly name: string;
}

/**
 * What the whole deployment shares: which tenants have said something of one issuer, or of one origin. An object for each. Only a hint where to ask:
 * what a tenant itself has on record is always read after it and is the truth, so a claim too many does nothing, and one that was lost is made again
 * by whoever says it again.
 */
export class Directory extends DurableObject<AuthorityEnv> {
  /** Remembers a claim. The first place is kept, whoever claims it again. */
  claim({ tenant, name }: Claim): void {
    this.ctx.storage.sql.exec(TABLE);
    this.ctx.storage.sql.exec("INSERT INTO claims (tenant, name) VALUES (?, ?) ON CONFLICT DO NOTHING", tenant, name);
  }

  release({ tenant, name }: Claim): void {
    if (this.#isEmpty()) return;
    this.ctx.storage.sql.exec("DELETE FROM claims WHERE tenant = ? AND name = ?", tenant, name);
  }

  /** The oldest first. Asking writes nothing. */
  holders(): readonly Claim[] {
    if (this.#isEmpty()) return [];
    return this.ctx.storage.sql.exec<{ tenant: string; name: string }>("SELECT tenant, name FROM claims ORDER BY place LIMIT 1000").toArray();
  }

  #isEmpty(): boolean {
    return this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'claims'").toArray().length === 0;
  }
}

const TABLE = `CREATE TABLE IF NOT EXISTS claims (
  place INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  UNIQUE (tenant, name)
) STRICT`;

/** The directory's objects behind the port of that name. */
export const openDirectory = (env: AuthorityEnv): DirectoryPort => ({
  issuersOf: async (issuer) => env.DIRECTORY.getByName(issuerKey(issuer)).holders(),
  isOriginKnown: async (origin) => (await env.DIRECTORY.getByName(originKey(origin)).holders()).length > 0,
});
