/** What wrangler.toml says, as far as others must agree with it. */
export interface Configured {
  /** Names of bindings and variables, without secrets. */
  readonly bindings: readonly string[];
  readonly secrets: readonly string[];
  readonly classes: readonly string[];
  readonly migratedClasses: readonly string[];
}

/**
 * Whether wrangler.toml, the type `Env` and the makers of secrets name the same things. Answers a sentence for each that is missing
 * somewhere; none means they agree.
 */
export function agreement(configured: Configured, envSource: string, makers: readonly string[]): readonly string[] {
  const typed = envMembers(envSource);
  if (typed === null) return ["src/env.ts has no `export interface Env { … }`."];
  const { bindings, secrets, classes, migratedClasses } = configured;
  const named = [...bindings, ...secrets];
  return [
    ...lacking(named, typed, (name) => `wrangler.toml names ${name}, and Env in src/env.ts does not.`),
    ...lacking(typed, named, (name) => `Env in src/env.ts names ${name}, and wrangler.toml does not: no binding, variable or secret.`),
    ...lacking(secrets, makers, (name) => `wrangler.toml requires the secret ${name}, which src/local/keys.ts cannot make.`),
    ...lacking(makers, secrets, (name) => `src/local/keys.ts makes the secret ${name}, which wrangler.toml does not require.`),
    ...lacking(classes, migratedClasses, (name) => `wrangler.toml binds the class ${name}, which no migration of it makes.`),
    ...bindings.filter((name) => secrets.includes(name)).map((name) => `wrangler.toml has ${name} both as a secret and in the open.`),
  ];
}

/** The id that wrangler.toml carries until there is a database. */
export const UNMADE_DATABASE = "00000000-0000-0000-0000-000000000000";

const DATABASE_ID = /^(\s*database_id\s*=\s*")([^"]*)(")/gm;

/** The id of the one database in the text of wrangler.toml. Throws where there is not exactly one. */
export function databaseId(text: string): string {
  const ids = [...text.matchAll(DATABASE_ID)];
  const id = ids[0]?.[2];
  if (ids.length !== 1 || id === undefined) throw new Error(`wrangler.toml has ${ids.length} lines \`database_id = "…"\`; one is expected.`);
  return id;
}

/** The same text with another id; comments and order stay. */
export function withDatabaseId(text: string, id: string): string {
  databaseId(text);
  return text.replace(DATABASE_ID, (_line, before: string, _old, after: string) => `${before}${id}${after}`);
}

function envMembers(source: string): readonly string[] | null {
  const body = /export interface Env \{\n(.*?)\n\}/s.exec(source)?.[1];
  return body === undefined ? null : [...body.matchAll(/^ {2}(?:readonly )?([A-Za-z_]\w*)\??:/gm)].flatMap((member) => member[1] ?? []);
}

const lacking = (names: readonly string[], known: readonly string[], sentence: (name: string) => string): readonly string[] =>
  names.filter((name) => !known.includes(name)).map(sentence);
