import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { stringify } from "yaml";
import { idFromDigest } from "../../../src/core/ids.ts";
import { canonicalJson, type JsonValue } from "../../../src/core/json.ts";
import { parseUsd, ZERO_USD } from "../../../src/core/money.ts";
import { compilePolicy } from "../../../src/core/policy/compile.ts";
import { compileExpression } from "../../../src/core/policy/expressions.ts";
import { type Past, type Prior, type Scene, workBudget } from "../../../src/core/policy/findings.ts";
import { parsePolicy, readPolicy } from "../../../src/core/policy/parse.ts";
import { Play } from "../../../src/core/policy/play.ts";
import { policyJsonSchema } from "../../../src/core/policy/schema.ts";
import type { ActionRequest } from "../../../src/core/request.ts";
import type { Chance } from "./chance.ts";
import { type Look, main, type Seen } from "./loop.ts";
import { spoiltBody, spoiltText } from "./mutate.ts";
import { policyKnown } from "./policies.ts";
import { textOf } from "./tree.ts";
import { anyJson, anyText, fitting, type Schema } from "./values.ts";

/**
 * A stranger's text is parsed, and what is accepted is enforced: neither may throw, or take long, whatever it says. Conditions are texts of a language
 * of their own, and get their own inputs.
 */

/**
 * The stated bounds, in time of the processor, for other work on the machine is no fault of the parser: for a text of up to 64 KiB, and of up to 1 MiB,
 * which is the most there may be. They are a few times what was measured, so that what breaks them has no bound.
 */
const MOST_MS = 1_500;
const MOST_MS_OF_THE_LARGEST = 10_000;
/** One evaluation takes at most a million steps, "some tens of milliseconds"; a decision asks a few conditions, which share one budget. */
const MOST_MS_OF_A_DECISION = 1_000;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const ROOT = path.resolve(import.meta.dirname, "../../..");
/** Policies that people wrote. */
const WRITTEN: readonly string[] = ["src/local", "sdk/examples"].flatMap((folder) =>
  readdirSync(path.join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => /polic[^/]*\.ya?ml$/.test(name) && !name.includes("node_modules"))
    .map((name) => readFileSync(path.join(ROOT, folder, name), "utf8")),
);
const EVERYTHING = `
version: 1
name: everything
budgets: { session: 5, run: 1, actions: { search: 0.50, "db.*": 0.10 }, agent: { hour: 10 }, tenant: 500, on_expiry: release, default_price: deny, alerts: [0.5] }
denied_actions: [delete_database, "fs.rm*"]
allowed_actions: ["*"]
rate_limits: { send_email: [{ max_count: 10, window_seconds: 60 }, { max_count: 20, window_seconds: 3600, per: run }] }
concurrency: { "browser.*": 3 }
loops: { threshold: 5, window_seconds: 10, ignore: ["inputs.cursor"] }
retries: { threshold: 8, window_seconds: 60 }
requires: { refund: { after: [lookup], within_seconds: 600, same: ["inputs.order_id"], where: "prior.outputs.cabin == 'business'" } }
history: [{ id: exfil, forbid: "post_*", when: "count('read_customers', 3600) > 0" }]
approvals: { actions: [send_money], tags: [production], risk_levels: [high], threshold_usd: 1.00, timeout_seconds: 3600 }
rules:
  - { id: own, effect: permit, actions: ["order.*"], when: "resource.owner == subject.id" }
  - { id: no-prod, effect: forbid, actions: ["*"], when: "inputs.env == 'prod'", mode: observe }
  - { id: big, effect: hold, actions: ["*"], when: "estimate_usd > 0.5" }
arguments: { send_email: { required: [to], properties: { to: { type: string, pattern: ".+@corp" } } } }
redact: { store_inputs: full, keys: [password], detect: [email, credit_card, private_key] }
compliance: { system: bot }
wind_down: { actions: [save_state], budget: 0.05 }
`;
// Our own schema has the shape that the generator reads.
const schema = policyJsonSchema() as Schema;
const find = (ref: string): Schema => schema.$defs?.[ref.slice("#/$defs/".length)] ?? {};

