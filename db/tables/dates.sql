-- name: sources
-- By which dates contacts enter, of campaigns that are there.
SELECT date_source.id, date_source.campaign_id, date_source.rule, date_source.version, date_source.since
FROM date_source
WHERE date_source.removed_at IS NULL
  AND (CAST(:campaign_id AS int) IS NULL OR date_source.campaign_id = CAST(:campaign_id AS int))
ORDER BY date_source.id;

-- name: save_source
-- Returns a row only where the source is new, comes back, or has another rule.
INSERT INTO date_source (campaign_id, name, field, rule)
VALUES (:campaign_id, :name, :field, CAST(:rule AS jsonb))
ON CONFLICT (campaign_id, name) DO UPDATE
SET rule = excluded.rule, version = date_source.version + 1, removed_at = NULL,
    since = CASE WHEN date_source.removed_at IS NULL THEN date_source.since END
WHERE date_source.rule <> excluded.rule OR date_source.removed_at IS NOT NULL
RETURNING id;

-- name: remove_sources
UPDATE date_source SET removed_at = :now
WHERE campaign_id = :campaign_id AND removed_at IS NULL AND NOT name = ANY (CAST(:names AS text[]))
RETURNING id;

-- name: begin
-- A campaign runs, or is to: who is due before that does not enter.
UPDATE date_source SET since = :start WHERE campaign_id = :campaign_id AND (since IS NULL OR since > :now);

-- name: add_builds
-- What was still to be written of the same sources is written by the new rule.
WITH old AS (
    DELETE FROM date_build WHERE source_id = ANY (CAST(:source_ids AS int[]))
)
INSERT INTO date_build (source_id, first_id, last_id, at)
SELECT source.id, first_id, first_id + CAST(:width AS int) - 1, :now
FROM unnest(CAST(:source_ids AS int[])) AS source (id)
CROSS JOIN generate_series(CAST(1 AS bigint), (SELECT max(id) FROM contact), CAST(:width AS int)) AS first_id;

-- name: take_build
-- A range leaves the table with the work that it stands for: a crash gives it back. None while somebody is at work
-- who began before the source was there.
WITH next AS (
    SELECT source_id, first_id FROM date_build
    WHERE begun < pg_snapshot_xmin(pg_current_snapshot())
       OR NOT EXISTS (SELECT FROM pg_stat_activity
                      WHERE datname = current_database() AND age(backend_xid) > age(CAST(begun AS xid)))
    ORDER BY source_id, first_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM date_build USING next
    WHERE date_build.source_id = next.source_id AND date_build.first_id = next.first_id
    RETURNING date_build.source_id, date_build.first_id, date_build.last_id, date_build.at
)
SELECT taken.*, date_source.campaign_id, date_source.rule, date_source.version, date_source.since,
       date_source.removed_at IS NOT NULL AS removed
FROM taken JOIN date_source ON date_source.id = taken.source_id;

-- name: first_build
-- Since when a range waits.
SELECT at FROM date_build ORDER BY source_id, first_id LIMIT 1;

-- name: values_in
-- The dates of contacts in a range, and what is written of them.
SELECT contact.id AS contact_id, contact.timezone, contact.fields -> CAST(:field AS text) AS value,
       nullif(date_entry.due_at, 'infinity') AS due_at, date_entry.turn, date_entry.contact_id IS NOT NULL AS written
FROM contact
LEFT JOIN LATERAL (
    SELECT * FROM date_entry
    WHERE date_entry.contact_id = contact.id AND date_entry.source_id = :source_id LIMIT 1
) AS date_entry ON true
WHERE contact.id BETWEEN :first_id AND :last_id
  AND (date_entry.contact_id IS NOT NULL OR jsonb_exists(contact.fields, CAST(:field AS text)));

-- name: drop_in
-- Of a source that is removed: who entered stays known.
WITH gone AS (
    DELETE FROM date_entry
    WHERE contact_id BETWEEN :first_id AND :last_id AND source_id + 0 = :source_id AND turn IS NULL
)
UPDATE date_entry SET due_at = 'infinity'
WHERE contact_id BETWEEN :first_id AND :last_id AND source_id + 0 = :source_id AND turn IS NOT NULL;

