-- What went wrong in a campaign, in groups of a step and a reason. Each read takes the latest so many
-- rows of a step, so that the cost has a limit when everything goes wrong; counters say how many there are.

-- name: outcomes
-- From outcome_trouble_idx.
SELECT step.id AS step_id, latest.why, count(*) AS n, max(latest.at) AS latest_at
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN LATERAL (
    SELECT coalesce(detail ->> 'error', detail ->> 'reason', '') AS why, at FROM outcome
    WHERE step_id = step.id AND result = CAST(:result AS result) AND result IN ('failed', 'skipped')
    ORDER BY at DESC LIMIT :limit
) AS latest
GROUP BY step.id, latest.why
ORDER BY step.id, n DESC, latest.why;

-- name: retries
-- Who failed and is tried again: the failures that still have their wait. At a decision that is the next event.
SELECT step.id AS step_id, latest.why, count(*) AS n, max(latest.at) AS latest_at
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN LATERAL (
    SELECT recent.error AS why, recent.at
    FROM (SELECT contact_id, error, at FROM failure WHERE step_id = step.id ORDER BY at DESC LIMIT :limit) AS recent
    -- By the primary key, for each of them, as in waits.sql: as EXISTS, it may be joined with all who wait at the step.
    CROSS JOIN LATERAL (SELECT FROM wait
                        WHERE wait.contact_id = recent.contact_id AND wait.step_id + 0 = step.id
                          AND (wait.reason = 'retry' OR (wait.reason = 'decision' AND recent.at >= wait.anchor_at))
                        LIMIT 1) AS waiting
) AS latest
GROUP BY step.id, latest.why
ORDER BY step.id, n DESC, latest.why;

-- name: unsent
-- What was tried and is tried again, or is held back: the messages of a campaign that say why. Lane by lane in
-- message_lane_idx, as `lanes` of outbox.sql finds them, and from their ends: what was tried is due later than what
-- was not.
WITH RECURSIVE lane AS (
    SELECT named.channel, first.marketing, first.priority
    FROM unnest(CAST(:channels AS text[])) AS named (channel)
    CROSS JOIN LATERAL (
        SELECT marketing, priority FROM message
        WHERE channel = named.channel AND campaign_id = :campaign_id AND state IN ('queued', 'sending')
        ORDER BY channel, campaign_id, marketing, priority LIMIT 1
    ) AS first
    UNION ALL
    SELECT lane.channel, following.marketing, following.priority
    FROM lane
    CROSS JOIN LATERAL (
        SELECT marketing, priority FROM message
        WHERE channel = lane.channel AND campaign_id = :campaign_id AND state IN ('queued', 'sending')
          AND (marketing, priority) > (lane.marketing, lane.priority)
        ORDER BY channel, campaign_id, marketing, priority LIMIT 1
    ) AS following
)
SELECT latest.step_id, latest.why, count(*) AS n, min(latest.at) AS latest_at
FROM lane
CROSS JOIN LATERAL (
    SELECT step_id, coalesce(error, '') AS why, due_at AS at FROM message
    WHERE (channel, campaign_id, marketing, priority, due_at)
          >= (lane.channel, :campaign_id, lane.marketing, lane.priority, CAST('-infinity' AS timestamptz))
      AND (channel, campaign_id, marketing, priority, due_at)
          <= (lane.channel, :campaign_id, lane.marketing, lane.priority, CAST('infinity' AS timestamptz))
      AND state IN ('queued', 'sending')
    ORDER BY channel DESC, campaign_id DESC, marketing DESC, priority DESC, due_at DESC LIMIT :limit
) AS latest
WHERE latest.step_id = ANY (CAST(:step_ids AS int[])) AND latest.why <> ''
GROUP BY latest.step_id, latest.why
ORDER BY latest.step_id, n DESC, latest.why;

-- name: messages
-- What could not be delivered, from message_failed_idx.
SELECT step.id AS step_id, latest.why, count(*) AS n, max(latest.at) AS latest_at
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN LATERAL (
    SELECT coalesce(error, '') AS why, due_at AS at FROM message
    WHERE campaign_id = :campaign_id AND step_id = step.id AND state = 'failed'
    ORDER BY contact_id DESC LIMIT :limit
) AS latest
GROUP BY step.id, latest.why
ORDER BY step.id, n DESC, latest.why;
