-- Contacts into others. Each statement works on pairs (gone_id, into_id): every contact that goes, and who
-- survives it. The caller holds the locks of both. Whatever the statistics say, each costs what the pairs have:
-- tables are not joined, which could be done the wrong way round. Rows are found by their contact, and the other of
-- a pair is looked up in the arrays; or they are probed for, and written by their place.

-- name: lock
-- Not even an event may come to a contact that goes.
SELECT id, key FROM contact WHERE key = ANY (CAST(:keys AS text[])) ORDER BY id FOR UPDATE;

-- name: lock_free
-- As `lock`, leaving out who is in other hands: nobody who holds contacts waits for others.
SELECT id FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: asked_for
-- Who is to be merged into some contacts, by what stands in the inbox, in the order in which it was said.
SELECT asked.contact_id AS into_id, gone.id AS gone_id
FROM (SELECT contact_id, seq, btrim(data ->> 'from') AS key FROM inbox
      WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND type = 'contact.merged' OFFSET 0) AS asked
CROSS JOIN LATERAL (SELECT id FROM contact WHERE contact.key = asked.key LIMIT 1) AS gone
WHERE gone.id <> asked.contact_id
ORDER BY asked.seq;

-- name: open_campaigns
-- As whoever works in a campaign: nobody edits or pauses it meanwhile.
SELECT pg_advisory_xact_lock_shared(7272687700000000 + campaign_id)
FROM (
    SELECT DISTINCT campaign_id FROM membership WHERE contact_id = ANY (CAST(:gone_ids AS bigint[])) ORDER BY campaign_id
) AS campaigns;

-- name: of_both_with_runs
SELECT gone.contact_id AS gone_id, own.contact_id AS into_id, gone.campaign_id, own.rotation, own.departure, own.control, gone.control AS gone_control,
       gone.rotation AS gone_rotation, gone.entries AS gone_entries, CAST(gone.left_at IS NULL AS int) AS gone_is_in,
       CAST(own.left_at IS NULL AS int) AS into_is_in
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
CROSS JOIN LATERAL (SELECT * FROM membership WHERE contact_id = pair.gone_id OFFSET 0) AS gone
CROSS JOIN LATERAL (
    SELECT * FROM membership WHERE contact_id = pair.into_id AND campaign_id = gone.campaign_id LIMIT 1
) AS own
WHERE gone.runs OR own.runs
ORDER BY gone.contact_id, gone.campaign_id;

-- name: tell_runs_apart
-- As `tell_apart` of membership.sql.
INSERT INTO run (contact_id, campaign_id, number, key, rotation, arrival, manual, began_at, left_at, departure, reason)
SELECT contact_id, campaign_id, rotation, '', rotation, arrival, manual, added_at, left_at, departure, reason
FROM membership
WHERE campaign_id = :campaign_id AND contact_id IN (:gone_id, :into_id) AND NOT runs
ON CONFLICT DO NOTHING;

-- name: runs_that_end
SELECT gone.number, gone.rotation FROM run AS gone
WHERE gone.contact_id = :gone_id AND gone.campaign_id = :campaign_id
  AND (:all OR EXISTS (SELECT FROM run AS own
                       WHERE own.contact_id = :into_id AND own.campaign_id = :campaign_id AND own.key = gone.key));

-- name: cancel_doubled
DELETE FROM wait
WHERE contact_id = :gone_id AND campaign_id = :campaign_id AND rotation = ANY (CAST(:rotations AS int[]))
RETURNING contact_id, step_id, rotation, passage, nullif(due_at, 'infinity') AS due_at,
          (CAST(:numbers AS int[]))[array_position(CAST(:rotations AS int[]), rotation)] AS run;

-- name: withdraw_doubled
UPDATE message
SET state = 'cancelled', error = 'the contact was merged with another, who is in the same run of the campaign'
WHERE contact_id = :gone_id AND campaign_id + 0 = :campaign_id AND state::text = 'queued'
  AND CAST(payload -> 'run' ->> 'number' AS int) = ANY (CAST(:numbers AS int[]));

