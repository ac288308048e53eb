-- name: coming
-- Of a bounded number of entries of segment_member_active_idx: whose contact was never in the campaign, and whose left
-- it and may come back. One probe a contact, as in `orphans` (membership.sql).
WITH looked AS MATERIALIZED (
    SELECT contact_id, entry FROM segment_member
    WHERE active AND segment_id = ANY (CAST(:published_ids AS int[]))
    LIMIT :most
), present AS (
    SELECT contact_id, max(entry) AS entry FROM looked GROUP BY contact_id
)
SELECT count(*) FILTER (WHERE member.contact_id IS NULL AND present.entry > coalesce(CAST(:after AS bigint), 0)
                        AND NOT present.held) AS joins,
       count(*) FILTER (WHERE member.departure IN ('segment', 'action', 'exit') AND NOT present.held
                        AND (member.departure = 'segment' OR present.entry > coalesce(member.left_entry, 0))
                        AND member.left_at <= :left_before AND :returning) AS returns,
       (SELECT count(*) FROM looked) AS looked
FROM (
    SELECT contact_id, entry,
           cardinality(CAST(:exit_ids AS int[])) > 0
           AND (SELECT true FROM segment_member AS other
                WHERE other.contact_id = present.contact_id AND other.active
                  AND other.segment_id = ANY (CAST(:exit_ids AS int[]))
                LIMIT 1) IS NOT NULL AS held
    FROM present
) AS present
LEFT JOIN LATERAL (
    SELECT contact_id, departure, left_at, left_entry FROM membership
    WHERE membership.contact_id = present.contact_id AND membership.campaign_id = :campaign_id
    LIMIT 1
) AS member ON true;

-- name: going
-- Of a bounded number of members: who is in a segment that is an exit, and who else came through a segment and is in
-- none of these.
WITH looked AS MATERIALIZED (
    SELECT contact_id, manual, arrival FROM membership
    WHERE campaign_id = :campaign_id AND departure IS NULL
    LIMIT :most
), asked AS (
    SELECT manual,
           arrival <> 'manual' AND cardinality(CAST(:exit_ids AS int[])) > 0
           AND (SELECT true FROM segment_member
                WHERE segment_member.contact_id = looked.contact_id AND segment_member.active
                  AND segment_member.segment_id = ANY (CAST(:exit_ids AS int[]))
                LIMIT 1) IS NOT NULL AS out,
           NOT manual
           AND (SELECT true FROM segment_member
                WHERE segment_member.contact_id = looked.contact_id AND segment_member.active
                  AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
                LIMIT 1) IS NULL AS nowhere
    FROM looked
)
SELECT count(*) FILTER (WHERE nowhere AND NOT out) AS leaves, count(*) FILTER (WHERE out) AS exits,
       (SELECT count(*) FROM looked) AS looked
FROM asked;

-- name: staying
-- Of a bounded number of members in their grace period: whom none of the present sources holds, and one of these does.
WITH looked AS MATERIALIZED (
    SELECT contact_id FROM leaving WHERE campaign_id = :campaign_id LIMIT :most
)
SELECT count(*) AS stays, (SELECT count(*) FROM looked) AS looked
FROM looked
CROSS JOIN LATERAL (
    SELECT FROM membership
    WHERE membership.contact_id = looked.contact_id AND membership.campaign_id = :campaign_id
      AND left_at IS NULL AND NOT manual
    LIMIT 1
) AS member
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(segment_id = ANY (CAST(:segment_ids AS int[]))), false) AS fed,
           coalesce(bool_or(segment_id = ANY (CAST(:exit_ids AS int[]))), false) AS out,
           coalesce(bool_or(EXISTS (SELECT FROM campaign_source
                                    WHERE campaign_id = :campaign_id AND kind = 'segment'
                                      AND source_id = segment_member.segment_id)), false) AS held
    FROM segment_member
    WHERE segment_member.contact_id = looked.contact_id AND active
) AS inside
WHERE inside.fed AND NOT inside.out AND NOT inside.held;

-- name: entries_after
SELECT entries_after FROM campaign WHERE id = :campaign_id;

-- name: in_grace
-- Who is out waits for the end of a cooldown.
SELECT count(*)
FROM (SELECT contact_id FROM leaving WHERE campaign_id = :campaign_id LIMIT :most) AS waiting
CROSS JOIN LATERAL (
    SELECT FROM membership
    WHERE membership.contact_id = waiting.contact_id AND membership.campaign_id = :campaign_id AND left_at IS NULL
    LIMIT 1
) AS member;

-- name: held_back
SELECT count(*) FROM (SELECT FROM entrant WHERE campaign_id = :campaign_id LIMIT :most) AS waiting;

-- name: category_is_on
SELECT published FROM category WHERE key = :key;
