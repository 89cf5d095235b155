import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { sessionObjectName } from "../../src/authority/env.ts";
import { ExportedChains } from "../../src/cli/exported_chains.ts";
import firstTold from "./states/3b20b49.json?raw";
import first from "./states/3b20b49.sql?raw";
import leasesTold from "./states/e2f278d.json?raw";
import leases from "./states/e2f278d.sql?raw";

/** What an older version of the gateway left behind, as it wrote it (`states/record.ts`), and the gateway of today on the same tables. */

interface Told {
  /** When the last of it was asked. */
  readonly at: number;
  readonly origin: string;
  readonly tenant: string;
  readonly session: string;
  /** How many entries are on record. */
  readonly entries: number;
  readonly policy: string;
  readonly pending: string;
  readonly waits: { readonly id: string };
  readonly approved: { readonly id: string };
  /** What was said of the actions that were held. */
  readonly hold: Partial<wire.DecisionRequest>;
  readonly lease: string | null;
  readonly read: wire.SessionDetail;
  readonly asked: readonly { readonly route: string; readonly body: { readonly action?: string }; readonly text: string }[];
}

describe.each([
  ["of 22 November, which knew neither people's answers nor kills", firstTold, first],
  ["of 27 November, with approvals, kills and client leases", leasesTold, leases],
])("a state %s", (_, text, sql) => {
  // Written by `states/record.ts`.
  const told: Told = JSON.parse(text);
  const { tenant, session } = told;
  const sections = new Map(
    sql.split(/^-- (?=\w+$)/m).map((section) => [section.slice(0, section.indexOf("\n")), section.slice(section.indexOf("\n"))]),
  );
  const hasApprovals = told.lease !== null;
  let bot = "";
  let ann = "";

  const ask = async (token: string, method: string, path: string, body?: unknown) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const response = await exports.default.fetch(`${told.origin}${path}`, {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: response.status, text: new TextDecoder().decode(await response.arrayBuffer()) };
  };
  /** The answer, as whoever asks knows it to be. */
  const json = async <T>(...args: Parameters<typeof ask>): Promise<T> => JSON.parse((await ask(...args)).text) as T;
  const path = `/v1/sessions/${session}`;
  const decide = (action: string, more: Partial<wire.DecisionRequest> = {}): Promise<wire.Decision> =>
    json(bot, "POST", `${path}/decisions`, { action, ...more });
  const answered = async (...args: Parameters<typeof decide>): Promise<string> => {
    const { verdict, reason } = await decide(...args);
    return `${verdict} ${reason.code}`;
  };

  beforeAll(async () => {
    // The next second: what the session was last told is still good.
    vi.useFakeTimers({ now: told.at + 1_000, toFake: ["Date"] });
    const objects = {
      tenant: env.TENANTS.getByName(tenant),
      session: env.SESSIONS.getByName(sessionObjectName(tenant, session)),
      ledger: env.LEDGERS.getByName(tenant),
    };
    for (const [name, stub] of Object.entries(objects)) {
      await runInDurableObject(stub, (_object, { storage }) => void storage.sql.exec(sections.get(name) ?? ""));
      await evictDurableObject(stub);
    }
    for (const statement of (sections.get("rows") ?? "").trim().split("\n")) await env.DB.prepare(statement).run();
    const tokenOf = async (subject: string, kind: wire.TokenKind, scopes: readonly wire.Scope[]) =>
      (await json<wire.IssuedToken>(env.ROOT_KEY, "POST", "/v1/tokens", { tenant, subject, kind, scopes })).token;
    bot = await tokenOf("bot", "agent", ["sessions:write", "decisions:write", "ledger:read"]);
    ann = await tokenOf("ann", "human", ["approvals:read", "approvals:write", "ledger:read", "interventions:write"]);
  });
  afterAll(() => void vi.useRealTimers());

  it("answers what was asked before as it did, to the byte, and nothing else under the same id", async () => {
    for (const { route, body, text } of told.asked) {
      expect(await ask(bot, "POST", `${path}${route}`, body)).toEqual({ status: 200, text });
      if (body.action !== undefined)
        expect(await json(bot, "POST", `${path}${route}`, { ...body, action: "other" })).toMatchObject({ code: "idempotency_mismatch" });
    }
    expect(told.asked.length).toBeGreaterThan(10);
  });

  it("has the same money in every account", async () => {
    const now = await json<wire.SessionDetail>(bot, "GET", path);
    expect(now).toMatchObject(told.read);
  });

  it("goes on denying what is denied, and counts the calls that were made", async () => {
    expect(await answered("wipe")).toBe("deny action_denied");
    expect([await answered("ping"), await answered("ping")]).toEqual(["allow permitted", "deny rate_exceeded"]);
    if (hasApprovals) expect(await answered("danger.x")).toBe("deny action_killed");
  });

  it("lets an approved request run once, and a person answer what waits", async () => {
    const use = (approval: string, estimate_usd: string) => answered("pay", { ...told.hold, estimate_usd, approval });
    if (!hasApprovals) {
      // Nobody could answer, then: whoever asks again asks a person who can.
      expect(await answered("pay", { ...told.hold, estimate_usd: "0.02" })).toBe("hold approval_required");
      return;
    }
    expect(await use(told.approved.id, "0.03")).toBe("deny approval_mismatch");
    expect([await use(told.approved.id, "0.02"), await use(told.approved.id, "0.02")]).toEqual(["allow permitted", "deny approval_consumed"]);
    expect(await use(told.waits.id, "0.03")).toBe("hold approval_required");
    const { action_digest } = await json<wire.Approval>(ann, "GET", `/v1/approvals/${told.waits.id}`);
    expect(await json(ann, "POST", `/v1/approvals/${told.waits.id}/decide`, { decision: "approve", action_digest })).toMatchObject({
      status: "approved",
    });
    expect(await use(told.waits.id, "0.03")).toBe("allow permitted");
  });

  it("takes reports of what was under way", async () => {
    const commit = await json<wire.Settlement>(bot, "POST", `${path}/decisions/${told.pending}/commit`, { cost_usd: "0.03", outcome: "success" });
    expect(commit).toMatchObject({ state: "posted", posted_usd: "0.03", overrun_usd: "0", late: false });
    if (told.lease === null) return;
    const entry = { id: "dec_019a9c1e-7f00-7abc-8def-0000000000fe", action: "work.b", cost_usd: "0.05", outcome: "success" };
    expect(await json(bot, "POST", `${path}/leases/${told.lease}/settle`, { entries: [entry] })).toMatchObject({
      state: "settled",
      posted_usd: "0.08",
      returned_usd: "0.02",
      overrun_usd: "0",
      late: false,
    });
  });

  it("may spend what is left, and no more", async () => {
    const { budgets } = await decide("look");
    const left = budgets.find(({ scope }) => scope === "session")?.remaining_usd ?? "";
    expect(await answered("spend", { estimate_usd: (Number(left) + 0.000001).toFixed(6) })).toBe("deny session_budget_exceeded");
    expect(await answered("spend", { estimate_usd: left })).toBe("allow permitted");
    expect(await answered("spend", { estimate_usd: "0.000001" })).toBe("deny session_budget_exceeded");
  });

  it("has one record: what was on it stands there as it stood, and what is new follows it", async () => {
    const { text } = await ask(ann, "GET", "/v1/ledger/export");
    const lines = text.trim().split("\n");
    const chains = new ExportedChains();
    expect(lines.map((line) => chains.take(line)).filter((fault) => fault !== null)).toEqual([]);
    const entries: readonly (wire.LedgerEntry & { readonly index: number })[] = lines.map((line) => JSON.parse(line));
    expect(entries.map(({ index }) => index)).toEqual(entries.map((_entry, place) => place));
    expect(entries.length).toBeGreaterThan(told.entries);
    expect(told.read.totals.decisions.allow).toBe(
      entries.slice(0, told.entries).filter(({ kind, verdict }) => kind === "decision" && verdict === "allow").length,
    );
  });
});
