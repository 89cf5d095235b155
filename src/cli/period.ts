import { formatInstant, parseInstant } from "../core/time.ts";
import { Usage } from "./command_line.ts";

const UNITS: { readonly [unit: string]: number } = { m: 60_000, h: 3_600_000, d: 86_400_000 };

const msOf = (text: string): number | null => {
  const [, digits, unit = ""] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  return digits === undefined ? null : Number(digits) * (UNITS[unit] ?? 0);
};

/** A length of time as people type it, in ms. `undefined` where the flag was not given. */
export function lengthOf(flag: string, text: string | undefined, about: string): number | undefined {
  if (text === undefined) return undefined;
  const ms = msOf(text);
  if (ms === null) throw new Usage(`--${flag} is a length of time like 15m, 4h or 1d, found ${JSON.stringify(text)}`, about);
  return ms;
}

/** A point in time as people type it: RFC 3339, or how long ago. `undefined` where the flag was not given. */
export function instantOf(flag: string, text: string | undefined, about: string): string | undefined {
  if (text === undefined) return undefined;
  const ago = msOf(text);
  const at = ago === null ? parseInstant(text) : Date.now() - ago;
  if (at === null)
    throw new Usage(`--${flag} is an RFC 3339 date-time like 2026-11-01T00:00:00Z, or how long ago like 30d, found ${JSON.stringify(text)}`, about);
  return formatInstant(at);
}
