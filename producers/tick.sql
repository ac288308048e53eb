-- name: lead
SELECT pg_try_advisory_lock(:lock);

-- name: give_up
SELECT pg_advisory_unlock(:lock);
