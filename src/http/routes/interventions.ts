import { intervene } from "../../flow/intervene.ts";
import type { LedgerFilter } from "../../flow/ports.ts";
import { listEntries } from "../../flow/read_ledger.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { agentToRead } from "../own.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, ENTRIES_WEIGHT, jsonAnswer, jsonBody, pageQuery, replay, reply, route } from "../route.ts";

export const interventionRoutes = [
  route({
    method: "GET",
    path: "/v1/interventions",
    id: "listInterventions",
    tag: "Interventions",
    summary: "List everything in which the system said no, newest first",
    description:
      "What people stopped and let go on; what was denied or held, here or by an engine that reported it (`reported_deny`, `reported_hold`); approvals that people rejected, that nobody answered or used in time, or that were taken back, and answers to them that did not count; client leases that were not granted; what was spent above its reservation, and what nobody settled. A request that was refused (a problem document) is no answer to an agent, and is not on record. By session, agent or action: what it met, and what was aimed at it by name. A token of kind agent sees what its own sessions met.",
    caller: "bearer",
    scopes: ["interventions:write", "ledger:read", "events:read"],
    query: requests.interventionsQuery,
    body: null,
    reads: ENTRIES_WEIGHT,
    answers: [jsonAnswer(200, "A page of them.", answers.noPage, { items: [examples.no], next_cursor: null })],
    refuses: ["not_your_session", "ledger_unavailable"],
    answer: async ({ ports, principal, query, went }) => {
      const agent = agentToRead(principal, query.agent);
      if (!agent.ok) return agent;
      const { kinds, session, action, from, to } = query;
      // An agent is shown what its sessions met, and not who did what to it by name.
      const aims = principal.kind !== "agent";
      const filter: LedgerFilter = { noes: kinds ?? requests.NO_KINDS, session, action, agent: agent.value ?? undefined, aims, from, to };
      return reply(await listEntries(ports, principal.tenant, filter, pageQuery(query), went), (rows) =>
        answered(200, present.page(rows, present.no)),
      );
    },
  }),
  route({
    method: "POST",
    path: "/v1/interventions",
    id: "intervene",
    tag: "Interventions",
    summary: "Kill, pause, resume or revive a tenant, agent, session, run or action",
    description:
      "In force at the next decision of every session that acknowledged it, which is nearly always all of them when this answers; of those that did not answer, by `in_force_everywhere_by` at the latest, one lease term (30 s) later. A kill stands until a revive, a pause until a resume, and each of the two leaves the other alone: `lifted` says whether there was one to lift, and `known` whether anything of that name was ever seen. What had been spent is still reported and recorded.",
    caller: "bearer",
    scopes: ["interventions:write"],
    query: requests.noQuery,
    body: jsonBody(requests.intervene, { target: { type: "agent", id: "support-1" }, kind: "kill", reason: "It mails the wrong people." }),
    creates: true,
    isUrgent: true,
    answers: [jsonAnswer(201, "It is in force, and this is the evidence.", answers.intervened, examples.intervened)],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, body, key }) =>
      reply(await intervene(ports, principal, body, key), ({ answer, replayed }) => answered(201, present.intervened(answer), replay(replayed))),
  }),
];
