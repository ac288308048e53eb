-- name: differing
-- The chunks of a range in which an update may find something to do: somebody in a segment and not in
-- the campaign, in the campaign and in no segment, or out of it and able to come back. In normal
-- running there are none, and this is all that an update reads: one pass over segment_member_active_idx
-- and membership_campaign_idx, without their tables. `= ANY` would do the same, but only the contacts
-- of one segment come out of the index in order, ready to be merged; those of several are hashed.
SELECT DISTINCT (coalesce(present.contact_id, member.contact_id) - :first_id) / :width AS number
FROM (
    SELECT contact_id FROM segment_member
    -- when late: SELECT contact_id, entry FROM segment_member
    WHERE active AND segment_id = :segment_id AND contact_id BETWEEN :first_id AND :last_id
    -- when out: WHERE active AND segment_id = :segment_id AND contact_id BETWEEN :first_id AND :last_id AND (SELECT true FROM segment_member AS other WHERE other.contact_id = segment_member.contact_id AND other.active AND other.segment_id = ANY (CAST(:exit_ids AS int[])) LIMIT 1) IS NULL
) AS present
FULL JOIN (
    SELECT contact_id, departure, manual FROM membership
    WHERE campaign_id = :campaign_id AND contact_id BETWEEN :first_id AND :last_id
) AS member ON member.contact_id = present.contact_id
WHERE member.contact_id IS NULL
-- when late: WHERE member.contact_id IS NULL AND present.entry > :entries_after
   OR (present.contact_id IS NULL AND member.departure IS NULL AND NOT member.manual AND :leaving)
   OR (present.contact_id IS NOT NULL AND member.departure <> 'manual' AND :returning)
ORDER BY number;

-- name: differing_several
-- As `differing`, for campaigns with several segments, or none.
SELECT DISTINCT (coalesce(present.contact_id, member.contact_id) - :first_id) / :width AS number
FROM (
    SELECT contact_id FROM segment_member
    -- when late: SELECT contact_id, entry FROM segment_member
    WHERE active AND segment_id = ANY (CAST(:segment_ids AS int[])) AND contact_id BETWEEN :first_id AND :last_id
    -- when out: WHERE active AND segment_id = ANY (CAST(:segment_ids AS int[])) AND contact_id BETWEEN :first_id AND :last_id AND (SELECT true FROM segment_member AS other WHERE other.contact_id = segment_member.contact_id AND other.active AND other.segment_id = ANY (CAST(:exit_ids AS int[])) LIMIT 1) IS NULL
) AS present
FULL JOIN (
    SELECT contact_id, departure, manual FROM membership
    WHERE campaign_id = :campaign_id AND contact_id BETWEEN :first_id AND :last_id
) AS member ON member.contact_id = present.contact_id
WHERE member.contact_id IS NULL
-- when late: WHERE member.contact_id IS NULL AND present.entry > :entries_after
   OR (present.contact_id IS NULL AND member.departure IS NULL AND NOT member.manual AND :leaving)
   OR (present.contact_id IS NOT NULL AND member.departure <> 'manual' AND :returning)
ORDER BY number;

-- name: set_exit_due
-- By the place of each row, as `rotate`. Who is out, or was asked for at the same time, is left as it is.
UPDATE membership SET exit_due_at = due.due_at
FROM (
    SELECT found.place, new.due_at
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:dues AS timestamptz[])) AS new (contact_id, due_at)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM membership
        WHERE membership.contact_id = new.contact_id AND membership.campaign_id = :campaign_id
          AND membership.left_at IS NULL AND membership.exit_due_at IS DISTINCT FROM new.due_at
        LIMIT 1
    ) AS found
) AS due
WHERE membership.ctid = due.place;

-- name: ask_exits
-- With the campaign closed to workers.
UPDATE membership SET exit_due_at = :now WHERE campaign_id = :campaign_id AND left_at IS NULL;

