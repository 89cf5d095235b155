import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { called, openTenants } from "../../src/authority/authorities.ts";
import { type AuthorityEnv, sessionObjectName } from "../../src/authority/env.ts";
import { SessionAuthority } from "../../src/authority/session_authority.ts";
import type { SessionId } from "../../src/core/ids.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import { mergePolicies } from "../../src/core/policy/merge.ts";
import { parsePolicy, readPolicy } from "../../src/core/policy/parse.ts";
import type { PolicyStanding, PutIf } from "../../src/core/precondition.ts";
import type { Principal } from "../../src/core/request.ts";
import { openSession } from "../../src/flow/open_session.ts";
import type { EntityRow, Lease, Tenants } from "../../src/flow/ports.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { asked, decideMany, decideOne, got, newSession, newTenant, ports, refusalOf, usd } from "./world.ts";

const putFor = async (
  operator: Principal,
  name: string,
  text: string,
  more: { activate?: boolean; scope?: "tenant" | "agent"; target?: string | null } = {},
) => got(await tryPut(operator, name, text, more));

/** What is on record of a tenant, newest first. */
const record = async (operator: Principal): Promise<readonly unknown[]> =>
  got(await listEntries(ports, operator.tenant, { kind: "policy" }, { limit: 100, cursor: null })).items.map(({ hash }) => hash);

const tryPut = (
  operator: Principal,
  name: string,
  text: string,
  more: { activate?: boolean; scope?: "tenant" | "agent"; target?: string | null; onlyIf?: PutIf } = {},
  tenants: Pick<Tenants, "putPolicy"> = ports.tenants,
) => {
  const { document } = got(parsePolicy(text, "yaml"));
  const digest = policyDigest(ports.sha256, document);
  const place = { scope: more.scope ?? "tenant", target: more.target ?? null } as const;
  return tenants.putPolicy(operator.tenant, operator, {
    name,
    ...place,
    document: JSON.parse(JSON.stringify(document)),
    digest,
    text,
    format: "yaml",
    activate: more.activate ?? true,
    ...(more.onlyIf !== undefined && { onlyIf: more.onlyIf }),
  });
};

