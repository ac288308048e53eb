-- name: record
INSERT INTO outcome (contact_id, step_id, rotation, passage, at, due_at, result, detail, run)
SELECT *
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:rotations AS int[]),
            CAST(:passages AS int[]), CAST(:ats AS timestamptz[]), CAST(:due AS timestamptz[]),
            CAST(:results AS result[]), CAST(:details AS jsonb[]), CAST(:runs AS int[]));

-- name: count
-- The counters of the same transaction, in a slot that no other one writes to meanwhile.
INSERT INTO step_count (step_id, day, result, slot, n)
SELECT step_id, day, result, (SELECT counter_slot()), n
FROM unnest(CAST(:step_ids AS int[]), CAST(:days AS date[]), CAST(:results AS result[]), CAST(:ns AS bigint[]))
     AS counted (step_id, day, result, n)
ORDER BY step_id, day, result
ON CONFLICT (step_id, day, result, slot) DO UPDATE SET n = step_count.n + excluded.n;

-- name: take_back
-- By the primary keys of the partitions.
WITH gone AS (
    DELETE FROM outcome
    WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND step_id = :step_id AND result = CAST(:result AS result)
      AND (contact_id, rotation, passage) IN (
          SELECT * FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:rotations AS int[]), CAST(:passages AS int[]))
      )
    RETURNING (at AT TIME ZONE 'UTC')::date AS day
)
INSERT INTO step_count (step_id, day, result, slot, n)
SELECT :step_id, day, CAST(:result AS result), (SELECT counter_slot()), -count(*) FROM gone GROUP BY day ORDER BY day
ON CONFLICT (step_id, day, result, slot) DO UPDATE SET n = step_count.n + excluded.n;

-- name: failed_at
-- Who failed at a step, the latest first, past a place. From outcome_trouble_idx, and with a reason from
-- outcome_failed_why_idx, since it may be a rare one among many: `step_id + 0` leaves no other.
SELECT at, contact_id FROM outcome
WHERE step_id = :step_id
  -- when of_a_reason: WHERE step_id + 0 = :step_id
  AND result = 'failed' AND at <= :at AND (at, contact_id) < (:at, :contact_id)
  AND CAST(:why AS text) IS NULL
  -- when of_a_reason: AND md5(CAST(step_id AS text) || ' ' || coalesce(detail ->> 'error', detail ->> 'reason', '')) = md5(CAST(CAST(:step_id AS int) AS text) || ' ' || CAST(:why AS text)) AND coalesce(detail ->> 'error', detail ->> 'reason', '') = CAST(:why AS text)
ORDER BY at DESC, contact_id DESC
LIMIT :limit;

-- name: failures_of
-- By the primary keys of the partitions, once the caller has the locks of the contacts.
SELECT contact_id, rotation, passage, at, due_at FROM outcome
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND step_id = :step_id AND result = 'failed'
  AND (CAST(:why AS text) IS NULL OR coalesce(detail ->> 'error', detail ->> 'reason', '') = CAST(:why AS text));

-- name: count_campaign
-- By the day for good, and by the hour for the graph of a day, which does not show who left.
WITH counted AS (
    SELECT * FROM unnest(CAST(:campaign_ids AS int[]), CAST(:hours AS timestamptz[]), CAST(:whats AS text[]),
                         CAST(:ns AS bigint[])) AS counted (campaign_id, hour, what, n)
), hours AS (
    INSERT INTO campaign_hour_count (campaign_id, hour, what, slot, n)
    SELECT campaign_id, hour, what, (SELECT counter_slot()), n FROM counted WHERE what <> 'left'
    ORDER BY campaign_id, hour, what
    ON CONFLICT (campaign_id, hour, what, slot) DO UPDATE SET n = campaign_hour_count.n + excluded.n
)
INSERT INTO campaign_count (campaign_id, day, what, slot, n)
SELECT campaign_id, (hour AT TIME ZONE 'UTC')::date, what, (SELECT counter_slot()), sum(n)
FROM counted
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
ON CONFLICT (campaign_id, day, what, slot) DO UPDATE SET n = campaign_count.n + excluded.n;

-- name: fail
INSERT INTO failure (contact_id, step_id, at, attempts, error)
SELECT contact_id, step_id, :now, attempts, error
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:attempts AS int[]),
            CAST(:errors AS text[])) AS failed (contact_id, step_id, attempts, error)
ON CONFLICT (contact_id, step_id)
DO UPDATE SET at = excluded.at, attempts = excluded.attempts, error = excluded.error;

