import type { LedgerLine, LedgerStore } from "../../../../sdk/src/local/ledger/line.ts";
import { createMemoryStore } from "../../../../sdk/src/local/ledger/memory_store.ts";
import { BackgroundSync } from "../../../../sdk/src/sync/background_sync.ts";
import type { Cursor, CursorStore } from "../../../../sdk/src/sync/cursor.ts";
import { idOf } from "../../../../src/core/ids.ts";
import { formatInstant } from "../../../../src/core/time.ts";
import type { Oracle } from "../oracle/oracle.ts";
import { demand } from "../oracle/violation.ts";
import { fetchOver, GATEWAY, tokenOf } from "../platform/door.ts";
import type { Platform } from "../platform/platform.ts";
import { Actor } from "./actor.ts";
import type { Agent } from "./agent.ts";
import { ACTIONS, SCALE_MICRO_USD } from "./policies.ts";

/** How often it does what. */
const DOES = { record: 20, burst: 3, flush: 3, stop: 0.5, idle: 2 } as const;

/**
 * A program that keeps a ledger of its own and lets the SDK report it in the background. Now and then it falls: its lines are still there, and how far it had
 * come as far as that was kept.
 */
export class Recorder extends Actor {
  readonly #agent: Agent;
  /** What outlasts it: its lines, and how far the gateway has them by what it kept of that. */
  #lines: readonly LedgerLine[] = [];
  #cursor: Cursor | null = null;
  #store: LedgerStore = createMemoryStore();
  /** Everything was reported, and nobody records any more. */
  hasEnded = false;

  constructor(name: string, agent: Agent, platform: Platform, oracle: Oracle) {
    super(name, platform, oracle);
    this.#agent = agent;
  }

  /** How many lines there are. */
  get recorded(): number {
    return this.#store.after(0, Number.MAX_SAFE_INTEGER).length;
  }

  protected async live(): Promise<void> {
    const { random } = this.world;
    if (random.chance(0.7)) this.world.plan(random.between(100, random.pick([3_000, 60_000])), this, "falls", () => this.#fall());
    this.#store = createMemoryStore({ lines: this.#lines });
    // Several may report one ledger.
    const syncs = Array.from({ length: random.chance(0.2) ? 2 : 1 }, () => this.#sync());
    for (const sync of syncs) sync.start();
    while (!this.isStopped) {
      await this.pause(random.between(0, 200) + (random.chance(0.03) ? random.between(1_000, 45_000) : 0));
      if (this.isStopped) break;
      await this.#act(random.pick(syncs));
    }
    const [last] = syncs;
    while (last !== undefined && (await last.flushNow()).error !== null) await this.pause(1_000);
    this.hasEnded = true;
    await Promise.all(syncs.map((sync) => sync.stop()));
  }

  async #act(sync: BackgroundSync): Promise<void> {
    const { random } = this.world;
    switch (random.weighted(DOES)) {
      case "record":
        this.#record();
        return;
      case "burst":
        for (let left = random.between(5, 40); left > 0; left--) this.#record();
        return;
      case "flush": {
        const before = this.recorded;
        const { error } = await sync.flushNow(random.chance(0.3) ? { timeoutMs: random.between(1, 5_000) } : {});
        // Whoever was told that nothing was left has everything on record.
        if (error === null) this.#demandOnRecord(before);
        return;
      }
      case "stop":
        await sync.stop({ timeoutMs: random.between(1, 5_000) });
        sync.start();
        return;
      case "idle":
        // Who was turned away for good begins again.
        if (sync.stoppedBy !== null) sync.start();
        return;
    }
  }

  #fall(): void {
    if (this.platform.network.faults.crashes === 0 || this.isStopped) return;
    this.life++;
    this.#lines = this.#store.after(0, Number.MAX_SAFE_INTEGER);
    this.start();
  }

  #sync(): BackgroundSync {
    const { random } = this.world;
    return new BackgroundSync(
      {
        platformUrl: GATEWAY,
        apiToken: () => tokenOf({ principal: this.#agent.principal(this.#agent.token), scopes: ["ledger:write"] }),
        flushInterval: random.pick([0.05, 1, 10]),
        batchSize: random.between(1, 20),
        maxRetries: random.between(0, 3),
        timeoutMs: random.pick([1_500, 10_000, 30_000]),
        cursor: this.#cursorStore(),
        fetch: (url, init) => fetchOver(this.platform, this, url, init, init.signal),
        onRefused: (line) => this.oracle.check(() => demand(false, "a line that can be taken is taken", () => line)),
        runId: random.chance(0.5) ? `run-${this.life}` : undefined,
      },
      this.#store,
    );
  }

  /** How far it came is kept, mostly; a fall may bring back what was kept before. */
  #cursorStore(): CursorStore {
    const { random } = this.world;
    return {
      load: () => (random.chance(0.02) ? null : this.#cursor),
      save: (_url, { seq, hash }) => {
        this.#demandOnRecord(seq);
        if (random.chance(0.1)) throw new Error("the disk is full");
        this.#cursor = { seq, hash };
      },
    };
  }

  #demandOnRecord(through: number): void {
    this.oracle.check(() => {
      for (const line of this.#store.after(0, through)) this.#demandTold(line, "what a client counts as reported is on record");
    });
  }

  /** At the end: every line is on record. That none is there twice is seen where it gets there. */
  demandKept(): void {
    for (const line of this.#store.after(0, Number.MAX_SAFE_INTEGER)) this.#demandTold(line, "every line of a local ledger gets on record");
  }

  #demandTold(line: LedgerLine, law: string): void {
    const { ledger } = this.#agent.tenant;
    const told = ledger.reported.get(`${this.#agent.name} ${line.id}`);
    const isSame = told?.hash === line.hash && told.action === line.action && told.costMicroUsd === Math.round(line.cost_usd * 1_000_000);
    demand(isSame, law, () => ({ recorder: this.name, line, told: told ?? null }));
  }

  #record(): void {
    const { random, now } = this.world;
    const bytes = new Uint8Array(10);
    random.fill(bytes);
    const outcome = random.pick(["success", "error", "allowed", "denied"] as const);
    this.#store.append({
      id: idOf("ent", now, bytes).slice("ent_".length),
      kind: outcome === "success" || outcome === "error" ? "outcome" : "decision",
      timestamp: formatInstant(now),
      action: random.pick(ACTIONS),
      cost_usd: outcome === "success" ? random.between(0, SCALE_MICRO_USD) / 1_000_000 : 0,
      duration_ms: random.between(0, 100),
      outcome,
      tags: random.chance(0.2) ? ["local"] : [],
      payload: { inputs: { n: random.between(0, 9) }, outputs: null },
      agent_id: random.chance(0.5) ? this.#agent.name : null,
      run_id: random.chance(0.5) ? "a run of its own" : null,
      session_id: null,
      decision_id: null,
      verdict: outcome === "allowed" ? "allow" : outcome === "denied" ? "deny" : null,
      reason: null,
      rule: null,
      policy: null,
      estimate_usd: null,
      parents: [],
    });
  }
}
