/** Lets the process end though the timer stands, where the runtime has processes. */
export function unref(timer: unknown): void {
  const { unref }: { readonly unref?: unknown } = Object(timer);
  if (typeof unref === "function") unref.call(timer);
}
