import { Chance } from "./chance.ts";
import { type Failure, shrink } from "./failure.ts";
import { type Gateway, openTenant, type Tenant } from "./gateway.ts";
import { type Asked, requestFor, type Surroundings } from "./generate.ts";
import type { Fault, Judge } from "./judge.ts";
import type { Operation } from "./operations.ts";
import { learn, type PoolName, Pools } from "./pools.ts";
import { enormousCase, RAW_CASES, runRaw } from "./raw.ts";
import type { Schema } from "./values.ts";
import { Connection, isAnswer, type Outcome } from "./wire.ts";

/** What all lanes share: what is served, what is documented, and what was found so far. */
export interface Fuzz {
  readonly gateway: Gateway;
  readonly operations: readonly Operation[];
  readonly schemas: { readonly [name: string]: Schema };
  readonly policySchema: Schema;
  readonly judge: Judge;
  readonly seed: number;
  readonly found: Found;
}

export interface Found {
  requests: number;
  readonly statuses: Map<number | string, number>;
  /** By operation: all requests, those that were valid, and good answers to them. */
  readonly operations: Map<string, { asked: number; valid: number; good: number; ms: number }>;
  /** Valid requests that were refused, by operation, status and code: what the document does not say, or what a state forbids. */
  readonly refusedThoughValid: Map<string, number>;
  readonly unavailable: Map<string, number>;
  readonly faults: Map<string, { readonly fault: Fault; count: number; readonly failure: Failure | null; readonly names: (text: string) => string }>;
  readonly raw: Map<string, number>;
  slowestMs: number;
}

export const nothingFound = (): Found => ({
  requests: 0,
  statuses: new Map(),
  operations: new Map(),
  refusedThoughValid: new Map(),
  unavailable: new Map(),
  faults: new Map(),
  raw: new Map(),
  slowestMs: 0,
});

/** Nothing but a long poll or a change that waits for sessions takes seconds; whatever takes longer than this hangs. */
export const PATIENCE_MS = 15_000;
/** A tenant is fuzzed for so long; then what was closed, killed and throttled in it stands in the way more than it tells. */
const TURNS_OF_A_TENANT = 1_200;
/** A tenant that was told to throttle its tokens to next to nothing has no more to tell. */
const MOST_TURNED_AWAY = 5;
const VALID = 0.4;
const RAW = 0.012;
const ENORMOUS = 0.003;

/** One tenant after another, one request after another, each of them a matter of the seed and the lane's number alone. */
export async function runLane(fuzz: Fuzz, lane: number, turns: number): Promise<void> {
  const chance = new Chance(fuzz.seed * 1_000_003 + lane);
  const connection = new Connection(fuzz.gateway.url);
  let world: Surroundings | null = null;
  let turnedAway = 0;
  for (let turn = 0; turn < turns; turn++) {
    if (world === null || turn % TURNS_OF_A_TENANT === 0 || turnedAway > MOST_TURNED_AWAY) {
      world = await openWorld(fuzz);
      turnedAway = 0;
    }
    const own = chance.fork();
    if (own.isLucky(RAW)) await rawTurn(fuzz, world, own, lane, turn);
    else if (await turnOf(fuzz, world, own, connection, lane, turn)) turnedAway++;
  }
  connection.close();
}

export async function openWorld({ gateway, operations, schemas, policySchema, judge }: Fuzz): Promise<Surroundings> {
  const tenant = await openTenant(gateway);
  judge.keepApart(Object.values(tenant.foreign), tenant.tokens.stranger);
  const pools = new Pools();
  pools.add("policy", "base");
  pools.add("version", "base", "1");
  return { operations, schemas, policySchema, tenant, rootKey: gateway.rootKey, pools };
}

