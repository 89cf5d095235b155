import { stringify } from "yaml";
import type { Chance } from "./chance.ts";
import { NOWHERE } from "./gateway.ts";
import type { Surroundings } from "./generate.ts";
import type { Operation } from "./operations.ts";
import { policyTree, YAML_POLICIES } from "./policies.ts";
import { type Tree, textOf } from "./tree.ts";
import { fitting, type Known, type Schema } from "./values.ts";

/** Bodies that the document accepts, filled with what means something in the lane's tenant. */

export interface Content {
  readonly type: string;
  readonly text: string;
  /** `null`: the text is no JSON. */
  readonly tree: Tree | null;
}

export function bodyFor(operation: Operation, path: { readonly [name: string]: string }, chance: Chance, around: Surroundings): Content | null {
  if (operation.bodies.size === 0 || (!operation.isBodyNeeded && chance.isLucky(0.3))) return null;
  const type = chance.pick([...operation.bodies.keys()]);
  const schema = operation.bodies.get(type) ?? {};
  const find = (ref: string): Schema =>
    around.schemas[ref.slice("#/components/schemas/".length)] ?? around.policySchema.$defs?.[ref.slice("#/$defs/".length)] ?? {};
  const isPolicy = ["putPolicy", "validatePolicy"].includes(operation.id);
  if (isPolicy) {
    const tree = policyTree(chance, around);
    const text = textOf(tree);
    if (type === "application/json") return { type, text, tree };
    return { type, text: chance.isLucky(0.5) ? chance.pick(YAML_POLICIES) : stringify(JSON.parse(text)), tree: null };
  }
  const tree = fitting(schema, chance, knownFor(operation, path, chance, around), find);
  return { type, text: textOf(repaired(operation, tree, chance, around)), tree };
}

