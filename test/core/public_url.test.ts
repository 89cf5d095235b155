import { expect, it } from "vitest";
import { parsePublicUrl } from "../../src/core/public_url.ts";

it.each([
  ["https://example.com/a?b#c", null, null],
  ["https://EXAMPLE.com./", null, null],
  ["https://1.2.3.example.com/", null, null],
  ["https://local.example.com/", null, null],
  ["http://example.com/", "is not https", null],
  ["ftp://example.com/", "is not https", "is not https"],
  ["example.com", "is not an absolute URL", "is not an absolute URL"],
  ["", "is not an absolute URL", "is not an absolute URL"],
  ["https://user@example.com/", "has a user in it", "has a user in it"],
  ["https://:pass@example.com/", "has a user in it", "has a user in it"],
  ["https://example/", "is not a public name", null],
  ["https://10.0.0.1/", "is not a public name", null],
  ["https://0x7f000001/", "is not a public name", null],
  ["https://1.2.3.4./", "is not a public name", null],
  ["https://[::1]/", "is not a public name", null],
  ...["localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa", "test", "invalid", "onion"].flatMap((name) => [
    [`https://a.${name}/`, "is not a public name", null] as const,
    [`https://a.${name}./`, "is not a public name", null] as const,
    [`https://${name}/`, "is not a public name", null] as const,
    [`https://a.${name}x/`, null, null] as const,
  ]),
] as const)("%s in public: %s; in development: %s", (url, inPublic, inDevelopment) => {
  const told = (allowsPrivate: boolean) => {
    const parsed = parsePublicUrl(url, allowsPrivate);
    return parsed.ok ? null : parsed.error;
  };
  expect([told(false), told(true)]).toEqual([inPublic, inDevelopment]);
  const parsed = parsePublicUrl(url, true);
  if (parsed.ok) expect(parsed.value.href).toBe(new URL(url).href);
});
