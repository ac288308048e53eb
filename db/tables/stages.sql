-- name: create
INSERT INTO stage (key, name, weight, published)
VALUES (:key, coalesce(:name, :key), :weight, coalesce(CAST(:published AS boolean), true))
ON CONFLICT (key) DO NOTHING
RETURNING key;

-- name: change
-- What is null stays as it is.
UPDATE stage
SET name = coalesce(:name, name), weight = coalesce(:weight, weight), published = coalesce(:published, published)
WHERE key = :key
  AND (name, weight, published)
      IS DISTINCT FROM (coalesce(:name, name), coalesce(:weight, weight), coalesce(:published, published))
RETURNING key;

-- name: listed
SELECT stage.key, stage.name, stage.weight, stage.published, coalesce(standing.n, 0)
FROM stage
LEFT JOIN (SELECT stage, count(*) AS n FROM contact WHERE stage IS NOT NULL GROUP BY stage) AS standing
    ON standing.stage = stage.key
ORDER BY stage.weight NULLS LAST, stage.key;

-- name: keys
SELECT key FROM stage;
