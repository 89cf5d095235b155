/** An instant: integer milliseconds since 1970, UTC. On the wire it is RFC 3339 with milliseconds. */
export type Instant = number;

export const formatInstant = (at: Instant): string => new Date(at).toISOString();

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/;

/** Reads an RFC 3339 date-time (section 5.6), cut to whole milliseconds; `null` when it is none. */
export function parseInstant(text: string): Instant | null {
  if (!RFC_3339.test(text)) return null;
  const at = Date.parse(text);
  // The runtime reads 30 February as 1 March; RFC 3339 has no such day.
  const daysOfMonth = new Date(Date.UTC(Number(text.slice(0, 4)), Number(text.slice(5, 7)), 0)).getUTCDate();
  return Number.isNaN(at) || Number(text.slice(8, 10)) > daysOfMonth ? null : at;
}
