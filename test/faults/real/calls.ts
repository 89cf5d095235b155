/** One request as its client could send it again, to the byte. */
export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly token: string;
  /** A text is a policy, in YAML. */
  readonly body?: object | string;
  /** The `Idempotency-Key`. */
  readonly key?: string;
}

/** What was heard. `T` is what the wire contract promises for this call. */
export interface Told<T = unknown> {
  readonly status: number;
  readonly body: T;
  readonly replayed: boolean;
}

/** Asks and hears, or rejects because nobody answered. */
export async function send<T>(url: string, { method, path, token, body, key }: Call): Promise<Told<T>> {
  const answer = await fetch(`${url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "content-type": typeof body === "string" ? "application/yaml" : "application/json" }),
      ...(key === undefined ? {} : { "idempotency-key": key }),
    },
    body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? null : JSON.parse(text), replayed: answer.headers.get("idempotency-replayed") === "true" };
}

/** The same, where anything but a success is a fault of the test's. */
export async function got<T>(url: string, call: Call): Promise<T> {
  const told = await send<T>(url, call);
  if (told.status >= 300) throw new Error(`${call.method} ${call.path} answered ${told.status}: ${JSON.stringify(told.body)}`);
  return told.body;
}

/** Does it for each, so many at once. */
export async function each<T>(items: Iterable<T>, atOnce: number, act: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  const take = async (): Promise<void> => {
    for (let next = rest.next(); !next.done; next = rest.next()) await act(next.value);
  };
  await Promise.all(Array.from({ length: atOnce }, take));
}
