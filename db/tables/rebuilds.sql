-- name: stop
-- Waits for who is at work in a part.
DELETE FROM rebuild WHERE segment_id = ANY (CAST(:segment_ids AS int[]));

-- name: ask
-- One that is asked for already goes on.
WITH asked AS (
    INSERT INTO rebuild (segment_id, asked_at)
    SELECT segment_id, :now FROM unnest(CAST(:segment_ids AS int[])) AS wanted (segment_id) ORDER BY segment_id
    ON CONFLICT (segment_id) DO NOTHING
    RETURNING segment_id
)
INSERT INTO rebuild_chunk (segment_id, first_id, last_id)
SELECT asked.segment_id, part.first_id, least(part.first_id + whole.width - 1, whole.highest)
FROM asked
CROSS JOIN (
    SELECT min(id) AS lowest, max(id) AS highest, greatest(CAST(:width AS bigint), (max(id) - min(id)) / :most) AS width
    FROM contact
) AS whole
CROSS JOIN LATERAL generate_series(whole.lowest, whole.highest, whole.width) AS part (first_id)
WHERE whole.lowest IS NOT NULL;

-- name: settle
-- Whoever began before this does not know of it; it begins once they are all over.
UPDATE rebuild SET after = pg_snapshot_xmax(pg_current_snapshot()) WHERE after IS NULL;

-- name: is_settled
SELECT NOT EXISTS (SELECT FROM rebuild WHERE after IS NULL);

-- name: take
-- What was filled comes first: then nobody waits long for their campaigns.
SELECT rebuild_chunk.segment_id, rebuild_chunk.first_id, rebuild_chunk.last_id, rebuild_chunk.filled
FROM rebuild_chunk JOIN rebuild ON rebuild.segment_id = rebuild_chunk.segment_id
WHERE rebuild.after <= pg_snapshot_xmin(pg_current_snapshot())
  AND rebuild_chunk.segment_id = ANY (CAST(:segment_ids AS int[]))
ORDER BY rebuild_chunk.filled DESC, rebuild_chunk.segment_id, rebuild_chunk.first_id
LIMIT 1
FOR UPDATE OF rebuild_chunk SKIP LOCKED;

-- name: fill
UPDATE rebuild_chunk SET filled = true WHERE segment_id = :segment_id AND first_id = :first_id;

-- name: finish_chunk
DELETE FROM rebuild_chunk WHERE segment_id = :segment_id AND first_id = :first_id;

-- name: finish
DELETE FROM rebuild
WHERE segment_id = ANY (CAST(:segment_ids AS int[])) AND after IS NOT NULL
  AND NOT EXISTS (SELECT FROM rebuild_chunk WHERE rebuild_chunk.segment_id = rebuild.segment_id)
RETURNING segment_id, asked_at;

-- name: left
SELECT rebuild.segment_id, rebuild.asked_at, count(rebuild_chunk.first_id) AS chunks
FROM rebuild LEFT JOIN rebuild_chunk ON rebuild_chunk.segment_id = rebuild.segment_id
WHERE rebuild.segment_id = ANY (CAST(:segment_ids AS int[]))
GROUP BY rebuild.segment_id
ORDER BY rebuild.segment_id;

-- name: drop_due
DELETE FROM segment_due
WHERE segment_id = :segment_id AND contact_id BETWEEN :first_id AND :last_id
  AND NOT (contact_id = ANY (CAST(:keep AS bigint[])));

-- name: ids
SELECT id FROM contact WHERE id BETWEEN :first_id AND :last_id ORDER BY id;

-- name: members
-- Who is, or was, in a segment by rule, and what was done by hand.
SELECT contact_id, segment_id, active, manually_added, manually_removed FROM segment_member
WHERE segment_id = :segment_id AND contact_id BETWEEN :first_id AND :last_id;

-- name: would_join
-- Of contacts who come into a segment: how many a campaign that it feeds has never seen, and how many left it by
-- themselves and may come back. One probe a contact.
SELECT count(*) FILTER (WHERE member.contact_id IS NULL) AS fresh,
       count(*) FILTER (WHERE member.departure IN ('segment', 'action')) AS back
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
LEFT JOIN LATERAL (
    SELECT contact_id, departure FROM membership
    WHERE membership.contact_id = wanted.id AND membership.campaign_id = :campaign_id
    LIMIT 1
) AS member ON true;

-- name: would_leave
-- Of contacts who go out of a segment: how many are in the campaign through it alone.
SELECT count(*) AS n
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT FROM membership
    WHERE membership.contact_id = wanted.id AND membership.campaign_id = :campaign_id
      AND membership.left_at IS NULL AND NOT membership.manual
    LIMIT 1
) AS member
WHERE (SELECT true FROM segment_member
       WHERE segment_member.contact_id = wanted.id AND segment_member.active
         AND segment_member.segment_id = ANY (CAST(:others AS int[]))
       LIMIT 1) IS NULL;

-- name: id_range
SELECT min(id), max(id) FROM contact;

-- name: contacts_in
SELECT count(*) FROM contact WHERE id BETWEEN :first_id AND :last_id;
