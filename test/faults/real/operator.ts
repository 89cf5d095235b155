import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Decision, Intervened, InterventionKind, IssuedToken, PolicyDetail, PolicyPut, Problem } from "../../../sdk/src/wire.ts";
import { type Call, each, send, type Told } from "./calls.ts";
import { type Chance, drawn, type Extent, oneOf, weighed } from "./chance.ts";
import { assertSame, type Hear } from "./clients.ts";
import { leave, policyText, type Tenant } from "./world.ts";

interface Target {
  readonly type: "agent" | "session" | "action";
  readonly id: string;
}

/** Of killed sessions and revoked tokens that were found so before, so many are tried again in each life. */
const DRAWN = 8;

/** What a person does to a tenant while its agents work, and what must therefore be so in every life after. */
export class Operator {
  readonly #tenant: Tenant;
  /** Which targets are stopped, and how. */
  readonly #standing = new Map<string, { readonly target: Target; readonly states: Set<"killed" | "paused"> }>();
  readonly #revoked: string[] = [];
  /** Killed sessions and revoked tokens, which stay so for good, that were found so in some life. */
  readonly #found = new Set<string>();
  #variant = 0;
  #digest: string | null = null;
  /** What was asked last and not heard of: it may have been done. */
  #lost: { readonly call: Call; readonly onTold: (told: Told) => void } | null = null;
  /** Every intervention that was answered. */
  readonly acknowledged: { readonly kind: InterventionKind; readonly answer: Intervened }[] = [];

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  /** Does one thing after another until it hears nothing more. */
  async work(chance: Chance, hear: Hear): Promise<void> {
    for (;;) {
      const done = await this.#one(chance, hear);
      if (!done) return;
      // A person is not as quick as the agents: while they work, the rules stand for a while.
      await new Promise((resolve) => setTimeout(resolve, 20 + 100 * chance()));
    }
  }

  #one(chance: Chance, hear: Hear): Promise<boolean> {
    const agent = oneOf(chance, this.#tenant.agents);
    switch (weighed(chance, { policy: 3, session: 2, agent: 2, action: 2, token: 1 })) {
      case "policy":
        return this.#putPolicy(hear);
      case "session": {
        const session = oneOf(chance, agent.sessions);
        if (session === agent.sessions[0]) return this.#putPolicy(hear);
        leave(agent, session);
        return this.#intervene(hear, { type: "session", id: session }, "kill");
      }
      case "agent":
        return this.#turn(hear, { type: "agent", id: agent.name }, chance() < 0.5 ? "killed" : "paused");
      case "action":
        return this.#turn(hear, { type: "action", id: "odd" }, chance() < 0.5 ? "killed" : "paused");
      case "token":
        return this.#revoke(hear);
    }
  }

