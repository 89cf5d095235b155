import { intervene } from "../../flow/intervene.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, replay, reply, route } from "../route.ts";

export const interveneRoutes = [
  route({
    method: "POST",
    path: "/v1/interventions",
    id: "intervene",
    tag: "Interventions",
    summary: "Kill, pause, resume or revive a tenant, agent, session, run or action",
    description:
      "In force at the next decision of every session that acknowledged it, which is nearly always all of them when this answers; of those that did not answer, by `in_force_everywhere_by` at the latest, one lease term (30 s) later. A kill stands until a revive, a pause until a resume, and each of the two leaves the other alone. What had been spent is still reported and recorded.",
    caller: "bearer",
    scopes: ["interventions:write"],
    query: requests.noQuery,
    body: jsonBody(requests.intervene, { target: { type: "agent", id: "support-1" }, kind: "kill", reason: "It mails the wrong people." }),
    creates: true,
    answers: [jsonAnswer(201, "It is in force, and this is the evidence.", answers.intervened, examples.intervened)],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, body, key }) =>
      reply(await intervene(ports, principal, body, key), ({ answer, replayed }) => answered(201, present.intervened(answer), replay(replayed))),
  }),
];
