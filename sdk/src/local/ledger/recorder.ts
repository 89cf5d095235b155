import { canonicalJson } from "../../../../src/core/json.ts";
import { type Keeping, type Redaction, redactJson } from "../../../../src/core/redact.ts";
import type { Json } from "../../surface.ts";
import { type RecordedValue, recordValue, type ValueOptions } from "../../values.ts";
import { builtin } from "../builtin.ts";
import { plainCopy } from "../plain_copy.ts";
import { sha256 } from "../sha256.ts";

/** Any value as a ledger keeps it. The same value under the same redaction is always the same JSON. */
export interface Recorder {
  inputs(value: unknown): RecordedValue;
  /** The same of what is a plain copy already: see `plainCopies`. */
  copiedInputs(copy: Json): RecordedValue;
  /** Also of what was thrown. */
  outputs(value: unknown): RecordedValue;
}

export interface RecorderOptions {
  /** Of the policy in force. `null`: the policy hides nothing. `undefined`: no policy is there to ask, and all that can be told by its looks is hidden. */
  readonly redaction: Redaction | null | undefined;
  readonly mostCharacters?: number | undefined;
}

/** What is kept of inputs and outputs under a policy: the gateway's own redaction, and its `full`, `digest` or `none`. */
export function createRecorder({ redaction, mostCharacters }: RecorderOptions): Recorder {
  const hiding = redaction === undefined ? UNASKED : redaction;
  const options: ValueOptions = {
    mostCharacters,
    sha256,
    isProxy: builtin<{ readonly types: { readonly isProxy: (value: unknown) => boolean } }>("node:util")?.types?.isProxy,
    redact: hiding === null ? undefined : (value) => redactJson(value, hiding),
  };
  // Of a recorder with less room it is not certain that all of a copy may be written.
  const ofCopy = (copy: Json): RecordedValue =>
    hiding === null && mostCharacters === undefined ? { value: copy, redacted: 0 } : recordValue(copy, options);
  const written = (value: unknown): RecordedValue => {
    const copy = plainCopy(value);
    return copy === undefined ? recordValue(value, options) : ofCopy(copy);
  };
  return {
    inputs: (value) => kept(written(value), hiding?.storeInputs ?? "full"),
    copiedInputs: (copy) => kept(ofCopy(copy), hiding?.storeInputs ?? "full"),
    outputs: (value) => kept(written(value), hiding?.storeOutputs ?? "full"),
  };
}

/** Until a policy says otherwise: what is a secret by its name or by its looks. */
const UNASKED: Redaction = {
  storeInputs: "full",
  storeOutputs: "full",
  keys: [
    "password",
    "passwd",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "refresh_token",
    "api_key",
    "id_token",
    "session_token",
    "authorization",
    "proxy_authorization",
    "x_api_key",
    "x_auth_token",
    "cookie",
    "set_cookie",
    "passphrase",
    "private_key",
  ],
  detect: ["email", "credit_card", "private_key", "token"],
};

/** In the place of a value that is not kept stands what tells it apart from others, or that there was one. */
function kept({ value, redacted }: RecordedValue, keeping: Keeping): RecordedValue {
  if (keeping === "full") return { value, redacted };
  const instead: Json = keeping === "none" ? { $value: "withheld" } : { $value: "digest", digest: `sha-256:${sha256(canonicalJson(value))}` };
  return { value: instead, redacted };
}
