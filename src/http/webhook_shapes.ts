import * as z from "zod";
import type * as wire from "../../sdk/src/wire.ts";
import type { Place } from "../core/events.ts";
import { formatInstant, type Instant } from "../core/time.ts";
import { parseSecret, placeNamed, SECRET_WANTED } from "../core/webhooks.ts";
import type * as flow from "../flow/ports.ts";
import { EXAMPLE_IDS, oneLine, patterned } from "./fields.ts";
import { found } from "./issues.ts";
import { EVENT_NAME, pageOnly } from "./requests.ts";

/** Webhooks on the wire: what requests may say, what answers say, examples of both, and how answers are spelled. */

const MOST_EVENTS = 32;

/** What is found of a secret is never told: a problem document may be logged. */
const secret = z
  .string({ error: `wanted ${SECRET_WANTED}` })
  .superRefine((text, ctx) => {
    const parsed = parseSecret(text);
    if (!parsed.ok) ctx.addIssue({ code: "custom", message: parsed.error });
  })
  .meta({ description: `${SECRET_WANTED}. One is made unless it is sent.`, pattern: "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$", maxLength: 94 });

const eventName = patterned(EVENT_NAME, "the name of an event, or a glob of names, such as approval.* or decision.deny", 64);

export const createWebhook = z.strictObject({
  url: oneLine(2048).meta({
    description: "Where events are sent: https, under a public name, without a user. Redirects are not followed.",
    examples: ["https://hooks.example.com/agentsentinel"],
  }),
  events: z
    .array(eventName)
    .min(1)
    .max(MOST_EVENTS)
    .meta({ description: "Names of events, or globs of them, as the stream has them. `*` is all.", examples: [["approval.*", "decision.deny"]] }),
  secret: secret.optional(),
});

export const rotateWebhook = z.strictObject({ secret: secret.optional() });

export const resumeWebhook = z.strictObject({
  from: z
    .string()
    .max(32)
    .transform((text, ctx): Place => {
      const place = placeNamed(text);
      if (place !== null) return place;
      ctx.addIssue({ code: "custom", input: text, message: found(text, "the id of an event, such as 17 or 17.1") });
      return z.NEVER;
    })
    .optional()
    .meta({ description: "The event from which on everything is sent again. Absent: from where it stopped.", examples: ["17"] }),
});

export const DELIVERY_STATUSES = ["pending", "delivered", "dead"] as const satisfies readonly flow.DeliveryStatus[];

export const deliveriesQuery = z.strictObject({ ...pageOnly.shape, status: z.enum(DELIVERY_STATUSES).optional() });

const time = z.string().meta({ format: "date-time", examples: ["2026-11-22T19:00:00.000Z"] });

export const createdWebhook = z.object({
  id: z.string(),
  url: z.string(),
  events: z.array(z.string()),
  secret: z.string().meta({ description: "Shown here and never again." }),
  created_at: time,
  created_by: z.string(),
});

export const webhook = z.object({
  id: z.string(),
  url: z.string(),
  events: z.array(z.string()),
  created_at: time,
  created_by: z.string(),
  failing_since: time.nullable().meta({ description: "Since when every attempt has failed." }),
  disabled: z
    .object({ at: time, why: z.enum(["gone", "failing"]) })
    .nullable()
    .meta({ description: "Nothing is sent until it is resumed: its receiver answered 410 (`gone`), or has failed for five days (`failing`)." }),
  old_secrets_until: time.nullable().meta({ description: "Until then a secret that was replaced still signs." }),
});
export const webhookPage = z.object({ items: z.array(webhook), next_cursor: z.string().nullable() });

export const rotatedWebhook = z.object({
  id: z.string(),
  secret: z.string().meta({ description: "Shown here and never again." }),
  created_at: time,
  old_secrets_until: time,
});

export const delivery = z.object({
  id: z.string().meta({ description: "The `webhook-id` of every attempt." }),
  webhook: z.string(),
  event: z.string().meta({ description: "The event's id, as the stream tells it." }),
  type: z.string(),
  status: z.enum(DELIVERY_STATUSES).meta({ description: "`dead`: it was tried as often as it is tried." }),
  attempts: z.int(),
  created_at: time,
  next_attempt_at: time.nullable(),
  last_attempt_at: time.nullable(),
  last_status: z.int().nullable().meta({ description: "What the receiver answered last." }),
  last_error: z.string().nullable(),
});
export const deliveryPage = z.object({ items: z.array(delivery), next_cursor: z.string().nullable() });

// Examples

const AT = "2026-11-22T19:00:00.000Z";
const TOMORROW = "2026-11-23T19:00:00.000Z";
/** Thirty-two zeros: nobody's secret. */
const EXAMPLE_SECRET = `whsec_${"A".repeat(43)}=`;

export const createWebhookExample: wire.CreateWebhookRequest = {
  url: "https://hooks.example.com/agentsentinel",
  events: ["approval.*", "intervention.kill"],
};

const made = { id: EXAMPLE_IDS.whk, ...createWebhookExample, created_at: AT, created_by: "ops" } as const;

export const createdWebhookExample: wire.CreatedWebhook = { ...made, secret: EXAMPLE_SECRET };
export const webhookExample: wire.Webhook = { ...made, failing_since: null, disabled: null, old_secrets_until: null };
export const rotatedWebhookExample: wire.RotatedWebhook = {
  id: EXAMPLE_IDS.whk,
  secret: EXAMPLE_SECRET,
  created_at: AT,
  old_secrets_until: TOMORROW,
};
export const deliveryExample: wire.WebhookDelivery = {
  id: EXAMPLE_IDS.dlv,
  webhook: EXAMPLE_IDS.whk,
  event: "17",
  type: "approval.requested",
  status: "pending",
  attempts: 1,
  created_at: AT,
  next_attempt_at: "2026-11-22T19:00:05.400Z",
  last_attempt_at: AT,
  last_status: 503,
  last_error: "answered 503",
};

// How answers are spelled

export const presentCreated = (row: flow.WebhookCreated): wire.CreatedWebhook => ({
  id: row.id,
  url: row.url,
  events: row.events,
  secret: row.secret,
  created_at: formatInstant(row.createdAt),
  created_by: row.createdBy,
});

export const presentWebhook = (row: flow.WebhookRow): wire.Webhook => ({
  id: row.id,
  url: row.url,
  events: row.events,
  created_at: formatInstant(row.createdAt),
  created_by: row.createdBy,
  failing_since: timeOrNull(row.failingSince),
  disabled: row.disabled === null ? null : { at: formatInstant(row.disabled.at), why: row.disabled.why },
  old_secrets_until: timeOrNull(row.oldSecretsUntil),
});

export const presentRotated = (row: flow.WebhookRotated): wire.RotatedWebhook => ({
  id: row.id,
  secret: row.secret,
  created_at: formatInstant(row.createdAt),
  old_secrets_until: formatInstant(row.oldSecretsUntil),
});

export const presentDelivery = (row: flow.DeliveryRow): wire.WebhookDelivery => ({
  id: row.id,
  webhook: row.webhook,
  event: row.event,
  type: row.type,
  status: row.status,
  attempts: row.attempts,
  created_at: formatInstant(row.createdAt),
  next_attempt_at: timeOrNull(row.nextAt),
  last_attempt_at: timeOrNull(row.lastAt),
  last_status: row.lastStatus,
  last_error: row.lastError,
});

const timeOrNull = (at: Instant | null): string | null => (at === null ? null : formatInstant(at));
