import { randomInt, randomUUID } from "node:crypto";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import type { CommitRequest, CostReport, Decision, DecisionNow, LedgerEntry, SessionDetail, Settlement } from "../../sdk/src/wire.ts";
import { each } from "../faults/real/calls.ts";
import { chanceOf } from "../faults/real/chance.ts";
import { gone, Home, type Life, strike } from "../faults/real/life.ts";
import { assertRate, follow, micro, NO_ENTRIES, parseEntries } from "../faults/real/record.ts";
import { ask, CAN_SEE_PROCESSES } from "./gateway.ts";

/** What is drawn by it: who asks for what, what is committed at which cost, and when the kill comes. What the kill meets is the machine's own. */
const SEED = Number(process.env.KILL_SEED ?? randomInt(2 ** 31));
const ROUNDS = 4;
const CLIENTS = 16;
const LIMIT_MICRO_USD = 5_000_000;
const PRICE: { readonly [action: string]: string } = { work: "0.18", ping: "0", mail: "0" };
/** One window that opens again many times in a load, and one that no restart may open. */
const RATES = [
  { action: "ping", most: 10, windowMs: 500 },
  { action: "mail", most: 5, windowMs: 3_600_000 },
];
const POLICY = `version: 1
name: demo
budgets: { session: 5.00 }
rate_limits:
${RATES.map(({ action, most, windowMs }) => `  ${action}: { max_count: ${most}, window_seconds: ${windowMs / 1000} }`).join("\n")}
`;

/** One decision as its client knows it: what it sent, and what it heard. `null`: nothing, for the gateway was killed. */
interface Asked {
  readonly session: string;
  readonly body: { readonly id: string; readonly action: string; readonly estimate_usd: string; readonly ttl_ms: number };
  answer: Decision | null;
  commit: { readonly body: CommitRequest; answer: Settlement | null } | null;
}

const home = new Home("kill");
afterEach(() => home.stop());
afterAll(() => home.end());

const pathOf = ({ session, body }: Asked) => `/v1/sessions/${session}/decisions/${body.id}`;
const decide = (gateway: Life, { session, body }: Asked) => ask(gateway.url, gateway.agent, "POST", `/v1/sessions/${session}/decisions`, body);
const commit = (gateway: Life, asked: Asked, body: CommitRequest) => ask(gateway.url, gateway.agent, "POST", `${pathOf(asked)}/commit`, body);
const read = (gateway: Life, asked: Asked) => ask(gateway.url, gateway.agent, "GET", pathOf(asked));
const openSession = async (gateway: Life, body: object = {}): Promise<string> =>
  (await ask(gateway.url, gateway.agent, "POST", "/v1/sessions", body)).body.id;

describe.skipIf(!CAN_SEE_PROCESSES)(`a gateway that is killed with SIGKILL under load (KILL_SEED=${SEED})`, () => {
  it("shows every answered decision and no overspend when it starts again", async () => {
    let gateway = await home.start();
    await ask(gateway.url, gateway.operator, "PUT", "/v1/policies/demo", POLICY);
    const lived = await openSession(gateway);
    const journal: Asked[] = [];
    let exported = "";
    for (let round = 0; round < ROUNDS; round++) {
      const fresh = await openSession(gateway);
      const loaded = await loadAndKill(gateway, [lived, fresh], round);
      journal.push(...loaded);
      gateway = await home.start();
      await each(loaded, CLIENTS, (asked) => recheck(gateway, asked));
      // What the last life reserved is settled in this one, so that the next has room to spend.
      await each(
        loaded.filter(({ session, answer, commit: told }) => session === lived && answer?.verdict === "allow" && told === null),
        CLIENTS,
        (asked) => settle(gateway, asked, { cost_usd: PRICE[asked.body.action] === "0" ? "0" : "0.000001", outcome: "error" }),
      );
      exported = await audit(gateway, journal, exported);
    }
    await each(journal, CLIENTS, (asked) => recheck(gateway, asked));
    expect(await audit(gateway, journal, exported)).toBe(exported);

    const reasons = new Set(journal.map(({ answer }) => answer?.reason.code));
    expect(reasons).toEqual(new Set(["permitted", "rate_exceeded", "session_budget_exceeded"]));
  }, 240_000);

  it("a thousand parallel attempts of $0.18 against a dollar allow exactly five, over HTTP", async () => {
    const gateway = await home.start();
    const session = await openSession(gateway, { budget_usd: "1" });
    const attempts = Array.from({ length: 1000 }, () => newAsked(session, "work"));
    const answers = await Promise.all(attempts.map((attempt) => decide(gateway, attempt)));
    expect(countOf(answers.map(({ status, body }) => `${status} ${body.verdict} ${body.reason?.code}`))).toEqual({
      "200 allow permitted": 5,
      "200 deny session_budget_exceeded": 995,
    });
    const now = await ask(gateway.url, gateway.agent, "GET", `/v1/sessions/${session}`);
    expect(now.body.totals).toMatchObject({ posted_usd: "0", pending_usd: "0.9", decisions: { allow: 5, deny: 995, hold: 0 } });
    const entries = parseEntries(await exportOf(gateway)).filter((entry) => entry.session_id === session && entry.kind === "decision");
    expect(countOf(entries.map(({ verdict }) => String(verdict)))).toEqual({ allow: 5, deny: 995 });
    expect(new Set(entries.map((entry) => entry.decision_id))).toEqual(new Set(attempts.map(({ body }) => body.id)));
  }, 60_000);
});

