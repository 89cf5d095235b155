import { createSentinel, type DecisionAnswer, isAgentSentinelError, type KnownReason, type Sentinel, type Verdict } from "../../../sdk/src/index.ts";
import { type MicroUsd, usdOf } from "./money.ts";
import { actualOf, estimateOf, toolNamed } from "./prices.ts";
import type { Call, Run } from "./trace.ts";

/** What became of one recorded call. */
export interface Played {
  readonly action: string;
  readonly estimate: MicroUsd;
  /** `null`: nobody decided; then `fault` says why. */
  readonly verdict: Verdict | null;
  readonly reason: KnownReason | null;
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
 * Plays every run in a session of its own, each call through a guard: it runs (that is, gives the recorded result) only when the gateway
 * says yes. The agent is a recording, so it does not react to a no, and goes on even where `session.signal` would have stopped a live one.
 */
export async function drive(runs: readonly Run[], { url, token, atOnce, onCall }: Stand): Promise<Driven> {
  const answers: DecisionAnswer[] = [];
  let lost = 0;
  const sentinel = createSentinel({
    url,
    token,
    onDecision: (decision) => answers.push(decision),
    onCommitFailed: () => lost++,
  });
  const played: Played[] = [];
  const waiting = runs.values();
  const startedAt = performance.now();
  const next = async (): Promise<void> => {
    for (const run of waiting) played.push(...(await playRun(sentinel, run, onCall)));
  };
  await Promise.all(Array.from({ length: atOnce }, next));
  return { sessions: runs.length, played, answers, lost, ms: performance.now() - startedAt };
}

async function playRun(sentinel: Sentinel, { task, trial, calls }: Run, onCall: () => void): Promise<Played[]> {
  const session = await sentinel.openSession({ labels: { task, trial } });
  const played: Played[] = [];
  for (const call of calls) {
    played.push(await playCall(session, call));
    onCall();
  }
  await session.close();
  return played;
}

async function playCall(session: Awaited<ReturnType<Sentinel["openSession"]>>, call: Call): Promise<Played> {
  const tool = toolNamed(call.name);
  const estimate = estimateOf(tool, call.arguments);
  let committed: MicroUsd | null = null;
  let decidedAt: number | null = null;
  const guarded = session.guard(
    {
      action: call.name,
      costUsd: usdOf(estimate),
      actualUsd: (result: string) => {
        committed = actualOf(tool, estimate, result);
        return usdOf(committed);
      },
      riskLevel: tool.riskLevel,
      tags: tool.tags,
      inputs: (args) => args,
    },
    async (_args: Call["arguments"]) => {
      decidedAt = performance.now();
      return call.result;
    },
  );
  const askedAt = performance.now();
  const facts = { action: call.name, estimate };
  try {
    await guarded(call.arguments);
    return { ...facts, verdict: "allow", reason: "permitted", committed, decisionMs: (decidedAt ?? askedAt) - askedAt, fault: null };
  } catch (error) {
    if (!isAgentSentinelError(error)) throw error;
    const { decision } = error;
    const decisionMs = performance.now() - askedAt;
    return {
      ...facts,
      verdict: decision?.verdict ?? null,
      reason: decision?.reason.code ?? null,
      committed,
      decisionMs,
      fault: decision === null ? error.message : null,
    };
  }
}
