-- name: version
SELECT version FROM rule_set;

-- name: hold
-- At the end of a transaction: no rule changes until it is over, or one is being changed, and there is no row.
SELECT version FROM rule_set FOR SHARE SKIP LOCKED;

-- name: begin_to_change
-- Whoever changes rules does so alone, and with a number of its own.
UPDATE rule_set SET version = version + 1 RETURNING version;

-- name: stored
SELECT id, key, rule, rule_digest, rule_version, reads, goal_of FROM segment
WHERE rule IS NOT NULL AND (CAST(:key AS text) IS NULL OR key = CAST(:key AS text))
ORDER BY key;

-- name: watchers
-- What rules of campaigns read: those of decisions, and those of exits, which are of no step.
SELECT step.campaign_id, step.id AS step_id, step.reads
FROM step JOIN campaign ON campaign.id = step.campaign_id AND campaign.deleted_at IS NULL
WHERE step.reads IS NOT NULL AND step.removed_at IS NULL
UNION ALL
SELECT id, NULL, exit_reads FROM campaign WHERE exit_reads IS NOT NULL AND deleted_at IS NULL;

-- name: has_watchers
SELECT EXISTS (SELECT FROM step WHERE campaign_id = :campaign_id AND reads IS NOT NULL)
    OR EXISTS (SELECT FROM campaign WHERE id = :campaign_id AND exit_reads IS NOT NULL);

-- name: clear_watchers
WITH exits AS (
    UPDATE campaign SET exit_reads = NULL WHERE id = :campaign_id AND exit_reads IS NOT NULL
)
UPDATE step SET reads = NULL WHERE campaign_id = :campaign_id AND reads IS NOT NULL;

-- name: watch_step
UPDATE step SET reads = CAST(:reads AS text[]) WHERE id = :step_id AND campaign_id = :campaign_id;

-- name: watch_exits
UPDATE campaign SET exit_reads = CAST(:reads AS text[]) WHERE id = :campaign_id;

-- name: ids
-- Of segments and campaigns that rules name.
SELECT 'segments' AS kind, key, id FROM segment WHERE key = ANY (CAST(:segments AS text[]))
UNION ALL
SELECT 'campaigns', key, id FROM campaign WHERE key = ANY (CAST(:campaigns AS text[]));

-- name: save
UPDATE segment
SET rule = CAST(:rule AS json), rule_digest = :digest, rule_version = rule_version + 1, reads = :reads,
    rule_error = NULL, rule_failed_at = NULL
WHERE id = :segment_id;

-- name: complain
-- The latest error of a rule, at most once a minute: many contacts may have the same. Whoever finds somebody else
-- writing it leaves that to them, and so never waits.
UPDATE segment SET rule_error = :error, rule_failed_at = :now
WHERE ctid = (
    SELECT ctid FROM segment AS failing
    WHERE failing.id = :segment_id
      AND (rule_error IS DISTINCT FROM :error OR rule_failed_at < CAST(:now AS timestamptz) - interval '1 minute')
    FOR NO KEY UPDATE SKIP LOCKED
);

-- name: forgive
-- What a rule raised before it was asked of everybody, and not since.
UPDATE segment SET rule_error = NULL, rule_failed_at = NULL WHERE id = :segment_id AND rule_failed_at < :since;

-- name: complaints
SELECT key, rule_error FROM segment WHERE rule_error IS NOT NULL ORDER BY key;

-- name: standing
-- What contacts are in segments: one probe of the primary key for each contact, as in the statements of batches.
SELECT found.contact_id, found.segment_id, found.active, found.manually_added, found.manually_removed
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM segment_member
    WHERE segment_member.contact_id = wanted.id AND segment_member.segment_id = ANY (CAST(:segment_ids AS int[]))
    OFFSET 0
) AS found;

-- name: enter
-- By rule. Whom somebody took out by hand stays out. The caller holds the contacts' locks.
INSERT INTO segment_member (contact_id, segment_id, active, entry, changed_at)
SELECT contact_id, segment_id, true, nextval('segment_entry'), :now
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:segment_ids AS int[])) AS new (contact_id, segment_id)
ORDER BY contact_id, segment_id
ON CONFLICT (contact_id, segment_id) DO UPDATE
SET active = true, manually_added = false, entry = excluded.entry, changed_at = excluded.changed_at
WHERE NOT segment_member.active AND NOT segment_member.manually_removed
RETURNING contact_id, segment_id;

-- name: leave
-- By rule. Whom somebody put in by hand stays in. By the place of each row, as in `move` of waits.sql.
UPDATE segment_member SET active = false, changed_at = :now
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:segment_ids AS int[])) AS gone (contact_id, segment_id)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM segment_member
        WHERE segment_member.contact_id = gone.contact_id AND segment_member.segment_id = gone.segment_id
          AND segment_member.active AND NOT segment_member.manually_added
        LIMIT 1
    ) AS found
))
RETURNING contact_id, segment_id;

-- name: release
-- What was done by hand is forgotten: the rule decides of these contacts, or of all.
UPDATE segment_member SET manually_added = false, manually_removed = false
WHERE segment_id = :segment_id AND (manually_added OR manually_removed)
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
RETURNING contact_id;

-- name: set_due
INSERT INTO segment_due (contact_id, segment_id, due_at)
SELECT contact_id, segment_id, due_at
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:segment_ids AS int[]), CAST(:dues AS timestamptz[]))
     AS new (contact_id, segment_id, due_at)
