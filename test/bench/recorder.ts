import { DurableObject } from "cloudflare:workers";
import { OUTBOX_TABLE, Outbox } from "../../src/authority/outbox.ts";
import { freshForEntry, freshId } from "../../src/authority/randomness.ts";
import { sha256 } from "../../src/authority/sha256.ts";
import { CHAIN_START, type ChainHead, type SealedEntry, seal } from "../../src/core/entry.ts";
import { insertsOf } from "../../src/core/insert.ts";
import type { TenantLedger } from "../../src/ledger/tenant_ledger.ts";
import type { Example } from "./example.ts";

const SHIP_DELAY_MS = 1_000;

/**
 * What the record alone takes, with nothing decided: the naive object's balance and log line, each answer with a sealed entry in a chain, an outbox, and the
 * tenant's ledger behind it, all by the gateway's own parts and as grouped as the gateway has it. Whoever wants this record from anybody pays at least this.
 */
export class Recorder extends DurableObject<{ readonly LEDGERS: DurableObjectNamespace<TenantLedger> }> {
  readonly #outbox = new Outbox(this.ctx.storage.sql);
  readonly #waiting: { readonly count: number; readonly tell: (answer: string) => void }[] = [];
  #head: ChainHead | null = null;
  #turning = false;
  #shipping = false;

  /** So many decisions, in one transaction. The example crosses as a text, as a call to decide does. */
  record(exampleText: string, costUsd: string, count: number): Promise<string> {
    // Printed by the route, from a value of this very type.
    const example = JSON.parse(exampleText) as Example;
    return new Promise((tell) => {
      this.#waiting.push({ count, tell });
      if (!this.#turning) void this.#turn(example, Number(costUsd));
    });
  }

  async #turn({ entry, payload, answer }: Example, cost: number): Promise<void> {
    this.#turning = true;
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0);
      this.ctx.storage.transactionSync(() => {
        let head = this.#head ?? this.#begin();
        const sealed: SealedEntry[] = [];
        const decided = group.reduce((sum, { count }) => sum + count, 0);
        for (let n = 0; n < decided; n++) {
          const { entryId: id, salt } = freshForEntry();
          const says = { ...entry, id, decision_id: freshId("dec"), timestamp: new Date().toISOString(), session_id: this.#chain, tenant_id: TENANT };
          const one = seal(sha256, head, says, { ...payload, salt });
          head = { seq: one.entry.seq, hash: one.hash };
          sealed.push(one);
        }
        const { sql } = this.ctx.storage;
        sql.exec("UPDATE balance SET spent = spent + ?, seq = ?, hash = ? WHERE one = 1", cost * decided, head.seq, head.hash);
        const rows = sealed.map((one) => [one.entry.decision_id, answer, cost]);
        for (const { text, values } of insertsOf("decisions", ["id", "answer", "cost"], rows)) sql.exec(text, ...values);
        this.#outbox.add(sealed);
        this.#head = head;
      });
      for (const { count, tell } of group) tell(count === 1 ? answer : `{"decisions":[${Array.from({ length: count }, () => answer).join(",")}]}`);
      this.#shipSoon();
      await scheduler.wait(0);
    }
    this.#turning = false;
  }

  get #chain(): string {
    return `ses_${this.ctx.id.toString()}`;
  }

  #begin(): ChainHead {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE balance (one INTEGER PRIMARY KEY, spent REAL NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL)");
    sql.exec("CREATE TABLE decisions (id TEXT PRIMARY KEY, answer TEXT NOT NULL, cost REAL NOT NULL)");
    sql.exec(OUTBOX_TABLE);
    sql.exec("INSERT INTO balance VALUES (1, 0, 0, '')");
    return CHAIN_START;
  }

  #shipSoon(): void {
    if (this.#shipping) return;
    this.#shipping = true;
    this.ctx.waitUntil(
      scheduler.wait(SHIP_DELAY_MS).then(() => {
        this.#shipping = false;
        return this.#outbox.ship(this.env.LEDGERS.getByName(TENANT), this.#chain);
      }),
    );
  }
}

const TENANT = "recorder";
