import { beforeAll, describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { SCOPES } from "../../src/core/scopes.ts";
import { PROBLEMS } from "../../src/http/problems.ts";
import { ROUTES } from "../../src/http/routes.ts";
import {
  AGENT_SCOPES,
  type Answer,
  ask,
  type Estate,
  expiredToken,
  ghostNames,
  leaked,
  type Names,
  newEstate,
  ROOT,
  type Sender,
  stateOf,
} from "./isolation_estate.ts";
import { question, ROWS, type Row, routeOf, type Told } from "./isolation_table.ts";

/** Two hostile tenants on one deployment, and two agents of one of them who are no friends: what each of them gets of the other, on every route. */

/** The other tenant. It stays the same throughout, so that whatever it ever managed to take would show up later. */
let other: Estate;
/** This tenant, for all that is only read. */
let still: Estate;
beforeAll(async () => {
  [other, still] = await Promise.all([newEstate(), newEstate()]);
});

/** What all estates have a name for. A ghost has names and nothing else, so its members are these. */
const NAMED = Object.keys(ghostNames()) as (keyof Names)[];

/** An answer with names in place of what they stand for, and, where something was made, without what is new each time. */
function anonymous(answer: Answer, ...all: readonly Names[]): Answer {
  const isMade = answer.status < 300;
  const unnamed = (text: string): string => {
    let said = text;
    for (const names of all) for (const name of NAMED) said = said.replaceAll(names[name], `{${name}}`);
    return isMade ? said.replaceAll(NEW_EACH_TIME, "{new}") : said;
  };
  return { status: answer.status, headers: unnamed(answer.headers), text: unnamed(answer.text) };
}

const NEW_EACH_TIME =
  /\b(ses|run|dec|apr|tok|ent|int|whk|dlv)_[0-9a-f-]{36}|whsec_[\w+/]+=*|\d{4}-\d\d-\d\dT[\d:.]+Z|\b[0-9a-f]{64}\b|"(seq|epoch|version)":\d+|eyJ[\w-]+\.[\w-]+\.[\w-]+/g;

/** What a problem document says, whether or not the answer is one. */
const codeOf = ({ text }: Answer): string | undefined => /"code":"(\w+)"/.exec(text)?.[1];

function expectTold(answer: Answer, told: Told, where: string): void {
  const line = `${where}: ${answer.status} ${answer.text.slice(0, 300)}`;
  if (told === "own") expect(answer.status, line).toBeLessThan(300);
  else expect([answer.status, codeOf(answer)], line).toEqual([PROBLEMS[told].status, told]);
}

describe("the table", () => {
  it("has every operation, under its own path", () => {
    expect([...new Set(ROWS.map(({ id }) => id))].sort()).toEqual(ROUTES.map(({ id }) => id).sort());
    for (const row of ROWS) {
      const { path } = routeOf(row);
      const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/?]+")}(\\?.*)?$`);
      expect(row.path(ghostNames()), row.id).toMatch(pattern);
    }
  });

  it("says of each whom it admits, as the routes do", () => {
    for (const row of ROWS) {
      const { caller, scopes } = routeOf(row);
      expect({ id: row.id, caller: row.caller, scopes: [...row.scopes].sort() }).toEqual({ id: row.id, caller, scopes: [...scopes].sort() });
    }
  });
});

const EVERY = ROWS.map((row) => [`${row.id}${row.way === undefined ? "" : ` ${row.way}`}`, row] as const);

describe("whoever has no business there", () => {
  it.each(EVERY)("gets nothing and changes nothing by %s", async (_, row) => {
    // What others make in their own places, under names of this tenant, stays there: none of it may stand in the way of the next row.
    const mine = routeOf(row).method === "GET" ? still : await newEstate();
    const owners = await ownersOf(row, mine);
    const unwelcome = await uninvited(row, mine);
    const before = await stateOf(mine);

    await strangers(row, mine, ghostNames());
    await peers(row, mine);
    await Promise.all(unwelcome.map((caller) => turnedAway(row, mine, caller)));
    if (row.changes) expect(await stateOf(mine)).toEqual(before);

    // Whose it is may: what the others were refused was no nonsense that would have been refused anyway, and what it does would have been seen.
    for (const owner of owners) {
      const answer = await ask(owner, question(row, mine.names));
      expect(answer.status, answer.text).toBe(row.status);
    }
    const after = await stateOf(mine);
    if (row.changes) expect(after).not.toEqual(before);
    else expect(after).toEqual(before);
  });
});

/** Whose it is, with no more than one of the scopes that are enough. Reads are tried with each. */
async function ownersOf(row: Row, mine: Estate): Promise<readonly Sender[]> {
  if (row.by === "root") return [ROOT];
  if (row.by === "anyone") return [{ tenant: mine.names.tenant, authorization: null }];
  const of = (scope: wire.Scope) => (row.by === "agent" && AGENT_SCOPES.includes(scope) ? "agent" : "operator");
  const scopes = row.changes ? row.scopes.slice(0, 1) : row.scopes;
  return Promise.all(scopes.map((scope) => mine.tokenWith(of(scope), [scope, ...(row.gives ?? [])])));
}

