-- name: create
INSERT INTO template (kind, key, name, published, content, changed_at)
VALUES (:kind, :key, :name, :published, CAST(:content AS jsonb), :now)
ON CONFLICT (kind, key) DO NOTHING
RETURNING key;

-- name: change
UPDATE template
SET name = :name, published = :published, content = CAST(:content AS jsonb), changed_at = :now
WHERE kind = :kind AND key = :key
  AND (name, published, content)
      IS DISTINCT FROM (CAST(:name AS text), CAST(:published AS boolean), CAST(:content AS jsonb))
RETURNING key;

-- name: listed
SELECT kind, key, name, published, content FROM template ORDER BY kind, key;

-- name: known
SELECT key FROM template WHERE kind = :kind AND key = ANY (CAST(:keys AS text[]));
