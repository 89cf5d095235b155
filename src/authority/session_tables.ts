import { OUTBOX_TABLE } from "./outbox.ts";
import type { Schema, SchemaStep } from "./tables.ts";

/**
 * The newest tables of a session's object, as a new one makes them: opening a session is something that somebody waits for, and the steps would cost it
 * several times as much. `migrations/README.md` says what each field is for.
 */
const NEWEST = `
  CREATE TABLE session (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    agent TEXT NOT NULL,
    labels TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    opened TEXT NOT NULL,
    opened_at INTEGER NOT NULL CHECK (opened_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    budget_micro_usd INTEGER CHECK (budget_micro_usd >= 0),
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    tenant_told INTEGER NOT NULL DEFAULT 0 CHECK (tenant_told IN (0, 1)),
    clock INTEGER NOT NULL CHECK (clock >= 0),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    head_hash TEXT NOT NULL CHECK (length(head_hash) = 64),
    run TEXT NOT NULL,
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    prevented_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (prevented_micro_usd >= 0),
    allowed INTEGER NOT NULL DEFAULT 0 CHECK (allowed >= 0),
    denied INTEGER NOT NULL DEFAULT 0 CHECK (denied >= 0),
    held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
    wind_down_posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_posted_micro_usd >= 0),
    wind_down_pending_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_pending_micro_usd >= 0),
    wind_down_leased_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_leased_micro_usd >= 0),
    wind_down_overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_overrun_micro_usd >= 0),
    shares TEXT
  ) STRICT;
  CREATE TABLE lease (one INTEGER PRIMARY KEY CHECK (one = 1), lease TEXT NOT NULL) STRICT;
  CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    closed INTEGER NOT NULL CHECK (closed IN (0, 1)),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE actions (
    name TEXT PRIMARY KEY,
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE decisions (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'released', 'expired', 'denied', 'held')),
    answer TEXT NOT NULL,
    matter TEXT,
    approval TEXT,
    reserved_micro_usd INTEGER CHECK (reserved_micro_usd >= 0),
    expires_at INTEGER CHECK (expires_at >= 0),
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    told_fingerprint TEXT,
    told TEXT,
    action TEXT,
    at INTEGER CHECK (at >= 0),
    ended_at INTEGER CHECK (ended_at >= 0),
    outcome TEXT CHECK (outcome IN ('success', 'error')),
    kept TEXT,
    kept_until INTEGER CHECK (kept_until >= 0),
    pieces TEXT
  ) STRICT;
  CREATE INDEX pending ON decisions (expires_at) WHERE state = 'pending';
  CREATE INDEX trail ON decisions (action, at) WHERE at IS NOT NULL;
  CREATE INDEX failures ON decisions (action, ended_at) WHERE outcome = 'error';
  CREATE INDEX kept ON decisions (kept_until) WHERE kept IS NOT NULL;
  CREATE TABLE hits (
    pattern TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (at >= 0),
    count INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (pattern, at)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE keys (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL) STRICT, WITHOUT ROWID;
  ${OUTBOX_TABLE};
  CREATE TABLE alerts (account TEXT PRIMARY KEY, millionths INTEGER NOT NULL CHECK (millionths > 0)) STRICT, WITHOUT ROWID;
  CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('pending', 'info_requested', 'approved', 'rejected', 'expired', 'cancelled', 'consumed')),
    approval TEXT NOT NULL,
    card TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    told INTEGER NOT NULL DEFAULT 0 CHECK (told >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX open_approvals ON approvals (status) WHERE status IN ('pending', 'info_requested', 'approved');
  CREATE INDEX untold_approvals ON approvals (id) WHERE told < version;
  CREATE TABLE client_leases (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'expired')),
    amount_micro_usd INTEGER NOT NULL CHECK (amount_micro_usd > 0),
    held_micro_usd INTEGER NOT NULL CHECK (held_micro_usd >= 0),
    returned_micro_usd INTEGER NOT NULL CHECK (returned_micro_usd >= 0),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0),
    lease TEXT NOT NULL,
    CHECK (amount_micro_usd = held_micro_usd + returned_micro_usd + posted_micro_usd - overrun_micro_usd)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX standing_client_leases ON client_leases (id) WHERE state = 'open' OR held_micro_usd > 0;
  CREATE TABLE lease_answers (id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, answer TEXT NOT NULL) STRICT, WITHOUT ROWID;
`;

