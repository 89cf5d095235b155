/** A value that JSON can carry. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/**
 * The canonical JSON text of a value: RFC 8785 (JCS). Members are sorted by UTF-16 code units, numbers and strings are as ECMAScript prints them.
 * A lone surrogate, which RFC 8785 leaves undefined, is escaped. Members that are `undefined` are left out.
 */
export function canonicalJson(value: unknown): string {
  // ECMAScript prints exactly what RFC 8785 asks for, but for the order of members: what is in order already is printed at once, and much faster.
  if (isInOrder(value)) return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  // Anything but an object or an array is in order, and every key of the object is its own, as in anything that was parsed or written as a literal.
  const object = value as { readonly [key: string]: unknown };
  let members = "";
  // Without a comparison of its own an array of texts is sorted by UTF-16 code units.
  for (const key of Object.keys(object).sort()) {
    const member = object[key];
    if (member !== undefined) members += `${members === "" ? "" : ","}${JSON.stringify(key)}:${canonicalJson(member)}`;
  }
  return `{${members}}`;
}

function isInOrder(value: unknown): boolean {
  if (value === null || typeof value !== "object") return true;
  if (Array.isArray(value)) return value.every(isInOrder);
  let last: string | null = null;
  for (const key of Object.keys(value)) {
    if (last !== null && key < last) return false;
    // Every key of the object is its own, as in anything that was parsed or written as a literal.
    if (!isInOrder((value as { readonly [key: string]: unknown })[key])) return false;
    last = key;
  }
  return true;
}
