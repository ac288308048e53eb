-- Statistics are wrong when it matters: `wait` is analyzed while another campaign fills it, or when it has just been
-- emptied, and the planner then believes that nobody stands at a step where a million do. So what a batch works on
-- is found in one way only: contact by contact in the primary key, and then by the place of the row (`ctid`). Three
-- things leave the planner no other: `step_id + 0`, which wait_due_idx does not serve; a lateral sub-select with a
-- LIMIT or OFFSET, which is no join that could be turned around; and whoever enters a campaign reads no table as a
-- whole (see `open` in campaigns.sql).

-- name: claim_due
-- The oldest due waits of a step leave the table with their claim: if this transaction commits,
-- nobody else will see them; if it dies, they were never gone. What is locked is the contact, and who
-- is in other hands is skipped: whoever touches a contact's waits or memberships holds that lock, so
-- nothing here ever waits for another worker. The waits themselves are not locked: those of
-- the contacts that are skipped would stay locked as well, in the way of who has them in hand. One that
-- went between the look and the lock is gone, and is not deleted again.
-- Served by wait_due_idx (step_id, due_at), read in its order no further than the limit, and the contact's key.
-- With a cap (`in_order`), those whose turn it is are always the same: the lowest ids of those who are due
-- together. Not without one, since a million who are due together would be sorted for each batch. Who is named
-- (`by_name`) is looked for by name, however many others are due before them: no other index serves these.
WITH due AS MATERIALIZED (
    SELECT waiting.place
    -- when in_order: SELECT waiting.place, waiting.contact_id
    FROM (
        SELECT ctid AS place, contact_id, due_at
        FROM wait
        WHERE step_id = :step_id
        -- when by_name: WHERE step_id + 0 = :step_id
          AND due_at <= :now
          -- when by_name: AND due_at + interval '0' <= :now
          AND (CAST(:reasons AS wait_reason[]) IS NULL OR reason = ANY (CAST(:reasons AS wait_reason[])))
          AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
          AND (CAST(:min_id AS bigint) IS NULL OR contact_id >= CAST(:min_id AS bigint))
          AND (CAST(:max_id AS bigint) IS NULL OR contact_id <= CAST(:max_id AS bigint))
          AND (CAST(:threads AS int) IS NULL
               OR (contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
        ORDER BY due_at
        -- when in_order: ORDER BY due_at, contact_id
        OFFSET 0
    ) AS waiting
    CROSS JOIN LATERAL (
        SELECT FROM contact WHERE contact.id = waiting.contact_id FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked
    ORDER BY waiting.due_at
    -- when in_order: ORDER BY waiting.due_at, waiting.contact_id
    LIMIT :limit
)
DELETE FROM wait
WHERE ctid = ANY (ARRAY(SELECT place FROM due))
RETURNING contact_id, rotation, passage, attempt, reason, anchor_at, nullif(due_at, 'infinity') AS due_at, held;

-- name: has_due
-- Whether anything within a scope is due and not yet committed by whoever has it in hand: a claimed
-- row stays visible to others until then. One probe of wait_due_idx a step: the order asks for it. Of contacts
-- that are named, what they wait for is looked through: many others may be due before them.
SELECT EXISTS (
    SELECT FROM unnest(CAST(:step_ids AS int[])) AS step (id)
    CROSS JOIN LATERAL (
        SELECT FROM wait
        WHERE wait.step_id = step.id
          AND wait.due_at <= :now
          AND (CAST(:reasons AS wait_reason[]) IS NULL OR wait.reason = ANY (CAST(:reasons AS wait_reason[])))
          AND (CAST(:min_id AS bigint) IS NULL OR wait.contact_id >= CAST(:min_id AS bigint))
          AND (CAST(:max_id AS bigint) IS NULL OR wait.contact_id <= CAST(:max_id AS bigint))
          AND (CAST(:threads AS int) IS NULL
               OR (wait.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
        ORDER BY wait.due_at
        LIMIT 1
    ) AS due
    WHERE CAST(:ids AS bigint[]) IS NULL
) OR EXISTS (
    SELECT FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
    CROSS JOIN LATERAL (SELECT * FROM wait WHERE wait.contact_id = wanted.id OFFSET 0) AS wait
    WHERE wait.step_id = ANY (CAST(:step_ids AS int[]))
      AND wait.due_at <= :now
      AND (CAST(:reasons AS wait_reason[]) IS NULL OR wait.reason = ANY (CAST(:reasons AS wait_reason[])))
      AND (CAST(:min_id AS bigint) IS NULL OR wait.contact_id >= CAST(:min_id AS bigint))
      AND (CAST(:max_id AS bigint) IS NULL OR wait.contact_id <= CAST(:max_id AS bigint))
      AND (CAST(:threads AS int) IS NULL
           OR (wait.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
);

-- name: due_steps
-- The steps of running campaigns at which something is due: one probe of wait_due_idx a step, however many
-- wait: the order asks for it. Of contacts that are named, what they wait for is looked through once: many others
-- may be due before them.
WITH named AS MATERIALIZED (
    SELECT wait.step_id, min(wait.due_at) AS due_at
    FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
    CROSS JOIN LATERAL (SELECT * FROM wait WHERE wait.contact_id = wanted.id OFFSET 0) AS wait
    WHERE wait.due_at <= :now
      AND (CAST(:reasons AS wait_reason[]) IS NULL OR wait.reason = ANY (CAST(:reasons AS wait_reason[])))
      AND (CAST(:min_id AS bigint) IS NULL OR wait.contact_id >= CAST(:min_id AS bigint))
      AND (CAST(:max_id AS bigint) IS NULL OR wait.contact_id <= CAST(:max_id AS bigint))
      AND (CAST(:threads AS int) IS NULL
           OR (wait.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
    GROUP BY wait.step_id
)
SELECT step.id, step.campaign_id, due.due_at
FROM step
JOIN campaign ON campaign.id = step.campaign_id
LEFT JOIN category ON category.id = campaign.category_id
CROSS JOIN LATERAL (
    (SELECT wait.due_at FROM wait
     WHERE wait.step_id = step.id
       AND wait.due_at <= :now
       AND CAST(:ids AS bigint[]) IS NULL
       AND (CAST(:reasons AS wait_reason[]) IS NULL OR wait.reason = ANY (CAST(:reasons AS wait_reason[])))
       AND (CAST(:min_id AS bigint) IS NULL OR wait.contact_id >= CAST(:min_id AS bigint))
       AND (CAST(:max_id AS bigint) IS NULL OR wait.contact_id <= CAST(:max_id AS bigint))
       AND (CAST(:threads AS int) IS NULL
            OR (wait.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
     ORDER BY wait.due_at
     LIMIT 1)
    UNION ALL
    SELECT named.due_at FROM named WHERE named.step_id = step.id
) AS due
WHERE campaign.published AND campaign.deleted_at IS NULL AND step.removed_at IS NULL
  AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
  AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
  AND coalesce(category.published, true)
  AND (CAST(:campaign_ids AS int[]) IS NULL OR campaign.id = ANY (CAST(:campaign_ids AS int[])))
  AND NOT campaign.id = ANY (CAST(:excluded AS int[]))
ORDER BY campaign.created_at DESC, campaign.id DESC, step.position;

-- name: arm
-- A contact that already waits at the step in this passage keeps its wait, so a second delivery changes nothing.
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, attempt, reason, anchor_at, due_at, held)
SELECT contact_id, step_id, campaign_id, rotation, passage, attempt, reason, anchor_at, coalesce(due_at, 'infinity'),
       held
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:campaign_ids AS int[]),
            CAST(:rotations AS int[]), CAST(:passages AS int[]), CAST(:attempts AS smallint[]),
            CAST(:reasons AS wait_reason[]), CAST(:anchors AS timestamptz[]), CAST(:due AS timestamptz[]),
            CAST(:helds AS jsonb[]))
     AS new (contact_id, step_id, campaign_id, rotation, passage, attempt, reason, anchor_at, due_at, held)
ON CONFLICT (contact_id, step_id, passage) DO NOTHING;

-- name: take_armed
-- The armed decisions of contacts, whose locks the caller holds, leave the table, each in the passage in
-- which it was found: the same step may be armed in others.
DELETE FROM wait
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:passages AS int[])) AS armed (contact_id, passage)
    CROSS JOIN LATERAL (
        SELECT wait.ctid AS place FROM wait
        WHERE wait.contact_id = armed.contact_id AND wait.step_id + 0 = :step_id AND wait.passage = armed.passage
          AND wait.reason = 'decision'
        LIMIT 1
    ) AS found
))
RETURNING contact_id, rotation, passage, attempt, reason, anchor_at, nullif(due_at, 'infinity') AS due_at, held;

-- name: armed
-- Which decisions of some types the contacts stand at; served by the primary key. A step whose own
-- properties say which events it looks at is left out here already when none of them happened.
SELECT wait.contact_id, wait.step_id, wait.campaign_id, wait.passage, wait.anchor_at, wait.rotation,
       coalesce((SELECT runs FROM membership
                 WHERE membership.contact_id = wait.contact_id AND membership.campaign_id = wait.campaign_id
                 LIMIT 1), false) AS runs
FROM wait
JOIN step ON step.id = wait.step_id + 0 AND step.type = ANY (CAST(:types AS text[]))
WHERE wait.contact_id = ANY (CAST(:contact_ids AS bigint[])) AND wait.reason = 'decision'
  AND (step.events IS NULL
       OR EXISTS (SELECT FROM unnest(CAST(:events AS text[])) AS happened (type)
                  WHERE happened.type LIKE ANY (step.events)))
ORDER BY wait.contact_id, wait.passage;

-- name: move
-- A jump: every open wait of the contact in this campaign, or of one of its runs there, moves to the new rotation,
-- each in its own passage. New rotations are higher than all there are, so none is moved twice.
UPDATE wait SET rotation = jumped.rotation
FROM (
    SELECT found.place, new.rotation
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:befores AS int[]), CAST(:rotations AS int[]))
         AS new (contact_id, before, rotation)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM wait
        WHERE wait.contact_id = new.contact_id AND wait.campaign_id = :campaign_id AND wait.rotation = new.before
        OFFSET 0
    ) AS found
) AS jumped
WHERE wait.ctid = jumped.place;

-- name: cancel
-- Contacts, whose locks the caller holds, stop waiting in a campaign, whatever the rotation.
DELETE FROM wait
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]))
RETURNING contact_id, step_id, rotation, passage, nullif(due_at, 'infinity') AS due_at;

