import { randomUUID } from "node:crypto";
import type { Entry, Payload } from "../../src/core/entry.ts";
import { SEARCH } from "./policies.ts";
import type { Tenant, World } from "./world.ts";

/** A real decision as it goes on record: its entry, with what lies beside it, and what its caller was told. */
export interface Example {
  readonly entry: Entry;
  readonly payload: Payload;
  readonly answer: string;
}

export async function takeExample(world: World, tenant: Tenant, session: string): Promise<Example> {
  const answer = await tenant.send(tenant.agent, "POST", `/v1/sessions/${session}/decisions`, SEARCH);
  const id = answer.id ?? "";
  await tenant.send(tenant.operator, "GET", "/v1/ledger?limit=1");
  const db = await world.miniflare.getD1Database("DB");
  const row = await db.prepare("SELECT canonical FROM entries WHERE kind = 'decision' AND decision_id = ?").bind(id).first<{ canonical: string }>();
  if (row === null) throw new Error("D1 has no decision to take as an example");
  return {
    // The gateway's own text.
    entry: JSON.parse(row.canonical) as Entry,
    payload: { salt: randomUUID(), inputs: SEARCH.inputs },
    answer: JSON.stringify(answer),
  };
}