ORDER BY contact_id, segment_id
ON CONFLICT (contact_id, segment_id) DO UPDATE SET due_at = excluded.due_at
WHERE segment_due.due_at <> excluded.due_at;

-- name: drop_due
DELETE FROM segment_due
WHERE ctid = ANY (ARRAY(
    SELECT found.place
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:segment_ids AS int[])) AS gone (contact_id, segment_id)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM segment_due
        WHERE segment_due.contact_id = gone.contact_id AND segment_due.segment_id = gone.segment_id
        LIMIT 1
    ) AS found
));

-- name: drop_all_due
DELETE FROM segment_due WHERE segment_id = :segment_id;

-- name: due_contacts
-- Those whose rules are due, so many of each segment, the oldest first, as far as nobody has them in hand.
SELECT first.contact_id
FROM unnest(CAST(:segment_ids AS int[])) AS rule (segment_id)
CROSS JOIN LATERAL (
    SELECT contact_id, due_at FROM segment_due
    WHERE segment_due.segment_id = rule.segment_id AND segment_due.due_at <= :now
    ORDER BY segment_due.due_at LIMIT :limit
) AS first
GROUP BY first.contact_id
ORDER BY min(first.due_at)
LIMIT :limit;

-- name: due_of
-- What of contacts, whose locks the caller holds, is due.
SELECT found.contact_id, found.segment_id
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT contact_id, segment_id FROM segment_due
    WHERE segment_due.contact_id = wanted.id AND segment_due.due_at <= :now
      AND segment_due.segment_id = ANY (CAST(:segment_ids AS int[]))
    OFFSET 0
) AS found;

-- name: lock_free
-- Whoever is in other hands has a turn later.
SELECT id FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: gone
SELECT given.id FROM unnest(CAST(:ids AS bigint[])) AS given (id)
WHERE (SELECT true FROM contact WHERE contact.id = given.id) IS NULL;

-- name: leave_to_others
INSERT INTO unjudged (contact_id, what)
SELECT id, what FROM unnest(CAST(:ids AS bigint[]), CAST(:whats AS text[])) AS given (id, what);

-- name: leave_who_has
-- Everybody with one of these addresses, in small letters. Served by contact_email_idx.
INSERT INTO unjudged (contact_id, what)
SELECT id, 'do_not_contact' FROM contact WHERE lower(email) = ANY (CAST(:addresses AS text[]));

-- name: leave_who_joined
INSERT INTO unjudged (contact_id, what)
SELECT contact_id, :what FROM membership
WHERE campaign_id = :campaign_id AND contact_id BETWEEN :first_id AND :last_id AND added_at = :at;

-- name: leave_imported
-- Whom an import of this transaction made or changed.
INSERT INTO unjudged (contact_id)
SELECT contact.id FROM incoming JOIN contact USING (key) WHERE contact.changed_at = :now;

-- name: oldest_due
-- Since when somebody is to be asked about: left to others, or by time. Of each segment the oldest, from
-- segment_due_idx, and of each campaign with exits by rule, from membership_exit_idx: as many probes as there are
-- rules, whatever waits.
SELECT rule_set.version,
       least((SELECT at FROM unjudged ORDER BY id LIMIT 1),
             (SELECT at FROM unjudged_company ORDER BY id LIMIT 1),
             (SELECT min(first.due_at)
              FROM unnest(CAST(:segment_ids AS int[])) AS rule (segment_id)
              CROSS JOIN LATERAL (
                  SELECT due_at FROM segment_due
                  WHERE segment_due.segment_id = rule.segment_id AND segment_due.due_at <= :now
                  ORDER BY segment_due.due_at LIMIT 1
              ) AS first),
             (SELECT min(first.exit_due_at)
              FROM unnest(CAST(:campaign_ids AS int[])) AS campaign (id)
              CROSS JOIN LATERAL (
                  SELECT exit_due_at FROM membership
                  WHERE membership.campaign_id = campaign.id AND membership.exit_due_at <= :now
                  ORDER BY membership.exit_due_at LIMIT 1
              ) AS first)) AS since
FROM rule_set;

-- name: contacts_left
SELECT contact_id FROM (
    SELECT contact_id, min(id) AS id FROM (SELECT contact_id, id FROM unjudged ORDER BY id LIMIT :look) AS oldest
    GROUP BY contact_id
) AS found
ORDER BY id LIMIT :limit;

-- name: unasked
-- Also for what their companies are.
SELECT contact_id FROM unjudged WHERE contact_id = ANY (CAST(:ids AS bigint[]))
UNION
SELECT company_member.contact_id FROM unjudged_company JOIN company_member USING (company_id)
WHERE company_member.contact_id = ANY (CAST(:ids AS bigint[]));

-- name: take_left
-- All that is left of contacts whose locks the caller holds.
DELETE FROM unjudged WHERE contact_id = ANY (CAST(:ids AS bigint[]))
RETURNING contact_id, what;

-- name: expand_companies
-- The contacts of companies that changed, so many companies at a time.
WITH taken AS (
    DELETE FROM unjudged_company
    WHERE id IN (SELECT id FROM unjudged_company ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING company_id
)
INSERT INTO unjudged (contact_id, what)
SELECT DISTINCT company_member.contact_id, 'companies'
FROM company_member
WHERE company_member.company_id = ANY (ARRAY(SELECT company_id FROM taken));

-- name: companies_changed
INSERT INTO unjudged_company (company_id)
SELECT id FROM company WHERE key = ANY (CAST(:keys AS text[])) ORDER BY id;
