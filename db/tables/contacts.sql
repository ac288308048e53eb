-- name: analyze
ANALYZE contact, contact_tag, segment_member;

-- name: prepare
-- What a file says, before it is compared with what there is. It belongs to this connection and
-- goes with the transaction.
CREATE TEMPORARY TABLE incoming (
    line     bigint NOT NULL,
    by_email boolean NOT NULL,
    key      text NOT NULL,
    email    text,
    timezone text,
    points   int,
    stage    text,
    owner    text,
    fields   jsonb,
    tags     jsonb,
    company  text,
    refusals jsonb,
    -- How many rows of the file this one stands for, and how many of those differ.
    rows     int NOT NULL DEFAULT 1,
    versions int NOT NULL DEFAULT 1
) ON COMMIT DROP;

-- name: stage
COPY incoming (line, by_email, key, email, timezone, points, stage, owner, fields, tags, company, refusals) FROM STDIN;

-- name: settle
-- Without this, the planner takes a new table for a small one and joins a million rows one by one.
ANALYZE incoming;

-- name: join_by_hash
-- What the statistics say of the contacts may be long untrue, and a nested loop would then compare each row of
-- the file with each contact. Nor is a table read as a whole for one of them.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true);

-- name: given
-- What any row has, in one pass.
SELECT count(*) AS n, bool_or(by_email) AS addresses, bool_or(tags IS NOT NULL) AS tags, bool_or(company IS NOT NULL) AS companies,
       bool_or(refusals IS NOT NULL) AS refusals
FROM incoming;

-- name: named_and_rows
SELECT count(*), coalesce(sum(rows), 0) FROM incoming;

-- A file of few rows finds its contacts one by one (`few`), which no statistics turn around.

-- name: identify
-- A row without a key is the contact with its address: the one whose key is the address, else the
-- oldest. Rows that nobody answers to, and that differ in capitals only, are one new contact.
-- Served by contact_email_idx.
WITH known AS (
    SELECT DISTINCT ON (incoming.line) incoming.line, contact.key
    FROM incoming
    JOIN contact ON lower(contact.email) = lower(incoming.email)
    -- when few: CROSS JOIN LATERAL (SELECT * FROM contact WHERE lower(contact.email) = lower(incoming.email) OFFSET 0) AS contact
    WHERE incoming.by_email
    ORDER BY incoming.line, contact.key = incoming.key DESC, contact.id
), named AS (
    SELECT incoming.line,
           coalesce(known.key, first_value(incoming.key) OVER (PARTITION BY lower(incoming.email)
                                                               ORDER BY incoming.line)) AS key
    FROM incoming
    LEFT JOIN known USING (line)
    WHERE incoming.by_email
)
UPDATE incoming
SET key = named.key
FROM named
WHERE incoming.line = named.line AND incoming.key <> named.key;

-- name: follow_aliases
-- A row of a contact that was merged into another is one of the survivor.
UPDATE incoming
SET key = coalesce((SELECT contact.key FROM contact WHERE contact.id = contact_alias.contact_id), incoming.key)
FROM contact_alias
WHERE incoming.key = contact_alias.key;

-- name: find_same_addresses
-- Rows that would give a contact the address of another one: of somebody who has it already, unless the file
-- gives them a new one, or else of the first row that names it. Who is a contact already goes before who would
-- become one. Whoever has the address now keeps it, also where several do. Served by contact_email_idx.
CREATE TEMPORARY TABLE same_address ON COMMIT DROP AS
WITH moving AS MATERIALIZED (
    SELECT DISTINCT contact.id FROM incoming JOIN contact USING (key)
    -- when few: SELECT DISTINCT contact.id FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
    WHERE lower(incoming.email) <> lower(contact.email)
), held AS MATERIALIZED (
    SELECT incoming.line, incoming.key, contact.key AS holder, contact.id
    FROM incoming
    JOIN contact ON lower(contact.email) = lower(incoming.email)
    -- when few: CROSS JOIN LATERAL (SELECT * FROM contact WHERE lower(contact.email) = lower(incoming.email) OFFSET 0) AS contact
    LEFT JOIN moving ON moving.id = contact.id
    WHERE contact.key = incoming.key OR moving.id IS NULL
), doubled AS (
    SELECT lower(email) AS address FROM incoming WHERE email IS NOT NULL
    GROUP BY 1 HAVING min(key COLLATE "C") <> max(key COLLATE "C")
), first AS (
    SELECT line, key,
           first_value(key) OVER (PARTITION BY lower(email)
                                  ORDER BY EXISTS (SELECT FROM contact WHERE contact.key = incoming.key) DESC, line)
               AS owner
    FROM incoming
    WHERE lower(email) IN (SELECT address FROM doubled)
      AND NOT EXISTS (SELECT FROM held WHERE held.line = incoming.line)
), owned AS (
    SELECT line, key, (array_agg(holder ORDER BY id))[1] AS owner FROM held
    GROUP BY line, key HAVING bool_and(holder <> key)
    UNION ALL
    SELECT line, key, owner FROM first WHERE owner <> key
)
SELECT owned.line, owned.key, owned.owner, incoming.email,
       EXISTS (SELECT FROM contact WHERE contact.key = owned.key) AS exists