function textFor(chance: Chance): { readonly text: string; readonly format: "yaml" | "json" } {
  const kind = chance.below(10);
  if (kind === 0) return { text: bomb(chance), format: "yaml" };
  if (kind <= 3) {
    const written = chance.pick([EVERYTHING, EVERYTHING, ...WRITTEN]);
    return { text: chance.isLucky(0.1) ? written : spoiltText(written, chance).toString("utf8"), format: "yaml" };
  }
  const tree = fitting(schema, chance, withConditions(chance), find);
  if (kind <= 5) return { text: stringify(JSON.parse(textOf(tree))), format: "yaml" };
  const format = chance.pick(["yaml", "json"] as const);
  if (kind === 6) return { text: textOf(tree), format };
  return { text: spoiltBody(tree, chance).toString("utf8"), format };
}

const withConditions =
  (chance: Chance) =>
  (at: readonly string[]): unknown => {
    const name = at.at(-1);
    if ((name === "when" || name === "where") && chance.isLucky(0.7)) return conditionFor(chance);
    return policyKnown(chance)(at);
  };

/** Texts that are small and mean much, or are much and mean nothing. */
function bomb(chance: Chance): string {
  const size = chance.pick([10, 100, 1_000, 30_000, 200_000]);
  const some = Math.min(size, 1_000);
  return chance.pick([
    () =>
      `a: &a [x, x, x, x]\n${Array.from({ length: 30 }, (_, index) => `a${index}: &a${index} [${`*a${index === 0 ? "" : index - 1}, `.repeat(9)}]`).join("\n")}\n`,
    () => `budgets: &b { session: 1 }\nrules: [${"*b, ".repeat(some)}]\n`,
    () => `a: &a\n  b: *a\n`,
    () => `${"[".repeat(size)}${"]".repeat(size)}`,
    () => `${"{a: ".repeat(some)}1${"}".repeat(some)}`,
    () => `${"- ".repeat(size)}a`,
    () => Array.from({ length: some }, (_, index) => `${" ".repeat(Math.min(index, 200))}k${index}:`).join("\n"),
    () => `denied_actions: [${"a, ".repeat(size)}a]`,
    () => `denied_actions:\n${"  - a\n".repeat(size)}`,
    () => Array.from({ length: size }, (_, index) => `k${index}: 1`).join("\n"),
    () => `budgets: { actions: { ${Array.from({ length: some * 5 }, (_, index) => `a${index}: 1`).join(", ")} } }`,
    () => `name: "${"\\u0041".repeat(size)}"`,
    () => `name: ${"a ".repeat(size)}`,
    () => `name: |\n${"  line\n".repeat(size)}`,
    () => `name: >\n${"  line\n\n".repeat(size)}`,
    () => `? ${"? ".repeat(some)}a`,
    () => `${"'".repeat(size)}`,
    () => `${'"a" '.repeat(size)}`,
    () => `${"!".repeat(size)} x`,
    () => `${"&a ".repeat(some)} x`,
    () => `${"---\n".repeat(size)}`,
    () => `#${"#".repeat(size)}\nbudgets: { session: 1 }`,
    () => `${" ".repeat(size)}budgets: { session: 1 }`,
    () => `budgets: { session: ${"9".repeat(size)} }`,
    () => `budgets: { session: 1e${"9".repeat(some)} }`,
    () => `budgets: { session: 0.${"0".repeat(size)}1 }`,
    () => `rules: [{ id: a, effect: forbid, actions: ["${"*".repeat(128)}"], when: "${"(".repeat(some)}true${")".repeat(some)}" }]`,
    () => `rules: [${'{ id: a, effect: forbid, actions: ["*"], when: "true" }, '.repeat(some)}]`,
    () =>
      `rules: [${Array.from({ length: some * 5 }, (_, index) => `{ id: r${index}, effect: forbid, actions: ["a*"], when: "estimate_usd > ${index}.0" }`).join(", ")}]`,
    () => `arguments: { a: ${"{ properties: { a: ".repeat(Math.min(some, 100))}{ type: string }${" } }".repeat(Math.min(some, 100))} }`,
    () =>
      `arguments: { a: { properties: { a: { type: string, pattern: "${chance.pick(["(a+)+$", "(a|a)*b", "a{1000}{1000}", "(?=a)", "[", "\\\\p{L}{500}", "(.*)*".repeat(some)])}" } } } }`,
    () => "\u0000".repeat(size),
    () => "\ufeff".repeat(some),
    () => "\ud800".repeat(size),
    () => `${"\t".repeat(size)}a: 1`,
    () => `${"a".repeat(size)}: 1`,
    () => `<<: [${"{ a: 1 }, ".repeat(some)}]`,
  ])();
}

