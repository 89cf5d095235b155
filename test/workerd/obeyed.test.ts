import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { idOf } from "../../src/core/ids.ts";
import { got, newSession, newTenant, ports } from "./world.ts";

it("what a session obeys is in the record though it dies at once and nobody asks it again", async () => {
  const { tenant, agent, operator } = await newTenant("budgets: { session: 1 }");
  const session = await newSession(agent);
  const stub = env.SESSIONS.getByName(sessionObjectName(tenant, session));
  // All of it has been shipped, and nothing wakes it any more.
  await ports.sessions.ship(tenant, session);
  await runInDurableObject(stub, (_, { storage }) => storage.deleteAlarm());
  await evictDurableObject(stub);
  const id = idOf("int", Date.now(), crypto.getRandomValues(new Uint8Array(10)));
  got(
    await ports.tenants.intervene(tenant, operator, { id, target: { type: "agent", id: "bot" }, kind: "kill", reason: "a test", fingerprint: "f" }),
  );
  await evictDurableObject(stub);
  expect(await runDurableObjectAlarm(stub)).toBe(true);
});

it("an intervention that is asked for twice at once has one evidence", async () => {
  const { tenant, agent, operator } = await newTenant("budgets: { session: 1 }");
  await newSession(agent);
  const id = idOf("int", Date.now(), crypto.getRandomValues(new Uint8Array(10)));
  const ask = () =>
    ports.tenants.intervene(tenant, operator, { id, target: { type: "agent", id: "bot" }, kind: "kill", reason: "a test", fingerprint: "f" });
  const [one, two] = await Promise.all([ask(), ask()]);
  expect(got(two).answer).toEqual(got(one).answer);
  expect([got(one).replayed, got(two).replayed].filter(Boolean)).toHaveLength(1);
});
