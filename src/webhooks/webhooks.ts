import type { Webhooks } from "../flow/ports.ts";
import type { TenantWebhooks, WebhooksEnv } from "./tenant_webhooks.ts";

/** The tenants' webhooks behind the port of that name. Whatever cannot be reached throws. */
export function openWebhooks(env: Pick<WebhooksEnv, "WEBHOOKS">): Webhooks {
  // The platform's own type wraps every answer in disposal machinery, which for plain data is not there when it runs.
  const at = (tenant: string) => env.WEBHOOKS.getByName(tenant) as unknown as Called<TenantWebhooks>;
  return {
    create: (tenant, principal, wish) => at(tenant).create(principal, wish),
    list: (tenant, page) => at(tenant).list(page),
    read: (tenant, id) => at(tenant).read(id),
    delete: (tenant, principal, id) => at(tenant).delete(principal, id),
    rotate: (tenant, principal, rotation) => at(tenant).rotate(principal, rotation),
    resume: (tenant, principal, id, from) => at(tenant).resume(principal, id, from),
    listDeliveries: (tenant, id, status, page) => at(tenant).listDeliveries(id, status, page),
    redeliver: (tenant, id, delivery) => at(tenant).redeliver(id, delivery),
  };
}

/** An object's methods as its caller sees them: each answers later. */
type Called<T> = { readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never };
