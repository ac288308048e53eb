-- name: close
SELECT id, key FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE;

-- name: aliases
SELECT contact_id, key FROM contact_alias WHERE contact_id = ANY (CAST(:ids AS bigint[]));

-- name: messages
SELECT key FROM message WHERE contact_id = ANY (CAST(:ids AS bigint[]));

-- name: forget_ids
-- A sender's ids of events may name the contact. Those from before the erasure do nothing when they come again.
DELETE FROM event_key
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:ids AS bigint[]), CAST(:ats AS timestamptz[])) AS gone (contact_id, at)
    CROSS JOIN LATERAL (SELECT source, id, at FROM event WHERE event.contact_id = gone.contact_id OFFSET 0) AS told
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM event_key WHERE event_key.source = told.source AND event_key.id = told.id LIMIT 1
    ) AS found
    WHERE told.at <= gone.at
));

-- name: letters
-- Dead letters that may be about contacts; the caller reads them closely.
SELECT id, reason, body FROM dead_letter
WHERE lower(reason || ' ' || body) LIKE ANY (CAST(:patterns AS text[]))
   OR cardinality(CAST(:tails AS text[])) > 0
      AND regexp_replace(body, '[^0-9]', '', 'g') LIKE ANY (CAST(:tails AS text[]));

-- name: drop_letters
DELETE FROM dead_letter WHERE id = ANY (CAST(:ids AS bigint[]));

-- name: note_files
INSERT INTO leftover (home, traces) VALUES (:home, CAST(:traces AS jsonb));

-- name: noted_files
-- Whoever deletes files of others at this moment has these.
SELECT id, traces FROM leftover WHERE home = :home AND id > :after ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: oldest_noted
SELECT min(at) FROM leftover WHERE home = :home;

-- name: forget_files
DELETE FROM leftover WHERE id = ANY (CAST(:ids AS bigint[]));

-- name: uncount
-- What is counted is always what can be counted; a slot may go below zero, their sum does not.
INSERT INTO step_count (step_id, day, result, slot, n)
SELECT step_id, (at AT TIME ZONE 'UTC')::date, result, (SELECT counter_slot()), -count(*)
FROM outcome
WHERE contact_id = ANY (CAST(:ids AS bigint[]))
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
ON CONFLICT (step_id, day, result, slot) DO UPDATE SET n = step_count.n + excluded.n;

-- name: uncount_trials
INSERT INTO trial_count (campaign_id, part, slot, entered, reached, value)
SELECT campaign_id, part, (SELECT counter_slot()), -count(*), -count(reached_at), -coalesce(sum(value), 0)
FROM trial
CROSS JOIN LATERAL unnest(array_append(parts, CASE WHEN control THEN 'control' ELSE 'treated' END)) AS part
WHERE contact_id = ANY (CAST(:ids AS bigint[]))
GROUP BY campaign_id, part
ORDER BY campaign_id, part
ON CONFLICT (campaign_id, part, slot) DO UPDATE
SET entered = trial_count.entered + excluded.entered, reached = trial_count.reached + excluded.reached,
    value = trial_count.value + excluded.value;

-- name: count_gone
-- Members that go have left. Whoever was added stays counted; of how many nothing is left is counted beside it.
INSERT INTO campaign_count (campaign_id, day, what, slot, n)
SELECT campaign_id, (CAST(:at AS timestamptz) AT TIME ZONE 'UTC')::date, what, (SELECT counter_slot()), sum(n)
FROM membership
CROSS JOIN LATERAL (
    VALUES ('left', CASE WHEN left_at IS NULL THEN 1 ELSE 0 END), ('erased', entries)
) AS counted (what, n)
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND n > 0
GROUP BY campaign_id, what
ORDER BY campaign_id, what
ON CONFLICT (campaign_id, day, what, slot) DO UPDATE SET n = campaign_count.n + excluded.n;

-- name: asked_for
-- Who of these contacts is to be erased, by what stands in the inbox.
SELECT DISTINCT contact_id FROM inbox
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND type = 'contact.deleted';

-- name: close_free
-- As `close`, leaving out who is in other hands: nobody who holds contacts waits for others.
SELECT id FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: try_to_clean_up
-- There is no row of a contact to lock, and what is left of one must be counted off once.
SELECT pg_try_advisory_xact_lock(7272687600000001);

-- name: gone
SELECT id FROM unnest(CAST(:ids AS bigint[])) AS given (id)
WHERE (SELECT true FROM contact WHERE contact.id = given.id) IS NULL;

-- name: delete_from
DELETE FROM {table} WHERE contact_id = ANY (CAST(:ids AS bigint[]));

-- name: delete
DELETE FROM contact WHERE id = ANY (CAST(:ids AS bigint[]));
