-- Point groups, and the logs of what changed points and stages. Logs are written in the transaction of the change.

-- name: save_group
INSERT INTO point_group (key, name) VALUES (:key, coalesce(:name, :key))
ON CONFLICT (key) DO UPDATE SET name = coalesce(:name, point_group.name)
WHERE point_group.name <> coalesce(:name, point_group.name)
RETURNING xmax = 0 AS created;

-- name: make_groups
INSERT INTO point_group (key, name) SELECT key, key FROM unnest(CAST(:keys AS text[])) AS new (key)
ON CONFLICT DO NOTHING;

-- name: groups
SELECT point_group.key, point_group.name, coalesce(scored.n, 0) AS contacts
FROM point_group
LEFT JOIN (SELECT group_key, count(*) AS n FROM contact_score GROUP BY group_key) AS scored
       ON scored.group_key = point_group.key
ORDER BY point_group.key;

-- name: log_points
INSERT INTO point_log (contact_id, step_id, group_key, change, points, at)
SELECT contact_id, step_id, group_key, change, points, :now
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:groups AS text[]),
            CAST(:changes AS bigint[]), CAST(:points AS int[]))
     AS new (contact_id, step_id, group_key, change, points);

-- name: log_stages
INSERT INTO stage_log (contact_id, step_id, from_stage, to_stage, source, at)
SELECT contact_id, step_id, from_stage, to_stage, :source, :now
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:step_ids AS int[]), CAST(:befores AS text[]),
            CAST(:afters AS text[]))
     AS new (contact_id, step_id, from_stage, to_stage);

-- name: of_contacts
-- Served by the primary key, as all that follow.
SELECT contact_id, jsonb_object_agg(group_key, points) AS scores FROM contact_score
WHERE contact_id = ANY (CAST(:ids AS bigint[])) GROUP BY contact_id;

-- name: utm
SELECT contact_id, utm_campaign, utm_content, utm_medium, utm_source, utm_term FROM contact_utm
WHERE contact_id = ANY (CAST(:ids AS bigint[]));

-- name: points_of
SELECT point_log.at, campaign.key AS campaign, step.key AS step, point_log.source, point_log.group_key,
       point_log.change, point_log.points
FROM point_log
LEFT JOIN step ON step.id = point_log.step_id
LEFT JOIN campaign ON campaign.id = step.campaign_id
WHERE point_log.contact_id = :contact_id
ORDER BY point_log.at DESC, point_log.id DESC
LIMIT :limit;

-- name: stages_of
SELECT stage_log.at, campaign.key AS campaign, step.key AS step, stage_log.source, stage_log.from_stage,
       stage_log.to_stage
FROM stage_log
LEFT JOIN step ON step.id = stage_log.step_id
LEFT JOIN campaign ON campaign.id = step.campaign_id
WHERE stage_log.contact_id = :contact_id
ORDER BY stage_log.at DESC, stage_log.id DESC
LIMIT :limit;

-- name: came_from
-- The newest visit counts, whatever arrives when.
INSERT INTO contact_utm (contact_id, at, utm_campaign, utm_content, utm_medium, utm_source, utm_term)
SELECT contact_id, at, utm_campaign, utm_content, utm_medium, utm_source, utm_term
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:ats AS timestamptz[]), CAST(:utm_campaigns AS text[]),
            CAST(:utm_contents AS text[]), CAST(:utm_mediums AS text[]), CAST(:utm_sources AS text[]),
            CAST(:utm_terms AS text[]))
     AS new (contact_id, at, utm_campaign, utm_content, utm_medium, utm_source, utm_term)
ORDER BY contact_id
ON CONFLICT (contact_id) DO UPDATE
SET at = excluded.at, utm_campaign = excluded.utm_campaign, utm_content = excluded.utm_content,
    utm_medium = excluded.utm_medium, utm_source = excluded.utm_source, utm_term = excluded.utm_term
WHERE contact_utm.at <= excluded.at;
