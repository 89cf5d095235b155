import type * as z from "zod";
import { LEASE_TTL_MS } from "../../core/client_lease.ts";
import { grantLease, settleLease, type ToldAction } from "../../flow/client_lease.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, replay, reply, route } from "../route.ts";
import { READS_SESSIONS } from "./sessions.ts";

/** As on the hot path, the session's lease says which tokens are revoked. */
const HOT = { caller: "bearer", scopes: ["decisions:write"], revocation: "session", query: requests.noQuery, tag: "Client leases" } as const;

export const leaseRoutes = [
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/leases",
    id: "grantLease",
    summary: "Take a slice of the session's budget, to decide with it in process",
    description:
      "Granted for what the policy allows whatever the request says and whatever happened before. Where it counts calls, looks at inputs, looks back, or may ask a person about anything that a glob names, no lease is granted (`lease_refused`, whose `reason` names the rule) and each of these actions must be asked for. The amount stands in every budget that it may be spent from until it is settled. A kill or a pause is heard by whoever holds a lease at its end at the latest. The same `Idempotency-Key` again answers the same lease only while it stands as it was granted: what is stopped or closed since is refused as a new one would be, and what has ended or was spent from is `lease_used`; nothing is done then, and what it holds ends as ever. The refusal's `detail` names it, so that who has never heard of it can settle it and have back what it holds. At most 16 are open in a session.",
    body: jsonBody(requests.grantLease, { amount_usd: "0.50", actions: ["search*"], ttl_ms: 30_000 }),
    creates: true,
    answers: [jsonAnswer(201, "The lease is granted, and its amount taken.", answers.grantedLease, examples.grantedLease)],
    refuses: ["not_found", "not_your_session", "token_revoked", "lease_refused", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, key, now }) => {
      const wish = {
        amountMicroUsd: body.amount_usd,
        actions: [...new Set(body.actions)],
        ttlMs: body.ttl_ms ?? LEASE_TTL_MS.usual,
        run: body.run ?? null,
      };
      const granted = await grantLease(ports, principal, parameters.session, wish, key, now);
      return reply(granted, ({ answer, replayed }) => answered(201, present.grantedLease(answer), replay(replayed)));
    },
  }),
  route({
    ...HOT,
    method: "GET",
    path: "/v1/sessions/{session}/leases/{lease}",
    id: "readLease",
    summary: "Read a client lease as it stands",
    scopes: READS_SESSIONS,
    body: null,
    answers: [jsonAnswer(200, "The lease.", answers.leaseNow, examples.leaseNow)],
    refuses: ["not_found", "not_your_session", "token_revoked", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.sessions.readLease(principal.tenant, parameters.session, principal, parameters.lease), (lease) =>
        answered(200, present.leaseNow(lease)),
      ),
  }),
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/leases/{lease}/settle",
    id: "settleLease",
    summary: "Tell what was done with a client lease, and give back what is left",
    description:
      "Each entry becomes a decision that was allowed, and its commit. It is testimony: never refused for its cost, also above the lease (`overrun_usd`), and also after its end (`late`), which corrects what was posted when it ended. An entry that was told before counts as a duplicate, so the same settlement may be sent again. Where one entry is not the lease's, or was told otherwise before, nothing is done.",
    body: jsonBody(requests.settleLease, {
      entries: [{ id: examples.decision.id, action: "search_web", cost_usd: "0.12", outcome: "success" }],
      final: true,
    }),
    answers: [jsonAnswer(200, "What became of the lease.", answers.settledLease, examples.settledLease)],
    refuses: ["not_found", "not_your_session", "token_revoked", "idempotency_mismatch", "money_precision", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, now }) => {
      const told = { actions: body.entries.map(toldAction), final: body.final ?? true };
      const settled = await settleLease(ports, principal, parameters.session, parameters.lease, told, now);
      return reply(settled, (lease) => answered(200, present.settledLease(lease)));
    },
  }),
];

/** What an entry tells, with what it leaves out made plain. */
const toldAction = (entry: z.output<typeof requests.settleLease>["entries"][number]): ToldAction => ({
  request: {
    id: entry.id,
    action: entry.action,
    resource: entry.resource ?? null,
    estimateMicroUsd: entry.estimate_usd ?? entry.cost_usd,
    tags: entry.tags ?? [],
    riskLevel: entry.risk_level ?? null,
    inputs: entry.inputs,
    inputsDigest: entry.inputs_digest ?? null,
    rationale: entry.rationale ?? null,
    confidence: entry.confidence ?? null,
    sources: entry.sources ?? [],
    parents: entry.parents ?? [],
    model: entry.model ?? null,
  },
  report: {
    costMicroUsd: entry.cost_usd,
    outcome: entry.outcome,
    durationMs: entry.duration_ms ?? null,
    outputs: entry.outputs,
    error: entry.error ?? null,
    usage: entry.usage ?? null,
  },
  decidedAt: entry.at ?? null,
});
