-- name: steps_passed
-- From the counters, so the cost does not depend on contacts. Steps of deleted campaigns stay counted:
-- what a counter once said it must not take back.
SELECT step.kind, step.type, step_count.result::text AS result, sum(step_count.n)::bigint AS n
FROM step_count JOIN step ON step.id = step_count.step_id
GROUP BY step.kind, step.type, step_count.result;

-- name: open_failures
-- Steps that failed and will be tried again; from wait_retry_idx.
SELECT count(*) FROM wait WHERE reason = 'retry';

-- name: dead_letters
SELECT origin, count(*) AS n FROM dead_letter GROUP BY origin;

-- name: open_sweeps
SELECT kind, count(*) AS n FROM sweep WHERE finished_at IS NULL GROUP BY kind;
