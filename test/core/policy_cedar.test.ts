import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { idFromDigest } from "../../src/core/ids.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import type { PolicyRef } from "../../src/core/policy/findings.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { Play } from "../../src/core/policy/play.ts";
import type { ActionRequest } from "../../src/core/request.ts";
import { NOT_ASKED } from "./nothing.ts";
import { sha256 } from "./sha256.ts";

/*
 * Ours against Cedar, an engine with proofs of its own: random policies and requests, within what both can say, have the same answers.
 *
 * How one is said in the other: a list or a rule that names actions by globs names those of a small alphabet one by one. A denied list is a
 * `forbid`, an allowed list a `permit`, and where there is no such list a `permit` without condition stands for every action that no permit rule
 * names. A rule that is only observed forbids nothing, and permits where no enforced one names the action (its no would be a warning).
 */

/** A condition in both languages, taken apart as far as its logic goes. */
type Condition =
  | { readonly op: "atom"; readonly ours: string; readonly cedar: string }
  | { readonly op: "!"; readonly of: Condition }
  | { readonly op: "&&" | "||"; readonly a: Condition; readonly b: Condition }
  | { readonly op: "?:"; readonly which: Condition; readonly a: Condition; readonly b: Condition };

interface Rule {
  readonly effect: "permit" | "forbid";
  readonly actions: readonly string[];
  readonly when: Condition | null;
  readonly mode: "enforce" | "warn" | "observe";
}

interface Policy {
  readonly denied: readonly string[];
  readonly allowed: readonly string[] | null;
  readonly rules: readonly Rule[];
}

type Scalar = string | number | boolean;
type Flat = { readonly [member: string]: Scalar | (string | number)[] };
type Members = { readonly [member: string]: Flat[string] | Flat };

interface Asked {
  readonly action: string;
  readonly subject: Members;
  readonly resource: Members;
  readonly inputs: Members | undefined;
  readonly tags: readonly string[];
  readonly micro: number;
}

// Some letters of the alphabet begin, end and contain others.
const ACTIONS = ["a", "b", "ab", "a.x", "a.y", "b.x", "ab.x", "a.b.x", "x", "b-a"] as const;
const PATTERNS = [...ACTIONS, "*", "a*", "a.*", "*.x", "*b*", "a*x", "*a*b*", "*.*.*", "b.*.x", "none", "none.*"];
const TEXTS = ["", "p", "prod", "prod-eu", "*", "a*b", 'a"b', "a\\b", "é🐱", "dev"];
const NUMBERS = [-20, 0, 1, 2, Number.MAX_SAFE_INTEGER];

const ROOTS = [
  { ours: "inputs", cedar: "context.inputs" },
  { ours: "subject", cedar: "principal" },
  { ours: "resource", cedar: "resource" },
] as const;
/** Members that every root may have, by what they hold where nothing is amiss. */
const MEMBERS = { text: ["env", "owner"], number: ["amount", "level"], flag: ["active", "open"], set: ["flags", "groups"] } as const;

interface Place {
  readonly ours: string;
  readonly cedar: string;
  /** Holds where there is such a place. */
  readonly guard: { readonly ours: string; readonly cedar: string };
}

const text = fc.constantFrom(...TEXTS);
const number = fc.constantFrom(...NUMBERS);
const someTexts = fc.array(text, { maxLength: 4 });

/** A place below one of the roots, some of them one mapping further down. */
const place = (kind: keyof typeof MEMBERS): fc.Arbitrary<Place> =>
  fc
    .record({ root: fc.constantFrom(...ROOTS), member: fc.constantFrom<string>(...MEMBERS[kind]), deep: fc.integer({ min: 0, max: 4 }) })
    .map(({ root, member, deep }) =>
      deep > 0
        ? {
            ours: `${root.ours}.${member}`,
            cedar: `${root.cedar}.${member}`,
            guard: { ours: `has(${root.ours}.${member})`, cedar: `${root.cedar} has ${member}` },
          }
        : {
            ours: `${root.ours}.deep.${member}`,
            cedar: `${root.cedar}.deep.${member}`,
            guard: {
              ours: `has(${root.ours}.deep) && has(${root.ours}.deep.${member})`,
              cedar: `${root.cedar} has deep && ${root.cedar}.deep has ${member}`,
            },
          },
    );

