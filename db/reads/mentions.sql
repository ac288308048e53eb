-- name: mentions
-- What has a text that is the key; whether it means what has this key, its reader knows. Keys are given as both
-- ways in which JSON writes them. Campaigns that are fed by it are among them whatever their definition says.
SELECT 'campaign' AS kind, campaign.id, campaign.key, campaign.name, NULL AS owner, NULL AS content
FROM campaign
JOIN campaign_version AS version ON version.campaign_id = campaign.id AND version.version = campaign.version
WHERE campaign.deleted_at IS NULL
  AND (campaign.id = ANY (CAST(:fed AS int[]))
       OR strpos(version.definition::text, :plain) > 0 OR strpos(version.definition::text, :escaped) > 0)
UNION ALL
SELECT 'draft', draft.id, coalesce(campaign.key, ''),
       coalesce(nullif(snapshot.file ->> 'name', ''), campaign.name, snapshot.file ->> 'campaign', ''), draft.owner,
       snapshot.file::text
FROM draft
JOIN draft_snapshot AS snapshot ON snapshot.draft_id = draft.id AND snapshot.n = draft.pointer
LEFT JOIN campaign ON campaign.id = draft.campaign_id
WHERE strpos(snapshot.file::text, :plain) > 0 OR strpos(snapshot.file::text, :escaped) > 0
UNION ALL
SELECT 'segment', segment.id, segment.key, segment.name, NULL, segment.rule::text
FROM segment
WHERE segment.goal_of IS NULL
  AND (strpos(segment.rule::text, :plain) > 0 OR strpos(segment.rule::text, :escaped) > 0)
UNION ALL
SELECT 'message', 0, template.key, coalesce(nullif(template.name, ''), template.key), NULL, NULL
FROM template WHERE kind = 'message' AND content ->> 'email' = :key
ORDER BY kind, key, id;

-- name: is_waiting
-- Whether a message with it is still to be sent: of those that are, by the channel in their index.
SELECT EXISTS (
    SELECT FROM message
    WHERE state IN ('queued', 'sending') AND channel = 'email' AND template = :key
);
