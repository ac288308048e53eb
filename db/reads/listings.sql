-- name: by_prefix
-- Contacts whose key, address or name begins so: short reads, each of an index of its own. Whoever gets as many as the
-- limit types another letter.
(SELECT id FROM contact WHERE key LIKE :prefix ORDER BY key USING ~<~ LIMIT :limit)
UNION
(SELECT id FROM contact WHERE lower(email) LIKE lower(:prefix) ORDER BY lower(email) USING ~<~ LIMIT :limit)
UNION
(SELECT id FROM contact WHERE lower(fields ->> 'first_name') LIKE lower(:prefix)
 ORDER BY lower(fields ->> 'first_name') USING ~<~ LIMIT :limit)
UNION
(SELECT id FROM contact WHERE lower(fields ->> 'last_name') LIKE lower(:prefix)
 ORDER BY lower(fields ->> 'last_name') USING ~<~ LIMIT :limit)
UNION
-- First and last name, in any order.
(SELECT id FROM contact
 WHERE :two AND lower(fields ->> 'last_name') LIKE lower(:last) AND lower(fields ->> 'first_name') LIKE lower(:first)
 LIMIT :limit)
UNION
(SELECT id FROM contact
 WHERE :two AND lower(fields ->> 'last_name') LIKE lower(:first) AND lower(fields ->> 'first_name') LIKE lower(:last)
 LIMIT :limit)
ORDER BY id DESC;

-- name: by_field
-- Among the newest contacts alone; whether there are older ones comes with each row, and in a row without a contact.
WITH lowest AS MATERIALIZED (
    SELECT coalesce((SELECT id FROM contact ORDER BY id DESC OFFSET :looked_at LIMIT 1), -1) AS id
)
(SELECT contact.id, lowest.id >= 0 AS newest
 FROM lowest CROSS JOIN contact
 WHERE contact.id > lowest.id AND lower(contact.fields ->> :field) = lower(CAST(:value AS text))
 ORDER BY contact.id DESC LIMIT :limit)
UNION ALL
SELECT NULL, lowest.id >= 0 FROM lowest;

-- name: contacts
SELECT id FROM contact
WHERE id < :before AND (CAST(:ids AS bigint[]) IS NULL OR id = ANY (CAST(:ids AS bigint[])))
ORDER BY id DESC LIMIT :limit;

-- name: contacts_shown
SELECT contact.id, contact.key, contact.email, contact.timezone, contact.points, contact.stage, contact.created_at,
       contact.last_active_at,
       ARRAY(SELECT tag FROM contact_tag WHERE contact_tag.contact_id = contact.id ORDER BY tag LIMIT 10) AS tags,
       nullif(concat_ws(' ', nullif(trim(contact.fields ->> 'first_name'), ''),
                        nullif(trim(contact.fields ->> 'last_name'), '')), '') AS name
FROM contact
WHERE contact.id = ANY (CAST(:ids AS bigint[]))
ORDER BY contact.id DESC;

-- name: members
-- From membership_campaign_idx alone; who left may be few among many, and then the whole index is read,
-- which for a million members takes less than a tenth of a second.
SELECT contact_id FROM membership
WHERE campaign_id = :campaign_id AND contact_id < :before
  AND (CAST(:active AS boolean) IS NULL OR (departure IS NULL) = CAST(:active AS boolean))
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
ORDER BY contact_id DESC LIMIT :limit;

-- name: waiting
-- Few who wait come from wait_due_idx and are sorted, many from the primary key until a page is full;
-- the planner knows which.
SELECT DISTINCT contact_id FROM wait
WHERE step_id = :step_id AND contact_id < :before
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
ORDER BY contact_id DESC LIMIT :limit;

-- name: retrying
SELECT DISTINCT wait.contact_id
FROM wait JOIN failure ON failure.contact_id = wait.contact_id AND failure.step_id = wait.step_id
WHERE wait.step_id = :step_id AND wait.reason = 'retry' AND wait.contact_id < :before
  AND (CAST(:why AS text) IS NULL OR failure.error = CAST(:why AS text))
  AND (CAST(:ids AS bigint[]) IS NULL OR wait.contact_id = ANY (CAST(:ids AS bigint[])))
ORDER BY wait.contact_id DESC LIMIT :limit;

-- name: undelivered
-- In the order of message_failed_idx.
SELECT DISTINCT contact_id FROM message
WHERE campaign_id = :campaign_id AND step_id = :step_id AND state = 'failed' AND contact_id < :before
  AND (CAST(:why AS text) IS NULL OR coalesce(error, '') = CAST(:why AS text))
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
ORDER BY contact_id DESC LIMIT :limit;

