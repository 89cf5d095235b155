import type { RefusalCode } from "../../src/core/refusals.ts";
import { refusalsOf } from "../../src/http/openapi.ts";
import type { Route } from "../../src/http/route.ts";
import { ROUTES } from "../../src/http/routes.ts";

/** The route that a path leads to: the first that fits, as the router takes it. */
const routeOf = (method: string, path: string): Route | undefined => {
  const parts = path.split("/");
  const fits = ({ path: pattern }: Route): boolean => {
    const wanted = pattern.split("/");
    return wanted.length === parts.length && wanted.every((part, place) => part.startsWith("{") || part === parts[place]);
  };
  const first = ROUTES.find(fits);
  return ROUTES.find((route) => route.path === first?.path && route.method === (method === "HEAD" ? "GET" : method));
};

/** Throws where a route refuses with a code that the document does not say it may refuse with. Answers the response, which can still be read. */
export async function asDeclared(method: string, url: string, response: Response): Promise<Response> {
  if (response.headers.get("Content-Type") !== "application/problem+json") return response;
  const route = routeOf(method, new URL(url, "http://localhost").pathname);
  if (route === undefined || method === "HEAD") return response;
  const { code }: { readonly code: RefusalCode } = await response.clone().json();
  if (!refusalsOf(route).includes(code)) throw new Error(`${route.method} ${route.path} refuses with ${code}, which its document does not name`);
  return response;
}
