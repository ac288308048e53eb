-- name: remember
-- Which of these events are new. Sorted, so that two consumers with the same events in another order
-- wait for each other one way only.
INSERT INTO event_key (source, id, received_at)
SELECT DISTINCT source, id, CAST(:now AS timestamptz)
FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS new (source, id)
ORDER BY source, id
ON CONFLICT (source, id) DO NOTHING
RETURNING source, id;

-- name: make_contacts
INSERT INTO contact (key, email)
SELECT key, email FROM unnest(CAST(:keys AS text[]), CAST(:emails AS text[])) AS new (key, email)
WHERE NOT EXISTS (SELECT FROM contact_alias WHERE contact_alias.key = new.key)
ORDER BY key
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: lock_addresses
-- A number for each address; two that share one only wait for each other. In one order for everybody.
SELECT pg_advisory_xact_lock(72726880, number)
FROM (SELECT DISTINCT hashtext(address) AS number FROM unnest(CAST(:addresses AS text[])) AS wanted (address)
      ORDER BY number) AS numbers;

-- name: keep_contacts
-- With the lock that a foreign key would take: nobody is erased between being found and getting an
-- event, which would then stand in the inbox of nobody for ever. In the order of ids, as erasing does.
SELECT id FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR KEY SHARE;

-- name: keys
SELECT key FROM contact WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id;

-- name: erased
SELECT key_hash, at FROM erased WHERE key_hash = ANY (CAST(:hashes AS bytea[]));

-- name: store
INSERT INTO inbox (contact_id, received_at, source, id, type, at, data)
SELECT contact_id, :now, source, id, type, at, data
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:sources AS text[]), CAST(:ids AS text[]), CAST(:types AS text[]),
            CAST(:ats AS timestamptz[]), CAST(:datas AS jsonb[])) WITH ORDINALITY
     AS new (contact_id, source, id, type, at, data, nth)
ORDER BY nth;

-- name: pending_contacts
-- Contacts with something in the inbox, oldest first, with their locks; who is in other hands is
-- skipped. One worker then does all of a contact's events in their order. Where the oldest events are of few
-- contacts, the rest of the batch are others, from a place in the order of ids that is drawn, and from the
-- beginning where the end is reached: one probe of the primary key each, whatever each of them has in the inbox.
WITH RECURSIVE head AS MATERIALIZED (
    SELECT contact_id, min(seq) AS seq, count(*) AS n
    FROM (SELECT contact_id, seq FROM inbox ORDER BY seq LIMIT :look) AS oldest
    GROUP BY contact_id
), place AS MATERIALIZED (
    SELECT coalesce(floor(max(contact_id) * CAST(:share AS double precision)), 0)::bigint AS first_id FROM inbox
), above AS (
    (SELECT contact_id, seq, 1 AS nth FROM inbox
     WHERE contact_id >= (SELECT first_id FROM place) AND (SELECT sum(n) FROM head) >= :look
     ORDER BY contact_id, seq LIMIT 1)
    UNION ALL
    SELECT next.contact_id, next.seq, above.nth + 1
    FROM above CROSS JOIN LATERAL (
        SELECT contact_id, seq FROM inbox WHERE inbox.contact_id > above.contact_id ORDER BY contact_id, seq LIMIT 1
    ) AS next
    WHERE above.nth < :limit
), below AS (
    (SELECT contact_id, seq, 1 AS nth FROM inbox
     WHERE contact_id < (SELECT first_id FROM place) AND (SELECT sum(n) FROM head) >= :look
     ORDER BY contact_id, seq LIMIT 1)
    UNION ALL
    SELECT next.contact_id, next.seq, below.nth + 1
    FROM below CROSS JOIN LATERAL (
        SELECT contact_id, seq FROM inbox
        WHERE inbox.contact_id > below.contact_id AND inbox.contact_id < (SELECT first_id FROM place)
        ORDER BY contact_id, seq LIMIT 1
    ) AS next
    WHERE below.nth < :limit
), turns AS MATERIALIZED (
    SELECT contact_id, min(seq) AS seq, min(turn) AS turn
    FROM (SELECT contact_id, seq, 1 AS turn FROM head
          UNION ALL SELECT contact_id, seq, 2 FROM above
          UNION ALL SELECT contact_id, seq, 3 FROM below) AS found
    GROUP BY contact_id
), chosen AS MATERIALIZED (
    SELECT contact_id, seq FROM turns ORDER BY turn, seq LIMIT :limit
)
SELECT locked.id
FROM chosen
CROSS JOIN LATERAL (
    SELECT id FROM contact WHERE contact.id = chosen.contact_id FOR NO KEY UPDATE SKIP LOCKED
) AS locked
ORDER BY chosen.seq;

