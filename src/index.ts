export { SessionAuthority } from "./authority/session_authority.ts";
export { TenantAuthority } from "./authority/tenant_authority.ts";
export { TenantLedger } from "./ledger/tenant_ledger.ts";

export default { fetch: () => new Response("not wired yet", { status: 503 }) };
