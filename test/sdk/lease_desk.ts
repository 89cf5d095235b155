import type * as wire from "../../sdk/src/wire.ts";

/** The fake gateway's side of client leases: what it granted, and what it was told of each decision, once. */

export interface FakeLease {
  readonly granted: wire.GrantedLease;
  /** Under which key it was asked for. */
  readonly key: string;
  readonly entries: Map<string, wire.LeaseEntry>;
  state: wire.LeaseState;
  /** How many requests have settled it. */
  settlements: number;
  /** How much went back when it ended. */
  returnedMicroUsd: number;
}

export interface LeaseDesk {
  readonly leases: Map<string, FakeLease>;
  /** What is wrong with an entry, if anything is: where it is refused at, below the entry; `""`: it is refused without being named. */
  refuses: (entry: wire.LeaseEntry) => string | null;
  /** What every settling is refused with. */
  barred: { readonly status: number; readonly code: string } | null;
  /** What of the next grants is not as it was asked for. */
  readonly grants: Partial<wire.GrantedLease>[];
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

export const microOf = (usd: wire.UsdInput): number => Math.round(Number(usd) * 1_000_000);
export const usdOf = (microUsd: number): string => String(microUsd / 1_000_000);

export const newDesk = (): LeaseDesk => ({ leases: new Map(), refuses: () => null, barred: null, grants: [] });

/** Answers what is asked below a session's `/leases`. */
export function deskAnswers(
  desk: LeaseDesk,
  place: string,
  key: string,
  body: object,
  refused: (status: number, code: string, more?: object) => Reply,
  stamp: Pick<wire.GrantedLease, "session" | "expires_at" | "policy" | "entry">,
): Reply {
  const [, id = "", verb] = /^\/leases(?:\/([^/]+)(?:\/(\w+))?)?$/.exec(place) ?? [];
  if (id === "") {
    // What the SDK sends is of the contract.
    const asked = body as wire.GrantLeaseRequest;
    const known = [...desk.leases.values()].find((lease) => lease.key === key);
    if (known !== undefined) return { status: 201, body: known.granted };
    if (!(microOf(asked.amount_usd) > 0))
      return refused(422, "body_invalid", { issues: [{ pointer: "/amount_usd", message: "It must be above zero." }] });
    const granted: wire.GrantedLease = {
      id: `lse_${desk.leases.size + 1}`,
      ...stamp,
      run: asked.run ?? "",
      actions: asked.actions,
      amount_usd: String(asked.amount_usd),
      ttl_ms: asked.ttl_ms ?? 30_000,
      token: "a.signed.lease",
      budgets: [],
      ...desk.grants.shift(),
    };
    desk.leases.set(granted.id, { granted, key, entries: new Map(), state: "open", settlements: 0, returnedMicroUsd: 0 });
    return { status: 201, body: granted };
  }
  const lease = desk.leases.get(id);
  if (lease === undefined || verb !== "settle") return refused(404, "not_found");
  if (desk.barred !== null) return refused(desk.barred.status, desk.barred.code);
  const { entries, final = true } = body as wire.SettleLeaseRequest;
  for (const [place, entry] of entries.entries()) {
    const wrong = entries.length > 100 ? "" : desk.refuses(entry);
    if (wrong === null) continue;
    const issues = wrong === "" ? [] : [{ pointer: `/entries/${place}${wrong}`, message: "It is wrong." }];
    return refused(422, "body_invalid", { issues });
  }
  let duplicates = 0;
  for (const entry of entries) {
    const known = lease.entries.get(entry.id);
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(entry)) return refused(409, "idempotency_mismatch");
    if (known !== undefined) duplicates++;
    lease.entries.set(entry.id, entry);
  }
  lease.settlements++;
  const amount = microOf(lease.granted.amount_usd);
  const posted = [...lease.entries.values()].reduce((sum, { cost_usd }) => sum + microOf(cost_usd), 0);
  if (final) {
    lease.state = "settled";
    lease.returnedMicroUsd = Math.max(0, amount - posted);
  }
  const settled: wire.SettledLease = {
    id,
    state: lease.state,
    accepted: entries.length - duplicates,
    duplicates,
    posted_usd: usdOf(posted),
    overrun_usd: usdOf(Math.max(0, posted - amount)),
    returned_usd: usdOf(lease.returnedMicroUsd),
    remaining_usd: usdOf(final ? 0 : Math.max(0, amount - posted)),
    late: false,
    budgets: [],
    entry: stamp.entry,
  };
  return { status: 200, body: settled };
}
