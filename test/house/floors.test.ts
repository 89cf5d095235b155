import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = path.join(import.meta.dirname, "../..");

/** Which rooms each room may import, and which vendors enter there. The house: authority flows down, testimony flows up. */
const ROOMS: { readonly [room: string]: { readonly rooms: readonly string[]; readonly vendors: readonly string[] } } = {
  "src/core": { rooms: ["src/core/policy"], vendors: [] },
  "src/core/policy": {
    rooms: ["src/core"],
    vendors: ["zod", "yaml", "fastest-levenshtein", "@marcbachmann/cel-js", "re2js"],
  },
  "src/flow": { rooms: ["src/core", "src/core/policy"], vendors: [] },
  "src/authority": { rooms: ["src/core", "src/core/policy", "src/flow"], vendors: ["cloudflare:workers", "node:crypto"] },
  "src/ledger": { rooms: ["src/core", "src/flow"], vendors: ["cloudflare:workers", "drizzle-orm", "node:crypto"] },
  "src/webhooks": { rooms: ["src/core", "src/flow"], vendors: ["cloudflare:workers", "node:crypto"] },
  "src/identity": { rooms: ["src/core", "src/flow"], vendors: ["jose"] },
  "src/prices": { rooms: ["src/core"], vendors: ["@pydantic/genai-prices"] },
  "src/http": { rooms: ["src/core", "src/core/policy", "src/flow", "sdk/src"], vendors: ["hono", "zod", "fastest-levenshtein"] },
  // The entries `local.ts`, `fetch.ts`, `leases.ts` and `testing.ts` stand among the core's files and give out what their rooms hold.
  "sdk/src": { rooms: ["sdk/src/local", "sdk/src/sync", "sdk/src/fetch", "sdk/src/leases", "sdk/src/testing"], vendors: [] },
  "sdk/src/local": { rooms: ["src/core", "src/core/policy", "sdk/src", "sdk/src/sync"], vendors: [] },
  "sdk/src/sync": { rooms: ["sdk/src", "sdk/src/local"], vendors: [] },
  "sdk/src/fetch": { rooms: ["sdk/src"], vendors: [] },
  "sdk/src/leases": { rooms: ["sdk/src"], vendors: [] },
  "sdk/src/testing": { rooms: ["sdk/src"], vendors: [] },
  src: { rooms: ["src/core", "src/flow", "src/authority", "src/ledger", "src/webhooks", "src/identity", "src/prices", "src/http"], vendors: [] },
  "src/local": { rooms: ["sdk/src"], vendors: ["node:", "miniflare", "wrangler"] },
  "src/cli": {
    rooms: ["src/core", "src/core/policy", "src/flow", "src/prices", "src/http", "sdk/src", "sdk/src/local"],
    vendors: ["node:", "zod"],
  },
};

/** What rooms of objects may import of the stories' room: what the stories need of the world, and how long anybody waits. */
const SEEN_BELOW = ["src/flow/ports.ts", "src/flow/patience.ts"];

/** Rooms from which only some files may be imported: other floors see the ports, never a story. */
const ONLY: { readonly [from: string]: { readonly [to: string]: string | readonly string[] } } = {
  "src/core": { "src/core/policy": "src/core/policy/findings.ts" },
  "src/authority": { "src/flow": SEEN_BELOW },
  "src/ledger": { "src/flow": SEEN_BELOW },
  "src/webhooks": { "src/flow": SEEN_BELOW },
  "src/identity": { "src/flow": "src/flow/ports.ts" },
  "src/http": { "sdk/src": "sdk/src/wire.ts" },
  "src/cli": { "src/flow": "src/flow/decide.ts", "sdk/src": ["sdk/src/wire.ts", "sdk/src/index.ts", "sdk/src/live.ts", "sdk/src/local.ts"] },
};

/** What is no part of the SDK's core is reached by an entry of its own. */
const ENTRIES = ["sdk/src/local.ts", "sdk/src/fetch.ts", "sdk/src/leases.ts", "sdk/src/testing.ts"];