const ATOMS = [
  "true",
  "false",
  "null",
  "1",
  "1.5",
  "0",
  "-1",
  "9223372036854775807",
  "1u",
  "'a'",
  '"é"',
  "b'x'",
  "[]",
  "{}",
  "inputs",
  "inputs.a",
  "inputs.a.b",
  "inputs['a']",
  "tags",
  "subject",
  "subject.id",
  "resource",
  "resource.owner",
  "estimate_usd",
  "action",
  "context",
  "now",
  "prior.outputs.x",
  "count('a', 60)",
  "sum('a', 60)",
  "distinct('a', 'inputs.x', 60)",
  "x",
  "risk_level",
  "__proto__",
  "constructor",
  "timestamp('2026-01-01T00:00:00Z')",
  "duration('1s')",
];
const JOINTS = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in", "?", ":", ".", ",", "=", "&"];
const WRAPS: readonly ((inner: string) => string)[] = [
  (inner) => `(${inner})`,
  (inner) => `!${inner}`,
  (inner) => `-${inner}`,
  (inner) => `size(${inner})`,
  (inner) => `string(${inner})`,
  (inner) => `int(${inner})`,
  (inner) => `double(${inner})`,
  (inner) => `has(${inner})`,
  (inner) => `${inner}.matches('(a+)+$')`,
  (inner) => `${inner}.contains('a')`,
  (inner) => `${inner}.startsWith(${inner})`,
  (inner) => `[${inner}, ${inner}]`,
  (inner) => `{'k': ${inner}}`,
  (inner) => `${inner}.all(x, x == ${inner})`,
  (inner) => `${inner}.exists(x, x > 1)`,
  (inner) => `${inner}.map(x, x + x)`,
  (inner) => `${inner}.filter(y, true)`,
  (inner) => `${inner}[0]`,
  (inner) => `${inner} ? ${inner} : 1`,
  (inner) => `type(${inner})`,
];

/** Conditions that compile, to begin with: most of what chance alone makes does not. */
const SOUND = [
  "inputs.env == 'prod'",
  "estimate_usd > 0.5",
  "tags.exists(t, t == 'email')",
  "resource.owner == subject.id",
  "inputs.l.size() > 2 && inputs.l.all(x, x < 7)",
  "inputs.a.matches('^[a-z]+$')",
  "inputs.cmd.contains('rm')",
  "has(inputs.a) ? inputs.a == 'x' : false",
  "now > timestamp('2026-01-01T00:00:00Z')",
  "inputs.l.map(x, x * 2).filter(y, y > 3).size() > 0",
  "count('search', 60) > 1",
  "sum('search', 'cost_usd', 60) > 1.0",
  "distinct('search', 'inputs.to', 60) > 1",
  "action.startsWith('db.')",
  "subject.groups.exists(g, g in ['a', 'z'])",
];

