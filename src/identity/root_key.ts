/** The key that makes tenants and first tokens. */
export interface RootKey {
  /** Whether `token` is the root key. Takes the same time wherever the two differ. */
  is(token: string): Promise<boolean>;
}

/** Reads the root key from the environment. Without one nothing is the root key. How long it must be is for whoever sets it: see `src/local/keys.ts`. */
export async function readRootKey(key: string | undefined): Promise<RootKey> {
  if (key === undefined || key === "") return { is: async () => false };
  const wanted = await digest(key);
  return {
    async is(token) {
      // Digests are of one length and their first differing byte tells nothing about the key; the sum looks at every byte all the same.
      const found = await digest(token);
      return wanted.reduce((difference, byte, i) => difference | (byte ^ (found[i] ?? 0)), 0) === 0;
    },
  };
}

const digest = async (text: string): Promise<Uint8Array> => new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
