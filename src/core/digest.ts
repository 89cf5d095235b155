/** SHA-256 of a UTF-8 text as 64 hexadecimal digits. Handed in by the shell: the core imports no cryptography of any runtime. */
export type Sha256 = (text: string) => string;

/** A digest as it is written everywhere: the algorithm's name, a colon, lower-case hexadecimal digits. */
export type Digest = `sha-256:${string}`;

export const digestOf = (sha256: Sha256, text: string): Digest => `sha-256:${sha256(text)}`;

export const isDigest = (text: string): text is Digest => /^sha-256:[0-9a-f]{64}$/.test(text);