FROM owned JOIN incoming USING (line);

-- name: same_addresses
SELECT line, key, email, owner, "exists" FROM same_address WHERE "exists" OR NOT CAST(:merging AS boolean) ORDER BY line;

-- name: leave_out_same_addresses
-- Who is a contact already is not made one with another in passing; somebody new may be.
DELETE FROM incoming USING same_address
WHERE incoming.line = same_address.line AND (same_address.exists OR NOT CAST(:merging AS boolean));

-- name: merge_same_addresses
UPDATE incoming SET key = same_address.owner
FROM same_address
WHERE incoming.line = same_address.line AND NOT same_address.exists;

-- name: lead_same_addresses
-- The keys of who was merged lead to the contact that they are, so that the file means the same the next time.
INSERT INTO contact_alias (contact_id, key, merged_at)
SELECT DISTINCT ON (same_address.key) contact.id, same_address.key, CAST(:now AS timestamptz)
FROM same_address JOIN contact ON contact.key = same_address.owner
WHERE NOT same_address.exists AND NOT EXISTS (SELECT FROM contact AS own WHERE own.key = same_address.key)
ORDER BY same_address.key, same_address.line
ON CONFLICT (key) DO NOTHING;

-- name: merge_repeated
-- Several rows of one contact become one: in each column the last that is not blank, which is what
-- reading them one after another would give. So does jsonb_object_agg: of one name it keeps the last.
WITH repeated AS MATERIALIZED (
    SELECT key FROM incoming GROUP BY key HAVING count(*) > 1
), taken AS MATERIALIZED (
    DELETE FROM incoming USING repeated WHERE incoming.key = repeated.key RETURNING incoming.*
), merged_fields AS (
    SELECT taken.key, jsonb_object_agg(field.key, field.value ORDER BY taken.line) AS fields
    FROM taken CROSS JOIN LATERAL jsonb_each(taken.fields) AS field
    GROUP BY taken.key
), merged_tags AS (
    SELECT taken.key, jsonb_agg(DISTINCT tag) AS tags
    FROM taken CROSS JOIN LATERAL jsonb_array_elements(taken.tags) AS tag
    GROUP BY taken.key
), merged_refusals AS (
    -- "unsubscribed" is the last of the reasons in the alphabet, and outranks the others.
    SELECT taken.key, jsonb_object_agg(refusal.key, refusal.value ORDER BY refusal.value) AS refusals
    FROM taken CROSS JOIN LATERAL jsonb_each(taken.refusals) AS refusal
    GROUP BY taken.key
), merged AS (
    SELECT taken.key,
           count(*) AS rows,
           count(DISTINCT (taken.email, taken.timezone, taken.points, taken.stage, taken.owner, taken.fields, taken.tags,
                           taken.company, taken.refusals)) AS versions,
           max(taken.line) AS line,
           bool_and(taken.by_email) AS by_email,
           (array_agg(taken.email ORDER BY taken.line DESC) FILTER (WHERE taken.email IS NOT NULL))[1] AS email,
           (array_agg(taken.timezone ORDER BY taken.line DESC) FILTER (WHERE taken.timezone IS NOT NULL))[1] AS timezone,
           (array_agg(taken.points ORDER BY taken.line DESC) FILTER (WHERE taken.points IS NOT NULL))[1] AS points,
           (array_agg(taken.stage ORDER BY taken.line DESC) FILTER (WHERE taken.stage IS NOT NULL))[1] AS stage,
           (array_agg(taken.owner ORDER BY taken.line DESC) FILTER (WHERE taken.owner IS NOT NULL))[1] AS owner,
           (array_agg(taken.company ORDER BY taken.line DESC) FILTER (WHERE taken.company IS NOT NULL))[1] AS company
    FROM taken
    GROUP BY taken.key
)
INSERT INTO incoming (line, by_email, key, email, timezone, points, stage, owner, fields, tags, company, refusals,
                      rows, versions)
