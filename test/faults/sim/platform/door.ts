import type { TokenId } from "../../../../src/core/ids.ts";
import { refusal } from "../../../../src/core/refusals.ts";
import type { Principal } from "../../../../src/core/request.ts";
import { err, ok } from "../../../../src/core/result.ts";
import type { Scope } from "../../../../src/core/scopes.ts";
import type { Identity, Ports } from "../../../../src/flow/ports.ts";
import { createApp } from "../../../../src/http/app.ts";
import type { Platform } from "./platform.ts";
import type { Party } from "./world.ts";

/** Where the simulated gateway is served. */
export const GATEWAY = "https://gateway.test";
/** As long as a connection stands on which nothing comes back. */
const CONNECTION_MS = 120_000;

/** Who calls, and what it may do. */
export interface Bearer {
  readonly principal: Principal;
  readonly scopes: readonly Scope[];
}

/** A token that says in plain text who bears it: nothing in the simulation signs one, or reads a signature. */
export const tokenOf = ({ principal: { tenant, subject, kind, tokenId }, scopes }: Bearer): string =>
  [tenant, subject, kind, tokenId, scopes.join("+")].join("/");

/** As the gateway's own, of what a request needs; the rest of it is for tokens that are signed. */
const identity: Pick<Identity, "authenticate" | "forget" | "signLease"> = {
  authenticate: async (authorization) => {
    const [tenant, subject, kind, tokenId, scopes] = (authorization ?? "").replace(/^Bearer /, "").split("/");
    if (tenant === undefined || subject === undefined || scopes === undefined || (kind !== "agent" && kind !== "service"))
      return err(refusal("token_invalid", "The token is not valid."));
    return ok({
      kind: "bearer",
      // Written so by `tokenOf`.
      principal: { tenant, subject, kind, tokenId: tokenId as TokenId },
      scopes: scopes.split("+") as Scope[],
      expiresAt: Number.MAX_SAFE_INTEGER,
    });
  },
  forget: () => undefined,
  signLease: async (tenant, { id }) => `${tenant}/${id}`,
};

/** The gateway's own HTTP door in each life of an isolate, with all that it remembers: what an isolate forgets when it falls, its door forgets. */
const doors = new WeakMap<Ports, ReturnType<typeof createApp>>();

function doorOf(ports: Ports): ReturnType<typeof createApp> {
  const known = doors.get(ports);
  if (known !== undefined) return known;
  const withTokens = { ...ports, identity: { ...ports.identity, ...identity } };
  const door = createApp({ ports: () => withTokens });
  doors.set(ports, door);
  return door;
}

/** A request as it leaves a client. */
export interface Sent {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/**
 * One request over the simulated network to the gateway's own door. Rejects with what `fetch` rejects with: a `TypeError` when the connection breaks or
 * never was, the signal's reason when that aborts first. Whether the gateway has done what it was asked is not known then.
 */
export async function fetchOver(platform: Platform, client: Party, url: string, sent: Sent, signal: AbortSignal): Promise<Response> {
  const place = url.slice(GATEWAY.length);
  // Of its own: an id that the door makes up is by a chance that does not come again.
  const headers = { ...sent.headers, "x-request-id": `req-${platform.world.steps}` };
  const told = platform.ask(client, `${sent.method} ${place.replaceAll(/(?<=_)[0-9a-f-]{36}/g, "…")}`, CONNECTION_MS, async (ports) => {
    const answer = await doorOf(ports).request(`${GATEWAY}${place}`, { ...sent, headers }, {});
    return { status: answer.status, headers: [...answer.headers], text: await answer.text() };
  });
  const {
    status,
    headers: fields,
    text,
  } = await new Promise<Awaited<typeof told>>((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    told.then(resolve, (cause: unknown) => reject(new TypeError("fetch failed", { cause })));
  });
  return new Response(text === "" ? null : text, { status, headers: fields.map(([name, value]): [string, string] => [name, value]) });
}
