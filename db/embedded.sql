-- name: set_already
SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf';

-- name: set
ALTER SYSTEM SET {} = {};

-- name: reload
SELECT pg_reload_conf();
