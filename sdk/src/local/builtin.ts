/**
 * A module of Node's, where the runtime has it and gives it without an import (Node from 20.16, Deno, Bun, Workers with `nodejs_compat`); `undefined`
 * elsewhere. So one file loads everywhere. What is expected of the module is the caller's word.
 */
export function builtin<Module>(name: `node:${string}`): Partial<Module> | undefined {
  const { process }: { process?: { getBuiltinModule?: (name: string) => unknown } } = globalThis as object;
  try {
    // Each caller says which of Node's documented members it uses, and looks for each before it does.
    return process?.getBuiltinModule?.(name) as Partial<Module> | undefined;
  } catch {
    return undefined;
  }
}