SELECT merged.line, merged.by_email, merged.key, merged.email, merged.timezone, merged.points, merged.stage,
       merged.owner, merged_fields.fields, merged_tags.tags, merged.company, merged_refusals.refusals, merged.rows,
       merged.versions
FROM merged
LEFT JOIN merged_fields USING (key)
LEFT JOIN merged_refusals USING (key)
LEFT JOIN merged_tags USING (key);

-- name: add
-- In key order, so that two imports with common keys wait for each other rather than deadlock. A
-- contact that somebody else adds meanwhile is left to `update`, which runs after this one and sees it.
-- Not one statement with DO UPDATE: a row without points must give 0 to a new contact and nothing to
-- an existing one, and each row of an existing contact would use up an id.
WITH added AS (
    INSERT INTO contact (key, email, timezone, points, stage, owner, fields, created_at, changed_at)
    SELECT incoming.key, incoming.email, incoming.timezone, coalesce(incoming.points, 0), incoming.stage,
           incoming.owner, coalesce(incoming.fields, '{}'), :now, :now
    FROM incoming
    WHERE NOT EXISTS (SELECT FROM contact AS present WHERE present.key = incoming.key)
    -- when few: WHERE (SELECT true FROM contact AS present WHERE present.key = incoming.key) IS NULL
    ORDER BY incoming.key COLLATE "C"
    ON CONFLICT (key) DO NOTHING
    -- when alone:
    RETURNING id, key, points, stage
), logged_points AS (
    INSERT INTO point_log (contact_id, change, points, source, at)
    SELECT id, points, points, 'import', :now FROM added WHERE points <> 0
), logged_stages AS (
    INSERT INTO stage_log (contact_id, to_stage, source, at)
    SELECT id, stage, 'import', :now FROM added WHERE stage IS NOT NULL
)
SELECT (SELECT count(*) FROM added) AS added,
       -- Not by a join with `added`: whose rows nobody can estimate, and where contacts were before, the
       -- planner takes them for one.
       (SELECT coalesce(sum(versions - 1), 0) FROM incoming
        WHERE versions > 1 AND NOT EXISTS (SELECT FROM contact AS present WHERE present.key = incoming.key)) AS repeated;
        -- when few: WHERE versions > 1 AND (SELECT true FROM contact AS present WHERE present.key = incoming.key) IS NULL) AS repeated

