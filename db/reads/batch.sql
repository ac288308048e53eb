-- What a batch knows of its contacts: one statement a need, whatever the number of contacts. The
-- custom fields come with the contact's own row.

-- name: contacts
-- The contacts of a batch, already locked, with their membership of the campaign. One probe of its
-- primary key a contact: right after many have joined, before the table is analyzed, the planner
-- would rather read the whole campaign for a join.
SELECT contact.id, contact.key, contact.email, contact.timezone, contact.points, contact.stage, contact.owner,
       CASE WHEN :fields THEN nullif(contact.fields, '{}') END AS fields, contact.last_active_at, contact.created_at, membership.rotation, membership.left_at IS NULL AS active,
       membership.runs
FROM contact
LEFT JOIN LATERAL (
    SELECT rotation, left_at, runs FROM membership
    WHERE membership.contact_id = contact.id AND membership.campaign_id = :campaign_id
    LIMIT 1
) AS membership ON true
WHERE contact.id = ANY (CAST(:ids AS bigint[]));

-- name: lock
-- Everybody takes contact locks in id order, so nobody waits in a circle. Contacts that are gone are left out.
SELECT id FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE;

-- name: tags
-- One probe a contact, as in `contacts`: a table that campaigns fill, not yet analyzed, would be read as a whole.
SELECT wanted.id, owned.tags
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (SELECT array_agg(tag) AS tags FROM contact_tag WHERE contact_tag.contact_id = wanted.id) AS owned
WHERE owned.tags IS NOT NULL;

-- name: segments
SELECT segment_member.contact_id, array_agg(segment.key) AS keys
FROM segment_member JOIN segment ON segment.id = segment_member.segment_id
WHERE segment_member.contact_id = ANY (CAST(:ids AS bigint[])) AND segment_member.active
GROUP BY segment_member.contact_id;

-- name: received
-- Emails written to the outbox for a contact and not given up, by template. One without an address went to
-- somebody else about the contact. One probe a contact, as in `tags`.
SELECT wanted.id, owned.templates, owned.ats
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT array_agg(template) AS templates, array_agg(at) AS ats
    FROM (SELECT template, max(due_at) AS at FROM message
          WHERE message.contact_id = wanted.id AND channel = 'email' AND template IS NOT NULL
            AND address IS NOT NULL AND state NOT IN ('failed', 'cancelled')
          GROUP BY template) AS latest
) AS owned
WHERE owned.templates IS NOT NULL;

-- name: emails
SELECT key, published, category FROM email;

-- name: templates
-- Only what a marketing message is made of is looked into.
SELECT kind, key, published, CASE WHEN kind = 'message' THEN content END AS channels FROM template;

-- name: sent
-- When marketing messages went, or are to go. Served by message_marketing_idx.
SELECT contact_id, channel, array_agg(due_at) AS sent FROM message
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND channel = ANY (CAST(:channels AS text[])) AND marketing
  AND due_at > :since AND state NOT IN ('failed', 'cancelled')
GROUP BY contact_id, channel;

-- name: countries
-- What fields that policies name hold.
SELECT contact.id, (SELECT jsonb_object_agg(field, contact.fields -> field)
                    FROM unnest(CAST(:fields AS text[])) AS field) AS countries
FROM contact WHERE contact.id = ANY (CAST(:ids AS bigint[]));

-- name: stages
SELECT key, weight, published FROM stage;

-- name: campaigns
-- The campaigns that contacts are in. Served by the primary key of membership.
SELECT membership.contact_id, campaign.key, membership.added_at
FROM membership JOIN campaign ON campaign.id = membership.campaign_id
WHERE membership.contact_id = ANY (CAST(:ids AS bigint[])) AND membership.left_at IS NULL
  AND campaign.deleted_at IS NULL;

-- name: devices
-- Served by the primary key, as all three are.
SELECT contact_id, type, brand, os FROM device WHERE contact_id = ANY (CAST(:ids AS bigint[]));

