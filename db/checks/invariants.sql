-- name: take_room
-- Groups of millions fit into memory or spill to disk once, rather than in many small runs.
SELECT set_config('work_mem', '128MB', true), set_config('max_parallel_workers_per_gather', '2', true);

-- name: outcomes_twice
-- The groups come out of the primary keys of the partitions, whose first column they share.
SELECT contact.key AS contact, step.key AS step, twice.rotation, twice.passage, twice.n
FROM (
    SELECT contact_id, step_id, rotation, passage, count(*) AS n
    FROM outcome
    GROUP BY contact_id, step_id, rotation, passage
    HAVING count(*) > 1
) AS twice
LEFT JOIN contact ON contact.id = twice.contact_id
LEFT JOIN step ON step.id = twice.step_id;

-- name: counters_differ
SELECT step.key AS step, day, result::text AS result, coalesce(counted.n, 0) AS outcomes, coalesce(kept.n, 0) AS counter
FROM (
    SELECT step_id, (at AT TIME ZONE 'UTC')::date AS day, result, count(*) AS n FROM outcome GROUP BY 1, 2, 3
) AS counted
FULL JOIN (
    SELECT step_id, day, result, sum(n)::bigint AS n FROM step_count GROUP BY 1, 2, 3
) AS kept USING (step_id, day, result)
LEFT JOIN step ON step.id = step_id
WHERE coalesce(counted.n, 0) <> coalesce(kept.n, 0);

-- name: waits_of_nobody
SELECT contact.key AS contact, step.key AS step, wait.rotation, membership.rotation AS member_rotation,
       membership.left_at
FROM wait
LEFT JOIN membership ON membership.contact_id = wait.contact_id AND membership.campaign_id = wait.campaign_id
LEFT JOIN run ON membership.runs AND run.contact_id = wait.contact_id AND run.campaign_id = wait.campaign_id
             AND run.rotation = wait.rotation AND run.left_at IS NULL
LEFT JOIN contact ON contact.id = wait.contact_id
LEFT JOIN step ON step.id = wait.step_id
WHERE membership.contact_id IS NULL OR membership.left_at IS NOT NULL
   OR CASE WHEN membership.runs THEN run.number IS NULL ELSE membership.rotation <> wait.rotation END;

-- name: runs_differ
SELECT contact.key AS contact, campaign.key AS campaign, membership.rotation, membership.left_at, found.n AS runs,
       found.going
FROM membership
FULL JOIN (
    SELECT contact_id, campaign_id, count(*) AS n, count(*) FILTER (WHERE left_at IS NULL) AS going,
           max(rotation) AS highest
    FROM run GROUP BY contact_id, campaign_id
) AS found USING (contact_id, campaign_id)
LEFT JOIN contact ON contact.id = contact_id
LEFT JOIN campaign ON campaign.id = campaign_id
WHERE (found.n IS NOT NULL OR membership.runs)
  AND (membership.rotation IS NULL OR NOT membership.runs OR found.n IS NULL OR membership.rotation < found.highest
       OR (membership.left_at IS NULL) <> (found.going > 0));

-- name: waits_at_removed_steps
SELECT contact.key AS contact, coalesce(step.key, wait.step_id::text) AS step, step.removed_at
FROM wait
LEFT JOIN step ON step.id = wait.step_id
LEFT JOIN contact ON contact.id = wait.contact_id
WHERE step.id IS NULL OR step.removed_at IS NOT NULL OR step.campaign_id <> wait.campaign_id;

