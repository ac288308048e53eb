-- name: begin
-- With the counters of the step so far, so that emails of before do not count.
INSERT INTO variant_test (template, campaign_id, step_id, round, started_at, figures_before)
SELECT place.template, place.campaign_id, place.step_id, place.round, :now, coalesce(
    (SELECT jsonb_object_agg(variant, counted)
     FROM (SELECT variant, jsonb_object_agg(what, n) AS counted
           FROM (SELECT variant, what, sum(n)::bigint AS n FROM email_count
                 WHERE email_count.template = place.template AND email_count.campaign_id = place.campaign_id
                   AND email_count.step_id = place.step_id AND what IN ('sent', 'opened', 'clicked')
                 GROUP BY variant, what) AS summed
           GROUP BY variant) AS by_variant), '{}')
FROM unnest(CAST(:templates AS text[]), CAST(:campaign_ids AS int[]), CAST(:step_ids AS int[]), CAST(:rounds AS int[]))
     AS place (template, campaign_id, step_id, round)
ON CONFLICT DO NOTHING;

-- name: of_places
-- A probe of the primary key for each place, whatever statistics say of the table.
SELECT test.*
FROM unnest(CAST(:templates AS text[]), CAST(:campaign_ids AS int[]), CAST(:step_ids AS int[]), CAST(:rounds AS int[]))
     AS place (template, campaign_id, step_id, round)
CROSS JOIN LATERAL (
    SELECT template, campaign_id, step_id, round, started_at, decided_at, winner FROM variant_test
    WHERE variant_test.template = place.template AND variant_test.campaign_id = place.campaign_id
      AND variant_test.step_id = place.step_id AND variant_test.round = place.round
    LIMIT 1
) AS test;

-- name: figures
SELECT counted.variant, counted.what,
       sum(counted.n)::bigint - coalesce(CAST(min(test.figures_before -> counted.variant ->> counted.what) AS bigint), 0)
       AS n
FROM variant_test AS test
JOIN email_count AS counted USING (template, campaign_id, step_id)
WHERE test.template = :template AND test.campaign_id = :campaign_id AND test.step_id = :step_id
  AND test.round = :round AND counted.what IN ('sent', 'opened', 'clicked')
GROUP BY counted.variant, counted.what;

-- name: decide
-- Two at once: the second waits for the first, sees its winner, and changes nothing.
UPDATE variant_test SET winner = :winner, decided_at = :now
WHERE template = :template AND campaign_id = :campaign_id AND step_id = :step_id AND round = :round
  AND decided_at IS NULL;
