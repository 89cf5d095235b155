import type { Directory } from "./authority/directory.ts";
import type { SessionAuthority } from "./authority/session_authority.ts";
import type { TenantAuthority } from "./authority/tenant_authority.ts";
import type { TenantFeed } from "./ledger/tenant_feed.ts";
import type { TenantLedger } from "./ledger/tenant_ledger.ts";
import type { TenantWebhooks } from "./webhooks/tenant_webhooks.ts";

/** What `wrangler.toml` binds. */
export interface Env {
  readonly SESSIONS: DurableObjectNamespace<SessionAuthority>;
  readonly TENANTS: DurableObjectNamespace<TenantAuthority>;
  readonly LEDGERS: DurableObjectNamespace<TenantLedger>;
  readonly FEEDS: DurableObjectNamespace<TenantFeed>;
  readonly WEBHOOKS: DurableObjectNamespace<TenantWebhooks>;
  readonly DIRECTORY: DurableObjectNamespace<Directory>;
  readonly DB: D1Database;
  readonly TOKEN_ISSUER: string;
  readonly ALLOW_PRIVATE_ISSUERS: string;
  readonly ALLOW_PRIVATE_WEBHOOKS: string;
  readonly ROOT_KEY: string;
  readonly SIGNING_KEYS: string;
}