-- name: cancel_rotations
-- As `cancel`, of single runs.
DELETE FROM wait
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:rotations AS int[])) AS ended (contact_id, rotation)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM wait
        WHERE wait.contact_id = ended.contact_id AND wait.campaign_id = :campaign_id AND wait.rotation = ended.rotation
        OFFSET 0
    ) AS found
))
RETURNING contact_id, step_id, rotation, passage, nullif(due_at, 'infinity') AS due_at;

-- name: cancel_steps
-- Steps that a new version dropped: a bounded number of those who wait there, with the locks of contacts who
-- may wait elsewhere next. Who is being erased is left to that; merges are shut out.
WITH gone AS MATERIALIZED (
    SELECT wait.ctid AS place
    FROM wait JOIN contact ON contact.id = wait.contact_id
    WHERE wait.step_id = ANY (CAST(:step_ids AS int[]))
    LIMIT :limit
    FOR KEY SHARE OF contact SKIP LOCKED
), taken AS (
    DELETE FROM wait WHERE ctid = ANY (ARRAY(SELECT place FROM gone))
    RETURNING contact_id, step_id, rotation, passage, nullif(due_at, 'infinity') AS due_at, anchor_at
)
SELECT taken.*, (SELECT timezone FROM contact WHERE contact.id = taken.contact_id) AS timezone
FROM taken;

