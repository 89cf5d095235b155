/**
 * Whether a failed fetch certainly sent nothing: no address, no connection, no trust in the other side. Only Node, Deno and Bun tell this by a code; of any other
 * failure nobody knows what the model has done.
 */
export function isUnsent(error: unknown): boolean {
  let at = error;
  for (let level = 0; level < 4; level++) {
    const { code, cause }: { readonly code?: unknown; readonly cause?: unknown } = Object(at);
    if (
      /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ConnectionRefused|ERR_TLS_.*|CERT_.*|DEPTH_ZERO_.*)$/.test(
        String(code),
      )
    ) {
      return true;
    }
    at = cause;
  }
  return false;
}
