import { idFromDigest } from "../../../src/core/ids.ts";
import { microUsdOf, ZERO_USD } from "../../../src/core/money.ts";
import { evaluatePolicy } from "../../../src/core/policy/evaluate.ts";
import { parsePolicy, readPolicy } from "../../../src/core/policy/parse.ts";
import { Play } from "../../../src/core/policy/play.ts";
import type { ActionRequest, CommitReport, Principal } from "../../../src/core/request.ts";
import { AROUND, NOT_ASKED } from "../../core/nothing.ts";
import { sha256 } from "../../core/sha256.ts";
import type { Group } from "../groups.ts";
import { aroundOf, askedOf, casbinMatcher, casbinRows, cedarEngine, compiled, ours, REF } from "../policy_engines.ts";
import { ACTION, conditionOf, requestsOf } from "../policy_rules.ts";
import { atLeast, atMost, type Ratio, type Table } from "../report.ts";
import { median, quantile } from "../rounds.ts";

/** One call that is timed: only `run` is; `after` makes ready for the next. */
interface Call {
  readonly name: string;
  /** At most so many calls in one round, for what is slow or grows with every call. */
  readonly most?: number;
  readonly run: (call: number) => void;
  readonly after?: () => void;
}

const TURNS = 10;
/** What is called at most so often in a turn has one turn of a round. */
const SLOW = 5;
const ENGINES = "100 rules, all named: ";
const KNOWN = "an action asked before: ";
const FRESH = "an action never asked: ";
const LOAD = "10,000 rules: ";
const WHOLE = "the whole judgement: ";

/**
 * The policy engine in this process: against Cedar WASM and casbin on the same rules and the same stream of requests, whose answers are compared first;
 * with 10,000 rules against ten; from text to the first answer; and with everything that a session does around it. Turns are shorter than other groups'
 * and a round takes a quarter of the time.
 */
export const policy: Group = {
  name: "policy",
  what: "the policy engine alone: against Cedar and casbin, 10,000 rules against ten, from text to the first answer",
  byDefault: true,
  async measure({ rounds, seconds }, say) {
    const cases = [...(await engines()), ...sizes(), ...loading(), ...judgements()];
    const found = new Map(cases.map(({ name }) => [name, { medians: [] as number[], p95s: [] as number[], calls: 0 }]));
    for (let round = 0; round <= rounds; round++) {
      // Turns are short, so that what is compared is measured within the same second; what is slow has one of them.
      for (let turn = 0; turn < TURNS; turn++) {
        for (const one of cases) {
          if (one.most !== undefined && one.most <= SLOW && turn > 0) continue;
          say(`round ${round} of ${rounds}: ${one.name}`);
          const times = time(one, (seconds * 1000) / 4 / TURNS);
          const kept = found.get(one.name);
          // Round 0 warms up: nothing of it counts.
          if (round === 0 || kept === undefined) continue;
          kept.medians.push(median(times));
          kept.p95s.push(quantile(times, 0.95));
          kept.calls += times.length;
        }
      }
    }
    const rows = Array.from(found, ([name, { medians, p95s, calls }]) => ({ name, figures: [median(medians), median(p95s), calls] }));
    return { tables: [{ title: "policy engine", columns: ["median µs", "p95 µs", "calls"], rows }], ratios: ratiosOf(rows), notes: [] };
  },
};

function ratiosOf(rows: Table["rows"]): readonly Ratio[] {
  const of = (name: string) => rows.find((row) => row.name === name)?.figures[0] ?? Number.NaN;
  const mine = `${ENGINES}ours`;
  const against = (other: string) => atLeast(1, `${other} / ours`, of(`${ENGINES}${other}`) / of(mine));
  const few = OTHERS[0].name;
  return [
    atMost(1, "100 rules, of 50 µs", of(mine) / 50),
    against("Cedar WASM, preparsed"),
    against("casbin, a row per rule"),
    against("casbin, one matcher"),
    ...[KNOWN, FRESH].flatMap((when) =>
      OTHERS.filter(({ count }) => count > 0).map(({ name }) => atMost(1.5, `${when}${name} / ${few}`, of(when + name) / of(when + few))),
    ),
    atMost(null, "the whole judgement: 100 rules / none", of(`${WHOLE}100 rules`) / of(`${WHOLE}no rules`)),
    atMost(
      null,
      "the whole judgement: 100 that count / none",
      of(`${WHOLE}100 that count, 10,000 past calls`) / of(`${WHOLE}no rules, 10,000 past calls`),
    ),
  ];
}

