import { type EpisodeResult, type EpisodeWish, live } from "./episode.ts";
import { FAULT_KINDS } from "./faults.ts";
import type { RunWish } from "./run.ts";

/** Tries smaller worlds with fewer faults, for as long as one still breaks the same promise, and prints how to have the smallest again. */
export async function shrink(wish: RunWish, episode: number, first: EpisodeWish, result: EpisodeResult): Promise<void> {
  let smallest = first;
  let found = result;
  const tries = async (candidate: EpisodeWish): Promise<boolean> => {
    const again = await live({ ...candidate, trace: null });
    if (again.violation === null || again.violation.law !== result.violation?.law || again.steps > found.steps) return false;
    smallest = candidate;
    found = again;
    return true;
  };
  for (const kind of FAULT_KINDS) await tries({ ...smallest, without: new Set([...smallest.without, kind]) });
  for (const most of [1, 2, 3]) if (await tries({ ...smallest, most })) break;
  for (const kind of FAULT_KINDS) if (!smallest.without.has(kind)) await tries({ ...smallest, without: new Set([...smallest.without, kind]) });
  for (let steps = Math.floor(smallest.steps / 2); steps >= 50; steps = Math.floor(steps / 2)) if (!(await tries({ ...smallest, steps }))) break;
  const flags = [
    `--seed ${wish.seed} --episode ${episode} --steps ${smallest.steps}`,
    smallest.most === null ? "" : `--most ${smallest.most}`,
    smallest.without.size === 0 ? "" : `--without ${[...smallest.without].join(",")}`,
  ];
  process.stdout.write(
    `The smallest that breaks it takes ${found.steps} steps:\n  node test/faults/sim/sim.ts ${flags.filter((flag) => flag !== "").join(" ")}\n`,
  );
}
