-- Contacts into others. Each statement works on pairs (gone_id, into_id): every contact that goes, and who
-- survives it. The caller holds the locks of both.

-- name: shut_out_imports
-- An import looks contacts up long before it writes them: it and a merge keep out of each other's way. Who
-- waits for it must hold no contact, since it may be waiting for that.
SELECT pg_advisory_xact_lock(7272687600000000);

-- name: shut_out_merges
-- Shared with other imports: a contact that is merged away between being looked up and being written would
-- begin anew. Also with new versions of campaigns, which let contacts wait elsewhere.
SELECT pg_advisory_xact_lock_shared(7272687600000000);

-- name: try_to_shut_out_imports
SELECT pg_try_advisory_xact_lock(7272687600000000);

-- name: lock
-- Not even an event may come to a contact that goes.
SELECT id, key FROM contact WHERE key = ANY (CAST(:keys AS text[])) ORDER BY id FOR UPDATE;

-- name: lock_free
-- As `lock`, leaving out who is in other hands: nobody who holds contacts waits for others.
SELECT id FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: asked_for
-- Who is to be merged into some contacts, by what stands in the inbox, in the order in which it was said.
SELECT inbox.contact_id AS into_id, gone.id AS gone_id
FROM inbox JOIN contact AS gone ON gone.key = btrim(inbox.data ->> 'from')
WHERE inbox.contact_id = ANY (CAST(:contact_ids AS bigint[])) AND inbox.type = 'contact.merged'
  AND gone.id <> inbox.contact_id
ORDER BY inbox.seq;

-- name: open_campaigns
-- As whoever works in a campaign: nobody edits or pauses it meanwhile.
SELECT pg_advisory_xact_lock_shared(7272687700000000 + campaign_id)
FROM (
    SELECT DISTINCT campaign_id FROM membership WHERE contact_id = ANY (CAST(:gone_ids AS bigint[])) ORDER BY campaign_id
) AS campaigns;

-- name: cancel_waits
-- Who is in a campaign already goes on there; what the other one waited for there ends.
DELETE FROM wait
USING unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
WHERE wait.contact_id = pair.gone_id
  AND EXISTS (SELECT FROM membership
              WHERE membership.contact_id = pair.into_id AND membership.campaign_id = wait.campaign_id)
RETURNING wait.contact_id, wait.step_id, wait.rotation, wait.passage, nullif(wait.due_at, 'infinity') AS due_at;

-- name: count_left
-- A membership that goes was counted when it began.
WITH doubled AS (
    SELECT gone.campaign_id, gone.left_at IS NULL AS active
    FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    JOIN membership AS gone ON gone.contact_id = pair.gone_id
    JOIN membership AS own ON own.contact_id = pair.into_id AND own.campaign_id = gone.campaign_id
), counted AS (
    INSERT INTO campaign_count (campaign_id, day, what, slot, n)
    SELECT campaign_id, (CAST(:now AS timestamptz) AT TIME ZONE 'UTC')::date, 'left', (SELECT counter_slot()), count(*)
    FROM doubled
    WHERE active
    GROUP BY campaign_id
    ORDER BY campaign_id
    ON CONFLICT (campaign_id, day, what, slot) DO UPDATE SET n = campaign_count.n + excluded.n
)
SELECT count(*) FROM doubled;

-- name: drop_outcomes
-- Of a step that the survivor has any outcome of, the other's outcomes go, and what counted them.
WITH dropped AS (
    DELETE FROM outcome
    USING unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    WHERE outcome.contact_id = pair.gone_id
      AND EXISTS (SELECT FROM outcome AS own
                  WHERE own.contact_id = pair.into_id AND own.step_id = outcome.step_id)
    RETURNING outcome.step_id, (outcome.at AT TIME ZONE 'UTC')::date AS day, outcome.result
)
INSERT INTO step_count (step_id, day, result, slot, n)
SELECT step_id, day, result, (SELECT counter_slot()), -count(*)
FROM dropped
GROUP BY step_id, day, result
ORDER BY step_id, day, result
ON CONFLICT (step_id, day, result, slot) DO UPDATE SET n = step_count.n + excluded.n;

