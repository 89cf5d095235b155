import type { Decision, Settlement } from "../../../../src/core/decision.ts";
import type { TenantModel } from "./tenant.ts";
import { demand } from "./violation.ts";

/** What clients were told. It is on record when they hear it, and it is what they are told whenever they ask again. */
export class Answers {
  readonly #decisions = new Map<string, string>();
  readonly #settlements = new Map<string, string>();
  heard = 0;
  repeated = 0;

  /** A client heard a decision. */
  decided(tenant: TenantModel, decision: Decision): void {
    const key = `${decision.session} ${decision.id}`;
    const text = JSON.stringify(decision);
    const before = this.#decisions.get(key);
    this.heard++;
    if (before !== undefined) this.repeated++;
    demand(before === undefined || before === text, "the same id gives the same answer", () => ({ before, now: text }));
    this.#decisions.set(key, text);
    const model = tenant.sessions.get(decision.session);
    model?.chain.demandEntry(decision.entry.seq, decision.entry.hash);
    const seen = model?.decisions.get(decision.id);
    const isTrue =
      seen !== undefined &&
      seen.seq === decision.entry.seq &&
      seen.verdict === decision.verdict &&
      seen.action === decision.action &&
      seen.run === decision.run;
    demand(isTrue, "no decision without its record", () => ({ decision, seen: seen ?? null }));
  }

  /** A client heard what became of a decision's money. */
  settled(tenant: TenantModel, session: string, kind: string, settlement: Settlement): void {
    const key = `${session} ${settlement.id} ${kind}`;
    const text = JSON.stringify(settlement);
    const before = this.#settlements.get(key);
    this.heard++;
    if (before !== undefined) this.repeated++;
    demand(before === undefined || before === text, "the same report gives the same answer", () => ({ before, now: text }));
    this.#settlements.set(key, text);
    tenant.sessions.get(session)?.chain.demandEntry(settlement.entry.seq, settlement.entry.hash);
  }

  /** What was last heard of a decision, as it was first answered. */
  knows(session: string, id: string): Decision | null {
    const text = this.#decisions.get(`${session} ${id}`);
    return text === undefined ? null : (JSON.parse(text) as Decision);
  }

  /** At the end: what was ever answered is in its session's storage. */
  demandKept(tenants: Iterable<TenantModel>): void {
    const stored = new Map<string, string>();
    for (const tenant of tenants) {
      for (const model of tenant.sessions.values()) {
        if (!model.host.storage.hasTable("decisions")) continue;
        for (const { id, answer } of model.host.storage.look<{ id: string; answer: string }>("SELECT id, answer FROM decisions"))
          stored.set(`${model.id} ${id}`, answer);
      }
    }
    for (const [key, text] of this.#decisions)
      demand(stored.get(key) === text, "every answer is kept", () => ({ key, text, stored: stored.get(key) ?? null }));
  }
}
