-- name: lanes
-- The lanes in which something is due, and those of deleted campaigns that hold anything. One probe of
-- message_lane_idx a lane: each step jumps to the first row of the next one. Paused campaigns and
-- messages of next week cost no more than that.
WITH RECURSIVE lane AS (
    (SELECT channel, campaign_id, marketing, priority, due_at
     FROM message WHERE state IN ('queued', 'sending')
     ORDER BY channel, campaign_id, marketing, priority, due_at LIMIT 1)
    UNION ALL
    SELECT following.*
    FROM lane CROSS JOIN LATERAL (
        SELECT channel, campaign_id, marketing, priority, due_at
        FROM message
        WHERE state IN ('queued', 'sending')
          AND (channel, campaign_id, marketing, priority)
              > (lane.channel, lane.campaign_id, lane.marketing, lane.priority)
        ORDER BY channel, campaign_id, marketing, priority, due_at LIMIT 1
    ) AS following
)
SELECT lane.channel, lane.campaign_id, lane.marketing, lane.priority, lane.due_at,
       campaign.deleted_at IS NOT NULL AS deleted
FROM lane
JOIN campaign ON campaign.id = lane.campaign_id
LEFT JOIN category ON category.id = campaign.category_id
WHERE (CAST(:campaign_ids AS int[]) IS NULL OR campaign.id = ANY (CAST(:campaign_ids AS int[])))
  AND NOT campaign.id = ANY (CAST(:excluded AS int[]))
  AND (campaign.deleted_at IS NOT NULL
       OR lane.due_at <= :now
          AND campaign.published
          AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
          AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
          AND coalesce(category.published, true))
ORDER BY lane.marketing, lane.priority DESC, lane.due_at, lane.campaign_id;

-- name: claim
-- The next messages of a lane, in the hands of one worker until the lease ends: they are due again
-- then, so whoever dies with them only delays them. SKIP LOCKED lets workers share a lane. A lane is a range of
-- message_lane_idx, and written as one: no other index, which would be read to its end, serves that.
WITH due AS MATERIALIZED (
    SELECT contact_id, id, due_at
    FROM message
    WHERE (channel, campaign_id, marketing, priority, due_at)
          >= (:channel, :campaign_id, :marketing, :priority, CAST('-infinity' AS timestamptz))
      AND (channel, campaign_id, marketing, priority, due_at)
          <= (:channel, :campaign_id, :marketing, :priority, CAST(:now AS timestamptz))
      AND state IN ('queued', 'sending')
      AND (CAST(:ids AS bigint[]) IS NULL OR contact_id = ANY (CAST(:ids AS bigint[])))
      AND (CAST(:min_id AS bigint) IS NULL OR contact_id >= CAST(:min_id AS bigint))
      AND (CAST(:max_id AS bigint) IS NULL OR contact_id <= CAST(:max_id AS bigint))
      AND (CAST(:threads AS int) IS NULL OR (contact_id + CAST(:thread AS int) - 1) % CAST(:threads AS int) = 0)
    ORDER BY channel, campaign_id, marketing, priority, due_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE message
    SET state = 'sending', due_at = :leased_until, tried_at = coalesce(message.tried_at, :now)
    FROM due
    WHERE message.contact_id = ANY (ARRAY[due.contact_id]) AND message.id = due.id
    RETURNING message.*, due.due_at AS was_due_at
)
SELECT key, contact_id, campaign_id, step_id, channel, template, address, payload, marketing, attempts, created_at,
       tried_at, due_at, variant, locale
FROM claimed
ORDER BY was_due_at;

-- name: cancel_deleted
-- A bounded number of the messages that a deleted campaign left behind.
WITH gone AS (
    SELECT contact_id, id FROM message
    WHERE (channel, campaign_id, marketing, priority, due_at)
          >= (:channel, :campaign_id, :marketing, :priority, CAST('-infinity' AS timestamptz))
      AND (channel, campaign_id, marketing, priority, due_at)
          <= (:channel, :campaign_id, :marketing, :priority, CAST('infinity' AS timestamptz))
      AND (state = 'queued' OR state = 'sending' AND due_at <= :now) AND state IN ('queued', 'sending')
    ORDER BY channel, campaign_id, marketing, priority, due_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE message SET state = 'cancelled', error = 'the campaign was deleted'
FROM gone WHERE message.contact_id = ANY (ARRAY[gone.contact_id]) AND message.id = gone.id;

-- name: departed
-- Who of these is out of the campaign, or of the run that the message is of, by now, and was not let out by its own tree: a step of it that removes the
-- contact writes its outcome at the instant of the departure, and what was sent before on that way still goes.
-- Who came into the control group with a merge gets nothing either.
-- A probe of the primary key each.
SELECT asked.contact_id, asked.campaign_id, asked.run
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:campaign_ids AS int[]), CAST(:runs AS int[]))
     AS asked (contact_id, campaign_id, run)