-- name: passages_to_move
-- By how much to lower the passages of a contact that goes, so that they end up below zero, where nobody
-- will ever be, and below those of whoever the survivor was merged with before.
SELECT pair.gone_id, gone.highest + 1 - least(coalesce(own.lowest, 0), 0) AS by
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
CROSS JOIN LATERAL (SELECT max(passage) AS highest FROM outcome WHERE contact_id = pair.gone_id) AS gone
CROSS JOIN LATERAL (SELECT min(passage) AS lowest FROM outcome WHERE contact_id = pair.into_id) AS own
WHERE gone.highest IS NOT NULL;

-- name: renumber
-- In campaigns that both are in, the survivor may still reach the steps that the other one passed.
UPDATE outcome SET passage = outcome.passage - lowered.by
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[]), CAST(:bys AS int[]))
         AS lowered (gone_id, into_id, by),
     step
WHERE outcome.contact_id = lowered.gone_id AND step.id = outcome.step_id
  AND EXISTS (SELECT FROM membership
              WHERE membership.contact_id = lowered.into_id AND membership.campaign_id = step.campaign_id);

-- name: withdraw_messages
-- What a step has to tell both, the survivor is told once; what is on its way already counts as told.
UPDATE message
SET state = 'cancelled', error = 'the contact was merged with another, who gets the message of this step'
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
WHERE message.contact_id IN (pair.gone_id, pair.into_id)
  AND (message.state = 'queued' OR message.state = 'sending' AND message.due_at <= :now)
  AND message.channel <> 'webhook' AND NOT (message.channel = 'email' AND message.address IS NULL)
  AND EXISTS (SELECT FROM message AS other
              WHERE other.contact_id IN (pair.gone_id, pair.into_id) AND other.contact_id <> message.contact_id
                AND other.step_id = message.step_id
                AND (other.state = 'sent' OR other.state = 'sending' AND other.due_at > :now
                     OR other.state IN ('queued', 'sending') AND message.contact_id = pair.gone_id));

-- name: drop_graces
DELETE FROM leaving
USING unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
WHERE leaving.contact_id = pair.gone_id
  AND EXISTS (SELECT FROM membership
              WHERE membership.contact_id = pair.into_id AND membership.campaign_id = leaving.campaign_id);

-- name: merge_segments
-- Who was in the segment as either of the two is in it, unless a person took the survivor out.
UPDATE segment_member AS own
SET active = true, entry = gone.entry, manually_added = gone.manually_added, changed_at = gone.changed_at
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id),
     segment_member AS gone
WHERE gone.contact_id = pair.gone_id AND own.contact_id = pair.into_id AND own.segment_id = gone.segment_id
  AND gone.active AND NOT own.active AND NOT own.manually_removed;

-- name: merge_refusals
-- The stricter of two refusals: a contact's own word, then a colleague's, then a machine's.
UPDATE do_not_contact AS own
SET reason = gone.reason, comment = gone.comment, at = gone.at
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id),
     do_not_contact AS gone
WHERE gone.contact_id = pair.gone_id AND own.contact_id = pair.into_id AND own.channel = gone.channel
  AND array_position(ARRAY['unsubscribed', 'manual', 'bounced'], gone.reason)
      < array_position(ARRAY['unsubscribed', 'manual', 'bounced'], own.reason);

-- name: merge_words
-- That one person left a channel as either of the two holds for the survivor's mailbox, if that is another one, and
-- no newer word was said there. What a mail server said of the other mailbox does not. Each a probe, as everywhere.
INSERT INTO refusal (address, channel, reason, comment, at)
SELECT DISTINCT ON (lower(btrim(into_.email)), said.channel) lower(btrim(into_.email)), said.channel, 'unsubscribed',
       said.comment, said.at
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
JOIN contact AS gone ON gone.id = ANY (ARRAY[pair.gone_id])
JOIN contact AS into_ ON into_.id = ANY (ARRAY[pair.into_id])
CROSS JOIN LATERAL (SELECT channel, comment, at FROM refusal
                    WHERE refusal.address = lower(btrim(gone.email)) AND reason = 'unsubscribed' LIMIT 1000) AS said
WHERE btrim(into_.email) <> ''
ORDER BY 1, 2, said.at DESC
ON CONFLICT (address, channel) DO UPDATE
SET reason = excluded.reason, comment = excluded.comment, at = excluded.at,
    beneath = CASE WHEN refusal.reason IS NULL THEN refusal.beneath
                   ELSE refusal.beneath || jsonb_build_object(
                            refusal.reason, jsonb_build_object('at', refusal.at, 'comment', refusal.comment)) END