/** Everybody of another tenant, with this one's names, and with each of them among their own: told what they would be told of what is not there. */
async function strangers(row: Row, mine: Estate, ghost: Names): Promise<void> {
  const compare = async (who: string, sender: Sender, real: Names, unreal: Names, more: Parameters<typeof question>[2] = {}): Promise<Answer> => {
    const asked = question(row, real, more);
    const answer = await ask(sender, asked);
    const same = await ask(sender, question(row, unreal, more));
    expect(leaked(answer, asked, mine.marks), who).toEqual([]);
    expect(anonymous(answer, mine.names), who).toEqual(anonymous(same, ghost));
    return answer;
  };
  // First, so that what is made last is made under this tenant's names throughout, and stands while this tenant looks at its own.
  for (const name of NAMED) {
    const real = { ...other.names, [name]: mine.names[name] };
    const unreal = { ...other.names, [name]: ghost[name] };
    const isNamed = JSON.stringify(question(row, real)) !== JSON.stringify(question(row, unreal));
    if (isNamed) await compare(`with its ${name}`, other.operator, real, unreal);
  }
  const everybody = { operator: other.operator, service: other.service, "own issuer": await other.foreign({ tid: mine.names.tenant }) };
  for (const [who, sender] of Object.entries(everybody)) {
    // Sent by a page that this tenant lists, and nobody else.
    const answer = await compare(who, sender, mine.names, ghost, { headers: { Origin: mine.names.page } });
    expectTold(answer, row.stranger, who);
    expect(answer.headers).not.toContain("access-control-allow-origin");
  }
  await compare("agent", other.agent, mine.names, ghost);
  for (const method of ["HEAD", "OPTIONS", "PATCH"]) {
    const answer = await compare(method, other.operator, mine.names, ghost, { method });
    if (method === "HEAD") expect(answer.text).toBe("");
    else expect(answer.status, method).toBe(405);
  }
}

/** Another agent of the same tenant. */
async function peers(row: Row, mine: Estate): Promise<void> {
  const asked = question(row, mine.names);
  const answer = await ask(mine.peer, asked);
  expectTold(answer, row.peer, "another agent");
  expect(leaked(answer, asked, mine.agentMarks)).toEqual([]);
}

type Unwelcome = readonly [who: string, authorization: string | null, Told];

/** Those whom the door should not let in, though they know every name of this tenant. */
async function uninvited(row: Row, mine: Estate): Promise<readonly Unwelcome[]> {
  const others = SCOPES.filter((scope) => !row.scopes.includes(scope));
  const tooLittle = row.caller === "root" ? mine.operator : await mine.tokenWith("operator", others);
  return [
    ["nobody", null, "token_missing"],
    ["another scheme", `Basic ${btoa("ops:ops")}`, "token_missing"],
    ["nonsense", "Bearer nonsense", "token_invalid"],
    ["another tenant's token that says this tenant", garbled(other.operator, { tid: mine.names.tenant }), "token_invalid"],
    ["another agent's token that says this agent", garbled(mine.peer, { sub: mine.names.agent, scope: SCOPES.join(" ") }), "token_invalid"],
    ["a token that has ended", (await expiredToken(mine)).authorization, "token_expired"],
    ["a token that was revoked", mine.fired.authorization, "token_revoked"],
    ["a token without the scope", tooLittle.authorization, "scope_insufficient"],
    ...(row.caller === "bearer" ? ([["the root key", ROOT.authorization, "scope_insufficient"]] as const) : []),
  ];
}

async function turnedAway(row: Row, { names, marks }: Estate, [who, authorization, told]: Unwelcome): Promise<void> {
  const asked = question(row, names);
  const sender = { tenant: names.tenant, authorization };
  const answer = await ask(sender, asked);
  expectTold(answer, row.caller === "anyone" ? "own" : told, who);
  expect(leaked(answer, asked, marks), who).toEqual([]);
  // What opens a socket has no HEAD.
  if (asked.method !== "GET" || row.status === 101) return;
  const head = await ask(sender, question(row, names, { method: "HEAD" }));
  expect(head, `HEAD by ${who}`).toEqual({ ...answer, text: "" });
}

/** A token with some of its claims changed, under its old signature. */
function garbled({ authorization }: Sender, changes: object): string {
  const [head = "", claims = "", signature = ""] = (authorization ?? "").split(".");
  const changed = { ...JSON.parse(Buffer.from(claims, "base64url").toString()), ...changes };
  return `${head}.${Buffer.from(JSON.stringify(changed)).toString("base64url")}.${signature}`;
}
