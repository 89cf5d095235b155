import { GatewayRefusedError, isAgentSentinelError } from "../errors.ts";
import { takeOff } from "../flights.ts";
import { described } from "../guard.ts";
import { insideOf } from "../inside.ts";
import type { Running, Session } from "../session.ts";
import { link } from "../transport.ts";
import type { ModelCall } from "./call.ts";
import { denialOf, denialResponse } from "./denial.ts";
import { requestOf } from "./estimate.ts";
import { eventFeed, textFeed } from "./feed.ts";
import { asksForUsage, withUsage } from "./include_usage.ts";
import { responseLike } from "./like.ts";
import { metered } from "./meter.ts";
import type { FetchOptions } from "./options.ts";
import { permitted } from "./permitted.ts";
import type { Asked } from "./request.ts";
import { type Settle, settlement } from "./settle.ts";
import { isUnsent } from "./unsent.ts";
import { usageReader } from "./usage.ts";

/** One attempt: asked for, sent, read to its end, paid. */
export async function attempt(
  session: Session,
  options: FetchOptions,
  asked: Asked,
  call: ModelCall,
  text: string,
  send: (body: string, signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const { newId } = insideOf(session);
  const caller = asked.signal;
  const denied = (error: unknown): Response => denialResponse(denialOf(error), call.shape);
  let flight: Running | undefined;
  let land = (): void => undefined;
  let settle: Settle;
  try {
    const request = await requestOf(session, options, call, text, `dec_${newId()}`);
    // In flight from before it is asked: a kill that is told while the answer travels stops it too.
    flight = { run: request.run, action: request.action, stop: new AbortController() };
    land = takeOff(session, flight);
    const decision = await permitted(session, options, request, flight, caller);
    settle = settlement(session, options, call, request, decision, land);
  } catch (error) {
    land();
    if (caller?.aborted) throw caller.reason;
    // What an option throws stops it too: nobody was asked.
    const isOurs = isAgentSentinelError(error) || (flight?.stop.signal.aborted && error === flight.stop.signal.reason);
    return denied(
      isOurs ? error : new GatewayRefusedError(`ask about ${call.model}`, { status: null, code: "guard_failed", detail: described(error) }),
    );
  }

  const killed = flight.stop.signal;
  const upstream = new AbortController();
  const unlink = [link(killed, upstream), link(caller, upstream)];
  const over: Settle = (...end) => {
    for (const each of unlink) each();
    return settle(...end);
  };
  try {
    const adds = call.shape === "chat" && call.stream && options.includeUsage !== false && !asksForUsage(call);
    const response = await send(adds ? withUsage(call) : text, upstream.signal);
    return await received(response, call, adds, over, upstream.signal);
  } catch (error) {
    await over({ error, used: isUnsent(error) ? "nothing" : "unknown" });
    if (killed.aborted && !caller?.aborted) return denied(killed.reason);
    throw error;
  }
}

/** The provider's answer with what it cost told at its end. */
async function received(response: Response, call: ModelCall, adds: boolean, settle: Settle, stop: AbortSignal): Promise<Response> {
  const { status, body } = response;
  // A proxy that gave up waiting does not know whether the model answers. Any other error is free of charge.
  if (status >= 300) {
    await settle({ error: `HTTP ${status}`, used: status === 504 || status === 524 ? "unknown" : "nothing" });
    return response;
  }
  const usage = usageReader(call);
  const isEvents = /^text\/event-stream/i.test(response.headers.get("content-type") ?? "");
  if (body === null || status < 200) {
    await settle({ used: "unknown" });
    return response;
  }
  const told = (): Promise<void> => {
    const failure = usage.failure();
    return settle({ used: usage.spent() ?? "unknown", ...(failure === null ? {} : { error: failure }) });
  };
  const end = { ended: told, cancelled: told, failed: (error: unknown) => settle({ error, used: usage.spent() ?? "unknown" }) };
  const passing = metered(body, isEvents ? eventFeed(usage, adds) : textFeed(usage), end, stop);
  // What is no stream is read whole and paid before the caller sees it, as with any guarded function.
  return responseLike(response, isEvents || call.stream ? passing : await new Response(passing).arrayBuffer());
}
