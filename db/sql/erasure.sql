-- name: close
SELECT id, key FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE;

-- name: aliases
SELECT contact_id, key FROM contact_alias WHERE contact_id = ANY (CAST(:ids AS bigint[]));

-- name: uncount
-- What is counted is always what can be counted; a slot may go below zero, their sum does not.
INSERT INTO step_count (step_id, day, result, slot, n)
SELECT step_id, (at AT TIME ZONE 'UTC')::date, result, (SELECT counter_slot()), -count(*)
FROM outcome
WHERE contact_id = ANY (CAST(:ids AS bigint[]))
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
ON CONFLICT (step_id, day, result, slot) DO UPDATE SET n = step_count.n + excluded.n;

-- name: count_left
INSERT INTO campaign_count (campaign_id, day, what, slot, n)
SELECT campaign_id, (CAST(:at AS timestamptz) AT TIME ZONE 'UTC')::date, 'left', (SELECT counter_slot()), count(*)
FROM membership
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND left_at IS NULL
GROUP BY campaign_id
ORDER BY campaign_id
ON CONFLICT (campaign_id, day, what, slot) DO UPDATE SET n = campaign_count.n + excluded.n;
