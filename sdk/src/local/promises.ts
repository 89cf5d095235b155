/** Whether a result comes later. What throws when it is looked at does not: it is its caller's as it is. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  try {
    return (typeof value === "object" || typeof value === "function") && value !== null && typeof Reflect.get(value, "then") === "function";
  } catch {
    return false;
  }
}

/**
 * What comes of a promise once it is known, as a promise of the same kind: `kept` may exchange the value for one of its own type, `failed` is told of a
 * rejection, which passes unchanged. A promise with members of its own (a client's that can give the raw response) keeps them, and is not begun
 * before somebody waits for it if it is one that begins then.
 */
export function following<Result>(
  promise: PromiseLike<Result>,
  kept: (value: Result) => Result,
  failed: (error: unknown) => void,
): PromiseLike<Result> {
  const rethrown = (error: unknown): never => {
    failed(error);
    throw error;
  };
  const isOfLanguage = Object.getPrototypeOf(promise) === Promise.prototype && !Object.hasOwn(promise, "then");
  if (isOfLanguage && Object.keys(promise).length === 0) return promise.then(kept, rethrown);
  let followed: Promise<Result> | null = null;
  // Once, whoever waits how often.
  const follow = (): Promise<Result> => {
    // As who waits for it does: what its `then` gives may be nothing.
    followed ??= new Promise<Result>((resolve, reject) => void promise.then(resolve, reject)).then(kept, rethrown);
    return followed;
  };
  // The language's own has begun, whether anybody waits or not.
  if (isOfLanguage) void follow();
  const ours: { readonly [member: PropertyKey]: unknown } = {
    // biome-ignore lint/suspicious/noThenProperty: it stands for the promise that it follows.
    then: (...args: Parameters<Promise<Result>["then"]>) => follow().then(...args),
    catch: (...args: Parameters<Promise<Result>["catch"]>) => follow().catch(...args),
    finally: (...args: Parameters<Promise<Result>["finally"]>) => follow().finally(...args),
  };
  return new Proxy(promise, {
    get(target, member) {
      if (Object.hasOwn(ours, member)) return ours[member];
      const value: unknown = Reflect.get(target, member, target);
      // Its methods look at members that only itself has.
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