-- name: forgive
DELETE FROM failure
USING unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[])) AS mended (contact_id, step_id)
WHERE failure.contact_id = mended.contact_id AND failure.step_id = mended.step_id;

-- name: failing_step
-- A step whose failures within a while are reason to stop the campaign: distinct contacts that
-- failed there, against all contacts that it had something to do with in that while. Asked only by
-- batches in which somebody failed. Put together by contact rather than joined, so that it costs what happened in
-- that while, and never that times itself. The last word on a contact counts: who passed since, at a retry or in
-- another passage, has not failed, and a message that was given up failed at a step that had been passed when it
-- was written.
WITH suspected AS (
    SELECT step_id FROM failure
    WHERE step_id = ANY (CAST(:step_ids AS int[])) AND at > CAST(:now AS timestamptz) - CAST(:within AS interval)
    GROUP BY step_id
    HAVING count(*) >= :at_least
), looked_at AS MATERIALIZED (
    SELECT step_id, contact_id, CAST(NULL AS timestamptz) AS passed_at, at AS failed_at FROM failure
    WHERE step_id = ANY (ARRAY(SELECT step_id FROM suspected))
      AND at > CAST(:now AS timestamptz) - CAST(:within AS interval)
    UNION ALL
    SELECT step_id, contact_id, at, NULL FROM outcome
    WHERE step_id = ANY (ARRAY(SELECT step_id FROM suspected))
      AND at > CAST(:now AS timestamptz) - CAST(:within AS interval) AND at <= :now
      AND result IN ('done', 'skipped', 'yes', 'no')
      -- Else there is nothing to compare with, and the outcomes are not read.
      AND (SELECT count(*) FROM suspected) > 0
), counted AS (
    SELECT step_id,
           count(*) FILTER (WHERE failed_at >= coalesce(passed_at, failed_at)) AS failed,
           count(*) FILTER (WHERE passed_at > coalesce(failed_at, '-infinity')) AS passed
    FROM (SELECT step_id, contact_id, max(passed_at) AS passed_at, max(failed_at) AS failed_at
          FROM looked_at GROUP BY step_id, contact_id) AS contact
    GROUP BY step_id
)
SELECT step_id, failed, passed
FROM counted
WHERE failed >= :at_least AND failed >= :share * (failed + passed)
ORDER BY step_id
LIMIT 1;

-- name: recent_passes
-- How often contacts passed steps within a day; bounded by the primary key's (contact, step).
SELECT contact_id, step_id, count(*) AS n
FROM outcome
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND step_id = ANY (CAST(:step_ids AS int[]))
  AND at > CAST(:now AS timestamptz) - interval '1 day' AND at <= :now AND result = 'done'
GROUP BY contact_id, step_id;

-- name: answered
-- The facts that contacts' "yes" of a decision came from, in the membership that they have now. A probe of two
-- primary keys a contact.
SELECT wanted.id AS contact_id, answer.run, answer.detail ->> 'event' AS event, answer.detail ->> 'at' AS happened_at
FROM unnest(CAST(:contact_ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT added_at FROM membership
    WHERE membership.contact_id = wanted.id
      AND membership.campaign_id = (SELECT campaign_id FROM step WHERE step.id = :step_id)
    LIMIT 1
) AS member
CROSS JOIN LATERAL (
    SELECT at, result, detail, run FROM outcome
    WHERE outcome.contact_id = wanted.id AND outcome.step_id = :step_id
    OFFSET 0
) AS answer
WHERE answer.result = 'yes' AND answer.at >= member.added_at
  AND answer.detail ? 'event' AND answer.detail ? 'at';

-- name: passed
SELECT asked.contact_id, asked.passage
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:passages AS int[])) AS asked (contact_id, passage)
CROSS JOIN LATERAL (
    SELECT FROM outcome
    WHERE outcome.contact_id = asked.contact_id AND outcome.passage = asked.passage AND outcome.step_id = :step_id
    LIMIT 1
) AS found;

-- name: log
-- With what became of the message that a step wrote, and which words it has. The last columns are the
-- place in the order, past which a page begins. The page is found first: messages and runs are looked for of its rows
-- alone.
SELECT contact.key AS contact, outcome.key AS step, outcome.rotation, outcome.result, outcome.at, outcome.due_at,
       CASE WHEN message.key IS NULL THEN outcome.detail
            ELSE coalesce(outcome.detail, '{}') || jsonb_build_object('message', jsonb_strip_nulls(jsonb_build_object(
                'key', message.key, 'channel', message.channel, 'state', message.state, 'variant', message.variant,
                'locale', message.locale, 'error', message.error)))
       END AS detail,
       outcome.contact_id, outcome.step_id, outcome.passage, nullif(run.key, '') AS run