const literal = (value: string | number | boolean): string => JSON.stringify(value);
/** A text as a pattern of Cedar's `like`, in which only `*` is special. */
const like = (part: string): string => literal(part).slice(1, -1).replaceAll("*", "\\*");
const list = (values: readonly (string | number | boolean)[]): string => `[${values.map(literal).join(", ")}]`;

const scalar = fc.oneof(place("text"), place("number"), place("flag"));
const value = fc.oneof(text, number, fc.boolean());
const equality = fc.constantFrom("==", "!=");
const order = fc.constantFrom("<", "<=", ">", ">=");

interface Atom {
  readonly places: readonly Place[];
  readonly ours: string;
  readonly cedar: string;
}

const atom = (places: readonly Place[], ours: string, said: string = ours): Atom => ({ places, ours, cedar: said });

const compared = (some: fc.Arbitrary<Place>, values: fc.Arbitrary<Scalar>): fc.Arbitrary<Atom> =>
  fc.tuple(some, equality, values).map(([at, op, to]) => atom([at], `${at.ours} ${op} ${literal(to)}`, `${at.cedar} ${op} ${literal(to)}`));

/** The smallest conditions, whatever stands at their places. */
const anyAtom: fc.Arbitrary<Atom> = fc.oneof(
  compared(scalar, value),
  // Most things are compared with what they may be.
  compared(place("text"), text),
  compared(place("number"), number),
  fc.tuple(scalar, equality, scalar).map(([a, op, b]) => atom([a, b], `${a.ours} ${op} ${b.ours}`, `${a.cedar} ${op} ${b.cedar}`)),
  fc.tuple(place("number"), order, number).map(([at, op, to]) => atom([at], `${at.ours} ${op} ${to}`, `${at.cedar} ${op} ${to}`)),
  fc
    .tuple(place("number"), fc.integer({ min: 0, max: 9 }), order, number)
    .map(([at, less, op, to]) => atom([at], `${at.ours} - ${less} ${op} ${to}`, `${at.cedar} - ${less} ${op} ${to}`)),
  fc.tuple(place("text"), text).map(([at, part]) => atom([at], `${at.ours}.startsWith(${literal(part)})`, `${at.cedar} like "${like(part)}*"`)),
  fc.tuple(place("text"), text).map(([at, part]) => atom([at], `${at.ours}.endsWith(${literal(part)})`, `${at.cedar} like "*${like(part)}"`)),
  fc.tuple(place("text"), text).map(([at, part]) => atom([at], `${at.ours}.contains(${literal(part)})`, `${at.cedar} like "*${like(part)}*"`)),
  fc.tuple(place("set"), value).map(([at, item]) => atom([at], `${literal(item)} in ${at.ours}`, `${at.cedar}.contains(${literal(item)})`)),
  fc.tuple(scalar, fc.array(value, { maxLength: 4 })).map(([at, of]) => atom([at], `${at.ours} in ${list(of)}`, `${list(of)}.contains(${at.cedar})`)),
  place("flag").map((at) => atom([at], at.ours, at.cedar)),
  place("text").map(({ guard }) => atom([], `(${guard.ours})`, `(${guard.cedar})`)),
  fc.tuple(equality, fc.constantFrom(...ACTIONS)).map(([op, to]) => atom([], `action ${op} ${literal(to)}`, `action ${op} Action::${literal(to)}`)),
  text.map((tag) => atom([], `${literal(tag)} in tags`, `context.tags.contains(${literal(tag)})`)),
  fc
    .tuple(order, fc.integer({ min: 0, max: 9 }))
    .map(([op, micro]) => atom([], `estimate_usd ${op} ${micro / 1e6 === 0 ? "0.0" : `0.00000${micro}`}`, `context.micro ${op} ${micro}`)),
);

