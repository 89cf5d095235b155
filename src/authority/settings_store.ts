import type { Instant } from "../core/time.ts";
import { DEFAULT_SETTINGS, type Settings } from "../flow/ports.ts";

/** The table of what a tenant has chosen for itself. */
export const SETTINGS_TABLES = `
  CREATE TABLE settings (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cors_origins TEXT NOT NULL CHECK (json_valid(cors_origins)),
    retention_days INTEGER NOT NULL CHECK (retention_days >= 183),
    default_policy TEXT,
    throttle_requests INTEGER CHECK (throttle_requests > 0),
    throttle_window_ms INTEGER CHECK (throttle_window_ms > 0),
    updated_at INTEGER NOT NULL CHECK (updated_at >= 0),
    CHECK ((throttle_requests IS NULL) = (throttle_window_ms IS NULL))
  ) STRICT;
`;

/** Since links can answer approvals. */
export const SETTINGS_LINKS = "ALTER TABLE settings ADD COLUMN approval_links INTEGER NOT NULL DEFAULT 0 CHECK (approval_links IN (0, 1));";

/** Since sessions grant client leases. */
export const SETTINGS_LEASES = "ALTER TABLE settings ADD COLUMN client_leases INTEGER NOT NULL DEFAULT 1 CHECK (client_leases IN (0, 1));";

/** What a tenant's object keeps of its settings. Every write is inside the caller's transaction. */
export class SettingsStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  read(): Settings {
    const row = this.#sql.exec<SettingsRow>("SELECT * FROM settings").toArray()[0];
    if (row === undefined) return DEFAULT_SETTINGS;
    return {
      // Our own text, written below.
      corsOrigins: JSON.parse(row.cors_origins) as Settings["corsOrigins"],
      retentionDays: row.retention_days,
      defaultPolicy: row.default_policy,
      throttle:
        row.throttle_requests === null || row.throttle_window_ms === null
          ? null
          : { requests: row.throttle_requests, windowMs: row.throttle_window_ms },
      approvalLinks: row.approval_links === 1,
      clientLeases: row.client_leases === 1,
    };
  }

  write({ corsOrigins, retentionDays, defaultPolicy, throttle, approvalLinks, clientLeases }: Settings, now: Instant): void {
    this.#sql.exec(
      `INSERT INTO settings (one, cors_origins, retention_days, default_policy, throttle_requests, throttle_window_ms, approval_links, client_leases, updated_at)
       VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (one) DO UPDATE SET cors_origins = excluded.cors_origins, retention_days = excluded.retention_days, default_policy = excluded.default_policy,
         throttle_requests = excluded.throttle_requests, throttle_window_ms = excluded.throttle_window_ms,
         approval_links = excluded.approval_links, client_leases = excluded.client_leases, updated_at = excluded.updated_at`,
      JSON.stringify(corsOrigins),
      retentionDays,
      defaultPolicy,
      throttle?.requests ?? null,
      throttle?.windowMs ?? null,
      approvalLinks ? 1 : 0,
      clientLeases ? 1 : 0,
      now,
    );
  }
}

type SettingsRow = {
  cors_origins: string;
  retention_days: number;
  default_policy: string | null;
  throttle_requests: number | null;
  throttle_window_ms: number | null;
  approval_links: number;
  client_leases: number;
};
