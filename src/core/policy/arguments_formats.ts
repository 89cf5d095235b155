import { parseInstant } from "../time.ts";

/** The formats that are asserted; any other is a mistake in the schema, since a format that nobody checks only looks like a guard. */
export const FORMATS: readonly string[] = [
  "date-time",
  "date",
  "time",
  "duration",
  "email",
  "hostname",
  "ipv4",
  "ipv6",
  "uri",
  "uri-reference",
  "uuid",
  "json-pointer",
];

/** Whether a text has a format of `FORMATS`. Every expression here is linear: no repeat within a repeat can match the same text in two ways. */
export function isFormat(format: string, text: string): boolean {
  switch (format) {
    case "date-time":
      return isDateTime(text);
    case "date":
      return /^\d{4}-\d{2}-\d{2}$/.test(text) && parseInstant(`${text}T00:00:00Z`) !== null;
    case "time":
      return isDateTime(`2000-01-01T${text}`);
    case "duration":
      return DURATION.test(text) && /\d/.test(text);
    case "email":
      return isEmail(text);
    case "hostname":
      return isHostname(text);
    case "ipv4":
      return isIpv4(text);
    case "ipv6":
      return isIpv6(text);
    case "uri":
      return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(text) && isUriReference(text);
    case "uri-reference":
      return isUriReference(text);
    case "uuid":
      return /^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/.test(text);
    case "json-pointer":
      return /^(?:\/(?:[^~/]|~[01])*)*$/.test(text);
    default:
      return false;
  }
}

/** RFC 3339; a leap second where UTC can have one. */
function isDateTime(text: string): boolean {
  const leap = /^(.{17})60((?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2}))$/s.exec(text);
  const plain = leap === null ? text : `${leap[1]}59${leap[2]}`;
  const whole = plain.replace(/\.\d+(?=[Zz+-])/, "");
  // Hour 24 is none of RFC 3339, though the runtime reads it.
  if (whole.slice(11, 13) === "24") return false;
  const at = parseInstant(whole);
  if (at === null || (plain !== whole && !/\.\d+(?:[Zz]|[+-]\d{2}:\d{2})$/.test(plain))) return false;
  return leap === null || new Date(at).toISOString().slice(11, 16) === "23:59";
}

/** RFC 3339, appendix A: units in order and without a gap, weeks by themselves. */
const DURATION = /^P(?:\d+W|(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)?(?:T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S))?)$/;

function isEmail(text: string): boolean {
  const at = text.lastIndexOf("@");
  const [local, host] = [text.slice(0, at), text.slice(at + 1)];
  if (at < 1 || local.length > 64) return false;
  const isDotAtom = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/.test(local);
  const isQuoted = /^"(?:[ !#-[\]-~]|\\[ -~])*"$/.test(local);
  if (!isDotAtom && !isQuoted) return false;
  if (!host.startsWith("[") || !host.endsWith("]")) return isHostname(host);
  const address = host.slice(1, -1);
  return /^IPv6:/i.test(address) ? isIpv6(address.slice(5)) : isIpv4(address);
}

const isHostname = (text: string): boolean =>
  text.length <= 253 &&
  text
    .split(".")
    .every(
      (label) => /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label) && (label.slice(2, 4) !== "--" || /^xn--[A-Za-z0-9]/i.test(label)),
    );

const isIpv4 = (text: string): boolean => {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
};

function isIpv6(text: string): boolean {
  if (text.length > 45) return false;
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  const last = groups.at(-1) ?? "";
  // A dotted address stands for two groups, at the very end only.
  const dotted = last.includes(".");
  if (dotted && (!isIpv4(last) || text.endsWith("::"))) return false;
  const count = groups.length + (dotted ? 1 : 0);
  const plain = dotted ? groups.slice(0, -1) : groups;
  return plain.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group)) && (halves.length === 2 ? count <= 7 : count === 8);
}

/** RFC 3986: its characters, its escapes, one fragment, and brackets only around an address. */
function isUriReference(text: string): boolean {
  if (!/^(?:[A-Za-z0-9._~:/?#[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*$/.test(text)) return false;
  const [beforeFragment = "", ...fragments] = text.split("#");
  if (fragments.length > 1 || /[[\]]/.test(fragments[0] ?? "")) return false;
  const scheme = /^[^/?:]*:/.exec(beforeFragment)?.[0] ?? "";
  if (scheme !== "" && !/^[A-Za-z][A-Za-z0-9+.-]*:$/.test(scheme)) return false;
  const rest = beforeFragment.slice(scheme.length);
  const authority = rest.startsWith("//") ? (/^[^/?]*/.exec(rest.slice(2))?.[0] ?? "") : "";
  const path = rest.startsWith("//") ? rest.slice(2 + authority.length) : rest;
  return !/[[\]]/.test(path) && isAuthority(authority);
}

function isAuthority(authority: string): boolean {
  const at = authority.lastIndexOf("@");
  if (/[@[\]]/.test(authority.slice(0, Math.max(0, at)))) return false;
  const host = authority.slice(at + 1);
  const literal = /^\[([^[\]]*)\](?::\d*)?$/.exec(host);
  if (literal !== null) return isIpv6(literal[1] ?? "") || /^[Vv][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+$/.test(literal[1] ?? "");
  return /^[^:[\]]*(?::\d*)?$/.test(host);
}
