-- Costs that were reported (kind 'ingest') are not counted where the gateway has posted the same decision itself; this finds whether it has.
CREATE INDEX entries_that_post_by_decision ON entries (tenant, decision_id)
WHERE kind <> 'ingest' AND decision_id IS NOT NULL AND (kind = 'commit' OR cost_micro_usd > 0 OR corrected_micro_usd > 0);
