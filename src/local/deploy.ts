import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DEPLOY_USAGE, parseDeploy } from "./arguments.ts";
import { ROOT, wrangler } from "./build.ts";
import { agreement, type Configured, databaseId, UNMADE_DATABASE, withDatabaseId } from "./deployment.ts";
import { MAKERS } from "./keys.ts";

// `npm run deploy`: the gateway on Cloudflare. Every step first looks whether it was done before, so a run that broke off is simply run again.

const CONFIG = path.join(ROOT, "wrangler.toml");

async function deploy(): Promise<void> {
  const config = await readConfig();
  check(config);
  say(`Database ${config.database}`);
  await makeDatabase(config);
  await wrangler(["d1", "migrations", "apply", config.database, "--remote"], { shown: true });
  const missing = await missingSecrets(config.secrets);
  await upload(missing);
  if (missing.ROOT_KEY !== undefined) {
    say(`\nThe root key, shown this once and kept nowhere else than at Cloudflare:\n\n  ${missing.ROOT_KEY}\n`);
    say("It makes tenants and first tokens. Lost? `npx wrangler secret put ROOT_KEY` sets another.");
  }
}

/** What can be proven without an account: the Worker builds as it would be uploaded, and every name is known everywhere it must be. */
async function rehearse(): Promise<void> {
  check(await readConfig());
  const directory = mkdtempSync(path.join(tmpdir(), "agentsentinel-deploy-"));
  try {
    say((await wrangler(["deploy", "--dry-run", "--outdir", directory])).trim());
  } finally {
    rmSync(directory, { recursive: true });
  }
  say("\nEvery binding of wrangler.toml is in Env and every secret can be made, and the other way round. Nothing was changed.");
}

interface Configuration extends Configured {
  readonly database: string;
}

async function readConfig(): Promise<Configuration> {
  const { unstable_readConfig, unstable_convertConfigBindingsToStartWorkerBindings } = await import("wrangler");
  const config = unstable_readConfig({ config: CONFIG }, { hideWarnings: true });
  const database = config.d1_databases[0]?.database_name;
  if (database === undefined) throw new Error("wrangler.toml names no D1 database.");
  return {
    database,
    bindings: Object.keys(unstable_convertConfigBindingsToStartWorkerBindings(config) ?? {}),
    secrets: config.secrets?.required ?? [],
    classes: config.durable_objects.bindings.map((binding: { class_name: string }) => binding.class_name),
    migratedClasses: config.migrations.flatMap((migration: { new_sqlite_classes?: string[] }) => migration.new_sqlite_classes ?? []),
  };
}

function check(config: Configuration): void {
  const mistakes = agreement(config, readFileSync(path.join(ROOT, "src/env.ts"), "utf8"), Object.keys(MAKERS));
  if (mistakes.length > 0) throw new Error(mistakes.join("\n"));
}

async function makeDatabase({ database }: Configuration): Promise<void> {
  const text = readFileSync(CONFIG, "utf8");
  if (databaseId(text) !== UNMADE_DATABASE) return;
  const find = async () => {
    const list: readonly { readonly name: string; readonly uuid: string }[] = JSON.parse(await wrangler(["d1", "list", "--json"]));
    return list.find((known) => known.name === database)?.uuid;
  };
  let id = await find();
  if (id === undefined) {
    await wrangler(["d1", "create", database]);
    id = await find();
  }
  if (id === undefined) throw new Error(`The database ${database} was made, but Cloudflare does not list it. Run this again.`);
  writeFileSync(CONFIG, withDatabaseId(text, id));
  say(`Its id ${id} now stands in wrangler.toml: commit that.`);
}

/** Fresh values for the secrets that the Worker does not have yet. What it has stays: another signing key would end every token. */
async function missingSecrets(required: readonly string[]): Promise<{ readonly [name: string]: string }> {
  let known: readonly string[] = [];
  try {
    const list: readonly { readonly name: string }[] = JSON.parse(await wrangler(["secret", "list", "--format", "json"]));
    known = list.map((secret) => secret.name);
  } catch (fault) {
    // 10007: there is no such Worker, so it has no secrets either. Anything else must not end in new keys.
    if (!(fault instanceof Error && /\b10007\b|does not exist/.test(fault.message))) throw fault;
  }
  const made: { [name: string]: string } = {};
  for (const name of required) {
    const make = MAKERS[name];
    if (!known.includes(name) && make !== undefined) made[name] = make();
  }
  return made;
}

/** Deploys, with the secrets made now in the same step: there is never a gateway without its keys. */
async function upload(secrets: { readonly [name: string]: string }): Promise<void> {
  if (Object.keys(secrets).length === 0) {
    await wrangler(["deploy"], { shown: true });
    return;
  }
  // A directory that only its owner can enter, gone when the upload is over.
  const directory = mkdtempSync(path.join(tmpdir(), "agentsentinel-secrets-"));
  try {
    const file = path.join(directory, "secrets.json");
    writeFileSync(file, JSON.stringify(secrets), { mode: 0o600 });
    await wrangler(["deploy", "--secrets-file", file], { shown: true });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const parsed = parseDeploy(process.argv.slice(2));
if (parsed.kind === "help") {
  say(DEPLOY_USAGE);
} else if (parsed.kind === "mistake") {
  process.stderr.write(`${parsed.message}\n\n${DEPLOY_USAGE}\n`);
  process.exitCode = 2;
} else {
  try {
    await (parsed.value.dryRun ? rehearse() : deploy());
  } catch (fault) {
    process.stderr.write(`${fault instanceof Error ? fault.message : String(fault)}\n`);
    process.exitCode = 1;
  }
}
