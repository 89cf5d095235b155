import { ask, type Gateway, type Tenant, type TokenName } from "./gateway.ts";
import type { Fault, Judge } from "./judge.ts";
import { Connection, isAnswer, type Sent } from "./wire.ts";

/**
 * Requests that were once answered as they must not be, made small. A new one is added before its cause is mended, with the answer that it must have.
 */
export interface Row {
  readonly name: string;
  readonly method: string;
  readonly target: string;
  readonly token: TokenName | "root" | null;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string;
  readonly wanted: { readonly status: number; readonly code?: string };
}

export const ROWS: readonly Row[] = [
  {
    name: "an agent reads an entity that is not its own: the document did not say that this is refused",
    method: "GET",
    target: "/v1/entities/customer/c1",
    token: "agent",
    wanted: { status: 403, code: "not_your_session" },
  },
  {
    name: "costs that sum up to more than any amount: all of them were refused",
    method: "GET",
    target: "/v1/costs",
    token: "operator",
    wanted: { status: 200 },
  },
  {
    name: "a revoked token where only the root key counts: the document did not say that this is refused",
    method: "POST",
    target: "/v1/tenants",
    token: "revoked",
    headers: [["Content-Type", "application/json"]],
    body: '{"id":"x"}',
    wanted: { status: 401, code: "token_revoked" },
  },
  {
    name: "a path without parameters counts before one that has a parameter in its place",
    method: "GET",
    target: "/v1/policies/validate",
    token: "operator",
    wanted: { status: 405, code: "method_not_allowed" },
  },
  {
    name: "a body that nobody wants: what was left unread had the runtime cut a long answer off",
    method: "GET",
    target: "/openapi.json",
    token: null,
    headers: [["Content-Type", "application/json"]],
    body: JSON.stringify("x".repeat(100_000)),
    wanted: { status: 200 },
  },
  {
    name: "a WebSocket of a version twice: the runtime had refused it in words of its own",
    method: "GET",
    target: "/v1/events/ws",
    token: "service",
    headers: [
      ["Upgrade", "websocket"],
      ["Sec-WebSocket-Version", "13"],
      ["Sec-WebSocket-Version", "13"],
    ],
    wanted: { status: 400, code: "body_malformed" },
  },
];

/** What a row's answer showed: its faults by the document, and that it was another than the wanted one. */
export async function replay(row: Row, gateway: Gateway, tenant: Tenant, judge: Judge): Promise<readonly Fault[]> {
  const bearer = row.token === null ? null : row.token === "root" ? gateway.rootKey : tenant.tokens[row.token];
  const sent: Sent = {
    method: row.method,
    target: row.target,
    headers: [...(bearer === null ? [] : [["Authorization", `Bearer ${bearer}`] as const]), ...(row.headers ?? [])],
    body: row.body === undefined ? null : Buffer.from(row.body),
    framing: "length",
  };
  const connection = new Connection(gateway.url);
  const outcome = await connection.ask(sent, 10_000);
  connection.close();
  const faults = judge.of(sent, outcome);
  const code = isAnswer(outcome) ? (/"code":"(\w+)"/.exec(outcome.body.toString("utf8"))?.[1] ?? undefined) : undefined;
  const isWanted = isAnswer(outcome) && outcome.status === row.wanted.status && (row.wanted.code === undefined || code === row.wanted.code);
  return isWanted
    ? faults
    : [...faults, { kind: "not served", where: row.name, what: `answered ${isAnswer(outcome) ? `${outcome.status} ${code}` : outcome.fault}` }];
}

/** Three sessions that each spent nearly as much as one may count: their sum is beyond every amount. */
export async function spendMuch(gateway: Gateway, { tokens }: Tenant): Promise<void> {
  for (let times = 0; times < 3; times++) {
    const { id: session } = await ask(gateway, tokens.agent, "POST", "/v1/sessions", 201, {});
    const { id } = await ask(gateway, tokens.agent, "POST", `/v1/sessions/${session}/decisions`, 200, { action: "search" });
    await ask(gateway, tokens.agent, "POST", `/v1/sessions/${session}/decisions/${id}/commit`, 200, { cost_usd: "4500000000", outcome: "success" });
  }
}
