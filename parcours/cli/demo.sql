-- name: others
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid();

-- name: drop
DROP SCHEMA public CASCADE;

-- name: create
CREATE SCHEMA public;

-- name: no_waiting
SET synchronous_commit = off;

-- name: next_due
SELECT min(due_at) FROM wait WHERE due_at < 'infinity';

-- name: sent
SELECT contact_id, template FROM message WHERE key = ANY (CAST(:keys AS text[]));

-- name: someone
-- The contact with most to tell.
SELECT contact.key
FROM contact
LEFT JOIN outcome ON outcome.contact_id = contact.id
GROUP BY contact.key
ORDER BY count(outcome.contact_id) DESC, contact.key
LIMIT 1;
