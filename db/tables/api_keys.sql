-- name: create
INSERT INTO api_key (name, role, hash) VALUES (:name, :role, :hash)
RETURNING id, name, role, created_at, revoked_at;

-- name: listing
SELECT id, name, role, created_at, revoked_at FROM api_key ORDER BY id;

-- name: find
-- Served by the unique index of hash: nothing is compared with the key itself, so the time an answer takes
-- says nothing about it.
SELECT id, name, role, created_at, revoked_at FROM api_key WHERE hash = :hash AND revoked_at IS NULL;

-- name: revoke
-- The first time counts.
UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id
RETURNING id, name, role, created_at, revoked_at;