-- name: shift
-- A bounded number of a campaign's waits, by the primary key, move by the length of a pause, with the
-- campaign closed to workers. Who came during the pause counts from its end. What was due before it
-- stays, and so does what has no due time. The key is what bounds the statement: a batch that began
-- together is due together, so the due time would not.
WITH still_to_come AS MATERIALIZED (
    SELECT ctid AS place, contact_id, step_id, passage
    FROM wait
    WHERE campaign_id = :campaign_id AND due_at <> 'infinity' AND due_at + interval '0' >= :since
      -- A date of the contact stays when it is.
      AND NOT wait.step_id = ANY (ARRAY(SELECT id FROM step WHERE date_field IS NOT NULL))
      AND (contact_id, step_id, passage)
          > (CAST(:contact_id AS bigint), CAST(:step_id AS int), CAST(:passage AS int))
    ORDER BY contact_id, step_id, passage
    LIMIT :limit
), moved AS (
    -- Sessions are in UTC, so that a day is always 24 hours here. Nobody could read a time after the year 9999. A
    -- decision that waits for a rule asks it when the pause is over, and then counts from its moved beginning.
    UPDATE wait
    SET due_at = CASE WHEN wait.step_id = ANY (ARRAY(SELECT id FROM step WHERE reads IS NOT NULL)) AND held IS NULL
                      THEN CAST(:until AS timestamptz)
                      ELSE least(due_at + (CAST(:until AS timestamptz) - greatest(anchor_at, :since)),
                                 '9999-12-31 23:59:59+00') END,
        anchor_at = anchor_at + (CAST(:until AS timestamptz) - greatest(anchor_at, :since))
    WHERE ctid = ANY (ARRAY(SELECT place FROM still_to_come))
)
SELECT contact_id, step_id, passage FROM still_to_come
ORDER BY contact_id DESC, step_id DESC, passage DESC LIMIT 1;