function conditionFor(chance: Chance): string {
  let text: string = chance.isLucky(0.5) ? chance.pick(SOUND) : chance.pick(ATOMS);
  if (chance.isLucky(0.4)) return chance.isLucky(0.5) ? text : `${text} ${chance.pick(["&&", "||"])} ${chance.pick(SOUND)}`;
  for (let left = chance.below(8); left > 0 && text.length < 3_000; left--) {
    text = chance.isLucky(0.5) ? `${text} ${chance.pick(JOINTS)} ${chance.pick(ATOMS)}` : chance.pick(WRAPS)(text);
  }
  if (chance.isLucky(0.3)) text = `${text} == ${chance.pick(ATOMS)}`;
  if (chance.isLucky(0.1)) return spoiltText(text, chance).toString("utf8");
  if (chance.isLucky(0.02))
    return chance.pick([
      "(".repeat(2000),
      "!".repeat(3000),
      "a.".repeat(1000),
      "[".repeat(300),
      "1+".repeat(1500),
      `'${"a".repeat(4000)}'`,
      "tags.all(a, tags.all(b, tags.all(c, a == b && b == c)))",
      "inputs.l.map(a, inputs.l.map(b, inputs.l.map(c, a + b + c))).size() > 0",
    ]);
  return text;
}

const STAGE = {
  tenant: "t",
  session: idFromDigest("ses", sha256("s")),
  agent: "bot",
  run: idFromDigest("run", sha256("r")),
  openedAt: Date.UTC(2026, 10, 22),
  expiresAt: Date.UTC(2026, 11, 22),
  labels: {},
  budgetMicroUsd: null,
  principal: { tokenId: idFromDigest("tok", sha256("t")), tenant: "t", subject: "bot", kind: "agent" as const },
};
const REF = { name: "p", version: 1, digest: `sha-256:${"a".repeat(64)}` } as const;

const listOf = (size: number): JsonValue => Array.from({ length: size }, (_, index) => index % 7);

/** What a body can carry, as the HTTP room parses it; the types are those of JSON. */
const anyInputs = (chance: Chance): JsonValue | undefined =>
  chance.isLucky(0.2)
    ? undefined
    : chance.isLucky(0.2)
      ? { l: listOf(chance.pick([3, 100, 3_000])), a: anyText(chance), env: "prod", cmd: "rm -rf" }
      : (JSON.parse(JSON.stringify(anyJson(chance, 4))) as JsonValue);

function requestFor(chance: Chance, turn: number): ActionRequest {
  const amount = parseUsd(chance.pick(["0", "0.05", "1", "9007199254.740991"]));
  return {
    id: idFromDigest("dec", sha256(`d${turn}`)),
    run: null,
    action: chance.pick(["search", "db.read", "send_email", "order.a", "send_money", "a", "fs.rm", "refund"]),
    resource: chance.isLucky(0.5) ? { type: "order", id: anyText(chance) } : null,
    estimateMicroUsd: amount.ok ? amount.value : ZERO_USD,
    price: null,
    tags: Array.from({ length: chance.below(4) }, () => anyText(chance)),
    riskLevel: chance.pick([null, "low", "critical"]),
    inputs: anyInputs(chance),
    inputsDigest: null,
    rationale: null,
    confidence: null,
    sources: [],
    parents: [],
    model: null,
    approval: null,
    ttlMs: 1000,
  };
}

const processorMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Whether something takes longer than it may, twice more: once may be the compiler's or the collector's time. */
const isSlow = (work: () => unknown, mostMs: number): boolean => {
  for (let times = 0; times < 2; times++) {
    const startedAt = processorMs();
    work();
    if (processorMs() - startedAt <= mostMs) return false;
  }
  return true;
};

