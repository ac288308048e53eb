-- name: is_migrated
SELECT to_regclass('alembic_version');

-- name: revision
SELECT version_num FROM alembic_version;

-- name: serves_since
SELECT value FROM installation WHERE name = 'serves_since';

-- name: serve_since
INSERT INTO installation (name, value) VALUES ('serves_since', :since)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: try_to_lock
SELECT pg_try_advisory_lock(:lock);

-- name: unlock
SELECT pg_advisory_unlock(:lock);

-- name: wait_for_locks
SET lock_timeout = '10s';

-- name: wait_for_locks_as_ever
RESET lock_timeout;
