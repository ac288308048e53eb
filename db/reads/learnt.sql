-- name: answers
-- How often each decision was answered, and how many seconds after the step above it the latest yeses came.
SELECT wanted.step_id,
       coalesce((SELECT sum(n) FROM step_count WHERE step_count.step_id = wanted.step_id AND result = 'yes'), 0)::bigint AS yes,
       coalesce((SELECT sum(n) FROM step_count WHERE step_count.step_id = wanted.step_id AND result = 'no'), 0)::bigint AS no,
       (SELECT count(*) FROM wait
        WHERE wait.step_id = wanted.step_id AND wait.reason = 'decision' AND wait.due_at = 'infinity') AS open,
       ARRAY(SELECT extract(epoch FROM answer.at - above.at)::float8
             FROM (SELECT contact_id, rotation, passage, at FROM outcome
                   WHERE outcome.step_id = wanted.step_id AND outcome.result = 'yes' AND outcome.at > :since
                   LIMIT :most) AS answer
             JOIN outcome AS above ON above.contact_id = answer.contact_id AND above.step_id = wanted.parent_id
                  AND above.rotation = answer.rotation AND above.passage = answer.passage
             WHERE answer.at >= above.at
             ORDER BY 1) AS seconds
FROM unnest(CAST(:step_ids AS int[]), CAST(:parent_ids AS int[])) AS wanted (step_id, parent_id);
