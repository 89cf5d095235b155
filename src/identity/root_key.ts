/** The key that makes tenants and first tokens. */
export interface RootKey {
  /** Whether `token` is the root key. Takes the same time wherever the two differ. */
  is(token: string): Promise<boolean>;
}

/** A shorter key could be guessed, so it opens nothing. */
export const LEAST_ROOT_KEY_CHARACTERS = 16;

export async function readRootKey(key: string | undefined): Promise<RootKey> {
  if (key === undefined || key.length < LEAST_ROOT_KEY_CHARACTERS) return { is: async () => false };
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
