import { GatewayRefusedError } from "../../errors.ts";
import { observe } from "../../observers.ts";
import type { PolicyRef } from "../../surface.ts";
import { abortable, type Fetch, readToken, unavailable, whyNot } from "../../transport.ts";
import { type LocalPolicy, readLocalPolicy } from "../policy_source.ts";

/** What the gateway has in force for an agent, as far as is known here. `policy` `null`: it said that there is none, and everything is denied. */
export interface Synced {
  readonly ref: PolicyRef | null;
  readonly policy: LocalPolicy | null;
}

export interface PolicySyncSettings {
  /** The gateway's address, without a slash at its end. */
  readonly base: string;
  readonly token: () => string | Promise<string>;
  readonly agent: string;
  readonly fetch: Fetch;
  readonly now: () => number;
  readonly timeoutMs: number;
  /** Told of each policy that came into force here. */
  readonly onPolicy?: ((ref: PolicyRef | null) => void) | undefined;
  /** Told when one could not be had or read; what was in force stays. */
  readonly onPolicyFault?: ((error: unknown) => void) | undefined;
}

/** The most that is read of an answer, in characters: a policy has at most 256 KiB, and is told merged. */
const MOST_TEXT = 8 * 1024 * 1024;

/**
 * The gateway's policy for one agent, kept here by its `ETag`. It is swapped whole: until another has been read to its end and compiled, the one before
 * stays in force, whatever goes wrong. Only a gateway that says that there is none takes it away.
 */
export class PolicySync {
  readonly #settings: PolicySyncSettings;
  #synced: Synced | null = null;
  #etag: string | null = null;
  #asking: Promise<boolean> | null = null;
  /** When it was last asked for, whatever came of it. */
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(settings: PolicySyncSettings) {
    this.#settings = settings;
  }

  /** `null`: the gateway was never heard. */
  get synced(): Synced | null {
    return this.#synced;
  }

  /** Whether it was not asked for within the last `ms`. */
  isOlderThan(ms: number): boolean {
    return this.#settings.now() - this.#askedAt > ms;
  }

  /** Asks once, also for those who ask meanwhile. `true`: another policy is in force now. Rejects when it could not be had; then nothing changed. */
  refresh(): Promise<boolean> {
    if (this.#asking !== null) return this.#asking;
    this.#askedAt = this.#settings.now();
    this.#asking = this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ask(): Promise<boolean> {
    try {
      const found = await this.#read();
      if (found === null) return false;
      this.#synced = found.synced;
      this.#etag = found.etag;
      observe(this.#settings.onPolicy, found.synced.ref);
      return true;
    } catch (error) {
      observe(this.#settings.onPolicyFault, error);
      throw error;
    }
  }

  /** `null`: what is known here is what is in force there. */
  async #read(): Promise<{ readonly synced: Synced; readonly etag: string | null } | null> {
    const { base, token, agent, fetch, timeoutMs } = this.#settings;
    let response: Response;
    let text: string;
    // A fetch or a token source that ignores its signal must not hold whoever waits.
    const signal = AbortSignal.timeout(timeoutMs);
    let secret = "";
    const exchanged = async () => {
      secret = await readToken(token);
      const response = await fetch(`${base}/v1/policies/effective?agent=${encodeURIComponent(agent)}`, {
        method: "GET",
        body: null,
        headers: {
          accept: "application/json",
          authorization: `Bearer ${secret}`,
          ...(this.#etag !== null && { "if-none-match": this.#etag }),
        },
        redirect: "manual",
        signal,
      });
      return { response, text: await response.text() };
    };
    try {
      ({ response, text } = await abortable<Awaited<ReturnType<typeof exchanged>>>(signal, (resolve, reject) => {
        exchanged().then(resolve, reject);
        return () => undefined;
      }));
    } catch (cause) {
      throw unavailable(WHAT, base, whyNot(cause, secret), { cause });
    }
    if (response.status === 304 && this.#synced !== null) return null;
    if (response.status > 501) throw unavailable(WHAT, base, `status ${response.status}`, {});
    if (response.status !== 200) {
      throw new GatewayRefusedError(WHAT, { status: response.status, code: codeOf(text), detail: "the policy in force was not told" });
    }
    return { synced: parsed(text), etag: response.headers.get("etag") };
  }
}

const WHAT = "read the policy in force";

/** Reads an answer, or throws: what is not whole is no policy, and above all not an empty one. */
function parsed(text: string): Synced {
  const malformed = (detail: string): GatewayRefusedError => new GatewayRefusedError(WHAT, { status: 200, code: "answer_malformed", detail });
  if (text.length > MOST_TEXT) throw malformed("the answer is too long");
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw malformed("the answer must be JSON");
  }
  if (typeof answer !== "object" || answer === null || !("policy" in answer) || !("document" in answer)) throw malformed("it names no policy");
  const { policy: ref, document } = answer;
  if (ref === null && document === null) return { ref: null, policy: null };
  if (!isRef(ref) || typeof document !== "object" || document === null)
    throw malformed("it names a policy without its document, or one without its name");
  let read: LocalPolicy;
  try {
    read = readLocalPolicy(document, ref.version, WHAT);
  } catch (cause) {
    // The gateway has taken it for one. This version does not know all of it.
    throw new GatewayRefusedError(WHAT, { status: 200, code: "answer_malformed", detail: "its policy cannot be read here", cause });
  }
  return { ref, policy: { ...read, ref: { ...ref, digest: ref.digest } } };
}

const isRef = (found: unknown): found is PolicyRef & { readonly digest: `sha-256:${string}` } =>
  typeof found === "object" &&
  found !== null &&
  "name" in found &&
  typeof found.name === "string" &&
  "version" in found &&
  Number.isSafeInteger(found.version) &&
  "digest" in found &&
  typeof found.digest === "string" &&
  found.digest.startsWith("sha-256:");

function codeOf(text: string): string {
  const found = /"code"\s*:\s*"(\w{1,64})"/.exec(text)?.[1];
  return found ?? "problem_malformed";
}
