import type { JsonValue } from "../../core/json.ts";
import { refusal } from "../../core/refusals.ts";
import { err, ok } from "../../core/result.ts";
import { answerApproval, answerMany, cancelApproval, readApproval, respondToApproval } from "../../flow/approve.ts";
import { linkApproval } from "../../flow/link_approval.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { agentToRead } from "../own.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, LIST_WEIGHT, optionalBody, pageQuery, type ReadWeight, replay, reply, route } from "../route.ts";

const HOUR_MS = 3_600_000;
/** So long the desk keeps answers. */
const MOST_BACK_MS = 30 * 24 * HOUR_MS;
/** It is made of all that people were asked in its time: of a thousand in 10 ms. */
const SIGNALS_WEIGHT: ReadWeight = { request: 10, item: 0 };
const OUT_OF_REACH = "The query is not valid: it asks for a time of which the desk knows nothing.";

const answerOf = ({ decision, note, action_digest, edits }: requests.ApprovalSaid) => ({
  decision,
  note: note ?? null,
  digest: action_digest,
  edits:
    edits === undefined
      ? null
      : {
          // What parsed is plain JSON.
          ...(edits.inputs !== undefined && { inputs: edits.inputs as JsonValue }),
          ...(edits.resource !== undefined && { resource: edits.resource }),
          ...(edits.estimate_usd !== undefined && { estimateMicroUsd: edits.estimate_usd }),
        },
});

