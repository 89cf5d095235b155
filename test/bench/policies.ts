import { conditionOf } from "./policy_rules.ts";

/** What is asked in nearly every group: inputs, tags, a resource of which attributes are stored, and an amount. */
export const SEARCH = {
  action: "search",
  estimate_usd: "0.000001",
  tags: ["search"],
  resource: { type: "service", id: "web" },
  inputs: { query: "durable objects", env: "prod", region: "eu", amount: 10, to: "ann@example.org" },
};

/** What is stored of who asks and of what is asked about, by the path that stores it. */
export const ENTITIES = { "/v1/entities/agent/bot": { team: "blue" }, "/v1/entities/service/web": { owner: "blue", tier: "silver" } };

/** Limits that nobody meets, so that every gate is asked and says yes. */
const AMPLE_USD = 1_000_000;
const AMPLE_CALLS = 1_000_000;

/** Rules that name the action and do not hold: each of them is evaluated at every decision. */
export const rulesNaming = (action: string, count: number): readonly object[] =>
  Array.from({ length: count }, (_, n) => ({ effect: "forbid", actions: [action], when: conditionOf(n).ours }));

/** A policy with nothing to look at but one budget. */
export const BARE = { budgets: { session: AMPLE_USD } };

/**
 * The policy of a full decision: 100 rules, and every section whose gate could say no, each of which lets the search pass. The windows are those that
 * people write; at a thousand decisions a second they hold a thousand times what they hold for an agent.
 */
export const ALL_GATES = {
  denied_actions: ["delete_database", "fs.rm*"],
  allowed_actions: ["search", "login", "db.*", "browser.*", "send_money", "save_state"],
  rules: rulesNaming("search", 100),
  arguments: { search: { required: ["query"], properties: { query: { type: "string", minLength: 1, maxLength: 500 } } } },
  history: [{ forbid: "search", when: "count('db.read_customers', 3600) > 0" }],
  retries: { threshold: 8, window_seconds: 60 },
  loops: { threshold: 10_000, window_seconds: 1 },
  concurrency: { "browser.*": 10, search: 100_000 },
  rate_limits: { search: { max_count: AMPLE_CALLS, window_seconds: 1 } },
  budgets: {
    session: AMPLE_USD,
    run: AMPLE_USD,
    actions: { "db.*": AMPLE_USD, search: AMPLE_USD },
    agent: { day: AMPLE_USD },
    tenant: { day: AMPLE_USD, month: AMPLE_USD },
    alerts: [0.5, 0.8],
  },
  wind_down: { actions: ["save_state"], budget: 1 },
  approvals: { actions: ["send_money"], threshold_usd: 5 },
  redact: { keys: ["password"], detect: ["email", "credit_card"] },
};
