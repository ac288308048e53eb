-- name: ask
INSERT INTO sweep (kind, scope, at) VALUES (:kind, CAST(:scope AS jsonb), :at) RETURNING id;

-- name: find
SELECT id, kind, scope, at, asked_at, started_at, finished_at FROM sweep WHERE id = :sweep_id;

-- name: start
-- Whoever starts it first splits it into chunks; the others find it started.
UPDATE sweep SET started_at = now() WHERE id = :sweep_id AND started_at IS NULL RETURNING id;

-- name: turn
-- Who keeps to a cap reads what is left of it and adds to what is taken, one after another.
SELECT id FROM sweep WHERE id = :sweep_id FOR NO KEY UPDATE;

-- name: finish
UPDATE sweep SET finished_at = now() WHERE id = :sweep_id AND finished_at IS NULL;

-- name: unfinished
-- Sweeps whose hint may be lost.
SELECT id FROM sweep WHERE finished_at IS NULL AND asked_at < now() - make_interval(secs => :seconds) ORDER BY id;

-- name: add_chunks
INSERT INTO sweep_chunk (sweep_id, campaign_id, first_id, last_id)
SELECT :sweep_id, :campaign_id, first_id, last_id
FROM unnest(CAST(:first_ids AS bigint[]), CAST(:last_ids AS bigint[])) AS chunk (first_id, last_id);

-- name: take_chunk
-- A chunk leaves the table with the work that it stands for: a crash gives it back.
WITH next AS (
    SELECT sweep_id, campaign_id, first_id FROM sweep_chunk
    WHERE sweep_id = :sweep_id
    ORDER BY campaign_id DESC, first_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
DELETE FROM sweep_chunk USING next
WHERE sweep_chunk.sweep_id = next.sweep_id AND sweep_chunk.campaign_id = next.campaign_id
  AND sweep_chunk.first_id = next.first_id
RETURNING sweep_chunk.campaign_id, sweep_chunk.first_id, sweep_chunk.last_id;

-- name: chunks_left
SELECT count(*) FROM sweep_chunk WHERE sweep_id = :sweep_id;

-- name: drop_chunks
DELETE FROM sweep_chunk WHERE sweep_id = :sweep_id AND campaign_id = :campaign_id;

-- name: count
INSERT INTO sweep_count (sweep_id, campaign_id, what, slot, n)
SELECT :sweep_id, :campaign_id, what, (SELECT counter_slot()), n
FROM unnest(CAST(:whats AS text[]), CAST(:ns AS bigint[])) AS counted (what, n)
ORDER BY what
ON CONFLICT (sweep_id, campaign_id, what, slot) DO UPDATE SET n = sweep_count.n + excluded.n;

-- name: counts
SELECT campaign.key AS campaign, what, sum(n)::bigint AS n
FROM sweep_count JOIN campaign ON campaign.id = sweep_count.campaign_id
WHERE sweep_id = :sweep_id
GROUP BY campaign.key, what;

-- name: counted_for
SELECT coalesce(sum(n), 0)::bigint FROM sweep_count
WHERE sweep_id = :sweep_id AND campaign_id = :campaign_id AND what = ANY (CAST(:whats AS text[]));
