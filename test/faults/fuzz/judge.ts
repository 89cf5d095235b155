import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { type Documented, type OpenApi, type Operation, placeOf } from "./operations.ts";
import type { Schema } from "./values.ts";
import { type Answer, isAnswer, type Outcome, type Sent } from "./wire.ts";

/** What is wrong with an answer. `kind` and `where` are the same for the same fault, whatever the request was. */
export interface Fault {
  readonly kind:
    | "5xx"
    | "status not documented"
    | "media type not documented"
    | "schema"
    | "member not documented"
    | "problem"
    | "code not documented"
    | "header"
    | "leak"
    | "no answer"
    | "not served"
    | "not exact";
  readonly where: string;
  readonly what: string;
}

export interface Judge {
  /** Every fault of an outcome; none: it is as the document says. */
  of(sent: Sent, outcome: Outcome): readonly Fault[];
  /** From now on nobody but the owner is answered well about these. */
  keepApart(ids: readonly string[], owner: string): void;
  /** Whether a body is one that the document accepts. */
  accepts(schema: Schema, value: unknown): boolean;
}

/** What the runtime answers by itself to what is no HTTP; it says so in plain text, and the Worker never sees the request. */
const PROBLEM = "application/problem+json";
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/**
 * What must never be seen outside: a stack, a file of ours, SQL, what engines say of errors. A caller's own words come back in messages, so what the
 * request said itself does not count.
 */
