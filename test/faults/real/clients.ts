import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Decision, DecisionBatch, Extension, OpenedRun, OpenedSession, Problem } from "../../../sdk/src/wire.ts";
import type { Call, Told } from "./calls.ts";
import { type Chance, oneOf, weighed } from "./chance.ts";
import { micro, usd } from "./record.ts";
import { ACTIONS, type Agent, leave, remember } from "./world.ts";

/** What clients do to a gateway, and what they remember of it. */

export type DeedKind = "decide" | "keyed" | "batch" | "commit" | "release" | "extend" | "topup" | "run" | "open" | "close" | "mismatch";

/** One thing that a client did. `told` is `null` where nothing was heard. */
export interface Deed {
  readonly kind: DeedKind;
  readonly agent: Agent;
  readonly call: Call;
  /** The decisions that it is about, as far as its client named them. */
  readonly ids: readonly string[];
  told: Told | null;
}

/** Asks, and answers `null` where the gateway was killed before it answered. */
export type Hear = <T>(call: Call) => Promise<Told<T> | null>;

interface Holding {
  readonly id: string;
  readonly path: string;
  readonly action: string;
  amountMicroUsd: number;
}

const WEIGHTS: { readonly [K in DeedKind]: number } = {
  decide: 45,
  keyed: 8,
  batch: 8,
  commit: 16,
  release: 6,
  extend: 4,
  topup: 5,
  run: 2,
  open: 2,
  close: 1,
  mismatch: 3,
};

/** Works without a pause until it hears nothing more. Whatever it does is in `deeds`, before it is sent. */
export async function work(agent: Agent, chance: Chance, hear: Hear, deeds: Deed[]): Promise<void> {
  const holdings: Holding[] = [];

  const act = async <T>(kind: DeedKind, call: Call, ids: readonly string[], statuses: readonly number[] = [200]): Promise<Told<T> | null> => {
    const deed: Deed = { kind, agent, call, ids, told: null };
    deeds.push(deed);
    // Now and then a message arrives twice.
    const asked = [hear<T>(call), ...(chance() < 0.08 && IS_REPEATABLE[kind] ? [hear<T>(call)] : [])];
    const [told, again] = await Promise.all(asked);
    if (told == null) return null;
    assert.ok(statuses.includes(told.status), `${kind} ${call.path} answered ${told.status}: ${JSON.stringify(told.body)}`);
    if (again != null) assertSame(told, again, kind);
    deed.told = told;
    return told;
  };

  const heldBy = (session: string, { id, action, verdict, reservation }: Decision): void => {
    if (verdict !== "allow" || reservation === null || action === "brief") return;
    holdings.push({ id, action, path: `/v1/sessions/${session}/decisions/${id}`, amountMicroUsd: micro(reservation.amount_usd) });
  };

  const take = (): Holding | undefined => holdings.splice(Math.floor(chance() * holdings.length), 1)[0];

  const decide = async (session: string): Promise<Told<Decision> | null> => {
    const body = newRequest(chance);
    const told = await act<Decision>("decide", post(agent, `/v1/sessions/${session}/decisions`, body), [body.id]);
    if (told !== null) heldBy(session, told.body);
    return told;
  };

  const does: { readonly [K in DeedKind]: (session: string) => Promise<unknown> } = {
    decide,
    async keyed(session) {
      const { id: _, ...body } = newRequest(chance);
      const told = await act<Decision>("keyed", { ...post(agent, `/v1/sessions/${session}/decisions`, body), key: randomUUID() }, []);
      if (told !== null) heldBy(session, told.body);
      return told;
    },
    async batch(session) {
      const decisions = Array.from({ length: 2 + Math.floor(chance() * 4) }, () => newRequest(chance));
      const semantics = oneOf(chance, ["independent", "all_or_nothing", "stop_on_deny"]);
      const call = post(agent, `/v1/sessions/${session}/decisions/batch`, { decisions, semantics });
      const told = await act<DecisionBatch>(
        "batch",
        call,
        decisions.map(({ id }) => id),
      );
      for (const decision of told?.body.decisions ?? []) heldBy(session, decision);
      return told;
    },
    commit: () => withOne(({ id, path, amountMicroUsd }) => act("commit", post(agent, `${path}/commit`, report(chance, amountMicroUsd)), [id])),
    release: () => withOne(({ id, path }) => act("release", post(agent, `${path}/release`, { reason: "not needed" }), [id])),
    extend: () =>
      withOne(async (holding) => {
        // What a person has killed is not extended; it can still be reported.
        const told = await act<Extension | Problem>("extend", post(agent, `${holding.path}/extend`, { ttl_ms: 7_200_000 }), [holding.id], [200, 409]);
        if (told?.status === 409) assert.equal("code" in told.body && told.body.code, "decision_stopped");
        if (told !== null) holdings.push(holding);
        return told;
      }),
    topup: () =>
      withOne(async (holding) => {
        const wanted = holding.amountMicroUsd + micro(0.02);
        const told = await act<Decision>("topup", post(agent, `${holding.path}/topup`, { estimate_usd: usd(wanted) }), [holding.id]);
        if (told === null) return null;
        if (told.body.verdict === "allow") holding.amountMicroUsd = wanted;
        holdings.push(holding);
        return told;
      }),
    run: (session) => act<OpenedRun>("run", { ...post(agent, `/v1/sessions/${session}/runs`), key: randomUUID() }, [], [201, 409]),
    async open() {
      const told = await act<OpenedSession>("open", { ...post(agent, "/v1/sessions", {}), key: randomUUID() }, [], [201]);
      if (told !== null) remember(agent, told.body.id);
      return told;
    },
    async close(session) {
      // The first lives as long as the run.
      if (session === agent.sessions[0]) return decide(session);
      leave(agent, session);
      return act("close", post(agent, `/v1/sessions/${session}/close`), []);
    },
    async mismatch(session) {
      const first = await decide(session);
      if (first === null) return null;
      return act("mismatch", post(agent, `/v1/sessions/${session}/decisions`, { id: first.body.id, action: "another" }), [], [409]);
    },
  };
  /** What needs a pending decision and has none asks for one. */
  const withOne = (settle: (holding: Holding) => Promise<unknown>): Promise<unknown> => {
    const holding = take();
    return holding === undefined ? decide(oneOf(chance, agent.sessions)) : settle(holding);
  };

  for (let told: unknown = true; told !== null; ) told = await does[weighed(chance, WEIGHTS)](oneOf(chance, agent.sessions));
}

