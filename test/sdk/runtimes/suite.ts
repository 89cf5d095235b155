import { asking, ending } from "./asking.ts";
import { calling } from "./calling.ts";
import { type Cases, type Entries, play, type Report, type World } from "./check.ts";
import { deciding } from "./deciding.ts";
import { failing } from "./failing.ts";
import { holding } from "./holding.ts";
import { leasing } from "./leasing.ts";
import { stopping } from "./stopping.ts";

/** The one suite of the SDK: what a user does with the built package against a real gateway. It runs on everything that has `fetch`. */
export const CASES: Cases = { ...asking, ...failing, ...holding, ...leasing, ...stopping, ...calling, ...deciding, ...ending };

/** `heed` has what it is given told of every rejection that nobody listens to. */
export const runSuite = (entries: Entries, world: World, heed: (unheard: (reason: unknown) => void) => void): Promise<Report> =>
  play(CASES, entries, world, heed);
