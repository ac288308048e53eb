-- name: take
-- A row for each campaign that changed lately, or does not run: mostly few.
DELETE FROM realign
WHERE campaign_id = ANY (ARRAY(
    SELECT realign.campaign_id
    FROM realign
    JOIN campaign ON campaign.id = realign.campaign_id
    LEFT JOIN category ON category.id = campaign.category_id
    WHERE campaign.published AND campaign.deleted_at IS NULL
      AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
      AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
      AND coalesce(category.published, true)
    FOR UPDATE OF realign SKIP LOCKED
))
RETURNING campaign_id;

-- name: drop
DELETE FROM realign
WHERE campaign_id = ANY (ARRAY(
    SELECT campaign_id FROM realign WHERE campaign_id = ANY (CAST(:ids AS int[])) FOR UPDATE SKIP LOCKED
));
