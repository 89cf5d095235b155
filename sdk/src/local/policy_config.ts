/** The original's way to say a policy in code. What is absent, `undefined` or `null` limits nothing. Amounts are USD, with at most six decimals. */
export interface PolicyConfig {
  /** The most that the whole session may spend. `resetRun` does not undo it. */
  readonly sessionBudget?: number | string | null | undefined;
  /** The most that one run may spend. */
  readonly runBudget?: number | string | null | undefined;
  /** The most that the session may spend on an action, by name or glob. */
  readonly actionBudgets?: { readonly [action: string]: number | string } | null | undefined;
  /** Names and globs of actions that never run. */
  readonly deniedActions?: readonly string[] | null | undefined;
  /** The only actions that run. `[]`: none. Absent or `null`: all that are not denied. */
  readonly allowedActions?: readonly string[] | null | undefined;
  /** How often, by name or glob, within a sliding window. */
  readonly rateLimits?: { readonly [action: string]: RateLimitConfig } | null | undefined;
  /** Default `true`: a no is a no. `false`: everything runs, and the record says what would have been refused. */
  readonly strictMode?: boolean | undefined;
}

export interface RateLimitConfig {
  readonly maxCount: number;
  readonly windowSeconds: number;
}

/** What is in force, in the original's terms. A policy may say more than these can: rules, schemas, approvals. */
export interface PolicyConfigInForce {
  readonly sessionBudget: number | null;
  readonly runBudget: number | null;
  readonly actionBudgets: { readonly [action: string]: number };
  readonly deniedActions: readonly string[];
  /** `null`: all that are not denied. */
  readonly allowedActions: readonly string[] | null;
  readonly rateLimits: { readonly [action: string]: RateLimitConfig | readonly RateLimitConfig[] };
  readonly strictMode: boolean;
}