-- name: update
-- Rows are locked in the order of ids, as the workers lock them. Only what differs is written:
-- importing a file again writes nothing, and an address that differs in case alone stays as it was spelled first. A tag that is missing counts as a difference, and so does another
-- primary company: all that is written later is written to rows that are locked here.
WITH differing AS MATERIALIZED (
    SELECT contact.id, contact.created_at, incoming.email, incoming.timezone, incoming.points, incoming.stage, incoming.owner,
           coalesce(incoming.fields, '{}') AS fields, contact.points AS had_points, contact.stage AS had_stage,
           incoming.versions
    FROM incoming
    JOIN contact USING (key)
    -- when few: CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
    WHERE (contact.email, contact.timezone, contact.points, contact.stage, contact.owner, contact.fields)
          IS DISTINCT FROM
          (CASE WHEN lower(incoming.email) = lower(contact.email) THEN contact.email
                ELSE coalesce(incoming.email, contact.email) END, coalesce(incoming.timezone, contact.timezone),
           coalesce(incoming.points, contact.points), coalesce(incoming.stage, contact.stage),
           coalesce(incoming.owner, contact.owner), contact.fields || coalesce(incoming.fields, '{}'))
       OR EXISTS (SELECT FROM jsonb_array_elements_text(incoming.tags) AS tag
                  WHERE NOT EXISTS (SELECT FROM contact_tag
                                    WHERE contact_tag.contact_id = contact.id AND contact_tag.tag = tag))
       OR incoming.company IS NOT NULL
          AND NOT EXISTS (SELECT FROM company_member JOIN company ON company.id = company_member.company_id
                          WHERE company_member.contact_id = contact.id AND company_member.is_primary
                          -- when few: WHERE company_member.contact_id = contact.id AND company_member.contact_id = ANY (ARRAY(SELECT contact.id FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact)) AND company_member.is_primary
                            AND company.key = incoming.company)
       OR EXISTS (SELECT FROM jsonb_each_text(incoming.refusals) AS refusal (channel, reason)
                  WHERE NOT EXISTS (SELECT FROM do_not_contact
                                    WHERE do_not_contact.contact_id = contact.id
                                      AND do_not_contact.channel = refusal.channel
                                      AND (refusal.reason = 'bounced' OR do_not_contact.reason = 'manual'
                                           OR do_not_contact.reason = 'unsubscribed'
                                              AND (refusal.reason = 'unsubscribed'
                                                   OR do_not_contact.address IS NULL
                                                      AND do_not_contact.beneath ? 'manual'))))
    ORDER BY contact.id
    FOR NO KEY UPDATE OF contact
), logged_points AS (
    INSERT INTO point_log (contact_id, change, points, source, at)
    SELECT id, CAST(points AS bigint) - had_points, points, 'import', :now FROM differing WHERE points <> had_points
), logged_stages AS (
    INSERT INTO stage_log (contact_id, from_stage, to_stage, source, at)
    SELECT id, had_stage, stage, 'import', :now
    FROM differing WHERE stage <> coalesce(had_stage, '')
), updated AS (
    UPDATE contact
    SET email = CASE WHEN lower(differing.email) = lower(contact.email) THEN contact.email
                     ELSE coalesce(differing.email, contact.email) END,
        timezone = coalesce(differing.timezone, contact.timezone),
        points = coalesce(differing.points, contact.points),
        stage = coalesce(differing.stage, contact.stage),
        owner = coalesce(differing.owner, contact.owner),
        fields = contact.fields || differing.fields,
        changed_at = :now
    FROM differing
    WHERE contact.id = differing.id
    -- when few: WHERE contact.id = differing.id AND contact.id = ANY (ARRAY(SELECT id FROM differing))
)
-- Who was added just now has no tags, no company and no refusals yet.
SELECT coalesce(sum(versions), 0) FROM differing WHERE created_at <> :now;

-- name: add_tags
INSERT INTO contact_tag (contact_id, tag)
SELECT DISTINCT contact.id, tag
FROM incoming
JOIN contact USING (key)
-- when few: CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
CROSS JOIN LATERAL jsonb_array_elements_text(incoming.tags) AS tag
ORDER BY contact.id, tag
ON CONFLICT DO NOTHING;