/** Whether the request was turned away because there were too many. */
async function turnOf(fuzz: Fuzz, world: Surroundings, chance: Chance, connection: Connection, lane: number, turn: number): Promise<boolean> {
  const isValid = chance.isLucky(VALID);
  const asked = requestFor(operationFor(fuzz, world, chance), isValid, chance, world);
  const outcome = await connection.ask(asked.sent, PATIENCE_MS);
  const faults = fuzz.judge.of(asked.sent, outcome);
  count(fuzz.found, asked, outcome);
  if (isAnswer(outcome) && outcome.status < 300) remember(world, asked, outcome);
  for (const fault of faults) await tell(fuzz, world, asked, outcome, fault, connection, lane, turn);
  return isAnswer(outcome) && outcome.status === 429;
}

/** What makes something comes more often than what looks at it, or there would be nothing to look at. */
const OFTEN: { readonly [operation: string]: number } = {
  openSession: 4,
  decide: 8,
  decideBatch: 2,
  commitDecision: 3,
  releaseDecision: 2,
  extendDecision: 2,
  topupDecision: 2,
  grantLease: 3,
  settleLease: 3,
  issueToken: 2,
  putPolicy: 2,
  putEntity: 2,
  putIssuer: 2,
  readApproval: 4,
  decideApproval: 3,
};
/** These end what others need, or say the same every time. */
const SELDOM = new Set([
  "closeSession",
  "cancelApproval",
  "deleteWebhook",
  "deletePolicy",
  "createTenant",
  "readOpenApi",
  "readKeySet",
  "readPolicySchema",
  "readHealth",
  "readProtectedResource",
  "streamEvents",
  "openEventSocket",
  "simulatePolicy",
  "intervene",
]);

/** What stands in a path, which operation makes it, and where it is kept; the method that makes it needs it not. */
const NEEDS: readonly (readonly [part: string, maker: string, pool: PoolName, but: string | null])[] = [
  ["{decision}", "decide", "pending", null],
  ["{lease}", "grantLease", "lease", null],
  ["{session}", "openSession", "session", null],
  ["{approval}", "decide", "approval", null],
  ["{delivery}", "listDeliveries", "delivery", null],
  ["{webhook}", "createWebhook", "webhook", null],
  ["{entry}", "listEntries", "entry", null],
  ["{token}", "issueToken", "token", null],
  ["/issuers/{name}", "putIssuer", "issuer", "PUT"],
  ["/entities/{type}", "putEntity", "entity", "PUT"],
  ["/policies/{name}", "putPolicy", "policy", "PUT"],
];

function operationFor({ operations }: Fuzz, { pools }: Surroundings, chance: Chance): Operation {
  for (;;) {
    const operation = chance.pick(operations);
    // First what makes it, then what looks at it.
    const [, maker, pool] = NEEDS.find(([part, , , but]) => operation.path.includes(part) && operation.method !== but) ?? [];
    if (pool !== undefined && pools.last(pool) === null && chance.isLucky(0.95)) {
      const makes = operations.find(({ id }) => id === maker);
      const needs = NEEDS.find(([part]) => makes?.path.includes(part))?.[2];
      if (makes === undefined || (needs !== undefined && needs !== pool && pools.last(needs) === null)) continue;
      return makes;
    }
    if (SELDOM.has(operation.id) && !chance.isLucky(0.35)) continue;
    if (chance.isLucky((OFTEN[operation.id] ?? 1) / 8)) return operation;
  }
}

function count(found: Found, { operation, isValid }: Asked, outcome: Outcome): void {
  found.requests++;
  found.slowestMs = Math.max(found.slowestMs, outcome.tookMs);
  const status = isAnswer(outcome) ? outcome.status : outcome.fault;
  add(found.statuses, status);
  const of = found.operations.get(operation.id) ?? { asked: 0, valid: 0, good: 0, ms: 0 };
  found.operations.set(operation.id, of);
  of.asked++;
  of.ms += outcome.tookMs;
  if (isValid) of.valid++;
  if (!isAnswer(outcome)) return;
  if (isValid && outcome.status < 400) of.good++;
  if (outcome.status < 400) return;
  const { code, detail } = problemOf(outcome.body);
  if (isValid)
    add(
      found.refusedThoughValid,
      `${operation.id} ${outcome.status} ${code}${outcome.status === 422 || outcome.status === 400 ? `: ${detail.slice(0, 120)}` : ""}`,
    );
  if (outcome.status === 503) add(found.unavailable, `${operation.id} ${code}: ${detail}`);
}

