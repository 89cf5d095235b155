import path from "node:path";

/**
 * What this program is called by, for commands that somebody is told to type. In the root of the clone that is `npx agentsentinel`; whoever called it
 * through npm's `run` may be anywhere, and npx would there fetch a stranger's package of that name.
 */
export function calledAs(environment: NodeJS.ProcessEnv, root = path.resolve(import.meta.dirname, "../..")): string {
  if (environment.npm_lifecycle_event !== "agentsentinel") return "npx agentsentinel";
  const quoted = /^[\w./:@%+=-]+$/.test(root) ? root : `'${root.replaceAll("'", "'\\''")}'`;
  return `npm --prefix ${quoted} run -s agentsentinel --`;
}

/** For this process. */
export const CALLED = calledAs(process.env);