/** Two numbers against each other: only where they are numbers, for ours has an order of texts and Cedar none. */
const orderedAtom = fc
  .tuple(place("number"), order, place("number"))
  .map(([a, op, b]) => atom([a, b], `${a.ours} ${op} ${b.ours}`, `${a.cedar} ${op} ${b.cedar}`));

const guarded: fc.Arbitrary<Condition> = fc.oneof({ weight: 12, arbitrary: anyAtom }, { weight: 1, arbitrary: orderedAtom }).map((one) => {
  const guards = (which: "ours" | "cedar") => [...one.places.map(({ guard }) => guard[which]), one[which]].join(" && ");
  return { op: "atom", ours: guards("ours"), cedar: guards("cedar") };
});
const bare: fc.Arbitrary<Condition> = anyAtom.map(({ ours, cedar: said }) => ({ op: "atom", ours, cedar: said }));

const conditionOver = (atoms: fc.Arbitrary<Condition>): fc.Arbitrary<Condition> =>
  fc.letrec<{ condition: Condition }>((tie) => ({
    condition: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      atoms,
      fc.record({ op: fc.constantFrom("&&" as const, "||" as const), a: tie("condition"), b: tie("condition") }),
      fc.record({ op: fc.constant("!" as const), of: tie("condition") }),
      fc.record({ op: fc.constant("?:" as const), which: tie("condition"), a: tie("condition"), b: tie("condition") }),
    ),
  })).condition;

const written = (of: Condition, language: "ours" | "cedar"): string => {
  const part = (inner: Condition) => `(${written(inner, language)})`;
  switch (of.op) {
    case "atom":
      return of[language];
    case "!":
      return `!${part(of.of)}`;
    case "?:":
      return language === "ours" ? `${part(of.which)} ? ${part(of.a)} : ${part(of.b)}` : `if ${part(of.which)} then ${part(of.a)} else ${part(of.b)}`;
    case "&&":
    case "||":
      return `${part(of.a)} ${of.op} ${part(of.b)}`;
  }
};

const patterns = (minLength: number) => fc.array(fc.constantFrom(...PATTERNS), { minLength, maxLength: 3 });

const policyOver = (atoms: fc.Arbitrary<Condition>): fc.Arbitrary<Policy> =>
  fc.record({
    denied: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: patterns(0) }),
    allowed: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: patterns(0) }),
    rules: fc.array(
      fc.record({
        effect: fc.constantFrom("permit" as const, "forbid" as const),
        actions: patterns(1),
        when: fc.oneof({ weight: 9, arbitrary: conditionOver(atoms) }, { weight: 1, arbitrary: fc.constant(null) }),
        mode: fc.oneof(
          { weight: 6, arbitrary: fc.constant("enforce" as const) },
          { weight: 1, arbitrary: fc.constantFrom("warn" as const, "observe" as const) },
        ),
      }),
      { maxLength: 5 },
    ),
  });

/** Attributes: any may be missing. `amiss`: a member may hold what its name does not promise. */
const members = (amiss: boolean): fc.Arbitrary<Members> => {
  const kinds = { text, number, flag: fc.boolean(), set: fc.oneof(someTexts, fc.array(number, { maxLength: 3 })) };
  const of = (kind: keyof typeof MEMBERS): [string, fc.Arbitrary<Flat[string]>][] =>
    MEMBERS[kind].map((member) => {
      const good: fc.Arbitrary<Flat[string]> = kinds[kind];
      return [member, amiss ? fc.oneof({ weight: 4, arbitrary: good }, { weight: 1, arbitrary: value }) : good];
    });
  const flat = Object.fromEntries([...of("text"), ...of("number"), ...of("flag"), ...of("set")]);
  // What is missing is not there at all: fast-check leaves the key out.
  const some = fc.record(flat, { requiredKeys: [] }).map((partial) => partial as Flat);
  const deep: fc.Arbitrary<Members[string]> = amiss ? fc.oneof({ weight: 4, arbitrary: some }, { weight: 1, arbitrary: text }) : some;
  return fc.tuple(some, fc.option(deep)).map(([around, below]): Members => (below === null ? around : { ...around, deep: below }));
};