-- name: pending_of
-- Likewise, of those who are named.
WITH oldest AS MATERIALIZED (
    SELECT named.id AS contact_id, first.seq
    FROM unnest(CAST(:ids AS bigint[])) AS named (id)
    CROSS JOIN LATERAL (
        SELECT seq FROM inbox WHERE inbox.contact_id >= named.id AND inbox.contact_id < named.id + 1
        ORDER BY inbox.contact_id, inbox.seq LIMIT 1
    ) AS first
)
SELECT locked.id
FROM (SELECT contact_id, seq FROM oldest ORDER BY seq OFFSET 0) AS waiting
CROSS JOIN LATERAL (
    SELECT id FROM contact WHERE contact.id = waiting.contact_id FOR NO KEY UPDATE SKIP LOCKED
) AS locked
ORDER BY waiting.seq
LIMIT :limit;

-- name: lock_pending
-- Contacts of a batch that failed, again; who is in other hands by now is left to them.
SELECT id FROM contact WHERE id = ANY (CAST(:contact_ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: take
-- The events of contacts whose locks the caller holds, at most so many of each. The first entries of each in
-- the primary key, so that what else a contact has in the inbox is not read; a range rather than one value, or
-- the planner may believe to find them soon in the order of all events. The rows are then known by their place.
WITH next AS MATERIALIZED (
    SELECT first.place
    FROM unnest(CAST(:contact_ids AS bigint[])) AS owner (id)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM inbox
        WHERE inbox.contact_id >= owner.id AND inbox.contact_id < owner.id + 1
        ORDER BY inbox.contact_id, inbox.seq LIMIT :each
    ) AS first
)
DELETE FROM inbox WHERE ctid = ANY (ARRAY(SELECT place FROM next))
RETURNING inbox.contact_id, inbox.seq, inbox.received_at, inbox.source, inbox.id, inbox.type, inbox.at, inbox.data,
          -- One probe of a small index a row: most events are no source and no exit of any campaign.
          EXISTS (SELECT FROM campaign_event
                  WHERE campaign_event.name = inbox.type AND campaign_event.role IN ('source', 'exit', 'goal')) AS heeded,
          -- With what is read anyway: each event would ask for it otherwise.
          (SELECT version FROM rule_set) AS rules;

-- name: take_all
-- All that is left of contacts whose locks the caller holds.
DELETE FROM inbox WHERE contact_id = ANY (CAST(:contact_ids AS bigint[]))
RETURNING contact_id, seq, received_at, source, id, type, at, data;

-- name: keep
INSERT INTO event (contact_id, received_at, source, id, type, at, data)
SELECT * FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:receiveds AS timestamptz[]), CAST(:sources AS text[]),
                     CAST(:ids AS text[]), CAST(:types AS text[]), CAST(:ats AS timestamptz[]),
                     CAST(:datas AS jsonb[]));

-- name: seen_active
UPDATE contact SET last_active_at = greatest(contact.last_active_at, active.at)
FROM (SELECT contact_id, max(at) AS at
      FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:ats AS timestamptz[])) AS seen (contact_id, at)
      GROUP BY contact_id) AS active
WHERE contact.id = ANY (ARRAY[active.contact_id]) AND (contact.last_active_at IS NULL OR contact.last_active_at < active.at);

-- name: said
SELECT id, email, timezone, owner, stage, fields, said_at FROM contact WHERE id = ANY (CAST(:ids AS bigint[]));

-- name: say
UPDATE contact
SET email = said.email, timezone = said.timezone, owner = said.owner, stage = said.stage, fields = said.fields,
    said_at = said.said_at, changed_at = :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:emails AS text[]), CAST(:timezones AS text[]), CAST(:owners AS text[]),
            CAST(:stages AS text[]), CAST(:fields AS jsonb[]), CAST(:said_ats AS jsonb[]))
     AS said (id, email, timezone, owner, stage, fields, said_at)
WHERE contact.id = ANY (ARRAY[said.id]);

