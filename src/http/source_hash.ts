import type { Sha256 } from "../core/digest.ts";

/** How a Content-Security-Policy names a text: by its SHA-256 in base64. */
export function sourceOf(sha256: Sha256, text: string): string {
  const bytes = (sha256(text).match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16));
  return `sha256-${btoa(String.fromCharCode(...bytes))}`;
}