WHERE refusal.reason IS DISTINCT FROM 'unsubscribed' AND (refusal.reason IS NOT NULL OR refusal.at < excluded.at);

-- name: merge_preferences
-- There is one preferred channel, the survivor's.
UPDATE frequency_rule AS gone SET preferred = false
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
WHERE gone.contact_id = pair.gone_id AND gone.preferred
  AND EXISTS (SELECT FROM frequency_rule AS own WHERE own.contact_id = pair.into_id AND own.preferred);

-- name: merge_companies
-- There is one primary company, the survivor's.
UPDATE company_member AS gone SET is_primary = false
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
WHERE gone.contact_id = pair.gone_id AND gone.is_primary
  AND EXISTS (SELECT FROM company_member AS own WHERE own.contact_id = pair.into_id AND own.is_primary);

-- name: take_primary_company
-- Without one it is the other's, also where the survivor is in that company already.
UPDATE company_member AS own SET is_primary = true
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id),
     company_member AS gone
WHERE gone.contact_id = pair.gone_id AND gone.is_primary
  AND own.contact_id = pair.into_id AND own.company_id = gone.company_id;

-- name: add_scores
UPDATE contact_score AS own
SET points = greatest(-2147483647, least(2147483647, own.points::bigint + gone.points))
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id),
     contact_score AS gone
WHERE gone.contact_id = pair.gone_id AND own.contact_id = pair.into_id AND own.group_key = gone.group_key;

-- name: drop_older_utm
-- Where either of the two came from last is where the survivor came from last.
DELETE FROM contact_utm AS older
USING unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id),
      contact_utm AS newer
WHERE (older.contact_id = pair.gone_id AND newer.contact_id = pair.into_id AND newer.at >= older.at)
   OR (older.contact_id = pair.into_id AND newer.contact_id = pair.gone_id AND newer.at > older.at);

-- name: merge_attributes
-- The survivor's own values win, the other's fill the gaps; a JSON null is a gap. When each was last said
-- goes with it.
UPDATE contact
SET email = coalesce(contact.email, gone.email),
    timezone = coalesce(contact.timezone, gone.timezone),
    stage = coalesce(contact.stage, gone.stage),
    owner = coalesce(contact.owner, gone.owner),
    fields = gone.fields || (SELECT coalesce(jsonb_object_agg(name, value), '{}')
                             FROM jsonb_each(contact.fields) AS own (name, value) WHERE value <> 'null'),
    points = greatest(-2147483648, least(2147483647, contact.points::bigint + gone.points)),
    last_active_at = greatest(contact.last_active_at, gone.last_active_at),
    said_at = gone.said_at || contact.said_at,
    changed_at = :now
FROM unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id),
     contact AS gone
WHERE gone.id = pair.gone_id AND contact.id = pair.into_id;

-- name: become_alias
-- Who is gone is known by the survivor's name, and so is whoever was merged into them before.
WITH gone AS (
    DELETE FROM contact
    USING unnest(CAST(:gone_ids AS bigint[]), CAST(:into_ids AS bigint[])) AS pair (gone_id, into_id)
    WHERE contact.id = pair.gone_id
    RETURNING contact.key, pair.into_id
)
INSERT INTO contact_alias (contact_id, key, merged_at) SELECT into_id, key, :now FROM gone ORDER BY key;

-- name: lead_to
-- Keys that nobody has, or that led to somebody else, lead to contacts from now on.
INSERT INTO contact_alias (contact_id, key, merged_at)
SELECT contact_id, key, :now
FROM unnest(CAST(:keys AS text[]), CAST(:contact_ids AS bigint[])) AS new (key, contact_id)
WHERE NOT EXISTS (SELECT FROM contact WHERE contact.key = new.key)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET contact_id = excluded.contact_id, merged_at = excluded.merged_at;

-- name: aliases
SELECT key, contact_id FROM contact_alias WHERE key = ANY (CAST(:keys AS text[]));

-- name: forget
DELETE FROM contact_alias WHERE key = ANY (CAST(:keys AS text[])) RETURNING key;