/** What means something in a place of a body, by the place's name. */
function knownFor(operation: Operation, path: { readonly [name: string]: string }, chance: Chance, { pools, tenant }: Surroundings): Known {
  return (at) => {
    const name = at.findLast((part) => !/^\d+$/.test(part)) ?? "";
    const isOfDecision = operation.id === "decide" || operation.id === "decideBatch";
    if (operation.id === "grantLease") {
      if (name === "actions") return chance.pick<unknown>([["search"], ["db.*"], ["a", "search"], ["search", "db.read"], ["*"]]);
      if (name === "amount_usd") return chance.pick(["0.5", "0.000001", 0.1, 2, "500000"]);
      if (name === "run") return path.session === undefined ? null : pools.pickOf("run", path.session, chance);
    }
    if (operation.id === "settleLease" && at.length === 3) {
      if (name === "id") return chance.isLucky(0.1) ? (pools.pick("decision", chance)?.[1] ?? null) : `dec_${chance.uuid()}`;
      if (name === "action") return chance.pick(["search", "search", "db.read", "a"]);
    }
    if (operation.id === "createTenant" && name === "id") return `t-${chance.hex(12)}`;
    // A session knows its own runs only; where none was seen yet, the member is given what the schema says, and refused for good reason.
    if (name === "run" && isOfDecision) return path.session === undefined ? null : pools.pickOf("run", path.session, chance);
    if (name === "parents") return at.at(-1) === "parents" ? null : (pools.pick("decision", chance)?.[1] ?? null);
    if (name === "id" && isOfDecision && at.length <= 3 && !at.includes("resource"))
      return chance.isLucky(0.1) ? (pools.pick("decision", chance)?.[1] ?? null) : `dec_${chance.uuid()}`;
    // What was last shown of it; another digest is refused.
    if (name === "action_digest" && path.approval !== undefined) return pools.lastOf("digest", path.approval);
    if (operation.id === "decideApprovals" && name === "id") return pools.pick("approval", chance)?.[0] ?? null;
    if (operation.id === "ingestEntries" && at.length === 3) {
      if (name === "id") return chance.isLucky(0.3) ? `line-${chance.below(50)}` : chance.uuid();
      if (name === "agent_id") return chance.pick(["bot", "bot-2", "日本語"]);
      if (name === "decision_id") return pools.pick("decision", chance)?.[1] ?? null;
    }
    if (operation.id === "createWebhook" && name === "url") return NOWHERE;
    if (operation.id === "resumeWebhook" && name === "from") return chance.pick(["0", "1", "17", "17.1"]);
    if (name === "approval") return pools.pick("approval", chance)?.[0] ?? null;
    if (name === "action" && isOfDecision)
      return chance.pick([
        "search",
        "db.read",
        "send_email",
        "send_email",
        "send_money",
        "send_money",
        "rated.x",
        "browser.open",
        "delete_database",
        "a",
      ]);
    if (name === "cost_usd") return chance.isLucky(0.97) ? chance.pick(["0", "0.043", "0.000001", 0.1, 2]) : null;
    if (name === "estimate_usd") return chance.isLucky(0.8) ? chance.pick(["0", "0.05", "0.000001", 0.1, 1, "2.5"]) : null;
    if (name === "agent") return chance.pick(["bot", "bot", "bot-2"]);
    if (name === "tenant") return tenant.id;
    if (name === "session") return pools.pick("session", chance)?.[0] ?? null;
    if (name === "policy" && operation.id === "simulatePolicy")
      return chance.pick<unknown>([{ budgets: { session: 2 } }, "denied_actions: [search]", { denied_actions: ["send_email"] }]);
    if (name === "replaces") return pools.pick("policy", chance)?.[0] ?? null;
    if (name === "cursor") return pools.pick(`cursor ${operation.id}`, chance)?.[0] ?? null;
    if (name === "version" && operation.id === "activatePolicy") return 1;
    // Now and then so few that the door turns requests away.
    if (name === "requests") return chance.isLucky(0.5) ? chance.between(1, 20) : chance.between(1000, 1_000_000);
    if (name === "default_policy") return pools.pick("policy", chance)?.[0] ?? null;
    if (name === "scopes") return at.length === 1 && operation.id === "issueToken" ? ["ledger:read", "decisions:write"] : null;
    if (operation.id === "issueToken" && name === "ttl_ms") return chance.pick([1000, 60_000, 86_400_000]);
    if (at.length > 1 && at[0] === "labels") return chance.pick(["support", "日本語", "", "a b", "x".repeat(256)]);
    if (operation.id === "putEntity" && at[0] === "properties" && at.length > 1)
      return chance.pick<unknown>(["support", 5, true, ["a", "b"], { deep: { er: [1] } }, "日本語"]);
    if (operation.id === "openSession" && name === "ttl_ms") return chance.isLucky(0.9) ? 3_600_000 : null;
    if (operation.id === "openSession" && name === "budget_usd") return chance.pick(["1", "100", 5]);
    if (name === "jwks") return { keys: [{ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", kid: "k", alg: "EdDSA" }] };
    // Nobody is asked over the network by a test: what is not this machine's own closed port is never used.
    if (name === "jwks_uri") return "http://127.0.0.1:9/jwks.json";
    if (name === "issuer" && operation.id === "putIssuer") return `https://id-${chance.below(1000)}.${tenant.id}.example`;
    if (operation.id === "intervene" && name === "target") {
      return chance.pick([
        { type: "run", id: pools.pick("run", chance)?.[1] ?? "none" },
        { type: "session", id: pools.pick("session", chance)?.[0] ?? "none" },
        { type: "action", id: chance.pick(["send_money", "x.*"]) },
        { type: "agent", id: chance.pick(["bot-2", "nobody", "bot"]) },
        { type: "tenant", id: tenant.id },
      ]);
    }
    if (operation.id === "intervene" && name === "kind") return chance.pick(["kill", "pause", "resume", "revive", "revive", "resume"]);
    return null;
  };
}

/** Takes away what fits the schema and contradicts itself all the same: the document says it in words. */
function repaired(operation: Operation, tree: Tree, chance: Chance, { tenant, pools }: Surroundings): Tree {
  if (!("members" in tree)) return tree;
  const has = (one: Tree, key: string): boolean => "members" in one && one.members.some(([name]) => name === `"${key}"`);
  const without = (one: Tree, key: string): Tree => ("members" in one ? { members: one.members.filter(([name]) => name !== `"${key}"`) } : one);
  if (operation.id === "decide") return has(tree, "inputs") ? without(tree, "inputs_digest") : tree;
  if (operation.id === "decideApproval") {
    return textAt(tree, "decision") === '"approve"' && textAt(tree, "edits") !== "{}" ? tree : without(tree, "edits");
  }
  if (operation.id === "decideApprovals") {
    // Each is answered as it was last shown.
    const shown = (one: Tree): Tree => {
      const digest = pools.lastOf("digest", textAt(one, "id").slice(1, -1));
      if (digest === null || !("members" in one)) return one;
      return {
        members: one.members.map(([name, value]): [string, Tree] => [name, name === '"action_digest"' ? { raw: JSON.stringify(digest) } : value]),
      };
    };
    return { members: tree.members.map(([name, one]): [string, Tree] => [name, "items" in one ? { items: one.items.map(shown) } : one]) };
  }
  if (operation.id === "decideBatch" || operation.id === "settleLease") {
    return {
      members: tree.members.map(([name, one]): [string, Tree] => [
        name,
        "items" in one ? { items: one.items.map((each) => (has(each, "inputs") ? without(each, "inputs_digest") : each)) } : one,
      ]),
    };
  }
  if (operation.id === "putIssuer") {
    if (has(tree, "jwks")) return without(tree, "jwks_uri");
    return has(tree, "jwks_uri") ? tree : { members: [...tree.members, ['"jwks_uri"', { raw: '"http://127.0.0.1:9/jwks.json"' }]] };
  }
  if (operation.id === "simulatePolicy") return without(without(tree, "to"), chance.isLucky(0.5) ? "cursor" : "from");
  if (operation.id === "issueToken" && !has(tree, "tenant")) return { members: [...tree.members, ['"tenant"', { raw: JSON.stringify(tenant.id) }]] };
  return tree;
}

/** The text of a member; empty where there is none. */
function textAt(tree: Tree, key: string): string {
  const found = "members" in tree ? tree.members.find(([name]) => name === `"${key}"`) : undefined;
  return found === undefined ? "" : textOf(found[1]);
}
