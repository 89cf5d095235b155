/**
 * The media type to answer with, of those offered in order of our preference; `null` when the client accepts none of them (RFC 9110 section 12.5.1).
 * A header that cannot be read counts as none.
 */
export function negotiate(accept: string | null, offered: readonly string[]): string | null {
  const ranges = accept === null ? [] : accept.split(",").flatMap(parseRange);
  if (ranges.length === 0) return offered[0] ?? null;
  let best: string | null = null;
  let bestQuality = 0;
  for (const type of offered) {
    const quality = qualityOf(type, ranges);
    if (quality > bestQuality) {
      best = type;
      bestQuality = quality;
    }
  }
  return best;
}

interface Range {
  readonly type: string;
  readonly quality: number;
}

function parseRange(text: string): readonly Range[] {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  if (!/^[\w!#$&^.+*-]+\/[\w!#$&^.+*-]+$/.test(type)) return [];
  const q = parameters.find((parameter) => parameter.startsWith("q="));
  const quality = q === undefined ? 1 : Number(q.slice(2));
  return [{ type: SYNONYMS[type] ?? type, quality: quality >= 0 && quality <= 1 ? quality : 1 }];
}

/** Names in use before RFC 9512 gave YAML its own. */
const SYNONYMS: { readonly [type: string]: string } = {
  "application/x-yaml": "application/yaml",
  "text/yaml": "application/yaml",
  "text/x-yaml": "application/yaml",
};

/** The most specific range that fits a type decides. */
function qualityOf(type: string, ranges: readonly Range[]): number {
  const family = `${type.slice(0, type.indexOf("/"))}/*`;
  const fitting =
    ranges.find((range) => range.type === type) ?? ranges.find((range) => range.type === family) ?? ranges.find((range) => range.type === "*/*");
  return fitting?.quality ?? 0;
}
