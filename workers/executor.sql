-- name: free_hand
SELECT hand FROM generate_series(1, :hands) AS hand
WHERE pg_try_advisory_xact_lock(CAST(:step_id AS int), hand)
LIMIT 1;
