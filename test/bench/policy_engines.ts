import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import { newEnforcer, newModelFromString } from "casbin";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import { type Circumstances, evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import type { PolicyRef } from "../../src/core/policy/findings.ts";
import { readPolicy } from "../../src/core/policy/parse.ts";
import { AROUND, NOT_ASKED } from "../core/nothing.ts";
import { ACTION, type Condition, type Request } from "./policy_rules.ts";

/** An engine that holds the rules and has every request in its own form already: `forbids` is the asking alone. */
export interface Engine {
  readonly name: string;
  forbids(place: number): boolean;
}

export const REF: PolicyRef = { name: "bench", version: 1, digest: `sha-256:${"0".repeat(64)}` };

/** A policy of ours from its document. */
export function compiled(document: unknown) {
  const read = readPolicy(document);
  if (!read.ok) throw new Error(JSON.stringify(read.error.slice(0, 3)));
  return compilePolicy(read.value);
}

export function ours(conditions: readonly Condition[], requests: readonly Request[]): Engine {
  const policy = compiled({ rules: conditions.map((condition) => ({ effect: "forbid", actions: [ACTION], when: condition.ours })) });
  const questions = requests.map((request) => ({ asked: askedOf(request), around: aroundOf(request) }));
  return {
    name: "ours",
    forbids: (place) => {
      const { asked, around } = at(questions, place);
      return evaluatePolicy(policy, REF, asked, around).rules.length > 0;
    },
  };
}

export const askedOf = ({ inputs, tags, estimateMicroUsd }: Request) => ({ ...NOT_ASKED, action: ACTION, inputs, tags, estimateMicroUsd });
export const aroundOf = ({ team, resource }: Request): Circumstances => ({ ...AROUND, subject: { id: "bot", type: "agent", team }, resource });

/** Cedar as its own package offers it at its fastest: the policies parsed once and kept inside, and only the two entities that are asked about. */
export function cedarEngine(conditions: readonly Condition[], requests: readonly Request[]): Engine {
  const action = { type: "Action", id: ACTION };
  const text = [
    "permit(principal, action, resource);",
    ...conditions.map((condition) => `forbid(principal, action == Action::"${ACTION}", resource) when { ${condition.cedar} };`),
  ].join("\n");
  const parsed = cedar.preparsePolicySet("bench", { staticPolicies: text });
  if (parsed.type === "failure") throw new Error(JSON.stringify(parsed.errors));
  const principal = { type: "Agent", id: "bot" };
  const resource = { type: "Resource", id: "it" };
  const calls = requests.map((request) => ({
    principal,
    action,
    resource,
    context: { inputs: request.inputs, tags: [...request.tags], estimate_micro_usd: request.estimateMicroUsd },
    preparsedPolicySetId: "bench",
    entities: [
      { uid: principal, attrs: { team: request.team }, parents: [] },
      { uid: resource, attrs: request.resource, parents: [] },
    ],
  }));
  return {
    name: "Cedar WASM, preparsed",
    forbids: (place) => {
      const answer = cedar.statefulIsAuthorized(at(calls, place));
      if (answer.type === "failure") throw new Error(JSON.stringify(answer.errors));
      if (answer.response.diagnostics.errors.length > 0) throw new Error(JSON.stringify(answer.response.diagnostics.errors));
      return answer.response.decision === "deny";
    },
  };
}

const CASBIN_REQUEST = "[request_definition]\nr = subject, resource, act, inputs, tags, estimate\n";
const CASBIN_DENIES = "[policy_effect]\ne = !some(where (p.eft == deny))\n";

/** casbin as its documentation has it for conditions: a row per rule, its condition within `eval`. The first row that denies ends it. */
export async function casbinRows(conditions: readonly Condition[], requests: readonly Request[]): Promise<Engine> {
  const enforcer = await newEnforcer(
    newModelFromString(`${CASBIN_REQUEST}[policy_definition]\np = act, when, eft\n${CASBIN_DENIES}[matchers]\nm = r.act == p.act && eval(p.when)\n`),
  );
  await enforcer.addPolicies(conditions.map(({ casbin }) => [ACTION, casbin, "deny"]));
  return casbin("casbin, a row per rule", enforcer, requests);
}

/** casbin at its fastest: all rules written into the one matcher, which it compiles once. Nothing names the rule that denied. */
export async function casbinMatcher(conditions: readonly Condition[], requests: readonly Request[]): Promise<Engine> {
  const anyOf = conditions.map(({ casbin }) => `(${casbin})`).join(" || ");
  const enforcer = await newEnforcer(
    newModelFromString(
      `${CASBIN_REQUEST}[policy_definition]\np = act\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = !(r.act == '${ACTION}' && (${anyOf}))\n`,
    ),
  );
  return casbin("casbin, one matcher", enforcer, requests);
}

function casbin(name: string, enforcer: Awaited<ReturnType<typeof newEnforcer>>, requests: readonly Request[]): Engine {
  const calls = requests.map(({ team, resource, inputs, tags, estimateMicroUsd }) => [{ team }, resource, ACTION, inputs, tags, estimateMicroUsd]);
  return { name, forbids: (place) => !enforcer.enforceSync(...at(calls, place)) };
}

function at<T>(items: readonly T[], place: number): T {
  const item = items[place % items.length];
  if (item === undefined) throw new Error("an engine is asked one of its requests");
  return item;
}