-- name: ask_exits_of
UPDATE membership SET exit_due_at = :now
WHERE campaign_id = :campaign_id AND contact_id BETWEEN :first_id AND :last_id AND added_at = :now AND left_at IS NULL;

-- name: not_manual
SELECT contact_id FROM membership
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL
  AND arrival <> 'manual'
ORDER BY contact_id;

-- name: asked_for_exit
-- Members whom the exits by rule were asked about and let stay, as far as they let out who joined like this.
SELECT contact_id FROM membership
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL
  AND arrival <> 'manual' AND (exit_due_at IS NULL OR exit_due_at > :now);

-- name: exits_due
-- So many of each campaign, the oldest first, from membership_exit_idx.
SELECT first.contact_id
FROM unnest(CAST(:campaign_ids AS int[])) AS campaign (id)
CROSS JOIN LATERAL (
    SELECT contact_id, exit_due_at FROM membership
    WHERE membership.campaign_id = campaign.id AND membership.exit_due_at <= :now
    ORDER BY membership.exit_due_at LIMIT :limit
) AS first
GROUP BY first.contact_id
ORDER BY min(first.exit_due_at)
LIMIT :limit;

-- name: take_exits_due
UPDATE membership SET exit_due_at = NULL
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM membership
        WHERE membership.contact_id = wanted.id AND membership.exit_due_at + interval '0' <= :now
          AND membership.campaign_id = ANY (CAST(:campaign_ids AS int[]))
        OFFSET 0
    ) AS found
))
RETURNING contact_id, campaign_id;

-- name: exiting
-- Members whom a segment that is an exit holds, but for those whom a person added while they were in it.
SELECT membership.contact_id
FROM membership
WHERE membership.campaign_id = :campaign_id
  AND membership.contact_id BETWEEN :first_id AND :last_id
  AND membership.departure IS NULL
  -- One probe a contact, as in `orphans`.
  AND (SELECT true FROM segment_member
       WHERE segment_member.contact_id = membership.contact_id
         AND segment_member.active
         AND (membership.arrival <> 'manual' OR segment_member.changed_at > membership.added_at)
         AND segment_member.segment_id = ANY (CAST(:exit_ids AS int[]))
       LIMIT 1) IS NOT NULL
ORDER BY membership.contact_id
LIMIT :limit;