describe("policies", () => {
  it("an unchanged document keeps its version, a changed one gets the next, and a rollback is activating an older one", async () => {
    const { operator, tenant } = await newTenant(null);
    expect(await putFor(operator, "p", "budgets: { run: 1 }")).toMatchObject({ version: 1, created: true, active: true });
    expect(await putFor(operator, "p", "budgets: { run: 1 }")).toMatchObject({ version: 1, created: false, active: true });
    expect(await putFor(operator, "p", "# why\nbudgets: { run: 1 }")).toMatchObject({ version: 2, created: true });
    expect(await putFor(operator, "p", "budgets: { run: 2 }", { activate: false })).toMatchObject({ version: 3, created: true, active: false });
    expect(got(await ports.tenants.readPolicy(tenant, "p", null))).toMatchObject({ version: 2, active: true, text: "# why\nbudgets: { run: 1 }" });
    expect(got(await ports.tenants.activatePolicy(tenant, operator, "p", 1))).toMatchObject({ version: 1, active: true });
    const versions = got(await ports.tenants.listPolicyVersions(tenant, "p", { limit: 2, cursor: null }));
    expect(versions.items.map(({ version, active }) => [version, active])).toEqual([
      [3, false],
      [2, false],
    ]);
    expect(got(await ports.tenants.listPolicyVersions(tenant, "p", { limit: 2, cursor: versions.nextCursor })).items).toMatchObject([
      { version: 1, active: true },
    ]);
    expect(refusalOf(await ports.tenants.activatePolicy(tenant, operator, "p", 4))).toBe("not_found");
  });

  it("is held against what stands when it is put, whatever stood when its writer looked, and a refusal leaves no trace", async () => {
    const { operator, tenant } = await newTenant(null);
    const V1: PolicyStanding = { version: 1, active: true, scope: "tenant", target: null };
    const ifIs = (is: PutIf["is"]) => ({ onlyIf: { is, isNot: null } });
    const ifNone = { onlyIf: { is: null, isNot: "anything" } } as const;
    expect(refusalOf(await tryPut(operator, "p", "denied_actions: [a]", ifIs("anything")))).toBe("precondition_failed");
    expect(got(await tryPut(operator, "p", "denied_actions: [a]", ifNone))).toMatchObject({ version: 1, created: true });
    // Both looked while version 1 was in force.
    const both = await Promise.all(["b", "c"].map((action) => tryPut(operator, "p", `denied_actions: [${action}]`, ifIs([V1]))));
    expect(both.map(({ ok }) => ok).sort()).toEqual([false, true]);
    const before = await record(operator);
    for (const refused of [
      await tryPut(operator, "p", "denied_actions: [d]", ifIs([V1])),
      await tryPut(operator, "p", "denied_actions: [d]", ifIs([])),
      await tryPut(operator, "p", "denied_actions: [d]", { ...ifIs([V1]), activate: false }),
      await tryPut(operator, "p", "denied_actions: [d]", ifNone),
      await tryPut(operator, "p", "denied_actions: [d]", { onlyIf: { is: null, isNot: [{ ...V1, version: 2 }] } }),
    ])
      expect(refusalOf(refused)).toBe("precondition_failed");
    expect(await record(operator)).toEqual(before);
    expect(got(await ports.tenants.listPolicyVersions(tenant, "p", { limit: 10, cursor: null })).items.map(({ version }) => version)).toEqual([2, 1]);
    // Brought back as it stood, it is what was seen.
    got(await ports.tenants.activatePolicy(tenant, operator, "p", 1));
    expect(got(await tryPut(operator, "p", "denied_actions: [d]", ifIs([V1])))).toMatchObject({ version: 3, active: true });
  });

  it("was put, and the answer was lost: what it was put over is not told as somebody else's, and what must not be there is not put twice", async () => {
    const { operator, tenant } = await newTenant(null);
    /** An object that does the first thing it is asked for, and is not heard. */
    const onceUnheard = () => {
      let unheard = 1;
      const object = called(env.TENANTS.getByName(tenant));
      const putPolicy = async (...asked: Parameters<typeof object.putPolicy>) => {
        const done = await object.putPolicy(...asked);
        if (unheard-- > 0) throw Object.assign(new Error("Network connection lost."), { retryable: true });
        return done;
      };
      // Nothing else of the platform's namespace and stub is asked for here.
      return openTenants({ ...env, TENANTS: { getByName: () => ({ putPolicy }) } } as unknown as AuthorityEnv);
    };
    const put = (text: string, onlyIf: PutIf) => tryPut(operator, "p", text, { onlyIf }, onceUnheard());
    expect(refusalOf(await put("denied_actions: [a]", { is: null, isNot: "anything" }))).toBe("authority_unavailable");
    const V1: PolicyStanding = { version: 1, active: true, scope: "tenant", target: null };
    expect(got(await ports.tenants.readPolicy(tenant, "p", null))).toMatchObject(V1);
    expect(got(await put("denied_actions: [b]", { is: [V1], isNot: null }))).toMatchObject({ version: 2, active: true });
  });

  it("a deleted policy is out of force and out of sight, and its name goes on counting versions", async () => {
    const { operator, tenant } = await newTenant("budgets: { run: 1 }");
    got(await ports.tenants.deletePolicy(tenant, operator, "main"));
    expect(refusalOf(await ports.tenants.readPolicy(tenant, "main", null))).toBe("not_found");
    expect(got(await ports.tenants.effectivePolicy(tenant, null))).toBeNull();
    expect(refusalOf(await ports.tenants.deletePolicy(tenant, operator, "main"))).toBe("not_found");
    expect(await putFor(operator, "main", "budgets: { run: 1 }")).toMatchObject({ version: 2, created: true });
  });

  it("what a deleted policy was can still be read, and one call brings it back, for whom it was and on record", async () => {
    const { operator, agent, tenant } = await newTenant("denied_actions: [wire]");
    await putFor(operator, "mine", "denied_actions: [rm]", { scope: "agent", target: "bot" });
    await putFor(operator, "mine", "denied_actions: [pay]", { scope: "agent", target: "bot" });
    const session = await newSession(agent);
    const under = async () => [await decideOne(agent, session, "rm"), await decideOne(agent, session, "pay")].map(({ verdict }) => verdict);
    const before = got(await ports.tenants.readPolicy(tenant, "mine", 2));
    expect(await under()).toEqual(["allow", "deny"]);
    got(await ports.tenants.deletePolicy(tenant, operator, "mine"));
    expect(await under()).toEqual(["allow", "allow"]);
    expect(got(await ports.tenants.readPolicy(tenant, "mine", 2))).toEqual({ ...before, active: false });
    const versions = got(await ports.tenants.listPolicyVersions(tenant, "mine", { limit: 10, cursor: null }));
    expect(versions.items).toMatchObject([
      { version: 2, digest: before.digest, active: false },
      { version: 1, active: false },
    ]);
    expect(got(await ports.tenants.listPolicies(tenant, { limit: 10, cursor: null })).items.map(({ name }) => name)).toEqual(["main"]);
    for (const gone of [
      await ports.tenants.readPolicy(tenant, "mine", null),
      await ports.tenants.readPolicy(tenant, "mine", 3),
      await ports.tenants.activatePolicy(tenant, operator, "mine", 3),
      await ports.tenants.listPolicyVersions(tenant, "never", { limit: 10, cursor: null }),
    ])
      expect(refusalOf(gone)).toBe("not_found");
    expect(got(await ports.tenants.activatePolicy(tenant, operator, "mine", 1))).toMatchObject({ version: 1, active: true });
    expect(await under()).toEqual(["deny", "allow"]);
    expect(got(await ports.tenants.readPolicy(tenant, "mine", null))).toMatchObject({ version: 1, active: true, scope: "agent", target: "bot" });
    const other: Principal = { ...agent, subject: "other" };
    expect((await decideOne(other, await newSession(other), "rm")).verdict).toBe("allow");
    const [back, deleted] = got(await listEntries(ports, tenant, { kind: "policy" }, { limit: 2, cursor: null })).items;
    expect([deleted, back].map((row) => JSON.parse(row?.canonical ?? "{}").details)).toMatchObject([
      { event: "deleted", name: "mine", version: 2 },
      { event: "activated", name: "mine", version: 1, instead_of: null, was_deleted: true },
    ]);
    // It goes on counting, and is deleted like any other.
    expect(await putFor(operator, "mine", "denied_actions: [rm]", { scope: "agent", target: "bot" })).toMatchObject({ version: 3 });
    got(await ports.tenants.deletePolicy(tenant, operator, "mine"));
  });

  it("a tenant's and an agent's layer hold together, each for whom it is", async () => {
    const { operator, agent, tenant } = await newTenant(null);
    await putFor(operator, "base", "budgets: { run: 1 }\ndenied_actions: [rm]");
    await putFor(operator, "bot", "budgets: { run: 0.2 }", { scope: "agent", target: "bot" });
    const session = await newSession(agent);
    expect(await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.3") })).toMatchObject({
      reason: { code: "run_budget_exceeded" },
      policy: { name: "base@1+bot@1", version: 1 },
    });
    expect((await decideOne(agent, session, "rm")).reason.code).toBe("action_denied");
    const other: Principal = { ...agent, subject: "other" };
    expect(await decideOne(other, await newSession(other), "pay", { estimateMicroUsd: usd("0.3") })).toMatchObject({
      verdict: "allow",
      policy: { name: "base" },
    });
    expect(got(await ports.tenants.effectivePolicy(tenant, "bot"))?.policy.digest).not.toBe(
      got(await ports.tenants.effectivePolicy(tenant, null))?.policy.digest,
    );
  });

  it("that hold together are named layer by layer: what a decision was made under can be recomputed, whatever became of them", async () => {
    const { operator, agent, tenant } = await newTenant(null);
    const session = await newSession(agent);
    const steps: readonly (() => Promise<unknown>)[] = [
      async () => putFor(operator, "p", "denied_actions: [a]"),
      async () => putFor(operator, "q", "denied_actions: [b]"),
      async () => putFor(operator, "p", "denied_actions: [c]"),
      async () => putFor(operator, "b.o_t-1", "denied_actions: [d]", { scope: "agent", target: "bot" }),
      async () => ports.tenants.activatePolicy(tenant, operator, "p", 1),
      async () => ports.tenants.deletePolicy(tenant, operator, "q"),
    ];
    const under: (wire.PolicyRef | null)[] = [];
    for (const step of steps) {
      await step();
      under.push((await decideOne(agent, session, "pay")).policy);
    }
    expect(under.map((policy) => `${policy?.name} ${policy?.version}`)).toEqual([
      "p 1",
      "p@1+q@1 1",
      "p@2+q@1 1",
      "p@2+q@1+b.o_t-1@1 1",
      "p@1+q@1+b.o_t-1@1 1",
      "p@1+b.o_t-1@1 1",
    ]);
    await ports.tenants.deletePolicy(tenant, operator, "p");
    for (const policy of under.slice(1)) {
      const layers: Parameters<typeof mergePolicies>[0][number][] = [];
      for (const [name = "", version] of policy?.name.split("+").map((layer) => layer.split("@")) ?? []) {
        const read = got(await ports.tenants.readPolicy(tenant, name, Number(version)));
        layers.push({ name, version: read.version, document: got(readPolicy(read.document)) });
      }
      expect(policyDigest(ports.sha256, mergePolicies(layers).document)).toBe(policy?.digest);
    }
  });

  it("survive the eviction of their object", async () => {
    const { tenant, agent } = await newTenant("budgets: { run: 1 }");
    const before = got(await ports.tenants.effectivePolicy(tenant, null));
    await evictDurableObject(env.TENANTS.getByName(tenant));
    expect(got(await ports.tenants.effectivePolicy(tenant, null))).toEqual(before);
    expect((await decideOne(agent, await newSession(agent), "pay")).verdict).toBe("allow");
  });
});

