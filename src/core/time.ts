/** An instant: integer milliseconds since 1970, UTC. On the wire it is RFC 3339 with milliseconds. */
export type Instant = number;

export const formatInstant = (at: Instant): string => new Date(at).toISOString();

/** So long a time as people say it. Nobody should count on it to the millisecond: only seconds are never too few. */
export function spokenTime(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  if (seconds <= 1) return "a second";
  if (seconds < 120) return `${seconds} seconds`;
  const minutes = Math.round(ms / 60_000);
  if (minutes < 120) return `about ${minutes} minutes`;
  const hours = Math.round(ms / 3_600_000);
  return hours < 72 ? `about ${hours} hours` : `about ${Math.round(ms / 86_400_000)} days`;
}

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/;

/** Reads an RFC 3339 date-time (section 5.6), cut to whole milliseconds; `null` when it is none. */
export function parseInstant(text: string): Instant | null {
  if (!RFC_3339.test(text)) return null;
  const at = Date.parse(text);
  // The runtime reads 30 February as 1 March; RFC 3339 has no such day.
  const daysOfMonth = new Date(Date.UTC(Number(text.slice(0, 4)), Number(text.slice(5, 7)), 0)).getUTCDate();
  return Number.isNaN(at) || Number(text.slice(8, 10)) > daysOfMonth ? null : at;
}