-- name: join
-- Everybody in a range of contact ids who is in a source segment and was never in the campaign joins,
-- and stands at every root step: one statement, so joining cannot be half done. Two sweeps that meet
-- in a range are sorted out by the primary key: whoever inserts the membership arms its roots. Ids go
-- in ascending order, so they cannot wait for each other in a circle. The contact's row is held as a
-- foreign key would hold it, which is in nobody's way but of who erases or merges the contact: a wait of
-- nobody would be due for ever. Who is being erased or merged at this moment is left out, and joins with
-- the next update if they are still there.
-- Served by segment_member_active_idx (segment_id, contact_id) and membership_campaign_idx, both within
-- the range: the range is said of both, since the planner does not carry it over, and would read the
-- whole campaign for each chunk.
WITH candidate AS (
    SELECT DISTINCT segment_member.contact_id
    FROM segment_member
    WHERE segment_member.active
    -- when out: WHERE segment_member.active AND (SELECT true FROM segment_member AS other WHERE other.contact_id = segment_member.contact_id AND other.active AND other.segment_id = ANY (CAST(:exit_ids AS int[])) LIMIT 1) IS NULL
      AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
      -- when late: AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[])) AND segment_member.entry > :entries_after
      AND segment_member.contact_id BETWEEN :first_id AND :last_id
      AND (CAST(:ids AS bigint[]) IS NULL OR segment_member.contact_id = ANY (CAST(:ids AS bigint[])))
      AND (CAST(:threads AS int) IS NULL
           OR (segment_member.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
      -- when kept: OR (segment_member.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0) AND NOT segment_member.contact_id IN (SELECT unnest(CAST(:kept_out AS bigint[])))
      -- One probe a contact, as in `orphans`.
      AND (SELECT true FROM membership
           WHERE membership.contact_id = segment_member.contact_id AND membership.campaign_id = :campaign_id
           LIMIT 1) IS NULL
    ORDER BY segment_member.contact_id
    LIMIT :limit
), held AS MATERIALIZED (
    SELECT id FROM contact
    WHERE id = ANY (ARRAY(SELECT contact_id FROM candidate))
    ORDER BY id
    FOR KEY SHARE SKIP LOCKED
), joined AS (
    INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival)
    -- when watched: INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival, control)
    SELECT id, :campaign_id, 1, :now, 'segment' FROM held
    -- when watched: SELECT id, :campaign_id, 1, :now, 'segment', in_control_group(id, CAST(:drawn AS bytea), CAST(:below AS bytea)) FROM held
    ON CONFLICT (contact_id, campaign_id) DO NOTHING
    RETURNING contact_id
    -- when watched: RETURNING contact_id, control
), armed AS (
    INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
    SELECT joined.contact_id, root.step_id, :campaign_id, 1, 1, root.reason, :now, coalesce(root.due_at, 'infinity')
    FROM joined
    -- when watched: FROM (SELECT contact_id FROM joined WHERE NOT control) AS joined
    CROSS JOIN unnest(CAST(:step_ids AS int[]), CAST(:reasons AS wait_reason[]), CAST(:due AS timestamptz[]))
         AS root (step_id, reason, due_at)
    ON CONFLICT (contact_id, step_id, passage) DO NOTHING
)
-- when watched: ), watched AS (INSERT INTO trial (contact_id, campaign_id, number, key, control, began_at, until) SELECT contact_id, :campaign_id, 1, '', control, :now, coalesce(CAST(:until AS timestamptz), 'infinity') FROM joined ON CONFLICT DO NOTHING RETURNING control), counted AS (INSERT INTO trial_count (campaign_id, part, slot, entered) SELECT :campaign_id, CASE WHEN control THEN 'control' ELSE 'treated' END, (SELECT counter_slot()), count(*) FROM watched GROUP BY control ORDER BY 2 ON CONFLICT (campaign_id, part, slot) DO UPDATE SET entered = trial_count.entered + excluded.entered)
SELECT (SELECT count(*) FROM joined) AS joined,
       (SELECT count(*) FROM candidate) - (SELECT count(*) FROM held) AS left_out;