/** How those came about, for sessions that were opened before. A test holds that both ways lead to the same tables. */
const STEPS: readonly SchemaStep[] = [
  `
  CREATE TABLE session (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    agent TEXT NOT NULL,
    labels TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    opened TEXT NOT NULL,
    opened_at INTEGER NOT NULL CHECK (opened_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    budget_micro_usd INTEGER CHECK (budget_micro_usd >= 0),
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    tenant_told INTEGER NOT NULL DEFAULT 0 CHECK (tenant_told IN (0, 1)),
    clock INTEGER NOT NULL CHECK (clock >= 0),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    head_hash TEXT NOT NULL CHECK (length(head_hash) = 64),
    run TEXT NOT NULL,
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    prevented_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (prevented_micro_usd >= 0),
    allowed INTEGER NOT NULL DEFAULT 0 CHECK (allowed >= 0),
    denied INTEGER NOT NULL DEFAULT 0 CHECK (denied >= 0),
    held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0)
  ) STRICT;
  CREATE TABLE lease (one INTEGER PRIMARY KEY CHECK (one = 1), lease TEXT NOT NULL) STRICT;
  CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    closed INTEGER NOT NULL CHECK (closed IN (0, 1)),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE actions (
    name TEXT PRIMARY KEY,
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE decisions (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'released', 'expired', 'denied', 'held')),
    answer TEXT NOT NULL,
    matter TEXT,
    approval TEXT,
    reserved_micro_usd INTEGER CHECK (reserved_micro_usd >= 0),
    expires_at INTEGER CHECK (expires_at >= 0),
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    told_fingerprint TEXT,
    told TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX pending ON decisions (expires_at) WHERE state = 'pending';
  CREATE UNIQUE INDEX approvals ON decisions (approval) WHERE approval IS NOT NULL;
  CREATE TABLE hits (
    pattern TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (at >= 0),
    count INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (pattern, at)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE keys (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL) STRICT, WITHOUT ROWID;
  ${OUTBOX_TABLE};
  `,
  `
  ALTER TABLE session ADD COLUMN wind_down_posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_posted_micro_usd >= 0);
  ALTER TABLE session ADD COLUMN wind_down_pending_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_pending_micro_usd >= 0);
  ALTER TABLE session ADD COLUMN wind_down_leased_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_leased_micro_usd >= 0);
  ALTER TABLE session ADD COLUMN wind_down_overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (wind_down_overrun_micro_usd >= 0);
  ALTER TABLE decisions ADD COLUMN action TEXT;
  ALTER TABLE decisions ADD COLUMN at INTEGER CHECK (at >= 0);
  ALTER TABLE decisions ADD COLUMN ended_at INTEGER CHECK (ended_at >= 0);
  ALTER TABLE decisions ADD COLUMN outcome TEXT CHECK (outcome IN ('success', 'error'));
  ALTER TABLE decisions ADD COLUMN kept TEXT;
  ALTER TABLE decisions ADD COLUMN kept_until INTEGER CHECK (kept_until >= 0);
  UPDATE decisions SET action = json_extract(answer, '$.action'), at = (SELECT clock FROM session) WHERE reserved_micro_usd IS NOT NULL;
  CREATE INDEX trail ON decisions (action, at) WHERE at IS NOT NULL;
  CREATE INDEX failures ON decisions (action, ended_at) WHERE outcome = 'error';
  CREATE INDEX kept ON decisions (kept_until) WHERE kept IS NOT NULL;
  CREATE TABLE alerts (account TEXT PRIMARY KEY, millionths INTEGER NOT NULL CHECK (millionths > 0)) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE session ADD COLUMN shares TEXT;
  ALTER TABLE decisions ADD COLUMN pieces TEXT;
  `,
  // Rows of some kilobytes lie in the order in which they were written, and only their ids are sorted: a table sorted by id costs more with every row.
  `
  ALTER TABLE decisions RENAME TO decisions_by_id;
  CREATE TABLE decisions (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'released', 'expired', 'denied', 'held')),
    answer TEXT NOT NULL,
    matter TEXT,
    approval TEXT,
    reserved_micro_usd INTEGER CHECK (reserved_micro_usd >= 0),
    expires_at INTEGER CHECK (expires_at >= 0),
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    told_fingerprint TEXT,
    told TEXT,
    action TEXT,
    at INTEGER CHECK (at >= 0),
    ended_at INTEGER CHECK (ended_at >= 0),
    outcome TEXT CHECK (outcome IN ('success', 'error')),
    kept TEXT,
    kept_until INTEGER CHECK (kept_until >= 0),
    pieces TEXT
  ) STRICT;
  INSERT INTO decisions (id, fingerprint, state, answer, matter, approval, reserved_micro_usd, expires_at, posted_micro_usd, overrun_micro_usd,
      told_fingerprint, told, action, at, ended_at, outcome, kept, kept_until, pieces)
    SELECT id, fingerprint, state, answer, matter, approval, reserved_micro_usd, expires_at, posted_micro_usd, overrun_micro_usd,
      told_fingerprint, told, action, at, ended_at, outcome, kept, kept_until, pieces
    FROM decisions_by_id ORDER BY json_extract(answer, '$.entry.seq');
  DROP TABLE decisions_by_id;
  CREATE INDEX pending ON decisions (expires_at) WHERE state = 'pending';
  CREATE UNIQUE INDEX approvals ON decisions (approval) WHERE approval IS NOT NULL;
  CREATE INDEX trail ON decisions (action, at) WHERE at IS NOT NULL;
  CREATE INDEX failures ON decisions (action, ended_at) WHERE outcome = 'error';
  CREATE INDEX kept ON decisions (kept_until) WHERE kept IS NOT NULL;
  `,
  `
  DROP INDEX approvals;
  CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('pending', 'info_requested', 'approved', 'rejected', 'expired', 'cancelled', 'consumed')),
    approval TEXT NOT NULL,
    card TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    told INTEGER NOT NULL DEFAULT 0 CHECK (told >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX open_approvals ON approvals (status) WHERE status IN ('pending', 'info_requested', 'approved');
  CREATE INDEX untold_approvals ON approvals (id) WHERE told < version;
  `,
  // What a lease was granted with is somewhere: held, given back, or spent and covered.
  `
  CREATE TABLE client_leases (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'expired')),
    amount_micro_usd INTEGER NOT NULL CHECK (amount_micro_usd > 0),
    held_micro_usd INTEGER NOT NULL CHECK (held_micro_usd >= 0),
    returned_micro_usd INTEGER NOT NULL CHECK (returned_micro_usd >= 0),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0),
    lease TEXT NOT NULL,
    CHECK (amount_micro_usd = held_micro_usd + returned_micro_usd + posted_micro_usd - overrun_micro_usd)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX standing_client_leases ON client_leases (id) WHERE state = 'open' OR held_micro_usd > 0;
  CREATE TABLE lease_answers (id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, answer TEXT NOT NULL) STRICT, WITHOUT ROWID;
  `,
];

export const SESSION_TABLES: Schema = { steps: STEPS, newest: NEWEST };
