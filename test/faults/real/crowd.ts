import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuMsOf } from "../../bench/cpu.ts";
import type { Chance } from "./chance.ts";
import { Callers, fieldOf, type Heard } from "./sockets.ts";

/** Whom a crowd asks. */
export interface Side {
  readonly target: URL;
  /** The process whose time the answers take. */
  readonly pid: number;
  /** Asks one question by `send`. `null`: nothing was heard. */
  readonly ask: (send: (request: string) => Promise<Heard | null>) => Promise<Heard | null>;
}

/** Who hears nothing for so long hangs up. */
export const PATIENCE_MS = 10_000;
/** Who has heard nothing for so long is late. */
export const LATE_MS = 3_000;

/** What so many callers got, each of whom asked again at once. */
export interface Served {
  readonly callers: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p95: number;
  /** Processor time for each answer; `NaN` where the system does not tell. */
  readonly cpuMs: number;
  /** Every answer was the one that was asked for. */
  readonly isWhole: boolean;
}

/** So many callers for so long, each of whom asks again as soon as it was answered. */
export async function serve(side: Side, callers: number, lastsMs: number): Promise<Served> {
  const lines = new Callers(side.target, callers, 30_000);
  const took: number[] = [];
  const [since, cpuBefore] = [performance.now(), cpuMsOf(side.pid)];
  let isWhole = true;
  const call = async (): Promise<void> => {
    while (performance.now() - since < lastsMs) {
      const heard = await side.ask(sendOn(lines));
      if (heard?.status === 200) took.push(heard.tookMs);
      else isWhole = false;
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  lines.end();
  const perSecond = Math.round((took.length * 1_000) / (performance.now() - since));
  const cpuMs = (cpuMsOf(side.pid) - cpuBefore) / Math.max(1, took.length);
  return { callers, perSecond, p50: quantile(took, 0.5), p95: quantile(took, 0.95), cpuMs, isWhole };
}

/** How long a crowd waited, of a thousand callers. */
export interface Waits {
  /** So many heard nothing for `PATIENCE_MS`, at least once. */
  readonly unheardOf1000: number;
  /** So many had heard nothing for `LATE_MS`, at any moment, on the mean of the whole time. It depends on who is passed over, and hardly on how quick the machine is. */
  readonly lateOf1000: number;
}

/**
 * So many callers at once for so long. Who is turned away comes back when it was told to; who hears nothing for `PATIENCE_MS` hangs up and asks anew. It
 * answers when the time is over. Some still wait for an answer then: `waits` comes when everybody has it or has hung up.
 */
export async function come(
  side: Side,
  callers: number,
  lastsMs: number,
  chance: Chance,
  watch?: () => void,
): Promise<{ readonly waits: Promise<Waits> }> {
  const lines = new Callers(side.target, callers, PATIENCE_MS);
  const endsAt = performance.now() + lastsMs;
  let isOver = false;
  const over = sleep(lastsMs).then(() => {
    isOver = true;
  });
  let lateMs = 0;
  const call = async (): Promise<boolean> => {
    let isUnheard = false;
    while (!isOver) {
      const lateAt = performance.now() + LATE_MS;
      const heard = await side.ask(sendOn(lines));
      lateMs += Math.max(0, Math.min(performance.now(), endsAt) - lateAt);
      if (heard === null) isUnheard = true;
      if (heard === null || heard.status === 200) continue;
      // As told, and not all of them at the same moment.
      const waitMs = Number(fieldOf(heard.head, "retry-after")) * 1_000 * (1 + chance());
      await Promise.race([over, sleep(waitMs)]);
    }
    return isUnheard;
  };
  const everybody = Promise.all(Array.from({ length: callers }, call)).finally(() => lines.end());
  while (!isOver) {
    watch?.();
    await Promise.race([over, sleep(500)]);
  }
  const of1000 = (part: number): number => Math.round((1_000 * part) / callers);
  return { waits: everybody.then((each) => ({ unheardOf1000: of1000(each.filter(Boolean).length), lateOf1000: of1000(lateMs / lastsMs) })) };
}

const sendOn =
  (lines: Callers): Parameters<Side["ask"]>[0] =>
  (request) => {
    const heard = lines.ask(request);
    assert.ok(heard !== undefined, "every caller has a connection");
    return heard;
  };

export function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10;
}

export const mean = (numbers: readonly number[]): number => Math.round(numbers.reduce((sum, one) => sum + one, 0) / Math.max(1, numbers.length));

/** The instant of this process's steady clock, as other processes on this machine tell it. */
export const instantOf = (steadyMs: number): number => performance.timeOrigin + steadyMs;
