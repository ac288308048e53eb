-- name: results
SELECT step_id, result::text AS result, sum(n)::bigint AS n
FROM step_count
WHERE step_id = ANY (CAST(:step_ids AS int[]))
GROUP BY step_id, result;

-- name: contacts
SELECT coalesce(sum(n) FILTER (WHERE what = 'added'), 0)::bigint AS added,
       coalesce(sum(n) FILTER (WHERE what = 'left'), 0)::bigint AS left,
       coalesce(sum(n) FILTER (WHERE what = 'emails_sent'), 0)::bigint AS emails_sent,
       coalesce(sum(n) FILTER (WHERE what = 'page_views'), 0)::bigint AS page_views
FROM campaign_count WHERE campaign_id = :campaign_id;

-- name: series
SELECT day, coalesce(sum(n) FILTER (WHERE what = 'added'), 0)::bigint AS added,
       coalesce(sum(n) FILTER (WHERE what = 'emails_sent'), 0)::bigint AS emails_sent,
       coalesce(sum(n) FILTER (WHERE what = 'page_views'), 0)::bigint AS page_views
FROM campaign_count WHERE campaign_id = :campaign_id
GROUP BY day ORDER BY day;

-- name: backlog
-- Due work of each campaign, through wait_due_idx.
SELECT campaign.key AS campaign, campaign.published,
       count(wait.contact_id) AS due, min(wait.due_at) AS oldest_due_at
FROM campaign
LEFT JOIN step ON step.campaign_id = campaign.id
LEFT JOIN wait ON wait.step_id = step.id AND wait.due_at <= :now
WHERE campaign.deleted_at IS NULL
GROUP BY campaign.id
ORDER BY campaign.created_at DESC, campaign.id DESC;

-- name: waiting
SELECT campaign.key AS campaign, count(*) AS n
FROM wait JOIN campaign ON campaign.id = wait.campaign_id GROUP BY campaign.key;

-- name: recent
-- Steps passed within the last minute, for the rate.
SELECT count(*) FROM outcome WHERE at > CAST(:now AS timestamptz) - interval '1 minute' AND at <= :now;

-- name: outbox
SELECT state::text AS state, count(*) AS n FROM message GROUP BY state;

-- name: open_sweeps
SELECT id, kind, asked_at, started_at FROM sweep WHERE finished_at IS NULL ORDER BY id;
