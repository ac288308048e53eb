-- name: exists
SELECT to_regclass(:name);

-- name: lock
-- One maker at a time; nobody waits long behind it.
SELECT set_config('lock_timeout', :seconds, true), pg_advisory_xact_lock(:lock);

-- name: lock_default
LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE;

-- name: count_in_default
-- Of the rows of a range, no more than it takes to know that they are too many.
SELECT count(*) FROM (
    SELECT FROM {default} WHERE {column} >= :first AND {column} < :end LIMIT :most
) AS found;

-- name: create
CREATE TABLE {partition} (LIKE {table} INCLUDING ALL);

-- name: move_from_default
WITH moved AS (
    DELETE FROM {default} WHERE {column} >= :first AND {column} < :end RETURNING *
)
INSERT INTO {partition} TABLE moved;

-- name: attach
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({end});
