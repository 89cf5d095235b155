import type { UsdInput } from "../surface.ts";
import { theDesk } from "./default.ts";
import { assertKnown, guard } from "./guard.ts";
import type { AnyFunction } from "./types.ts";

export interface GuardedActionOptions {
  /** The name that policies know it by. Default: the function's or the method's. */
  readonly name?: string | undefined;
  /** The most it may cost, in USD: an amount, or a function of the arguments. Default 0. */
  readonly costUsd?: UsdInput | ((...args: never) => UsdInput) | undefined;
  readonly tags?: readonly string[] | undefined;
  /** What it did cost, from its result. Default: `costUsd`. */
  readonly actualUsd?: ((result: never) => UsdInput) | undefined;
}

/** Guards whatever it is put on: a function it is called with, a method or a field as a decorator, standard or legacy. Types stay as they are. */
export interface GuardedActionDecorator {
  <This, Args extends unknown[], Result>(
    method: (this: This, ...args: Args) => Result,
    context: ClassMethodDecoratorContext<This, (this: This, ...args: Args) => Result>,
  ): (this: This, ...args: Args) => Result;
  <This, Field extends AnyFunction>(nothing: undefined, context: ClassFieldDecoratorContext<This, Field>): (this: This, value: Field) => Field;
  <Method extends AnyFunction>(target: object, name: string | symbol, descriptor: TypedPropertyDescriptor<Method>): TypedPropertyDescriptor<Method>;
  <Guarded extends AnyFunction>(fn: Guarded): Guarded;
}

/**
 * The original's decorator: what it guards is decided by `PolicyEngine`, counted by `CostTracker` and recorded in the ledger. Exceptions pass
 * unchanged, and are recorded with the outcome `error`. Until `PolicyEngine` is configured nothing runs (`policy_missing`): `PolicyEngine.configure({})`
 * permits everything.
 */
export function guardedAction(options: GuardedActionOptions = {}): GuardedActionDecorator {
  assertKnown(options, ["name", "costUsd", "tags", "actualUsd"]);
  const guarded = (fn: AnyFunction, name: string): AnyFunction => {
    const { name: action = name, costUsd, tags, actualUsd } = options;
    if (action === "") throw new TypeError('Cannot guard a function that has no name: wanted the option "name", by which policies know it');
    // What the functions among the options take, the guarded function takes or gives: they are written for it.
    const asked = { action, tags, costUsd: costUsd as UsdInput | undefined, actualUsd: actualUsd as (() => UsdInput) | undefined };
    return guard(theDesk, asked, fn);
  };
  const decorate = (target: unknown, place?: DecoratorContext | string | symbol, descriptor?: PropertyDescriptor): unknown => {
    if (place === undefined) return guarded(functionIn(target), functionIn(target).name);
    if (typeof place !== "object") return { ...descriptor, value: guarded(functionIn(descriptor?.value), nameOf(place)) };
    if (place.kind === "method") return guarded(functionIn(target), nameOf(place.name));
    if (place.kind === "field") return (value: unknown) => guarded(functionIn(value), nameOf(place.name));
    throw new TypeError(`Cannot guard a ${place.kind}: wanted a function, a method or a field with a function`);
  };
  // One function stands for the overloads: it is told what it is put on by what it is called with.
  return decorate as GuardedActionDecorator;
}

function functionIn(value: unknown): AnyFunction {
  if (typeof value === "function") return value as AnyFunction;
  throw new TypeError("Cannot guard this: wanted a function, a method or a field with a function");
}

/** A private method's name without its mark, a symbol's description. */
const nameOf = (name: string | symbol): string => (typeof name === "symbol" ? (name.description ?? "") : name.replace(/^#/, ""));
