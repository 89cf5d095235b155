import type * as z from "zod";
import type { Refusal, RefusalCode } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { ok, type Result } from "../core/result.ts";
import type { Scope } from "../core/scopes.ts";
import type { Instant } from "../core/time.ts";
import type { IdempotencyKey } from "../flow/idempotency.ts";
import type { Caller, PageQuery, Ports, Read, Went } from "../flow/ports.ts";
import type { BodyFormat } from "./body.ts";
import type { PARAMETERS } from "./parameters.ts";
import { DEFAULT_LIMIT } from "./requests.ts";

/**
 * One operation, said once: the server's routes, what is checked before an answer is sought, and the OpenAPI document are all made from it.
 */
export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** With `{parameters}` as OpenAPI writes them. */
  readonly path: `/${string}`;
  /** The operation's id, which generated clients use as a method's name. */
  readonly id: string;
  readonly tag: Tag;
  /** Pages for people and their parts are not operations of the API. */
  readonly documented: boolean;
  readonly summary: string;
  readonly description?: string;
  readonly caller: CallerWanted;
  /** Any one of these suffices. A route for anyone has none. */
  readonly scopes: readonly Scope[];
  /** Who refuses a revoked token: the tenant, asked before the answer is sought, or the session, from its lease. */
  readonly revocation: "tenant" | "session";
  /** Whether a link may use it, for the approval that its path names. */
  readonly admitsLinks: boolean;
  readonly query: z.ZodObject;
  readonly body: BodyWanted | null;
  /** Whether the operation makes something, so that an `Idempotency-Key` counts. */
  readonly creates: boolean;
  /** Whether a writer may say what it means to write over, by `If-Match` and `If-None-Match`. */
  readonly hasPreconditions: boolean;
  /** What it may cost on the thread that all share; `null`: no more than any request does. */
  readonly weight: Weight | null;
  /** What reading may cost on that thread, where it is no more than a few rows that are read: then it has its turn. `null`: it is no long read. */
  readonly reads: ReadWeight | null;
  /** Whether its answer is held back for as long as its query's `wait_ms` says. */
  readonly waits: boolean;
  /** Whether it must not wait behind what else its token asks: of whoever may use it, it is counted by itself. */
  readonly isUrgent: boolean;
  /** Whether it changes what the door itself goes by. */
  readonly changesSettings: boolean;
  readonly answers: readonly AnswerShape[];
  /** What can be refused beyond what every such route refuses. */
  readonly refuses: readonly RefusalCode[];
  answer(asked: Asked): Promise<Result<Answer, Refusal>>;
}

export type Tag =
  | "Sessions"
  | "Decisions"
  | "Client leases"
  | "Approvals"
  | "Policies"
  | "Entities"
  | "Events"
  | "Interventions"
  | "Ledger"
  | "Settings"
  | "Tenants and tokens"
  | "Webhooks"
  | "Served";

/**
 * Milliseconds of the thread on which everybody's decisions are made, as measured at worst: what a request costs whatever it says, and what each KiB of its
 * body does. What only its story knows (`Asked.spend`) is counted when it is answered; until then `held` is, so that many at once are no way around it.
 */
export interface Weight {
  readonly request: number;
  readonly kib: number;
  readonly held: number;
}

/** A MiB that is parsed as a policy: 1.7 s if all of it is comments, 2.0 s with 20,000 rules, and at worst 3 s. */
export const POLICY_WEIGHT: Weight = { request: 5, kib: 3, held: 0 };
/** What regular expressions cost, of which a text of 5 KiB can have as many as one of a MiB: 100,000 instructions are made in 0.1 to 0.4 s. */
export const MS_PER_INSTRUCTION = 0.004;
/** A simulation is bounded by itself, and takes turns with others: so two at once of a token, and five of a tenant. */
export const SIMULATION_WEIGHT: Weight = { ...POLICY_WEIGHT, held: 500 };
/** A report of 4 MiB, in a thousand lines of three hundred members: 1.8 s. */
export const REPORT_WEIGHT: Weight = { request: 2, kib: 0.5, held: 0 };

/**
 * Milliseconds of that thread again: what a read costs whatever it finds, and what each item of the page that it asks for may cost. So much is counted
 * until it is answered, and then what it went through: {@link MS_OF_READING}.
 */
