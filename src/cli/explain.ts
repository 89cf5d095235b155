import type { Decision } from "../core/decision.ts";
import { formatUsd, type MicroUsd, parseUsd } from "../core/money.ts";
import type { PolicyDocument } from "../core/policy/document.ts";
import type { Explanation, GateExplained, GateName, Looked, RequirementExplained, RuleExplained } from "../core/policy/explain.ts";
import { indexOf } from "../core/policy/patterns.ts";
import type { Issue } from "../core/refusals.ts";
import { ACTION_NAME } from "../core/request.ts";
import type { Result } from "../core/result.ts";
import { parseInstant } from "../core/time.ts";
import { didYouMean } from "../http/issues.ts";
import { type AskedWire, type Earlier, readEntities, readHistory, readRequest } from "./case_format.ts";
import { type Command, type CommandLine, Usage } from "./command_line.ts";
import { issueText, readSource, type Source } from "./files.ts";
import { type Policy, readPolicyFile } from "./policy_file.ts";
import { instants } from "./run_case.ts";
import { Session, ttlOf } from "./session.ts";
import { pad, plain, shown, type Terminal, wrapped } from "./terminal.ts";

export const options = {
  history: { type: "string" },
  entities: { type: "string" },
  agent: { type: "string" },
  now: { type: "string" },
  budget: { type: "string" },
} as const satisfies Command["options"];

export const help = `Usage: agentsentinel policy explain FILE REQUEST [--history FILE] [--entities FILE] [--agent ID] [--now TIME] [--budget USD] [--json]

Why a request comes out as it does under a policy: every gate in the order in which it is asked, every rule that names the action, what each looked at,
and what was not asked any more because the answer was clear. An action that the policy does not name is said to be none, with the nearest that it does.

  FILE             the policy
  REQUEST          a decision request as POST /v1/sessions/{session}/decisions takes it: a file (.json, .yaml, .yml), - for standard input,
                   or the text itself: '{"action": "send_email", "inputs": {"to": "a@b.c"}}'; or only an action's name
  --history FILE   what happened before in the session: history: [...], as in a case file (policy test --help)
  --entities FILE  stored attributes: entities: {type: {id: {...}}}, as in a case file
  --agent ID       whose session it is (agent)
  --now TIME       when it is asked, as RFC 3339 (now)
  --budget USD     the session's own cap
  --json           {"decision", "named", "gates", "rules", "requirements"}; named: whether the policy names the action, or a glob of it does

Exit code: 0 when it could be explained, whatever the verdict; 1 when a file has mistakes; 2 for a mistake in the command.`;

