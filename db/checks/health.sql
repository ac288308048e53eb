-- name: today
SELECT now();

-- name: partitions
-- Attaching a partition takes the owner of the parent, and the right to create in its schema.
SELECT coalesce((SELECT array_agg(name) FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL),
                '{}') AS present,
       bool_and(pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')) AS may_make
FROM pg_class WHERE oid IN ('outcome'::regclass, 'event'::regclass);

-- name: unvacuumed
SELECT relname AS name, n_dead_tup AS dead
FROM pg_stat_user_tables
WHERE relid IN ('wait'::regclass, 'inbox'::regclass, 'membership'::regclass, 'contact'::regclass,
                'step_count'::regclass, 'campaign_count'::regclass, 'message'::regclass)
  AND n_dead_tup > :least AND n_dead_tup >= :share * n_live_tup
ORDER BY n_dead_tup DESC;

-- name: stuck_sweeps
-- One never started, and one that was started an hour ago: the biggest takes minutes.
SELECT id FROM sweep
WHERE finished_at IS NULL
  AND asked_at < now() - make_interval(secs => :seconds)
  AND (started_at IS NULL OR started_at < now() - 6 * make_interval(secs => :seconds))
ORDER BY id;

-- name: version
SHOW server_version_num;

-- name: session
SELECT pg_backend_pid();

-- name: keeps_options
SELECT current_setting('timezone') = 'UTC' AND current_setting('jit') = 'off'
   AND current_setting('idle_in_transaction_session_timeout') <> '0';

-- name: clock
-- Of this instant, not of the beginning of the transaction.
SELECT clock_timestamp();
