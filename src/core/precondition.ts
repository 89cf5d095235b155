/** What a policy's name stands for, as far as whoever reads it can tell: where two of these are equal, the same is read. */
export interface PolicyStanding {
  /** The version in force, or the newest where none is. */
  readonly version: number;
  readonly active: boolean;
  readonly scope: "tenant" | "agent";
  readonly target: string | null;
}

/** What a writer wants a name to stand for where a policy is put under it (RFC 9110 section 13.1). `null`: it does not say. */
export interface PutIf {
  /** `If-Match`: what it saw, as it stood then; `"anything"`: there must be something. Empty: what it saw stands no longer. */
  readonly is: "anything" | readonly PolicyStanding[] | null;
  /** `If-None-Match`: what must not be there. */
  readonly isNot: "anything" | readonly PolicyStanding[] | null;
}

/** The part of a condition that does not hold, the first in their order (section 13.2.2); `null`: all of it holds. */
export function unmet({ is, isNot }: PutIf, now: PolicyStanding | null): "If-Match" | "If-None-Match" | null {
  if (is !== null && !isAmong(is, now)) return "If-Match";
  return isNot !== null && isAmong(isNot, now) ? "If-None-Match" : null;
}

const isAmong = (wanted: "anything" | readonly PolicyStanding[], now: PolicyStanding | null): boolean =>
  now !== null && (wanted === "anything" || wanted.some((one) => isSame(one, now)));

const isSame = (one: PolicyStanding, other: PolicyStanding): boolean =>
  one.version === other.version && one.active === other.active && one.scope === other.scope && one.target === other.target;