const asked = (amiss: boolean): fc.Arbitrary<Asked> =>
  fc.record({
    action: fc.constantFrom(...ACTIONS),
    subject: members(amiss),
    resource: members(amiss),
    inputs: fc.option(members(amiss), { nil: undefined, freq: 9 }),
    tags: someTexts,
    micro: fc.integer({ min: 0, max: 9 }),
  });

const REF: PolicyRef = { name: "p", version: 1, digest: `sha-256:${"0".repeat(64)}` };
const NOW = 1_700_000_000_000;
const RESOURCE = { type: "Thing", id: "it" };
const SESSION = {
  tenant: "t",
  session: idFromDigest("ses", sha256("session")),
  agent: "bot",
  openedAt: NOW,
  expiresAt: NOW + 3_600_000,
  budgetMicroUsd: null,
  run: idFromDigest("run", sha256("run")),
  principal: { tokenId: idFromDigest("tok", sha256("token")), tenant: "t", subject: "bot", kind: "agent" as const },
};
const DECISION = idFromDigest("dec", sha256("decision"));

/** Ours, asked whole: an author's text is parsed, compiled, evaluated and judged. `outcomes`: what every rule that forbids came to. */
function askOurs({ denied, allowed, rules }: Policy, questions: readonly Asked[]) {
  const source = JSON.stringify({
    version: 1,
    denied_actions: denied,
    ...(allowed === null ? {} : { allowed_actions: allowed }),
    rules: rules.map(({ effect, actions, when, mode }, n) => ({
      id: `r${n}`,
      effect,
      actions,
      mode,
      ...(when === null ? {} : { when: written(when, "ours") }),
    })),
  });
  const parsed = parsePolicy(source, "json");
  if (!parsed.ok) throw new Error(`${source}: ${JSON.stringify(parsed.error)}`);
  const policy = compilePolicy(parsed.value.document);
  return questions.map((question) => {
    const stage = {
      ...SESSION,
      attributesOf: ({ type }: { readonly type: string }) => (type === RESOURCE.type ? question.resource : question.subject),
    };
    const request: ActionRequest = {
      ...NOT_ASKED,
      id: DECISION,
      run: null,
      action: question.action,
      resource: RESOURCE,
      inputs: question.inputs,
      tags: question.tags,
      estimateMicroUsd: microUsdOf(question.micro),
      rationale: null,
      confidence: null,
      sources: [],
      parents: [],
      model: null,
      approval: null,
      ttlMs: 60_000,
    };
    const { decision, findings } = new Play(policy, REF, stage, sha256).decide(request, NOW);
    const outcomes = new Map(findings.rules.map(({ rule, said }) => [rule, said === "failed" ? null : said === "holds"]));
    return { verdict: decision.verdict, outcomes };
  });
}

/** What each pattern names in the alphabet: by the definition of a glob, in a regular expression. */
const NAMED = new Map(
  PATTERNS.map((pattern) => {
    const pieces = pattern.split("*").map((piece) => piece.replace(/[.-]/g, "\\$&"));
    const whole = new RegExp(`^${pieces.join(".*")}$`);
    return [pattern, ACTIONS.filter((action) => whole.test(action))];
  }),
);

const named = (some: readonly string[]): readonly string[] =>
  ACTIONS.filter((action) => some.some((pattern) => NAMED.get(pattern)?.includes(action)));

const inCedar = (effect: "permit" | "forbid", actions: readonly string[], when: Condition | null): string =>
  `${effect}(principal, action in [${actions.map((action) => `Action::"${action}"`).join(", ")}], resource)${when === null ? "" : ` when { ${written(when, "cedar")} }`};`;

