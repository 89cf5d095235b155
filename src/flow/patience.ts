import { err, ok, type Result } from "../core/result.ts";

/** So long an object waits for another's answer, where nothing shorter is said. The slowest answers wait for a database behind the one that is asked. */
export const ANSWER_MS = 30_000;

/**
 * What `work` gives, or that it gave nothing in time: who was asked may have fallen under the call, and then neither an answer nor a fault ever comes.
 * Rejects where `work` does. What is given up is not stopped: it may be done all the same, and nobody hears of it. So only what may be asked twice is
 * asked like this.
 */
export async function inTime<W extends Promise<unknown>>(ms: number, work: W): Promise<Result<Awaited<W>, "late">> {
  const { promise: silence, resolve } = Promise.withResolvers<Result<never, "late">>();
  const timer = setTimeout(() => resolve(err("late")), ms);
  const answer = async () => ok(await work);
  try {
    return await Promise.race([answer(), silence]);
  } finally {
    clearTimeout(timer);
  }
}
