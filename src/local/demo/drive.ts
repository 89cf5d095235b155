import {
  type CommitReport,
  createSentinel,
  type Decision,
  type DecisionAnswer,
  isAgentSentinelError,
  type Json,
  type KnownReason,
  type Session,
  type Verdict,
} from "../../../sdk/src/index.ts";
import { type MicroUsd, usdOf } from "./money.ts";
import { actualOf, estimateOf, isFailure, toolNamed } from "./prices.ts";
import type { Call, Run } from "./trace.ts";

/** What became of one recorded call. */
export interface Played {
  readonly run: Run;
  readonly call: Call;
  readonly action: string;
  readonly estimate: MicroUsd;
  /** `null`: nobody decided; then `fault` says why. */
  readonly verdict: Verdict | null;
  readonly reason: KnownReason | null;
  /** The place of the policy, or the rule's own name, that the reason comes from. */
  readonly rule: string | null;
  /** What was told to the gateway after the call; `null`: it did not run. */
  readonly committed: MicroUsd | null;
  /** From asking to knowing, as the agent waits for it. */
  readonly decisionMs: number;
  readonly fault: string | null;
}

export interface Driven {
  readonly sessions: number;
  readonly played: readonly Played[];
  /** Every answer, as the SDK's observer was told of it: what the record is held against. */
  readonly answers: readonly DecisionAnswer[];
  /** Commits that did not come through. */
  readonly lost: number;
  readonly ms: number;
}

export interface Stand {
  readonly url: string;
  readonly token: string;
  /** How many conversations go on side by side. */
  readonly atOnce: number;
  readonly onCall: () => void;
}

/**
 * Plays every run in a session of its own, each call asked for before it runs: it runs (that is, gives the recorded result) only when the
 * gateway says yes, and what it gave is told before the next call is asked for. The agent is a recording, so it does not react to a no, and
 * goes on even where `session.signal` would have stopped a live one.
 */
export async function drive(runs: readonly Run[], { url, token, atOnce, onCall }: Stand): Promise<Driven> {
  const answers: DecisionAnswer[] = [];
  let lost = 0;
  const sentinel = createSentinel({ url, token, onDecision: (decision) => answers.push(decision) });
  // In the order of the runs, whichever ends first: the same data gives the same report.
  const played: Played[][] = [];
  const waiting = runs.entries();
  const startedAt = performance.now();
  const next = async (): Promise<void> => {
    for (const [place, run] of waiting) {
      const session = await sentinel.openSession({ labels: { task: run.task, trial: run.trial } });
      const calls: Played[] = [];
      for (const call of run.calls) {
        calls.push(await playCall(session, run, call, () => lost++));
        onCall();
      }
      await session.close();
      played[place] = calls;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, next));
  return { sessions: runs.length, played: played.flat(), answers, lost, ms: performance.now() - startedAt };
}

/**
 * Asks, runs, tells. `session.guard(...)` does the same for a tool that throws when it fails, and then charges the estimate: nobody knows that
 * it was less. These tools return their errors as text and then cost their fee alone, so what they did is told here by hand.
 */
async function playCall(session: Session, run: Run, call: Call, onLost: () => void): Promise<Played> {
  const tool = toolNamed(call.name);
  const { riskLevel, tags } = tool;
  const estimate = estimateOf(tool, call.arguments);
  const facts = { run, call, action: call.name, estimate };
  const askedAt = performance.now();
  let decision: Decision;
  try {
    decision = await session.decide({ action: call.name, estimateUsd: usdOf(estimate), riskLevel, tags, inputs: call.arguments });
  } catch (error) {
    if (!isAgentSentinelError(error)) throw error;
    const decisionMs = performance.now() - askedAt;
    return { ...facts, verdict: null, reason: null, rule: null, committed: null, decisionMs, fault: error.message };
  }
  const { id, verdict, reason } = decision;
  const decided = { ...facts, verdict, reason: reason.code, rule: reason.rule, decisionMs: performance.now() - askedAt, fault: null };
  if (verdict !== "allow") return { ...decided, committed: null };
  const committed = actualOf(tool, estimate, call.result);
  await session.commit(id, reportOn(call.result, committed)).catch(onLost);
  return { ...decided, committed };
}

/** What a call is reported to have done: what the tool gave, so that rules can look back at it, and whether it says that it failed. */
function reportOn(result: string, cost: MicroUsd): CommitReport {
  const report = { costUsd: usdOf(cost), outputs: outputsOf(result) };
  // The record keeps so much of an error.
  return isFailure(result) ? { ...report, outcome: "error", error: result.slice(0, 500) } : { ...report, outcome: "success" };
}

/** A result as rules read it: its JSON where it is JSON, otherwise the text. */
function outputsOf(result: string): Json {
  try {
    return JSON.parse(result);
  } catch {
    return result;
  }
}
