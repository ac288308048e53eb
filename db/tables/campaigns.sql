-- name: find
SELECT id, key, name, version, deleted_at FROM campaign
WHERE key = :key OR (:key ~ '^[0-9]{1,9}$' AND id::text = :key)
ORDER BY (key = :key) DESC
LIMIT 1;

-- name: list
SELECT campaign.id, campaign.key, campaign.name, campaign.description, campaign.version, campaign.published,
       campaign.publish_from, campaign.publish_until, campaign.created_at, campaign.changed_at,
       category.key AS category, coalesce(category.published, true) AS category_published,
       campaign.deleted_at IS NOT NULL AS deleted
FROM campaign LEFT JOIN category ON category.id = campaign.category_id
WHERE campaign.deleted_at IS NULL
  AND (CAST(:ids AS int[]) IS NULL OR campaign.id = ANY (CAST(:ids AS int[])))
ORDER BY campaign.created_at DESC, campaign.id DESC;

-- name: open
-- A batch enters the campaign: many may be in at once, and whoever edits or pauses it waits until
-- they are out and keeps new ones outside. So nobody works on a version that is gone, and when
-- `pause` has returned, nothing moves any more. From here to the end of the transaction no table that
-- has an index for what is asked is read as a whole: what a batch costs must not follow from what the
-- statistics happen to say of tables that grow while they are not looked at. Nor is an index read to its end, to be
-- sorted, where it gives the rows in the order that is asked for.
SELECT pg_advisory_xact_lock_shared(7272687700000000 + :campaign_id),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);

-- name: read_by_index
-- As for whoever enters a campaign.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', :sort, true);

-- name: close
-- And with its doors closed, who changes it works on waits of everybody in it, a bounded number at a time.
SELECT pg_advisory_xact_lock(7272687700000000 + :campaign_id),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);

-- name: status
SELECT campaign.version, campaign.published, campaign.publish_from, campaign.publish_until,
       coalesce(category.published, true) AS category_published, campaign.deleted_at IS NOT NULL AS deleted
FROM campaign LEFT JOIN category ON category.id = campaign.category_id
WHERE campaign.id = :campaign_id;

-- name: standing
-- What says whether a campaign runs, its last pause, and whether its waits move by the length of one.
SELECT campaign.published, campaign.publish_from, campaign.publish_until,
       coalesce(category.published, true) AS category_published, campaign.deleted_at IS NOT NULL AS deleted,
       pause.paused_at, pause.resumed_at, coalesce(version.definition ->> 'catch_up' = 'shift', false) AS shifts
FROM campaign
LEFT JOIN category ON category.id = campaign.category_id
LEFT JOIN campaign_version AS version ON version.campaign_id = campaign.id AND version.version = campaign.version
LEFT JOIN LATERAL (
    SELECT paused_at, resumed_at FROM campaign_pause
    WHERE campaign_pause.campaign_id = campaign.id ORDER BY paused_at DESC LIMIT 1
) AS pause ON true
WHERE campaign.id = :campaign_id;

-- name: save_pause
INSERT INTO campaign_pause (campaign_id, paused_at, resumed_at) VALUES (:campaign_id, :paused_at, :resumed_at)
ON CONFLICT (campaign_id, paused_at) DO UPDATE SET resumed_at = excluded.resumed_at;

-- name: pauses
SELECT paused_at, resumed_at FROM campaign_pause WHERE campaign_id = :campaign_id ORDER BY paused_at;

-- name: of_step
SELECT campaign_id FROM step WHERE id = :step_id;

-- name: definition
SELECT definition FROM campaign_version WHERE campaign_id = :campaign_id AND version = :version;

-- name: steps
SELECT id, key, kind, type, removed_at, moved, retimed_at FROM step WHERE campaign_id = :campaign_id ORDER BY id;

-- name: segments_of
SELECT source_id AS id FROM campaign_source WHERE kind = 'segment' AND campaign_id = ANY (CAST(:ids AS int[]))
UNION
SELECT segment.id
FROM campaign_event JOIN segment ON segment.key = campaign_event.name
WHERE campaign_event.role = 'segment' AND campaign_event.campaign_id = ANY (CAST(:ids AS int[]));

-- name: sources
SELECT segment.id, segment.key, segment.published, campaign.entries_after AS after
FROM campaign_source
JOIN segment ON segment.id = campaign_source.source_id
JOIN campaign ON campaign.id = campaign_source.campaign_id
WHERE campaign_source.campaign_id = :campaign_id AND campaign_source.kind = 'segment'
ORDER BY segment.key;

-- name: forms_of
SELECT form.key FROM campaign_source JOIN form ON form.id = campaign_source.source_id
WHERE campaign_source.campaign_id = :campaign_id AND campaign_source.kind = 'form'
ORDER BY form.key;

-- name: of_form
-- The campaigns that a form feeds.
SELECT campaign_source.campaign_id FROM campaign_source
JOIN campaign ON campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NULL
WHERE campaign_source.kind = 'form' AND campaign_source.source_id = :form_id
ORDER BY campaign_source.campaign_id;