-- name: move_outcomes
-- What is below zero is of contacts that were merged before, and stays there.
UPDATE outcome
SET contact_id = :into_id, rotation = rotation + :by,
    passage = CASE WHEN passage > 0 THEN passage + :by ELSE passage END,
    run = coalesce(
        (SELECT own.number FROM run AS own
         JOIN run AS gone ON gone.contact_id = :gone_id AND gone.campaign_id = :campaign_id AND gone.key = own.key
         WHERE own.contact_id = :into_id AND own.campaign_id = :campaign_id AND gone.number = outcome.run),
        run + :by
    )
WHERE contact_id = :gone_id AND step_id IN (SELECT id FROM step WHERE campaign_id = :campaign_id);

-- name: move_waits
UPDATE wait SET contact_id = :into_id, rotation = rotation + :by, passage = passage + :by
WHERE contact_id = :gone_id AND campaign_id = :campaign_id;

-- name: move_messages
UPDATE message
SET contact_id = :into_id, rotation = rotation + :by,
    payload = CASE WHEN payload -> 'run' ? 'number'
                   THEN jsonb_set(payload, '{run,number}', to_jsonb(CAST(payload -> 'run' ->> 'number' AS int) + :by))
                   ELSE payload END
WHERE contact_id = :gone_id AND campaign_id + 0 = :campaign_id;

-- name: move_trials
-- Of two that were treated alike; of two runs of one key, the survivor's counts.
UPDATE trial
SET contact_id = :into_id, number = number + :by
WHERE contact_id = :gone_id AND campaign_id = :campaign_id AND control = :control
  AND NOT EXISTS (SELECT FROM trial AS own
                  WHERE own.contact_id = :into_id AND own.campaign_id = :campaign_id AND own.key = trial.key);

-- name: drop_doubled_runs
-- And those in which nothing happened, since the one who goes was in the control group (`untreated`).
DELETE FROM run AS gone
WHERE gone.contact_id = :gone_id AND gone.campaign_id = :campaign_id
  AND (:untreated
       OR EXISTS (SELECT FROM run AS own
                  WHERE own.contact_id = :into_id AND own.campaign_id = :campaign_id AND own.key = gone.key));

-- name: move_runs
UPDATE run
SET contact_id = :into_id, number = number + :by, rotation = rotation + :by,
    left_at = CASE WHEN :removed THEN coalesce(left_at, :now) ELSE left_at END,
    departure = CASE WHEN :removed THEN coalesce(departure, 'manual') ELSE departure END
WHERE contact_id = :gone_id AND campaign_id = :campaign_id;

-- name: drop_membership
DELETE FROM membership WHERE contact_id = :gone_id AND campaign_id = :campaign_id;

-- name: join_memberships
-- Who was out, and takes over a run that goes on, is in again, since that began. Both were counted as added.
UPDATE membership
SET rotation = membership.rotation + :rotation, runs = true, entries = membership.entries + :entries,
    added_at = CASE WHEN left_at IS NOT NULL AND going.n > 0 THEN going.began_at ELSE added_at END,
    manual = CASE WHEN left_at IS NOT NULL AND going.n > 0 THEN going.manual ELSE membership.manual AND going.manual END,
    left_entry = CASE WHEN going.n > 0 THEN NULL ELSE left_entry END,
    reason = CASE WHEN going.n > 0 THEN NULL ELSE reason END,
    departure = CASE WHEN going.n > 0 THEN NULL ELSE departure END,
    left_at = CASE WHEN going.n > 0 THEN NULL ELSE left_at END
FROM (
    SELECT count(*) AS n, min(began_at) AS began_at, coalesce(bool_and(manual), true) AS manual FROM run
    WHERE contact_id = :into_id AND campaign_id = :campaign_id AND run.left_at IS NULL
) AS going
WHERE membership.contact_id = :into_id AND membership.campaign_id = :campaign_id
RETURNING CAST(membership.left_at IS NULL AS int);

-- name: cancel_waits
-- Who is in a campaign already goes on there; what the other one waited for there ends.
DELETE FROM wait
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]))
  AND (SELECT true FROM membership
       WHERE membership.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), wait.contact_id)]
         AND membership.campaign_id = wait.campaign_id
       LIMIT 1) IS NOT NULL
RETURNING contact_id, step_id, rotation, passage, nullif(due_at, 'infinity') AS due_at;