-- name: standing
SELECT contact_id, passage, rotation FROM wait
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND step_id + 0 = :step_id;

-- name: count_at
SELECT step_id, count(*) AS n FROM wait WHERE step_id = ANY (CAST(:step_ids AS int[])) GROUP BY step_id;

-- name: count_up_to
-- Counts at most so many entries of wait_due_idx a step; measured, 100,000 take 5 ms.
SELECT step.id AS step_id, counted.n
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (SELECT FROM wait WHERE wait.step_id = step.id LIMIT :limit) AS entry
) AS counted
WHERE counted.n > 0;

-- name: guess_at
-- What the planner would say of each step, by its own rule for equality (PostgreSQL's eqsel), in a hundredth of the time
-- that planning takes for hundreds of steps: the share of a step among the most common ones, otherwise an equal part of
-- what these leave; of as many rows as fit into the table as it is. A table that was never looked at has 200 values.
WITH stored AS (
    SELECT greatest(reltuples, 0) / greatest(relpages, 1) * (pg_relation_size(oid) / current_setting('block_size')::int) AS n
    FROM pg_class WHERE oid = CAST('wait' AS regclass)
), seen AS (
    SELECT CAST(CAST(most_common_vals AS text) AS int[]) AS steps, most_common_freqs AS shares,
           CASE WHEN n_distinct < 0 THEN -n_distinct * (SELECT n FROM stored) ELSE n_distinct END AS distinct_steps
    FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'wait' AND attname = 'step_id'
), common AS (
    SELECT unnest(steps) AS step_id, unnest(shares) AS share FROM seen
), rest AS (
    SELECT greatest(0, 1 - sum(share)) AS share, count(*) AS n FROM common
)
SELECT step.id AS step_id,
       round(stored.n * coalesce(
           common.share, coalesce(rest.share, 1) / greatest(1, coalesce(seen.distinct_steps, 200) - rest.n)
       ))::bigint AS n
FROM unnest(CAST(:step_ids AS int[])) AS step (id)
CROSS JOIN stored
CROSS JOIN rest
LEFT JOIN seen ON true
LEFT JOIN common ON common.step_id = step.id;

-- name: take_kickoffs
-- Whatever else contacts, whose locks the caller holds, are to begin in a campaign now.
DELETE FROM wait
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:contact_ids AS bigint[])) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, campaign_id, reason, due_at FROM wait WHERE wait.contact_id = wanted.id OFFSET 0
    ) AS found
    WHERE found.campaign_id = :campaign_id AND found.reason = 'kickoff' AND found.due_at <= :now
))
RETURNING step_id, contact_id, rotation, passage, attempt, reason, anchor_at, due_at, held;