/** Calls it again and again for so long, and gives what each call took, in microseconds, the shortest first. */
function time({ run, after, most = Number.POSITIVE_INFINITY }: Call, ms: number): readonly number[] {
  const times: number[] = [];
  const until = performance.now() + ms;
  for (let call = 0; call < most; call++) {
    const start = performance.now();
    run(call);
    const end = performance.now();
    times.push((end - start) * 1000);
    after?.();
    if (end > until) break;
  }
  return times.sort((a, b) => a - b);
}

/** The same hundred rules and the same thousand requests, in every engine; refuses to measure engines that disagree. */
async function engines(): Promise<readonly Call[]> {
  const conditions = Array.from({ length: 100 }, (_, n) => conditionOf(n));
  const requests = requestsOf(1000);
  const asked = [
    ours(conditions, requests),
    cedarEngine(conditions, requests),
    await casbinRows(conditions, requests),
    await casbinMatcher(conditions, requests),
  ];
  for (let place = 0; place < requests.length; place++) {
    const answers = asked.map((engine) => engine.forbids(place));
    if (new Set(answers).size > 1) {
      throw new Error(`request ${place} is answered differently: ${asked.map(({ name }, n) => `${name} ${answers[n]}`).join(", ")}`);
    }
  }
  return asked.map(({ name, forbids }) => ({ name: ENGINES + name, run: (call) => void forbids(call) }));
}

/** What stands beside the ten rules that name the action. */
const OTHERS = [
  { name: "10 rules", count: 0, pattern: (n: number) => `other${n}` },
  { name: "10,000 rules of exact names", count: 9990, pattern: (n: number) => `other${n}` },
  { name: "10,000 globs, each its beginning", count: 9990, pattern: (n: number) => `svc${n}.*` },
  { name: "10,000 globs, each its end", count: 9990, pattern: (n: number) => `*.verb${n}` },
  { name: "10,000 globs of one beginning", count: 9990, pattern: (n: number) => `db.*.verb${n}` },
  { name: "10,000 globs, each its middle", count: 9990, pattern: (n: number) => `*.verb${n}.*` },
] as const;

/** Ten rules that name an action, alone and among thousands that do not. */
function sizes(): readonly Call[] {
  const request = requestsOf(1)[0];
  if (request === undefined) return [];
  const around = aroundOf(request);
  let fresh = 0;
  const asking = OTHERS.map(({ name, count, pattern }) => ({ name, policy: compiled(documentOf(count, pattern)) }));
  return [
    ...asking.map(({ name, policy }) => ({
      name: KNOWN + name,
      run: () => void evaluatePolicy(policy, REF, { ...askedOf(request), action: "db.read" }, around),
    })),
    ...asking.map(({ name, policy }) => ({
      name: FRESH + name,
      run: () => void evaluatePolicy(policy, REF, { ...askedOf(request), action: `db.table${fresh++}` }, around),
    })),
  ];
}

const documentOf = (others: number, pattern: (n: number) => string, when = (n: number) => conditionOf(n).ours) => ({
  rules: [
    ...Array.from({ length: 10 }, (_, n) => ({ effect: "forbid", actions: ["db.*"], when: when(n) })),
    ...Array.from({ length: others }, (_, n) => ({ effect: "forbid", actions: [pattern(n)], when: when(n) })),
  ],
});

/** From a policy's text to its first answer; and what the first decision under a new digest waits for, which has the stored document. */
function loading(): readonly Call[] {
  // Short conditions: an author's text has at most a megabyte.
  const document = documentOf(
    9990,
    (n) => `svc${n}.*`,
    (n) => `inputs.env == 'env${n}'`,
  );
  const json = JSON.stringify(document);
  const yaml = `rules:\n${document.rules.map((rule) => `  - ${JSON.stringify(rule)}\n`).join("")}`;
  const everywhere = { rules: document.rules.map((rule) => ({ ...rule, actions: ["*"] })) };
  const ask = (read: unknown) => void evaluatePolicy(compiled(read), REF, { ...NOT_ASKED, action: "db.read" }, AROUND);
  const parsed = (text: string, format: "yaml" | "json") => {
    const read = parsePolicy(text, format);
    if (!read.ok) throw new Error(JSON.stringify(read.error.slice(0, 3)));
    return read.value.document;
  };
  return [
    { name: `${LOAD}an author's YAML to its first answer`, most: 1, run: () => ask(parsed(yaml, "yaml")) },
    { name: `${LOAD}an author's JSON to its first answer`, most: 1, run: () => ask(parsed(json, "json")) },
    { name: `${LOAD}the stored document, read`, most: 5, run: () => void readPolicy(document) },
    { name: `${LOAD}the stored document to its first answer`, most: 5, run: () => ask(document) },
    { name: `${LOAD}the same, and all name the action`, most: 1, run: () => ask(everywhere) },
  ];
}

