/** The two fakes of a failure, where an object falls under a call so that nothing ever comes back: it has done nothing, or it has done it. */
export const SILENCES: readonly (readonly [what: string, does: boolean])[] = [
  ["did nothing", false],
  ["did it all the same", true],
];

/** An object that never answers the first call of one method, and is itself for all others. `fell`: what it still does of that call is done. */
export function silentOnce<S extends object>(
  object: S,
  method: keyof S & string,
  does: boolean,
): { readonly object: S; readonly fell: Promise<void> } {
  const { promise: fell, resolve, reject } = Promise.withResolvers<void>();
  let isSilent = true;
  const get =
    (_: S, name: string | symbol) =>
    async (...args: readonly unknown[]) => {
      // A stub's methods are no members of it: each is called on it, by its name.
      const act = async () => (object as Record<string | symbol, (...args: readonly unknown[]) => unknown>)[name]?.(...args);
      if (name !== method || !isSilent) return act();
      isSilent = false;
      (does ? act() : Promise.resolve()).then(() => resolve(), reject);
      return new Promise(() => {});
    };
  return { object: new Proxy(object, { get }), fell };
}
