import type { Scope } from "../../core/scopes.ts";
import { openRun } from "../../flow/open_run.ts";
import { openSession } from "../../flow/open_session.ts";
import { closeSession, readSession } from "../../flow/read_session.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { EXAMPLE_IDS } from "../fields.ts";
import { agentToRead } from "../own.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, LIST_WEIGHT, optionalBody, pageQuery, replay, reply, route } from "../route.ts";

/** Whoever works with sessions may look at them. */
export const READS_SESSIONS: readonly Scope[] = ["sessions:write", "decisions:write", "ledger:read"];

export const sessionRoutes = [
  route({
    method: "POST",
    path: "/v1/sessions",
    id: "openSession",
    tag: "Sessions",
    summary: "Open a session with its first run",
    description: "A token of kind agent opens sessions for its own subject only.",
    caller: "bearer",
    scopes: ["sessions:write"],
    query: requests.noQuery,
    body: optionalBody(requests.openSession, { labels: { team: "support" }, budget_usd: "2.50", ttl_ms: 3_600_000 }),
    creates: true,
    answers: [jsonAnswer(201, "The session is open.", answers.openedSession, examples.openedSession)],
    refuses: ["not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, body, key }) => {
      const wish = {
        agent: body.agent ?? null,
        labels: body.labels ?? {},
        budgetMicroUsd: body.budget_usd ?? null,
        ttlMs: body.ttl_ms ?? requests.SESSION_TTL_MS,
      };
      const opened = await openSession(ports, principal, wish, key);
      return reply(opened, ({ answer, replayed }) => answered(201, present.openedSession(answer), replay(replayed)));
    },
  }),
  route({
    method: "GET",
    path: "/v1/sessions",
    id: "listSessions",
    tag: "Sessions",
    summary: "List sessions, newest first",
    description: "A token of kind agent sees its own sessions only.",
    caller: "bearer",
    scopes: READS_SESSIONS,
    query: requests.sessionsQuery,
    body: null,
    reads: LIST_WEIGHT,
    answers: [jsonAnswer(200, "A page of sessions.", answers.sessionPage, { items: [examples.sessionSummary], next_cursor: null })],
    refuses: ["not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, query }) => {
      const agent = agentToRead(principal, query.agent);
      if (!agent.ok) return agent;
      const rows = await ports.tenants.listSessions(principal.tenant, pageQuery(query), agent.value);
      return reply(rows, (found) => answered(200, present.page(found, present.sessionSummary)));
    },
  }),
  route({
    method: "GET",
    path: "/v1/sessions/{session}",
    id: "readSession",
    tag: "Sessions",
    summary: "Read a session: its state, budgets and totals",
    caller: "bearer",
    scopes: READS_SESSIONS,
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "The session as it stands.", answers.sessionDetail, examples.sessionDetail)],
    refuses: ["not_found", "not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await readSession(ports, principal, parameters.session), (now) => answered(200, present.sessionDetail(now))),
  }),
  route({
    method: "POST",
    path: "/v1/sessions/{session}/close",
    id: "closeSession",
    tag: "Sessions",
    summary: "Close a session",
    description:
      "From then on every decision is denied with `session_closed`, and what waits for a person is cancelled; commits are still recorded. Closing again changes nothing.",
    caller: "bearer",
    scopes: ["sessions:write"],
    query: requests.noQuery,
    body: optionalBody(requests.nothing, {}),
    answers: [jsonAnswer(200, "The session as it stands.", answers.sessionDetail, { ...examples.sessionDetail, state: "closed" })],
    refuses: ["not_found", "not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await closeSession(ports, principal, parameters.session), (now) => answered(200, present.sessionDetail(now))),
  }),
  route({
    method: "POST",
    path: "/v1/sessions/{session}/runs",
    id: "openRun",
    tag: "Sessions",
    summary: "Open a run, which becomes the session's current one",
    caller: "bearer",
    scopes: ["sessions:write"],
    query: requests.noQuery,
    body: optionalBody(requests.nothing, {}),
    creates: true,
    answers: [jsonAnswer(201, "The run is open.", answers.openedRun, { id: EXAMPLE_IDS.run })],
    refuses: ["not_found", "not_your_session", "session_closed", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, key }) =>
      reply(await openRun(ports, principal, parameters.session, key), ({ answer, replayed }) => answered(201, { id: answer.id }, replay(replayed))),
  }),
  route({
    method: "POST",
    path: "/v1/sessions/{session}/runs/{run}/close",
    id: "closeRun",
    tag: "Sessions",
    summary: "Close a run",
    description:
      "From then on every decision in it is denied with `run_closed`, and what waits for a person in it is cancelled. Closing again changes nothing.",
    caller: "bearer",
    scopes: ["sessions:write"],
    query: requests.noQuery,
    body: optionalBody(requests.nothing, {}),
    answers: [jsonAnswer(200, "The run is closed.", answers.openedRun, { id: EXAMPLE_IDS.run })],
    refuses: ["not_found", "not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.sessions.closeRun(principal.tenant, parameters.session, principal, parameters.run), ({ id }) => answered(200, { id })),
  }),
];
