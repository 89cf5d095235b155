import { err, ok, type Result } from "./result.ts";

/**
 * Whether the gateway may ask something of an address that a tenant named: https, a name in public, no user, and no address of numbers. In development
 * http and private names too. What a public name resolves to is not seen here; the platform's own fetch reaches nothing but the public network.
 */
export function parsePublicUrl(text: string, allowsPrivate: boolean): Result<URL, string> {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return err("is not an absolute URL");
  }
  if (url.username !== "" || url.password !== "") return err("has a user in it");
  if (url.protocol !== "https:" && !(allowsPrivate && url.protocol === "http:")) return err("is not https");
  if (!allowsPrivate && isPrivate(url.hostname)) return err("is not a public name");
  return ok(url);
}

/** Names that are resolved inside a network, and addresses of any kind: what is public has a name. URLs spell every form of an IPv4 address alike. */
function isPrivate(host: string): boolean {
  const name = host.toLowerCase().replace(/\.+$/, "");
  if (name.startsWith("[") || /^\d+(\.\d+){3}$/.test(name)) return true;
  if (!name.includes(".")) return true;
  return ["localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa", "test", "invalid", "onion"].includes(
    name.slice(name.lastIndexOf(".") + 1),
  );
}
