import type { PolicyDocument } from "../core/policy/document.ts";
import type { GateName } from "../core/policy/explain.ts";
import type { Policy } from "./policy_file.ts";
import type { Answer } from "./session.ts";

/** A part of a policy, and whether any case had to do with it. */
interface Covered {
  /** The id of a rule, or a pointer; an item of a list with its name behind the pointer. */
  readonly rule: string;
  /** Some request came as far as this and was held against it. */
  asked: boolean;
  /** It decided: it was the reason of some answer, or of a warning; a permit held. */
  fired: boolean;
}

/** What the cases had to do with, part by part of a policy. */
export class Coverage {
  readonly #policy: Policy;
  readonly #parts: Map<string, Covered>;

  constructor(policy: Policy) {
    this.#policy = policy;
    this.#parts = new Map(partsOf(policy.document).map((rule) => [rule, { rule, asked: false, fired: false }]));
  }

  get parts(): readonly Covered[] {
    return [...this.#parts.values()];
  }

  count({ decision, explanation, findings }: Answer): void {
    const { gates, rules } = explanation;
    const reached = new Set<GateName>(gates.filter(({ outcome }) => outcome !== "not_asked").map(({ gate }) => gate));
    const found = this.#policy.compiled.ofAction(decision.action);
    const ask = (gate: GateName, names: readonly string[]) => {
      if (reached.has(gate)) for (const name of names) this.#mark(name, "asked");
    };
    ask(
      "lists",
      [...this.#parts.keys()].filter((part) => part.startsWith(DENIED) || part === "/allowed_actions"),
    );
    for (const { rule, asked, said, effect } of rules) {
      if (asked) this.#mark(rule, "asked");
      if (asked && effect === "permit" && said === "holds") this.#mark(rule, "fired");
    }
    ask(
      "arguments",
      found.schemas.map(({ rule }) => rule),
    );
    ask(
      "requirements",
      findings.requirements.map(({ rule }) => rule),
    );
    ask("approval", APPROVALS);
    for (const { gate, facts } of gates)
      ask(
        gate,
        facts.map(({ rule }) => rule),
      );
    ask("budgets", findings.windDown === null ? [] : ["/wind_down"]);

    if (findings.deniedBy !== null) this.#mark(`${DENIED}${findings.deniedBy}`, "fired");
    const decided = [decision.reason.rule, ...decision.warnings.map(({ rule }) => rule), ...decision.advice.map(({ details }) => details.rule)];
    for (const rule of decided) if (typeof rule === "string") this.#mark(rule, "fired");
  }

  #mark(rule: string, how: "asked" | "fired"): void {
    const part = this.#parts.get(rule);
    if (part === undefined) return;
    part.asked = true;
    if (how === "fired") part.fired = true;
  }
}

const DENIED = "/denied_actions: ";
const APPROVALS = ["/approvals/actions", "/approvals/tags", "/approvals/risk_levels", "/approvals/threshold_usd"];

/** Everything in a policy that can decide, in the order in which it is asked. */
function partsOf(document: PolicyDocument): readonly string[] {
  const { budgets, approvals } = document;
  const keys = (section: string, record: object | undefined) => Object.keys(record ?? {}).map((name) => `/${section}/${escaped(name)}`);
  return [
    ...(document.denied_actions ?? []).map((pattern) => `${DENIED}${pattern}`),
    ...(document.allowed_actions === undefined ? [] : ["/allowed_actions"]),
    ...(document.rules ?? []).flatMap((rule, place) =>
      rule.effect === "permit" && document.allowed_actions !== undefined && rule.group === undefined ? [] : [rule.id ?? `/rules/${place}`],
    ),
    ...keys("arguments", document.arguments),
    ...keys("requires", document.requires),
    ...(document.history ?? []).map((rule, place) => rule.id ?? `/history/${place}`),
    ...(document.loops === undefined ? [] : ["/loops"]),
    ...(document.retries === undefined ? [] : ["/retries"]),
    ...keys("concurrency", document.concurrency),
    ...keys("rate_limits", document.rate_limits),
    ...(budgets?.default_price === undefined ? [] : ["/budgets/default_price"]),
    ...keys("budgets/actions", budgets?.actions),
    ...(budgets?.run === undefined ? [] : ["/budgets/run"]),
    ...(budgets?.session === undefined ? [] : ["/budgets/session"]),
    ...keys("budgets/agent", budgets?.agent),
    ...keys("budgets/tenant", budgets?.tenant),
    ...(document.wind_down === undefined ? [] : ["/wind_down"]),
    ...APPROVALS.filter((rule) => Object.hasOwn(approvals ?? {}, rule.slice("/approvals/".length))),
  ];
}

const escaped = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");
