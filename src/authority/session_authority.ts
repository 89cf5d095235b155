import { DurableObject } from "cloudflare:workers";

export class SessionAuthority extends DurableObject {}
