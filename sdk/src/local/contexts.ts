import { builtin } from "./builtin.ts";

/**
 * What belongs to the code that runs now: set for a function and for everything that follows from it. Where the runtime has `AsyncLocalStorage` that
 * includes what runs after an `await`; elsewhere only what runs at once, and what comes later is told by the context that a function is given. Either
 * way nobody ever sees what was set for somebody else.
 */
export interface Contexts<Frame> {
  get(): Frame | undefined;
  run<Args extends unknown[], Result>(frame: Frame, act: (...args: Args) => Result, ...args: Args): Result;
}

export function contexts<Frame>(): Contexts<Frame> {
  const storage = builtin<{ readonly AsyncLocalStorage: new () => AsyncStorage<Frame> }>("node:async_hooks")?.AsyncLocalStorage;
  if (storage === undefined) return new SyncContexts();
  const made = new storage();
  return { get: () => made.getStore(), run: (frame, act, ...args) => made.run(frame, act, ...args) };
}

/** Holds for as long as a function runs, up to its first `await`. */
export class SyncContexts<Frame> implements Contexts<Frame> {
  #frame: Frame | undefined;

  get(): Frame | undefined {
    return this.#frame;
  }

  run<Args extends unknown[], Result>(frame: Frame, act: (...args: Args) => Result, ...args: Args): Result {
    const outer = this.#frame;
    this.#frame = frame;
    try {
      return act(...args);
    } finally {
      this.#frame = outer;
    }
  }
}

interface AsyncStorage<Frame> {
  getStore(): Frame | undefined;
  run<Args extends unknown[], Result>(frame: Frame, act: (...args: Args) => Result, ...args: Args): Result;
}