-- name: queued
-- Whose message is in the outbox, within a range of contacts that bounds the read: from the primary key, which begins
-- with the contact.
SELECT DISTINCT contact_id FROM message
WHERE campaign_id = :campaign_id AND step_id = :step_id AND state IN ('queued', 'sending')
  AND contact_id < :before AND contact_id >= :lowest
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:why AS text) IS NULL OR coalesce(error, '') = CAST(:why AS text))
ORDER BY contact_id DESC LIMIT :limit;

-- name: reach
-- Where a read of so many members, from the newest down, ends; 0 where it ends with the last of them.
SELECT CASE WHEN count(*) < :limit THEN 0 ELSE min(contact_id) END FROM (
    SELECT contact_id FROM membership
    WHERE campaign_id = :campaign_id AND contact_id < :before
    ORDER BY contact_id DESC LIMIT :limit
) AS reached;

-- name: passed
-- Who has a result at a step, within a range of contacts that bounds the read: history is kept by
-- contact, and a result may be rare. outcome_trouble_idx finds who failed or was skipped.
SELECT DISTINCT contact_id FROM outcome
WHERE step_id = :step_id AND result = CAST(:result AS result) AND contact_id < :before AND contact_id >= :lowest
  AND (CAST(:why AS text) IS NULL
       OR coalesce(detail ->> 'error', detail ->> 'reason', '') = CAST(:why AS text))
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
ORDER BY contact_id DESC LIMIT :limit;

-- name: members_shown
SELECT contact.id, contact.key, contact.email, contact.timezone, membership.rotation, membership.added_at,
       membership.arrival, membership.left_at, membership.departure,
       nullif(concat_ws(' ', nullif(trim(contact.fields ->> 'first_name'), ''),
                        nullif(trim(contact.fields ->> 'last_name'), '')), '') AS name
FROM contact
LEFT JOIN membership ON membership.contact_id = contact.id AND membership.campaign_id = :campaign_id
WHERE contact.id = ANY (CAST(:ids AS bigint[]))
ORDER BY contact.id DESC;

-- name: members_waits
-- By the primary key. A decision without a deadline is due at infinity, which Python has no name for.
SELECT contact_id, step_id, reason, attempt, anchor_at, nullif(due_at, 'infinity') AS due_at,
       (SELECT error FROM failure
        WHERE failure.contact_id = wait.contact_id AND failure.step_id = wait.step_id
          AND (wait.reason = 'retry' OR (wait.reason = 'decision' AND failure.at >= wait.anchor_at))) AS error,
       (SELECT nullif(run.key, '') FROM run
        WHERE run.contact_id = wait.contact_id AND run.campaign_id = wait.campaign_id
          AND run.rotation = wait.rotation) AS run
FROM wait
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND campaign_id = :campaign_id
ORDER BY contact_id, wait.due_at, step_id;

-- name: members_results
-- The latest of each contact at a step.
SELECT DISTINCT ON (contact_id) contact_id, at, result, coalesce(detail ->> 'error', detail ->> 'reason') AS why
FROM outcome
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND step_id = :step_id AND result = CAST(:result AS result)
ORDER BY contact_id, at DESC;

-- name: segment_members
-- From segment_member_active_idx.
SELECT contact_id FROM segment_member
WHERE segment_id = :segment_id AND active AND contact_id < :before
  AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
ORDER BY contact_id DESC LIMIT :limit;

-- name: segment_shown
SELECT contact.id, contact.key, contact.email, segment_member.manually_added, segment_member.changed_at,
       nullif(concat_ws(' ', nullif(trim(contact.fields ->> 'first_name'), ''),
                        nullif(trim(contact.fields ->> 'last_name'), '')), '') AS name
FROM segment_member JOIN contact ON contact.id = segment_member.contact_id
WHERE segment_member.segment_id = :segment_id AND segment_member.contact_id = ANY (CAST(:ids AS bigint[]))
ORDER BY contact.id DESC;

-- name: submissions
-- From form_submission_recent_idx; who submits at one instant comes in the order of ids.
SELECT form_submission.id, form_submission.at, form_submission.fields, contact.key AS contact
FROM form_submission JOIN contact ON contact.id = form_submission.contact_id
WHERE form_submission.form_id = :form_id
  AND form_submission.at <= :before_at AND (form_submission.at, form_submission.id) < (:before_at, :before_id)
ORDER BY form_submission.at DESC, form_submission.id DESC LIMIT :limit;
