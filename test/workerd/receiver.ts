/** Receivers outside of the Worker, as tests reach them: hosts of `outside.ts`, which the runtime's own fetch leads to. */

export const CONTROL = "outside.control";

/** What came to a receiver. */
export interface Arrival {
  readonly path: string;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
}

/** What a receiver answers. `holds`: only once it is told another manner. */
export interface Manner {
  readonly status: number;
  readonly headers?: { readonly [name: string]: string };
  readonly holds?: boolean;
}

export interface Receiver {
  readonly url: string;
  /** Answers so from now on, and lets go what it held. */
  become(manner: Manner): Promise<void>;
  /** What came, once it is at least so many. */
  arrivals(least: number): Promise<readonly Arrival[]>;
}

/** A host that answers with 204 until it is told otherwise. */
export async function newReceiver(manner: Manner = { status: 204 }): Promise<Receiver> {
  const host = `hook-${crypto.randomUUID().slice(0, 13)}.example`;
  const control = `https://${CONTROL}/${host}`;
  const become = async (next: Manner) => {
    const told = await fetch(control, { method: "POST", body: JSON.stringify(next) });
    if (told.status !== 204) throw new Error(`the receiver was not told: ${told.status}`);
  };
  await become(manner);
  return {
    url: `https://${host}/in`,
    become,
    arrivals: async (least) => {
      // What `outside.ts` sends.
      const came: Arrival[] = await (await fetch(`${control}?least=${least}`)).json();
      return came;
    },
  };
}
