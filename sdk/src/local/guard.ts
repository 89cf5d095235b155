import { assertNoClass } from "../plain.ts";
import { Call, type Guarding } from "./call.ts";
import type { Desk } from "./desk.ts";
import { factsOf, microUsd } from "./request.ts";
import type { AnyFunction, LocalGuardOptions } from "./types.ts";

type Options = LocalGuardOptions<readonly unknown[], unknown> & { readonly context?: boolean | undefined };

/** A function of the same type that is decided before it runs, at the desk that is there when it is called. See `LocalSentinel.guard`. */
export function guard(deskOf: () => Desk, options: Options, fn: AnyFunction): AnyFunction {
  const guarding = guardingOf(options);
  assertNoClass(fn, guarding.facts.action);
  const hasContext = options.context === true;
  // What runs is called as `fn` was to be called: the overloads of `LocalSentinel.guard` say so.
  const run = fn as (...args: unknown[]) => unknown;
  const isAsync = Reflect.get(fn, Symbol.toStringTag) === "AsyncFunction";

  const guarded = function (this: unknown, ...args: unknown[]): unknown {
    const desk = deskOf();
    let call: Call;
    try {
      call = new Call(desk, guarding, args);
    } catch (error) {
      // An async function never throws before it gives a promise.
      if (isAsync) return Promise.reject(error);
      throw error;
    }
    let result: unknown;
    try {
      const replayed = desk.replay === null ? null : call.replayed();
      if (replayed === null) result = call.within(apply, run, this, hasContext ? [call.context(), ...args] : args);
      else result = isAsync ? Promise.resolve(replayed.value) : replayed.value;
    } catch (error) {
      call.failed(error);
      if (isAsync) return Promise.reject(error);
      throw error;
    }
    return call.gave(result);
  };
  return likeness(guarded, fn, hasContext);
}

export function guardingOf(options: Options): Guarding {
  const { action, tags, riskLevel, rationale, confidence, sources, parents, model, usage, approval, ttlMs, costUsd } = options;
  assertKnown(options, OPTIONS);
  return {
    facts: factsOf({ action, tags, riskLevel, rationale, confidence, sources, parents, model, usage, approval, ttlMs }),
    options,
    fixedMicroUsd: costUsd === undefined || typeof costUsd === "function" ? null : microUsd(costUsd, "costUsd"),
  };
}

/** As for a gateway, and for hybrid guards what those have besides. */
const OPTIONS = [
  ...["action", "costUsd", "actualUsd", "resource", "inputs", "outputs", "run", "signal", "context", "id", "onUnavailable"],
  ...["tags", "riskLevel", "rationale", "confidence", "sources", "parents", "model", "usage", "approval", "ttlMs"],
];

/** A misspelt cost would cost nothing. Throws a `TypeError` that names it. `what`: what cannot be done with it. */
export function assertKnown(options: object, known: readonly string[], what = "guard"): void {
  const first = Object.keys(options).find((name) => !known.includes(name));
  if (first !== undefined) throw new TypeError(`Cannot ${what} with the option ${JSON.stringify(first)}: wanted ${known.join(", ")}`);
}

const apply = (fn: (...args: unknown[]) => unknown, self: unknown, args: unknown[]): unknown => Reflect.apply(fn, self, args);

/** Gives one function the look of another: its name, its own members, its kind, and its length without the context. */
export function likeness(guarded: AnyFunction, fn: AnyFunction, hasContext: boolean): AnyFunction {
  const { prototype: _, arguments: __, caller: ___, ...members } = Object.getOwnPropertyDescriptors(fn as object) as PropertyDescriptorMap;
  Object.setPrototypeOf(guarded, Object.getPrototypeOf(fn));
  return Object.defineProperties(guarded, {
    ...members,
    length: { value: hasContext && fn.length > 0 ? fn.length - 1 : fn.length, configurable: true },
  });
}
