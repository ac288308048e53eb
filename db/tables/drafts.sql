-- name: create
INSERT INTO draft (campaign_id, owner, base_version, created_at, changed_at)
VALUES (:campaign_id, :owner, :base_version, :now, :now)
ON CONFLICT (campaign_id, owner) WHERE campaign_id IS NOT NULL DO NOTHING
RETURNING id;

-- name: of_campaign
SELECT id FROM draft WHERE campaign_id = :campaign_id AND owner = :owner;

-- name: read
SELECT draft.id, draft.campaign_id, draft.owner, draft.base_version, draft.revision, draft.pointer, draft.changed_at,
       snapshot.file,
       EXISTS (SELECT FROM draft_snapshot WHERE draft_id = draft.id AND n = draft.pointer - 1) AS undo,
       EXISTS (SELECT FROM draft_snapshot WHERE draft_id = draft.id AND n = draft.pointer + 1) AS redo
FROM draft JOIN draft_snapshot AS snapshot ON snapshot.draft_id = draft.id AND snapshot.n = draft.pointer
WHERE draft.id = :draft_id AND draft.owner = :owner;

-- name: hold
SELECT id FROM draft WHERE id = :draft_id FOR UPDATE;

-- name: forget
DELETE FROM draft_snapshot WHERE draft_id = :draft_id AND (n > :after OR n <= :before);

-- name: add_snapshot
INSERT INTO draft_snapshot (draft_id, n, file, said) VALUES (:draft_id, :n, CAST(:file AS json), :said);

-- name: point
UPDATE draft SET pointer = :pointer, revision = revision + 1, changed_at = :now WHERE id = :draft_id;

-- name: rebase
UPDATE draft SET base_version = :version, revision = revision + 1, changed_at = :now WHERE id = :draft_id;

-- name: said
SELECT said FROM draft_snapshot WHERE draft_id = :draft_id AND n = :n;

-- name: listed
-- How many steps is counted in the text, as only steps have their key under this name; what people wrote has its
-- quotes escaped.
SELECT draft.id, coalesce(nullif(snapshot.file ->> 'name', ''), campaign.name, snapshot.file ->> 'campaign', '') AS name,
       campaign.key AS campaign, draft.base_version, campaign.version,
       regexp_count(snapshot.file::text, '"step": "') AS steps, draft.changed_at, draft.owner
FROM draft JOIN draft_snapshot AS snapshot ON snapshot.draft_id = draft.id AND snapshot.n = draft.pointer
LEFT JOIN campaign ON campaign.id = draft.campaign_id AND campaign.deleted_at IS NULL
WHERE draft.owner = :owner
ORDER BY draft.changed_at DESC, draft.id DESC
LIMIT :most;

-- name: others
SELECT owner FROM draft WHERE campaign_id = :campaign_id AND owner <> :owner ORDER BY changed_at DESC LIMIT 20;

-- name: delete
DELETE FROM draft WHERE id = :draft_id AND owner = :owner RETURNING id;