-- name: join_by_zone
-- As `join`, for trees whose roots fall due at different instants in different timezones: the due
-- times come for each timezone, '' being that of contacts who have none. Who has one that is not
-- among them, since the contact changed after they were read, joins with the next update.
WITH candidate AS (
    SELECT DISTINCT segment_member.contact_id
    FROM segment_member
    JOIN contact ON contact.id = segment_member.contact_id
                AND coalesce(contact.timezone, '') = ANY (CAST(:zones AS text[]))
    WHERE segment_member.active
    -- when out: WHERE segment_member.active AND (SELECT true FROM segment_member AS other WHERE other.contact_id = segment_member.contact_id AND other.active AND other.segment_id = ANY (CAST(:exit_ids AS int[])) LIMIT 1) IS NULL
      AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
      -- when late: AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[])) AND segment_member.entry > :entries_after
      AND segment_member.contact_id BETWEEN :first_id AND :last_id
      AND (CAST(:ids AS bigint[]) IS NULL OR segment_member.contact_id = ANY (CAST(:ids AS bigint[])))
      AND (CAST(:threads AS int) IS NULL
           OR (segment_member.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
      -- when kept: OR (segment_member.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0) AND NOT segment_member.contact_id IN (SELECT unnest(CAST(:kept_out AS bigint[])))
      -- One probe a contact, as in `orphans`.
      AND (SELECT true FROM membership
           WHERE membership.contact_id = segment_member.contact_id AND membership.campaign_id = :campaign_id
           LIMIT 1) IS NULL
    ORDER BY segment_member.contact_id
    LIMIT :limit
), held AS MATERIALIZED (
    SELECT id, coalesce(timezone, '') AS zone FROM contact
    WHERE id = ANY (ARRAY(SELECT contact_id FROM candidate))
    ORDER BY id
    FOR KEY SHARE SKIP LOCKED
), joined AS (
    INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival)
    -- when watched: INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival, control)
    SELECT id, :campaign_id, 1, :now, 'segment' FROM held
    -- when watched: SELECT id, :campaign_id, 1, :now, 'segment', in_control_group(id, CAST(:drawn AS bytea), CAST(:below AS bytea)) FROM held
    ON CONFLICT (contact_id, campaign_id) DO NOTHING
    RETURNING contact_id
    -- when watched: RETURNING contact_id, control
), armed AS (
    INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
    SELECT joined.contact_id, root.step_id, :campaign_id, 1, 1, root.reason, :now, coalesce(root.due_at, 'infinity')
    FROM joined
    -- when watched: FROM (SELECT contact_id FROM joined WHERE NOT control) AS joined
    JOIN held ON held.id = joined.contact_id
    JOIN unnest(CAST(:zones AS text[]), CAST(:step_ids AS int[]), CAST(:reasons AS wait_reason[]),
                CAST(:due AS timestamptz[])) AS root (zone, step_id, reason, due_at)
      ON root.zone = held.zone
    ON CONFLICT (contact_id, step_id, passage) DO NOTHING
)
-- when watched: ), watched AS (INSERT INTO trial (contact_id, campaign_id, number, key, control, began_at, until) SELECT contact_id, :campaign_id, 1, '', control, :now, coalesce(CAST(:until AS timestamptz), 'infinity') FROM joined ON CONFLICT DO NOTHING RETURNING control), counted AS (INSERT INTO trial_count (campaign_id, part, slot, entered) SELECT :campaign_id, CASE WHEN control THEN 'control' ELSE 'treated' END, (SELECT counter_slot()), count(*) FROM watched GROUP BY control ORDER BY 2 ON CONFLICT (campaign_id, part, slot) DO UPDATE SET entered = trial_count.entered + excluded.entered)
SELECT (SELECT count(*) FROM joined) AS joined,
       (SELECT count(*) FROM candidate) - (SELECT count(*) FROM held) AS left_out;

-- name: of_nobody
-- Who is in a segment and is no contact any more.
SELECT DISTINCT contact_id FROM segment_member
WHERE active AND segment_id = ANY (CAST(:segment_ids AS int[])) AND contact_id BETWEEN :first_id AND :last_id
  AND (SELECT true FROM contact WHERE contact.id = segment_member.contact_id) IS NULL
LIMIT :limit;

-- name: zones
SELECT DISTINCT coalesce(timezone, '') FROM contact WHERE id BETWEEN :first_id AND :last_id;