/** A policy of ours as Cedar says it, rules by their ids. */
function translated({ denied, allowed, rules }: Policy): Record<string, string> {
  const permits = rules.filter(({ effect }) => effect === "permit");
  const enforced = permits.filter(({ mode }) => mode === "enforce");
  const ruled = named(enforced.flatMap(({ actions }) => actions));
  const listed = allowed === null ? ACTIONS.filter((action) => !ruled.includes(action)) : named(allowed);
  const policies: Record<string, string> = { denied: inCedar("forbid", named(denied), null), allowed: inCedar("permit", listed, null) };
  for (const [n, { effect, actions, when, mode }] of rules.entries()) {
    if (mode !== "enforce" || (effect === "permit" && allowed !== null)) continue;
    policies[`r${n}`] = inCedar(effect, named(actions), when);
  }
  return policies;
}

/** Asks Cedar. `errors`: the policies that it could not evaluate, and passed over. */
function askCedar(policies: Record<string, string>, questions: readonly Asked[]) {
  const parsed = cedar.preparsePolicySet("p", { staticPolicies: policies });
  if (parsed.type === "failure") throw new Error(`${JSON.stringify(policies)}: ${JSON.stringify(parsed.errors)}`);
  const principal = { type: "Agent", id: "bot" };
  return questions.map(({ action, subject, resource, inputs, tags, micro }) => {
    const answer = cedar.statefulIsAuthorized({
      principal,
      action: { type: "Action", id: action },
      resource: RESOURCE,
      context: { inputs: inputs ?? {}, tags: [...tags], micro },
      preparsedPolicySetId: "p",
      entities: [
        { uid: principal, attrs: subject, parents: [] },
        { uid: RESOURCE, attrs: resource, parents: [] },
      ],
    });
    if (answer.type === "failure") throw new Error(JSON.stringify(answer.errors));
    const { decision, diagnostics } = answer.response;
    return { verdict: decision, held: new Set(diagnostics.reason), errors: new Set(diagnostics.errors.map(({ policyId }) => policyId)) };
  });
}

const questionsOf = (amiss: boolean) => fc.array(asked(amiss), { minLength: 2, maxLength: 3 });

test("what asks before it looks has the same answers under Cedar, for thousands of policies and requests", { timeout: 60_000 }, () => {
  const seen = { allow: 0, deny: 0, hold: 0 };
  fc.assert(
    fc.property(policyOver(guarded), questionsOf(false), (policy, questions) => {
      const ours = askOurs(policy, questions);
      const theirs = askCedar(translated(policy), questions);
      for (const [n, { verdict }] of ours.entries()) {
        expect(verdict, JSON.stringify(questions[n])).toBe(theirs[n]?.verdict);
        seen[verdict]++;
      }
      expect(theirs.flatMap(({ errors }) => [...errors])).toEqual([]);
    }),
    { numRuns: 2500 },
  );
  // Requests that are all denied, or all allowed, would prove little.
  expect(Math.min(seen.allow, seen.deny) / (seen.allow + seen.deny)).toBeGreaterThan(0.2);
  expect(seen.hold).toBe(0);
});

type Outcome = boolean | null;

/** The one difference within conditions: in Cedar the left side comes first, in CEL a side that decides is enough, whichever it is. */
const LOGIC = {
  cedar: (decides: boolean, a: Outcome, b: Outcome): Outcome => (a === null ? null : a === decides ? decides : b),
  ours: (decides: boolean, a: Outcome, b: Outcome): Outcome => (a === decides || b === decides ? decides : a === null ? null : b),
};

/** What a condition comes to by what its atoms came to; `null`: it could not be evaluated. */
function outcomeOf(of: Condition, logic: (typeof LOGIC)["cedar"], atoms: ReadonlyMap<Condition, Outcome>): Outcome {
  const part = (inner: Condition) => outcomeOf(inner, logic, atoms);
  switch (of.op) {
    case "atom":
      return atoms.get(of) ?? null;
    case "!": {
      const inner = part(of.of);
      return inner === null ? null : !inner;
    }
    case "?:": {
      const which = part(of.which);
      return which === null ? null : part(which ? of.a : of.b);
    }
    case "&&":
    case "||":
      return logic(of.op === "||", part(of.a), part(of.b));
  }
}