-- name: submissions
-- Those of forms that are gone are gone. The latest ones of each contact, the oldest of these first.
SELECT wanted.id, form.key, sent.fields, sent.at
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, form_id, fields, at FROM form_submission WHERE form_submission.contact_id = wanted.id
    ORDER BY form_submission.contact_id, form_submission.id DESC LIMIT :most
) AS sent
JOIN form ON form.id = sent.form_id + 0
ORDER BY wanted.id, sent.at, sent.id;

-- name: events
-- What contacts did of some types, the latest of each contact. Received and happened are bound as in `visits`. What
-- machines did in a contact's name is marked.
SELECT wanted.id AS contact_id, happened.received_at, happened.source, happened.id, happened.type, happened.at,
       happened.data
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT received_at, source, id, type, at, data FROM event
    WHERE event.contact_id = wanted.id AND type LIKE ANY (CAST(:types AS text[]))
      AND NOT (type = ANY (CAST(:by_machines AS text[]))
               AND coalesce(data ->> 'bot', '') NOT IN ('', 'false', '0', '[]', '{}'))
      AND at >= coalesce(CAST(:since AS timestamptz), '-infinity') - interval '1 day'
      AND received_at >= coalesce(CAST(:since AS timestamptz), '-infinity') - interval '2 days'
    ORDER BY at DESC LIMIT :most
) AS happened;

-- name: mailings
-- What became of emails to contacts, by our own messages, and by events that name an email of somebody else's. An email
-- without an address went to somebody else about the contact. The latest of each kind and email are enough, but where
-- they are too many.
SELECT wanted.id, became.activity, became.email, became.at
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT activity, email, at FROM (
        SELECT kind.activity, message.template AS email, kind.at
        FROM message
        CROSS JOIN LATERAL (VALUES ('sent', message.sent_at), ('opened', message.opened_at),
                                   ('clicked', message.clicked_at), ('bounced', message.bounced_at)) AS kind (activity, at)
        WHERE message.contact_id = wanted.id AND message.channel = 'email' AND message.address IS NOT NULL
          AND kind.at IS NOT NULL
        UNION ALL
        SELECT kind.activity, data ->> 'email', event.at
        FROM event
        JOIN (VALUES ('email.opened', 'opened'), ('email.clicked', 'opened'), ('email.clicked', 'clicked'),
                     ('email.bounced', 'bounced')) AS kind (type, activity) ON kind.type = event.type
        WHERE event.contact_id = wanted.id AND data ? 'email' AND NOT data ? 'bot'
          AND received_at >= coalesce(CAST(:since AS timestamptz), '-infinity') - interval '2 days'
    ) AS every
    WHERE at >= coalesce(CAST(:since AS timestamptz), '-infinity') - interval '1 day'
    ORDER BY at DESC LIMIT 4 * :most
) AS became;

-- name: visits
-- Pages seen. An event comes after it happened, or a clock is wrong by less than a day, so the time it was
-- received bounds the search as well, and leaves out partitions; one day more is for dates, which begin
-- earlier in some timezones than in UTC. Where no period ends, the latest visit of
-- a page stands for all of them.
SELECT contact_id, data ->> 'url', data ->> 'page', max(at)
FROM event
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND type = 'page.hit'
  -- Those of machines are marked.
  AND NOT data ? 'bot'
  AND at >= coalesce(CAST(:since AS timestamptz), '-infinity') - interval '1 day'
  AND received_at >= coalesce(CAST(:since AS timestamptz), '-infinity') - interval '2 days'
GROUP BY contact_id, 2, 3, CASE WHEN :latest THEN NULL ELSE at END;

-- name: save_columns
-- `= ANY (ARRAY[…])` is served by the primary key and by nothing else: it cannot be merged or hashed, so a batch
-- never reads all contacts to be compared with it. So in all that follow.
UPDATE contact
SET email = changed.email, timezone = changed.timezone, points = changed.points, stage = changed.stage,
    owner = changed.owner, changed_at = :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:emails AS text[]), CAST(:timezones AS text[]), CAST(:points AS int[]),
            CAST(:stages AS text[]), CAST(:owners AS text[])) AS changed (id, email, timezone, points, stage, owner)
WHERE contact.id = ANY (ARRAY[changed.id]);

-- name: save_points
-- As `save_columns`, where nothing else of the row changed.
UPDATE contact SET points = changed.points, changed_at = :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:points AS int[])) AS changed (id, points)
WHERE contact.id = ANY (ARRAY[changed.id]);