/** `policy explain`: whether there is an explanation. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  const [file, request, ...others] = line.positionals;
  if (file === undefined || request === undefined || others.length > 0)
    throw new Usage("policy explain wants a policy FILE and a REQUEST", "explain");
  if ([file, request, line.text("history"), line.text("entities")].filter((name) => name === "-").length > 1)
    throw new Usage("standard input (-) can be read once", "explain");
  const now = instantOf(line.text("now"));
  const budget = line.text("budget");
  const policy = readPolicyFile(readSource(file, directory), terminal);
  const asked = good(requestSource(request, directory), readRequest, terminal);
  const history = optional(line.text("history"), directory, readHistory, terminal, []);
  const entities = optional(line.text("entities"), directory, readEntities, terminal, {});
  if (policy === null || asked === null || history === null || entities === null) return false;
  const timed = instants(history, now);
  const openedAt = timed[0]?.at ?? now;
  if (openedAt < 0) throw new Usage(`--now is so early that ${now < 0 ? "it" : "the history"} begins before 1970, when time begins here`, "explain");
  const session = new Session(policy, {
    agent: line.text("agent") ?? "agent",
    openedAt,
    budgetMicroUsd: budget === undefined ? null : amountOf(budget),
    entities,
    defaults: {},
  });
  if (!lived(session, timed, terminal)) return false;
  const { decision, explanation } = session.ask(asked, now);
  terminal.out(
    line.has("json") ? `${JSON.stringify(inJson(policy, decision, explanation))}\n` : inWords(policy, asked, decision, explanation, terminal),
  );
  return true;
}

function instantOf(text: string | undefined): number {
  if (text === undefined) return Date.now();
  const at = parseInstant(text);
  if (at === null) throw new Usage(`--now is an RFC 3339 date-time like 2026-01-01T12:00:00Z, found ${JSON.stringify(text)}`, "explain");
  return at;
}

function amountOf(text: string): MicroUsd {
  const amount = parseUsd(text);
  if (!amount.ok) throw new Usage(`--budget: ${amount.error.message}`, "explain");
  return amount.value;
}

/** A text that begins like a mapping is the request itself, and a bare name asks for that action and nothing else. */
function requestSource(request: string, directory: string): Source {
  if (/^\s*\{/.test(request)) return { name: "REQUEST", text: request, format: "yaml" };
  if (request.includes("\n")) return { name: "REQUEST", text: request, format: "yaml" };
  if (request !== "-" && !/\.(?:json|ya?ml)$/i.test(request) && ACTION_NAME.test(request)) {
    return { name: "REQUEST", text: JSON.stringify({ action: request }), format: "json" };
  }
  return readSource(request, directory);
}

/** What a file says, or every mistake in it told. */
function good<T>(source: Source, read: (source: Source) => Result<T, readonly Issue[]>, terminal: Terminal): T | null {
  const found = read(source);
  if (found.ok) return found.value;
  for (const issue of found.error) terminal.err(issueText(source, issue, "mistake", terminal));
  return null;
}

const optional = <T>(
  name: string | undefined,
  directory: string,
  read: (source: Source) => Result<T, readonly Issue[]>,
  terminal: Terminal,
  without: T,
): T | null => (name === undefined ? without : good(readSource(name, directory), read, terminal));

/** Plays the history. What the policy denies did not happen, and is told rather than passed over. */
function lived(session: Session, history: readonly { readonly call: Earlier; readonly at: number }[], terminal: Terminal): boolean {
  for (const [place, { call, at }] of history.entries()) {
    const decision = call.given === true ? session.give(call, at, ttlOf(call)) : session.ask(call, at, ttlOf(call)).decision;
    const expected = call.expect?.verdict ?? "allow";
    const wrong =
      decision.verdict !== expected
        ? `the policy says ${decision.verdict} (${decision.reason.code}): ${decision.reason.message}`
        : decision.verdict === "allow"
          ? (session.become(decision, call, at)?.detail ?? null)
          : null;
    if (wrong === null) continue;
    terminal.err(
      `history ${place + 1} (${call.action}) did not happen as it says: ${plain(wrong)}\nSay given: true of what happened all the same.\n`,
    );
    return false;
  }
  return true;
}

function inJson(policy: Policy, decision: Decision, { gates, rules, requirements }: Explanation): object {
  const reasonOf = ({ code, message, rule, retryAfterMs, hint }: Decision["reason"]) => ({ code, message, rule, retry_after_ms: retryAfterMs, hint });
  return {
    decision: {
      action: decision.action,
      verdict: decision.verdict,
      stops: decision.stops,
      reason: reasonOf(decision.reason),
      warnings: decision.warnings.map(reasonOf),
      advice: decision.advice,
      reserved_usd: decision.reservation === null ? null : formatUsd(decision.reservation.amountMicroUsd),
      policy: decision.policy,
    },
    named: notNamed(policy.document, decision.action) === null,
    gates: gates.map(({ gate, outcome, said, facts }) => ({
      gate,
      outcome,
      said: said.map(({ reason, mode, counts }) => ({ ...reasonOf(reason), mode, counts })),
      facts,
    })),
    rules,
    requirements: requirements.map(({ withinMs, ...rest }) => ({ ...rest, within_seconds: withinMs === null ? null : withinMs / 1000 })),
  };
}

const GATES: { readonly [gate in GateName]: string } = {
  session: "session and run are open",
  lists: "denied and allowed actions",
  permits: "rules that permit",
  forbids: "rules that forbid",
  inputs: "inputs that rules need",
  arguments: "argument schemas",
  requirements: "prerequisites",
  history: "rules over the history",
  repetition: "loops and retries",
  use: "concurrency and rates",
  price: "the price is known",
  budgets: "budgets",
  approval: "approval",
};

function inWords(policy: Policy, { action }: AskedWire, decision: Decision, explanation: Explanation, terminal: Terminal): string {
  const { paint, columns } = terminal;
  const { gates, rules, requirements } = explanation;
  const colour = { allow: paint.green, deny: paint.red, hold: paint.yellow }[decision.verdict];
  const lines = [`${paint.bold(action)} under ${paint.bold(policy.ref.name)} ${paint.dim(policy.ref.digest.slice(0, 16))}`, ""];
  const strange = notNamed(policy.document, action);
  if (strange !== null) lines.push(paint.yellow(wrapped(plain(strange), Math.min(columns, 140), "")), "");
  const wide = Math.max(...Object.values(GATES).map((name) => name.length));
  for (const gate of gates) {
    lines.push(gateLine(gate, wide, terminal));
    for (const { rule, says } of gate.facts) lines.push(`      ${paint.dim(`${plain(rule)}: ${plain(says)}`)}`);
    for (const rule of rules) if (gateOf(rule) === gate.gate) lines.push(...ruleLines(rule, terminal));
    if (gate.gate === "requirements") for (const requirement of requirements) lines.push(...requirementLines(requirement, terminal));
    for (const { reason, counts } of gate.said) {
      const text = `${plain(reason.message)}${counts ? "" : gate.gate === "budgets" ? " (paid from the reserve, or only observed)" : " (only observed)"}`;
      lines.push(`      ${(counts ? paint.red : paint.yellow)(wrapped(text, Math.min(columns, 140), "      "))}`);
    }
  }
  const { reason } = decision;
  lines.push(
    "",
    `${colour(paint.bold(decision.verdict.toUpperCase()))} ${reason.code}${reason.rule === null ? "" : ` by ${plain(reason.rule)}`}: ${plain(reason.message)}`,
  );
  if (reason.hint !== null) lines.push(paint.dim(plain(reason.hint)));
  if (decision.stops !== null && decision.stops !== "action") lines.push(`It stops the ${decision.stops}.`);
  for (const warning of decision.warnings) lines.push(`${paint.yellow("warning")} ${warning.code}: ${plain(warning.message)}`);
  for (const advice of decision.advice) lines.push(`${paint.yellow("advice")} ${advice.code}: ${plain(advice.message)}`);
  return `${lines.join("\n")}\n`;
}

/** So many names are listed where none is near. */
const MOST_NAMES = 20;

/** That the policy says nothing of an action by its name, in words, with the names that it does have; `null` where it does. */
export function notNamed(document: PolicyDocument, action: string): string | null {
  const patterns = patternsOf(document);
  if (indexOf(patterns).naming(action).length > 0) return null;
  const near = didYouMean(action, patterns);
  const hint = near.startsWith("; did") || patterns.length <= MOST_NAMES ? near : "";
  return `The policy names no action ${JSON.stringify(action)}, and no glob in it meets it${hint}${hint.endsWith("?") ? "" : "."} What follows is what it says of any action.`;
}

/** Every action name and glob that a policy has something to say of. */
function patternsOf(document: PolicyDocument): readonly string[] {
  const { denied_actions, allowed_actions, also_allowed_actions, rules, history, requires, budgets, approvals, wind_down } = document;
  const lists = [denied_actions, allowed_actions, ...(also_allowed_actions ?? []), approvals?.actions, wind_down?.actions];
  const keyed = [document.arguments, requires, document.concurrency, document.rate_limits, budgets?.actions];
  const after = Object.values(requires ?? {}).flatMap((all) => all.flatMap((one) => one.after));
  const named = [...(rules ?? []).flatMap(({ actions }) => actions), ...(history ?? []).flatMap(({ forbid }) => forbid), ...after];
  return [...new Set([...lists.flatMap((list) => list ?? []), ...keyed.flatMap((record) => Object.keys(record ?? {})), ...named])];
}

function gateLine({ gate, outcome }: GateExplained, wide: number, { paint }: Terminal): string {
  const name = pad(GATES[gate], wide);
  switch (outcome) {
    case "passed":
      return `  ${paint.green("✓")} ${name.trimEnd()}`;
    case "denied":
      return `  ${paint.red("✗")} ${paint.bold(name)}  ${paint.red("says no")}`;
    case "held":
      return `  ${paint.yellow("‖")} ${paint.bold(name)}  ${paint.yellow("holds it for a person")}`;
    case "not_asked":
      return paint.dim(`  · ${name}  not asked: the answer was clear`);
  }
}

const gateOf = ({ section, effect }: RuleExplained): GateName =>
  section === "history" ? "history" : effect === "permit" ? "permits" : effect === "forbid" ? "forbids" : "approval";

const SAID: { readonly [said in RuleExplained["said"]]: string } = {
  holds: "holds",
  does_not_hold: "does not hold",
  failed: "could not be evaluated",
  inputs_missing: "needs the inputs, and only their digest was sent",
};

function ruleLines(rule: RuleExplained, { paint }: Terminal): readonly string[] {
  const { said, effect, mode, stops, when, parts, looks, actions } = rule;
  const says = said === "does_not_hold" ? paint.dim(SAID[said]) : said === "failed" ? paint.red(SAID[said]) : paint.bold(SAID[said]);
  const notes = [
    ...(mode === "enforce" ? [] : [`mode ${mode}`]),
    ...(stops === "action" ? [] : [`stops the ${stops}`]),
    ...(rule.asked ? [] : ["not asked"]),
  ];
  const head = `      ${paint.cyan(plain(rule.rule))} ${effect}s ${plain(actions.join(", "))}: ${says}${notes.length === 0 ? "" : paint.dim(` (${notes.join(", ")})`)}`;
  return [
    head,
    ...(when === null ? [] : [`        when ${onOneLine(when)}`]),
    ...parts.map(({ text, holds }) => `          ${holds === null ? paint.red("?") : holds ? paint.green("✓") : paint.red("✗")} ${onOneLine(text)}`),
    ...lookLines(looks, "          ", paint),
  ];
}

/** A condition as its author broke it into lines, without the breaks. */
const onOneLine = (text: string): string => plain(text.replace(/\s*\n\s*/g, " "));

const lookLines = (looks: readonly Looked[], indent: string, paint: Terminal["paint"]): readonly string[] =>
  looks.map((look) => paint.dim(`${indent}${plain(look.at)} is ${"value" in look ? shown(look.value) : "not there"}`));

const FOUND: { readonly [found in RequirementExplained["after"][number]["found"]]: string } = {
  fits: "is there, and fits",
  never_called: "was never called in this session",
  not_recent: "was called, but too long ago",
  not_alike: "was called, but not about the same",
  unsuccessful: "was called, but failed or was released",
  where_fails: "was called, but its result does not meet the condition",
};

function requirementLines({ rule, after, where, same, withinMs }: RequirementExplained, { paint }: Terminal): readonly string[] {
  const within = withinMs === null ? "" : ` within ${withinMs / 1000} s`;
  const alike = same.length === 0 ? "" : ` with the same ${same.join(" and ")}`;
  return [
    `      ${paint.cyan(plain(rule))} wants ${after.map(({ pattern }) => pattern).join(" and ")} first${within}${alike}`,
    ...(where === null ? [] : [`        where ${onOneLine(where)}`]),
    ...after.flatMap(({ pattern, found, looks }) => [
      `          ${found === "fits" ? paint.green("✓") : paint.red("✗")} ${plain(pattern)} ${FOUND[found]}`,
      ...lookLines(looks, "            ", paint),
    ]),
  ];
}