export interface ReadWeight {
  readonly request: number;
  readonly item: number;
}

/** Entries, of which a page of a thousand is 2.7 MB and takes 87 ms. */
export const ENTRIES_WEIGHT: ReadWeight = { request: 6, item: 0.08 };
/** An export reads five hundred entries at a time, and is taken for a page of a hundred, since it asks for none. */
export const EXPORT_WEIGHT: ReadWeight = { ...ENTRIES_WEIGHT, item: 5 * ENTRIES_WEIGHT.item };
/** Sums have no pages: of what they walk through nobody knows before, and of 178,000 entries it was two seconds. So two of a token begin at once, not six. */
export const SUMS_WEIGHT: ReadWeight = { request: 6, item: 2.5 };
/** What a tenant's object lists: a thousand sessions are 14 ms, a thousand approvals 33. */
export const LIST_WEIGHT: ReadWeight = { request: 3, item: 0.03 };
/** Ten thousand entries that are walked through are 25 ms and more, and a hundred live sessions that hand over what they recorded 20. */
export const MS_OF_READING: { readonly [what in keyof Read]: number } = { rows: 0.003, sessions: 0.2, characters: 0.02 / 1024 };

export type CallerWanted = "anyone" | "root" | "bearer" | "root or bearer";

export interface BodyWanted {
  readonly formats: readonly BodyFormat[];
  /** `null`: the text itself is the body, and the handler parses it. */
  readonly schema: z.ZodType | null;
  /** An absent body stands for `{}`. */
  readonly optional: boolean;
  /** The list of its items that stand or fall by themselves: an ambiguous one is no fault of the whole. */
  readonly apart?: string;
  /** How many bytes it may have, where that is not what every body may. */
  readonly mostBytes?: number;
  readonly example: unknown;
}

export interface AnswerShape {
  readonly status: 101 | 200 | 201 | 202 | 204 | 304;
  readonly means: string;
  /** In order of preference; none for an answer without a body. */
  readonly types: readonly string[];
  /** What a client may also say it accepts, where that cannot but mean the first of `types`. */
  readonly alsoAccepted?: readonly string[];
  /** The schema of the JSON representation. */
  readonly schema?: z.ZodType;
  readonly example?: unknown;
}

/** A request that has passed every door: who asks is known, what is asked is parsed. */
export interface Asked {
  readonly ports: Ports;
  readonly now: Instant;
  readonly origin: string;
  readonly headers: Headers;
  /** The negotiated media type. */
  readonly accepts: string;
  readonly caller: Caller | null;
  readonly key: IdempotencyKey;
  readonly parameters: { readonly [name: string]: unknown };
  readonly query: unknown;
  readonly body: unknown;
  /** The body as it came; empty where the route has none. */
  readonly text: string;
  readonly format: BodyFormat;
  /** Told what making the answer cost, or the refusal, where that could not be said of the request. */
  spend(workMs: number): void;
  /** Told what a read went through. */
  went: Went;
  /** Waits, where a long answer is read while it is sent, until more of it may be read. */
  turn(): Promise<void>;
}

export interface Answer {
  readonly status: 101 | 200 | 201 | 202 | 204 | 304;
  readonly body:
    | { readonly json: unknown }
    | { readonly text: string | ReadableStream<Uint8Array>; readonly type: string }
    | { readonly socket: WebSocket }
    | null;
  readonly headers?: { readonly [name: string]: string };
}

/** Which caller a handler sees. */
interface CallerSeen {
  readonly anyone: null;
  readonly root: Extract<Caller, { kind: "root" }>;
  readonly bearer: Extract<Caller, { kind: "bearer" }>;
  readonly "root or bearer": Caller;
}

type ParametersOf<P extends string> = P extends `${string}{${infer Name}}${infer Rest}`
  ? {
      readonly [N in Name]: N extends keyof typeof PARAMETERS
        ? Extract<ReturnType<(typeof PARAMETERS)[N]["parse"]>, object | string | number>
        : never;
    } & ParametersOf<Rest>
  : unknown;

type Typed<P extends `/${string}`, W extends CallerWanted, Q extends z.ZodObject, B extends BodyWanted | null> = Omit<
  Asked,
  "caller" | "parameters" | "query" | "body"
