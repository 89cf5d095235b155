/** A law of the house did not hold. Our fault, never the caller's: the transaction around it rolls back. */
export class BrokenInvariant extends Error {
  override readonly name = "BrokenInvariant";
}

/** Throws {@link BrokenInvariant} with `law` unless `holds`. */
export function assert(holds: unknown, law: string): asserts holds {
  if (!holds) throw new BrokenInvariant(law);
}
