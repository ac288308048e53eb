-- name: find
SELECT id, key, name, public, published FROM segment WHERE key = :key;

-- name: create
INSERT INTO segment (key, name, public, published)
VALUES (:key, coalesce(:name, :key), coalesce(CAST(:public AS boolean), true),
        coalesce(CAST(:published AS boolean), true))
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: change
-- What is null stays as it is.
UPDATE segment
SET name = coalesce(:name, name), public = coalesce(:public, public), published = coalesce(:published, published)
WHERE key = :key
  AND (name, public, published)
      IS DISTINCT FROM (coalesce(:name, name), coalesce(:public, public), coalesce(:published, published))
RETURNING id;

-- name: make_goal
-- The segment of those of whom the rule of a campaign's goal is true.
INSERT INTO segment (key, name, public, published, goal_of) VALUES (:key, :key, false, true, :campaign_id)
ON CONFLICT (goal_of) DO NOTHING;

-- name: goal_of
SELECT key FROM segment WHERE goal_of = :campaign_id;

-- name: users
-- The campaigns that a segment is a source of, deleted ones included.
SELECT campaign.key
FROM campaign_source
JOIN campaign ON campaign.id = campaign_source.campaign_id
WHERE campaign_source.kind = 'segment' AND campaign_source.source_id = :segment_id
ORDER BY campaign.key;

-- name: listed
-- Members are counted from segment_member_active_idx alone, of each segment at most so many (null: all), and only of
-- some segments (null: of each).
SELECT segment.key, segment.name, segment.public, segment.published, member.n AS members,
       ARRAY(SELECT campaign.key
             FROM campaign_source
             JOIN campaign ON campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NULL
             WHERE campaign_source.kind = 'segment' AND campaign_source.source_id = segment.id
             ORDER BY campaign.key) AS campaigns,
       segment.rule IS NOT NULL AS by_rule
FROM (
    SELECT * FROM segment
    WHERE (CAST(:key AS text) IS NULL OR key = CAST(:key AS text))
      AND (CAST(:pattern AS text) IS NULL OR name ILIKE CAST(:pattern AS text) OR key ILIKE CAST(:pattern AS text))
    ORDER BY key LIMIT CAST(:limit AS bigint) OFFSET CAST(:offset AS bigint)
) AS segment
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT FROM segment_member
        WHERE segment_id = segment.id AND active
          AND (CAST(:counted AS text[]) IS NULL OR segment.key = ANY (CAST(:counted AS text[])))
        LIMIT CAST(:most AS bigint)
    ) AS counted
) AS member
WHERE segment.goal_of IS NULL
ORDER BY segment.key;

-- name: forget_members
DELETE FROM segment_member WHERE segment_id = :segment_id;

-- name: forget_sources
DELETE FROM campaign_source
USING campaign
WHERE campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NOT NULL
  AND campaign_source.kind = 'segment' AND campaign_source.source_id = :segment_id;

-- name: delete
DELETE FROM segment WHERE id = :segment_id;

-- name: add_members
-- Only who was not active comes back from the statement, and only they get a new entry. The rows
-- are taken in contact order, so that two batches with common contacts wait for each other rather
-- than deadlock; the second then finds the row active, and returns nobody twice.
-- Whom a person removed comes back only by a person. The sub-select is not a join on purpose: it is one
-- probe of the primary key a contact, also while a bulk load has left the statistics behind; the
-- planner's choice then read the whole table for each batch. Without it, the conflicts would lock,
-- that is write, every row that is active already. Contacts are held as a foreign key would hold them: nobody
-- is erased or merged between being found and becoming a member, which would then be one of nobody. Who is
-- gone is left out.
WITH wanted AS MATERIALIZED (
    SELECT contact.id AS contact_id
    FROM contact
    WHERE contact.id = ANY (CAST(:contact_ids AS bigint[]))
      AND (SELECT already.active
           FROM segment_member AS already
           WHERE already.contact_id = contact.id AND already.segment_id = :segment_id) IS NOT TRUE
    ORDER BY contact.id
    FOR KEY SHARE OF contact
)
INSERT INTO segment_member (contact_id, segment_id, manually_added, manually_removed, active, entry, changed_at)
SELECT wanted.contact_id, :segment_id, :manual, false, true, nextval('segment_entry'), :now
FROM wanted
ORDER BY wanted.contact_id
ON CONFLICT (contact_id, segment_id) DO UPDATE
SET active = true,
    manually_added = excluded.manually_added,
    manually_removed = false,
    entry = excluded.entry,
    changed_at = excluded.changed_at
WHERE NOT segment_member.active AND (excluded.manually_added OR NOT segment_member.manually_removed)
RETURNING contact_id;

-- name: keep_members
-- Who is a member already, and is now also added by a person, stays when the segment's rule no
-- longer holds. Not an entry.
WITH kept AS (
    SELECT contact_id
    FROM segment_member
    WHERE contact_id = ANY(CAST(:contact_ids AS bigint[])) AND segment_id = :segment_id
      AND active AND NOT manually_added
    ORDER BY contact_id
    FOR UPDATE
)
UPDATE segment_member
SET manually_added = true, changed_at = :now
WHERE contact_id = ANY (ARRAY(SELECT contact_id FROM kept)) AND segment_id = :segment_id;

-- name: remove_members
-- A removal by a person also marks who had left already, so that no rule brings them back; it does
-- nothing to those who never were in. A removal by a rule leaves whom a person added.
WITH leaving AS (
    SELECT contact_id, active
    FROM segment_member
    WHERE contact_id = ANY(CAST(:contact_ids AS bigint[])) AND segment_id = :segment_id
      AND CASE WHEN :manual THEN active OR NOT manually_removed ELSE active AND NOT manually_added END
    ORDER BY contact_id
    FOR UPDATE
), removed AS (
    UPDATE segment_member
    SET active = false,
        manually_removed = :manual,
        manually_added = false,
        changed_at = :now
    WHERE contact_id = ANY (ARRAY(SELECT contact_id FROM leaving)) AND segment_id = :segment_id
)
SELECT contact_id FROM leaving WHERE active ORDER BY contact_id;

-- name: titles
SELECT key, name FROM segment
WHERE goal_of IS NULL AND (NOT CAST(:sources AS boolean) OR (public AND published))
ORDER BY key;

-- name: names
SELECT key, name FROM segment WHERE key = ANY (CAST(:keys AS text[]));