-- name: of_events
-- By the primary key; mostly there is none.
SELECT DISTINCT campaign_event.campaign_id FROM campaign_event
JOIN campaign ON campaign.id = campaign_event.campaign_id AND campaign.deleted_at IS NULL
WHERE campaign_event.role = :role AND campaign_event.name = ANY (CAST(:names AS text[]))
ORDER BY campaign_event.campaign_id;

-- name: event_sources
-- The newest campaigns that events begin runs of: by what events.
SELECT version.definition -> 'sources' -> 'events' AS events
FROM campaign
JOIN campaign_version AS version ON version.campaign_id = campaign.id AND version.version = campaign.version
WHERE campaign.deleted_at IS NULL
  AND campaign.id IN (SELECT campaign_id FROM campaign_event WHERE role = 'source')
ORDER BY campaign.id DESC
LIMIT :limit;

-- name: mark_existing
-- Who is in a segment when the campaign is first published, if that is what its version asks for.
UPDATE campaign
SET entries_after = CASE
        WHEN coalesce(version.definition #>> '{sources,existing}', 'true') = 'true' THEN NULL
        WHEN campaign.entries_after IS NULL AND campaign.published
            THEN (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM segment_entry)
        ELSE campaign.entries_after END
FROM campaign_version AS version
WHERE campaign.id = :campaign_id AND version.campaign_id = campaign.id AND version.version = campaign.version;

-- name: clear_events
DELETE FROM campaign_event WHERE campaign_id = :campaign_id;

-- name: save_event
INSERT INTO campaign_event (campaign_id, role, name) VALUES (:campaign_id, :role, :name);

-- name: create
INSERT INTO campaign (key, name, created_at, changed_at) VALUES (:key, :key, :now, :now)
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: category
INSERT INTO category (key, name) VALUES (:key, :key)
ON CONFLICT (key) DO UPDATE SET key = excluded.key
RETURNING id;

-- name: save
UPDATE campaign
SET name = :name, description = :description, category_id = :category_id, published = :published,
    publish_from = :publish_from, publish_until = :publish_until, version = :version, changed_at = :now,
    deleted_at = NULL
WHERE id = :campaign_id;

-- name: save_version
INSERT INTO campaign_version (campaign_id, version, definition, created_at, who, message)
VALUES (:campaign_id, :version, CAST(:definition AS json), :now, :who, :message);

-- name: versions
-- Who made those that are older than the column, the audit says, of the same transaction and so of the same instant.
SELECT version, created_at,
       coalesce(who, (SELECT audit.who FROM audit
                      WHERE audit.campaign_id = campaign_version.campaign_id AND audit.at = campaign_version.created_at
                        AND audit.what IN ('created', 'changed to version ' || version)
                      ORDER BY audit.id LIMIT 1)) AS who,
       message
FROM campaign_version
WHERE campaign_id = :campaign_id
ORDER BY version DESC
LIMIT :limit;

-- name: save_steps
INSERT INTO step (campaign_id, key, kind, type, position, created_at)
SELECT :campaign_id, key, kind, type, nth - 1, :now
FROM unnest(CAST(:keys AS text[]), CAST(:kinds AS text[]), CAST(:types AS text[])) WITH ORDINALITY
     AS new (key, kind, type, nth)
ORDER BY nth
ON CONFLICT (campaign_id, key)
DO UPDATE SET kind = excluded.kind, type = excluded.type, position = excluded.position, removed_at = NULL,
              events = NULL, date_field = NULL, reads = NULL
RETURNING key, id;

-- name: mark_retimed
-- Not before whoever waits there came: clocks may be simulated.
UPDATE step SET retimed_at = CASE WHEN CAST(:at AS timestamptz) IS NOT NULL THEN greatest(
    CAST(:at AS timestamptz),
    (SELECT max(wait.anchor_at) FROM wait WHERE wait.step_id = step.id AND wait.reason <> 'retry')
) END
WHERE id = ANY (CAST(:step_ids AS int[]));

-- name: mark_moved
UPDATE step SET moved = true WHERE id = ANY (CAST(:step_ids AS int[]));

-- name: save_events
UPDATE step SET events = CAST(:patterns AS text[]) WHERE id = :step_id;

-- name: remove_steps
UPDATE step SET removed_at = :now
WHERE campaign_id = :campaign_id AND id = ANY (CAST(:step_ids AS int[])) AND removed_at IS NULL;

-- name: clear_sources
DELETE FROM campaign_source WHERE campaign_id = :campaign_id;

-- name: save_source
INSERT INTO campaign_source (campaign_id, kind, source_id) VALUES (:campaign_id, :kind, :source_id);

-- name: publish
UPDATE campaign SET published = :published, changed_at = :now
WHERE id = :campaign_id AND deleted_at IS NULL AND published <> :published
RETURNING id;

-- name: delete
UPDATE campaign SET deleted_at = :now, published = false, changed_at = :now
WHERE id = :campaign_id AND deleted_at IS NULL
RETURNING id;

-- name: audit
INSERT INTO audit (campaign_id, at, who, what, detail)
VALUES (:campaign_id, :now, :who, :what, CAST(:detail AS jsonb))
RETURNING id;

-- name: audit_more
UPDATE audit SET detail = CAST(:detail AS jsonb) WHERE id = :id;

-- name: activity
SELECT at, who, what, detail FROM audit WHERE campaign_id = :campaign_id ORDER BY at DESC, id DESC LIMIT :limit;

-- name: reasons
-- Changes that made no version, and why; the version that was the present one then.
SELECT audit.at, audit.who, audit.what, audit.detail ->> 'message' AS message,
       (SELECT max(version) FROM campaign_version
        WHERE campaign_version.campaign_id = audit.campaign_id AND created_at <= audit.at) AS version
FROM audit
WHERE campaign_id = :campaign_id AND detail ->> 'message' IS NOT NULL
  AND what <> 'created' AND what NOT LIKE 'changed to version %'
ORDER BY at DESC, id DESC
LIMIT :limit;

-- name: segments_by_key
SELECT id, key, public, published FROM segment WHERE key = ANY (CAST(:keys AS text[]));

-- name: forms_by_key
SELECT id, key, standalone, published FROM form WHERE key = ANY (CAST(:keys AS text[]));

-- name: emails_by_key
SELECT key FROM email WHERE key = ANY (CAST(:keys AS text[]));

-- name: make_stages
INSERT INTO stage (key, name) SELECT key, key FROM unnest(CAST(:keys AS text[])) AS new (key)
ON CONFLICT DO NOTHING
RETURNING key;

-- name: due_at_steps
-- For --reschedule: who waits at a step, in bounded reads. By the primary key (see waits.sql), so that all of
-- them together read it once.
SELECT wait.contact_id, wait.passage, wait.anchor_at,
       (SELECT timezone FROM contact WHERE contact.id = wait.contact_id) AS timezone
FROM wait
WHERE wait.step_id + 0 = :step_id AND wait.reason <> 'retry'
  AND (wait.contact_id, wait.passage) > (CAST(:after AS bigint), CAST(:after_passage AS int))
  AND wait.contact_id >= CAST(:after AS bigint)
ORDER BY wait.contact_id, wait.passage
LIMIT :limit;

-- name: reschedule
UPDATE wait SET due_at = coalesce(moved.due_at, 'infinity'),
                reason = CASE WHEN wait.reason = 'kickoff' THEN 'delay' ELSE wait.reason END
FROM (
    SELECT found.place, new.due_at
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:passages AS int[]), CAST(:due AS timestamptz[]))
         AS new (contact_id, passage, due_at)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM wait
        WHERE wait.contact_id = new.contact_id AND wait.step_id + 0 = :step_id AND wait.passage = new.passage
        LIMIT 1
    ) AS found
) AS moved
WHERE wait.ctid = moved.place;