-- name: count_left
-- A membership that goes was counted when it began.
WITH doubled AS (
    SELECT gone.campaign_id, gone.left_at IS NULL AS active
    FROM membership AS gone
    WHERE gone.contact_id = ANY (CAST(:gone_ids AS bigint[]))
      AND (SELECT true FROM membership AS own
           WHERE own.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), gone.contact_id)]
             AND own.campaign_id = gone.campaign_id
           LIMIT 1) IS NOT NULL
), counted AS (
    INSERT INTO campaign_count (campaign_id, day, what, slot, n)
    SELECT campaign_id, (CAST(:now AS timestamptz) AT TIME ZONE 'UTC')::date, 'left', (SELECT counter_slot()), count(*)
    FROM doubled
    WHERE active
    GROUP BY campaign_id
    ORDER BY campaign_id
    ON CONFLICT (campaign_id, day, what, slot) DO UPDATE SET n = campaign_count.n + excluded.n
)
SELECT count(*) FROM doubled;

-- name: drop_outcomes
-- Of a step that the survivor has any outcome of, the other's outcomes go, and what counted them.
WITH dropped AS (
    DELETE FROM outcome
    WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]))
      AND (SELECT true FROM outcome AS own
           WHERE own.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), outcome.contact_id)]
             AND own.step_id = outcome.step_id
           LIMIT 1) IS NOT NULL
    RETURNING outcome.step_id, (outcome.at AT TIME ZONE 'UTC')::date AS day, outcome.result
)
INSERT INTO step_count (step_id, day, result, slot, n)
SELECT step_id, day, result, (SELECT counter_slot()), -count(*)
FROM dropped
GROUP BY step_id, day, result
ORDER BY step_id, day, result
ON CONFLICT (step_id, day, result, slot) DO UPDATE SET n = step_count.n + excluded.n;

-- name: drop_trials
-- In a campaign that both are in, the survivor is counted, and the other no more.
WITH dropped AS (
    DELETE FROM trial
    WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]))
      AND (SELECT true FROM membership
           WHERE membership.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), trial.contact_id)]
             AND membership.campaign_id = trial.campaign_id
           LIMIT 1) IS NOT NULL
    RETURNING campaign_id, parts, control, reached_at, value
)
INSERT INTO trial_count (campaign_id, part, slot, entered, reached, value)
SELECT campaign_id, part, (SELECT counter_slot()), -count(*), -count(reached_at), -coalesce(sum(value), 0)
FROM dropped
CROSS JOIN LATERAL unnest(array_append(parts, CASE WHEN control THEN 'control' ELSE 'treated' END)) AS part
GROUP BY campaign_id, part
ORDER BY campaign_id, part
ON CONFLICT (campaign_id, part, slot) DO UPDATE
SET entered = trial_count.entered + excluded.entered, reached = trial_count.reached + excluded.reached,
    value = trial_count.value + excluded.value;

-- name: passages_to_move
-- By how much to lower the passages of a contact that goes, so that they end up below zero, where nobody
-- will ever be, and below those of whoever the survivor was merged with before.
SELECT pair.gone_id, gone.highest + 1 - least(coalesce(own.lowest, 0), 0) AS by
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
CROSS JOIN LATERAL (SELECT max(passage) AS highest FROM outcome WHERE contact_id = pair.gone_id) AS gone
CROSS JOIN LATERAL (SELECT min(passage) AS lowest FROM outcome WHERE contact_id = pair.into_id) AS own
WHERE gone.highest IS NOT NULL;

-- name: renumber
-- In campaigns that both are in, the survivor may still reach the steps that the other one passed.
UPDATE outcome
SET passage = passage - (CAST(:bys AS int[]))[array_position(CAST(:gone_ids AS bigint[]), contact_id)]
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]))
  AND (SELECT true FROM membership
       WHERE membership.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), outcome.contact_id)]
         AND membership.campaign_id = (SELECT campaign_id FROM step WHERE step.id = outcome.step_id)
       LIMIT 1) IS NOT NULL;

-- name: withdraw_messages
-- What a step has to tell both, the survivor is told once; what is on its way already counts as told. States are
-- compared as texts, which message_lane_idx does not serve: all that waits to leave would be read.
UPDATE message
SET state = 'cancelled', error = 'the contact was merged with another, who gets the message of this step'
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]) || CAST(:into_ids AS bigint[]))
  AND (state::text = 'queued' OR state::text = 'sending' AND due_at <= :now)
  AND channel <> 'webhook' AND NOT (channel = 'email' AND address IS NULL)
  AND (SELECT true FROM message AS other
       WHERE other.contact_id
             = (CAST(:into_ids AS bigint[]) || CAST(:gone_ids AS bigint[]))
               [array_position(CAST(:gone_ids AS bigint[]) || CAST(:into_ids AS bigint[]), message.contact_id)]
         AND other.step_id + 0 = message.step_id
         AND (other.state::text = 'sent' OR other.state::text = 'sending' AND other.due_at > :now
              OR other.state::text IN ('queued', 'sending') AND message.contact_id = ANY (CAST(:gone_ids AS bigint[])))
       LIMIT 1) IS NOT NULL;

