-- name: begin
-- Whose locks the caller holds; a number is given once.
WITH begun AS (
    INSERT INTO trial (contact_id, campaign_id, number, key, control, began_at, until)
    SELECT contact_id, :campaign_id, number, key, control, began_at, coalesce(until, 'infinity')
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:numbers AS int[]), CAST(:keys AS text[]),
                CAST(:controls AS boolean[]), CAST(:begun AS timestamptz[]), CAST(:until AS timestamptz[]))
         AS new (contact_id, number, key, control, began_at, until)
    ON CONFLICT DO NOTHING
    RETURNING control
)
INSERT INTO trial_count (campaign_id, part, slot, entered)
SELECT :campaign_id, CASE WHEN control THEN 'control' ELSE 'treated' END, (SELECT counter_slot()), count(*)
FROM begun
GROUP BY control
ORDER BY 2
ON CONFLICT (campaign_id, part, slot) DO UPDATE SET entered = trial_count.entered + excluded.entered;

-- name: take_part
-- What contacts came through, each once in a trial, and only as long as the goal can still be reached: what comes later
-- has no part in it. The trial is the one that began last of the run. One probe of the primary key a row.
WITH took AS MATERIALIZED (
    SELECT DISTINCT found.place, came.part
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:runs AS int[]), CAST(:parts AS text[]))
         AS came (contact_id, run, part)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, parts, reached_at, until FROM trial
        WHERE trial.contact_id = came.contact_id AND trial.campaign_id = :campaign_id
          AND trial.key = coalesce(
              (SELECT run.key FROM run
               WHERE run.contact_id = came.contact_id AND run.campaign_id = :campaign_id AND run.number = came.run), '')
        ORDER BY number DESC
        LIMIT 1
    ) AS found
    WHERE found.reached_at IS NULL AND found.until > :now AND NOT came.part = ANY (found.parts)
), written AS (
    UPDATE trial SET parts = trial.parts || new.parts
    FROM (SELECT place, array_agg(part ORDER BY part) AS parts FROM took GROUP BY place) AS new
    WHERE trial.ctid = new.place
)
INSERT INTO trial_count (campaign_id, part, slot, entered)
SELECT :campaign_id, part, (SELECT counter_slot()), count(*) FROM took
GROUP BY part
ORDER BY part
ON CONFLICT (campaign_id, part, slot) DO UPDATE SET entered = trial_count.entered + excluded.entered;

-- name: reach
-- The trial that began last before it, of the run that it is about or of any, unless that reached the goal already.
WITH reached AS MATERIALIZED (
    SELECT came.contact_id, found.place, found.control, found.parts, came.at, came.value
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[]), CAST(:ats AS timestamptz[]),
                CAST(:values AS numeric[])) AS came (contact_id, key, at, value)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, control, parts, reached_at, until FROM trial
        WHERE trial.contact_id = came.contact_id AND trial.campaign_id = :campaign_id
          AND (came.key IS NULL OR trial.key = came.key)
          AND (trial.began_at < came.at OR trial.began_at = came.at AND NOT :after)
        ORDER BY began_at DESC, number DESC
        LIMIT 1
    ) AS found
    WHERE found.reached_at IS NULL AND found.until > came.at
), written AS (
    UPDATE trial SET reached_at = reached.at, value = reached.value FROM reached WHERE trial.ctid = reached.place
), counted AS (
    INSERT INTO trial_count (campaign_id, part, slot, reached, value)
    SELECT :campaign_id, part, (SELECT counter_slot()), count(*), coalesce(sum(value), 0)
    FROM reached
    CROSS JOIN LATERAL unnest(array_append(parts, CASE WHEN control THEN 'control' ELSE 'treated' END)) AS part
    GROUP BY part
    ORDER BY part
    ON CONFLICT (campaign_id, part, slot) DO UPDATE
    SET reached = trial_count.reached + excluded.reached, value = trial_count.value + excluded.value
)
SELECT contact_id FROM reached;

-- name: figures
SELECT part, CAST(sum(entered) AS bigint) AS entered, CAST(sum(reached) AS bigint) AS reached, sum(value) AS value
FROM trial_count WHERE campaign_id = :campaign_id
GROUP BY part ORDER BY part;

-- name: sent
-- Which variants of emails messages were; '' is the main content.
SELECT message.contact_id, message.campaign_id, CAST(message.payload -> 'run' ->> 'number' AS int) AS run,
       message.step_id || '=' || coalesce(message.variant, '') AS part
FROM message
WHERE message.key = ANY (CAST(:keys AS text[])) AND message.step_id IS NOT NULL
ORDER BY message.contact_id;
