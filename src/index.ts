import type { Env } from "./env.ts";
import { createApp } from "./http/app.ts";
import { openPorts } from "./ports.ts";

export { Directory } from "./authority/directory.ts";
export { SessionAuthority } from "./authority/session_authority.ts";
export { TenantAuthority } from "./authority/tenant_authority.ts";
export { TenantFeed } from "./ledger/tenant_feed.ts";
export { TenantLedger } from "./ledger/tenant_ledger.ts";
export { Courier } from "./webhooks/courier.ts";
export { TenantWebhooks } from "./webhooks/tenant_webhooks.ts";

const app = createApp<Env>({ ports: openPorts });

export default { fetch: (request, env, context) => app.fetch(request, env, context) } satisfies ExportedHandler<Env>;
