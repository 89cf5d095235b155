-- Who asks what was done about a session is shown also the interventions that name it: they are in the tenant's chain, and few among many entries.
CREATE INDEX entries_that_intervene ON entries (tenant, idx) WHERE kind = 'intervention';
