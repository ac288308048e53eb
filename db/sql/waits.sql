-- name: claim_due
-- The oldest due waits of a step leave the table with their claim: if this transaction commits,
-- nobody else will see them; if it dies, they were never gone. The claim takes the contact's row
-- lock too, and skips who is in other hands: whoever touches a contact's waits or memberships holds
-- that lock, so nothing here ever waits for another worker and nothing can deadlock.
-- Served by wait_due_idx (step_id, due_at) and the contact's key.
WITH due AS MATERIALIZED (
    SELECT wait.contact_id
    FROM wait
    JOIN contact ON contact.id = wait.contact_id
    WHERE wait.step_id = :step_id
      AND wait.due_at <= :now
      AND (CAST(:reasons AS wait_reason[]) IS NULL OR wait.reason = ANY (CAST(:reasons AS wait_reason[])))
      AND (CAST(:ids AS bigint[]) IS NULL OR wait.contact_id = ANY (CAST(:ids AS bigint[])))
      AND (CAST(:min_id AS bigint) IS NULL OR wait.contact_id >= CAST(:min_id AS bigint))
      AND (CAST(:max_id AS bigint) IS NULL OR wait.contact_id <= CAST(:max_id AS bigint))
      AND (CAST(:threads AS int) IS NULL
           OR (wait.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
    ORDER BY wait.due_at
    LIMIT :limit
    FOR UPDATE OF wait SKIP LOCKED
    FOR NO KEY UPDATE OF contact SKIP LOCKED
)
DELETE FROM wait USING due
WHERE wait.contact_id = due.contact_id AND wait.step_id = :step_id
RETURNING wait.contact_id, wait.rotation, wait.passage, wait.attempt, wait.reason, wait.anchor_at,
          nullif(wait.due_at, 'infinity') AS due_at, wait.held;

-- name: has_due
-- Whether anything within a scope is due and not yet committed by whoever has it in hand: a claimed
-- row stays visible to others until then. One probe of wait_due_idx.
SELECT EXISTS (
    SELECT FROM wait
    WHERE step_id = ANY (CAST(:step_ids AS int[]))
      AND due_at <= :now
      AND (CAST(:reasons AS wait_reason[]) IS NULL OR reason = ANY (CAST(:reasons AS wait_reason[])))
      AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
      AND (CAST(:min_id AS bigint) IS NULL OR contact_id >= CAST(:min_id AS bigint))
      AND (CAST(:max_id AS bigint) IS NULL OR contact_id <= CAST(:max_id AS bigint))
      AND (CAST(:threads AS int) IS NULL OR (contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
);

-- name: due_steps
-- The steps of running campaigns at which something is due: one probe of wait_due_idx a step,
-- however many wait.
SELECT step.id, step.campaign_id
FROM step
JOIN campaign ON campaign.id = step.campaign_id
LEFT JOIN category ON category.id = campaign.category_id
WHERE campaign.published AND campaign.deleted_at IS NULL
  AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
  AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
  AND coalesce(category.published, true)
  AND (CAST(:campaign_ids AS int[]) IS NULL OR campaign.id = ANY (CAST(:campaign_ids AS int[])))
  AND NOT campaign.id = ANY (CAST(:excluded AS int[]))
  AND EXISTS (
      SELECT FROM wait
      WHERE wait.step_id = step.id
        AND wait.due_at <= :now
        AND (CAST(:reasons AS wait_reason[]) IS NULL OR wait.reason = ANY (CAST(:reasons AS wait_reason[])))
        AND (CAST(:ids AS bigint[]) IS NULL OR wait.contact_id = ANY (CAST(:ids AS bigint[])))
        AND (CAST(:min_id AS bigint) IS NULL OR wait.contact_id >= CAST(:min_id AS bigint))
        AND (CAST(:max_id AS bigint) IS NULL OR wait.contact_id <= CAST(:max_id AS bigint))
        AND (CAST(:threads AS int) IS NULL
             OR (wait.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
  )
ORDER BY campaign.created_at DESC, campaign.id DESC, step.position;

-- name: arm
-- A contact that already waits at the step keeps its wait, so a second delivery changes nothing.
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, attempt, reason, anchor_at, due_at, held)
SELECT contact_id, step_id, campaign_id, rotation, passage, attempt, reason, anchor_at, coalesce(due_at, 'infinity'),
       held
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:campaign_ids AS int[]),
            CAST(:rotations AS int[]), CAST(:passages AS int[]), CAST(:attempts AS smallint[]),
            CAST(:reasons AS wait_reason[]), CAST(:anchors AS timestamptz[]), CAST(:due AS timestamptz[]),
            CAST(:helds AS jsonb[]))
     AS new (contact_id, step_id, campaign_id, rotation, passage, attempt, reason, anchor_at, due_at, held)
ON CONFLICT (contact_id, step_id) DO NOTHING;

-- name: take_armed
-- The armed decisions of contacts, whose locks the caller holds, leave the table. One that was armed
-- again in the meantime is of another passage, and stays.
DELETE FROM wait
USING unnest(CAST(:contact_ids AS bigint[]), CAST(:passages AS int[])) AS armed (contact_id, passage)
WHERE wait.step_id = :step_id AND wait.contact_id = armed.contact_id AND wait.passage = armed.passage
  AND wait.reason = 'decision'
RETURNING wait.contact_id, wait.rotation, wait.passage, wait.attempt, wait.reason, wait.anchor_at,
          nullif(wait.due_at, 'infinity') AS due_at, wait.held;

-- name: armed
-- Which decisions of some types the contacts stand at; served by the primary key. A step whose own
-- properties say which events it looks at is left out here already when none of them happened.
SELECT wait.contact_id, wait.step_id, wait.campaign_id, wait.passage, wait.anchor_at
FROM wait
JOIN step ON step.id = wait.step_id AND step.type = ANY (CAST(:types AS text[]))
WHERE wait.contact_id = ANY (CAST(:contact_ids AS bigint[])) AND wait.reason = 'decision'
  AND (step.events IS NULL
       OR EXISTS (SELECT FROM unnest(CAST(:events AS text[])) AS happened (type)
                  WHERE happened.type LIKE ANY (step.events)));

-- name: move
-- A jump: every open wait of the contact in this campaign moves to the new rotation.
UPDATE wait SET rotation = jumped.rotation
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:rotations AS int[])) AS jumped (contact_id, rotation)
WHERE wait.contact_id = jumped.contact_id AND wait.campaign_id = :campaign_id;

-- name: cancel
-- Contacts, whose locks the caller holds, stop waiting in a campaign, whatever the rotation.
DELETE FROM wait
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]))
RETURNING contact_id, step_id, rotation, passage, nullif(due_at, 'infinity') AS due_at;

