import { describe, expect, it } from "vitest";
import * as z from "zod";
import { REFUSALS } from "../../src/core/refusals.ts";
import { ok } from "../../src/core/result.ts";
import { SCOPES, SCOPES_NO_AGENT_HOLDS } from "../../src/core/scopes.ts";
import * as answers from "../../src/http/answers.ts";
import { EXAMPLE_IDS } from "../../src/http/fields.ts";
import { parseWith } from "../../src/http/issues.ts";
import { refusalsOf } from "../../src/http/openapi.ts";
import { isParameter, PARAMETERS } from "../../src/http/parameters.ts";
import type { Route } from "../../src/http/route.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { asDeclared } from "./http_declared.ts";
import { appOver, bearer, SERVICE } from "./http_world.ts";

/** Each request meets a door that has seen none before: time stands still here, and policies weigh. */
const send: ReturnType<typeof appOver> = (...request) => appOver()(...request);

const pathOf = (route: Route): string =>
  route.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => (isParameter(name) ? String(PARAMETERS[name].example) : name));

const JSON_TYPE = { "Content-Type": "application/json" };

/** A request that the route answers: the example of the OpenAPI document, sent by whom the route wants. */
function goodRequest(route: Route): { readonly path: string; readonly init: RequestInit & { readonly headers: Record<string, string> } } {
  const headers: Record<string, string> = {};
  if (route.caller !== "anyone") headers.Authorization = route.caller === "root" ? "Bearer root" : SERVICE;
  const init: RequestInit & { headers: Record<string, string> } = { method: route.method, headers };
  if (route.body !== null) {
    headers["Content-Type"] = route.body.formats[0] === "yaml" ? "application/yaml" : "application/json";
    init.body = typeof route.body.example === "string" ? route.body.example : JSON.stringify(route.body.example);
  }
  return { path: pathOf(route), init };
}

async function problemOf(response: Response): Promise<z.infer<typeof answers.problem>> {
  expect(response.headers.get("Content-Type")).toBe("application/problem+json");
  const problem = z.strictObject(answers.problem.shape).parse(await response.json());
  expect(problem.status).toBe(response.status);
  expect(problem.request_id).toBe(response.headers.get("X-Request-ID"));
  return problem;
}

const named = ROUTES.map((route) => [`${route.method} ${route.path}`, route] as const);
const withToken = named.filter(([, { caller }]) => caller !== "anyone");
const withBody = named.filter(([, { body }]) => body !== null);
const withJson = withBody.filter(([, { body }]) => body?.schema != null);