const INSIDES = [
  /\bat \S+ \(/,
  /\b[\w-]+\.[cm]?[tj]s:\d+/,
  /node_modules/,
  /\b(SQLITE|D1)_\w+/,
  /\b(SELECT|INSERT|UPDATE|DELETE) .+ (FROM|INTO|SET|WHERE)\b/,
  /\b(Type|Range|Syntax|Reference)Error\b/,
  /undefined is not|of undefined|\[object Object\]/,
];

export function createJudge(document: OpenApi, operations: readonly Operation[], secrets: readonly string[]): Judge {
  const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: false, allowUnionTypes: true });
  // RFC 3339 in UTC with milliseconds, which is what the contract says of its own answers.
  ajv.addFormat("date-time", /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/);
  ajv.addFormat("uri", (text: string) => URL.canParse(text));
  ajv.addFormat("uri-reference", /^[!#$&-;=?-Z[\]_a-z~%]*$/);
  const validators = new WeakMap<Schema, { readonly open: ValidateFunction; readonly closed: ValidateFunction }>();
  const $defs = rooted(document.components.schemas);
  const closedDefs = closed($defs);
  const validatorsOf = (schema: Schema) => {
    const known = validators.get(schema);
    if (known !== undefined) return known;
    const made = {
      open: ajv.compile({ ...(rooted(schema) as object), $defs }),
      closed: ajv.compile({ ...(closed(rooted(schema)) as object), $defs: closedDefs }),
    };
    validators.set(schema, made);
    return made;
  };
  const problemSchema = document.components.schemas.Problem;
  if (problemSchema === undefined) throw new Error("The document has no schema Problem.");

  /** The body of an answer against one documented answer. */
  const bodyFaults = (answer: Answer, where: string, documented: Documented): Fault[] => {
    if (documented.content.size === 0) {
      return answer.body.length === 0 ? [] : [{ kind: "schema", where, what: "a body came where none is documented" }];
    }
    const type = mediaTypeOf(answer);
    const schema = documented.content.get(type);
    if (schema === undefined) return [{ kind: "media type not documented", where, what: type }];
    if (type !== "application/json" && !type.endsWith("+json")) return [];
    let value: unknown;
    try {
      value = JSON.parse(answer.body.toString("utf8"));
    } catch (error) {
      return [{ kind: "schema", where, what: `no JSON: ${error instanceof Error ? error.message : String(error)}` }];
    }
    const { open, closed: withoutMore } = validatorsOf(schema);
    if (!open(value)) return [{ kind: "schema", where, what: ajv.errorsText(open.errors) }];
    if (!withoutMore(value))
      return [
        { kind: "member not documented", where, what: `${ajv.errorsText(withoutMore.errors)} ${JSON.stringify(withoutMore.errors?.[0]?.params)}` },
      ];
    return [];
  };

  const problemFaults = (sent: Sent, answer: Answer, where: string): Fault[] => {
    if (mediaTypeOf(answer) !== PROBLEM)
      return [{ kind: "problem", where, what: `media type ${mediaTypeOf(answer)}: ${answer.body.toString("utf8").slice(0, 200)}` }];
    // A refusal to HEAD has no body to look at.
    if (sent.method === "HEAD") return [];
    const faults = bodyFaults(answer, where, { content: new Map([[PROBLEM, problemSchema]]), codes: new Set() });
    if (faults.length > 0) return faults;
    const problem: { status: number; code: string; request_id: string; issues?: { pointer: string }[] } = JSON.parse(answer.body.toString("utf8"));
    if (problem.status !== answer.status) faults.push({ kind: "problem", where, what: `says status ${problem.status}` });
    if (problem.request_id !== answer.headers.get("x-request-id"))
      faults.push({ kind: "problem", where, what: "request_id is not that of the header" });
    for (const { pointer } of problem.issues ?? []) {
      if (!/^(\/([^~/]|~[01])*)*$/su.test(pointer)) faults.push({ kind: "problem", where, what: "an issue's pointer is no RFC 6901 pointer" });
    }
    if (answer.status === 401 && !answer.headers.has("www-authenticate"))
      faults.push({ kind: "header", where, what: "401 without WWW-Authenticate" });
    if (answer.status === 405 && !answer.headers.has("allow")) faults.push({ kind: "header", where, what: "405 without Allow" });
    if ([429, 503].includes(answer.status) && !/^\d+$/.test(answer.headers.get("retry-after") ?? ""))
      faults.push({ kind: "header", where, what: `${answer.status} without Retry-After` });
    return faults;
  };

  const headerFaults = (sent: Sent, answer: Answer, where: string): Fault[] => {
    const faults: Fault[] = [];
    const header = (what: string) => faults.push({ kind: "header", where, what });
    const [stated, ...more] = sent.headers.filter(([name]) => name.toLowerCase() === "x-request-id").map(([, value]) => value.trim());
    const found = answer.headers.get("x-request-id");
    if (found === undefined) header("X-Request-ID is missing");
    else if (stated !== undefined && more.length === 0 && REQUEST_ID.test(stated)) {
      if (found !== stated) header("X-Request-ID is not the one that was sent");
    } else if (!REQUEST_ID.test(found)) header("X-Request-ID is not visible ASCII");
    if (answer.headers.get("x-content-type-options") !== "nosniff") header("X-Content-Type-Options is missing");
    if (!answer.headers.has("cache-control")) header("Cache-Control is missing");
    return faults;
  };

  const leakFaults = (sent: Sent, answer: Answer, where: string): Fault[] => {
    if (answer.status < 400) return [];
    const text = answer.body.toString("utf8");
    const asked = `${sent.target} ${tryDecode(sent.target)} ${sent.headers.map(([, value]) => value).join(" ")} ${sent.body?.toString("utf8") ?? ""}`;
    const faults: Fault[] = [];
    for (const inside of INSIDES) {
      const seen = inside.exec(text)?.[0];
      if (seen !== undefined && !asked.includes(seen)) faults.push({ kind: "leak", where, what: seen.slice(0, 100) });
    }
    for (const secret of secrets) if (text.includes(secret)) faults.push({ kind: "leak", where, what: "a secret" });
    return faults;
  };

  const owners = new Map<string, string>();
  /** Whoever asks about what another tenant has learns nothing but that there is no such thing. */
  const strangerFaults = ({ target, headers }: Sent, { status }: Answer, where: string): Fault[] => {
    const path = tryDecode(target.split("?", 1)[0] ?? "");
    const owner = status < 400 ? [...owners].find(([id]) => path.includes(id))?.[1] : undefined;
    const isOwners = owner === undefined || headers.some(([, value]) => value.includes(owner));
    return isOwners ? [] : [{ kind: "leak", where, what: "what another tenant has" }];
  };

  return {
    keepApart(ids, owner) {
      for (const id of ids) owners.set(id, owner);
    },
    accepts: (schema, value) => validatorsOf(schema).closed(value) === true,
    of(sent, outcome) {
      const place = placeOf(operations, sent.target);
      const method = sent.method === "HEAD" ? "GET" : sent.method;
      // What opens a socket has nothing that HEAD could leave out.
      const meant = place.operations.filter((operation) => operation.method === method && !(sent.method === "HEAD" && operation.responses.has(101)));
      const where = meant[0]?.id ?? place.operations[0]?.path ?? (place.isPage ? "a page" : "nowhere");
      if (!isAnswer(outcome)) {
        return [
          {
            kind: "no answer",
            where,
            what: `${outcome.fault} after ${Math.round(outcome.tookMs)} ms${outcome.received === "" ? "" : `: ${outcome.received.slice(0, 200)}`}`,
          },
        ];
      }
      const { status } = outcome;
      const at = `${where} ${status}`;
      const faults = [...headerFaults(sent, outcome, at), ...leakFaults(sent, outcome, at), ...strangerFaults(sent, outcome, at)];
      if (status >= 500 && status !== 503) return [{ kind: "5xx", where: at, what: outcome.body.toString("utf8").slice(0, 500) }, ...faults];
      if (status >= 400) faults.push(...problemFaults(sent, outcome, at));
      // A path that is read in more than one way may be none, too.
      const isOdd = /[%\\]|\/\/|\/\.|^[^/]/.test(sent.target.split("?", 1)[0] ?? "");
      if (place.operations.length === 0 && !place.isPage)
        return status === 404 ? faults : [...faults, { kind: "not served", where: at, what: "wanted 404" }];
      if (isOdd && status === 404) return faults;
      // Nor need what it is read as offer the method that the other reading has.
      if (isOdd && status === 405 && place.operations.some((operation) => operation.method !== method)) return faults;
      if (meant.length === 0) {
        const isFine =
          status === 405 ||
          (sent.method === "OPTIONS" && status === 204) ||
          (place.isPage && (status === 200 || status === 406 || status === 422)) ||
          (isOdd && status === 404);
        return isFine ? faults : [...faults, { kind: "not served", where: at, what: `wanted 405 for ${sent.method}` }];
      }
      // Of several readings of one path one is right, and the answer must be one of its answers.
      const perReading = meant.map((operation) => answerFaults(operation, sent, outcome, `${operation.id} ${status}`, bodyFaults));
      return [...faults, ...(perReading.find((found) => found.length === 0) ?? perReading[0] ?? [])];
    },
  };
}

function answerFaults(
  operation: Operation,
  sent: Sent,
  answer: Answer,
  where: string,
  bodyFaults: (answer: Answer, where: string, documented: Documented) => Fault[],
): readonly Fault[] {
  const documented = operation.responses.get(answer.status);
  if (documented === undefined) {
    return [{ kind: "status not documented", where, what: answer.body.toString("utf8").slice(0, 300) }];
  }
  if (answer.status >= 400) {
    if (sent.method === "HEAD") return [];
    const code = /"code":"(\w+)"/.exec(answer.body.toString("utf8"))?.[1] ?? "";
    return documented.codes.has(code) ? [] : [{ kind: "code not documented", where, what: code }];
  }
  if (sent.method === "HEAD" || !answer.isWhole) {
    const type = mediaTypeOf(answer);
    return documented.content.size === 0 || documented.content.has(type) ? [] : [{ kind: "media type not documented", where, what: type }];
  }
  return bodyFaults(answer, where, documented);
}

const mediaTypeOf = (answer: Answer): string => (answer.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";

/** References into the document as references into a schema of its own. */
const rooted = (schema: unknown): unknown => JSON.parse(JSON.stringify(schema).replaceAll('"#/components/schemas/', '"#/$defs/'));

/** The same schema, in which an object may have no member beyond those it names. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== "object" || schema === null) return schema;
  const made = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, ANNOTATIONS.has(key) ? value : closed(value)]));
  const isObjectSchema = made.type === "object" && typeof made.properties === "object" && made.additionalProperties === undefined;
  return isObjectSchema ? { ...made, additionalProperties: false } : made;
}

/** Values, not schemas. */
const ANNOTATIONS = new Set(["examples", "example", "default", "enum", "const", "required"]);

function tryDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
