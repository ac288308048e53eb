-- name: create
INSERT INTO contact_import (name, size, who, segment) VALUES (:name, 0, :who, :segment) RETURNING id;

-- name: add_part
INSERT INTO contact_import_part (import_id, kind, number, data) VALUES (:id, :kind, :number, :data);

-- name: drop_parts
DELETE FROM contact_import_part WHERE import_id = :id AND kind = :kind;

-- name: part
SELECT data FROM contact_import_part WHERE import_id = :id AND kind = :kind AND number = :number;

-- name: set_size
UPDATE contact_import SET size = :size WHERE id = :id;

-- name: found
SELECT id, name, size, who, created_at, options, segment, state, read_bytes, finished_at, result
FROM contact_import
WHERE CAST(:id AS int) IS NULL OR id = CAST(:id AS int)
ORDER BY id DESC LIMIT :limit;

-- name: choose
UPDATE contact_import SET options = CAST(:options AS jsonb), segment = :segment
WHERE id = :id AND state IN ('uploaded', 'failed');

-- name: start
-- One that runs was left by a process that died: nobody else holds it.
UPDATE contact_import SET state = 'running', read_bytes = 0, result = NULL
WHERE id = :id AND state IN ('uploaded', 'failed', 'running')
RETURNING id;

-- name: note_progress
UPDATE contact_import SET read_bytes = :read_bytes WHERE id = :id;

-- name: finish
UPDATE contact_import SET state = :state, result = CAST(:result AS jsonb), finished_at = now(), read_bytes = size
WHERE id = :id;

-- name: delete
DELETE FROM contact_import
WHERE id = :id
  AND NOT EXISTS (SELECT FROM pg_locks
                  WHERE locktype = 'advisory' AND classid = 1346458185 AND objid = CAST(:id AS oid)
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));

-- name: forget_old
DELETE FROM contact_import WHERE created_at < now() - interval '7 days' AND state <> 'running';

-- name: hold
SELECT pg_try_advisory_lock(1346458185, :id);

-- name: release
SELECT pg_advisory_unlock(1346458185, :id);

-- name: is_held
SELECT EXISTS (SELECT FROM pg_locks
               WHERE locktype = 'advisory' AND classid = 1346458185 AND objid = CAST(:id AS oid)
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
