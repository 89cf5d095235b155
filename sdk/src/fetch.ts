export type { ModelCall, Shape } from "./fetch/call.ts";
export { type Denial, decisionOf, isAuthorityError } from "./fetch/denial.ts";
export { guardFetch } from "./fetch/guard_fetch.ts";
export type { FetchOptions, Priced, WebFetch } from "./fetch/options.ts";
export type { TokenUsage } from "./fetch/usage.ts";
