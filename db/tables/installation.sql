-- name: make_secret_key
INSERT INTO installation (name, value) VALUES ('secret_key', :made) ON CONFLICT DO NOTHING;

-- name: secret_key
SELECT value FROM installation WHERE name = 'secret_key';

-- name: name
SELECT value FROM installation WHERE name = 'name' FOR UPDATE;

-- name: rename
UPDATE installation SET value = :name WHERE name = 'name';

-- name: rename_messages
-- Keys end with the name of the installation; those from before it had one do not.
UPDATE message
SET key = CASE WHEN right(key, :length) = :before THEN left(key, -:length) ELSE key END || '-' || :name
WHERE state IN ('queued', 'sending');

-- name: erasure_key
SELECT value FROM installation WHERE name = 'erasure_key';

-- name: beat
-- A worker that runs says so again and again; `value` has since when, when last, and what it does.
INSERT INTO installation (name, value) VALUES (:name, CAST(:value AS text))
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: forget_worker
DELETE FROM installation WHERE name = :name;

-- name: forget_silent
DELETE FROM installation
WHERE CASE WHEN starts_with(name, 'worker ') THEN CAST(CAST(value AS jsonb) ->> 'at' AS timestamptz) < :before END;

-- name: workers
SELECT name, value FROM installation WHERE starts_with(name, 'worker ') ORDER BY name;