-- name: returning
-- Who is out of the campaign by an exit, and in a source segment: who left through the segments may
-- come back as soon as they are in one again; who left through an action only after really entering
-- one again. The rule itself is domain.membership's; this finds whom to ask it about.
SELECT membership.contact_id
FROM membership
WHERE membership.campaign_id = :campaign_id
  AND membership.contact_id BETWEEN :first_id AND :last_id
  AND membership.departure IN ('segment', 'action', 'exit')
  AND membership.left_at <= :now
  AND (CAST(:ids AS bigint[]) IS NULL OR membership.contact_id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:threads AS int) IS NULL OR (membership.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
  -- One probe a contact, as in `orphans`.
  AND (SELECT true FROM segment_member
       WHERE segment_member.contact_id = membership.contact_id
         AND segment_member.active
         AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
         AND (membership.departure = 'segment' OR segment_member.entry > membership.left_entry)
       LIMIT 1) IS NOT NULL
ORDER BY membership.contact_id
LIMIT :limit;

-- name: in_runs_alone
-- Members by runs of events, who are in a source segment and have no run without a key.
SELECT membership.contact_id
FROM membership
WHERE membership.campaign_id = :campaign_id
  AND membership.contact_id BETWEEN :first_id AND :last_id
  AND membership.departure IS NULL AND membership.runs
  AND (CAST(:ids AS bigint[]) IS NULL OR membership.contact_id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:threads AS int) IS NULL OR (membership.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
  -- One probe a contact, as in `orphans`.
  AND (SELECT true FROM segment_member
       WHERE segment_member.contact_id = membership.contact_id
         AND segment_member.active
         AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
         AND segment_member.entry > coalesce(CAST(:after AS bigint), 0)
       LIMIT 1) IS NOT NULL
  AND (SELECT true FROM run
       WHERE run.contact_id = membership.contact_id AND run.campaign_id = membership.campaign_id AND run.key = ''
       LIMIT 1) IS NULL
ORDER BY membership.contact_id
LIMIT :limit;

-- name: orphans
-- Active members that came through a segment and are in none of the campaign's segments any more.
-- A segment that is switched off still holds its members: emptying a campaign is done on purpose,
-- by taking the segment out of its sources.
SELECT membership.contact_id
FROM membership
WHERE membership.campaign_id = :campaign_id
  AND membership.contact_id BETWEEN :first_id AND :last_id
  AND membership.departure IS NULL
  AND NOT membership.manual
  AND (CAST(:ids AS bigint[]) IS NULL OR membership.contact_id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:threads AS int) IS NULL OR (membership.contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
  -- One probe a contact, and no join that statistics could turn into comparing everybody with everybody.
  AND (SELECT true FROM segment_member
       WHERE segment_member.contact_id = membership.contact_id
         AND segment_member.active
         AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
       LIMIT 1) IS NULL
ORDER BY membership.contact_id
LIMIT :limit;

-- name: states
-- One probe a contact; see `contacts` in facts.sql.
SELECT contact.id AS contact_id, contact.timezone, membership.rotation, membership.added_at, membership.manual,
       membership.left_at, membership.departure, membership.left_entry, membership.runs,
       (SELECT max(segment_member.entry) FROM segment_member
        WHERE segment_member.contact_id = contact.id AND segment_member.active
          AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))) AS entry
FROM contact
LEFT JOIN LATERAL (
    SELECT * FROM membership
    WHERE membership.contact_id = contact.id AND membership.campaign_id = :campaign_id
    LIMIT 1
) AS membership ON true
WHERE contact.id = ANY (CAST(:contact_ids AS bigint[]));

-- name: enter
-- New and returning members, whose locks the caller holds. `join` is not held up by such a lock, so a new member
-- may meet the row of an update that came first: xmax tells an insertion from a change.
INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival, manual, control)
SELECT contact_id, :campaign_id, rotation, :now, CAST(:arrival AS arrival), manual,
       in_control_group(contact_id, CAST(:drawn AS bytea), CAST(:below AS bytea))
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:rotations AS int[]), CAST(:manuals AS boolean[]))
     AS entering (contact_id, rotation, manual)
ON CONFLICT (contact_id, campaign_id) DO UPDATE
SET rotation = excluded.rotation, added_at = excluded.added_at, arrival = excluded.arrival,
    entries = membership.entries + CASE WHEN membership.left_at IS NULL THEN 0 ELSE 1 END,
    manual = excluded.manual, left_at = NULL, departure = NULL, left_entry = NULL, reason = NULL, exit_due_at = NULL
RETURNING contact_id, xmax = 0 AS is_new, control;

-- name: make_members
INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival, manual, runs, control)
SELECT contact_id, :campaign_id, 0, :now, CAST(:arrival AS arrival), manual, true,
       in_control_group(contact_id, CAST(:drawn AS bytea), CAST(:below AS bytea))
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:manuals AS boolean[])) AS entering (contact_id, manual)
ON CONFLICT (contact_id, campaign_id) DO NOTHING
RETURNING contact_id;

