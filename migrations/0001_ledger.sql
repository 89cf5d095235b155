-- The ledger as people query it. What each field means, who writes it and who reads it: README.md beside this file.
-- The hashed text is `canonical`; every other column of `entries` is derived from it, except `idx`, the place that the tenant's ledger object gave it.
--
-- `entries` keeps its rowid on purpose: an entry is one or two kilobytes, and in a WITHOUT ROWID table half of it would spill into an overflow page
-- of its own (measured: 4.8 kB stored for a 1.2 kB entry, 2.2 kB with a rowid), which over six months costs more than the extra row written.

CREATE TABLE entries (
  tenant TEXT NOT NULL CHECK (tenant <> ''),
  idx INTEGER NOT NULL CHECK (idx >= 0),
  id TEXT NOT NULL CHECK (id GLOB 'ent_?*'),
  kind TEXT NOT NULL CHECK (
    kind IN ('decision', 'commit', 'release', 'expiry', 'approval', 'intervention', 'policy', 'session', 'lease', 'token', 'ingest')
  ),
  session TEXT CHECK (session <> ''),
  seq INTEGER NOT NULL CHECK (seq >= 1),
  run TEXT CHECK (run <> ''),
  agent TEXT CHECK (agent <> ''),
  action TEXT CHECK (action <> ''),
  tags TEXT NOT NULL CHECK (json_type(tags) = 'array'),
  decision_id TEXT CHECK (decision_id <> ''),
  verdict TEXT CHECK (verdict IN ('allow', 'deny', 'hold')),
  reason TEXT CHECK (reason <> ''),
  outcome TEXT CHECK (outcome IN ('success', 'error')),
  at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
  cost_micro_usd INTEGER NOT NULL CHECK (cost_micro_usd >= 0),
  corrected_micro_usd INTEGER NOT NULL CHECK (corrected_micro_usd >= 0),
  hash TEXT NOT NULL CHECK (length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*'),
  prev_hash TEXT NOT NULL CHECK (length(prev_hash) = 64 AND prev_hash NOT GLOB '*[^0-9a-f]*'),
  canonical TEXT NOT NULL CHECK (canonical GLOB '{*}'),
  PRIMARY KEY (tenant, idx)
) STRICT;

-- Reading one entry by its id, and the second half of "an entry is there once".
CREATE UNIQUE INDEX entries_by_id ON entries (tenant, id);

-- The two filters that pick few rows out of many. The others (agent, action, kind, verdict, outcome, tag, from, to) are tested while walking the
-- primary key from the newest entry down: they match often, so a page fills soon, and an index each would cost a written row per entry for ever.
CREATE INDEX entries_by_session ON entries (tenant, session, idx) WHERE session IS NOT NULL;
CREATE INDEX entries_by_run ON entries (tenant, run, idx) WHERE run IS NOT NULL;

-- Everything a cost report needs, for the entries that move money, so that a report reads no entry itself.
CREATE INDEX entries_that_post ON entries (tenant, at_ms, action, run, session, agent, decision_id, cost_micro_usd, corrected_micro_usd, kind)
WHERE kind = 'commit' OR cost_micro_usd > 0 OR corrected_micro_usd > 0;

CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
BEGIN
  SELECT RAISE(ABORT, 'ledger is append-only');
END;

CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
BEGIN
  SELECT RAISE(ABORT, 'ledger is append-only');
END;

-- INSERT OR REPLACE deletes what it replaces without asking the trigger above, so the insert itself is stopped before any conflict arises:
-- the same entry in the same place is passed over (shipping a batch again is harmless), anything else in its place is an error.
CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE tenant = NEW.tenant AND idx = NEW.idx)
  OR EXISTS (SELECT 1 FROM entries WHERE tenant = NEW.tenant AND id = NEW.id)
  OR EXISTS (SELECT 1 FROM entries WHERE rowid = NEW.rowid)
BEGIN
  SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM entries WHERE tenant = NEW.tenant AND idx = NEW.idx AND id = NEW.id AND hash = NEW.hash);
  SELECT RAISE(ABORT, 'ledger is append-only');
END;

-- What an agent sent and got, beside the entry that holds its salted digest. It may be erased; the entry and every proof stay as they are.
CREATE TABLE payloads (
  tenant TEXT NOT NULL CHECK (tenant <> ''),
  entry TEXT NOT NULL CHECK (entry GLOB 'ent_?*'),
  salt TEXT NOT NULL CHECK (salt <> ''),
  inputs TEXT CHECK (json_valid(inputs)),
  outputs TEXT CHECK (json_valid(outputs)),
  PRIMARY KEY (tenant, entry)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER payloads_no_update BEFORE UPDATE ON payloads
BEGIN
  SELECT RAISE(ABORT, 'payloads are written once');
END;

-- A payload is written in the transaction of its entry and before it. Once the entry is there none can be added: not another one, and not an erased
-- one, by a batch that is shipped again.
CREATE TRIGGER payloads_only_before_entries BEFORE INSERT ON payloads
WHEN EXISTS (SELECT 1 FROM entries WHERE tenant = NEW.tenant AND id = NEW.entry)
  OR EXISTS (SELECT 1 FROM payloads WHERE tenant = NEW.tenant AND entry = NEW.entry)
BEGIN
  SELECT RAISE(IGNORE);
END;
