-- name: take_hand
SELECT hand FROM generate_series(1, :hands) AS hand
WHERE pg_try_advisory_lock(CAST(:channel AS int), hand)
LIMIT 1;

-- name: give_hand
SELECT pg_advisory_unlock(CAST(:channel AS int), :hand);