-- name: lost_members
-- Of running campaigns only, and only who joined a version that had a root to start at: one added
-- later starts for existing members when a person says so. Members as of an instant before the first
-- version (somebody wrote the past) are of the first one.
WITH version AS (
    SELECT campaign_version.campaign_id,
           json_array_length(definition -> 'steps') AS roots,
           CASE WHEN row_number() OVER versions = 1 THEN '-infinity' ELSE campaign_version.created_at END AS since,
           lead(campaign_version.created_at, 1, 'infinity') OVER versions AS until
    FROM campaign_version
    JOIN campaign ON campaign.id = campaign_version.campaign_id
    LEFT JOIN category ON category.id = campaign.category_id
    WHERE campaign.published AND campaign.deleted_at IS NULL
      AND (campaign.publish_from IS NULL OR campaign.publish_from <= now())
      AND (campaign.publish_until IS NULL OR campaign.publish_until > now())
      AND coalesce(category.published, true)
    WINDOW versions AS (PARTITION BY campaign_version.campaign_id ORDER BY campaign_version.version)
)
SELECT contact.key AS contact, campaign.key AS campaign, membership.rotation
FROM (
    SELECT contact_id, campaign_id, rotation, added_at, left_at FROM membership WHERE NOT runs AND NOT control
    UNION ALL
    SELECT run.contact_id, run.campaign_id, run.rotation, run.began_at, run.left_at
    FROM run JOIN membership USING (contact_id, campaign_id)
    WHERE NOT membership.control
) AS membership
JOIN version ON version.campaign_id = membership.campaign_id
            AND membership.added_at >= version.since AND membership.added_at < version.until AND version.roots > 0
JOIN campaign ON campaign.id = membership.campaign_id
LEFT JOIN contact ON contact.id = membership.contact_id
WHERE membership.left_at IS NULL
  AND NOT EXISTS (
      SELECT FROM wait
      WHERE wait.contact_id = membership.contact_id AND wait.campaign_id = membership.campaign_id
        AND wait.rotation = membership.rotation
  )
  AND NOT EXISTS (
      SELECT FROM outcome JOIN step ON step.id = outcome.step_id
      WHERE outcome.contact_id = membership.contact_id AND step.campaign_id = membership.campaign_id
        AND outcome.rotation = membership.rotation
  );

-- name: control_waits
SELECT contact.key AS contact, step.key AS step, wait.rotation
FROM wait
JOIN membership ON membership.contact_id = wait.contact_id AND membership.campaign_id = wait.campaign_id
LEFT JOIN contact ON contact.id = wait.contact_id
LEFT JOIN step ON step.id = wait.step_id
WHERE membership.control;

-- name: trials_differ
SELECT campaign.key AS campaign, part, found.entered, kept.entered AS counter, found.reached,
       kept.reached AS reached_counter, found.value, kept.value AS value_counter
FROM (
    SELECT campaign_id, part, count(*) AS entered, count(reached_at) AS reached, coalesce(sum(value), 0) AS value
    FROM trial
    CROSS JOIN LATERAL unnest(array_append(parts, CASE WHEN control THEN 'control' ELSE 'treated' END)) AS part
    GROUP BY campaign_id, part
) AS found
FULL JOIN (
    SELECT campaign_id, part, sum(entered) AS entered, sum(reached) AS reached, sum(value) AS value
    FROM trial_count GROUP BY campaign_id, part
) AS kept USING (campaign_id, part)
LEFT JOIN campaign ON campaign.id = campaign_id
WHERE (coalesce(found.entered, 0), coalesce(found.reached, 0), coalesce(found.value, 0))
      <> (coalesce(kept.entered, 0), coalesce(kept.reached, 0), coalesce(kept.value, 0));

-- name: members_differ
-- Of those added and not erased there is at least everybody who is known. There may be more: memberships of contacts
-- who were merged, and contacts whom a version that did not count them erased.
SELECT campaign.key AS campaign, coalesce(counted.n, 0) AS counter, coalesce(members.active, 0) AS active,
       coalesce(counted.known, 0) AS known_counter, coalesce(members.known, 0) AS known
FROM campaign
LEFT JOIN (
    SELECT campaign_id, coalesce(sum(CASE what WHEN 'added' THEN n WHEN 'left' THEN -n END), 0)::bigint AS n,
           coalesce(sum(CASE what WHEN 'added' THEN n WHEN 'erased' THEN -n END), 0)::bigint AS known
    FROM campaign_count WHERE what IN ('added', 'left', 'erased')
    GROUP BY campaign_id
) AS counted ON counted.campaign_id = campaign.id
LEFT JOIN (
    SELECT campaign_id, count(*) FILTER (WHERE left_at IS NULL) AS active, sum(entries) AS known
    FROM membership GROUP BY campaign_id
) AS members ON members.campaign_id = campaign.id
WHERE coalesce(counted.n, 0) <> coalesce(members.active, 0) OR coalesce(counted.known, 0) < coalesce(members.known, 0);

