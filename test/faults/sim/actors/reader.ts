import type { CostQuery, LedgerRow } from "../../../../src/flow/ports.ts";
import { exportEntries, listEntries, reportCosts } from "../../../../src/flow/read_ledger.ts";
import type { Oracle } from "../oracle/oracle.ts";
import type { TenantModel } from "../oracle/tenant.ts";
import { demand } from "../oracle/violation.ts";
import type { Platform } from "../platform/platform.ts";
import { Actor } from "./actor.ts";

/** Whoever reads the record: lists, exports, costs. What it reads is what was recorded. */
export class Reader extends Actor {
  readonly #tenant: TenantModel;
  readonly #restMs: number;
  rows = 0;

  constructor(name: string, tenant: TenantModel, restMs: number, platform: Platform, oracle: Oracle) {
    super(name, platform, oracle);
    this.#tenant = tenant;
    this.#restMs = restMs;
  }

  protected async live(): Promise<void> {
    const { random } = this.world;
    while (!this.isStopped) {
      await this.pause(random.between(1, this.#restMs * 2));
      if (this.isStopped) return;
      const reads = random.weighted({ list: 3, costs: 2, export: 0.3 });
      if (reads === "export") await this.export();
      else if (reads === "costs") await this.ask("costs", (ports) => reportCosts(ports, this.#tenant.id, { groupBy: "action" }), 1);
      else {
        const listed = await this.ask("list", (ports) => listEntries(ports, this.#tenant.id, {}, { limit: 20, cursor: null }), 1);
        if (listed?.ok === true) this.#demandTrue(listed.value.items.toReversed());
      }
    }
  }

  /** Reads the whole record; `null` where it could not be read just now. */
  async export(): Promise<readonly LedgerRow[] | null> {
    const read = await this.ask(
      "export",
      async (ports) => {
        const pages = await exportEntries(ports, this.#tenant.id, {});
        if (!pages.ok) return null;
        const rows: LedgerRow[] = [];
        for await (const page of pages.value) rows.push(...page);
        return rows;
      },
      1,
    );
    if (read === null) return null;
    this.oracle.check(() =>
      demand(
        read.every(({ index }, place) => index === place),
        "an export has no gap",
        () => read.map(({ index }) => index),
      ),
    );
    this.#demandTrue(read);
    return read;
  }

  async costs(groupBy: CostQuery["groupBy"]) {
    return this.ask("costs", (ports) => reportCosts(ports, this.#tenant.id, { groupBy }), 1);
  }

  #demandTrue(rows: readonly LedgerRow[]): void {
    this.rows += rows.length;
    this.oracle.check(() => {
      for (const [place, { index, hash }] of rows.entries()) {
        demand(place === 0 || index === (rows[place - 1]?.index ?? 0) + 1, "a page has no gap", () => rows.map((row) => row.index));
        demand(this.#tenant.ledger.placed[index]?.hash === hash, "what is read is what was recorded", () => ({ index, hash }));
      }
    });
  }
}