-- name: drop_graces
DELETE FROM leaving
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]))
  AND (SELECT true FROM membership
       WHERE membership.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), leaving.contact_id)]
         AND membership.campaign_id = leaving.campaign_id
       LIMIT 1) IS NOT NULL;

-- name: merge_segments
-- Who was in the segment as either of the two is in it, unless a person took the survivor out.
UPDATE segment_member
SET active = true, entry = found.entry, manually_added = found.manually_added, changed_at = found.changed_at
FROM (
    SELECT own.place, gone.entry, gone.manually_added, gone.changed_at
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (SELECT * FROM segment_member WHERE contact_id = pair.gone_id OFFSET 0) AS gone
    CROSS JOIN LATERAL (
        SELECT ctid AS place, active, manually_removed FROM segment_member
        WHERE contact_id = pair.into_id AND segment_id = gone.segment_id LIMIT 1
    ) AS own
    WHERE gone.active AND NOT own.active AND NOT own.manually_removed
) AS found
WHERE segment_member.ctid = found.place;

-- name: merge_refusals
-- The stricter of two refusals: a contact's own word, then a colleague's, then a machine's; the other is kept beneath.
-- One about the contact goes before one about an address, which is with the addresses.
UPDATE do_not_contact
SET reason = found.reason, comment = found.comment, at = found.at, address = found.address, beneath = found.beneath
FROM (
    SELECT own.place,
           CASE WHEN taken THEN gone.reason ELSE own.reason END AS reason,
           CASE WHEN taken THEN gone.comment ELSE own.comment END AS comment,
           CASE WHEN taken THEN gone.at ELSE own.at END AS at,
           CASE WHEN taken THEN gone.address ELSE own.address END AS address,
           CASE WHEN NOT personal THEN gone.beneath
                WHEN taken THEN (own.beneath || gone.beneath || jsonb_build_object(
                                     own.reason, jsonb_build_object('at', own.at, 'comment', own.comment)))
                                - gone.reason
                ELSE (gone.beneath || own.beneath || jsonb_build_object(
                          gone.reason, jsonb_build_object('at', gone.at, 'comment', gone.comment))) - own.reason
                END AS beneath
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (SELECT * FROM do_not_contact WHERE contact_id = pair.gone_id OFFSET 0) AS gone
    CROSS JOIN LATERAL (
        SELECT ctid AS place, reason, comment, at, address, beneath FROM do_not_contact
        WHERE contact_id = pair.into_id AND channel = gone.channel LIMIT 1
    ) AS own
    CROSS JOIN LATERAL (
        SELECT own.address IS NULL AND gone.address IS NULL,
               CASE WHEN (own.address IS NULL) <> (gone.address IS NULL) THEN gone.address IS NULL
                    ELSE array_position(ARRAY['unsubscribed', 'manual', 'bounced'], gone.reason)
                         < array_position(ARRAY['unsubscribed', 'manual', 'bounced'], own.reason) END
    ) AS compared (personal, taken)
    WHERE taken OR personal
) AS found
WHERE do_not_contact.ctid = found.place;

-- name: merge_preferences
-- There is one preferred channel, the survivor's.
UPDATE frequency_rule SET preferred = false
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[])) AND preferred
  AND (SELECT true FROM frequency_rule AS own
       WHERE own.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), frequency_rule.contact_id)]
         AND own.preferred
       LIMIT 1) IS NOT NULL;

-- name: merge_companies
-- There is one primary company, the survivor's.
UPDATE company_member SET is_primary = false
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[])) AND is_primary
  AND (SELECT true FROM company_member AS own
       WHERE own.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), company_member.contact_id)]
         AND own.is_primary
       LIMIT 1) IS NOT NULL;

