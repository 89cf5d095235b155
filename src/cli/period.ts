import { formatInstant, parseInstant } from "../core/time.ts";
import { Usage } from "./command_line.ts";

const UNITS: { readonly [unit: string]: number } = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A point in time as people type it: RFC 3339, or how long ago. `undefined` where the flag was not given. */
export function instantOf(flag: string, text: string | undefined, about: string): string | undefined {
  if (text === undefined) return undefined;
  const ago = /^(\d{1,6})([mhd])$/.exec(text);
  const at = ago === null ? parseInstant(text) : Date.now() - Number(ago[1]) * (UNITS[ago[2] ?? ""] ?? 0);
  if (at === null)
    throw new Usage(`--${flag} is an RFC 3339 date-time like 2026-11-01T00:00:00Z, or how long ago like 30d, found ${JSON.stringify(text)}`, about);
  return formatInstant(at);
}