FROM (
    SELECT outcome.*, step.key, step.campaign_id
    FROM outcome
    JOIN step ON step.id = outcome.step_id
    WHERE step.campaign_id = :campaign_id
      AND (CAST(:contact_id AS bigint) IS NULL OR outcome.contact_id = CAST(:contact_id AS bigint))
      AND (CAST(:step_id AS int) IS NULL OR outcome.step_id = CAST(:step_id AS int))
      AND outcome.at >= CAST(:after_at AS timestamptz)
      AND (outcome.at, outcome.contact_id, outcome.rotation, outcome.step_id, outcome.passage)
          > (CAST(:after_at AS timestamptz), CAST(:after_contact_id AS bigint), CAST(:after_rotation AS bigint),
             CAST(:after_step_id AS bigint), CAST(:after_passage AS bigint))
    ORDER BY outcome.at, outcome.contact_id, outcome.rotation, outcome.step_id, outcome.passage
    LIMIT CAST(:limit AS bigint)
) AS outcome
JOIN contact ON contact.id = outcome.contact_id
LEFT JOIN LATERAL (
    SELECT key FROM run
    WHERE run.contact_id = outcome.contact_id AND run.campaign_id = outcome.campaign_id AND run.number = outcome.run
    LIMIT 1
) AS run ON outcome.run IS NOT NULL
-- A passage has one message of a step, whose key has its number; several passages may have one rotation.
-- Outcomes of who was merged into another got numbers below zero, and are told by the rotation.
LEFT JOIN LATERAL (
    SELECT key, channel, state, variant, locale, error FROM message
    WHERE message.contact_id = outcome.contact_id AND message.step_id = outcome.step_id AND outcome.result = 'done'
      AND CASE WHEN split_part(message.key, '-', 3) = outcome.contact_id::text OR outcome.passage > 0 AND run.key IS NULL
               THEN split_part(message.key, '-', 4) = outcome.passage::text
               ELSE message.rotation = outcome.rotation END
    ORDER BY message.id
    LIMIT 1
) AS message ON true
ORDER BY outcome.at, outcome.contact_id, outcome.rotation, outcome.step_id, outcome.passage;

-- name: waiting
-- From wait_due_idx, a page of each step, or, of one contact, from the primary key; the rest is looked for of the page of
-- them all alone. With why the last attempt failed of who is tried again; at a decision that is the next event.
SELECT contact.key AS contact, contact.timezone, found.step, found.kind, found.rotation, found.reason,
       nullif(found.due_at, 'infinity') AS due_at, found.contact_id, found.step_id, found.passage,
       found.held, failed.error,
       (SELECT nullif(run.key, '') FROM run
        WHERE run.contact_id = found.contact_id AND run.campaign_id = :campaign_id
          AND run.rotation = found.rotation) AS run
FROM (
    SELECT step.key AS step, step.kind, step.id AS step_id, waiting.*
    FROM step
    CROSS JOIN LATERAL (
        SELECT wait.contact_id, wait.rotation, wait.reason, wait.due_at, wait.passage, wait.held, wait.anchor_at
        FROM wait
        WHERE wait.step_id = step.id
          AND (CAST(:contact_id AS bigint) IS NULL OR wait.contact_id = CAST(:contact_id AS bigint))
          AND (wait.due_at, wait.contact_id, wait.step_id, wait.passage)
              > (CAST(:after_at AS timestamptz), CAST(:after_contact_id AS bigint), CAST(:after_step_id AS bigint),
                 CAST(:after_passage AS bigint))
        ORDER BY wait.due_at, wait.contact_id, wait.passage
        LIMIT CAST(:limit AS bigint)
    ) AS waiting
    WHERE step.campaign_id = :campaign_id
      AND (CAST(:step_id AS int) IS NULL OR step.id = CAST(:step_id AS int))
    ORDER BY waiting.due_at, waiting.contact_id, step.id, waiting.passage
    LIMIT CAST(:limit AS bigint)
) AS found
JOIN contact ON contact.id = found.contact_id
LEFT JOIN LATERAL (
    SELECT failure.error FROM failure
    WHERE failure.contact_id = found.contact_id AND failure.step_id = found.step_id
      AND (found.reason = 'retry' OR found.reason = 'decision' AND failure.at >= found.anchor_at)
    LIMIT 1
) AS failed ON true
ORDER BY found.due_at, found.contact_id, found.step_id, found.passage;