-- name: of_nobody
-- Contacts that are due at steps and are gone: no claim would ever find them. One probe a row, as in `tags`
-- of facts.sql.
SELECT DISTINCT contact_id FROM wait
WHERE step_id = ANY (CAST(:step_ids AS int[])) AND due_at <= :now
  AND (SELECT true FROM contact WHERE contact.id = wait.contact_id) IS NULL
LIMIT :limit;

-- name: take_rezoned
-- A bounded number of contacts whose timezone changed, each with its lock; who is in other hands has a turn
-- later. The notes go with the waits that move: a crash gives them back.
WITH noted AS MATERIALIZED (
    SELECT contact_id FROM rezoned
    WHERE CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[]))
    LIMIT :limit
), free AS MATERIALIZED (
    SELECT id, timezone FROM contact
    WHERE id = ANY (ARRAY(SELECT contact_id FROM noted))
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    -- A note of nobody would be looked at for ever.
    DELETE FROM rezoned
    WHERE contact_id = ANY (ARRAY(
        SELECT id FROM free
        UNION ALL
        SELECT contact_id FROM noted
        WHERE (SELECT true FROM contact WHERE contact.id = noted.contact_id) IS NULL
    ))
)
SELECT id, timezone FROM free;

-- name: note_rezoned
INSERT INTO rezoned (contact_id) SELECT unnest(CAST(:ids AS bigint[]));

-- name: still_to_come
-- What contacts, whose locks the caller holds, wait for with a due time; retries and kickoffs go by no clock.
-- `<>`, which no index serves: wait_due_idx would be read as a whole.
SELECT contact_id, step_id, campaign_id, passage, reason, anchor_at, due_at, held
FROM wait
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND due_at <> 'infinity' AND reason IN ('delay', 'decision');

-- name: by_date
-- Where contacts, whose locks the caller holds, wait for a date of theirs; what was tried or held back has had its time.
SELECT wait.contact_id, wait.step_id, wait.campaign_id, wait.passage, nullif(wait.due_at, 'infinity') AS due_at
FROM wait JOIN step ON step.id = wait.step_id + 0 AND step.date_field IS NOT NULL
WHERE wait.contact_id = ANY (CAST(:ids AS bigint[])) AND wait.reason = 'delay' AND wait.held IS NULL;

-- name: at_rules
-- One probe of the primary key a contact.
SELECT found.contact_id, found.step_id, found.campaign_id, found.passage, found.anchor_at,
       nullif(found.due_at, 'infinity') AS due_at, found.rotation,
       coalesce((SELECT runs FROM membership
                 WHERE membership.contact_id = found.contact_id AND membership.campaign_id = found.campaign_id
                 LIMIT 1), false) AS runs
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM wait WHERE wait.contact_id = wanted.id OFFSET 0) AS found
WHERE found.step_id = ANY (CAST(:step_ids AS int[])) AND found.reason = 'decision' AND found.held IS NULL
ORDER BY found.contact_id, found.step_id, found.passage;

