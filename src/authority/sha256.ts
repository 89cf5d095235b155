import { createHash } from "node:crypto";
import type { Sha256 } from "../core/digest.ts";

/** SHA-256 that answers at once: inside a storage transaction nothing may wait, and Web Crypto always does. */
export const sha256: Sha256 = (text) => createHash("sha256").update(text, "utf8").digest("hex");