describe("leases", () => {
  it("an older lease that arrives late does not replace a newer one", async () => {
    const { agent, tenant, put } = await newTenant("denied_actions: [pay]");
    const session = await newSession(agent);
    const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
    const old = await runInDurableObject(stub, (_, state) =>
      JSON.parse(state.storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease),
    );
    await put("allowed_actions: [pay]");
    await stub.receive({ ...old, endsAt: old.endsAt + 1_000_000 }, null);
    const kept = await runInDurableObject(stub, (_, state) =>
      JSON.parse(state.storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease),
    );
    expect(kept.epoch).toBe(old.epoch + 1);
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
  });

  it.each([
    ["at once, where the gateway does not know the old one", false],
    ["when the lease has ended, where it does", true],
  ])("a policy whose push was lost is in force %s", async (_, known) => {
    // A document of its own, so that no other test has shown it to this isolate.
    const { agent, tenant, put } = await newTenant(`denied_actions: [pay, only-here-${known}]`);
    const session = await newSession(agent);
    if (known) await decideOne(agent, session, "pay");
    // The session forgets what it was pushed: as if the message had never come.
    const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
    const old = await runInDurableObject(stub, (_, state) => state.storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease);
    await put("allowed_actions: [pay]");
    await runInDurableObject(stub, (_, state) => {
      state.storage.sql.exec("UPDATE lease SET lease = ?", old);
    });
    await evictDurableObject(stub);
    expect((await decideOne(agent, session, "pay")).reason.code).toBe(known ? "action_denied" : "permitted");
    vi.useFakeTimers({ now: Date.now() + 30_001, toFake: ["Date"] });
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
    vi.useRealTimers();
  });
});

describe("what is in force", () => {
  it("does not change when a document says that it belongs elsewhere", async () => {
    const { operator, agent, tenant } = await newTenant("denied_actions: [rm]");
    await putFor(operator, "other", "allowed_actions: [pay, rm]");
    const session = await newSession(agent);
    const { document } = got(parsePolicy("denied_actions: [rm]", "yaml"));
    // Whether it would be in force in the other place or not: whom it binds now would be bound no more.
    for (const activate of [false, true]) {
      const moved = await ports.tenants.putPolicy(tenant, operator, {
        name: "main",
        scope: "agent",
        target: "somebody",
        document: JSON.parse(JSON.stringify(document)),
        digest: policyDigest(ports.sha256, document),
        text: "denied_actions: [rm]",
        format: "yaml",
        activate,
      });
      expect(refusalOf(moved)).toBe("body_invalid");
    }
    expect((await decideOne(agent, session, "rm")).reason.code).toBe("action_denied");
  });

  it("is told again by whoever asks again: a push that was lost is repaired", async () => {
    const { agent, tenant, operator } = await newTenant("budgets: { run: 1 }");
    const session = await newSession(agent);
    got(
      await ports.tenants.recordToken(
        tenant,
        operator,
        { id: agent.tokenId, subject: "bot", kind: "agent", scopes: [], issuedAt: 0, expiresAt: Date.now() + 60_000 },
        "f",
      ),
    );
    await decideOne(agent, session, "pay");
    const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
    const old = await runInDurableObject(stub, (_, state) => state.storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease);
    got(await ports.tenants.revokeToken(tenant, operator, agent.tokenId));
    await runInDurableObject(stub, (_, state) => {
      state.storage.sql.exec("UPDATE lease SET lease = ?", old);
    });
    await evictDurableObject(stub);
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
    got(await ports.tenants.revokeToken(tenant, operator, agent.tokenId));
    await expect(decideOne(agent, session, "pay")).rejects.toThrow("token_revoked");
  });

  it("is named by no decision once it was deleted", async () => {
    const { agent, tenant, operator } = await newTenant("budgets: { run: 1 }");
    const session = await newSession(agent);
    await decideOne(agent, session, "pay");
    got(await ports.tenants.deletePolicy(tenant, operator, "main"));
    expect(await decideOne(agent, session, "pay")).toMatchObject({ reason: { code: "policy_missing" }, policy: null });
  });
});