  /** Lets go what is stopped, or stops it. */
  #turn(hear: Hear, target: Target, state: "killed" | "paused"): Promise<boolean> {
    const stands = this.#standing.get(keyOf(target))?.states.has(state) === true;
    return this.#intervene(hear, target, state === "killed" ? (stands ? "revive" : "kill") : stands ? "resume" : "pause");
  }

  async #intervene(hear: Hear, target: Target, kind: InterventionKind): Promise<boolean> {
    const call: Call = {
      method: "POST",
      path: "/v1/interventions",
      token: this.#tenant.operator,
      body: { target, kind, reason: "a test" },
      key: randomUUID(),
    };
    return this.#ask<Intervened>(hear, call, (told) => {
      assert.equal(told.status, 201, JSON.stringify(told.body));
      this.acknowledged.push({ kind, answer: told.body });
      const { states } = this.#standing.get(keyOf(target)) ?? { states: new Set() };
      this.#standing.set(keyOf(target), { target, states });
      if (kind === "kill" || kind === "pause") states.add(kind === "kill" ? "killed" : "paused");
      else states.delete(kind === "revive" ? "killed" : "paused");
    });
  }

  #putPolicy(hear: Hear): Promise<boolean> {
    this.#variant++;
    const call: Call = { method: "PUT", path: "/v1/policies/rules", token: this.#tenant.operator, body: policyText(this.#variant) };
    return this.#ask<PolicyPut>(hear, call, (told) => {
      assert.ok(told.status === 200 || told.status === 201, JSON.stringify(told.body));
      this.#digest = told.body.digest;
    });
  }

  /** Issues a token to one of the agents and takes it back. */
  async #revoke(hear: Hear): Promise<boolean> {
    const [agent] = this.#tenant.agents;
    assert.ok(agent !== undefined);
    const body = { subject: agent.name, kind: "agent", scopes: ["sessions:write", "decisions:write"] };
    const issued = await hear<IssuedToken>({ method: "POST", path: "/v1/tokens", token: this.#tenant.operator, body });
    if (issued === null) return false;
    const { id, token } = issued.body;
    return this.#ask(hear, { method: "DELETE", path: `/v1/tokens/${id}`, token: this.#tenant.operator }, () => this.#revoked.push(token));
  }

  async #ask<T>(hear: Hear, call: Call, onTold: (told: Told<T>) => void): Promise<boolean> {
    // What is heard later is heard of the same call, and so of this type.
    this.#lost = { call, onTold: onTold as (told: Told) => void };
    const told = await hear<T>(call);
    if (told === null) return false;
    this.#lost = null;
    onTold(told);
    return true;
  }

  /**
   * In a new life: what was not heard of is asked again, twice at once. Then everything must be as it was left; of what stays so for good and was found
   * so before, as much as wanted. Answers how much was looked at.
   */
  async recheck(url: string, extent: Extent): Promise<number> {
    let checked = 0;
    if (this.#lost !== null) {
      const { call, onTold } = this.#lost;
      const [one, two] = await Promise.all([send(url, call), send(url, call)]);
      if (call.key !== undefined) assertSame(one, two, "an intervention, twice at once");
      onTold(one);
      this.#lost = null;
    }
    const { operator, agents } = this.#tenant;
    if (this.#digest !== null) {
      const { body } = await send<PolicyDetail>(url, { method: "GET", path: "/v1/policies/rules", token: operator });
      assert.deepEqual([body.digest, body.active], [this.#digest, true], "the policy that was put last is in force");
      checked++;
    }
    const standing = [...this.#standing.values()].filter(({ states }) => states.size > 0);
    await each(
      this.#toCheck(standing, ({ target }) => keyOf(target), extent),
      8,
      async ({ target, states }) => {
        const agent = agents.find(({ name, opened }) =>
          target.type === "agent" ? name === target.id : target.type === "action" || opened.has(target.id),
        );
        assert.ok(agent !== undefined);
        const session = target.type === "session" ? target.id : agent.sessions[0];
        const body = { action: target.type === "action" ? target.id : "ping" };
        const call: Call = { method: "POST", path: `/v1/sessions/${session}/decisions`, token: agent.token, body };
        const { body: decision } = await send<Decision>(url, call);
        assert.equal(decision.verdict, "deny", `${JSON.stringify(target)} is ${[...states]}: ${JSON.stringify(decision)}`);
        assert.match(decision.reason.code, /_(killed|paused)$|^session_closed$/);
        if (target.type === "session") this.#found.add(keyOf(target));
        checked++;
      },
    );
    await each(this.#toCheck(this.#revoked, String, extent), 8, async (token) => {
      const [agent] = agents;
      for (const path of [`/v1/sessions/${agent?.sessions[0]}/decisions`, "/v1/sessions"]) {
        const told = await send<Problem>(url, { method: "POST", path, token, body: path.endsWith("decisions") ? { action: "ping" } : {} });
        assert.deepEqual([told.status, told.body.code], [401, "token_revoked"], "a revoked token");
        checked++;
      }
      this.#found.add(token);
    });
    return checked;
  }

  #toCheck<T>(all: readonly T[], keyed: (one: T) => string, extent: Extent): ReadonlySet<T> {
    const { news = [], old = [] } = Object.groupBy(all, (one) => (this.#found.has(keyed(one)) ? "old" : "news"));
    return new Set([...news, ...drawn(extent, old, DRAWN)]);
  }

  /** Lets everything go but sessions that were killed: they stay so for good. */
  async letGo(url: string): Promise<void> {
    const hear: Hear = (call) => send(url, call);
    for (const { target, states } of this.#standing.values()) {
      if (target.type === "session") continue;
      for (const state of [...states]) await this.#intervene(hear, target, state === "killed" ? "revive" : "resume");
    }
  }
}

const keyOf = ({ type, id }: Target): string => `${type} ${id}`;
