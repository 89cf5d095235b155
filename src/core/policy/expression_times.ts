import { type Duration, durationOf, FAULT, type Fault, type Timestamp, timestampOf } from "./expression_values.ts";

const RFC_3339 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.\d{1,9})?(?:Z|[+-](\d{2}):(\d{2}))$/;

/** Reads an RFC 3339 date-time, cut to milliseconds. */
export function timestampFrom(text: string): Timestamp | Fault {
  const parts = text.length > 40 ? null : RFC_3339.exec(text);
  const at = parts === null ? Number.NaN : Date.parse(text);
  if (parts === null || Number.isNaN(at)) return FAULT;
  // The runtime reads 30 February as 1 March; RFC 3339 has no such day.
  const daysOfMonth = new Date(Date.UTC(2000 + (Number(parts[1]) % 400), Number(parts[2]), 0)).getUTCDate();
  return Number(parts[3]) > daysOfMonth ? FAULT : timestampOf(at);
}

const UNIT_MS: { readonly [unit: string]: number } = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 1e-3, µs: 1e-3, ns: 1e-6 };
const SPAN = /^[+-]?(?:0|(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|µs|ns))+$/;
const PART = /(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)/g;

/** Reads a span of time as Go writes it: `1h30m`, `-1.5s`, `250ms`. */
export function durationFrom(text: string): Duration | Fault {
  if (text.length > 64 || !SPAN.test(text)) return FAULT;
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(PART)) ms += Number(amount) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
  return durationOf(text.startsWith("-") ? -ms : ms);
}

/** The shortest text that {@link durationFrom} reads as the same span, in seconds. */
export function textOfDuration(span: Duration): string {
  const nanos = BigInt(Math.round(Math.abs(span.ms) * 1e6));
  const rest = String(nanos % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${span.ms < 0 ? "-" : ""}${nanos / 1_000_000_000n}${rest === "" ? "" : `.${rest}`}s`;
}

/** RFC 3339 with as few decimals as there are. */
export const textOfTimestamp = (at: Timestamp): string => new Date(at.ms).toISOString().replace(/\.?0{1,3}Z$/, "Z");

/** Minutes east of UTC at an instant. */
export type Zone = (ms: number) => number;

export const UTC: Zone = () => 0;

/** A time zone by its name (`Europe/Berlin`) or as a difference from UTC (`+02:00`); `null` where there is none. */
export function zoneOf(name: string): Zone | null {
  const fixed = /^([+-]?)(\d{2}):(\d{2})$/.exec(name);
  if (fixed !== null) {
    const minutes = Number(fixed[2]) * 60 + Number(fixed[3]);
    return () => (fixed[1] === "-" ? -minutes : minutes);
  }
  try {
    const format = new Intl.DateTimeFormat("en-US", {
      timeZone: name,
      hourCycle: "h23",
      era: "short",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    return (ms) => (wallClock(format, ms) - Math.floor(ms / 1000) * 1000) / 60_000;
  } catch {
    return null;
  }
}

/** What a clock on the wall shows, as if it were UTC. */
function wallClock(format: Intl.DateTimeFormat, ms: number): number {
  const parts = new Map(format.formatToParts(ms).map((part) => [part.type, part.value]));
  const part = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type));
  const shown = new Date(0);
  shown.setUTCFullYear(parts.get("era") === "BC" ? 1 - part("year") : part("year"), part("month") - 1, part("day"));
  return shown.setUTCHours(part("hour"), part("minute"), part("second"));
}

/** The parts of an instant that CEL can ask for, of its date as some zone writes it. */
export const PARTS: { readonly [method: string]: (shown: Date) => number } = {
  getFullYear: (shown) => shown.getUTCFullYear(),
  getMonth: (shown) => shown.getUTCMonth(),
  getDate: (shown) => shown.getUTCDate(),
  getDayOfMonth: (shown) => shown.getUTCDate() - 1,
  getDayOfWeek: (shown) => shown.getUTCDay(),
  getDayOfYear: dayOfYear,
  getHours: (shown) => shown.getUTCHours(),
  getMinutes: (shown) => shown.getUTCMinutes(),
  getSeconds: (shown) => shown.getUTCSeconds(),
  getMilliseconds: (shown) => shown.getUTCMilliseconds(),
};

function dayOfYear(shown: Date): number {
  const first = new Date(shown);
  first.setUTCMonth(0, 1);
  return Math.round((shown.getTime() - first.getTime()) / 86_400_000);
}

/** The parts of a span of time, in milliseconds, that CEL can ask for: the whole span in a unit, but of milliseconds only those beside the seconds. */
export const SPANS: { readonly [method: string]: (ms: number) => number } = {
  getHours: (ms) => Math.trunc(ms / 3_600_000),
  getMinutes: (ms) => Math.trunc(ms / 60_000),
  getSeconds: (ms) => Math.trunc(ms / 1000),
  getMilliseconds: (ms) => Math.trunc(ms % 1000),
};