CROSS JOIN LATERAL (
    (SELECT left_at, departure FROM membership
     WHERE membership.contact_id = asked.contact_id AND membership.campaign_id = asked.campaign_id
       AND asked.run IS NULL
     LIMIT 1)
    UNION ALL
    (SELECT left_at, departure FROM run
     WHERE run.contact_id = asked.contact_id AND run.campaign_id = asked.campaign_id AND run.number = asked.run
     LIMIT 1)
) AS member
WHERE (SELECT control FROM membership
       WHERE membership.contact_id = asked.contact_id AND membership.campaign_id = asked.campaign_id LIMIT 1)
   OR member.left_at IS NOT NULL
  AND (member.departure <> 'action'
       OR (SELECT true FROM outcome
           WHERE outcome.contact_id = asked.contact_id AND outcome.at = member.left_at AND outcome.result = 'done'
             AND (SELECT step.campaign_id = asked.campaign_id AND step.type = 'campaign.change'
                  FROM step WHERE step.id = outcome.step_id)
           LIMIT 1) IS NULL);

-- name: told_already
-- Of these emails, those whose contact got the same from another message, or will: two contacts became one.
-- From message_template_idx, a probe each. Of an email that may go again, what went before does not count.
SELECT message.key
FROM message
WHERE message.key = ANY (CAST(:keys AS text[]))
  AND (SELECT true FROM message AS other
       WHERE other.contact_id = message.contact_id AND other.template = message.template
         AND other.channel = 'email' AND other.address IS NOT NULL AND other.key <> message.key
         AND other.due_at >= coalesce(CAST(message.payload ->> 'again_since' AS timestamptz), '-infinity')
         AND (other.state = 'sent' OR other.state IN ('queued', 'sending') AND other.id < message.id)
       LIMIT 1) IS NOT NULL;

-- name: contacts
SELECT contact.id, contact.key, contact.email, contact.timezone, contact.points, contact.stage, contact.owner,
       contact.fields, ARRAY(SELECT tag FROM contact_tag WHERE contact_id = contact.id ORDER BY tag) AS tags,
       (SELECT company.fields || jsonb_build_object('key', company.key, 'name', company.name, 'points', company.points)
        FROM company_member JOIN company ON company.id = company_member.company_id
        WHERE company_member.contact_id = contact.id AND company_member.is_primary) AS company
FROM contact WHERE contact.id = ANY (CAST(:ids AS bigint[]));

-- name: templates
SELECT key, published, content FROM template
WHERE kind = :kind AND key = ANY (CAST(:keys AS text[]));

-- name: steps
SELECT step.id, step.key, campaign.id AS campaign_id, campaign.key AS campaign, campaign.name AS campaign_name
FROM step JOIN campaign ON campaign.id = step.campaign_id
WHERE step.id = ANY (CAST(:ids AS int[]));

-- name: record
-- Only what is still in the hands of the worker that was given it: whose lease ended, and who was slower
-- than the next, changes nothing; but what left has left, whoever says so first. What is new of a message is
-- looked up in the arrays, by its place there: a join could be done the wrong way round.
UPDATE message
SET (state, channel, template, address, payload, attempts, due_at, error, variant, locale, held, sent_at, bounced_at) = (
    SELECT (CAST(:states AS message_state[]))[nth], (CAST(:channels AS text[]))[nth],
           (CAST(:templates AS text[]))[nth], (CAST(:addresses AS text[]))[nth],
           coalesce((CAST(:payloads AS jsonb[]))[nth], message.payload), (CAST(:attempts AS int[]))[nth],
           (CAST(:due AS timestamptz[]))[nth], (CAST(:errors AS text[]))[nth], (CAST(:variants AS text[]))[nth],
           (CAST(:locales AS text[]))[nth], (CAST(:helds AS text[]))[nth],
           CASE WHEN (CAST(:states AS message_state[]))[nth] = 'sent' THEN CAST(:now AS timestamptz) END,
           CASE WHEN (CAST(:bounced AS boolean[]))[nth] THEN CAST(:now AS timestamptz) ELSE message.bounced_at END
    FROM (SELECT array_position(CAST(:keys AS text[]), message.key) AS nth OFFSET 0) AS place
)
WHERE key = ANY (CAST(:keys AS text[])) AND state::text = 'sending'
  AND ((CAST(:states AS message_state[]))[array_position(CAST(:keys AS text[]), key)] = 'sent'
       OR due_at = (CAST(:leases AS timestamptz[]))[array_position(CAST(:keys AS text[]), key)])