-- name: mark_messages
-- The state of our own messages; the first time counts.
UPDATE message
SET opened_at = CASE WHEN marked.what IN ('opened', 'clicked', 'replied')
                     THEN least(message.opened_at, marked.at) ELSE message.opened_at END,
    clicked_at = CASE WHEN marked.what = 'clicked' THEN least(message.clicked_at, marked.at)
                      ELSE message.clicked_at END,
    replied_at = CASE WHEN marked.what = 'replied' THEN least(message.replied_at, marked.at)
                      ELSE message.replied_at END,
    bounced_at = CASE WHEN marked.what = 'bounced' THEN least(message.bounced_at, marked.at)
                      ELSE message.bounced_at END
FROM unnest(CAST(:keys AS text[]), CAST(:whats AS text[]), CAST(:ats AS timestamptz[])) AS marked (key, what, at)
WHERE message.key = ANY (ARRAY[marked.key]);

-- name: messages_meant
-- Events may name the template alone. Meant is, of the messages that were made from it for the contact, the one that
-- was sent nearest to the event, best before it. Served by message_template_idx, one probe an event.
SELECT meant.nth, found.key
FROM unnest(CAST(:nths AS int[]), CAST(:contact_ids AS bigint[]), CAST(:templates AS text[]),
            CAST(:ats AS timestamptz[])) AS meant (nth, contact_id, template, at)
CROSS JOIN LATERAL (
    SELECT message.key FROM message
    WHERE message.contact_id = ANY (ARRAY[meant.contact_id]) AND message.template = ANY (ARRAY[meant.template])
      AND message.channel = 'email' AND message.state IN ('sending', 'sent')
    ORDER BY coalesce(message.sent_at, message.created_at) > meant.at,
             abs(extract(epoch FROM coalesce(message.sent_at, message.created_at) - meant.at))
    LIMIT 1
) AS found;

-- name: addresses_of_messages
SELECT key, channel, address FROM message WHERE key = ANY (CAST(:keys AS text[]));

-- name: templates
-- Of emails alone: the template of a text message may have the key of an email.
SELECT key, template FROM message WHERE key = ANY (CAST(:keys AS text[])) AND channel = 'email';

-- name: texted
-- Which campaigns sent contacts a text message, and when first. Served by the primary key.
SELECT contact_id, campaign_id, min(created_at) AS first_at FROM message
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND channel = 'sms' AND state NOT IN ('failed', 'cancelled')
GROUP BY contact_id, campaign_id;

-- name: campaigns_of_messages
SELECT key, campaign_id FROM message WHERE key = ANY (CAST(:keys AS text[]));

-- name: see_devices
INSERT INTO device (contact_id, type, brand, os, last_seen_at)
SELECT seen.contact_id, seen.type, seen.brand, seen.os, max(seen.at)
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:types AS text[]), CAST(:brands AS text[]), CAST(:oss AS text[]),
            CAST(:ats AS timestamptz[])) AS seen (contact_id, type, brand, os, at)
WHERE NOT EXISTS (
    SELECT FROM device
    WHERE device.contact_id = seen.contact_id AND device.type IS NOT DISTINCT FROM seen.type
      AND device.brand IS NOT DISTINCT FROM seen.brand AND device.os IS NOT DISTINCT FROM seen.os
)
GROUP BY seen.contact_id, seen.type, seen.brand, seen.os;

-- name: segments_by_time
-- Adds or removals as upstream dates them: an older word does not undo a newer one, and nobody but a
-- person undoes what a person did. A contact that comes in anew gets a new entry. Where a rule fills the segment,
-- they are words by hand, which are compared with such words alone.
WITH filling AS (
    SELECT rule IS NOT NULL AS by_rule FROM segment WHERE id = :segment_id
)
INSERT INTO segment_member (contact_id, segment_id, active, manually_added, manually_removed, changed_at)
SELECT DISTINCT ON (contact_id) contact_id, :segment_id, :active, by_rule AND :active, by_rule AND NOT :active, at
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:ats AS timestamptz[])) AS said (contact_id, at) CROSS JOIN filling
ORDER BY contact_id, at DESC
ON CONFLICT (contact_id, segment_id) DO UPDATE
SET active = excluded.active,
    manually_added = CASE WHEN excluded.manually_added OR excluded.manually_removed THEN excluded.manually_added
                          ELSE segment_member.manually_added END,
    manually_removed = CASE WHEN excluded.manually_added OR excluded.manually_removed THEN excluded.manually_removed
                            ELSE segment_member.manually_removed END,
    entry = CASE WHEN excluded.active AND NOT segment_member.active THEN nextval('segment_entry')
                 ELSE segment_member.entry END,
    changed_at = excluded.changed_at
