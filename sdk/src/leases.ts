export type { ClientLease } from "./leases/client_lease.ts";
export { type LeaseOptions, leaseOf } from "./leases/lease_of.ts";
export type { SettleOptions } from "./leases/settling.ts";