-- name: take_primary_company
-- Without one it is the other's, also where the survivor is in that company already.
UPDATE company_member SET is_primary = true
FROM (
    SELECT own.place
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (
        SELECT company_id FROM company_member WHERE contact_id = pair.gone_id AND is_primary LIMIT 1
    ) AS gone
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM company_member
        WHERE contact_id = pair.into_id AND company_id = gone.company_id LIMIT 1
    ) AS own
) AS found
WHERE company_member.ctid = found.place;

-- name: add_scores
UPDATE contact_score
SET points = greatest(-2147483647, least(2147483647, contact_score.points::bigint + found.points))
FROM (
    SELECT own.place, gone.points
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (SELECT group_key, points FROM contact_score WHERE contact_id = pair.gone_id OFFSET 0) AS gone
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM contact_score
        WHERE contact_id = pair.into_id AND group_key = gone.group_key LIMIT 1
    ) AS own
) AS found
WHERE contact_score.ctid = found.place;

-- name: drop_older_utm
-- Where either of the two came from last is where the survivor came from last.
DELETE FROM contact_utm
WHERE ctid = ANY (ARRAY(
    SELECT CASE WHEN own.at >= gone.at THEN gone.place ELSE own.place END
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (SELECT ctid AS place, at FROM contact_utm WHERE contact_id = pair.gone_id LIMIT 1) AS gone
    CROSS JOIN LATERAL (SELECT ctid AS place, at FROM contact_utm WHERE contact_id = pair.into_id LIMIT 1) AS own
));

-- name: merge_attributes
-- The survivor's own values win, the other's fill the gaps; a JSON null is a gap. When each was last said
-- goes with it.
UPDATE contact
SET email = coalesce(contact.email, gone.email),
    timezone = coalesce(contact.timezone, gone.timezone),
    stage = coalesce(contact.stage, gone.stage),
    owner = coalesce(contact.owner, gone.owner),
    fields = gone.fields || (SELECT coalesce(jsonb_object_agg(name, value), '{}')
                             FROM jsonb_each(contact.fields) AS own (name, value) WHERE value <> 'null'),
    points = greatest(-2147483648, least(2147483647, contact.points::bigint + gone.points)),
    last_active_at = greatest(contact.last_active_at, gone.last_active_at),
    said_at = gone.said_at || contact.said_at,
    changed_at = :now
FROM (
    SELECT own.place, other.*
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (SELECT * FROM contact WHERE id = pair.gone_id LIMIT 1) AS other
    CROSS JOIN LATERAL (SELECT ctid AS place FROM contact WHERE id = pair.into_id LIMIT 1) AS own
) AS gone
WHERE contact.ctid = gone.place;

-- name: become_alias
-- Who is gone is known by the survivor's name, and so is whoever was merged into them before.
WITH gone AS (
    DELETE FROM contact
    WHERE id = ANY (CAST(:gone_ids AS bigint[]))
    RETURNING key, (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), id)] AS into_id
)
INSERT INTO contact_alias (contact_id, key, merged_at) SELECT into_id, key, :now FROM gone ORDER BY key;

-- name: lead_to
-- Keys that nobody has, or that led to somebody else, lead to contacts from now on.
INSERT INTO contact_alias (contact_id, key, merged_at)
SELECT contact_id, key, :now
FROM unnest(CAST(:keys AS text[]), CAST(:contact_ids AS bigint[])) AS new (key, contact_id)
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.key = new.key)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET contact_id = excluded.contact_id, merged_at = excluded.merged_at;

-- name: aliases
SELECT key, contact_id FROM contact_alias WHERE key = ANY (CAST(:keys AS text[]));

-- name: forget
DELETE FROM contact_alias WHERE key = ANY (CAST(:keys AS text[])) RETURNING key;

-- name: give_way
-- Of a table of which the survivor has at most one row for each value of some columns: theirs stays.
DELETE FROM {table}
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]))
  AND (SELECT true FROM {table} AS own
       WHERE own.contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]),
                                                                           {table}.contact_id)]
         AND ({own}) IS NOT DISTINCT FROM ({others})
       LIMIT 1) IS NOT NULL;

-- name: move
UPDATE {table}
SET contact_id = (CAST(:into_ids AS bigint[]))[array_position(CAST(:gone_ids AS bigint[]), {table}.contact_id)]
WHERE contact_id = ANY (CAST(:gone_ids AS bigint[]));
