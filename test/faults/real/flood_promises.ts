import type { AloneFigures } from "./alone.ts";
import { LATE_MS, PATIENCE_MS } from "./crowd.ts";
import type { FloodFigures } from "./flood.ts";

/**
 * So many more of a thousand callers may be late than where the runtime alone left most of them. Of 640 callers it left between 466 and 522 in ten floods,
 * at very different speeds of the machine, and 320 in one.
 */
const LATE_SLACK_OF_1000 = 50;
/** And so many more may be unheard at least once. Where waits are near the callers' patience, a little more or less of them moves many over it. */
const UNHEARD_SLACK_OF_1000 = 150;
/** From so much on, on the mean, the gateway holds itself for slow and turns callers away (`src/http/pace.ts`). */
const SLOW_MS = 500;

type Alone = Pick<AloneFigures, "begun_after_ms" | "late_of_1000" | "unheard_of_1000">;

interface Promised {
  readonly says: string;
  readonly holds: (flooded: FloodFigures, alone: Alone) => boolean;
}

/** What is promised of a flood, and by which figure it is broken. Of single answers and of the record everything is demanded while it is looked at. */
const PROMISES: readonly Promised[] = [
  {
    // Whom the runtime holds back its door cannot see, nor what the runtime does with answers that are made: for neither it can turn anybody away.
    says: `It decides within ${SLOW_MS} ms, on the mean and after the runtime would have begun, or turns somebody away.`,
    holds: ({ turned_away, decided_after_ms }, alone) => turned_away > 0 || decided_after_ms <= alone.begun_after_ms + SLOW_MS,
  },
  {
    says: `At any moment no larger share of callers has heard nothing for ${LATE_MS / 1_000} s than of the runtime's alone, but for ${LATE_SLACK_OF_1000} of 1,000.`,
    holds: ({ late_of_1000 }, alone) => late_of_1000 <= alone.late_of_1000 + LATE_SLACK_OF_1000,
  },
  {
    says: `No larger share of callers hears nothing within ${PATIENCE_MS / 1_000} s than of the runtime's alone, but for ${UNHEARD_SLACK_OF_1000} of 1,000.`,
    holds: ({ unheard_of_1000 }, alone) => unheard_of_1000 <= alone.unheard_of_1000 + UNHEARD_SLACK_OF_1000,
  },
  {
    says: "It decides at least half as much as before, meanwhile.",
    holds: ({ decided_per_second, served_per_second }) => decided_per_second >= served_per_second / 2,
  },
  {
    says: "Ten seconds after it as many as before are served, at four fifths of the former rate.",
    holds: ({ recovered_after_ms }) => recovered_after_ms <= 10_000,
  },
  { says: "It takes no more than 512 MiB for it.", holds: ({ growth_mib }) => growth_mib <= 512 },
];

/** What a flood broke of what is promised, beside the worst that the runtime alone did to as many; none: nothing. */
export function broken(flooded: FloodFigures, floods: readonly AloneFigures[]): readonly string[] {
  const most = (of: keyof Alone): number => Math.max(...floods.map((alone) => alone[of]));
  const alone: Alone = { begun_after_ms: most("begun_after_ms"), late_of_1000: most("late_of_1000"), unheard_of_1000: most("unheard_of_1000") };
  return PROMISES.flatMap(({ says, holds }) => (holds(flooded, alone) ? [] : [says]));
}
