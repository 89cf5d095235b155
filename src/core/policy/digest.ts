import { type Digest, digestOf, type Sha256 } from "../digest.ts";
import { canonicalJson } from "../json.ts";
import type { PolicyDocument } from "./document.ts";

/** The identity of a policy: the digest of its canonical JSON (RFC 8785). Two texts that mean the same have the same digest. */
export const policyDigest = (sha256: Sha256, document: PolicyDocument): Digest => digestOf(sha256, canonicalJson(document));