export const approvalRoutes = [
  route({
    method: "GET",
    path: "/v1/approvals",
    id: "listApprovals",
    tag: "Approvals",
    summary: "List what people are asked, newest first, with how many there are of each status",
    description:
      "As sessions last told it, which is before the agent hears of a hold. The inputs of what is over are shown where it is read alone; a page may have fewer than `limit` and not be the last. A token of kind agent sees its own.",
    caller: "bearer",
    scopes: ["approvals:read", "approvals:write"],
    query: requests.approvalsQuery,
    body: null,
    reads: LIST_WEIGHT,
    answers: [
      jsonAnswer(200, "A page of approvals.", answers.approvalPage, {
        items: [examples.approval],
        next_cursor: null,
        counts: { pending: 1, info_requested: 0, approved: 0, rejected: 2, expired: 0, cancelled: 0, consumed: 5 },
      }),
    ],
    refuses: ["not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, query }) => {
      const agent = agentToRead(principal, query.agent);
      if (!agent.ok) return agent;
      const filter = { status: query.status, session: query.session, ...(agent.value !== null && { agent: agent.value }) };
      const listed = await ports.tenants.listApprovals(principal.tenant, filter, pageQuery(query));
      return reply(listed, (page) => answered(200, { ...present.page(page, present.approval), counts: page.counts }));
    },
  }),
  route({
    method: "GET",
    path: "/v1/approvals/signals",
    id: "readApprovalSignals",
    tag: "Approvals",
    summary: "Read how people answer: how many, how fast, how often with yes",
    description: "The last 24 hours unless said; at most 30 days back.",
    caller: "bearer",
    scopes: ["approvals:write"],
    query: requests.periodQuery,
    body: null,
    reads: SIGNALS_WEIGHT,
    answers: [jsonAnswer(200, "How people answered.", answers.approvalSignals, examples.approvalSignals)],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, query, now }) => {
      const to = query.to ?? now;
      const from = Math.max(query.from ?? to - 24 * HOUR_MS, now - MOST_BACK_MS);
      if (from > to) return err(refusal("body_invalid", OUT_OF_REACH, [{ pointer: "/from", message: "is after to, or more than 30 days ago" }]));
      return reply(await ports.tenants.approvalSignals(principal.tenant, from, to), (signals) =>
        answered(200, present.approvalSignals(signals, from, to)),
      );
    },
  }),
  route({
    method: "POST",
    path: "/v1/approvals/decide",
    id: "decideApprovals",
    tag: "Approvals",
    summary: "Answer up to 100 approvals, each by itself",
    caller: "bearer",
    scopes: ["approvals:write"],
    query: requests.noQuery,
    body: jsonBody(requests.approvalBatch, {
      answers: [{ id: examples.approval.id, decision: "approve", action_digest: examples.approval.action_digest }],
    }),
    isUrgent: true,
    answers: [
      jsonAnswer(200, "What became of each, in order.", answers.approvalBatch, {
        items: [{ id: examples.approval.id, approval: examples.approval }],
      }),
    ],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, caller, body }) => {
      const asked = body.answers.map(({ id, ...said }) => ({ id, ...answerOf(said) }));
      const told = await answerMany(ports, principal, caller.scopes, asked);
      return ok(answered(200, { items: told.map(present.approvalTold) }));
    },
  }),
  route({
    method: "GET",
    path: "/v1/approvals/{approval}",
    id: "readApproval",
    tag: "Approvals",
    summary: "Read an approval: exactly what is to be approved, and what became of it",
    description: "That a person was shown it is recorded, once for each person.",
    admitsLinks: true,
    caller: "bearer",
    scopes: ["approvals:read", "approvals:write"],
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "The approval.", answers.approval, examples.approval)],
    refuses: ["not_found", "not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await readApproval(ports, principal, parameters.approval), (read) => answered(200, present.approval(read))),
  }),
  route({
    method: "POST",
    path: "/v1/approvals/{approval}/decide",
    id: "decideApproval",
    tag: "Approvals",
    summary: "Answer an approval: approve, reject, or ask for more",
    description:
      "By a person, who is neither the one who asked nor the agent, for exactly what `action_digest` names. With `edits` the person approves something else than was asked: the agent must then ask for that. The same answer again changes nothing; another one is refused.",
    admitsLinks: true,
    caller: "bearer",
    scopes: ["approvals:write"],
    query: requests.noQuery,
    body: jsonBody(requests.approvalDecide, { decision: "approve", note: "Checked the invoice.", action_digest: examples.approval.action_digest }),
    isUrgent: true,
    answers: [jsonAnswer(200, "The approval as it stands now.", answers.approval, examples.approval)],
    refuses: ["not_found", "self_approval", "approval_closed", "authority_unavailable"],
    answer: async ({ ports, principal, caller, parameters, body }) =>
      reply(await answerApproval(ports, principal, caller.scopes, parameters.approval, answerOf(body)), ({ answer }) =>
        answered(200, present.approval(answer)),
      ),
  }),
  route({
    method: "POST",
    path: "/v1/approvals/{approval}/links",
    id: "linkApproval",
    tag: "Approvals",
    summary: "Make a link by which one person answers one approval, once",
    description:
      "Only where the tenant's settings allow links (`approval_links`). It opens a page that shows what is asked; whoever has it answers as `subject`, so send it to nobody else. It ends with an answer that was taken, with the approval, or after `ttl_ms`. As with tokens, only scopes that the maker holds are given away: `approvals:read` and `approvals:write`.",
    caller: "bearer",
    scopes: ["tokens:write"],
    query: requests.noQuery,
    body: jsonBody(requests.linkApproval, { subject: "ann", ttl_ms: 3_600_000 }),
    creates: true,
    answers: [jsonAnswer(201, "The link.", answers.approvalLink, examples.approvalLink)],
    refuses: ["not_found", "approval_closed", "authority_unavailable"],
    answer: async ({ ports, caller, parameters, body, key, now, origin }) => {
      const wish = { approval: parameters.approval, subject: body.subject, ttlMs: body.ttl_ms ?? requests.LINK_TTL_MS };
      return reply(await linkApproval(ports, caller, wish, key, now), ({ answer, replayed }) =>
        answered(201, present.approvalLink(answer, origin), replay(replayed)),
      );
    },
  }),
  route({
    method: "POST",
    path: "/v1/approvals/{approval}/respond",
    id: "respondApproval",
    tag: "Approvals",
    summary: "Answer people who asked for more",
    description: "By the agent, or by whoever asked for it, while a question stands.",
    caller: "bearer",
    scopes: ["decisions:write"],
    query: requests.noQuery,
    body: jsonBody(requests.approvalRespond, { response: "It is the invoice of order 17." }),
    answers: [jsonAnswer(200, "The approval as it stands now.", answers.approval, examples.approval)],
    refuses: ["not_found", "not_your_session", "approval_closed", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body }) =>
      reply(await respondToApproval(ports, principal, parameters.approval, body.response), (read) => answered(200, present.approval(read))),
  }),
  route({
    method: "POST",
    path: "/v1/approvals/{approval}/cancel",
    id: "cancelApproval",
    tag: "Approvals",
    summary: "Take a request for approval back",
    description: "By its agent, by whoever asked, or by a person who may approve; also one that was approved and not used.",
    caller: "bearer",
    scopes: ["decisions:write", "approvals:write"],
    query: requests.noQuery,
    body: optionalBody(requests.approvalCancel, { note: "No longer needed." }),
    answers: [jsonAnswer(200, "The approval as it stands now.", answers.approval, examples.approval)],
    refuses: ["not_found", "not_your_session", "approval_closed", "authority_unavailable"],
    answer: async ({ ports, principal, caller, parameters, body }) =>
      reply(await cancelApproval(ports, principal, caller.scopes, parameters.approval, body.note ?? null), (read) =>
        answered(200, present.approval(read)),
      ),
  }),
];