-- name: refuse
-- An entry that is there stays; only that of a mail server gives way to a person's word, and is kept beneath. So is
-- a colleague's word where a contact's own is, for when that is taken back.
-- What is said of emails holds for the mailbox, and so for others who have it; what colleagues say, for the contact.
WITH said AS MATERIALIZED (
    SELECT contact.id, refusal.channel, refusal.reason,
           CASE WHEN split_part(refusal.channel, ':', 1) = 'email' THEN nullif(lower(btrim(contact.email)), '') END
               AS address
    FROM incoming
    JOIN contact USING (key)
    -- when few: CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
    CROSS JOIN LATERAL jsonb_each_text(incoming.refusals) AS refusal (channel, reason)
), silenced AS (
    INSERT INTO refusal (address, channel, reason, comment, at)
    SELECT DISTINCT ON (address, channel) address, channel, reason, 'import', CAST(:now AS timestamptz)
    FROM said WHERE address IS NOT NULL
    ORDER BY address, channel, array_position(ARRAY['unsubscribed', 'manual', 'bounced'], reason)
    ON CONFLICT (address, channel) DO UPDATE
    SET (reason, comment, at, beneath) = (
        SELECT CASE WHEN weaker THEN refusal.reason ELSE excluded.reason END,
               CASE WHEN weaker THEN refusal.comment ELSE excluded.comment END,
               CASE WHEN weaker THEN refusal.at ELSE excluded.at END,
               CASE WHEN refusal.reason IS NULL THEN refusal.beneath
                    WHEN weaker THEN
                        refusal.beneath || jsonb_build_object(
                            excluded.reason, jsonb_build_object('at', excluded.at, 'comment', excluded.comment))
                    ELSE refusal.beneath || jsonb_build_object(
                             refusal.reason, jsonb_build_object('at', refusal.at, 'comment', refusal.comment)) END
        FROM (SELECT coalesce(refusal.reason = 'unsubscribed', false)) AS compared (weaker)
    )
    WHERE refusal.reason IS NULL OR refusal.reason = 'bounced' AND excluded.reason <> 'bounced'
       OR refusal.reason = 'unsubscribed' AND excluded.reason = 'manual' AND NOT refusal.beneath ? 'manual'
), refused AS (
    INSERT INTO do_not_contact (contact_id, channel, reason, comment, at, address)
    SELECT id, channel, reason, 'import', :now, CASE WHEN reason <> 'manual' THEN address END
    FROM said
    ORDER BY id, channel
    ON CONFLICT (contact_id, channel) DO UPDATE
    SET (reason, comment, at, address, beneath) = (
        SELECT CASE WHEN weaker THEN do_not_contact.reason ELSE excluded.reason END,
               CASE WHEN weaker THEN do_not_contact.comment ELSE excluded.comment END,
               CASE WHEN weaker THEN do_not_contact.at ELSE excluded.at END,
               excluded.address,
               CASE WHEN do_not_contact.address IS NOT NULL OR excluded.address IS NOT NULL THEN '{}'
                    WHEN weaker THEN
                        do_not_contact.beneath || jsonb_build_object(
                            excluded.reason, jsonb_build_object('at', excluded.at, 'comment', excluded.comment))
                    ELSE do_not_contact.beneath || jsonb_build_object(
                             do_not_contact.reason,
                             jsonb_build_object('at', do_not_contact.at, 'comment', do_not_contact.comment)) END
        FROM (SELECT do_not_contact.reason = 'unsubscribed' AND do_not_contact.address IS NULL) AS compared (weaker)
    )
    WHERE do_not_contact.reason = 'bounced' AND excluded.reason <> 'bounced'
          -- What is about the contact gives way to no word about an address, which is with the addresses.
          AND (excluded.address IS NULL OR do_not_contact.address IS NOT NULL)
       OR do_not_contact.reason = 'unsubscribed' AND excluded.reason = 'manual'
          AND (do_not_contact.address IS NOT NULL OR NOT do_not_contact.beneath ? 'manual')
    RETURNING contact_id
), kept AS (
    -- Who said so themselves, by the file, and whom a colleague's word keeps out all the same.
    SELECT DISTINCT said.id FROM said
    WHERE said.reason = 'unsubscribed'
      AND ((SELECT reason FROM do_not_contact
            WHERE do_not_contact.contact_id = said.id AND do_not_contact.channel = said.channel) = 'manual'
           OR (SELECT reason FROM refusal
               WHERE refusal.address = said.address AND refusal.channel = said.channel) = 'manual')
)
SELECT (SELECT count(DISTINCT contact_id) FROM refused) AS silenced, (SELECT count(*) FROM kept) AS kept_by_hand;

-- name: make_companies
INSERT INTO company (key, name)
SELECT DISTINCT incoming.company, incoming.company FROM incoming
WHERE incoming.company IS NOT NULL
  AND NOT EXISTS (SELECT FROM company WHERE company.key = incoming.company)
ORDER BY 1
ON CONFLICT (key) DO NOTHING;

-- name: join_companies
INSERT INTO company_member (contact_id, company_id)
SELECT contact.id, company.id
FROM incoming JOIN contact USING (key) JOIN company ON company.key = incoming.company
-- when few: FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact JOIN company ON company.key = incoming.company
ON CONFLICT DO NOTHING;

