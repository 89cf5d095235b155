import { readdirSync, readFileSync } from "node:fs";
import { type Load, load, type Round } from "./client.ts";

/** Load on a runtime, with the processor time that it took for each step. What the runtime does in the background meanwhile is in it. */
export async function loadOn(runtime: { cpuMs(): number }, wanted: Load): Promise<Round> {
  const [began, before] = [performance.now(), runtime.cpuMs()];
  const round = await load(wanted);
  const steps = (round.perSecond * (performance.now() - began)) / 1000;
  return { ...round, cpuMs: (runtime.cpuMs() - before) / steps };
}

/**
 * How much processor time a process has had, in milliseconds: what a decision costs, whoever else uses the machine meanwhile. As Linux tells it, for all
 * threads that live; `NaN` where nothing tells.
 */
export function cpuMsOf(pid: number | null): number {
  if (pid === null) return Number.NaN;
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const nanoseconds = threads.map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]));
    return nanoseconds.reduce((sum, each) => sum + each, 0) / 1_000_000;
  } catch {
    return Number.NaN;
  }
}

/** The runtimes that this process has started and that live; none where nothing tells. */
export function runtimes(): readonly number[] {
  try {
    const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
    return children.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("workerd\0serve"));
  } catch {
    return [];
  }
}
