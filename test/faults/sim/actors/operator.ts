import { idOf, type TokenId } from "../../../../src/core/ids.ts";
import type { InterventionKind, Target } from "../../../../src/core/orders.ts";
import type { Principal } from "../../../../src/core/request.ts";
import { createTenant } from "../../../../src/flow/create_tenant.ts";
import { intervene } from "../../../../src/flow/intervene.ts";
import type { PutPolicy, TokenRecord } from "../../../../src/flow/ports.ts";
import type { Oracle } from "../oracle/oracle.ts";
import type { TenantModel } from "../oracle/tenant.ts";
import { demand } from "../oracle/violation.ts";
import type { Platform } from "../platform/platform.ts";
import { Actor } from "./actor.ts";
import type { Agent } from "./agent.ts";
import { WATCHER } from "./listener.ts";
import { ACTIONS, drawPolicy, OWNER, type PolicyTaste, type Published } from "./policies.ts";

const DOES = { put: 5, rollback: 3, forAgent: 2, delete: 0.5, stop: 5, lift: 5, revoke: 1, again: 1, standing: 1 } as const;

/** Whoever is on duty: publishes policies, takes them back, stops things and lets them go on, revokes tokens. */
export class Operator extends Actor {
  readonly #tenant: TenantModel;
  readonly #agents: readonly Agent[];
  /** How often it does something, in milliseconds between. */
  readonly #restMs: number;
  /** What its policies are like. */
  readonly #taste: PolicyTaste;
  /** How eager it is to stop things, and to let them go on. */
  readonly #stops: number;
  #keys = 0;
  #versions = 0;
  #last: { readonly key: string; readonly wish: Parameters<typeof intervene>[2]; readonly evidence: string } | null = null;

  constructor(
    name: string,
    tenant: TenantModel,
    agents: readonly Agent[],
    how: PolicyTaste & { readonly restMs: number; readonly stops: number },
    platform: Platform,
    oracle: Oracle,
  ) {
    super(name, platform, oracle);
    this.#tenant = tenant;
    this.#agents = agents;
    this.#restMs = how.restMs;
    this.#taste = how;
    this.#stops = how.stops;
  }

