import type { Schema } from "./values.ts";

/** The operations of a served OpenAPI document, as far as the fuzzer reads it. */

export interface Operation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  /** Which callers may: of each alternative its scheme and its scopes. None: anyone. */
  readonly callers: readonly { readonly isRoot: boolean; readonly scopes: readonly string[] }[];
  readonly parameters: readonly Parameter[];
  /** By media type. */
  readonly bodies: ReadonlyMap<string, Schema>;
  readonly isBodyNeeded: boolean;
  readonly responses: ReadonlyMap<number, Documented>;
}

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly schema: Schema;
}

export interface Documented {
  /** By media type; empty: an answer without a body. */
  readonly content: ReadonlyMap<string, Schema>;
  /** The codes of the problems that are told of this status. */
  readonly codes: ReadonlySet<string>;
}

/** The document's own shape: what every OpenAPI 3.1 document has, and `judge.ts` would find out if it were not so. */
export interface OpenApi {
  readonly paths: { readonly [path: string]: { readonly [method: string]: OpenApiOperation } };
  readonly components: { readonly schemas: { readonly [name: string]: Schema } };
}

interface OpenApiOperation {
  readonly operationId: string;
  readonly security: readonly { readonly [scheme: string]: readonly string[] }[];
  readonly parameters: readonly Parameter[];
  readonly requestBody?: { readonly required: boolean; readonly content: { readonly [type: string]: { readonly schema: Schema } } };
  readonly responses: {
    readonly [status: string]: { readonly content?: { readonly [type: string]: { readonly schema: Schema; readonly examples?: object } } };
  };
}

export function operationsOf(document: OpenApi): readonly Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, operation]): Operation => ({
        id: operation.operationId,
        method: method.toUpperCase(),
        path,
        callers: operation.security.map((alternative) => ({ isRoot: "rootKey" in alternative, scopes: alternative.token ?? [] })),
        parameters: operation.parameters,
        bodies: new Map(Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) => [type, schema])),
        isBodyNeeded: operation.requestBody?.required ?? false,
        responses: new Map(
          Object.entries(operation.responses).map(([status, { content = {} }]) => [
            Number(status),
            {
              content: new Map(Object.entries(content).map(([type, { schema }]) => [type, schema])),
              codes: new Set(Object.values(content).flatMap(({ examples }) => Object.keys(examples ?? {}))),
            },
          ]),
        ),
      }),
    ),
  );
}

/** Pages for people are served and not documented as operations. */
const PAGES = ["/", "/docs", "/docs/problems", "/approve"];

export interface Place {
  /** Of the path, whatever the method. */
  readonly operations: readonly Operation[];
  readonly isPage: boolean;
}

/** Which operations a target may reach: read as URLs are (WHATWG), as it stands, and with its octets decoded. */
export function placeOf(operations: readonly Operation[], target: string): Place {
  const paths = pathsOf(target);
  const meant = new Set(paths.flatMap((one) => operationsAt(operations, one)));
  return { operations: [...meant], isPage: paths.some((one) => PAGES.includes(one)) };
}

/** OpenAPI 3.1: a path without parameters counts before one that has a parameter in its place. */
function operationsAt(operations: readonly Operation[], path: string): readonly Operation[] {
  const fitting = operations.filter((operation) => fits(operation.path, path));
  const parameters = (operation: Operation): number => operation.path.split("{").length;
  const fewest = Math.min(...fitting.map(parameters));
  return fitting.filter((operation) => parameters(operation) === fewest);
}

function pathsOf(target: string): readonly string[] {
  let pathname: string;
  try {
    pathname = new URL(target.startsWith("/") ? `http://gateway${target}` : target, "http://gateway").pathname;
  } catch {
    return [];
  }
  const raw = target.split(/[?#]/, 1)[0] ?? "";
  return [pathname, decoded(pathname), raw, decoded(raw)];
}

/** As routers decode: an encoded slash stays one, or it would part what belongs together. */
const decoded = (path: string): string => path.replace(/(?:%[0-9a-f]{2})+/gi, (octets) => tryDecode(octets));

function tryDecode(octets: string): string {
  try {
    return decodeURI(octets);
  } catch {
    return octets;
  }
}

function fits(template: string, path: string): boolean {
  const wanted = template.split("/");
  const found = path.split("/");
  return wanted.length === found.length && wanted.every((part, index) => (part.startsWith("{") ? found[index] !== "" : part === found[index]));
}