-- name: tell_apart
-- Its outcomes so far name no run, and are of the one without a key.
INSERT INTO run (contact_id, campaign_id, number, key, rotation, arrival, manual, began_at, left_at, departure, reason)
SELECT contact_id, campaign_id, rotation, '', rotation, arrival, manual, added_at, left_at, departure, reason
FROM membership
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND NOT runs
ON CONFLICT DO NOTHING;

-- name: give_rotations
-- The highest rotation is the membership's; who was in stays in since then.
UPDATE membership
SET rotation = membership.rotation + 1,
    runs = true,
    entries = membership.entries + CASE WHEN membership.left_at IS NULL THEN 0 ELSE 1 END,
    added_at = CASE WHEN membership.left_at IS NULL THEN membership.added_at ELSE :now END,
    arrival = CASE WHEN membership.left_at IS NULL THEN membership.arrival ELSE CAST(:arrival AS arrival) END,
    manual = CASE WHEN membership.left_at IS NULL THEN membership.manual AND entering.manual ELSE entering.manual END,
    left_at = NULL, departure = NULL, left_entry = NULL, reason = NULL
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:manuals AS boolean[])) AS entering (contact_id, manual)
WHERE membership.contact_id = ANY (ARRAY[entering.contact_id]) AND membership.campaign_id = :campaign_id
RETURNING membership.contact_id, membership.rotation, membership.control;

-- name: come_by_segment_no_more
UPDATE membership SET manual = true
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND NOT manual;

-- name: leave
-- Members, whose locks the caller holds, are out; who was out already only has the manner changed,
-- and only towards the removal by hand.
UPDATE membership
SET left_at = coalesce(membership.left_at, :now),
    departure = CAST(:departure AS departure),
    reason = :reason,
    manual = false,
    exit_due_at = NULL,
    left_entry = coalesce(
        membership.left_entry,
        (SELECT max(entry) FROM segment_member WHERE segment_member.contact_id = membership.contact_id),
        0
    )
WHERE campaign_id = :campaign_id
  AND contact_id = ANY (CAST(:contact_ids AS bigint[]))
  AND (left_at IS NULL OR (departure <> 'manual' AND CAST(:departure AS departure) = 'manual'))
RETURNING contact_id;

-- name: members
SELECT contact_id, rotation, runs FROM membership
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL;

-- name: rotate
-- As `move` in waits.sql: each row is probed for, and written by its place.
UPDATE membership SET rotation = jumped.rotation
FROM (
    SELECT found.place, new.rotation
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:rotations AS int[])) AS new (contact_id, rotation)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM membership
        WHERE membership.contact_id = new.contact_id AND membership.campaign_id = :campaign_id
        LIMIT 1
    ) AS found
) AS jumped
WHERE membership.ctid = jumped.place;

-- name: backfill
-- Existing active members start at a step that was added at the root.
-- The contacts are held as in `join`; merges are shut out.
WITH held AS MATERIALIZED (
    SELECT contact.id, coalesce(contact.timezone, '') AS zone, membership.rotation, membership.runs
    FROM membership JOIN contact ON contact.id = membership.contact_id
    WHERE membership.campaign_id = :campaign_id AND membership.left_at IS NULL AND NOT membership.control
    FOR KEY SHARE OF contact SKIP LOCKED
), standing AS (
    SELECT id, zone, rotation FROM held WHERE NOT runs
    UNION ALL
    SELECT held.id, held.zone, run.rotation
    FROM held JOIN run ON run.contact_id = held.id AND run.campaign_id = :campaign_id AND run.left_at IS NULL
    WHERE held.runs
)
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
SELECT held.id, root.step_id, :campaign_id, held.rotation, held.rotation,
       root.reason, :now, coalesce(root.due_at, 'infinity')
FROM standing AS held
JOIN unnest(CAST(:zones AS text[]), CAST(:step_ids AS int[]), CAST(:reasons AS wait_reason[]),
            CAST(:due AS timestamptz[])) AS root (zone, step_id, reason, due_at)
  ON root.zone = held.zone