-- name: take_noted
-- A bounded number of contacts whose dates changed, each with its lock; who is in other hands has a turn later. The
-- notes go with what follows: a crash gives them back. `age`: for how many seconds the oldest note has been there.
WITH noted AS MATERIALIZED (
    SELECT contact_id, max(extract(epoch FROM clock_timestamp() - at))::float8 AS age
    FROM (SELECT * FROM redated
          WHERE CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[]))
          ORDER BY contact_id LIMIT :limit) AS oldest
    GROUP BY contact_id
), free AS MATERIALIZED (
    SELECT id, timezone, fields FROM contact
    WHERE id = ANY (ARRAY(SELECT contact_id FROM noted))
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    -- A note of nobody would be looked at for ever.
    DELETE FROM redated
    WHERE contact_id = ANY (ARRAY(
        SELECT id FROM free
        UNION ALL
        SELECT contact_id FROM noted
        WHERE (SELECT true FROM contact WHERE contact.id = noted.contact_id) IS NULL
    ))
)
SELECT free.id, free.timezone, free.fields, (SELECT age FROM noted WHERE noted.contact_id = free.id) AS age FROM free;

-- name: first_to_follow
-- Served by redated_contact_idx and rezoned_contact_idx.
SELECT coalesce((SELECT contact_id FROM rezoned ORDER BY contact_id LIMIT 1),
                (SELECT contact_id FROM redated ORDER BY contact_id LIMIT 1));

-- name: note
INSERT INTO redated (contact_id) SELECT unnest(CAST(:ids AS bigint[]));

-- name: entries
-- What is written of contacts, by the primary key.
SELECT contact_id, source_id, nullif(due_at, 'infinity') AS due_at, turn FROM date_entry
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND source_id + 0 = ANY (CAST(:source_ids AS int[]));

-- name: write
-- In the order of ids. By an older rule nothing is written over what a newer one says; and who writes a range
-- writes over older rules only: whoever looked at a contact since then knows its date better.
INSERT INTO date_entry (contact_id, source_id, due_at, turn, version)
SELECT contact_id, :source_id, coalesce(due_at, 'infinity'), turn, :version
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:due AS timestamptz[]), CAST(:turns AS text[]))
     AS new (contact_id, due_at, turn)
ORDER BY contact_id
ON CONFLICT (contact_id, source_id) DO UPDATE
SET due_at = excluded.due_at, turn = coalesce(excluded.turn, date_entry.turn), version = excluded.version
WHERE date_entry.version <= excluded.version
-- when range: WHERE date_entry.version < excluded.version

