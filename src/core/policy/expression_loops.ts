import type { Frame, Piece } from "./expression_frame.ts";
import { FAULT, type Fault, type Outcome, spend, type Value } from "./expression_values.ts";

/** How a macro runs over its items. */
export type Loop = (items: readonly Value[], frame: Frame) => Outcome;

/**
 * The loop of the macro `name`: `step` is its body, of which each evaluation costs `cost` steps, `transform` what `map` with three arguments
 * makes of an item, and `slot` where the variable is kept.
 */
export function loop(name: string, step: Piece, transform: Piece | null, slot: number, cost: number): Loop {
  switch (name) {
    case "all":
      return quantified(false, step, slot, cost);
    case "exists":
      return quantified(true, step, slot, cost);
    case "exists_one":
      return (items, frame) => {
        const found = kept(items, step, null, slot, cost, frame);
        return found === FAULT ? FAULT : found.length === 1;
      };
    case "filter":
      return (items, frame) => kept(items, step, null, slot, cost, frame);
    default:
      return transform === null
        ? (items, frame) => kept(items, null, step, slot, cost, frame)
        : (items, frame) => kept(items, step, transform, slot, cost, frame);
  }
}

/** `exists` and `all` are `||` and `&&` over a list: an item that decides is enough, whatever faults there are beside it. */
const quantified =
  (decides: boolean, step: Piece, slot: number, cost: number): Loop =>
  (items, frame) => {
    let faulty = false;
    for (const item of items) {
      if (!spend(frame, cost)) return FAULT;
      frame.locals[slot] = item;
      const holds = step(frame);
      if (holds === decides) return decides;
      if (holds !== !decides) faulty = true;
    }
    return faulty ? FAULT : !decides;
  };

/** The items for which `step` holds (all of them where it is `null`), each as `transform` makes it. One fault spoils them all. */
function kept(
  items: readonly Value[],
  step: Piece | null,
  transform: Piece | null,
  slot: number,
  cost: number,
  frame: Frame,
): readonly Value[] | Fault {
  const values: Value[] = [];
  for (const item of items) {
    if (!spend(frame, cost)) return FAULT;
    frame.locals[slot] = item;
    const holds = step === null ? true : step(frame);
    if (holds === false) continue;
    const value = holds !== true ? FAULT : transform === null ? item : transform(frame);
    if (value === FAULT) return FAULT;
    values.push(value);
  }
  return values;
}