/**
 * Lets the clients ask and commit without a pause until everything is killed at once, and answers what each of them knows then. In even rounds the
 * kill comes some time after the first answer, while there is money; in odd ones some time after every limit has been felt.
 */
async function loadAndKill(gateway: Life, sessions: readonly string[], round: number): Promise<readonly Asked[]> {
  const journal: Asked[] = [];
  const killAfterMs = 5 + 900 * chanceOf(SEED, `kill ${round}`)();
  let killed = false;
  let timer: NodeJS.Timeout | undefined;
  const awaited = new Set(round % 2 === 0 ? [] : ["rate_exceeded", "session_budget_exceeded"]);

  /** The answer, or `null` once there is nobody left to give one. */
  const heard = async (answering: ReturnType<typeof ask>) => {
    const answer = await answering.catch((fault) => {
      if (killed) return null;
      throw fault;
    });
    if (answer === null) return null;
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    awaited.delete(answer.body.reason?.code);
    if (awaited.size > 0) return answer.body;
    timer ??= setTimeout(() => {
      killed = true;
      strike(gateway.process, "all");
    }, killAfterMs);
    return answer.body;
  };

  const client = async (number: number): Promise<void> => {
    const random = chanceOf(SEED, `client ${round} ${number}`);
    for (;;) {
      const session = sessions[Math.floor(random() * sessions.length)] ?? "";
      const draw = random();
      const asked = newAsked(session, draw < 0.6 ? "work" : draw < 0.85 ? "ping" : "mail");
      journal.push(asked);
      asked.answer = await heard(decide(gateway, asked));
      if (asked.answer === null) return;
      if (asked.answer.verdict !== "allow" || random() < 0.5) continue;
      const cost = asked.body.action === "work" ? (Math.ceil(random() * 20_000) / 1_000_000).toFixed(6) : "0";
      asked.commit = { body: { cost_usd: cost, outcome: "success" }, answer: null };
      asked.commit.answer = await heard(commit(gateway, asked, asked.commit.body));
      if (asked.commit.answer === null) return;
    }
  };

  try {
    await Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
  } finally {
    clearTimeout(timer);
  }
  await gone(gateway.process, "all");
  // It was killed under load: every client was left waiting for an answer.
  expect(journal.filter(({ answer, commit: told }) => answer === null || (told !== null && told.answer === null))).toHaveLength(CLIENTS);
  return journal;
}

/** What was answered is answered again, to the letter, and stands as it was left. What was not is asked again, twice at once, and gets one answer. */
async function recheck(gateway: Life, asked: Asked): Promise<void> {
  const before = await read(gateway, asked);
  if (asked.answer === null) {
    const [one, two] = await Promise.all([decide(gateway, asked), decide(gateway, asked)]);
    expect(one.status).toBe(200);
    expect(two).toEqual(one);
    // Either it had been decided before the kill, and this is that answer, or it never had.
    if (before.status === 200) expect(before.body).toMatchObject(one.body);
    else expect(before).toMatchObject({ status: 404, body: { code: "not_found" } });
    asked.answer = one.body;
  } else {
    expect(before).toMatchObject({ status: 200, body: asked.answer });
    expect(stateLeft(asked), asked.body.id).toContain(before.body.state);
    expect(await decide(gateway, asked)).toEqual({ status: 200, body: asked.answer });
  }
  if (asked.commit === null) return;
  await settle(gateway, asked, asked.commit.body);
  const after: DecisionNow = (await read(gateway, asked)).body;
  expect(after.state).toBe("posted");
  expect(micro(after.posted_usd)).toBe(micro(asked.commit.body.cost_usd ?? ""));
}

/** The states that a decision may be in, by what its client was told last. */
function stateLeft({ answer, commit: told }: Asked): readonly string[] {
  if (answer?.verdict !== "allow") return ["denied"];
  if (told === null) return ["pending"];
  return told.answer === null ? ["pending", "posted"] : ["posted"];
}

/** Commits for the first time or again; a commit that was answered is answered to the letter. */
async function settle(gateway: Life, asked: Asked, body: CommitRequest): Promise<void> {
  const settled = await commit(gateway, asked, body);
  const known = asked.commit?.answer ?? null;
  if (known !== null) expect(settled).toEqual({ status: 200, body: known });
  expect(settled).toMatchObject({ status: 200, body: { state: "posted", overrun_usd: "0", late: false } });
  asked.commit = { body, answer: settled.body };
}

