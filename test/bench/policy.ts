import { idFromDigest } from "../../src/core/ids.ts";
import { microUsdOf, ZERO_USD } from "../../src/core/money.ts";
import { evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import { parsePolicy, readPolicy } from "../../src/core/policy/parse.ts";
import { Play } from "../../src/core/policy/play.ts";
import type { ActionRequest, CommitReport, Principal } from "../../src/core/request.ts";
import { AROUND, NOT_ASKED } from "../core/nothing.ts";
import { sha256 } from "../core/sha256.ts";
import { aroundOf, askedOf, casbinMatcher, casbinRows, cedarEngine, compiled, ours, REF } from "./policy_engines.ts";
import { ACTION, conditionOf, requestsOf } from "./policy_rules.ts";

/** What the policy part of the bench found, in microseconds per call. */
export interface PolicyReport {
  readonly rows: readonly { readonly name: string; readonly median_us: number; readonly p95_us: number; readonly calls: number }[];
  readonly ratios: readonly { readonly name: string; readonly ratio: number; readonly wanted: string }[];
}

/** One thing that is measured: only `run` is timed; `after` makes ready for the next. */
interface Case {
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
 * Measures the policy engine in this process: against Cedar WASM and casbin on the same rules and the same stream of requests, whose answers are
 * compared first; with 10,000 rules against ten; from text to the first answer; and with everything that a session does around it.
 * The cases take turns, so that what else runs on the machine meets them all alike.
 */
export async function measurePolicy(rounds: number, seconds: number, say: (text: string) => void): Promise<PolicyReport> {
  const cases = [...(await engines()), ...sizes(), ...loading(), ...judgements()];
  const found = new Map(cases.map(({ name }) => [name, { medians: [] as number[], p95s: [] as number[], calls: 0 }]));
  for (let round = 0; round <= rounds; round++) {
    // Turns are short, so that what is compared is measured within the same second; what is slow has one of them.
    for (let turn = 0; turn < TURNS; turn++) {
      for (const one of cases) {
        if (one.most !== undefined && one.most <= SLOW && turn > 0) continue;
        say(`\rpolicy, round ${round} of ${rounds}: ${one.name.padEnd(64)}`);
        const times = time(one, (seconds * 1000) / 4 / TURNS);
        const kept = found.get(one.name);
        // Round 0 warms up: nothing of it counts.
        if (round === 0 || kept === undefined) continue;
        kept.medians.push(share(times, 0.5));
        kept.p95s.push(share(times, 0.95));
        kept.calls += times.length;
      }
    }
  }
  say(`\r${" ".repeat(90)}\r`);
  const rows = Array.from(found, ([name, { medians, p95s, calls }]) => ({ name, median_us: share(medians, 0.5), p95_us: share(p95s, 0.5), calls }));
  return { rows, ratios: ratiosOf(rows) };
}

export function printPolicy({ rows, ratios }: PolicyReport): void {
  console.log(`${"policy".padEnd(64)}  median µs     p95 µs    calls`);
  for (const { name, median_us, p95_us, calls } of rows) {
    console.log(`${name.padEnd(64)} ${median_us.toFixed(1).padStart(10)} ${p95_us.toFixed(1).padStart(10)} ${String(calls).padStart(8)}`);
  }
  console.log(`\n${"ratio".padEnd(64)}      found   wanted`);
  for (const { name, ratio, wanted } of ratios) console.log(`${name.padEnd(64)} ${ratio.toFixed(2).padStart(10)}   ${wanted}`);
}

function ratiosOf(rows: PolicyReport["rows"]): PolicyReport["ratios"] {
  const of = (name: string) => rows.find((row) => row.name === name)?.median_us ?? Number.NaN;
  const ratio = (name: string, a: string, b: string, wanted: string) => ({ name, ratio: of(a) / of(b), wanted });
  const mine = `${ENGINES}ours`;
  return [
    { name: "100 rules, of 50 µs", ratio: of(mine) / 50, wanted: "at most 1" },
    ratio("Cedar WASM / ours", `${ENGINES}Cedar WASM, preparsed`, mine, "above 1"),
    ratio("casbin, a row per rule / ours", `${ENGINES}casbin, a row per rule`, mine, "above 1"),
    ratio("casbin, one matcher / ours", `${ENGINES}casbin, one matcher`, mine, "above 1"),
    ...[KNOWN, FRESH].flatMap((when) =>
      OTHERS.filter(({ count }) => count > 0).map(({ name }) =>
        ratio(`${when}${name} / ${OTHERS[0].name}`, `${when}${name}`, `${when}${OTHERS[0].name}`, "at most 1.5"),
      ),
    ),
    ratio("the whole judgement: 100 rules / none", `${WHOLE}100 rules`, `${WHOLE}no rules`, ""),
    ratio("the whole judgement: 100 that count / none", `${WHOLE}100 that count, 10,000 past calls`, `${WHOLE}no rules, 10,000 past calls`, ""),
  ];
}

/** Calls it again and again for so long, and gives what each call took, in microseconds, the shortest first. */
function time({ run, after, most = Number.POSITIVE_INFINITY }: Case, ms: number): readonly number[] {
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

const share = (numbers: readonly number[], part: number): number =>
  [...numbers].sort((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * part))] ?? Number.NaN;

/** The same hundred rules and the same thousand requests, in every engine; refuses to measure engines that disagree. */
async function engines(): Promise<readonly Case[]> {
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
function sizes(): readonly Case[] {
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
function loading(): readonly Case[] {
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
function judgements(): readonly Case[] {
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
function deciding(name: string, document: unknown, past: number): Case {
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
