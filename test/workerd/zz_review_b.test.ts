import { runInDurableObject, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { Principal, ActionRequest } from "../../src/core/request.ts";
import type { ApprovalId, SessionId } from "../../src/core/ids.ts";
import { answerApproval, readApproval, respondToApproval, cancelApproval } from "../../src/flow/approve.ts";
import { decideOne, got, newSession, newTenant, ports, refusalOf, usd } from "./world.ts";

const PAY = "approvals: { actions: [pay, refund], timeout_seconds: 600 }\nbudgets: { session: 100 }";
const ASKED = { inputs: { to: "acct_1", amount: 30 }, resource: { type: "account", id: "acct_1" }, estimateMicroUsd: usd("30") } as const;
const setup = async (policy = PAY) => {
  const t = await newTenant(policy);
  const session = await newSession(t.agent);
  const hold = async (more: Partial<ActionRequest> = {}) => {
    const d = await decideOne(t.agent, session, "pay", { ...ASKED, ...more });
    if (d.approval === null) throw new Error("no approval: " + JSON.stringify(d.reason));
    return { id: d.approval.id, decision: d.id };
  };
  return { ...t, session, hold };
};
const stub = (tenant: string, session: SessionId) => env.SESSIONS.getByName(sessionObjectName(tenant, session));
const attempt = async (f: () => Promise<unknown>) => { try { const r: any = await f(); return r?.ok === false ? `refused ${r.error.code}` : "ok"; } catch (e) { return `THROWN ${String(e).slice(0, 160)}`; } };

it("B1 an agent responds until nothing of its approval can be written", async () => {
  const { tenant, agent, session, hold, operator } = await setup();
  const { id } = await hold();
  let n = 0, last = "ok";
  for (; n < 400 && last === "ok"; n++) last = await attempt(() => respondToApproval(ports, agent, id, String(n).padEnd(8192, "\u0001")));
  console.log("B1 responds", n, last);
  const sizes = await runInDurableObject(stub(tenant, session), (_: any, s: any) => s.storage.sql.exec("SELECT octet_length(approval) a, octet_length(card) c, version, told FROM approvals").toArray());
  console.log("B1 sizes", JSON.stringify(sizes));
  // fill up to the brim with smaller ones
  for (const size of [4000, 2000, 1000, 500, 250, 100, 50, 20, 10, 1]) for (let k = 0; k < 12; k++) { const r = await attempt(() => respondToApproval(ports, agent, id, `${size}${k}`.padEnd(size, "\u0001"))); if (r !== "ok") break; }
  console.log("B1 sizes2", JSON.stringify(await runInDurableObject(stub(tenant, session), (_: any, s: any) => s.storage.sql.exec("SELECT octet_length(approval) a, octet_length(card) c, version, told FROM approvals").toArray())));
  console.log("B1 person reads", await attempt(() => readApproval(ports, operator, id)));
  const listed: any = got(await ports.tenants.listApprovals(tenant, {}, { limit: 10, cursor: null }));
  const digest = listed.items[0].approval.digest;
  console.log("B1 person rejects", await attempt(() => answerApproval(ports, operator, ["approvals:write"] as any, id, { decision: "reject", note: null, digest, edits: null })));
  console.log("B1 next hold on desk?");
  const next = await hold({ inputs: { n: 2 } });
  const l2: any = got(await ports.tenants.listApprovals(tenant, {}, { limit: 10, cursor: null }));
  console.log("B1 desk has next:", l2.items.some((i: any) => i.approval.id === next.id), "read by desk:", await attempt(() => readApproval(ports, operator, next.id)));
  console.log("B1 close", await attempt(() => ports.sessions.close(tenant, session, operator)));
  console.log("B1 alarm", await attempt(() => runDurableObjectAlarm(stub(tenant, session))));
});

it("B2 big cards blind the desk", async () => {
  const { tenant, agent, session, hold, operator } = await setup();
  const big = Array.from({ length: 60_000 }, () => 0.5);
  for (let n = 0; n < 100; n++) await hold({ inputs: { n, big } });
  console.log("B2 list 100", await attempt(() => ports.tenants.listApprovals(tenant, {}, { limit: 100, cursor: null })));
  console.log("B2 list 20", await attempt(() => ports.tenants.listApprovals(tenant, {}, { limit: 20, cursor: null })));
});

it("B3 many big holds at once: the desk never hears", async () => {
  const { tenant, agent, session, hold, operator } = await setup();
  const big = Array.from({ length: 50_000 }, () => 1e20);
  await Promise.all(Array.from({ length: 60 }, (_, n) => hold({ inputs: { n, big } })));
  const small = await hold({ inputs: { n: "small" } });
  await new Promise((r) => setTimeout(r, 3000));
  console.log("B3 alarm", await attempt(() => runDurableObjectAlarm(stub(tenant, session))));
  const untold = await runInDurableObject(stub(tenant, session), (_: any, s: any) => s.storage.sql.exec("SELECT count(*) n, sum(told < version) untold, max(octet_length(card)) big FROM approvals").toArray());
  console.log("B3 untold", JSON.stringify(untold), "small:", await attempt(() => readApproval(ports, operator, small.id)));
});
