import { DurableObject } from "cloudflare:workers";

export class TenantAuthority extends DurableObject {}
