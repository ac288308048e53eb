-- name: lock
SELECT pg_advisory_lock(:lock, :number);

-- name: try_to_lock
SELECT pg_try_advisory_lock(:lock, :number);

-- name: unlock
SELECT pg_advisory_unlock(:lock, :number);

-- name: current
SELECT current_schema();

-- name: present
SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix);

-- name: create
CREATE SCHEMA {schema};

-- name: drop
DROP SCHEMA IF EXISTS {schema} CASCADE;

-- name: copy
INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {source}.{table};

-- name: forget_rules
-- Contacts come into segments there as they are told to.
UPDATE segment SET rule = NULL, rule_error = NULL;

-- name: go_on_behind
SELECT setval(pg_get_serial_sequence(:table, 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {table}));

-- name: begin_at
SELECT setval(pg_get_serial_sequence(:table, 'id'), :first, false);

-- name: forget_the_disk
ALTER SYSTEM SET fsync = off;

-- name: reload
SELECT pg_reload_conf();

-- name: create_database
CREATE DATABASE {database};

-- name: clone_database
CREATE DATABASE {database} TEMPLATE {template};

-- name: drop_database
DROP DATABASE {database} WITH (FORCE);