describe("the register", () => {
  it("lists sessions newest first, page by page, for one agent or all, and shows what closed", async () => {
    const { agent, tenant } = await newTenant("budgets: { run: 1 }");
    const ids: SessionId[] = [];
    vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
    for (let n = 0; n < 5; n++) {
      // Under a key an id says nothing of when it was made.
      const opened = await openSession(
        ports,
        agent,
        { agent: null, labels: {}, budgetMicroUsd: null, ttlMs: 3_600_000 },
        n % 2 === 0 ? `k${n}` : null,
      );
      ids.push(got(opened).answer.id);
      vi.setSystemTime(Date.now() + 1);
    }
    vi.useRealTimers();
    const other: Principal = { ...agent, subject: "other" };
    await newSession(other);
    const [first] = ids;
    if (first === undefined) throw new Error("sessions were opened");
    got(await ports.sessions.close(tenant, first, agent));
    const seen = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof ports.tenants.listSessions>> = await ports.tenants.listSessions(tenant, { limit: 2, cursor }, "bot");
      seen.push(...got(page).items);
      cursor = got(page).nextCursor;
    } while (cursor !== null);
    expect(seen.map(({ id }) => id)).toEqual([...ids].reverse());
    expect(seen.at(-1)).toMatchObject({ id: first, state: "closed" });
    expect(got(await ports.tenants.listSessions(tenant, { limit: 100, cursor: null }, null)).items).toHaveLength(6);
  });

  it("refuses a cursor that is none of its own", async () => {
    const { tenant } = await newTenant("budgets: { run: 1 }");
    const page = { limit: 10, cursor: "zzz" };
    for (const list of [
      ports.tenants.listSessions(tenant, page, null),
      ports.tenants.listTokens(tenant, page),
      ports.tenants.listPolicies(tenant, page),
      ports.tenants.listPolicyVersions(tenant, "main", page),
      ports.tenants.listEntities(tenant, page, null),
    ]) {
      expect(refusalOf(await list)).toBe("body_invalid");
    }
  });

  it("a token that was revoked opens no session, and leaves none in the list", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { run: 1 }");
    got(
      await ports.tenants.recordToken(
        tenant,
        operator,
        { id: agent.tokenId, subject: "bot", kind: "agent", scopes: [], issuedAt: 0, expiresAt: Date.now() + 60_000 },
        "f",
      ),
    );
    got(await ports.tenants.revokeToken(tenant, operator, agent.tokenId));
    expect(refusalOf(await openSession(ports, agent, { agent: null, labels: {}, budgetMicroUsd: null, ttlMs: 1_000 }, null))).toBe("token_revoked");
    expect(got(await ports.tenants.listSessions(tenant, { limit: 10, cursor: null }, null)).items).toEqual([]);
  });

  it("a key of the root key's holder is bound to its first body", async () => {
    const key = `k-${crypto.randomUUID()}`;
    got(await ports.tenants.claimRootKey(key, "a"));
    got(await ports.tenants.claimRootKey(key, "a"));
    expect(refusalOf(await ports.tenants.claimRootKey(key, "b"))).toBe("idempotency_mismatch");
  });

  it("a tenant that was never made is not_found on every door and leaves nothing behind", async () => {
    const { agent } = await newTenant(null);
    const nobody = { ...agent, tenant: "nobody" };
    const session = await ports.sessions.open({
      id: ports.newId("ses"),
      run: ports.newId("run"),
      principal: nobody,
      agent: "bot",
      labels: {},
      budgetMicroUsd: null,
      ttlMs: 1000,
      fingerprint: "f",
    });
    expect(refusalOf(session)).toBe("not_found");
    expect(refusalOf(await ports.tenants.listPolicies("nobody", { limit: 1, cursor: null }))).toBe("not_found");
    expect(await ports.tenants.isTokenGood("nobody", agent)).toBe(false);
    const jane = { type: "customer", id: "jane" };
    for (const answer of [
      ports.tenants.putEntity("nobody", nobody, { ...jane, properties: {} }),
      ports.tenants.deleteEntity("nobody", nobody, jane),
      ports.tenants.readEntity("nobody", jane),
      ports.tenants.listEntities("nobody", { limit: 1, cursor: null }, null),
      ports.tenants.readEntities("nobody", [jane]),
    ]) {
      expect(refusalOf(await answer)).toBe("not_found");
    }
    const tables = await runInDurableObject(env.TENANTS.getByName("nobody"), (_, state) =>
      state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });
});