-- name: of_contacts_gone
SELECT 'wait' AS "table", wait.contact_id, step.key AS what
FROM wait LEFT JOIN step ON step.id = wait.step_id
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = wait.contact_id)
UNION ALL
SELECT 'inbox', inbox.contact_id, inbox.source || ' ' || inbox.id
FROM inbox
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = inbox.contact_id)
UNION ALL
SELECT 'date_entry', date_entry.contact_id, date_source.name
FROM date_entry LEFT JOIN date_source ON date_source.id = date_entry.source_id
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = date_entry.contact_id)
UNION ALL
SELECT 'contact_alias', contact_alias.contact_id, contact_alias.key
FROM contact_alias
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = contact_alias.contact_id)
UNION ALL
SELECT 'company_member', company_member.contact_id, company.key
FROM company_member JOIN company ON company.id = company_member.company_id
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = company_member.contact_id)
UNION ALL
SELECT 'contact_score', contact_score.contact_id, contact_score.group_key
FROM contact_score
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = contact_score.contact_id)
UNION ALL
SELECT 'run', run.contact_id, campaign.key
FROM run LEFT JOIN campaign ON campaign.id = run.campaign_id
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = run.contact_id)
UNION ALL
SELECT 'trial', trial.contact_id, campaign.key
FROM trial LEFT JOIN campaign ON campaign.id = trial.campaign_id
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = trial.contact_id)
UNION ALL
SELECT 'entrant', entrant.contact_id, campaign.key
FROM entrant LEFT JOIN campaign ON campaign.id = entrant.campaign_id
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = entrant.contact_id)
UNION ALL
SELECT 'contact_utm', contact_utm.contact_id, NULL
FROM contact_utm
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.id = contact_utm.contact_id);

-- name: due_without_rule
SELECT segment.key AS segment, segment_due.contact_id, contact.key AS contact, segment_due.due_at
FROM segment_due
LEFT JOIN segment ON segment.id = segment_due.segment_id
LEFT JOIN contact ON contact.id = segment_due.contact_id
WHERE segment.rule IS NULL OR contact.id IS NULL;

-- name: keys_twice
SELECT contact_alias.key, survivor.key AS merged_into
FROM contact_alias
JOIN contact ON contact.key = contact_alias.key
LEFT JOIN contact AS survivor ON survivor.id = contact_alias.contact_id;

-- name: messages_twice
-- The passage is the fourth number of the key, and the contact that before it: of whoever was merged into
-- another, the survivor has messages too.
SELECT contact.key AS contact, step.key AS step, twice.passage, twice.n
FROM (
    SELECT contact_id, step_id, channel, split_part(key, '-', 4)::int AS passage, count(*) AS n
    FROM message
    WHERE key ~ '^\d+-\d+-\d+-\d+(-\w+)?$' AND split_part(key, '-', 3) = contact_id::text
    GROUP BY 1, 2, 3, 4
    HAVING count(*) > 1
) AS twice
LEFT JOIN contact ON contact.id = twice.contact_id
LEFT JOIN step ON step.id = twice.step_id;

-- name: deliveries_differ
SELECT step_id, state::text AS state, coalesce(counted.n, 0) AS counted, coalesce(found.n, 0) AS messages
FROM (SELECT step_id, state, sum(n) AS n FROM delivery_count GROUP BY step_id, state) AS counted
FULL JOIN (SELECT step_id, state, count(*) AS n FROM message
           WHERE state IN ('sent', 'failed', 'cancelled') GROUP BY step_id, state) AS found USING (step_id, state)
WHERE coalesce(counted.n, 0) <> coalesce(found.n, 0);
