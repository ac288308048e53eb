-- name: now
SELECT now();
