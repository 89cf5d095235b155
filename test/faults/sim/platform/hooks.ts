import { registerHooks } from "node:module";

/** Lets the gateway's modules find a simulated `cloudflare:workers`. Imported before any of them. */
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "cloudflare:workers"
      ? { url: new URL("./cloudflare_workers.ts", import.meta.url).href, shortCircuit: true }
      : next(specifier, context),
});
