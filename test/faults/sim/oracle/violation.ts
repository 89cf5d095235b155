/** A promise of the product that was broken, as an outside observer saw it. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly law: string;

  constructor(law: string, details: unknown) {
    super(`${law}: ${typeof details === "string" ? details : JSON.stringify(details)}`);
    this.law = law;
  }

  /** Throws one for a fault that should not have been. */
  static of(law: string, fault: unknown): never {
    throw new Violation(law, fault instanceof Error ? (fault.stack ?? String(fault)) : String(fault));
  }
}

/** Throws a `Violation` unless the law holds. The details are made only where it does not. */
export function demand(holds: boolean, law: string, details: () => unknown): asserts holds {
  if (!holds) throw new Violation(law, details());
}
