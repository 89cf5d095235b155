import { createSentinel, type Sentinel, type SentinelOptions } from "../sentinel.ts";
import type { DecisionNow } from "../surface.ts";
import type { TestCall } from "./calls.ts";
import { TestClock } from "./clock.ts";
import { TestGateway } from "./gateway.ts";

export interface TestSentinelOptions extends Omit<Partial<SentinelOptions>, "url" | "token" | "fetch" | "now" | "schedule" | "random" | "newId"> {
  /** What is allowed: the text of a policy (YAML or JSON), or its document. Default: everything, as `version: 1` says. */
  readonly policy?: string | object | undefined;
  /** Whose sessions they are where nobody says. Default `"test-agent"`. */
  readonly agent?: string | undefined;
  /** When the clock begins, in milliseconds since 1970. Default: the beginning of 2026. */
  readonly startsAt?: number | undefined;
}

/** Who answers what is held. */
export interface TestAnswer {
  /** Default `"tester"`. */
  readonly by?: string | undefined;
  readonly note?: string | undefined;
}

/**
 * A sentinel for the unit tests of a program, and what a test does to it. Its gateway is in this process and decides by the gateway's own code, under a
 * real policy; nothing leaves the process, time stands still, and every run of a test makes the same ids.
 */
export interface TestSentinel {
  /** What the program is given: `openSession`, `guard`, approvals, errors, all as in production. */
  readonly sentinel: Sentinel;
  /** Denies an action by its name or glob (`action_denied`), from the next decision on, beside what the policy denies. */
  deny(action: string): void;
  /** Holds an action for a person. */
  hold(action: string): void;
  /** Takes back what `deny` and `hold` said of this name or glob. What the policy itself denies stays denied. */
  allow(action: string): void;
  /** Approves the oldest call that waits for a person, of this action or of any; where none waits, the next that does. */
  approve(action?: string, answer?: TestAnswer): Promise<DecisionNow>;
  /** Rejects it. */
  reject(action?: string, answer?: TestAnswer): Promise<DecisionNow>;
  /** All that was asked for, or what was asked of one action, in its order. */
  calls(action?: string): readonly TestCall[];
  /** Whether the gateway can be reached. Default `true`. */
  isReachable: boolean;
  readonly now: () => number;
  /** Lets time pass: reservations and approvals run out, rates refill, waiting ends. Resolves when what follows from that has happened. */
  advance(ms: number): Promise<void>;
}

/** Makes a test's own sentinel. Throws a `LocalRefusedError` for a policy with a mistake. Nothing is tried twice, unless `retries` says so. */
export function createTestSentinel({
  policy = { version: 1 },
  agent = "test-agent",
  startsAt = Date.UTC(2026, 0),
  retries = 0,
  ...options
}: TestSentinelOptions = {}): TestSentinel {
  const clock = new TestClock(startsAt);
  let made = 0;
  const newId = (): string => `00000000-0000-7000-8000-${(++made).toString(16).padStart(12, "0")}`;
  const gateway = new TestGateway({ policy, agent, clock, newId });
  const { fetch, script, calls } = gateway;
  const ambience = { now: clock.now, schedule: clock.schedule, random: () => 0.5, newId };
  const scripted = (change: () => void): void => {
    change();
    gateway.rescript();
  };
  return {
    sentinel: createSentinel({ ...options, ...ambience, retries, url: "https://gateway.test", token: "test", fetch }),
    deny: (action) => scripted(() => script.deny(action)),
    hold: (action) => scripted(() => script.hold(action)),
    allow: (action) => scripted(() => script.allow(action)),
    approve: (action, { by = "tester", note } = {}) => gateway.answer("approve", action, by, note ?? null),
    reject: (action, { by = "tester", note } = {}) => gateway.answer("reject", action, by, note ?? null),
    calls: (action) => calls.list().filter((call) => action === undefined || call.action === action),
    get isReachable() {
      return gateway.isReachable;
    },
    set isReachable(is) {
      gateway.isReachable = is;
    },
    now: clock.now,
    advance: (ms) => clock.advance(ms),
  };
}