const add = <K>(map: Map<K, number>, key: K): void => {
  map.set(key, (map.get(key) ?? 0) + 1);
};

function problemOf(body: Buffer): { readonly code: string; readonly detail: string } {
  try {
    const { code, detail } = JSON.parse(body.toString("utf8"));
    return { code: String(code), detail: String(detail) };
  } catch {
    return { code: "", detail: "" };
  }
}

function remember({ pools, tenant }: Surroundings, { operation, path }: Asked, outcome: Outcome): void {
  if (!isAnswer(outcome)) return;
  let body: unknown = null;
  try {
    body = JSON.parse(outcome.body.toString("utf8"));
  } catch {
    // An answer without JSON may still have an ETag.
  }
  learn(pools, operation, path, body, outcome.headers.get("etag"), tenant.tokenIds);
}

async function tell(
  fuzz: Fuzz,
  world: Surroundings,
  asked: Asked,
  outcome: Outcome,
  fault: Fault,
  connection: Connection,
  lane: number,
  turn: number,
): Promise<void> {
  const key = `${fault.kind} ${fault.where}`;
  const known = fuzz.found.faults.get(key);
  if (known !== undefined) {
    known.count++;
    return;
  }
  // Noted before it is shrunk, so that another lane that finds the same meanwhile only counts it.
  const noted = { fault, count: 1, failure: null, names: namesOf(world) };
  fuzz.found.faults.set(key, noted);
  const smallest = await shrink(asked.sent, outcome, fault, fuzz.judge, connection, PATIENCE_MS);
  fuzz.found.faults.set(key, {
    ...noted,
    count: fuzz.found.faults.get(key)?.count ?? 1,
    failure: { fault, seed: fuzz.seed, lane, turn, ...smallest },
  });
}

/** Puts names in the place of what is another at every run: tokens, and ids that the gateway made. */
function namesOf({ tenant, rootKey, pools }: { readonly tenant: Tenant; readonly rootKey: string; readonly pools: Pools }): (text: string) => string {
  const tokens = Object.entries(tenant.tokens).map(([name, token]) => [token, `{{token ${name}}}`] as const);
  const ids = pools.names().flatMap(([text, name]) => (/^(ses|run|dec|ent|tok|apr|whk|dlv|lse)_/.test(text) ? [[text, `{{${name}}}`] as const] : []));
  const all = [...tokens, [rootKey, "{{root key}}"] as const, ...ids, [tenant.id, "{{tenant}}"] as const];
  return (text) => all.reduce((shorter, [from, to]) => shorter.replaceAll(from, to), text);
}

async function rawTurn(fuzz: Fuzz, world: Surroundings, chance: Chance, lane: number, turn: number): Promise<void> {
  const one = chance.isLucky(ENORMOUS / RAW) ? enormousCase(chance) : chance.pick(RAW_CASES);
  const session = world.pools.last("session")?.[0] ?? "none";
  const { fault, answers, sent } = await runRaw(one, { host: fuzz.gateway.url.host, tenant: world.tenant, session }, PATIENCE_MS);
  fuzz.found.requests++;
  add(fuzz.found.statuses, answers[0]?.status ?? "raw, no answer");
  add(fuzz.found.raw, `${one.name} → ${answers.length === 0 ? "no answer" : answers.map(({ status }) => status).join(" ")}`);
  // A session that is closed, or that there is not yet, is no fault of a raw case.
  if (fault === null || /answered \[4(0[1349]|29)/.test(fault)) return;
  const key = `raw ${one.name}`;
  const known = fuzz.found.faults.get(key);
  if (known !== undefined) {
    known.count++;
    return;
  }
  const names = namesOf(world);
  fuzz.found.faults.set(key, {
    fault: { kind: "no answer", where: `raw: ${one.name}, lane ${lane}, turn ${turn}`, what: `${fault}\n${names(sent).slice(0, 800)}` },
    count: 1,
    failure: null,
    names,
  });
}