WHERE CASE WHEN excluded.manually_added OR excluded.manually_removed THEN
               excluded.changed_at >= segment_member.changed_at
               OR NOT (segment_member.manually_added OR segment_member.manually_removed)
           ELSE excluded.changed_at >= segment_member.changed_at
                AND NOT (excluded.active AND segment_member.manually_removed)
                AND NOT (NOT excluded.active AND segment_member.manually_added) END;

-- name: campaigns_of_segment
-- Those that it feeds, and those of which it is an exit, with its key.
SELECT campaign_source.campaign_id, NULL AS exit
FROM campaign_source
JOIN segment ON segment.id = campaign_source.source_id
JOIN campaign ON campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NULL
WHERE campaign_source.kind = 'segment' AND campaign_source.source_id = :segment_id
UNION ALL
SELECT campaign_event.campaign_id, campaign_event.name
FROM campaign_event
JOIN campaign ON campaign.id = campaign_event.campaign_id AND campaign.deleted_at IS NULL
WHERE campaign_event.role = 'segment' AND campaign_event.name = (SELECT key FROM segment WHERE id = :segment_id)
ORDER BY exit NULLS FIRST, campaign_id;

-- name: recent
-- For look_back: what contacts did of some types since an instant.
SELECT contact_id, type, at, data FROM event
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND type LIKE ANY (CAST(:types AS text[]))
  AND at > :since AND received_at > CAST(:since AS timestamptz) - interval '1 day'
ORDER BY contact_id, at;

-- name: backlog
SELECT count(*) AS n, min(received_at) AS oldest FROM inbox;

-- name: oldest_pending
-- Served by inbox_seq_idx.
SELECT seq FROM inbox ORDER BY seq LIMIT 1;

-- name: add_dead_letters
INSERT INTO dead_letter (at, origin, reason, body)
SELECT :now, :origin, reason, body FROM unnest(CAST(:reasons AS text[]), CAST(:bodies AS text[])) AS dead (reason, body);

-- name: keys_by_id
SELECT id, key FROM contact WHERE id = ANY (CAST(:ids AS bigint[]));

-- name: drop_pending
DELETE FROM inbox WHERE contact_id = :contact_id AND seq = :seq RETURNING seq;

-- name: forget
-- As if the event had never come.
DELETE FROM event_key WHERE source = :source AND id = :id;

-- name: tombstone
INSERT INTO erased (key_hash, at, keyed)
SELECT hash, at, true FROM unnest(CAST(:hashes AS bytea[]), CAST(:ats AS timestamptz[])) AS gone (hash, at)
ORDER BY hash
ON CONFLICT (key_hash) DO UPDATE SET at = greatest(erased.at, excluded.at);

-- name: drop_old_tombstones
DELETE FROM erased WHERE NOT keyed AND key_hash = ANY (CAST(:hashes AS bytea[])) RETURNING key_hash, at;

-- name: forget_ids
DELETE FROM event_key
USING unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS gone (source, id)
WHERE event_key.source = gone.source AND event_key.id = gone.id;

-- name: has_pending_of
SELECT EXISTS (SELECT FROM inbox WHERE contact_id = ANY (CAST(:ids AS bigint[])));

-- name: is_longer_than
SELECT EXISTS (SELECT FROM inbox ORDER BY seq OFFSET :limit LIMIT 1);

-- name: dead_letters
SELECT id, at, origin, reason, body FROM dead_letter
WHERE CAST(:id AS bigint) IS NULL OR id = CAST(:id AS bigint)
ORDER BY id DESC
LIMIT :limit;

-- name: take_dead_letters
-- A dead letter that is replayed or discarded leaves the table in the transaction that does so.
DELETE FROM dead_letter
WHERE id IN (SELECT id FROM dead_letter WHERE CAST(:ids AS bigint[]) IS NULL OR id = ANY (CAST(:ids AS bigint[]))
             ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id, at, origin, reason, body;

-- name: count_dead_letters
SELECT count(*) FROM dead_letter;
