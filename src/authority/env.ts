import type { EntryBatch } from "../flow/ports.ts";
import type { Directory } from "./directory.ts";
import type { SessionAuthority } from "./session_authority.ts";
import type { TenantAuthority } from "./tenant_authority.ts";

/** What the authority objects need of `wrangler.toml`. Of the ledger they know only that it takes entries. */
export interface AuthorityEnv {
  readonly SESSIONS: DurableObjectNamespace<SessionAuthority>;
  readonly TENANTS: DurableObjectNamespace<TenantAuthority>;
  readonly LEDGERS: DurableObjectNamespace<LedgerIntake>;
  readonly DIRECTORY: DurableObjectNamespace<Directory>;
}

export type LedgerIntake = Rpc.DurableObjectBranded & { accept(batch: EntryBatch): Promise<{ readonly acceptedThrough: number }> };

/** The name of a session's object. The tenant is part of it: with another tenant's session id one reaches an object that was never opened. */
export const sessionObjectName = (tenant: string, session: string): string => `${tenant}/${session}`;