describe("entities", () => {
  type Properties = EntityRow["properties"];
  const putEntity = async (operator: Principal, type: string, id: string, properties: Properties) =>
    got(await ports.tenants.putEntity(operator.tenant, operator, { type, id, properties }));
  const revisionOf = async (tenant: string) => got(await ports.tenants.readEntities(tenant, [])).revision;
  const sessionStub = (tenant: string, session: SessionId) => env.SESSIONS.getByName(sessionObjectName(tenant, session));
  const leaseOf = (tenant: string, session: SessionId): Promise<Lease> =>
    runInDurableObject(sessionStub(tenant, session), (_, state) =>
      JSON.parse(state.storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease),
    );
  const entriesOf = async (tenant: string) =>
    got(await listEntries(ports, tenant, { kind: "policy" }, { limit: 100, cursor: null }))
      .items.map(({ canonical, payload }) => ({ canonical, payload, entry: JSON.parse(canonical) }))
      .filter(({ entry }) => entry.details.event.startsWith("entity"));

  it("are stored whole in place of what was there; the same again, in whatever order, changes nothing", async () => {
    const { operator, tenant } = await newTenant(null);
    const first = await putEntity(operator, "customer", "jane", { tier: "gold", tags: ["a", "b"] });
    expect(first).toMatchObject({ created: true, entity: { type: "customer", id: "jane", updatedBy: "ops" } });
    vi.useFakeTimers({ now: Date.now() + 5_000, toFake: ["Date"] });
    for (const same of [
      { tags: ["a", "b"], tier: "gold" },
      { tier: "gold", tags: ["a", "b"] },
    ]) {
      const again = await putEntity({ ...operator, subject: "other" }, "customer", "jane", same);
      expect(again).toEqual({ ...first, created: false });
    }
    expect(await revisionOf(tenant)).toBe(1);
    const changed = await putEntity({ ...operator, subject: "other" }, "customer", "jane", { tags: ["b", "a"] });
    vi.useRealTimers();
    expect(changed).toMatchObject({ created: false, entity: { properties: { tags: ["b", "a"] }, updatedBy: "other" } });
    expect(changed.entity.updatedAt).toBeGreaterThan(first.entity.updatedAt);
    expect(got(await ports.tenants.readEntity(tenant, { type: "customer", id: "jane" }))).toEqual(changed.entity);
    expect(await revisionOf(tenant)).toBe(2);
    got(await ports.tenants.deleteEntity(tenant, operator, { type: "customer", id: "jane" }));
    expect(await revisionOf(tenant)).toBe(3);
    expect(refusalOf(await ports.tenants.deleteEntity(tenant, operator, { type: "customer", id: "jane" }))).toBe("not_found");
    expect(refusalOf(await ports.tenants.readEntity(tenant, { type: "customer", id: "jane" }))).toBe("not_found");
    expect((await entriesOf(tenant)).map(({ entry }) => [entry.details.event, entry.details.revision])).toEqual([
      ["entity_deleted", 3],
      ["entity_put", 2],
      ["entity_put", 1],
    ]);
  });

  it("are read for an evaluation at one revision, in the order asked, with null for what is not there", async () => {
    const { operator, tenant } = await newTenant(null);
    expect(got(await ports.tenants.readEntities(tenant, [{ type: "a", id: "x" }]))).toEqual({ revision: 0, properties: [null] });
    await putEntity(operator, "a", "x", { n: 1 });
    await putEntity(operator, "b", "x", { n: 2, deep: { e: [null, { f: 0.1 }] } });
    const refs = [
      { type: "b", id: "x" },
      { type: "a", id: "y" },
      { type: "a", id: "x" },
    ];
    expect(got(await ports.tenants.readEntities(tenant, refs))).toEqual({
      revision: 2,
      properties: [{ n: 2, deep: { e: [null, { f: 0.1 }] } }, null, { n: 1 }],
    });
    await runInDurableObject(env.TENANTS.getByName(tenant), (object) => {
      expect(got(object.readEntities(Array(16).fill(refs[2]))).properties).toHaveLength(16);
      expect(() => object.readEntities(Array(17).fill(refs[2]))).toThrow("a few entities");
    });
  });

  it("are on record by name and revision; what they say lies beside the entry, bound to it by a salted digest", async () => {
    const { operator, tenant } = await newTenant(null);
    await putEntity(operator, "customer", "jane", { address: "Elm Street" });
    const [only] = await entriesOf(tenant);
    if (only === undefined) throw new Error("an entry was expected");
    expect(only.entry.details).toEqual({ event: "entity_put", type: "customer", id: "jane", created: true, revision: 1 });
    expect(only.entry.principal).toMatchObject({ subject: "ops", kind: "human" });
    expect(only.canonical).not.toContain("Elm Street");
    expect(only.payload).toEqual({ salt: expect.stringMatching(/^[0-9a-f]{32}$/), inputs: { properties: { address: "Elm Street" } } });
    expect(only.entry.payload_digest).toBe(`sha-256:${ports.sha256(canonicalJson(only.payload))}`);
  });

  it("belong to one tenant", async () => {
    const [mine, other] = [await newTenant(null), await newTenant(null)];
    await putEntity(mine.operator, "customer", "jane", { tier: "gold" });
    const ref = { type: "customer", id: "jane" };
    expect(refusalOf(await ports.tenants.readEntity(other.tenant, ref))).toBe("not_found");
    expect(refusalOf(await ports.tenants.deleteEntity(other.tenant, other.operator, ref))).toBe("not_found");
    expect(got(await ports.tenants.readEntities(other.tenant, [ref]))).toEqual({ revision: 0, properties: [null] });
    expect(got(await ports.tenants.listEntities(other.tenant, { limit: 10, cursor: null }, null)).items).toEqual([]);
    expect(got(await ports.tenants.readEntity(mine.tenant, ref)).properties).toEqual({ tier: "gold" });
  });

  it.each([
    ["all", null, ["b2", "a4", "a3", "b1", "a2", "a1"]],
    ["those of one type", "a", ["a4", "a3", "a2", "a1"]],
    ["none of a type that nobody stored", "c", []],
  ])("are listed newest first, each once: %s", async (_, type, wanted) => {
    const { operator, tenant } = await newTenant(null);
    for (const id of ["a1", "a2", "b1", "a3", "a4", "b2"]) await putEntity(operator, id.slice(0, 1), id, {});
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof ports.tenants.listEntities>> = await ports.tenants.listEntities(tenant, { limit: 2, cursor }, type);
      const { items, nextCursor } = got(page);
      expect(items.length).toBe(Math.min(2, wanted.length - seen.length));
      seen.push(...items.map(({ id }) => id));
      cursor = nextCursor;
      // Neither what changes nor what goes while somebody pages through moves anything.
      const last = items.at(-1);
      if (last === undefined) continue;
      await putEntity(operator, "a", "a1", { changed: seen.length });
      if (last.id !== "a1") got(await ports.tenants.deleteEntity(tenant, operator, last));
    } while (cursor !== null);
    expect(seen).toEqual(wanted);
  });

  it("that are large fill a page before its limit, and the next page goes on", async () => {
    const { operator, tenant } = await newTenant(null);
    const large = { text: "x".repeat(65_000) };
    await Promise.all(Array.from({ length: 64 }, (_, n) => putEntity(operator, "file", `f${n}`, large)));
    const first = got(await ports.tenants.listEntities(tenant, { limit: 1000, cursor: null }, null));
    expect(first.items.length).toBe(61);
    const rest = got(await ports.tenants.listEntities(tenant, { limit: 1000, cursor: first.nextCursor }, null));
    expect(rest.nextCursor).toBeNull();
    expect(new Set([...first.items, ...rest.items].map(({ id }) => id)).size).toBe(64);
  });

  it("are told to live sessions, and every lease carries their revision; both survive eviction", async () => {
    const { operator, agent, tenant } = await newTenant("budgets: { run: 1 }");
    const live = await newSession(agent);
    const before = await leaseOf(tenant, live);
    expect(before.entities).toBe(0);
    await putEntity(operator, "customer", "jane", { tier: "gold" });
    const after = await leaseOf(tenant, live);
    expect([after.entities, after.epoch, after.endsAt]).toEqual([1, before.epoch + 1, before.endsAt]);
    await evictDurableObject(env.TENANTS.getByName(tenant));
    expect(got(await ports.tenants.readEntities(tenant, [{ type: "customer", id: "jane" }]))).toEqual({
      revision: 1,
      properties: [{ tier: "gold" }],
    });
    await evictDurableObject(sessionStub(tenant, live));
    expect((await leaseOf(tenant, live)).entities).toBe(1);
    expect((await leaseOf(tenant, await newSession(agent))).entities).toBe(1);
    got(await ports.tenants.deleteEntity(tenant, operator, { type: "customer", id: "jane" }));
    expect((await leaseOf(tenant, live)).entities).toBe(2);
    got(await ports.sessions.renewLease(tenant, live));
    expect((await leaseOf(tenant, live)).entities).toBe(2);
  });

  it("are what rules see of them at the very next decision of a live session, changed or gone", async () => {
    const { operator, agent, tenant } = await newTenant(`rules:
  - { id: vip, effect: forbid, actions: [pay], when: "resource.tier == 'gold'" }
  - { id: untrusted, effect: forbid, actions: [read], when: "subject.trusted != true" }
`);
    const live = await newSession(agent);
    const pay = async () => (await decideOne(agent, live, "pay", { resource: { type: "customer", id: "jane" } })).reason;
    const read = async () => (await decideOne(agent, live, "read")).reason;
    // What a rule looks at and nobody stored is a mistake while evaluating: a rule that forbids then forbids.
    expect((await pay()).code).toBe("rule_forbids");
    await putEntity(operator, "customer", "jane", { tier: "silver" });
    expect((await pay()).code).toBe("permitted");
    await putEntity(operator, "customer", "jane", { tier: "gold" });
    expect(await pay()).toMatchObject({ code: "rule_forbids", rule: "vip" });
    await putEntity(operator, "agent", "bot", { trusted: true });
    expect((await read()).code).toBe("permitted");
    got(await ports.tenants.deleteEntity(tenant, operator, { type: "agent", id: "bot" }));
    expect((await read()).code).toBe("rule_forbids");
  });

  it("that change all at once are told together, and every write answers when its own is told", async () => {
    const { operator, agent, tenant, put } = await newTenant("budgets: { run: 1 }");
    const live = await newSession(agent);
    const told = vi.spyOn(SessionAuthority.prototype, "receive");
    const atAnswer = new Map<string, number>();
    const writes = Array.from({ length: 60 }, async (_, n) => {
      await putEntity(operator, "customer", `c${n}`, { n });
      // What was last told by then; a read of the session would come after what is told meanwhile.
      atAnswer.set(`c${n}`, Math.max(0, ...told.mock.calls.map(([lease]) => lease.entities)));
    });
    const policy = put("budgets: { run: 2 }");
    await Promise.all([...writes, policy]);
    const times = told.mock.calls.length;
    told.mockRestore();
    expect((await leaseOf(tenant, live)).entities).toBe(60);
    for (const { entry } of await entriesOf(tenant)) expect(atAnswer.get(entry.details.id)).toBeGreaterThanOrEqual(entry.details.revision);
    expect(times).toBeGreaterThan(0);
    expect(times).toBeLessThan(30);
  });

  it("whose telling was lost are told again by whoever asks again, and by nobody once all have heard", async () => {
    const { operator, agent, tenant } = await newTenant("budgets: { run: 1 }");
    const live = await newSession(agent);
    const lost = { getByName: () => ({ receive: () => Promise.reject(new Error("lost")) }) };
    const withSessions = (sessions: unknown) =>
      runInDurableObject(env.TENANTS.getByName(tenant), (object) => void Reflect.set(object, "env", { ...env, SESSIONS: sessions }));
    await withSessions(lost);
    await putEntity(operator, "customer", "jane", { tier: "gold" });
    expect((await leaseOf(tenant, live)).entities).toBe(0);
    await withSessions(env.SESSIONS);
    const told = vi.spyOn(SessionAuthority.prototype, "receive");
    expect((await putEntity(operator, "customer", "jane", { tier: "gold" })).created).toBe(false);
    expect((await leaseOf(tenant, live)).entities).toBe(1);
    expect(told).toHaveBeenCalledTimes(1);
    await putEntity(operator, "customer", "jane", { tier: "gold" });
    expect(told).toHaveBeenCalledTimes(1);
    told.mockRestore();
    expect(await entriesOf(tenant)).toHaveLength(1);
  });

  it("are changed although a session does not answer, and a policy does not wait behind them", async () => {
    const { operator, agent, tenant, put } = await newTenant("budgets: { run: 1 }");
    const live = await newSession(agent);
    await runInDurableObject(env.TENANTS.getByName(tenant), (object) => {
      const silent = { receive: () => new Promise<void>(() => undefined) };
      // The first call is never answered; all others reach the session.
      let calls = 0;
      const sessions = { getByName: (name: string) => (calls++ === 0 ? silent : env.SESSIONS.getByName(name)) };
      Reflect.set(object, "env", { ...env, SESSIONS: sessions });
    });
    const answered: string[] = [];
    const began = Date.now();
    const first = putEntity(operator, "customer", "jane", { tier: 1 }).then(() => answered.push("first"));
    await vi.waitFor(async () => expect(await revisionOf(tenant)).toBe(1));
    const second = putEntity(operator, "customer", "jane", { tier: 2 }).then(() => answered.push("second"));
    await put("budgets: { run: 2 }");
    answered.push("policy");
    await Promise.all([first, second]);
    expect(answered[0]).toBe("policy");
    // Two seconds of patience for each, the second's beginning with its own write.
    expect(Date.now() - began).toBeLessThan(3_500);
    expect(got(await ports.tenants.readEntity(tenant, { type: "customer", id: "jane" })).properties).toEqual({ tier: 2 });
    // What the policy's own telling brought is the newest of everything.
    expect(await leaseOf(tenant, live)).toMatchObject({ entities: 2 });
  });

  it("come to a tenant that was made before there were any", async () => {
    const { operator, agent, tenant } = await newTenant("budgets: { run: 1 }");
    const stub = env.TENANTS.getByName(tenant);
    await runInDurableObject(stub, async (_, { storage }) => {
      await storage.deleteAlarm();
      storage.sql.exec(`
        DROP TABLE entities; ALTER TABLE tenant DROP COLUMN entities;
        ALTER TABLE policy_versions ADD COLUMN text TEXT NOT NULL DEFAULT '';
        UPDATE policy_versions SET text = (SELECT t.text FROM policy_texts t WHERE t.name = policy_versions.name AND t.version = policy_versions.version);
        DROP TABLE policy_texts;
        DROP TABLE interventions; DROP TABLE orders; DROP TABLE pools; DROP TABLE holdings; DROP TABLE call_pools; DROP TABLE calls; DROP TABLE call_holdings;
        DROP TABLE issuers; DROP TABLE revoked_foreign; DROP TABLE settings; DROP TABLE approvals; DROP TABLE approval_answers; DROP TABLE webhook_notes;
        DROP INDEX sessions_by_lease; DROP INDEX sessions_by_opening; ALTER TABLE sessions DROP COLUMN ask;
        DROP INDEX sessions_of_agent; DROP INDEX tokens_by_issue; DROP INDEX tokens_revoked;
        DROP INDEX sessions_by_client_leases; ALTER TABLE sessions DROP COLUMN client_leases_until;
        ALTER TABLE tokens DROP COLUMN approval;
        UPDATE schema_version SET version = 1`);
    });
    await evictDurableObject(stub);
    expect((await leaseOf(tenant, await newSession(agent))).entities).toBe(0);
    expect((await putEntity(operator, "customer", "jane", {})).created).toBe(true);
    expect(await revisionOf(tenant)).toBe(1);
    const [policy] = got(await ports.tenants.listPolicies(tenant, { limit: 1, cursor: null })).items;
    expect(got(await ports.tenants.readPolicy(tenant, policy?.name ?? "", null)).text).toBe("budgets: { run: 1 }");
  });
});

