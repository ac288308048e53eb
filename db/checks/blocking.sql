-- name: holders
SELECT pid, application_name, host(client_addr),
       coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8
FROM pg_stat_activity
WHERE pid = ANY (pg_blocking_pids(:pid))
ORDER BY xact_start, pid;