-- name: forget_primary_companies
-- Two statements, since the index that keeps the primary one alone looks at each row by itself. A company may have
-- as many members as the file has rows, so it is no way from one to the other.
UPDATE company_member SET is_primary = false
FROM incoming JOIN contact USING (key)
-- when few: FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
WHERE company_member.contact_id = contact.id AND company_member.is_primary
-- when few: WHERE company_member.contact_id = contact.id AND company_member.contact_id = ANY (ARRAY(SELECT contact.id FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact)) AND company_member.is_primary
  AND company_member.company_id <> (SELECT company.id FROM company WHERE company.key = incoming.company);

-- name: make_primary_companies
UPDATE company_member SET is_primary = true
FROM incoming JOIN contact USING (key)
-- when few: FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
WHERE company_member.contact_id = contact.id AND NOT company_member.is_primary
-- when few: WHERE company_member.contact_id = contact.id AND company_member.contact_id = ANY (ARRAY(SELECT contact.id FROM incoming CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact)) AND NOT company_member.is_primary
  AND company_member.company_id
      IS NOT DISTINCT FROM (SELECT company.id FROM company WHERE company.key = incoming.company);

-- name: incoming_ids
SELECT contact.id
FROM incoming
JOIN contact USING (key)
-- when few: CROSS JOIN LATERAL (SELECT * FROM contact WHERE contact.key = incoming.key OFFSET 0) AS contact
ORDER BY contact.id;

-- name: named
-- Whom names mean: by key, that of a merged contact leading to the survivor; then, of a name that is an address,
-- whoever has it, in capitals or not; of several, the oldest. Scalar sub-selects, each a probe of its index
-- whatever the statistics say; `+ 0` keeps the planner from looking for the lowest id in the order of ids.
SELECT wanted.name,
       coalesce((SELECT contact.id FROM contact WHERE contact.key = wanted.name),
                (SELECT contact_alias.contact_id FROM contact_alias WHERE contact_alias.key = wanted.name),
                (SELECT min(contact.id + 0) FROM contact WHERE lower(contact.email) = lower(wanted.address))) AS id
FROM unnest(CAST(:names AS text[]), CAST(:addresses AS text[])) AS wanted (name, address);

-- name: holders
-- Which contacts have addresses, the oldest first.
SELECT wanted.address, holder.id, holder.key
FROM unnest(CAST(:addresses AS text[])) AS wanted (address)
CROSS JOIN LATERAL (
    SELECT contact.id, contact.key FROM contact WHERE lower(contact.email) = lower(wanted.address)
    ORDER BY contact.id + 0 LIMIT 10
) AS holder;

-- name: show
SELECT contact.id, contact.key, contact.email, contact.timezone, contact.points, contact.stage, contact.owner,
       contact.fields,
       ARRAY(SELECT tag FROM contact_tag WHERE contact_tag.contact_id = contact.id ORDER BY tag) AS tags,
       ARRAY(SELECT segment.key
             FROM segment_member
             JOIN segment ON segment.id = segment_member.segment_id
             WHERE segment_member.contact_id = contact.id AND segment_member.active AND segment.goal_of IS NULL
             ORDER BY segment.key) AS segments,
       ARRAY(SELECT key FROM contact_alias WHERE contact_alias.contact_id = contact.id ORDER BY key) AS aliases,
       ARRAY(SELECT company.key
             FROM company_member
             JOIN company ON company.id = company_member.company_id
             WHERE company_member.contact_id = contact.id
             ORDER BY NOT company_member.is_primary, company.key) AS companies
FROM contact
WHERE contact.id = :id;

-- name: memberships
SELECT membership.campaign_id, campaign.key AS campaign, membership.rotation, membership.added_at,
       membership.left_at, membership.departure, membership.reason, membership.control,
       latest.reached_at, latest.until, latest.value
FROM membership
JOIN campaign ON campaign.id = membership.campaign_id
LEFT JOIN LATERAL (
    SELECT reached_at, nullif(until, 'infinity') AS until, value FROM trial
    WHERE trial.contact_id = membership.contact_id AND trial.campaign_id = membership.campaign_id
    ORDER BY number DESC LIMIT 1
) AS latest ON true
WHERE membership.contact_id = :contact_id
ORDER BY membership.added_at, campaign.key;

