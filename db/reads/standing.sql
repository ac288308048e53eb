-- Since when contacts wait at the steps of a campaign, and what for. Each statement reads a bounded number of rows.

-- name: front
-- The first so many of each step in the order of wait_due_idx; what is late, and what is tried again, is among them.
SELECT step.id AS step_id, count(*) AS n,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY entry.anchor_at) AS median_since,
       min(entry.anchor_at) AS oldest_since,
       count(*) FILTER (WHERE entry.due_at <= :late) AS late,
       min(entry.due_at) FILTER (WHERE entry.due_at <= :late) AS late_since,
       count(*) FILTER (WHERE entry.due_at > :late AND entry.reason = 'retry') AS retrying,
       count(*) FILTER (WHERE entry.due_at > :late AND entry.reason <> 'retry'
                          AND CAST(entry.held ->> 'held_since' AS timestamptz) <= :late
                          AND (entry.held ->> 'held_because' IS NOT NULL
                               OR entry.held #>> '{policy,rule}' <> ALL (CAST(:of_the_day AS text[])))) AS held,
       count(*) FILTER (WHERE entry.due_at > :late AND entry.reason = 'decision') AS answer
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN LATERAL (
    SELECT anchor_at, due_at, reason, held FROM wait WHERE wait.step_id = step.id ORDER BY due_at LIMIT :limit
) AS entry
GROUP BY step.id;

-- name: sample
-- Of steps at which more wait: some blocks of the table, the same ones whenever it is asked.
SELECT step_id, count(*) AS n, percentile_disc(0.5) WITHIN GROUP (ORDER BY anchor_at) AS median_since,
       min(anchor_at) AS oldest_since
FROM wait TABLESAMPLE SYSTEM (
    least(100, 100.0 * :blocks * current_setting('block_size')::int / greatest(pg_relation_size('wait'), 1))
) REPEATABLE (0)
WHERE step_id = ANY (CAST(:step_ids AS int[]))
GROUP BY step_id;

-- name: late
-- Of the index alone.
SELECT step.id AS step_id, counted.n
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (SELECT FROM wait WHERE wait.step_id = step.id AND wait.due_at <= :late LIMIT :limit) AS entry
) AS counted;

-- name: unsent
-- Messages that should have left, or that were tried without success, as far as they are among the first so many of
-- their lane. Lanes are found as in outbox.sql. With a rate of its own a campaign's messages wait for their turn.
WITH RECURSIVE lane AS (
    SELECT first.*
    FROM unnest(CAST(:channels AS text[])) AS named (channel)
    CROSS JOIN LATERAL (
        SELECT channel, marketing, priority FROM message
        WHERE state IN ('queued', 'sending') AND message.channel = named.channel AND campaign_id = :campaign_id
        ORDER BY marketing, priority LIMIT 1
    ) AS first
    UNION ALL
    SELECT following.*
    FROM lane
    CROSS JOIN LATERAL (
        SELECT channel, marketing, priority FROM message
        WHERE state IN ('queued', 'sending') AND message.channel = lane.channel AND campaign_id = :campaign_id
          AND (marketing, priority) > (lane.marketing, lane.priority)
        ORDER BY marketing, priority LIMIT 1
    ) AS following
)
SELECT waiting.step_id, count(*) AS n, min(waiting.created_at) AS since,
       mode() WITHIN GROUP (ORDER BY waiting.error) AS error
FROM lane
CROSS JOIN LATERAL (
    SELECT step_id, created_at, due_at, error FROM message
    WHERE state IN ('queued', 'sending') AND message.channel = lane.channel AND campaign_id = :campaign_id
      AND marketing = lane.marketing AND priority = lane.priority
      AND due_at <= CAST(:now AS timestamptz) + interval '1 day'
    ORDER BY due_at LIMIT :limit
) AS waiting
WHERE waiting.created_at <= :late AND (waiting.error IS NOT NULL OR waiting.due_at <= :late AND NOT :rated)
GROUP BY waiting.step_id;
