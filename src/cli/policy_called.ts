import type { PolicyRef } from "../../sdk/src/wire.ts";

/** A policy as it is in force, for reading. Several that hold together (`base@2+bot@1`) have all their versions in the name, so none is added. */
export const policyCalled = ({ name, version }: Pick<PolicyRef, "name" | "version">): string =>
  name.includes("@") ? name : `${name} version ${version}`;