  /** Makes the tenant, its agents' tokens and its first policy: nothing goes on before that is done. */
  async prepare(): Promise<void> {
    await this.insist("create", (ports) => createTenant(ports, { id: this.#tenant.id, name: null }, null));
    for (const agent of this.#agents) await this.#issue(agent);
    for (const { name } of this.#agents) {
      const owned = { type: "agent", id: name, properties: { owner: OWNER } };
      await this.insist("own", (ports) => ports.tenants.putEntity(this.#tenant.id, this.#principal(), owned));
    }
    await this.#record(WATCHER, "watcher", "service", ["events:read"]);
    await this.#put("main", "tenant", null, drawPolicy(this.world.random, this.#taste));
  }

  protected async live(): Promise<void> {
    const { random } = this.world;
    while (!this.isStopped) {
      await this.pause(random.between(1, this.#restMs * 2));
      if (this.isStopped) return;
      await this.#act();
    }
  }

  async #act(): Promise<void> {
    const { random } = this.world;
    switch (random.weighted({ ...DOES, stop: DOES.stop * this.#stops, lift: DOES.lift * this.#stops })) {
      case "put":
        return this.#put(
          "main",
          "tenant",
          null,
          drawPolicy(random, { ...this.#taste, tightness: this.#taste.tightness * random.pick([0.3, 1, 1, 3]) }),
        );
      case "forAgent": {
        const { name } = random.pick(this.#agents);
        return this.#put(`of-${name}`, "agent", name, drawPolicy(random, this.#taste));
      }
      case "rollback": {
        if (this.#versions === 0) return;
        const version = random.between(1, this.#versions);
        await this.ask("activate", (ports) => ports.tenants.activatePolicy(this.#tenant.id, this.#principal(), "main", version));
        return;
      }
      case "delete": {
        const { name } = random.pick(this.#agents);
        await this.ask("delete policy", (ports) =>
          ports.tenants.deletePolicy(this.#tenant.id, this.#principal(), random.chance(0.8) ? `of-${name}` : "main"),
        );
        return;
      }
      case "stop":
        return this.#intervene(this.#target(), random.pick(["kill", "pause"]));
      case "lift":
        return this.#lift();
      case "revoke": {
        const agent = random.pick(this.#agents);
        const { token } = agent;
        await this.#issue(agent);
        await this.ask("revoke", (ports) => ports.tenants.revokeToken(this.#tenant.id, this.#principal(), token));
        return;
      }
      case "again":
        return this.#again();
      case "standing":
        await this.ask("standing", (ports) => ports.tenants.standing(this.#tenant.id, random.pick(this.#agents).name), 1);
        return;
    }
  }

  async #put(name: string, scope: PutPolicy["scope"], target: string | null, { text, document, digest }: Published): Promise<void> {
    this.#tenant.policies.learn(digest, document);
    const put: PutPolicy = { name, scope, target, document: JSON.parse(JSON.stringify(document)), digest, text, format: "json", activate: true };
    const done = await this.ask("put", (ports) => ports.tenants.putPolicy(this.#tenant.id, this.#principal(), put));
    if (done?.ok === true && name === "main") this.#versions = Math.max(this.#versions, done.value.version);
  }

  #target(): { readonly type: Target; readonly id: string } {
    const { random } = this.world;
    const agent = random.pick(this.#agents);
    // Programs have few sessions, and are to be stopped as often.
    const sessions = agent.programs.length > 0 && random.chance(0.5) ? agent.programs.slice(-3) : agent.sessions;
    const session = sessions.length === 0 ? null : random.pick(sessions);
    switch (random.weighted({ tenant: 1, agent: 2, session: 3, run: 2, action: 3 })) {
      case "tenant":
        return { type: "tenant", id: this.#tenant.id };
      case "agent":
        return { type: "agent", id: agent.name };
      case "session":
        return session === null ? { type: "agent", id: agent.name } : { type: "session", id: session.id };
      case "run":
        return session === null ? { type: "agent", id: agent.name } : { type: "run", id: random.pick(session.runs) };
      case "action":
        return { type: "action", id: random.pick([...ACTIONS, "mail.*", "*.read"]) };
    }
  }

  async #intervene(target: { readonly type: Target; readonly id: string }, kind: InterventionKind): Promise<void> {
    const key = `int-${this.#keys++}`;
    const wish = { target, kind, reason: "drill" };
    const done = await this.ask(kind, (ports) => intervene(ports, this.#principal(), wish, key));
    if (done?.ok === true) this.#last = { key, wish, evidence: JSON.stringify(done.value.answer) };
  }

  /** Asked again under its key, an intervention gives the same evidence. */
  async #again(): Promise<void> {
    const last = this.#last;
    if (last === null) return;
    const done = await this.ask("intervene again", (ports) => intervene(ports, this.#principal(), last.wish, last.key));
    if (done?.ok === true)
      this.oracle.check(() =>
        demand(JSON.stringify(done.value.answer) === last.evidence, "the same intervention gives the same evidence", () => ({ done, last })),
      );
  }

  async #lift(): Promise<void> {
    const standing = this.#tenant.standing();
    if (standing.length === 0) return;
    await this.lift(this.world.random.pick(standing));
  }

  /** Lifts a stop, by `target id state`. */
  async lift(stop: string): Promise<void> {
    const [type = "", id = "", state = ""] = stop.split(" ");
    // A stop is named by the target that it was put on.
    await this.#intervene({ type: type as Target, id }, state === "killed" ? "revive" : "resume");
  }

  /** Gives an agent a fresh token. */
  async #issue(agent: Agent): Promise<void> {
    const bytes = new Uint8Array(10);
    this.world.random.fill(bytes);
    const id = idOf("tok", this.world.now, bytes);
    await this.#record(id, agent.name, "agent", ["sessions:write", "decisions:write"]);
    agent.token = id;
  }

  async #record(id: TokenId, subject: string, kind: Principal["kind"], scopes: TokenRecord["scopes"]): Promise<void> {
    const now = this.world.now;
    const record: TokenRecord = { id, subject, kind, scopes, issuedAt: now, expiresAt: now + 366 * 86_400_000 };
    // A refusal to say whether it is done is no token yet.
    while (!(await this.insist("issue", (ports) => ports.tenants.recordToken(this.#tenant.id, null, record, id))).ok) await this.pause(100);
  }

  /** Puts a policy that caps the tenant alone, and nothing else, in force for everybody. */
  async cap(policy: Published): Promise<void> {
    for (const { name } of this.#agents)
      await this.insist("delete policy", (ports) => ports.tenants.deletePolicy(this.#tenant.id, this.#principal(), `of-${name}`));
    await this.#put("main", "tenant", null, policy);
  }

  /** Asks until it is answered. */
  async insist<T>(what: string, story: Parameters<typeof this.ask<T>>[1]): Promise<T> {
    for (;;) {
      const done = await this.ask(what, story);
      if (done !== null) return done;
    }
  }

  #principal(): Principal {
    return { tokenId: OPERATOR, tenant: this.#tenant.id, subject: "ops", kind: "human" };
  }
}

const OPERATOR: TokenId = "tok_00000000-0000-7000-8000-000000000000";