RETURNING key, contact_id, campaign_id, channel, state::text AS state, address IS NOT NULL AS to_contact;

-- name: look_again
UPDATE message SET due_at = :now
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND state::text = 'queued'
  AND held IN ('quiet_hours', 'blackout', 'holiday')
  AND due_at + interval '0' > :now;

-- name: hurry
SELECT now() AS now, set_config('synchronous_commit', 'off', true);

-- name: stopped
-- Which of these campaigns do not run, so that what is not yet sent of them stays.
SELECT campaign.id
FROM campaign LEFT JOIN category ON category.id = campaign.category_id
WHERE campaign.id = ANY (CAST(:ids AS int[]))
  AND NOT (campaign.published AND campaign.deleted_at IS NULL
           AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
           AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
           AND coalesce(category.published, true));

-- name: circuits
SELECT provider, state, failures, trips, opened_until, error FROM circuit ORDER BY provider;

-- name: lock_circuit
SELECT state, failures, trips, opened_until, error FROM circuit WHERE provider = :provider FOR UPDATE;

-- name: save_circuit
INSERT INTO circuit (provider, state, failures, trips, opened_until, error, changed_at)
VALUES (:provider, :state, :failures, :trips, :opened_until, :error, :now)
ON CONFLICT (provider) DO UPDATE
SET state = excluded.state, failures = excluded.failures, trips = excluded.trips,
    opened_until = excluded.opened_until, error = excluded.error, changed_at = excluded.changed_at;

-- name: forget_circuit
DELETE FROM circuit WHERE provider = :provider;

-- name: refill
-- The tokens of a bucket as of an instant, the bucket staying locked until the transaction ends. A new one
-- holds one token; a clock that goes back gives nothing.
INSERT INTO rate (name, tokens, at) VALUES (:name, 1, :now)
ON CONFLICT (name) DO UPDATE
SET tokens = least(CAST(:burst AS double precision),
                   rate.tokens + greatest(0, extract(epoch FROM excluded.at - rate.at)) * CAST(:per_second AS double precision)),
    at = greatest(rate.at, excluded.at)
RETURNING tokens;

-- name: spend
UPDATE rate SET tokens = tokens - :n WHERE name = :name;

-- name: about
-- How many messages there are, as the planner believes.
SELECT reltuples FROM pg_class WHERE oid = 'message'::regclass;

-- name: count_queued
-- Of what is not done, so many entries of the partial index.
SELECT channel, state::text AS state, count(*) AS n
FROM (SELECT channel, state FROM message WHERE state IN ('queued', 'sending') LIMIT :limit) AS open
GROUP BY channel, state;

-- name: count_failed
SELECT channel, 'failed' AS state, count(*) AS n
FROM (SELECT channel FROM message WHERE state = 'failed' LIMIT :limit) AS failed
GROUP BY channel;

-- name: sample
-- What a part of the table's pages says of all of them, the same ones each time.
SELECT channel, state::text AS state, round(count(*) * (100 / CAST(:percent AS float8)))::bigint AS n
FROM message TABLESAMPLE SYSTEM (:percent) REPEATABLE (1)
GROUP BY channel, state;

-- name: failed
SELECT message.key, message.due_at AS at, campaign.key AS campaign, step.key AS step, contact.key AS contact,
       message.channel, message.template, message.attempts, message.error
FROM message
JOIN contact ON contact.id = message.contact_id
LEFT JOIN campaign ON campaign.id = message.campaign_id
LEFT JOIN step ON step.id = message.step_id
WHERE message.state = 'failed' AND (CAST(:keys AS text[]) IS NULL OR message.key = ANY (CAST(:keys AS text[])))
ORDER BY message.due_at DESC
LIMIT :limit;

-- name: retry_step
-- What a page shows as one line: the messages of a step that failed for one reason, from message_failed_step_idx.
UPDATE message SET state = 'queued', attempts = 0, due_at = :now, tried_at = NULL
WHERE state = 'failed' AND campaign_id = :campaign_id AND step_id = :step_id
  AND (CAST(:why AS text) IS NULL OR coalesce(error, '') = CAST(:why AS text));

-- name: retry
UPDATE message SET state = 'queued', attempts = 0, due_at = :now, tried_at = NULL
WHERE state = 'failed' AND (CAST(:keys AS text[]) IS NULL OR key = ANY (CAST(:keys AS text[])));