> & {
  readonly caller: CallerSeen[W];
  /** Who asks; known on every route for bearers. */
  readonly principal: W extends "bearer" ? Principal : null;
  readonly parameters: ParametersOf<P>;
  readonly query: z.output<Q>;
  readonly body: B extends { readonly schema: infer S extends z.ZodType } ? z.output<S> : undefined;
};

type RouteSpec<P extends `/${string}`, W extends CallerWanted, Q extends z.ZodObject, B extends BodyWanted | null> = Omit<
  Route,
  | "path"
  | "caller"
  | "query"
  | "body"
  | "scopes"
  | "revocation"
  | "admitsLinks"
  | "documented"
  | "creates"
  | "hasPreconditions"
  | "weight"
  | "reads"
  | "waits"
  | "isUrgent"
  | "changesSettings"
  | "refuses"
  | "answer"
> & {
  readonly path: P;
  readonly caller: W;
  readonly query: Q;
  readonly body: B;
  readonly scopes?: readonly Scope[];
  readonly revocation?: Route["revocation"];
  readonly admitsLinks?: boolean;
  readonly documented?: boolean;
  readonly creates?: boolean;
  readonly hasPreconditions?: boolean;
  readonly weight?: Weight;
  readonly reads?: ReadWeight;
  readonly waits?: boolean;
  readonly isUrgent?: boolean;
  readonly changesSettings?: boolean;
  readonly refuses?: readonly RefusalCode[];
  readonly answer: (asked: Typed<P, W, Q, B>) => Promise<Result<Answer, Refusal>>;
};

/** Makes a route whose handler sees its parameters, query, body and caller in their own types. */
export function route<const P extends `/${string}`, const W extends CallerWanted, Q extends z.ZodObject, B extends BodyWanted | null>(
  spec: RouteSpec<P, W, Q, B>,
): Route {
  return {
    scopes: [],
    revocation: "tenant",
    admitsLinks: false,
    documented: true,
    creates: false,
    hasPreconditions: false,
    weight: null,
    reads: null,
    waits: false,
    isUrgent: false,
    changesSettings: false,
    refuses: [],
    ...spec,
    // The app parses by this very route's schemas and admits only the caller it wants, so what it hands over has these types.
    answer: (asked) => spec.answer({ ...asked, principal: asked.caller?.kind === "bearer" ? asked.caller.principal : null } as Typed<P, W, Q, B>),
  };
}

/** A body of JSON. */
export const jsonBody = <S extends z.ZodType>(schema: S, example: unknown) =>
  ({ formats: ["json"], schema, optional: false, example }) as const satisfies BodyWanted;

/** A body of JSON in which nothing is needed, so that it may be absent. */
export const optionalBody = <S extends z.ZodType>(schema: S, example: unknown) =>
  ({ formats: ["json"], schema, optional: true, example }) as const satisfies BodyWanted;

/** An answer of JSON, as the OpenAPI document shows it. */
export const jsonAnswer = (status: 200 | 201 | 202, means: string, schema: z.ZodType, example: unknown): AnswerShape => ({
  status,
  means,
  types: ["application/json"],
  schema,
  example,
});

export const noContent = (means: string): AnswerShape => ({ status: 204, means, types: [] });

export const answered = (status: 200 | 201 | 202, json: unknown, headers?: Answer["headers"]): Answer =>
  headers === undefined ? { status, body: { json } } : { status, body: { json }, headers };

/** The header that tells a repeated answer from a first one. */
export const replay = (replayed: boolean): { readonly [name: string]: string } => (replayed ? { "Idempotency-Replayed": "true" } : {});

/** Turns what a story answered into what is sent. */
export const reply = <T>(told: Result<T, Refusal>, toAnswer: (value: T) => Answer): Result<Answer, Refusal> =>
  told.ok ? ok(toAnswer(told.value)) : told;

/** The part of a list's query that says which page. */
export const pageQuery = (query: { readonly limit?: number | undefined; readonly cursor?: string | undefined }): PageQuery => ({
  limit: query.limit ?? DEFAULT_LIMIT,
  cursor: query.cursor ?? null,
});
