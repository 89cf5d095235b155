import type { Scope } from "../../core/scopes.ts";
import { createWebhook } from "../../flow/create_webhook.ts";
import { rotateWebhook } from "../../flow/rotate_webhook.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, LIST_WEIGHT, noContent, optionalBody, pageQuery, replay, reply, route } from "../route.ts";
import * as hooks from "../webhook_shapes.ts";

const WEBHOOKS: { readonly caller: "bearer"; readonly tag: "Webhooks"; readonly scopes: readonly Scope[] } = {
  caller: "bearer",
  tag: "Webhooks",
  scopes: ["webhooks:write"],
};

const ONE = "/v1/webhooks/{webhook}";

export const webhookRoutes = [
  route({
    ...WEBHOOKS,
    method: "POST",
    path: "/v1/webhooks",
    id: "createWebhook",
    summary: "Have events sent to an address",
    description:
      "From now on, each event of the tenant's record that one of `events` names is sent as `{type, timestamp, data}`, where `data` is the event as the stream tells it, signed after Standard Webhooks 1.0: verify it with any of that standard's libraries and the `secret` in this answer. At least once, in no promised order; `webhook-id` is the same in every attempt. Only a status of 2xx within 10 seconds counts; otherwise it is tried again after 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours, or later where `Retry-After` says so (a day at most), and is then dead and listed. 410, or five days in which nothing succeeded, disable the webhook, on record. At most 16 webhooks for each tenant.",
    query: requests.noQuery,
    body: jsonBody(hooks.createWebhook, hooks.createWebhookExample),
    creates: true,
    answers: [jsonAnswer(201, "Events are sent.", hooks.createdWebhook, hooks.createdWebhookExample)],
    refuses: ["not_found", "authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, body, key }) => {
      const { url, events, secret } = body;
      return reply(await createWebhook(ports, principal, { url, events, secret: secret ?? null }, key), ({ answer, replayed }) =>
        answered(201, hooks.presentCreated(answer), replay(replayed)),
      );
    },
  }),
  route({
    ...WEBHOOKS,
    method: "GET",
    path: "/v1/webhooks",
    id: "listWebhooks",
    reads: LIST_WEIGHT,
    summary: "List webhooks, newest first, without their secrets",
    query: requests.pageOnly,
    body: null,
    answers: [jsonAnswer(200, "A page of webhooks.", hooks.webhookPage, { items: [hooks.webhookExample], next_cursor: null })],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, query }) =>
      reply(await ports.webhooks.list(principal.tenant, pageQuery(query)), (rows) => answered(200, present.page(rows, hooks.presentWebhook))),
  }),
  route({
    ...WEBHOOKS,
    method: "GET",
    path: ONE,
    id: "readWebhook",
    summary: "Read a webhook, without its secrets",
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "The webhook.", hooks.webhook, hooks.webhookExample)],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.webhooks.read(principal.tenant, parameters.webhook), (row) => answered(200, hooks.presentWebhook(row))),
  }),
  route({
    ...WEBHOOKS,
    method: "DELETE",
    path: ONE,
    id: "deleteWebhook",
    summary: "Send an address nothing more",
    description: "What waits for it is forgotten, and so are its secrets. Its id is not given again.",
    query: requests.noQuery,
    body: null,
    answers: [noContent("Nothing more is sent.")],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.webhooks.delete(principal.tenant, principal, parameters.webhook), () => ({ status: 204, body: null })),
  }),
  route({
    ...WEBHOOKS,
    method: "POST",
    path: `${ONE}/rotate`,
    id: "rotateWebhook",
    summary: "Give a webhook a new secret",
    description:
      "For 24 hours the older secrets sign beside it: `webhook-signature` has a signature by each, and a receiver that knows one of them is content.",
    query: requests.noQuery,
    body: optionalBody(hooks.rotateWebhook, {}),
    creates: true,
    answers: [jsonAnswer(201, "It signs from now on.", hooks.rotatedWebhook, hooks.rotatedWebhookExample)],
    refuses: ["not_found", "throttled", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, key }) =>
      reply(await rotateWebhook(ports, principal, parameters.webhook, body.secret ?? null, key), ({ answer, replayed }) =>
        answered(201, hooks.presentRotated(answer), replay(replayed)),
      ),
  }),
  route({
    ...WEBHOOKS,
    method: "POST",
    path: `${ONE}/resume`,
    id: "resumeWebhook",
    summary: "Go on sending, or send everything again from an event on",
    description:
      "Whatever had disabled the webhook is over: what waits is sent at once, and what happened meanwhile after it. With `from` every event from that one on is sent again, under the same `webhook-id` as before.",
    query: requests.noQuery,
    body: optionalBody(hooks.resumeWebhook, { from: "17" }),
    answers: [jsonAnswer(200, "It goes on.", hooks.webhook, hooks.webhookExample)],
    refuses: ["not_found", "authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, parameters, body }) =>
      reply(await ports.webhooks.resume(principal.tenant, principal, parameters.webhook, body.from ?? null), (row) =>
        answered(200, hooks.presentWebhook(row)),
      ),
  }),
  route({
    ...WEBHOOKS,
    method: "GET",
    path: `${ONE}/deliveries`,
    id: "listDeliveries",
    reads: LIST_WEIGHT,
    summary: "List what was sent, waits, or was given up, newest first",
    description: "What ended is listed for 30 days, and of what was delivered the latest 10,000.",
    query: hooks.deliveriesQuery,
    body: null,
    answers: [jsonAnswer(200, "A page of deliveries.", hooks.deliveryPage, { items: [hooks.deliveryExample], next_cursor: null })],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, query }) =>
      reply(await ports.webhooks.listDeliveries(principal.tenant, parameters.webhook, query.status ?? null, pageQuery(query)), (rows) =>
        answered(200, present.page(rows, hooks.presentDelivery)),
      ),
  }),
  route({
    ...WEBHOOKS,
    method: "POST",
    path: `${ONE}/deliveries/{delivery}/redeliver`,
    id: "redeliver",
    summary: "Send one delivery again",
    description:
      "At once, under the same `webhook-id`, and as often as a new one where it had ended. While its webhook is disabled it waits for that to be resumed.",
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "It is on its way.", hooks.delivery, hooks.deliveryExample)],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.webhooks.redeliver(principal.tenant, parameters.webhook, parameters.delivery), (row) =>
        answered(200, hooks.presentDelivery(row)),
      ),
  }),
];