-- name: found_true
UPDATE wait SET due_at = :now, held = CAST(:held AS jsonb)
FROM (
    SELECT found.place
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:passages AS int[]))
         AS matched (contact_id, step_id, passage)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM wait
        WHERE wait.contact_id = matched.contact_id AND wait.step_id + 0 = matched.step_id
          AND wait.passage = matched.passage
        LIMIT 1
    ) AS found
) AS moved
WHERE wait.ctid = moved.place;

-- name: ask_rules
-- A bounded number of those who wait at a step and are not due yet, with the campaign closed to workers.
UPDATE wait SET due_at = :now
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM wait
    WHERE wait.step_id = :step_id AND wait.due_at > :now AND wait.reason = 'decision'
    ORDER BY wait.due_at DESC
    LIMIT :limit
));

-- name: move_to
UPDATE wait SET due_at = coalesce(moved.due_at, 'infinity')
FROM (
    SELECT found.place, new.due_at
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:passages AS int[]),
                CAST(:due AS timestamptz[])) AS new (contact_id, step_id, passage, due_at)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM wait
        WHERE wait.contact_id = new.contact_id AND wait.step_id + 0 = new.step_id AND wait.passage = new.passage
        LIMIT 1
    ) AS found
) AS moved
WHERE wait.ctid = moved.place;

-- name: count_from_before
-- How many of those who wait at steps came there until an instant.
SELECT wait.step_id, count(*) AS n
FROM unnest(CAST(:step_ids AS int[]), CAST(:befores AS timestamptz[])) AS asked (step_id, before)
JOIN wait ON wait.step_id = asked.step_id AND wait.anchor_at <= asked.before AND wait.reason <> 'retry'
GROUP BY wait.step_id;

-- name: lost_with_steps
-- What a removed step cancelled of members, in the rotation that they still have: the last that happened to them there.
-- One probe of the outcomes a member and step.
SELECT member.contact_id, lost.step_id, lost.rotation, lost.passage, lost.due_at,
       CAST(lost.detail ->> 'since' AS timestamptz) AS anchor_at,
       (SELECT timezone FROM contact WHERE contact.id = member.contact_id) AS timezone
FROM (
    SELECT contact_id, rotation FROM membership
    WHERE campaign_id = :campaign_id AND left_at IS NULL AND NOT runs AND contact_id BETWEEN :first_id AND :last_id
    UNION ALL
    SELECT run.contact_id, run.rotation
    FROM run JOIN membership ON membership.contact_id = run.contact_id AND membership.campaign_id = run.campaign_id
    WHERE membership.campaign_id = :campaign_id AND membership.left_at IS NULL AND membership.runs
      AND run.left_at IS NULL AND run.contact_id BETWEEN :first_id AND :last_id
) AS member
CROSS JOIN unnest(CAST(:step_ids AS int[]), CAST(:kinds AS text[]), CAST(:befores AS text[])) AS back (step_id, kind, before)
CROSS JOIN LATERAL (
    SELECT outcome.step_id, outcome.rotation, outcome.passage, outcome.due_at, outcome.result, outcome.detail
    FROM outcome
    WHERE outcome.contact_id = member.contact_id AND outcome.step_id = back.step_id
    ORDER BY outcome.at DESC, outcome.rotation DESC, outcome.passage DESC
    LIMIT 1
) AS lost
-- A step that became one of another kind in between lost those who waited at what it was.
WHERE lost.result = 'cancelled' AND lost.rotation = member.rotation
  AND coalesce(lost.detail ->> 'kind', back.before) = back.kind
  AND jsonb_exists(lost.detail, 'since') AND NOT jsonb_exists(lost.detail, 'redirected_to');
