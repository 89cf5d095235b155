import { digestOf } from "../../../src/core/digest.ts";
import { canonicalJson } from "../../../src/core/json.ts";
import { createRecorder, type Recorder } from "./ledger/recorder.ts";
import type { LocalPolicy } from "./policy_source.ts";
import { sha256 } from "./sha256.ts";

/** How values are written down while a policy is in force; `null`: none is, and what could be a secret by its looks is hidden. */
export const recorderOf = (policy: LocalPolicy | null): Recorder =>
  createRecorder({ redaction: policy === null ? undefined : policy.compiled.redaction });

/** What is written of a call's arguments: in the original's form, which had them by place and by name. */
export const argumentsOf = <Args extends readonly unknown[]>(args: Args) => ({ args, kwargs: BY_NAME });

/** JavaScript has no arguments by name. */
const BY_NAME = Object.freeze({});

/** By what arguments that are no plain data are told apart; never shown, and no approval's digest. */
export const lossyDigest = (args: readonly unknown[]) => digestOf(sha256, canonicalJson(WHOLE.inputs(args).value));

const WHOLE = createRecorder({ redaction: null });