/** Looks at the whole record as a stranger would, and holds it against what the clients know. Answers it, to be held against the next. */
async function audit(gateway: Life, journal: readonly Asked[], earlier: string): Promise<string> {
  const text = await exportOf(gateway);
  expect(text.startsWith(earlier), "the record that was read before the kill is the beginning of the one after it").toBe(true);
  const entries = parseEntries(text);
  expect(entries.map(({ index }) => index)).toEqual(entries.map((_, place) => place));
  const chains = Map.groupBy(entries, (entry) => entry.session_id);
  for (const chain of chains.values()) chain.reduce(follow, NO_ENTRIES);

  const costs: CostReport = (await ask(gateway.url, gateway.operator, "GET", "/v1/costs?group_by=session")).body;
  for (const [session, asked] of Map.groupBy(journal, (one) => one.session)) {
    const chain = chains.get(session) ?? [];
    expect(marksIn(chain, "decision"), session).toEqual(sortedMarks(asked.map(({ body, answer }) => [body.id, answer?.entry])));
    const committed = asked.flatMap(({ body, commit: told }) => (told === null ? [] : [{ id: body.id, ...told }]));
    expect(marksIn(chain, "commit"), session).toEqual(sortedMarks(committed.map(({ id, answer }) => [id, answer?.entry])));

    const posted = committed.reduce((sum, { body }) => sum + micro(body.cost_usd ?? ""), 0);
    const { pending } = verifyMoney(chain);
    for (const rate of RATES) verifyRate(chain, rate);
    expect(chain.reduce((sum, entry) => sum + micro(entry.cost_usd) - micro(entry.corrected_usd), 0)).toBe(posted);
    expect(micro(costs.items.find(({ key }) => key === session)?.posted_usd ?? "0")).toBe(posted);
    const now: SessionDetail = (await ask(gateway.url, gateway.agent, "GET", `/v1/sessions/${session}`)).body;
    expect([micro(now.totals.posted_usd), micro(now.totals.pending_usd), now.totals.overrun_usd]).toEqual([posted, pending, "0"]);
  }
  return text;
}

/** Counts a session's money by its entries alone: it is never more than the limit, and what each entry says of it is so. */
function verifyMoney(chain: readonly LedgerEntry[]): { readonly pending: number } {
  const reserved = new Map<string | null, number>();
  let posted = 0;
  let pending = 0;
  for (const entry of chain) {
    expect(["session", "decision", "commit"]).toContain(entry.kind);
    if (entry.kind === "decision" && entry.verdict === "allow") {
      reserved.set(entry.decision_id, micro(entry.estimate_usd ?? ""));
      pending += micro(entry.estimate_usd ?? "");
    }
    if (entry.kind === "commit") {
      pending -= reserved.get(entry.decision_id) ?? Number.NaN;
      posted += micro(entry.cost_usd);
    }
    expect(posted + pending).toBeLessThanOrEqual(LIMIT_MICRO_USD);
    for (const { scope, after } of entry.accounts) {
      if (scope === "session") expect([micro(after.posted_usd), micro(after.pending_usd)]).toEqual([posted, pending]);
    }
  }
  return { pending };
}

/** In no stretch of the window's length were more allowed than the limit says. */
function verifyRate(chain: readonly LedgerEntry[], { action, most, windowMs }: (typeof RATES)[number]): void {
  const allowed = chain.filter((entry) => entry.verdict === "allow" && entry.action === action);
  assertRate(
    allowed.map(({ timestamp }) => Date.parse(timestamp)),
    most,
    windowMs,
    action,
  );
}

type Marked = readonly [decision: string | null, mark: { readonly id: string; readonly seq: number; readonly hash: string } | undefined];
const sortedMarks = (marks: readonly Marked[]) => marks.map(([decision, mark]) => `${decision} ${mark?.id} ${mark?.seq} ${mark?.hash}`).sort();
const marksIn = (chain: readonly LedgerEntry[], kind: LedgerEntry["kind"]) =>
  sortedMarks(chain.filter((entry) => entry.kind === kind).map((entry) => [entry.decision_id, entry]));

async function exportOf({ url, operator }: Life): Promise<string> {
  const answer = await fetch(`${url}/v1/ledger/export`, { headers: { authorization: `Bearer ${operator}` } });
  expect(answer.status).toBe(200);
  return answer.text();
}

const newAsked = (session: string, action: string): Asked => ({
  session,
  body: { id: `dec_${randomUUID()}`, action, estimate_usd: PRICE[action] ?? "", ttl_ms: 3_600_000 },
  answer: null,
  commit: null,
});

const countOf = (names: readonly string[]) => Object.fromEntries([...Map.groupBy(names, (name) => name)].map(([name, all]) => [name, all.length]));
