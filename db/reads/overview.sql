-- name: results
SELECT step_id, result::text AS result, sum(n)::bigint AS n
FROM step_count
WHERE step_id = ANY (CAST(:step_ids AS int[]))
GROUP BY step_id, result;

-- name: deliveries
SELECT step_id, state::text AS state, sum(n)::bigint AS n
FROM delivery_count
WHERE step_id = ANY (CAST(:step_ids AS int[]))
GROUP BY step_id, state;

-- name: queued
-- Messages of a campaign that are in the outbox, up to a limit, by step: from message_lane_idx, a read of each channel
-- that has anything in it. The order asks for the index.
WITH RECURSIVE outbox AS (
    (SELECT channel FROM message WHERE state IN ('queued', 'sending')
     ORDER BY channel, campaign_id, marketing, priority, due_at LIMIT 1)
    UNION ALL
    SELECT following.channel
    FROM outbox CROSS JOIN LATERAL (
        SELECT channel FROM message
        WHERE state IN ('queued', 'sending') AND message.channel > outbox.channel
        ORDER BY channel, campaign_id, marketing, priority, due_at LIMIT 1
    ) AS following
)
SELECT queued.step_id, count(*) AS n
FROM (
    SELECT of_channel.step_id
    FROM outbox CROSS JOIN LATERAL (
        SELECT step_id FROM message
        WHERE message.channel = outbox.channel AND campaign_id = :campaign_id AND state IN ('queued', 'sending')
        ORDER BY marketing, priority, due_at LIMIT CAST(:limit AS bigint)
    ) AS of_channel
    LIMIT CAST(:limit AS bigint)
) AS queued
GROUP BY queued.step_id;

-- name: contacts
SELECT coalesce(sum(n) FILTER (WHERE what = 'added'), 0)::bigint AS added,
       coalesce(sum(n) FILTER (WHERE what = 'left'), 0)::bigint AS left,
       coalesce(sum(n) FILTER (WHERE what = 'emails_sent'), 0)::bigint AS emails_sent,
       coalesce(sum(n) FILTER (WHERE what = 'page_views'), 0)::bigint AS page_views,
       coalesce(sum(n) FILTER (WHERE what = 'erased'), 0)::bigint AS erased
FROM campaign_count WHERE campaign_id = :campaign_id;

-- name: series
SELECT day, coalesce(sum(n) FILTER (WHERE what = 'added'), 0)::bigint AS added,
       coalesce(sum(n) FILTER (WHERE what = 'emails_sent'), 0)::bigint AS emails_sent,
       coalesce(sum(n) FILTER (WHERE what = 'page_views'), 0)::bigint AS page_views
FROM campaign_count WHERE campaign_id = :campaign_id AND what <> 'erased'
GROUP BY day ORDER BY day;

-- name: series_by
-- At most some thousands of rows of counters, whatever the campaign's size.
SELECT date_trunc(:bucket, CAST(day AS timestamp)) AT TIME ZONE 'UTC' AS at,
       coalesce(sum(n) FILTER (WHERE what = 'added'), 0)::bigint AS added,
       coalesce(sum(n) FILTER (WHERE what = 'emails_sent'), 0)::bigint AS emails_sent,
       coalesce(sum(n) FILTER (WHERE what = 'page_views'), 0)::bigint AS page_views
FROM campaign_count
WHERE campaign_id = :campaign_id AND day BETWEEN :first AND :last AND what IN ('added', 'emails_sent', 'page_views')
GROUP BY 1 ORDER BY 1;

-- name: series_between
-- Bounds are the first instants of the buckets, so that days may be of any timezone: at most some thousands of rows a
-- month.
SELECT width_bucket(hour, CAST(:bounds AS timestamptz[])) AS nth,
       coalesce(sum(n) FILTER (WHERE what = 'added'), 0)::bigint AS added,
       coalesce(sum(n) FILTER (WHERE what = 'emails_sent'), 0)::bigint AS emails_sent,
       coalesce(sum(n) FILTER (WHERE what = 'page_views'), 0)::bigint AS page_views
FROM campaign_hour_count
WHERE campaign_id = :campaign_id
  AND hour >= (CAST(:bounds AS timestamptz[]))[1] AND hour < :until
GROUP BY 1 ORDER BY 1;

-- name: days
SELECT min(day) AS first, max(day) AS last,
       (SELECT min(hour) FROM campaign_hour_count WHERE campaign_id = :campaign_id) AS hours_from
FROM campaign_count
WHERE campaign_id = :campaign_id AND what IN ('added', 'emails_sent', 'page_views');

-- name: due
-- One probe of wait_due_idx a step, and as many of its entries as are due by now, up to the limit.
SELECT (SELECT count(*) FROM (
           SELECT FROM wait WHERE step_id = ANY (CAST(:step_ids AS int[])) AND due_at <= :now LIMIT :limit
       ) AS due_now) AS n,
       (SELECT min(next.at) FROM unnest(CAST(:step_ids AS int[])) AS step (id)
        CROSS JOIN LATERAL (
            SELECT min(due_at) AS at FROM wait
            WHERE step_id = step.id AND due_at > :now AND due_at < 'infinity'
        ) AS next) AS next_at;

-- name: activity
-- From audit_campaign_idx.
SELECT id, at, who, what, detail FROM audit
WHERE campaign_id = :campaign_id AND at <= :at AND (at, id) < (:at, :id)
ORDER BY at DESC, id DESC LIMIT :limit;

-- name: backlog
-- Due work of each campaign, through wait_due_idx.
SELECT campaign.key AS campaign, campaign.published,
       count(wait.contact_id) AS due, min(wait.due_at) AS oldest_due_at,
       -- From its primary key, a probe for each step.
       (SELECT coalesce(sum(delivery_count.n), 0)::bigint
        FROM step AS sending JOIN delivery_count ON delivery_count.step_id = sending.id
        WHERE sending.campaign_id = campaign.id AND delivery_count.state = 'failed') AS undelivered
FROM campaign
LEFT JOIN step ON step.campaign_id = campaign.id
LEFT JOIN wait ON wait.step_id = step.id AND wait.due_at <= :now
WHERE campaign.deleted_at IS NULL
GROUP BY campaign.id
ORDER BY campaign.created_at DESC, campaign.id DESC;

-- name: steps
SELECT step.id, campaign.key AS campaign
FROM step JOIN campaign ON campaign.id = step.campaign_id
WHERE campaign.deleted_at IS NULL;

-- name: recent
-- Steps passed within the last minute, for the rate; from outcome_at_idx.
SELECT count(*) FROM outcome WHERE at > CAST(:now AS timestamptz) - interval '1 minute' AND at <= :now;

-- name: open_sweeps
SELECT id, kind, asked_at, started_at FROM sweep WHERE finished_at IS NULL ORDER BY id;
