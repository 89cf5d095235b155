import type { AgentSentinelError } from "../errors.ts";
import type { CursorStore } from "./cursor.ts";
import type { SyncFetch } from "./delivery.ts";
import type { RefusedLine } from "./refused.ts";

/** Where a ledger's lines are reported, and how. The original's members keep their meaning. */
export interface SyncConfig {
  /** The gateway's address. */
  readonly platformUrl: string;
  /** A token with `ledger:write`, or where to get one. An agent's own reports its own lines only; a service's those of everybody. */
  readonly apiToken: string | (() => string | Promise<string>);
  /** The run of lines that name none, from the start on: 1 to 255 characters on one line. Lines that were there before keep what they say. */
  readonly runId?: string | undefined;
  /** Seconds between two reports. Default 10; from 0.01 to a day. */
  readonly flushInterval?: number | undefined;
  /** Lines in one request, at most: 1 to 1000. Default 100. */
  readonly batchSize?: number | undefined;
  /** How often a request is tried again within one flush. Default 3; 0 to 100. Afterwards the lines wait for the next flush. */
  readonly maxRetries?: number | undefined;
  /** For one request, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** Where it is kept how far the gateway has the ledger. Default: beside a ledger that is a file, else in memory. */
  readonly cursor?: CursorStore | undefined;
  readonly fetch?: SyncFetch | undefined;
  /** Told of each line that the gateway does not take. It is set aside, and stays in the ledger. */
  readonly onRefused?: ((line: RefusedLine) => void) | undefined;
  /** Told when a flush left lines behind: they wait for the next one. */
  readonly onFailed?: ((error: AgentSentinelError) => void) | undefined;
  /** Told when reporting has ended, as when the token is refused: until `flushNow` or `start` is called. The lines stay. */
  readonly onStopped?: ((error: AgentSentinelError) => void) | undefined;
}

/** A configuration that can be used as it is. */
export interface Settings extends Pick<SyncConfig, "onRefused" | "onFailed" | "onStopped"> {
  /** Without a slash at its end. */
  readonly base: string;
  readonly token: () => string | Promise<string>;
  readonly run: string | null;
  readonly intervalMs: number;
  readonly batchSize: number;
  readonly maxRetries: number;
  readonly timeoutMs: number;
  readonly fetch: SyncFetch;
}

const SECOND_MS = 1000;
const DAY_SECONDS = 86_400;
const RUN = /^[^\p{Cc}\p{Cs}]{1,255}$/u;

/** Throws a `RangeError` or a `TypeError` that names what was found and what is wanted. */
export function settingsOf(config: SyncConfig): Settings {
  const { apiToken, runId = null } = config;
  // A gateway refuses whole reports for it, and what is refused is set aside line by line.
  if (runId !== null && !(typeof runId === "string" && RUN.test(runId)))
    throw new TypeError(`Cannot use runId ${JSON.stringify(runId)}: wanted 1 to 255 characters on one line`);
  if (typeof apiToken !== "function" && (typeof apiToken !== "string" || apiToken === ""))
    throw new TypeError("Cannot use apiToken: wanted a token or a function that gives one");
  return {
    base: baseOf(config.platformUrl),
    token: typeof apiToken === "function" ? apiToken : () => apiToken,
    run: runId,
    intervalMs: within("flushInterval", config.flushInterval ?? 10, 0.01, DAY_SECONDS) * SECOND_MS,
    batchSize: Math.floor(within("batchSize", config.batchSize ?? 100, 1, 1000)),
    maxRetries: Math.floor(within("maxRetries", config.maxRetries ?? 3, 0, 100)),
    timeoutMs: within("timeoutMs", config.timeoutMs ?? 30_000, 1, DAY_SECONDS * SECOND_MS),
    // Looked up at each call: who replaces the global one later is heard.
    fetch: config.fetch ?? ((url, init) => fetch(url, init)),
    onRefused: config.onRefused,
    onFailed: config.onFailed,
    onStopped: config.onStopped,
  };
}

function baseOf(platformUrl: string): string {
  const url = URL.canParse(platformUrl) ? new URL(platformUrl) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new TypeError(`Cannot use platformUrl ${JSON.stringify(platformUrl)}: wanted an http(s) address`);
  return platformUrl.replace(/[?#].*$/, "").replace(/\/+$/, "");
}

function within(name: string, value: number, least: number, most: number): number {
  if (typeof value === "number" && value >= least && value <= most) return value;
  throw new RangeError(`Cannot use ${name} ${String(value)}: wanted a number from ${least} to ${most}`);
}
