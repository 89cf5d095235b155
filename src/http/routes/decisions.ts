import type * as z from "zod";
import { commit } from "../../flow/commit.ts";
import { type AskedAction, decide } from "../../flow/decide.ts";
import type { ExpectedUsage } from "../../flow/ports.ts";
import { topup } from "../../flow/topup.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, optionalBody, replay, reply, route } from "../route.ts";
import { MOST_WAITS_OF_TENANT, MOST_WAITS_OF_TOKEN } from "../throttle.ts";
import { READS_SESSIONS } from "./sessions.ts";

/**
 * The hot path. These routes ask the session alone: its lease names the revoked tokens, so a second hop to the tenant would double the price of a
 * decision and refuse a revoked token no sooner than the lease's push does, and never later than one lease term.
 */
const HOT = { caller: "bearer", scopes: ["decisions:write"], revocation: "session", query: requests.noQuery } as const;

const EXAMPLE_REQUEST = {
  id: examples.decision.id,
  action: "send_email",
  resource: { type: "mailbox", id: "m1" },
  estimate_usd: "0.05",
  tags: ["email"],
  inputs: { to: "a@example.org" },
};

export const decisionRoutes = [
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/decisions",
    id: "decide",
    tag: "Decisions",
    summary: "Ask whether an action may be done, and reserve what it may cost",
    description:
      "Allow, deny and hold are all answers with status 200. The same `id` again gives the recorded answer; another body under it is refused with `idempotency_mismatch`.",
    body: jsonBody(requests.decision, EXAMPLE_REQUEST),
    creates: true,
    answers: [jsonAnswer(200, "The decision.", answers.decision, examples.decision)],
    refuses: ["not_found", "not_your_session", "token_revoked", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, key, origin, now }) => {
      const decided = await decide(ports, {
        principal,
        session: parameters.session,
        asked: [askedAction(body)],
        batch: false,
        semantics: "independent",
        key,
        now,
      });
      return reply(decided, ([one]) => {
        if (one === undefined) throw new Error("one request was decided, so there is one decision");
        return answered(200, present.decision(one.answer, origin, one.superseded), replay(one.replayed));
      });
    },
  }),
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/decisions/batch",
    id: "decideBatch",
    tag: "Decisions",
    summary: "Ask about up to 100 actions in one transaction",
    body: jsonBody(requests.decisionBatch, { decisions: [EXAMPLE_REQUEST], semantics: "independent" }),
    creates: true,
    answers: [jsonAnswer(200, "The decisions, in order.", answers.decisionBatch, { decisions: [examples.decision] })],
    refuses: ["not_found", "not_your_session", "token_revoked", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, key, origin, now }) => {
      const asked = body.decisions.map(askedAction);
      const decided = await decide(ports, {
        principal,
        session: parameters.session,
        asked,
        batch: true,
        semantics: body.semantics ?? "independent",
        key,
        now,
      });
      return reply(decided, (all) =>
        answered(
          200,
          { decisions: all.map(({ answer, superseded }) => present.decision(answer, origin, superseded)) },
          replay(all.every(({ replayed }) => replayed)),
        ),
      );
    },
  }),
  route({
    ...HOT,
    scopes: READS_SESSIONS,
    revocation: "tenant",
    method: "GET",
    path: "/v1/sessions/{session}/decisions/{decision}",
    id: "readDecision",
    tag: "Decisions",
    summary: "Read a decision: what was answered, and where its money is now",
    description: `With \`wait_ms\` the answer is held back while the decision is held, nobody has answered and no kill has come (then it says \`superseded\`). So ${MOST_WAITS_OF_TOKEN} requests of one token wait at once, and ${MOST_WAITS_OF_TENANT} of a tenant; one more is \`throttled\`, and may be asked without \`wait_ms\`.`,
    waits: true,
    query: requests.waitQuery,
    body: null,
    answers: [jsonAnswer(200, "The decision as it stands.", answers.decisionNow, examples.decisionNow)],
    refuses: ["not_found", "not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, query, origin }) => {
      const { session, decision } = parameters;
      const read = await ports.sessions.readDecision(principal.tenant, session, principal, decision, query.wait_ms ?? 0);
      return reply(read, (now) => answered(200, present.decisionNow(now, origin)));
    },
  }),
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/decisions/{decision}/commit",
    id: "commitDecision",
    tag: "Decisions",
    summary: "Tell what the action cost and how it came out",
    description:
      "Testimony about money already gone: recorded beyond the reservation (`overrun_usd`) and after its end (`late`). Telling it again is harmless; telling it differently is refused with `decision_settled`.",
    body: jsonBody(requests.commit, { cost_usd: "0.043", outcome: "success", duration_ms: 412 }),
    answers: [jsonAnswer(200, "The cost is posted.", answers.settlement, examples.settlement)],
    refuses: ["not_found", "not_your_session", "token_revoked", "decision_settled", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, now }) => {
      const reported = {
        costMicroUsd: body.cost_usd ?? null,
        outcome: body.outcome,
        durationMs: body.duration_ms ?? null,
        outputs: body.outputs,
        error: body.error ?? null,
        usage: body.usage ?? null,
      };
      const { session, decision } = parameters;
      const told = await commit(ports, principal, session, decision, reported, now);
      return reply(told, ({ answer, replayed }) => answered(200, present.settlement(answer), replay(replayed)));
    },
  }),
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/decisions/{decision}/release",
    id: "releaseDecision",
    tag: "Decisions",
    summary: "Give the reservation back: the action was not done",
    body: optionalBody(requests.release, { reason: "the mailbox was empty" }),
    answers: [jsonAnswer(200, "The reservation is given back.", answers.settlement, { ...examples.settlement, state: "released", posted_usd: "0" })],
    refuses: ["not_found", "not_your_session", "token_revoked", "decision_settled", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body }) => {
      const released = await ports.sessions.release(principal.tenant, parameters.session, principal, parameters.decision, body.reason ?? null);
      return reply(released, ({ answer, replayed }) => answered(200, present.settlement(answer), replay(replayed)));
    },
  }),
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/decisions/{decision}/extend",
    id: "extendDecision",
    tag: "Decisions",
    summary: "Let the reservation stand longer",
    description:
      "What a kill has stopped is not kept for longer: `decision_stopped`, whose `reason` says what was killed. Its reservation stands as it did, and its commit or release is taken as ever.",
    body: jsonBody(requests.extend, { ttl_ms: 600_000 }),
    answers: [jsonAnswer(200, "The reservation stands longer.", answers.extension, { ...examples.settlement, state: "pending" })],
    refuses: ["not_found", "not_your_session", "token_revoked", "decision_settled", "decision_stopped", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body }) => {
      const extended = await ports.sessions.extend(principal.tenant, parameters.session, principal, parameters.decision, body.ttl_ms);
      return reply(extended, (one) => answered(200, present.extension(one), replay(one.replayed)));
    },
  }),
  route({
    ...HOT,
    method: "POST",
    path: "/v1/sessions/{session}/decisions/{decision}/topup",
    id: "topupDecision",
    tag: "Decisions",
    summary: "Ask for more money while the action runs",
    description:
      "`estimate_usd` is the new sum. A denial leaves the reservation as it was. A smaller sum gives the difference back, also of what was killed or paused since: then the answer says `superseded`.",
    body: jsonBody(requests.topup, { estimate_usd: "0.10" }),
    answers: [jsonAnswer(200, "The decision about the new sum.", answers.decision, examples.decision)],
    refuses: ["not_found", "not_your_session", "token_revoked", "decision_settled", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body, origin, now }) => {
      const decided = await topup(ports, principal, parameters.session, parameters.decision, body.estimate_usd, now);
      return reply(decided, ({ decision, superseded }) => answered(200, present.decision(decision, origin, superseded)));
    },
  }),
];

/** What the body asks, with what it leaves out made plain. */
const askedAction = (body: z.output<typeof requests.decision>): AskedAction => ({
  id: body.id ?? null,
  run: body.run ?? null,
  action: body.action,
  resource: body.resource ?? null,
  estimateMicroUsd: body.estimate_usd ?? null,
  usage: body.usage === undefined ? null : expectedUsage(body.usage),
  tags: body.tags ?? [],
  riskLevel: body.risk_level ?? null,
  inputs: body.inputs,
  inputsDigest: body.inputs_digest ?? null,
  rationale: body.rationale ?? null,
  confidence: body.confidence ?? null,
  sources: body.sources ?? [],
  parents: body.parents ?? [],
  model: body.model ?? null,
  approval: body.approval ?? null,
  ttlMs: body.ttl_ms ?? requests.DECISION_TTL_MS,
});

const expectedUsage = (usage: z.output<typeof requests.expectedUsage>): ExpectedUsage => ({
  inputTokens: usage.input_tokens ?? 0,
  outputTokens: usage.output_tokens ?? 0,
  cacheReadTokens: usage.cache_read_tokens ?? 0,
  cacheWriteTokens: usage.cache_write_tokens ?? 0,
});