export const lookAtPolicy: Look = (chance) => {
  const { text, format } = textFor(chance);
  const startedAt = processorMs();
  const parsed = parsePolicy(text, format);
  const tookMs = processorMs() - startedAt;
  const most = text.length > 65_536 ? MOST_MS_OF_THE_LARGEST : MOST_MS;
  const odd = (fault: string): Seen => ({ fault, input: `${format}, ${text.length} characters: ${JSON.stringify(text.slice(0, 2000))}` });
  if (tookMs > most && isSlow(() => parsePolicy(text, format), most)) return odd(`parsing takes more than ${most} ms`);
  if (!parsed.ok) {
    const { error } = parsed;
    if (error.length === 0 || error.length > 100) return odd(`refused with ${error.length} mistakes`);
    for (const { pointer, message } of error) {
      if (!/^(\/([^~/]|~[01])*)*$/su.test(pointer)) return odd(`a pointer that is none: ${JSON.stringify(pointer.slice(0, 200))}`);
      if (message === "") return odd("a mistake without a word");
    }
    return { outcome: "refused" };
  }
  // What was accepted is stored, read again by whatever code runs then, compiled, and asked.
  const { document } = parsed.value;
  const stored: unknown = JSON.parse(canonicalJson(document));
  const read = readPolicy(stored);
  if (!read.ok) return odd(`accepted, and not read again: ${JSON.stringify(read.error.slice(0, 2))}`);
  if (canonicalJson(read.value) !== canonicalJson(document)) return odd("accepted, and read again as something else");
  const play = new Play(compilePolicy(read.value), REF, STAGE, sha256);
  for (let turn = 0; turn < 4; turn++) {
    const request = requestFor(chance, turn);
    const asked = processorMs();
    const { decision } = play.decide(request, STAGE.openedAt + turn * 1000);
    const decidedMs = processorMs() - asked;
    if (!["allow", "deny", "hold"].includes(decision.verdict)) return odd("a decision without a verdict");
    if (decidedMs > MOST_MS_OF_A_DECISION && isSlow(() => play.judge(request, STAGE.openedAt + turn * 1000), MOST_MS_OF_A_DECISION)) {
      return odd(`deciding takes more than ${MOST_MS_OF_A_DECISION} ms: ${JSON.stringify(request).slice(0, 500)}`);
    }
  }
  return { outcome: "accepted, and decided under" };
};

/** A history in which everything was seen before, so that a condition over it has something to say. */
const priorOf = (chance: Chance): Prior => ({
  action: "lookup",
  inputs: anyInputs(chance) ?? {},
  outputs: anyInputs(chance) ?? {},
  knows: () => chance.isLucky(0.9),
  outcome: chance.pick(["pending", "success", "error", "released", "expired"]),
  ageMs: chance.below(100_000),
});
const pastOf = (chance: Chance): Past => ({
  count: () => chance.below(3),
  distinct: () => chance.pick([null, 0, 2]),
  sum: () => chance.pick([null, 0, 0.3, 1e9]),
  last: () => (chance.isLucky(0.5) ? priorOf(chance) : null),
});

export const lookAtCondition: Look = (chance) => {
  const text = conditionFor(chance);
  const kind = chance.pick(["rule", "where"] as const);
  const odd = (fault: string): Seen => ({ fault, input: `${kind}: ${JSON.stringify(text.slice(0, 2000))}` });
  const startedAt = processorMs();
  const compiled = compileExpression(text, kind);
  if (processorMs() - startedAt > MOST_MS && isSlow(() => compileExpression(text, kind), MOST_MS))
    return odd(`compiling takes more than ${MOST_MS} ms`);
  if (!compiled.ok) {
    const { message } = compiled.error;
    return message === "" || /undefined|\[object/.test(message)
      ? odd(`refused in words that say nothing: ${message}`)
      : { outcome: `${kind}: refused` };
  }
  const request = requestFor(chance, 0);
  const scene: Scene = {
    subject: { id: "bot", level: 3, groups: ["a", "b"] },
    action: request.action,
    resource: { ...request.resource, owner: "bot" },
    inputs: request.inputs,
    tags: request.tags,
    estimateMicroUsd: request.estimateMicroUsd,
    context: { tenant: "t" },
    now: STAGE.openedAt,
  };
  const [past, prior] = [pastOf(chance), kind === "where" ? priorOf(chance) : null];
  const ask = (): boolean | null => compiled.value.evaluate(scene, past, prior, workBudget());
  const asked = processorMs();
  const said = ask();
  if (processorMs() - asked > MOST_MS_OF_A_DECISION && isSlow(ask, MOST_MS_OF_A_DECISION))
    return odd(`evaluating takes more than ${MOST_MS_OF_A_DECISION} ms`);
  return said === true || said === false || said === null ? { outcome: `${kind}: ${said}` } : odd(`said ${String(said)}`);
};

/** Policies and conditions by turns. */
export const look: Look = (chance) => (chance.isLucky(0.5) ? lookAtPolicy(chance) : lookAtCondition(chance));

if (import.meta.main) await main("policy parser", look, 20_000);