/** Publishing as a person does it, over HTTP, beside a session that lives on. */
describe("versions", () => {
  const SCOPES: readonly wire.Scope[] = ["policies:read", "policies:write"];

  async function publisher(policy: string) {
    const world = await newTenant(policy);
    const send = (method: string, path: string, token: string, body?: string, more: Record<string, string> = {}): Promise<Response> => {
      const headers = { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "Content-Type": "application/yaml" }), ...more };
      return exports.default.fetch(`https://gate.example${path}`, body === undefined ? { method, headers } : { method, headers, body });
    };
    const order = JSON.stringify({ tenant: world.tenant, subject: "ops", kind: "human", scopes: SCOPES });
    const issued = await send("POST", "/v1/tokens", env.ROOT_KEY, order, { "Content-Type": "application/json" });
    const { token }: wire.IssuedToken = await issued.json();
    const asOperator = (method: string, path: string, body?: string, more?: Record<string, string>) => send(method, path, token, body, more);
    const effective = async (tag = "", agent = "bot") => {
      const response = await asOperator("GET", `/v1/policies/effective?agent=${agent}`, undefined, { "If-None-Match": tag });
      const text = await response.text();
      const body: wire.EffectivePolicy | null = text === "" ? null : JSON.parse(text);
      return { status: response.status, tag: response.headers.get("ETag") ?? "", body };
    };
    return { ...world, asOperator, effective };
  }

  it.each([
    ["is no YAML", "denied_actions: [pay", "policy_invalid"],
    ["has an unknown key", "denied_action: [pay]", "policy_invalid"],
    ["has a mistaken value", "budgets: { run: -1 }", "policy_invalid"],
    ["is empty", "", "body_malformed"],
  ])("a document that %s is refused and leaves the good one in force", async (_, text, code) => {
    const { agent, asOperator, effective } = await publisher("budgets: { run: 1 }\ndenied_actions: [rm]");
    const session = await newSession(agent);
    const good = await effective();
    const refused = await asOperator("PUT", "/v1/policies/main?activate=true", text);
    const problem: wire.Problem = await refused.json();
    expect(problem.code).toBe(code);
    expect(await effective(good.tag)).toMatchObject({ status: 304, tag: good.tag });
    const versions: wire.Page<wire.PolicyVersion> = await (await asOperator("GET", "/v1/policies/main/versions")).json();
    expect(versions.items).toMatchObject([{ version: 1, active: true }]);
    expect(await decideOne(agent, session, "rm")).toMatchObject({ reason: { code: "action_denied" }, policy: good.body?.policy });
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
  });

  it("what is activated, rolled back or deleted is in force at the very next decision of a live session, and never in part", async () => {
    const { agent, asOperator } = await publisher("denied_actions: [rm]");
    const session = await newSession(agent);
    const both = async () => [await decideOne(agent, session, "rm"), await decideOne(agent, session, "pay")].map(({ verdict }) => verdict);
    expect(await both()).toEqual(["deny", "allow"]);
    expect((await asOperator("PUT", "/v1/policies/main?activate=false", "denied_actions: [pay]")).status).toBe(201);
    expect(await both()).toEqual(["deny", "allow"]);
    const activate = (version: number) =>
      asOperator("POST", "/v1/policies/main/activate", JSON.stringify({ version }), { "Content-Type": "application/json" });
    expect((await activate(2)).status).toBe(200);
    expect(await both()).toEqual(["allow", "deny"]);
    expect((await activate(1)).status).toBe(200);
    expect(await both()).toEqual(["deny", "allow"]);
    expect((await activate(3)).status).toBe(404);
    expect(await both()).toEqual(["deny", "allow"]);
    // The batch is decided under one policy, whichever of the two that is.
    const actions = Array.from({ length: 40 }, (_, n) => asked(n % 2 === 0 ? "rm" : "pay"));
    const [decisions] = await Promise.all([decideMany(agent, session, actions, "independent"), activate(2)]);
    expect(new Set(decisions.map(({ policy }) => policy?.digest)).size).toBe(1);
    expect(new Set(decisions.map(({ action, verdict }) => `${action} ${verdict}`)).size).toBe(2);
    expect(await both()).toEqual(["allow", "deny"]);
    expect((await asOperator("DELETE", "/v1/policies/main")).status).toBe(204);
    expect(await both()).toEqual(["deny", "deny"]);
  });

  it("a version that this code can no longer read is not brought back, and what is in force stays so", async () => {
    const { tenant, asOperator, effective } = await publisher("denied_actions: [rm]");
    await asOperator("PUT", "/v1/policies/main", "denied_actions: [pay]");
    const good = await effective();
    await runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => {
      storage.sql.exec(`UPDATE policy_versions SET document = '{"denied_actions":[7]}' WHERE version = 1`);
    });
    const refused = await asOperator("POST", "/v1/policies/main/activate", '{"version":1}', { "Content-Type": "application/json" });
    const problem: wire.Problem = await refused.json();
    expect([refused.status, problem.code, problem.issues?.[0]?.pointer]).toEqual([422, "policy_invalid", "/denied_actions/0"]);
    expect((await effective(good.tag)).status).toBe(304);
  });

  it("the tag of what is in force changes when it changes, and only then", async () => {
    const { operator, tenant, asOperator, effective } = await publisher("budgets: { run: 1 }");
    const first = await effective();
    expect(first).toMatchObject({ status: 200, body: { policy: { name: "main", version: 1 }, conflicts: [] } });
    const unchanged = async (why: string) => expect(await effective(first.tag), why).toEqual({ status: 304, tag: first.tag, body: null });
    await unchanged("asked again");
    await asOperator("PUT", "/v1/policies/main", "budgets: { run: 1 }");
    await unchanged("the same document");
    await asOperator("PUT", "/v1/policies/main?activate=false", "budgets: { run: 2 }");
    await unchanged("a version that is not in force");
    await asOperator("PUT", "/v1/policies/theirs?scope=agent&target=other", "budgets: { run: 0.1 }");
    await unchanged("another agent's layer");
    got(await ports.tenants.putEntity(tenant, operator, { type: "agent", id: "bot", properties: { tier: 1 } }));
    await unchanged("an entity");
    await evictDurableObject(env.TENANTS.getByName(tenant));
    await unchanged("an eviction");

    const changed = async (why: string, earlier: string) => {
      const now = await effective(earlier);
      expect(now, why).toMatchObject({ status: 200 });
      return now;
    };
    await asOperator("POST", "/v1/policies/main/activate", '{"version":2}', { "Content-Type": "application/json" });
    const second = await changed("another version", first.tag);
    await asOperator("PUT", "/v1/policies/mine?scope=agent&target=bot", "budgets: { run: 0.5 }");
    const merged = await changed("the agent's own layer", second.tag);
    expect(merged.body).toMatchObject({ policy: { name: "main@2+mine@1", version: 1 }, document: { budgets: { run: "0.5" } } });
    await asOperator("DELETE", "/v1/policies/mine");
    expect((await effective(second.tag)).status).toBe(304);
    await asOperator("POST", "/v1/policies/main/activate", '{"version":1}', { "Content-Type": "application/json" });
    await unchanged("rolled back");
    await asOperator("DELETE", "/v1/policies/main");
    expect((await changed("nothing in force", first.tag)).body).toEqual({ policy: null, document: null, conflicts: [] });
  });

  it("layers that contradict each other are merged to the stricter, and say so", async () => {
    const { asOperator, effective } = await publisher("allowed_actions: [pay, read]");
    await asOperator("PUT", "/v1/policies/mine?scope=agent&target=bot", "allowed_actions: [write]");
    const { body } = await effective();
    expect(body?.document).toMatchObject({ allowed_actions: [] });
    expect(body?.conflicts).toEqual([{ pointer: "/allowed_actions", message: expect.stringMatching(/\S/) }]);
    expect((await effective("", "other")).body?.conflicts).toEqual([]);
  });
});