-- name: save_fields
UPDATE contact SET fields = changed.fields, changed_at = :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:fields AS jsonb[])) AS changed (id, fields)
WHERE contact.id = ANY (ARRAY[changed.id]);

-- name: save_scores
INSERT INTO contact_score (contact_id, group_key, points)
SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:groups AS text[]), CAST(:points AS int[]))
ON CONFLICT (contact_id, group_key) DO UPDATE SET points = excluded.points;

-- name: add_tags
INSERT INTO contact_tag (contact_id, tag)
SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:tags AS text[]))
ON CONFLICT DO NOTHING;

-- name: remove_tags
-- By the place of each row, as in `move` of waits.sql.
DELETE FROM contact_tag
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tags AS text[])) AS gone (contact_id, tag)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM contact_tag
        WHERE contact_tag.contact_id = gone.contact_id AND contact_tag.tag = gone.tag
        LIMIT 1
    ) AS found
));

-- name: refuse
-- What may be replaced was decided under the contacts' locks, which whoever unsubscribes takes as well.
INSERT INTO do_not_contact (contact_id, channel, reason, comment, at)
SELECT id, channel, reason, comment, :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:channels AS text[]), CAST(:reasons AS text[]), CAST(:comments AS text[]))
     AS new (id, channel, reason, comment)
ON CONFLICT (contact_id, channel) DO UPDATE
-- A weaker reason goes beneath, or has the stronger one above it, for when that is taken back.
SET (reason, comment, at, address, beneath) = (
    SELECT CASE WHEN weaker THEN do_not_contact.reason ELSE excluded.reason END,
           CASE WHEN weaker THEN do_not_contact.comment ELSE excluded.comment END,
           CASE WHEN weaker THEN do_not_contact.at ELSE excluded.at END,
           CAST(NULL AS text),
           CASE WHEN do_not_contact.address IS NOT NULL THEN '{}'
                ELSE refusals_beneath(
                    do_not_contact.beneath, weaker, do_not_contact.reason, do_not_contact.at, do_not_contact.comment,
                    excluded.reason, excluded.at, excluded.comment) END
    FROM (SELECT do_not_contact.address IS NULL AND is_weaker_refusal(excluded.reason, do_not_contact.reason)
         ) AS compared (weaker)
);

-- name: allow
-- By the place of each row, as in `move` of waits.sql.
DELETE FROM do_not_contact
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:ids AS bigint[]), CAST(:channels AS text[])) AS gone (contact_id, channel)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM do_not_contact
        WHERE do_not_contact.contact_id = gone.contact_id AND do_not_contact.channel = gone.channel
        LIMIT 1
    ) AS found
));

-- name: already_passed
-- Where contacts of a batch came already, of steps that moved; the claims in hand are no waits any more.
SELECT contact_id, step_id, passage FROM outcome
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND step_id = ANY (CAST(:step_ids AS int[]))
UNION
SELECT contact_id, step_id, passage FROM wait
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND step_id = ANY (CAST(:step_ids AS int[]));

-- name: send
-- The outbox. The key is unique, so a message written once stays one; it ends with the installation's name, so that
-- no receiver takes a message of a copy for trials for one of ours.
INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, address, payload,
                     marketing, priority, due_at, created_at, held)
SELECT contact_id, key || coalesce('-' || (SELECT value FROM installation WHERE name = 'name'), ''), :campaign_id, step_id, rotation, channel, template, address, payload, marketing, priority,
       coalesce(not_before, :now), :now, held
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[]), CAST(:step_ids AS int[]),
            CAST(:rotations AS int[]), CAST(:channels AS text[]), CAST(:templates AS text[]),
            CAST(:addresses AS text[]), CAST(:payloads AS jsonb[]), CAST(:marketings AS boolean[]),
            CAST(:priorities AS smallint[]), CAST(:not_befores AS timestamptz[]), CAST(:helds AS text[]))
     AS new (contact_id, key, step_id, rotation, channel, template, address, payload, marketing, priority, not_before,
             held)
ON CONFLICT (key) DO NOTHING;
