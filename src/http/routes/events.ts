import { type Refusal, refusal } from "../../core/refusals.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Caller, Listening } from "../../flow/ports.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { agentToRead } from "../own.ts";
import * as requests from "../requests.ts";
import { reply, route } from "../route.ts";
import { eventStream, resumeAfter } from "../sse.ts";

const LISTENS = { method: "GET", tag: "Events", caller: "bearer", scopes: ["events:read"], query: requests.eventsQuery, body: null } as const;

const DESCRIPTION =
  "The record as it grows, in its order, each entry once: decision.allow|deny|hold|topup|extend|commit|release|expiry, intervention.kill|pause|resume|revive|obeyed|lifted|evidence, policy.*, session.opened|closed|run_opened|run_closed, token.*, budget.threshold. Without an id it begins with what comes next; with the id of the last event that was seen it goes on after it, however long ago that was: nothing is lost, since what is told is read from the ledger. An event is told within about a second of what it tells, and within ten should a part of the gateway have been restarted. A token of kind agent hears of its own agent only. Who does not keep up is let go and may resume; the stream ends with its token, and when for a minute nobody could say whether its token is still good. At most 100 listeners for each tenant, of which one token is at most 10.";

type Bearer = Extract<Caller, { kind: "bearer" }>;

/** What a caller may listen to of what it asked for. */
function listeningOf(caller: Bearer, headers: Headers, query: Parsed): Result<Listening, Refusal> {
  const agent = agentToRead(caller.principal, query.agent);
  if (!agent.ok) return agent;
  const from = resumeAfter(headers.get("Last-Event-ID"), query.last_event_id);
  if (from === undefined) {
    const message = "wanted the id of an event, such as 17 or 17.1";
    return err(refusal("body_invalid", `The id of the last event is not valid: ${message}.`, [{ pointer: "/last_event_id", message }]));
  }
  const { tokenId, issuer } = caller.principal;
  return ok({
    filter: { types: query.types, session: query.session, agent: agent.value ?? undefined, action: query.action },
    from,
    token: { tokenId, issuer },
    expiresAt: caller.expiresAt,
  });
}

interface Parsed {
  readonly types?: readonly string[] | undefined;
  readonly session?: string | undefined;
  readonly agent?: string | undefined;
  readonly action?: string | undefined;
  readonly last_event_id?: string | undefined;
}

export const eventRoutes = [
  route({
    ...LISTENS,
    path: "/v1/events",
    id: "streamEvents",
    summary: "Listen: Server-Sent Events",
    description: `${DESCRIPTION} Each event's \`data\` is one line of JSON; a comment every 15 seconds shows that the stream lives.`,
    answers: [{ status: 200, means: "The stream.", types: ["text/event-stream"], schema: answers.ledgerEvent, example: examples.ledgerEvent }],
    refuses: ["not_your_session", "throttled", "ledger_unavailable"],
    answer: async ({ ports, principal, caller, headers, query }) => {
      const listening = listeningOf(caller, headers, query);
      if (!listening.ok) return listening;
      return reply(await ports.events.listen(principal.tenant, listening.value), (socket) => ({
        status: 200,
        body: { text: eventStream(socket), type: "text/event-stream" },
      }));
    },
  }),
  route({
    ...LISTENS,
    path: "/v1/events/ws",
    id: "openEventSocket",
    summary: "Listen: the same over a WebSocket",
    description: `${DESCRIPTION} Each message is one event as JSON. Send anything now and then: after 1,000 events without a word from the client the socket is closed with 4000, and it may resume. 4001: the token has expired; 4002: it was revoked; 4003: nobody could say whether it is still good, and it may resume.`,
    answers: [{ status: 101, means: "The socket.", types: [] }],
    refuses: ["not_your_session", "body_malformed", "throttled", "ledger_unavailable"],
    answer: async ({ ports, principal, caller, headers, query }) => {
      if (headers.get("Upgrade")?.toLowerCase() !== "websocket")
        return err(refusal("body_malformed", "Here a WebSocket is opened: send `Upgrade: websocket`."));
      // What the runtime would refuse in words of its own. Inside the platform neither header travels, so their absence says nothing.
      const version = headers.get("Sec-WebSocket-Version");
      if (version !== null && (version !== "13" || !headers.has("Sec-WebSocket-Key")))
        return err(refusal("body_malformed", "Send `Sec-WebSocket-Version: 13` and a `Sec-WebSocket-Key`, each once (RFC 6455)."));
      const listening = listeningOf(caller, headers, query);
      if (!listening.ok) return listening;
      return reply(await ports.events.listen(principal.tenant, listening.value), (socket) => ({ status: 101, body: { socket } }));
    },
  }),
];