-- name: lock_due
-- Contacts who are due to enter, the first ones first, with their locks; who is in other hands is skipped. Served by
-- date_entry_due_idx, read no further than the limit; in a range of ids, by the primary key.
SELECT locked.id
FROM (
    SELECT contact_id, due_at FROM date_entry
    WHERE source_id = :source_id AND due_at <= :now
    -- when range: WHERE source_id + 0 = :source_id AND due_at + interval '0' <= :now AND contact_id BETWEEN :first_id AND :last_id
      AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
      AND (CAST(:min_id AS bigint) IS NULL OR contact_id >= CAST(:min_id AS bigint))
      AND (CAST(:max_id AS bigint) IS NULL OR contact_id <= CAST(:max_id AS bigint))
      AND (CAST(:threads AS int) IS NULL
           OR (contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
    ORDER BY due_at
    -- when range: ORDER BY contact_id
    OFFSET 0
) AS due
CROSS JOIN LATERAL (
    SELECT id FROM contact WHERE contact.id = due.contact_id FOR NO KEY UPDATE SKIP LOCKED
) AS locked
LIMIT :limit;

-- name: due
-- What is written of contacts, whose locks the caller holds, and their dates: somebody may have been before us.
SELECT contact.id AS contact_id, contact.timezone, contact.fields -> CAST(:field AS text) AS value,
       nullif(date_entry.due_at, 'infinity') AS due_at, date_entry.turn, true AS written
FROM unnest(CAST(:ids AS bigint[])) AS locked (id)
CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.id = locked.id LIMIT 1) AS contact
CROSS JOIN LATERAL (
    SELECT * FROM date_entry
    WHERE date_entry.contact_id = locked.id AND date_entry.source_id + 0 = :source_id LIMIT 1
) AS date_entry
WHERE date_entry.due_at <= :now
ORDER BY contact.id;

-- name: of_nobody
DELETE FROM date_entry
WHERE source_id = :source_id AND due_at <= :now
  AND (SELECT true FROM contact WHERE contact.id = date_entry.contact_id) IS NULL;

-- name: due_campaigns
-- Of campaigns that run: what falls due in the others waits. One probe of date_entry_due_idx a source, however many
-- wait.
SELECT date_source.campaign_id, min(first.due_at) AS due_at
FROM date_source
JOIN campaign ON campaign.id = date_source.campaign_id
LEFT JOIN category ON category.id = campaign.category_id
CROSS JOIN LATERAL (
    SELECT date_entry.due_at FROM date_entry
    WHERE date_entry.source_id = date_source.id AND date_entry.due_at <= :now
    ORDER BY date_entry.due_at
    LIMIT 1
) AS first
WHERE date_source.removed_at IS NULL AND campaign.published AND campaign.deleted_at IS NULL
  AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
  AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
  AND coalesce(category.published, true)
GROUP BY date_source.campaign_id
ORDER BY 2;

-- name: due_range
SELECT min(date_entry.contact_id) AS first_id, max(date_entry.contact_id) AS last_id
FROM date_source
CROSS JOIN LATERAL (
    SELECT contact_id FROM date_entry WHERE date_entry.source_id = date_source.id AND date_entry.due_at <= :now
) AS date_entry
WHERE date_source.campaign_id = :campaign_id AND date_source.removed_at IS NULL;

-- name: due_chunks
SELECT DISTINCT (date_entry.contact_id - :first_id) / :width AS number
FROM date_source
CROSS JOIN LATERAL (
    SELECT contact_id FROM date_entry WHERE date_entry.source_id = date_source.id AND date_entry.due_at <= :now
) AS date_entry
WHERE date_source.campaign_id = :campaign_id AND date_source.removed_at IS NULL
  AND date_entry.contact_id BETWEEN :first_id AND :last_id
ORDER BY number;

-- name: of_contact
SELECT date_source.rule, nullif(date_entry.due_at, 'infinity') AS due_at, date_entry.turn,
       contact.fields -> date_source.field AS value,
       EXISTS (SELECT FROM date_build WHERE date_build.source_id = date_source.id
                 AND :contact_id BETWEEN date_build.first_id AND date_build.last_id)
       OR EXISTS (SELECT FROM redated WHERE redated.contact_id = :contact_id) AS pending
FROM date_source
JOIN contact ON contact.id = :contact_id
LEFT JOIN date_entry ON date_entry.source_id = date_source.id AND date_entry.contact_id = contact.id
WHERE date_source.campaign_id = :campaign_id AND date_source.removed_at IS NULL
ORDER BY date_source.id;

-- name: values
SELECT contact.fields -> CAST(:field AS text) AS value, contact.timezone, count(*) AS n
FROM contact
WHERE jsonb_exists(contact.fields, CAST(:field AS text))
GROUP BY value, contact.timezone;

-- name: save_step
UPDATE step SET date_field = :field WHERE id = :step_id;

-- name: merge_turns
-- Whoever of the two entered in a turn, the survivor does not enter in it again.
UPDATE date_entry SET turn = found.turn
FROM (
    SELECT own.place, gone.turn
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    CROSS JOIN LATERAL (SELECT source_id, turn FROM date_entry WHERE contact_id = pair.gone_id OFFSET 0) AS gone
    CROSS JOIN LATERAL (
        SELECT ctid AS place, turn FROM date_entry
        WHERE contact_id = pair.into_id AND source_id + 0 = gone.source_id LIMIT 1
    ) AS own
    WHERE gone.turn > coalesce(own.turn, '')
) AS found
WHERE date_entry.ctid = found.place;
