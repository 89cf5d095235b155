import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { SessionId } from "../../src/core/ids.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import type { Principal } from "../../src/core/request.ts";
import { openSession } from "../../src/flow/open_session.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { asked, decideMany, decideOne, got, newSession, newTenant, ports, refusalOf, usd } from "./world.ts";

const putFor = async (
  operator: Principal,
  name: string,
  text: string,
  more: { activate?: boolean; scope?: "tenant" | "agent"; target?: string | null } = {},
) => {
  const { document } = got(parsePolicy(text, "yaml"));
  const digest = policyDigest(ports.sha256, document);
  const place = { scope: more.scope ?? "tenant", target: more.target ?? null } as const;
  return got(
    await ports.tenants.putPolicy(operator.tenant, operator, {
      name,
      ...place,
      document: JSON.parse(JSON.stringify(document)),
      digest,
      text,
      format: "yaml",
      activate: more.activate ?? true,
    }),
  );
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

  it("a deleted policy is out of force and out of sight, and its name goes on counting versions", async () => {
    const { operator, tenant } = await newTenant("budgets: { run: 1 }");
    got(await ports.tenants.deletePolicy(tenant, operator, "main"));
    expect(refusalOf(await ports.tenants.readPolicy(tenant, "main", null))).toBe("not_found");
    expect(got(await ports.tenants.effectivePolicy(tenant, null))).toBeNull();
    expect(refusalOf(await ports.tenants.deletePolicy(tenant, operator, "main"))).toBe("not_found");
    expect(await putFor(operator, "main", "budgets: { run: 1 }")).toMatchObject({ version: 2, created: true });
  });

  it("a tenant's and an agent's layer hold together, each for whom it is", async () => {
    const { operator, agent, tenant } = await newTenant(null);
    await putFor(operator, "base", "budgets: { run: 1 }\ndenied_actions: [rm]");
    await putFor(operator, "bot", "budgets: { run: 0.2 }", { scope: "agent", target: "bot" });
    const session = await newSession(agent);
    expect(await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.3") })).toMatchObject({
      reason: { code: "run_budget_exceeded" },
      policy: { name: "base+bot" },
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
    await stub.receive({ ...old, endsAt: old.endsAt + 1_000_000 });
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
  it("does not change when a document is put without activating it, wherever it says it belongs", async () => {
    const { operator, agent, tenant } = await newTenant("denied_actions: [rm]");
    await putFor(operator, "other", "allowed_actions: [pay, rm]");
    const session = await newSession(agent);
    const { document } = got(parsePolicy("denied_actions: [rm]", "yaml"));
    const moved = await ports.tenants.putPolicy(tenant, operator, {
      name: "main",
      scope: "agent",
      target: "somebody",
      document: JSON.parse(JSON.stringify(document)),
      digest: policyDigest(ports.sha256, document),
      text: "denied_actions: [rm]",
      format: "yaml",
      activate: false,
    });
    expect(refusalOf(moved)).toBe("body_invalid");
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
    expect(await ports.tenants.isTokenGood("nobody", agent.tokenId)).toBe(false);
    const tables = await runInDurableObject(env.TENANTS.getByName("nobody"), (_, state) =>
      state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
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
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 43 }, (_, n) => n + 1));
    for (const [place, entry] of entries.entries()) expect(entry.prev_hash).toBe(place === 0 ? "0".repeat(64) : entries[place - 1].hash);
    for (const { canonical, hash } of page.items) expect(ports.sha256(canonical)).toBe(hash);
    const state = got(await ports.sessions.read(tenant, session, agent));
    const costs = got(await ports.ledger.costs(tenant, { groupBy: "session" }));
    expect(costs.totalMicroUsd).toBe(state.total.postedMicroUsd);
    expect(costs.items).toMatchObject([{ key: session, postedMicroUsd: state.total.postedMicroUsd, count: 20 }]);
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