/** Decisions of a session played whole: every gate, the book, the entry with its hashes. */
function judgements(): readonly Call[] {
  const rules = (count: number) => Array.from({ length: count }, (_, n) => ({ effect: "forbid", actions: [ACTION], when: conditionOf(n).ours }));
  const history = (when: (n: number) => string) => Array.from({ length: 100 }, (_, n) => ({ forbid: ACTION, when: when(n) }));
  return [
    deciding(`${WHOLE}no rules`, { strict_mode: true }, 0),
    deciding(`${WHOLE}100 rules`, { rules: rules(100) }, 0),
    deciding(`${WHOLE}no rules, 10,000 past calls`, { strict_mode: true }, 10_000),
    deciding(`${WHOLE}100 that count, 10,000 past calls`, { history: history((n) => `count('read_customers', ${500 + n}) > ${20_000 + n}`) }, 10_000),
    deciding(
      `${WHOLE}1 that counts values, 10,000 past calls`,
      { history: history((n) => `distinct('read_customers', 'inputs.customer', ${500 + n}) > ${20_000 + n}`).slice(0, 1) },
      10_000,
    ),
    deciding(
      `${WHOLE}1 that sums, 10,000 past calls`,
      { history: history((n) => `sum('read_customers', 'cost_usd', ${500 + n}) > ${20_000 + n}`).slice(0, 1) },
      10_000,
    ),
  ];
}

const idOf = (text: string) => sha256(text).slice(0, 32);
const PRINCIPAL: Principal = { tokenId: idFromDigest("tok", idOf("token")), tenant: "bench", subject: "bot", kind: "agent" };
const DONE: CommitReport = { costMicroUsd: ZERO_USD, outcome: "success", durationMs: null, outputs: undefined, error: null, usage: null };
const MOST_DECIDED = 200;

/** A session with so many calls behind it, each a tenth of a second after the other, and one decision after the other on top. */
function deciding(name: string, document: unknown, past: number): Call {
  const requests = requestsOf(1000);
  const opened = 1_000_000_000_000;
  let now = opened;
  let made = 0;
  const play = new Play(
    compiled(document),
    REF,
    {
      tenant: "bench",
      session: idFromDigest("ses", idOf("session")),
      agent: "bot",
      openedAt: opened,
      expiresAt: opened + 86_400_000,
      budgetMicroUsd: null,
      run: idFromDigest("run", idOf("run")),
      principal: PRINCIPAL,
      attributesOf: () => ({ team: "team1", owner: "team1", tier: "gold" }),
    },
    sha256,
  );
  const next = (action: string): ActionRequest => {
    const { inputs, tags } = requests[made % requests.length] ?? { inputs: {}, tags: [] };
    return {
      ...NOT_ASKED,
      id: idFromDigest("dec", idOf(`${name} ${made++}`)),
      run: null,
      action,
      resource: { type: "service", id: "web" },
      inputs: { ...inputs, customer: `c${made % 100}` },
      tags,
      estimateMicroUsd: microUsdOf(1),
      rationale: null,
      confidence: null,
      sources: [],
      parents: [],
      model: null,
      approval: null,
      ttlMs: 60_000,
    };
  };
  const settle = ({ id }: ActionRequest) => {
    if (play.record(id).state === "pending") play.commit(id, DONE, now);
  };
  for (let call = 0; call < past; call++) {
    const request = next("read_customers");
    now += 100;
    play.decide(request, now);
    settle(request);
  }
  let request = next(ACTION);
  return {
    name,
    most: MOST_DECIDED,
    run: () => void play.decide(request, ++now),
    after: () => {
      settle(request);
      request = next(ACTION);
    },
  };
}
