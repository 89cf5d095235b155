import { applyD1Migrations } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { asDeclared } from "../core/http_declared.ts";

await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);

// Whatever a test asks over HTTP, no route refuses with a code that the document does not say it may refuse with.
const real = exports.default.fetch.bind(exports.default);
const watched = async (url: string, init?: RequestInit): Promise<Response> => asDeclared(init?.method ?? "GET", url, await real(url, init));
Object.defineProperty(exports.default, "fetch", { value: watched });
if (exports.default.fetch !== watched) throw new Error("what tests ask over HTTP is not watched");