/** Whether the same once more is the same, so that it may arrive twice and be asked again. */
export const IS_REPEATABLE: { readonly [K in DeedKind]: boolean } = {
  decide: true,
  keyed: true,
  batch: true,
  commit: true,
  release: true,
  extend: false,
  topup: false,
  run: true,
  open: true,
  close: false,
  mismatch: true,
};

/** Two answers to one request. What has come into force since the first may stand in the second. */
export function assertSame(first: Told, second: Told, what: string): void {
  const bare = ({ status, body }: Told) => ({ status, body: withoutSuperseded(body) });
  assert.deepEqual(bare(second), bare(first), what);
}

function withoutSuperseded(body: unknown): unknown {
  if (typeof body !== "object" || body === null) return body;
  if ("decisions" in body && Array.isArray(body.decisions)) return { ...body, decisions: body.decisions.map(withoutSuperseded) };
  // Each refusal has its own.
  const { superseded: _, request_id: __, ...rest } = body as { readonly superseded?: unknown; readonly request_id?: unknown };
  return rest;
}

function newRequest(chance: Chance) {
  const action = weighed(chance, Object.fromEntries(Object.entries(ACTIONS).map(([name, { weight }]) => [name, weight])));
  const { price = 0, ttlMs = 0 } = ACTIONS[action] ?? {};
  return { id: `dec_${randomUUID()}`, action, estimate_usd: usd(price), ttl_ms: ttlMs };
}

/** At most a four hundredth of a cent, and never above the reservation. */
const report = (chance: Chance, amountMicroUsd: number) => ({
  cost_usd: usd(Math.min(amountMicroUsd, Math.ceil(chance() * 25))),
  outcome: chance() < 0.9 ? "success" : "error",
});

const post = (agent: Agent, path: string, body?: object): Call => ({
  method: "POST",
  path,
  token: agent.token,
  ...(body === undefined ? {} : { body }),
});