-- name: runs
SELECT campaign_id, nullif(key, '') AS key, rotation, began_at, left_at, departure::text, reason, entry FROM run
WHERE contact_id = :contact_id
ORDER BY began_at, number;

-- name: outcomes
-- With what became of the message that a step wrote; its key has the passage in the fourth place.
SELECT step.campaign_id, step.key AS step, outcome.rotation, outcome.result, outcome.at,
       CASE WHEN told.message IS NULL THEN outcome.detail
            ELSE coalesce(outcome.detail, '{}') || jsonb_build_object('message', told.message) END AS detail,
       (SELECT nullif(run.key, '') FROM run
        WHERE run.contact_id = outcome.contact_id AND run.campaign_id = step.campaign_id
          AND run.number = outcome.run) AS run
FROM outcome
JOIN step ON step.id = outcome.step_id
LEFT JOIN LATERAL (
    SELECT jsonb_strip_nulls(jsonb_build_object('key', message.key, 'channel', message.channel,
                                                'state', message.state, 'error', message.error)) AS message
    FROM message
    WHERE message.contact_id = outcome.contact_id AND message.step_id = outcome.step_id
      AND outcome.result = 'done' AND split_part(message.key, '-', 4) = outcome.passage::text
    ORDER BY message.id LIMIT 1
) AS told ON true
WHERE outcome.contact_id = :contact_id
ORDER BY outcome.at, outcome.rotation, outcome.step_id;

-- name: waits
-- A decision without a deadline is due at infinity, which Python has no name for.
SELECT step.campaign_id, step.key AS step,
       CASE wait.reason WHEN 'retry' THEN 'retry' ELSE step.kind END AS waiting,
       nullif(wait.due_at, 'infinity') AS due_at, wait.held,
       CASE WHEN wait.reason = 'retry' OR (wait.reason = 'decision' AND failure.at >= wait.anchor_at)
            THEN failure.error END AS error,
       (SELECT nullif(run.key, '') FROM run
        WHERE run.contact_id = wait.contact_id AND run.campaign_id = wait.campaign_id
          AND run.rotation = wait.rotation) AS run,
       wait.anchor_at
FROM wait
JOIN step ON step.id = wait.step_id
LEFT JOIN failure ON failure.contact_id = wait.contact_id AND failure.step_id = wait.step_id
WHERE wait.contact_id = :contact_id
ORDER BY wait.due_at, wait.step_id;

-- name: fields_of_nobody
-- The newest contacts stand for all: whoever has a field has had it from a file or an event of late.
WITH newest AS MATERIALIZED (
    SELECT fields FROM contact ORDER BY id DESC LIMIT :looked_at
)
SELECT name FROM unnest(CAST(:names AS text[])) AS asked (name)
WHERE EXISTS (SELECT FROM newest) AND NOT EXISTS (SELECT FROM newest WHERE jsonb_exists(newest.fields, asked.name));

-- name: field_kinds
-- What the newest contacts have in their fields: of one kind, or anything.
SELECT each.key,
       CASE WHEN bool_and(jsonb_typeof(each.value) = 'number') THEN 'number'
            WHEN bool_and(jsonb_typeof(each.value) = 'boolean') THEN 'boolean'
            WHEN bool_and(jsonb_typeof(each.value) = 'string' AND each.value #>> '{}' ~ '^\d{4}-\d\d-\d\d([T ]|$)') THEN 'date'
            ELSE 'text' END
FROM (SELECT fields FROM contact ORDER BY id DESC LIMIT :looked_at) AS newest,
     LATERAL jsonb_each(newest.fields) AS each
WHERE jsonb_typeof(each.value) <> 'null' AND each.value <> '""'
GROUP BY each.key;

-- name: field_names
SELECT DISTINCT jsonb_object_keys(newest.fields)
FROM (SELECT fields FROM contact ORDER BY id DESC LIMIT :looked_at) AS newest;

-- name: newest
SELECT id FROM contact ORDER BY id DESC LIMIT 1;