-- name: every_source
-- What feeds each campaign that is not deleted.
SELECT campaign_source.campaign_id, campaign_source.kind, coalesce(segment.key, form.key) AS key,
       coalesce(segment.name, form.name) AS name
FROM campaign_source
JOIN campaign ON campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NULL
LEFT JOIN segment ON campaign_source.kind = 'segment' AND segment.id = campaign_source.source_id
LEFT JOIN form ON campaign_source.kind = 'form' AND form.id = campaign_source.source_id
WHERE coalesce(segment.key, form.key) IS NOT NULL
UNION ALL
SELECT campaign_event.campaign_id, 'event', campaign_event.name, campaign_event.name
FROM campaign_event
JOIN campaign ON campaign.id = campaign_event.campaign_id AND campaign.deleted_at IS NULL
WHERE campaign_event.role = 'source'
UNION ALL
SELECT date_source.campaign_id, 'date', date_source.field, date_source.field
FROM date_source
JOIN campaign ON campaign.id = date_source.campaign_id AND campaign.deleted_at IS NULL
WHERE date_source.removed_at IS NULL
ORDER BY 1, 2 DESC, 3;

-- name: inside
-- From the counters, which cost the days of a campaign and not its members.
SELECT campaign_id, coalesce(sum(CASE what WHEN 'added' THEN n WHEN 'left' THEN -n END), 0)::bigint AS n
FROM campaign_count
WHERE campaign_id = ANY (CAST(:campaign_ids AS int[])) AND what IN ('added', 'left')
GROUP BY campaign_id;

-- name: overdue
-- Served by wait_due_idx.
SELECT count(*) AS n, min(wait.due_at) AS oldest_at
FROM wait
WHERE wait.step_id IN (SELECT id FROM step WHERE campaign_id = :campaign_id) AND wait.due_at <= :now;

-- name: categories
SELECT key FROM category ORDER BY key;

-- name: version_of
SELECT version FROM campaign WHERE id = :id;