describe("the record", () => {
  it("everything answered before a read is in it, in a chain without gaps, and its sum is what was committed", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 10 }\napprovals: { actions: [wire] }\ndenied_actions: [rm]");
    const session = await newSession(agent);
    const decisions = await decideMany(
      agent,
      session,
      [...Array.from({ length: 20 }, () => asked("pay", { estimateMicroUsd: usd("0.1") })), asked("rm"), asked("wire")],
      "independent",
    );
    for (const [n, { id }] of decisions.slice(0, 20).entries()) {
      got(
        await ports.sessions.commit(
          tenant,
          session,
          agent,
          id,
          { costMicroUsd: usd(`0.0${(n % 9) + 1}`), outcome: "success", durationMs: 5, outputs: { n }, error: null, usage: null },
          `f${n}`,
        ),
      );
    }
    const page = got(await listEntries(ports, tenant, { session }, { limit: 1000, cursor: null }));
    const entries = page.items.map(({ canonical, hash }) => ({ ...JSON.parse(canonical), hash })).reverse();
    // Opened, 22 decisions, what the held one asks of people, 20 reports.
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 44 }, (_, n) => n + 1));
    for (const [place, entry] of entries.entries()) expect(entry.prev_hash).toBe(place === 0 ? "0".repeat(64) : entries[place - 1].hash);
    for (const { canonical, hash } of page.items) expect(ports.sha256(canonical)).toBe(hash);
    const state = got(await ports.sessions.read(tenant, session, agent));
    const costs = got(await ports.ledger.costs(tenant, { groupBy: "session" }));
    expect(costs.totalMicroUsd).toBe(BigInt(state.total.postedMicroUsd));
    expect(costs.items).toMatchObject([{ key: session, postedMicroUsd: BigInt(state.total.postedMicroUsd), count: 20 }]);
  });

  it("what the tenant does is on its own chain", async () => {
    const { tenant, operator, put } = await newTenant("budgets: { run: 1 }");
    await put("budgets: { run: 2 }");
    got(await ports.tenants.activatePolicy(tenant, operator, "main", 1));
    const page = got(await listEntries(ports, tenant, { kind: "policy" }, { limit: 10, cursor: null }));
    const events = page.items.map(({ canonical }) => JSON.parse(canonical)).map(({ details, seq }) => [seq, details.event, details.version ?? null]);
    expect(events).toEqual([
      [4, "activated", 1],
      [3, "put", 2],
      [2, "put", 1],
      [1, "tenant_created", null],
    ]);
  });
});