-- Who passed it where it stood before has done so.
WHERE NOT EXISTS (SELECT FROM outcome
                  WHERE outcome.contact_id = held.id AND outcome.step_id = root.step_id
                    AND outcome.passage = held.rotation)
  -- Who waits there, in whatever passage, keeps that wait.
  AND NOT EXISTS (SELECT FROM wait WHERE wait.contact_id = held.id AND wait.step_id = root.step_id
                                     AND wait.rotation = held.rotation)
ON CONFLICT (contact_id, step_id, passage) DO NOTHING;

-- name: backfill_below
-- Active members who passed a step, in their present stay, start one that was added below it, in the passage in which
-- they passed last. Held as in `join`; merges are shut out.
WITH held AS MATERIALIZED (
    SELECT contact.id, membership.rotation, membership.runs, membership.added_at
    FROM membership JOIN contact ON contact.id = membership.contact_id
    WHERE membership.campaign_id = :campaign_id AND membership.left_at IS NULL
      AND coalesce(contact.timezone, '') = :zone
    FOR KEY SHARE OF contact SKIP LOCKED
), standing AS (
    SELECT id, rotation, added_at AS began_at, CAST(NULL AS int) AS run FROM held WHERE NOT runs
    UNION ALL
    SELECT held.id, run.rotation, run.began_at, run.number
    FROM held JOIN run ON run.contact_id = held.id AND run.campaign_id = :campaign_id AND run.left_at IS NULL
    WHERE held.runs
)
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
SELECT standing.id, :step_id, :campaign_id, standing.rotation, passed.passage, CAST(:reason AS wait_reason), :now,
       coalesce(CAST(:due_at AS timestamptz), 'infinity')
FROM standing
CROSS JOIN LATERAL (
    SELECT outcome.passage, outcome.result FROM outcome
    WHERE outcome.contact_id = standing.id AND outcome.step_id = :parent_id AND outcome.at >= standing.began_at
      AND (standing.run IS NULL OR coalesce(outcome.run, standing.run) = standing.run)
    ORDER BY outcome.at DESC, outcome.passage DESC
    LIMIT 1
) AS passed
WHERE passed.result = CAST(:result AS result)
  AND NOT EXISTS (SELECT FROM outcome
                  WHERE outcome.contact_id = standing.id AND outcome.step_id = :step_id
                    AND outcome.passage = passed.passage)
  AND NOT EXISTS (SELECT FROM wait
                  WHERE wait.contact_id = standing.id AND wait.step_id = :step_id
                    AND wait.rotation = standing.rotation)
ON CONFLICT (contact_id, step_id, passage) DO NOTHING;

-- name: id_range
-- The ids between which an update has anything to look at.
SELECT least((SELECT min(contact_id) FROM membership WHERE campaign_id = :campaign_id),
             (SELECT min(contact_id) FROM segment_member WHERE segment_id = ANY (CAST(:segment_ids AS int[])) AND active)),
       greatest((SELECT max(contact_id) FROM membership WHERE campaign_id = :campaign_id),
                (SELECT max(contact_id) FROM segment_member WHERE segment_id = ANY (CAST(:segment_ids AS int[])) AND active));

-- name: figures
SELECT coalesce(sum(n) FILTER (WHERE what = 'added'), 0) AS added,
       coalesce(sum(n) FILTER (WHERE what = 'left'), 0) AS left
FROM campaign_count WHERE campaign_id = :campaign_id;

-- name: active
SELECT contact_id, runs FROM membership
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL;

-- name: inside
-- Which contacts are in one of these segments, and entered it later than a number.
SELECT DISTINCT contact_id FROM segment_member
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND active AND segment_id = ANY (CAST(:segment_ids AS int[]))
  AND entry > coalesce(CAST(:after AS bigint), 0)
ORDER BY contact_id;

