import type { LedgerLine } from "./line.ts";

type Listener = (line: LedgerLine) => void;

/** Who is told of each line that is kept. What a listener throws goes nowhere: it may not change what becomes of an action. */
export class Listeners {
  readonly #all = new Set<{ readonly tell: Listener }>();

  add(listener: Listener): () => void {
    // The same function may listen twice, and stop once.
    const added = { tell: listener };
    this.#all.add(added);
    return () => {
      this.#all.delete(added);
    };
  }

  isEmpty(): boolean {
    return this.#all.size === 0;
  }

  tell(line: LedgerLine): void {
    for (const { tell } of this.#all) {
      try {
        tell(line);
      } catch {
        // Its own affair.
      }
    }
  }
}
