import { gateway } from "./groups/gateway.ts";
import { growth } from "./groups/growth.ts";
import { interventions } from "./groups/interventions.ts";
import { isolation } from "./groups/isolation.ts";
import { leases } from "./groups/leases.ts";
import { lifecycle } from "./groups/lifecycle.ts";
import { local } from "./groups/local.ts";
import { peers } from "./groups/peers.ts";
import { policy } from "./groups/policy.ts";
import { sdk } from "./groups/sdk.ts";
import { shared } from "./groups/shared.ts";
import { shipping } from "./groups/shipping.ts";
import { size } from "./groups/size.ts";
import type { Report } from "./report.ts";
import type { Effort } from "./rounds.ts";

/** Cases that are measured together, and are asked for by name with `--only`. */
export interface Group {
  readonly name: string;
  /** What it measures, in half a line. */
  readonly what: string;
  /** Whether it runs when nobody names groups. */
  readonly byDefault: boolean;
  readonly measure: (effort: Effort, say: (text: string) => void) => Promise<Report>;
}

export const GROUPS: readonly Group[] = [
  gateway,
  policy,
  local,
  sdk,
  leases,
  lifecycle,
  ...growth,
  shared,
  interventions,
  isolation,
  shipping,
  size,
  peers,
];