-- name: cancel_steps
-- Steps that a new version dropped: a bounded number of those who wait there.
WITH gone AS (
    SELECT wait.contact_id, wait.step_id
    FROM wait
    WHERE wait.step_id = ANY (CAST(:step_ids AS int[]))
    LIMIT :limit
)
DELETE FROM wait USING gone LEFT JOIN contact ON contact.id = gone.contact_id
WHERE wait.contact_id = gone.contact_id AND wait.step_id = gone.step_id
RETURNING wait.contact_id, wait.step_id, wait.rotation, wait.passage, nullif(wait.due_at, 'infinity') AS due_at,
          wait.anchor_at, contact.timezone;

-- name: shift
-- A bounded number of a campaign's waits, by the primary key, move by the length of a pause, with the
-- campaign closed to workers. Who came during the pause counts from its end. What was due before it
-- stays, and so does what has no due time. The key is what bounds the statement: a batch that began
-- together is due together, so the due time would not.
WITH still_to_come AS (
    -- Sessions are in UTC, so that a day is always 24 hours here.
    SELECT contact_id, step_id, CAST(:until AS timestamptz) - greatest(anchor_at, :since) AS by
    FROM wait
    WHERE campaign_id = :campaign_id AND due_at >= :since AND due_at < 'infinity'
      AND (contact_id, step_id) > (CAST(:contact_id AS bigint), CAST(:step_id AS int))
    ORDER BY contact_id, step_id
    LIMIT :limit
), moved AS (
    UPDATE wait SET due_at = wait.due_at + by, anchor_at = wait.anchor_at + by
    FROM still_to_come
    WHERE wait.contact_id = still_to_come.contact_id AND wait.step_id = still_to_come.step_id
    RETURNING wait.contact_id, wait.step_id
)
SELECT contact_id, step_id FROM moved ORDER BY contact_id DESC, step_id DESC LIMIT 1;

-- name: standing
SELECT contact_id FROM wait WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND step_id = :step_id;

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
EXPLAIN (FORMAT JSON) SELECT FROM wait WHERE step_id = :step_id;

-- name: take_kickoffs
-- Whatever else contacts, whose locks the caller holds, are to begin in a campaign now.
DELETE FROM wait
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]))
  AND reason = 'kickoff' AND due_at <= :now
RETURNING step_id, contact_id, rotation, passage, attempt, reason, anchor_at, due_at, held;
