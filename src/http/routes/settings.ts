import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, reply, route } from "../route.ts";

export const settingsRoutes = [
  route({
    method: "GET",
    path: "/v1/settings",
    id: "readSettings",
    tag: "Settings",
    summary: "Read what the tenant has chosen for itself",
    caller: "bearer",
    scopes: ["policies:read", "policies:write"],
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "The settings.", answers.settings, examples.settings)],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal }) =>
      reply(await ports.tenants.readSettings(principal.tenant), (found) => answered(200, present.settings(found))),
  }),
  route({
    method: "PUT",
    path: "/v1/settings",
    id: "putSettings",
    tag: "Settings",
    summary: "Choose",
    description:
      "Takes the place of all settings: what is left out takes its default. A default policy is in force at the next decision, and links that are no longer allowed are refused at once; the limit on requests and the origins are known to every part of the gateway within 30 seconds.",
    changesSettings: true,
    caller: "bearer",
    scopes: ["policies:write"],
    query: requests.noQuery,
    body: jsonBody(requests.putSettings, examples.settings),
    answers: [jsonAnswer(200, "The settings.", answers.settings, examples.settings)],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, body }) => {
      const put = await ports.tenants.putSettings(principal.tenant, principal, {
        corsOrigins: [...new Set(body.cors_origins ?? [])].sort(),
        retentionDays: body.retention_days ?? requests.LEAST_RETENTION_DAYS,
        defaultPolicy: body.default_policy ?? null,
        throttle: body.throttle == null ? null : { requests: body.throttle.requests, windowMs: body.throttle.window_ms },
        approvalLinks: body.approval_links ?? false,
        clientLeases: body.client_leases ?? true,
      });
      return reply(put, (found) => answered(200, present.settings(found)));
    },
  }),
];