describe("every route", () => {
  // Streams begin with a socket, which Node does not have: workerd's tests listen to them.
  it.each(named.filter(([, { tag }]) => tag !== "Events"))("%s answers its own example as it says it does", async (_, route) => {
    const { path, init } = goodRequest(route);
    const response = await send(path, init);
    expect(route.answers.map(({ status }) => status)).toContain(response.status);
    expect(response.headers.get("X-Request-ID")).toMatch(/^req_/);
    const shape = route.answers.find(({ status }) => status === response.status);
    // The world's ledger rows are abbreviated; the workerd tests hold real ones against the schema.
    if (shape?.schema !== undefined && shape.types[0] === "application/json" && route.tag !== "Ledger" && route.id !== "listInterventions")
      shape.schema.parse(await response.json());
  });

  it.each(named)("%s says which methods it offers when it is sent another", async (_, route) => {
    const response = await send(pathOf(route), { method: "PATCH" });
    expect((await problemOf(response)).code).toBe("method_not_allowed");
    expect(response.headers.get("Allow")).toContain(route.method);
  });

  it.each(named.filter(([, { method }]) => method === "GET"))("%s has a head without a body, unless it opens a socket", async (_, route) => {
    const { path, init } = goodRequest(route);
    const response = await send(path, { ...init, method: "HEAD" });
    const opens = route.answers.some(({ status }) => status === 101);
    expect(await response.text()).toBe("");
    if (!opens) return expect(response.status).not.toBe(405);
    expect([response.status, response.headers.get("Allow")]).toEqual([405, "GET"]);
  });

  it.each(withToken)("%s refuses who sends no token, and says only that one is needed", async (_, route) => {
    const { path, init } = goodRequest(route);
    const { Authorization: _token, ...headers } = init.headers;
    const response = await send(path, { ...init, headers });
    expect((await problemOf(response)).code).toBe("token_missing");
    expect(response.headers.get("WWW-Authenticate")).toBe(
      'Bearer realm="agentsentinel", resource_metadata="http://localhost/.well-known/oauth-protected-resource"',
    );
  });

  it.each(withToken)("%s refuses a token that is none", async (_, route) => {
    const { path, init } = goodRequest(route);
    const response = await send(path, { ...init, headers: { ...init.headers, Authorization: "Bearer nonsense" } });
    expect((await problemOf(response)).code).toBe("token_invalid");
    expect(response.headers.get("WWW-Authenticate")).toContain('error="invalid_token"');
  });

  it.each(withToken)("%s refuses a token without its scope, and names the scope", async (_, route) => {
    const { path, init } = goodRequest(route);
    const others = SCOPES.filter((scope) => !route.scopes.includes(scope));
    const Authorization = bearer("service", "ops", others);
    const response = await send(path, { ...init, headers: { ...init.headers, Authorization } });
    expect((await problemOf(response)).code).toBe("scope_insufficient");
    expect(response.headers.get("WWW-Authenticate")).toContain('error="insufficient_scope"');
    for (const scope of route.scopes) expect(response.headers.get("WWW-Authenticate")).toContain(scope);
  });

  it.each(withToken)("%s admits the root key only where it is meant", async (_, route) => {
    const { path, init } = goodRequest(route);
    const response = await send(path, { ...init, headers: { ...init.headers, Authorization: "Bearer root" } });
    if (route.caller === "bearer") expect((await problemOf(response)).code).toBe("scope_insufficient");
    else expect(response.status).not.toBe(403);
  });

  it.each(withToken.filter(([, { caller }]) => caller !== "root"))(
    "%s refuses a revoked token, or leaves that to the session's lease",
    async (_, route) => {
      const { path, init } = goodRequest(route);
      const response = await appOver({ tenants: { isTokenGood: async () => false } })(path, init);
      if (route.revocation === "session") expect(response.status).toBe(route.answers[0]?.status);
      else expect((await problemOf(response)).code).toBe("token_revoked");
    },
  );

  it.each(withBody)("%s refuses another media type, whatever else is wrong", async (_, route) => {
    const { path, init } = goodRequest(route);
    for (const type of ["text/plain", "application/jsonx", "application/json; charset=latin1", "application/xml"]) {
      const response = await send(path, { ...init, body: "{", headers: { ...init.headers, "Content-Type": type } });
      expect((await problemOf(response)).code).toBe("media_type_unsupported");
    }
  });

  it.each(withBody)("%s refuses JSON that is malformed, ambiguous, too deep or not UTF-8", async (_, route) => {
    const { path, init } = goodRequest(route);
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    const bodies: readonly (string | Uint8Array<ArrayBuffer>)[] = [
      "{",
      '{"a":1,}',
      "nonsense",
      '{"a":1,"a":2}',
      '{"x":{"a":1,"\\u0061":2}}',
      deep,
      '{"n":1e999}',
      new Uint8Array([0x22, 0xff, 0x22]),
    ];
    for (const body of bodies) {
      const response = await send(path, { ...init, body, headers: { ...init.headers, ...JSON_TYPE } });
      expect((await problemOf(response)).code).toBe("body_malformed");
    }
  });

  it.each(withBody)("%s refuses a body beyond the limit, announced or not", async (_, route) => {
    const { path, init } = goodRequest(route);
    const large = `{"inputs":"${"x".repeat(route.body?.mostBytes ?? 256 * 1024)}"}`;
    const chunks = new ReadableStream({
      start(controller) {
        for (let at = 0; at < large.length; at += 50_000) controller.enqueue(new TextEncoder().encode(large.slice(at, at + 50_000)));
        controller.close();
      },
    });
    // `duplex` is needed for a streamed body and unknown to the runtime's types.
    const tries: readonly (readonly [RequestInit, Record<string, string>])[] = [
      [{ body: large }, {}],
      [{ body: large }, { "Content-Length": String(large.length) }],
      [{ body: large }, { "Content-Length": "10" }],
      [{ body: chunks, duplex: "half" } as RequestInit, {}],
    ];
    for (const [more, headers] of tries) {
      const response = await send(path, { ...init, ...more, headers: { ...init.headers, ...JSON_TYPE, ...headers } });
      expect((await problemOf(response)).code).toBe("body_too_large");
    }
  });

  it.each(withJson)("%s refuses a member it does not know, and names it", async (_, route) => {
    const { path, init } = goodRequest(route);
    for (const member of ["zzz", "__proto__", "constructor"]) {
      const body = JSON.stringify(route.body?.example).replace(/^\{/, `{"${member}":{}${JSON.stringify(route.body?.example) === "{}" ? "" : ","}`);
      const response = await send(path, { ...init, body });
      const problem = await problemOf(response);
      expect(problem.code).toBe("body_invalid");
      expect(problem.issues?.map(({ pointer }) => pointer)).toEqual([`/${member}`]);
    }
  });

  it.each(withJson)("%s refuses a body that is no object", async (_, route) => {
    const { path, init } = goodRequest(route);
    for (const body of ["[]", "null", "3", '"x"', "true"]) {
      const problem = await problemOf(await send(path, { ...init, body }));
      expect(problem.code).toBe("body_invalid");
      expect(problem.issues?.[0]?.pointer).toBe("");
    }
  });

  it.each(named)("%s refuses a query parameter it does not know", async (_, route) => {
    const { path, init } = goodRequest(route);
    const problem = await problemOf(await send(`${path}?zzz=1`, init));
    expect(problem.code).toBe("body_invalid");
    expect(problem.issues?.[0]?.pointer).toBe("/zzz");
  });

  it.each(named.filter(([, { answers: shapes }]) => shapes.some(({ types }) => types.length > 0)))(
    "%s refuses a client that accepts nothing it has",
    async (_, route) => {
      const { path, init } = goodRequest(route);
      const problem = await problemOf(await send(path, { ...init, headers: { ...init.headers, Accept: "image/avif" } }));
      expect(problem.code).toBe("not_acceptable");
    },
  );

  it.each(named.filter(([, { path }]) => /\{(session|run|decision|token|entry|version)\}/.test(path)))(
    "%s finds nothing under a name that nothing can have",
    async (_, route) => {
      const { path, init } = goodRequest(route);
      const wrong = route.path.replaceAll(/\{\w+\}/g, "nonsense");
      expect(wrong).not.toBe(path);
      expect((await problemOf(await send(wrong, init))).code).toBe("not_found");
    },
  );

  it.each(named)("%s cannot refuse in a test what its document does not name", async (_, route) => {
    const said = refusalsOf(route);
    for (const code of REFUSALS) {
      const response = Response.json({ code }, { headers: { "Content-Type": "application/problem+json" } });
      const seen = asDeclared(route.method, pathOf(route), response);
      if (said.includes(code)) expect(await seen).toBe(response);
      else await expect(seen).rejects.toThrow(`${route.method} ${route.path} refuses with ${code}, which its document does not name`);
    }
  });
});

const NONSENSE: readonly unknown[] = [
  null,
  true,
  -1,
  1.5,
  1e300,
  "",
  "\u0000",
  "\ud800",
  [],
  [null],
  {},
  { a: 1 },
  "x".repeat(9000),
  Array(500).fill("x"),
];

describe("nonsense in a field", () => {
  const fields = withJson.flatMap(([name, route]) =>
    route.body?.schema instanceof z.ZodObject ? Object.keys(route.body.schema.shape).map((field) => [name, field, route] as const) : [],
  );

  it.each(fields)("%s names /%s", async (_, field, route) => {
    let refused = 0;
    for (const nonsense of NONSENSE) {
      const { path, init } = goodRequest(route);
      // The example may be any JSON; here it is an object, as the schema is one.
      const body = JSON.stringify({ ...(route.body?.example as object), [field]: nonsense });
      const response = await send(path, { ...init, body });
      expect(response.status).toBeLessThan(500);
      if (response.status < 300) continue;
      refused++;
      const problem = await problemOf(response);
      // A policy inside a body is refused as a policy.
      expect(field === "policy" ? ["body_invalid", "policy_invalid"] : ["body_invalid", "money_precision"]).toContain(problem.code);
      for (const { pointer } of problem.issues ?? []) expect(pointer === `/${field}` || pointer.startsWith(`/${field}/`)).toBe(true);
      expect(problem.issues?.length).toBeGreaterThan(0);
    }
    // Whatever JSON can carry fits where anything is recorded as it is.
    if (field === "inputs" || field === "outputs") expect(refused).toBe(0);
    else expect(refused).toBeGreaterThan(NONSENSE.length / 3);
  });

  const parameters = named.flatMap(([name, route]) => Object.keys(route.query.shape).map((field) => [name, field, route] as const));

  it.each(parameters)("%s names the query parameter /%s", async (_, field, route) => {
    const { path, init } = goodRequest(route);
    for (const nonsense of ["", "\u0000", "x".repeat(2000)]) {
      const problem = await problemOf(await send(`${path}?${field}=${encodeURIComponent(nonsense)}`, init));
      expect(problem.issues?.map(({ pointer }) => pointer)).toContain(`/${field}`);
    }
    const twice = await problemOf(await send(`${path}?${field}=1&${field}=1`, init));
    expect(twice.issues?.map(({ pointer }) => pointer)).toEqual([`/${field}`]);
  });
});

describe("the examples of the document", () => {
  it.each(withJson)("%s shows a request that its schema takes", (_, route) => {
    if (route.body?.schema != null) expect(parseWith(route.body.schema, route.body.example, "body")).toMatchObject({ ok: true });
  });

  it.each(named)("%s shows answers that its schemas take", (_, route) => {
    for (const shape of route.answers) shape.schema?.parse(shape.example);
  });
});

describe("an entity", () => {
  const put = (path: string, body: unknown, Authorization = SERVICE, app = send): Promise<Response> =>
    app(`/v1/entities/${path}`, {
      method: "PUT",
      headers: { Authorization, ...JSON_TYPE },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  /** A text that fits, with so many bytes of JSON around it that the properties have exactly as many as asked. */
  const sized = (bytes: number) => ({ properties: { text: "x".repeat(bytes - '{"text":""}'.length) } });

  it.each([
    ["customer/c-1", "customer", "c-1"],
    ["file/%2Fhome%2Fa%20b%2F..%2Fc", "file", "/home/a b/../c"],
    ["k%C3%B6nig/%E5%AE%A2-%F0%9F%A6%8A", "könig", "客-🦊"],
    ["a%2Fb/100%25", "a/b", "100%"],
    ["url/https:%2F%2Fa.example%2Fb%3Fc=d%23e", "url", "https://a.example/b?c=d#e"],
    ["x/%252F", "x", "%2F"],
    [`x/${"i".repeat(512)}`, "x", "i".repeat(512)],
    [`${"t".repeat(128)}/x`, "t".repeat(128), "x"],
  ])("is called by its path, decoded once: %s", async (path, type, id) => {
    const seen: unknown[] = [];
    const answers = { properties: {}, updatedAt: 0, updatedBy: "ops" };
    const app = appOver({
      tenants: {
        putEntity: async (_tenant, _principal, entity) => {
          seen.push(entity);
          return ok({ entity: { ...answers, ...entity }, created: false });
        },
        readEntity: async (_tenant, ref) => {
          seen.push(ref);
          return ok({ ...answers, ...ref });
        },
        deleteEntity: async (_tenant, _principal, ref) => {
          seen.push(ref);
          return ok(null);
        },
      },
    });
    const response = await put(path, { properties: { a: 1 } }, SERVICE, app);
    expect([response.status, await response.json()]).toMatchObject([200, { type, id, properties: { a: 1 } }]);
    for (const method of ["GET", "DELETE"]) await app(`/v1/entities/${path}`, { method, headers: { Authorization: SERVICE } });
    expect(seen).toEqual([
      { type, id, properties: { a: 1 } },
      { type, id },
      { type, id },
    ]);
  });

  it.each([
    [`${"t".repeat(129)}/x`, ["/type"]],
    [`x/${"i".repeat(513)}`, ["/id"]],
    ["a%0Ab/x", ["/type"]],
    ["x/%00", ["/id"]],
    ["x/a%7Fb", ["/id"]],
    ["%01/%02", ["/type", "/id"]],
  ])("cannot be called %s", async (path, pointers) => {
    const problem = await problemOf(await put(path, { properties: {} }));
    expect([problem.code, problem.issues?.map(({ pointer }) => pointer)]).toEqual(["body_invalid", pointers]);
  });

  it.each(["M%FCller/x", "x/%FF", "x/%ED%A0%80", "x/100%", "x/%C3"])("is nothing under a path that is no UTF-8: %s", async (path) => {
    for (const method of ["GET", "DELETE"]) {
      expect((await problemOf(await send(`/v1/entities/${path}`, { method, headers: { Authorization: SERVICE } }))).code).toBe("not_found");
    }
    expect((await problemOf(await put(path, { properties: {} }))).code).toBe("not_found");
  });

  it.each([
    ["no properties", "x/y", {}, "/properties"],
    ["properties that are a list", "x/y", { properties: [] }, "/properties"],
    ["an id", "x/y", { properties: { id: "z" } }, "/properties/id"],
    ["a type", "x/y", { properties: { type: null } }, "/properties/type"],
    ["an agent's kind", "agent/y", { properties: { kind: "human" } }, "/properties/kind"],
    ["a person's kind", "human/y", { properties: { kind: "human" } }, "/properties/kind"],
    ["a service's kind", "service/y", { properties: { kind: "human" } }, "/properties/kind"],
    ["a prototype", "x/y", '{"properties":{"__proto__":{}}}', "/properties/__proto__"],
    ["half a character", "x/y", '{"properties":{"a":[1,{"b":"\\ud800"}]}}', "/properties/a/1/b"],
    ["a name of half a character", "x/y", '{"properties":{"a":{"\\udc00":1}}}', "/properties/a"],
    ["a byte too many", "x/y", sized(65_537), "/properties"],
    ["many bytes in few characters", "x/y", { properties: { text: "客".repeat(30_000) } }, "/properties"],
  ])("cannot have %s", async (_, path, body, pointer) => {
    const problem = await problemOf(await put(path, body));
    expect([problem.code, problem.issues?.map((issue) => issue.pointer)]).toEqual(["body_invalid", [pointer]]);
  });

  it.each([
    ["nothing", "x/y", {}],
    ["as many bytes as there may be", "x/y", sized(65_536).properties],
    ["a kind, where no token states it", "document/y", { kind: "invoice" }],
    ["an id and a type further down", "x/y", { owner: { id: "a", type: "b", kind: "c" } }],
    ["any JSON, and whole characters of any plane", "agent/y", { a: [null, true, -0.5, 1e300, "🦊", { "": "" }] }],
  ])("can have %s", async (_, path, properties) => {
    const response = await put(path, { properties });
    expect([response.status, await response.json()]).toMatchObject([201, { properties }]);
  });

  it("is never described by an agent, whatever else its token may do", async () => {
    const agent = bearer(
      "agent",
      "ada",
      SCOPES.filter((scope) => !SCOPES_NO_AGENT_HOLDS.includes(scope)),
    );
    const refused = [
      await put("agent/ada", { properties: { cleared: true } }, agent),
      await put("customer/c-1", { properties: {} }, agent),
      await send("/v1/entities/agent/ada", { method: "DELETE", headers: { Authorization: agent } }),
    ];
    for (const response of refused) expect((await problemOf(response)).code).toBe("scope_insufficient");
    expect((await send("/v1/entities/agent/ada", { headers: { Authorization: agent } })).status).toBe(200);
  });

  it("is listed of one type, or of all", async () => {
    const types: unknown[] = [];
    const app = appOver({
      tenants: {
        listEntities: async (_tenant, page, type) => {
          types.push([page, type]);
          return ok({ items: [], nextCursor: "place.7" });
        },
      },
    });
    const response = await app(`/v1/entities?type=${encodeURIComponent("a/ü")}&limit=3&cursor=place.9`, { headers: { Authorization: SERVICE } });
    expect(await response.json()).toEqual({ items: [], next_cursor: "place.7" });
    await app("/v1/entities", { headers: { Authorization: SERVICE } });
    expect(types).toEqual([
      [{ limit: 3, cursor: "place.9" }, "a/ü"],
      [{ limit: 100, cursor: null }, null],
    ]);
  });
});

describe("what is in force", () => {
  it.each([
    ["an agent", "agent", "", "ada"],
    ["an agent that names itself", "agent", "?agent=ada", "ada"],
    ["a service", "service", "", null],
    ["a service that names an agent", "service", "?agent=eve", "eve"],
    ["a person that names an agent", "human", "?agent=eve", "eve"],
    ["an agent that names another", "agent", "?agent=eve", "not_your_session"],
  ])("is shown to %s", async (_, kind, query, wanted) => {
    const seen: unknown[] = [];
    const app = appOver({
      tenants: {
        effectivePolicy: async (_tenant, agent) => {
          seen.push(agent);
          return ok(null);
        },
      },
    });
    const response = await app(`/v1/policies/effective${query}`, { headers: { Authorization: bearer(kind, "ada", ["policies:read"]) } });
    if (wanted !== "not_your_session") return expect([response.status, seen]).toEqual([200, [wanted]]);
    const problem = await problemOf(response);
    expect([problem.code, problem.issues?.map(({ pointer }) => pointer), seen]).toEqual([wanted, ["/agent"], []]);
  });
});

describe("paths", () => {
  it("refuses an unknown path before it asks who calls", async () => {
    for (const path of ["/v2", "/v1/nothing", "/v1", "/%E0%A4%A", `/v1/sessions/${EXAMPLE_IDS.ses}/decisions/x/y`]) {
      expect((await problemOf(await send(path))).code).toBe("not_found");
    }
  });

  it("keeps the fixed paths from being names of policies", async () => {
    const response = await send("/v1/policies/effective", { method: "PUT", headers: { Authorization: SERVICE } });
    expect(response.headers.get("Allow")).toBe("GET, HEAD");
  });
});
