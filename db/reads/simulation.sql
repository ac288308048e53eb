-- All of these read whole tables, which nobody else uses: those of a simulation.

-- name: contact_ids
SELECT id FROM contact ORDER BY id;

-- name: armed_at
SELECT contact_id, step_id, passage, nullif(due_at, 'infinity') AS due_at FROM wait
WHERE campaign_id = :campaign_id AND reason = 'decision' AND anchor_at = :now
ORDER BY contact_id, step_id;

-- name: next_due
-- In a campaign that is paused nothing is due.
SELECT least(
    (SELECT min(wait.due_at) FROM wait JOIN campaign ON campaign.id = wait.campaign_id AND campaign.published
     WHERE wait.due_at < 'infinity'),
    (SELECT min(next_at) FROM campaign_entry JOIN campaign ON campaign.id = campaign_id AND campaign.published),
    (SELECT min(due_at) FROM segment_due WHERE due_at < 'infinity'),
    (SELECT min(exit_due_at) FROM membership),
    (SELECT min(leaving.due_at) FROM leaving JOIN campaign ON campaign.id = leaving.campaign_id AND campaign.published),
    (SELECT min(date_entry.due_at)
     FROM date_entry
     JOIN date_source ON date_source.id = date_entry.source_id AND date_source.removed_at IS NULL
     JOIN campaign ON campaign.id = date_source.campaign_id AND campaign.published
     WHERE date_entry.due_at < 'infinity')
);

-- name: volume
SELECT step.key AS step, step_count.day, step_count.result::text AS result, sum(step_count.n)::bigint AS n
FROM step_count JOIN step ON step.id = step_count.step_id
WHERE step.campaign_id = :campaign_id
GROUP BY step.key, step_count.day, step_count.result
ORDER BY step_count.day, step.key, step_count.result;

-- name: held
-- What policies hold back, or held: by the day on which it goes, or would have gone.
SELECT day, rule, channel, count(*) AS n
FROM (
    SELECT (at AT TIME ZONE 'UTC')::date AS day, detail -> 'policy' ->> 'rule' AS rule, detail -> 'policy' ->> 'channel' AS channel
    FROM outcome WHERE detail ? 'policy'
    UNION ALL
    SELECT (due_at AT TIME ZONE 'UTC')::date, held -> 'policy' ->> 'rule', held -> 'policy' ->> 'channel'
    FROM wait WHERE held ? 'policy' AND due_at < 'infinity'
) AS found
GROUP BY day, rule, channel ORDER BY day, rule, channel;

-- name: held_at_the_door
SELECT count(*) FROM entrant WHERE campaign_id = :campaign_id;

-- name: busiest_hours
SELECT DISTINCT ON (channel) channel, date_trunc('hour', due_at, 'UTC') AS hour, count(*) AS n
FROM message GROUP BY 1, 2 ORDER BY channel, n DESC, hour;

-- name: messages
SELECT (due_at AT TIME ZONE 'UTC')::date AS day, channel, count(*) AS n
FROM message GROUP BY 1, 2 ORDER BY 1, 2;

-- name: begin_ids_at
SELECT setval(pg_get_serial_sequence('contact', 'id'), :id, false);