function atomsOf(of: Condition): readonly Condition[] {
  if (of.op === "atom") return [of];
  if (of.op === "!") return atomsOf(of.of);
  return [...(of.op === "?:" ? atomsOf(of.which) : []), ...atomsOf(of.a), ...atomsOf(of.b)];
}

test("where evaluating fails, ours differs from Cedar in two ways and no more: a forbid that fails forbids, and a side that decides is enough", {
  timeout: 60_000,
}, () => {
  const seen = { same: 0, stricter: 0, absorbed: 0, failed: 0 };
  fc.assert(
    fc.property(policyOver(bare), questionsOf(true), (policy, questions) => {
      const ours = askOurs(policy, questions);
      const theirs = askCedar(translated(policy), questions);
      // Every atom by itself, and every condition whole, as permits: Cedar says of each whether it held or failed.
      const conditions = policy.rules.flatMap(({ when }) => (when === null ? [] : [when]));
      const all = [...new Set(conditions.flatMap((when) => [when, ...atomsOf(when)]))];
      const alone = askCedar(Object.fromEntries(all.map((one, n) => [`c${n}`, inCedar("permit", ACTIONS, one)])), questions);
      for (const [n, question] of questions.entries()) {
        const outcomes = new Map(
          all.map((one, m): [Condition, Outcome] => [one, alone[n]?.errors.has(`c${m}`) ? null : (alone[n]?.held.has(`c${m}`) ?? null)]),
        );
        const come = (when: Condition | null, logic: (typeof LOGIC)["cedar"]) => (when === null ? true : outcomeOf(when, logic, outcomes));
        for (const when of conditions) expect(outcomeOf(when, LOGIC.cedar, outcomes), written(when, "cedar")).toBe(outcomes.get(when));
        for (const [m, { effect, actions, when }] of policy.rules.entries()) {
          if (effect !== "forbid" || !named(actions).includes(question.action)) continue;
          const outcome = come(when, LOGIC.ours);
          expect(ours[n]?.outcomes.get(`r${m}`) ?? (ours[n]?.outcomes.has(`r${m}`) ? null : false), JSON.stringify(when)).toBe(outcome);
          if (outcome === null) seen.failed++;
          else if (come(when, LOGIC.cedar) === null) seen.absorbed++;
        }
        const predicted = {
          ours: verdictOf(policy, question.action, (when) => come(when, LOGIC.ours), true),
          cedar: verdictOf(policy, question.action, (when) => come(when, LOGIC.cedar), false),
        };
        expect([ours[n]?.verdict, theirs[n]?.verdict], JSON.stringify(question)).toEqual([predicted.ours, predicted.cedar]);
        if (predicted.ours === predicted.cedar) seen.same++;
        else if (predicted.ours === "deny") seen.stricter++;
      }
    }),
    { numRuns: 600 },
  );
  expect(Math.min(...Object.values(seen)), JSON.stringify(seen)).toBeGreaterThan(0);
});

/** What a policy comes to by what its conditions come to. */
function verdictOf({ denied, allowed, rules }: Policy, action: string, come: (when: Condition | null) => Outcome, failureForbids: boolean) {
  const naming = rules.filter(({ actions, mode }) => mode === "enforce" && named(actions).includes(action));
  const forbidden = naming.some(({ effect, when }) => effect === "forbid" && (come(when) === true || (failureForbids && come(when) === null)));
  const permits = naming.filter(({ effect }) => effect === "permit");
  const permitted = allowed === null ? permits.length === 0 || permits.some(({ when }) => come(when) === true) : named(allowed).includes(action);
  return forbidden || named(denied).includes(action) || !permitted ? "deny" : "allow";
}
