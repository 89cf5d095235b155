import { type ApprovalId, type DecisionId, isId } from "../ids.ts";
import { canonicalJson, type JsonValue } from "../json.ts";
import type { Chain } from "./findings.ts";
import type { Recorded } from "./recorded.ts";

/**
 * What people's answers on record are worth for a use of them under another policy. `granted`: as many had approved as it asks for; `open`: fewer had;
 * `none`: under it nobody had been asked; `unknown`: it asks for other groups, or for somebody who is not the owner, and the record does not say who is.
 */
export type Worth = "granted" | "open" | "none" | "unknown";

/** The approval that a decision waits for, or that it used. */
export function approvalOf({ entry }: Recorded): ApprovalId | null {
  const id = entry.approval?.id;
  return id !== undefined && isId("apr", id) ? id : null;
}

/** What a session's record says of its approvals, and what became of the requests that opened them under another policy. */
export class RecordedApprovals {
  readonly #known = new Map<ApprovalId, Known>();
  /** Of requests that another policy lets run, or refuses, which were held on record. */
  readonly #ran = new Set<ApprovalId>();
  readonly #refused = new Set<ApprovalId>();

  /** Takes an entry of kind `approval`. */
  note(recorded: Recorded): void {
    const id = approvalOf(recorded);
    const { details } = recorded.entry;
    if (id === null || details === null) return;
    const { event, approved, groups = null, four_eyes } = details;
    if (event === "requested") this.#known.set(id, { openedBy: recorded.decision, groups, fourEyes: four_eyes === true, approved: 0 });
    const known = this.#known.get(id);
    // How many people have approved what may now be used: edits begin anew.
    if (known !== undefined && typeof approved === "number") known.approved = approved;
  }

  /** A request that was held on record is allowed, or denied, instead. One that only asked again does not take back what the first had asked. */
  insteadOfHold(id: ApprovalId, verdict: "allow" | "deny", decision: DecisionId): void {
    if (verdict === "allow") this.#ran.add(id);
    else if (this.#known.get(id)?.openedBy === decision) this.#refused.add(id);
  }

  /** Whether what was held for it ran at once, so that there is nothing left to be approved. */
  hasRun(id: ApprovalId): boolean {
    return this.#ran.has(id);
  }

  worth(id: ApprovalId, chain: Chain): Worth {
    if (this.#refused.has(id)) return "none";
    const known = this.#known.get(id);
    if (known === undefined) return "unknown";
    if (known.approved < chain.needed) return "open";
    const groups = chain.groups.map(({ scopes, subjects }) => ({ scopes, subjects }));
    const isOfAnybody = groups.length === 0 || canonicalJson(groups) === canonicalJson(known.groups);
    return isOfAnybody && (known.fourEyes || !chain.fourEyes) ? "granted" : "unknown";
  }
}

interface Known {
  readonly openedBy: DecisionId | null;
  readonly groups: JsonValue;
  readonly fourEyes: boolean;
  approved: number;
}
