import type { Route } from "./route.ts";
import { approvalRoutes } from "./routes/approvals.ts";
import { decisionRoutes } from "./routes/decisions.ts";
import { entityRoutes } from "./routes/entities.ts";
import { eventRoutes } from "./routes/events.ts";
import { interventionRoutes } from "./routes/interventions.ts";
import { issuerRoutes } from "./routes/issuers.ts";
import { leaseRoutes } from "./routes/leases.ts";
import { ledgerRoutes } from "./routes/ledger.ts";
import { policyRoutes } from "./routes/policies.ts";
import { servedRoutes } from "./routes/served.ts";
import { sessionRoutes } from "./routes/sessions.ts";
import { settingsRoutes } from "./routes/settings.ts";
import { tenantRoutes } from "./routes/tenants.ts";
import { webhookRoutes } from "./routes/webhooks.ts";

/** The table. The router tries routes in this order, so the hot path stands first, and a fixed path before one with a parameter in its place. */
const api: readonly Route[] = [
  ...decisionRoutes,
  ...leaseRoutes,
  ...approvalRoutes,
  ...sessionRoutes,
  ...policyRoutes,
  ...entityRoutes,
  ...eventRoutes,
  ...interventionRoutes,
  ...ledgerRoutes,
  ...settingsRoutes,
  ...issuerRoutes,
  ...webhookRoutes,
  ...tenantRoutes,
];

export const ROUTES: readonly Route[] = [...api, ...servedRoutes(api)];