-- name: outside
-- Active members that came through a segment and are in none of these.
SELECT membership.contact_id FROM membership
WHERE membership.campaign_id = :campaign_id
  AND membership.contact_id = ANY (CAST(:contact_ids AS bigint[]))
  AND membership.left_at IS NULL AND NOT membership.manual
  AND (SELECT true FROM segment_member
       WHERE segment_member.contact_id = membership.contact_id AND segment_member.active
         AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
       LIMIT 1) IS NULL
ORDER BY membership.contact_id;

-- name: give_grace
INSERT INTO leaving (contact_id, campaign_id, due_at)
SELECT contact_id, :campaign_id, :until FROM unnest(CAST(:contact_ids AS bigint[])) AS out (contact_id)
ON CONFLICT (contact_id, campaign_id) DO NOTHING;

-- name: look_again
INSERT INTO leaving (contact_id, campaign_id, due_at)
SELECT contact_id, :campaign_id, due_at
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:dues AS timestamptz[])) AS cooling (contact_id, due_at)
ON CONFLICT (contact_id, campaign_id) DO UPDATE SET due_at = excluded.due_at
WHERE leaving.due_at <> excluded.due_at;

-- name: stay
DELETE FROM leaving WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]));

-- name: stay_in_sources
-- With the campaign closed to workers. Who is out waits for the end of a cooldown, and goes on doing so.
DELETE FROM leaving
WHERE leaving.campaign_id = :campaign_id
  AND EXISTS (SELECT FROM membership
              WHERE membership.contact_id = leaving.contact_id AND membership.campaign_id = :campaign_id
                AND membership.left_at IS NULL)
  AND EXISTS (SELECT FROM segment_member
              JOIN campaign_source AS source ON source.source_id = segment_member.segment_id
              WHERE segment_member.contact_id = leaving.contact_id AND segment_member.active
                AND source.campaign_id = :campaign_id AND source.kind = 'segment');

-- name: grace_until
-- Who is out waits for the end of a cooldown.
SELECT leaving.due_at
FROM leaving
JOIN membership ON membership.contact_id = leaving.contact_id AND membership.campaign_id = leaving.campaign_id
WHERE leaving.contact_id = :contact_id AND leaving.campaign_id = :campaign_id AND membership.left_at IS NULL;

-- name: grace_over
-- Of campaigns that run: in the others everybody keeps their place, and a grace that ends in a pause is looked at
-- when it is over. Served by leaving_campaign_idx (campaign_id, due_at), so that many who wait for the end of a
-- pause cost nothing.
WITH over AS MATERIALIZED (
    SELECT leaving.contact_id, leaving.campaign_id
    FROM leaving
    JOIN contact ON contact.id = leaving.contact_id
    WHERE leaving.due_at <= :now
      AND leaving.campaign_id = ANY (ARRAY(
          SELECT campaign.id FROM campaign
          LEFT JOIN category ON category.id = campaign.category_id
          WHERE campaign.published AND campaign.deleted_at IS NULL
            AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
            AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
            AND coalesce(category.published, true)
      ))
    ORDER BY leaving.due_at
    LIMIT :limit
    FOR UPDATE OF leaving SKIP LOCKED
    FOR NO KEY UPDATE OF contact SKIP LOCKED
)
DELETE FROM leaving USING over
WHERE leaving.contact_id = over.contact_id AND leaving.campaign_id = over.campaign_id
RETURNING leaving.contact_id, leaving.campaign_id;

-- name: first_grace_over
-- One probe of leaving_campaign_idx a campaign.
SELECT min(first.due_at)
FROM campaign
LEFT JOIN category ON category.id = campaign.category_id
CROSS JOIN LATERAL (
    SELECT leaving.due_at FROM leaving
    WHERE leaving.campaign_id = campaign.id AND leaving.due_at <= :now
    ORDER BY leaving.due_at
    LIMIT 1
) AS first
WHERE campaign.published AND campaign.deleted_at IS NULL
  AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
  AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
  AND coalesce(category.published, true);

-- name: take_grace_over
DELETE FROM leaving
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND due_at <= :now
RETURNING contact_id;