describe("the house", () => {
  it("every room imports only from the floors below it, and every vendor enters through its own door", () => {
    const wrong: string[] = [];
    for (const file of sources()) {
      const room = roomOf(file);
      const { rooms, vendors } = ROOMS[room] ?? { rooms: [], vendors: [] };
      for (const { from, typeOnly } of importsOf(file)) {
        if (!from.startsWith(".")) {
          if (!vendors.some((vendor) => isOf(vendor, from))) wrong.push(`${file} imports ${from}`);
          continue;
        }
        const target = path.relative(ROOT, path.resolve(ROOT, path.dirname(file), from));
        const to = roomOf(target);
        if (to !== room && !rooms.includes(to)) wrong.push(`${file} (${room}) imports ${target} (${to})`);
        const only = ONLY[room]?.[to];
        if (only !== undefined && ![only].flat().includes(target)) wrong.push(`${file} may import only ${only} of ${to}, and imports ${target}`);
        if (room === "sdk/src" && to !== room && !ENTRIES.includes(file))
          wrong.push(`${file} reaches ${target}, which only ${ENTRIES.join(", ")} may`);
        if (room === "src/http" && to === "sdk/src" && !typeOnly) wrong.push(`${file} imports more than types of the wire contract`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("every folder is a room that this test knows", () => {
    expect(
      sources()
        .map(roomOf)
        .filter((room) => !(room in ROOMS)),
    ).toEqual([]);
  });

  it("no vendor has a door through which it does not come", () => {
    const come = sources().map((file) => [roomOf(file), importsOf(file).map(({ from }) => from)] as const);
    const wrong = Object.entries(ROOMS).flatMap(([room, { vendors }]) =>
      vendors
        .filter((vendor) => !come.some(([of, all]) => of === room && all.some((from) => isOf(vendor, from))))
        .map((vendor) => `${room}: ${vendor}`),
    );
    expect(wrong).toEqual([]);
  });

  it("src/README.md names every room under src, with the vendors that enter there", () => {
    const page = readFileSync(path.join(ROOT, "src/README.md"), "utf8");
    const rows = [...page.matchAll(/^\| (?:\d|beside) \| `([^`]+)`.* \| (.+) \|$/gm)].map(([, named = "", vendors]) => [
      roomOf(`${named}/`),
      vendors,
    ]);
    const rooms = Object.entries(ROOMS).filter(([room]) => room.split("/")[0] === "src");
    expect(Object.fromEntries(rows)).toEqual(
      Object.fromEntries(rooms.map(([room, { vendors }]) => [room, vendors.join(", ").replace("node:,", "node:*,") || "none"])),
    );
  });

  it("the core never waits, reads no clock, makes no randomness and does no I/O", () => {
    const wrong = sources("src/core").filter((file) =>
      /\bawait\b|\basync\b|Date\.now|new Date\(\)|Math\.random|\bcrypto\.|\bfetch\(|console\./.test(withoutComments(file)),
    );
    expect(wrong).toEqual([]);
  });
});

const isOf = (vendor: string, from: string): boolean =>
  from === vendor || from.startsWith(`${vendor}/`) || (vendor.endsWith(":") && from.startsWith(vendor));

const withoutComments = (file: string): string => readFileSync(path.join(ROOT, file), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");

function sources(under?: string): string[] {
  return ["src", "sdk/src"]
    .flatMap((top) => readdirSync(path.join(ROOT, top), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name)))
    .filter((file) => under === undefined || file.startsWith(`${under}/`));
}

/** The deepest room that holds a file. */
const roomOf = (file: string): string =>
  Object.keys(ROOMS)
    .filter((room) => file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)
    .find((room) => room !== "src" || path.dirname(file) === "src") ?? path.dirname(file);

function importsOf(file: string): { from: string; typeOnly: boolean }[] {
  const text = readFileSync(path.join(ROOT, file), "utf8");
  const named = text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^"';]*?\s+from\s+)?"([^"]+)"/gms);
  const loaded = text.matchAll(/(typeof\s+)?\bimport\("([^"]+)"\)/g);
  return [...named, ...loaded].map(([, type, from = ""]) => ({ from, typeOnly: type !== undefined }));
}
