-- name: reach
-- How contacts are reached: by which address, and by which numbers as they are written.
SELECT id, nullif(lower(btrim(email)), '') AS email, ARRAY[fields ->> 'phone', fields ->> 'mobile'] AS phones,
       fields ->> 'country' AS country
FROM contact WHERE id = ANY (CAST(:ids AS bigint[]));

-- name: of_contacts
-- What is refused of contacts: by themselves, by their mailbox, and, if a number of theirs ends like one that refused, by
-- that number maybe: the caller compares the two. Each a probe a contact, whatever the statistics say; where no
-- number ever refused, no contact's fields are read.
SELECT contact_id, channel, reason, comment, at,
       CAST(NULL AS text) AS address, CAST(NULL AS text) AS number, CAST(NULL AS text) AS phone, CAST(NULL AS text) AS country
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM do_not_contact WHERE contact_id = wanted.id AND address IS NULL LIMIT 1000) AS own
UNION ALL
SELECT contact.id, said.channel, said.reason, said.comment, said.at, said.address, NULL, NULL, NULL
FROM contact
CROSS JOIN LATERAL (
    SELECT address, channel, reason, comment, at FROM refusal
    WHERE refusal.address = lower(btrim(contact.email))
    LIMIT 1000
) AS said
WHERE contact.id = ANY (CAST(:ids AS bigint[])) AND said.reason IS NOT NULL
UNION ALL
SELECT contact.id, said.channel, said.reason, said.comment, said.at, said.address, said.address,
       own.phone, contact.fields ->> 'country'
FROM contact
CROSS JOIN LATERAL (VALUES (contact.fields ->> 'phone'), (contact.fields ->> 'mobile')) AS own (phone)
CROSS JOIN LATERAL (
    SELECT address, channel, reason, comment, at FROM refusal
    WHERE refusal.tail = right(regexp_replace(own.phone, '[^0-9]', '', 'g'), 6)
    LIMIT 1000
) AS said
WHERE contact.id = ANY (CAST(:ids AS bigint[])) AND said.reason IS NOT NULL
  AND (SELECT min(tail) FROM refusal) IS NOT NULL;

-- name: refuse
-- A person's word goes before a colleague's, that before a machine's; the weaker is kept beneath, for when the
-- stronger is taken back. What was taken back since stays so, but a bounce and a colleague's word are not taken back
-- by who comes back.
INSERT INTO refusal (address, channel, reason, comment, at)
SELECT DISTINCT ON (address, channel) address, channel, CAST(:reason AS text), comment, at
FROM unnest(CAST(:addresses AS text[]), CAST(:channels AS text[]), CAST(:ats AS timestamptz[]),
            CAST(:comments AS text[])) AS said (address, channel, at, comment)
ORDER BY address, channel, at DESC
ON CONFLICT (address, channel) DO UPDATE
SET (reason, comment, at, beneath) = (
    SELECT CASE WHEN weaker THEN refusal.reason ELSE excluded.reason END,
           CASE WHEN weaker THEN refusal.comment ELSE excluded.comment END,
           CASE WHEN weaker THEN refusal.at
                WHEN refusal.reason = excluded.reason THEN greatest(refusal.at, excluded.at)
                ELSE excluded.at END,
           refusals_beneath(refusal.beneath, weaker, refusal.reason, refusal.at, refusal.comment,
                            excluded.reason, excluded.at, excluded.comment)
    FROM (SELECT is_weaker_refusal(excluded.reason, refusal.reason)) AS compared (weaker)
)
WHERE CASE WHEN refusal.reason IS NULL
           THEN excluded.at >= refusal.at OR excluded.reason <> 'unsubscribed' AND refusal.beneath ? 'back'
           ELSE excluded.reason <> 'unsubscribed'
                OR coalesce(CAST(refusal.beneath ->> 'back' AS timestamptz) <= excluded.at, true) END;

-- name: refuse_contacts
-- With the address at which it was said, if that took effect there. Without one it is about the contact: unless
-- they took it back since, which `said_at` remembers.
INSERT INTO do_not_contact (contact_id, channel, reason, at, address)
SELECT DISTINCT ON (said.contact_id, said.channel) said.contact_id, said.channel, :reason, said.at, said.address
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:channels AS text[]), CAST(:ats AS timestamptz[]),
            CAST(:addresses AS text[])) AS said (contact_id, channel, at, address)
JOIN contact ON contact.id = ANY (ARRAY[said.contact_id])
WHERE CASE WHEN said.address IS NULL
           THEN coalesce(CAST(contact.said_at ->> ('free.' || said.channel) AS timestamptz) <= said.at, true)
           ELSE EXISTS (SELECT FROM refusal WHERE refusal.address = said.address AND refusal.channel = said.channel
                                              AND refusal.reason IS NOT NULL) END
ORDER BY said.contact_id, said.channel, said.at DESC
ON CONFLICT (contact_id, channel) DO UPDATE
-- Of two words about the contact, the weaker is kept beneath, as with addresses.
SET (reason, comment, at, address, beneath) = (
    SELECT CASE WHEN weaker THEN do_not_contact.reason ELSE excluded.reason END,
           CASE WHEN weaker THEN do_not_contact.comment END,
           CASE WHEN weaker THEN do_not_contact.at
                WHEN do_not_contact.reason = excluded.reason THEN greatest(do_not_contact.at, excluded.at)
                ELSE excluded.at END,
           excluded.address,
           CASE WHEN do_not_contact.address IS NOT NULL THEN '{}'
                ELSE refusals_beneath(
                    do_not_contact.beneath, weaker, do_not_contact.reason, do_not_contact.at, do_not_contact.comment,
                    excluded.reason, excluded.at, excluded.comment) END
    FROM (SELECT do_not_contact.address IS NULL AND is_weaker_refusal(excluded.reason, do_not_contact.reason)
         ) AS compared (weaker)
)
-- What is about the contact holds at any address, and gives way to no word about one.
WHERE excluded.address IS NULL
   OR do_not_contact.address IS NOT NULL
      AND NOT is_weaker_refusal(excluded.reason, do_not_contact.reason);

-- name: resubscribe
-- What a person said in the meantime counts; a bounce, and what somebody did by hand, stays or comes forth. `back`
-- is when they came back last.
INSERT INTO refusal (address, channel, reason, at, beneath)
SELECT address, channel, NULL, max(at), jsonb_build_object('back', max(at))
FROM unnest(CAST(:addresses AS text[]), CAST(:channels AS text[]), CAST(:ats AS timestamptz[]))
     AS said (address, channel, at)
GROUP BY address, channel
ORDER BY address, channel
ON CONFLICT (address, channel) DO UPDATE
SET (reason, comment, at, beneath) = (
    SELECT CASE WHEN taken THEN next ELSE refusal.reason END,
           CASE WHEN taken THEN refusal.beneath -> next ->> 'comment' ELSE refusal.comment END,
           CASE WHEN taken THEN coalesce(CAST(refusal.beneath -> next ->> 'at' AS timestamptz), excluded.at)
                WHEN refusal.reason IS NULL THEN greatest(refusal.at, excluded.at)
                ELSE refusal.at END,
           CASE WHEN refusal.reason IS NULL AND NOT refusal.beneath ? 'back' THEN refusal.beneath
                ELSE (CASE WHEN taken AND next IS NOT NULL THEN refusal.beneath - next ELSE refusal.beneath END)
                     || jsonb_build_object(
                            'back', greatest(CAST(refusal.beneath ->> 'back' AS timestamptz), excluded.at)) END
    FROM (SELECT coalesce(refusal.reason = 'unsubscribed', false),
                 CASE WHEN refusal.beneath ? 'manual' THEN 'manual' WHEN refusal.beneath ? 'bounced' THEN 'bounced' END
         ) AS then_ (taken, next)
)
WHERE refusal.reason IS DISTINCT FROM 'unsubscribed' OR refusal.at <= excluded.at;

-- name: resubscribe_contacts
-- What is beneath comes forth. By the place of each row, so that no statistics make it a read of all that refuse.
WITH gone AS MATERIALIZED (
    SELECT known.ctid, known.beneath ?| ARRAY['manual', 'bounced'] AS covers
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:channels AS text[]), CAST(:ats AS timestamptz[]))
         AS said (contact_id, channel, at)
    CROSS JOIN LATERAL (SELECT own.ctid, own.beneath FROM do_not_contact AS own
                        WHERE own.contact_id = said.contact_id AND own.channel = said.channel
                          AND own.reason = 'unsubscribed' AND own.at <= said.at
                        FOR UPDATE) AS known
), uncovered AS (
    UPDATE do_not_contact
    SET (reason, comment, at, beneath) = (
        SELECT next, beneath -> next ->> 'comment', CAST(beneath -> next ->> 'at' AS timestamptz), beneath - next
        FROM (SELECT CASE WHEN beneath ? 'manual' THEN 'manual' ELSE 'bounced' END) AS then_ (next)
    )
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM gone WHERE covers))
)
DELETE FROM do_not_contact WHERE ctid = ANY (ARRAY(SELECT ctid FROM gone WHERE NOT covers));

-- name: resubscribe_mates
-- What others of the same mailbox said there.
WITH gone AS MATERIALIZED (
    SELECT known.ctid
    FROM unnest(CAST(:addresses AS text[]), CAST(:channels AS text[]), CAST(:ats AS timestamptz[]))
         AS said (address, channel, at)
    CROSS JOIN LATERAL (SELECT own.ctid FROM do_not_contact AS own
                        WHERE own.address = said.address AND own.channel = said.channel
                          AND own.reason = 'unsubscribed' AND own.at <= said.at
                        FOR UPDATE) AS known
)
DELETE FROM do_not_contact WHERE ctid = ANY (ARRAY(SELECT ctid FROM gone));

-- name: remember_return
-- Of contacts without an address on the channel.
UPDATE contact SET said_at = contact.said_at || said.word
FROM (SELECT contact_id, jsonb_object_agg('free.' || channel, at) AS word
      FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:channels AS text[]), CAST(:ats AS timestamptz[]))
           AS each (contact_id, channel, at)
      GROUP BY contact_id) AS said
WHERE contact.id = said.contact_id;

-- name: allow
-- By the place of each, so that no statistics make it a read of all that refuse.
WITH freed AS MATERIALIZED (
    SELECT known.ctid
    FROM unnest(CAST(:addresses AS text[]), CAST(:channels AS text[])) AS free (address, channel)
    CROSS JOIN LATERAL (SELECT refusal.ctid FROM refusal
                        WHERE refusal.address = free.address AND refusal.channel = free.channel
                        FOR UPDATE) AS known
)
UPDATE refusal SET reason = NULL, comment = NULL, at = :now, beneath = '{}'
WHERE ctid = ANY (ARRAY(SELECT ctid FROM freed));

-- name: by_phones
-- Whose number ends like some numbers. Served by contact_phone_tail_idx and contact_mobile_tail_idx.
SELECT contact.id, contact.key, contact.phone, contact.country
FROM unnest(CAST(:tails AS text[])) AS wanted (tail)
CROSS JOIN LATERAL (
    (SELECT id, key, fields ->> 'phone' AS phone, fields ->> 'country' AS country FROM contact
     WHERE right(regexp_replace(contact.fields ->> 'phone', '[^0-9]', '', 'g'), 6) = wanted.tail
       AND contact.fields ? 'phone'
     ORDER BY id + 0 LIMIT 1000)
    UNION ALL
    (SELECT id, key, fields ->> 'mobile', fields ->> 'country' FROM contact
     WHERE right(regexp_replace(contact.fields ->> 'mobile', '[^0-9]', '', 'g'), 6) = wanted.tail
       AND contact.fields ? 'mobile'
     ORDER BY id + 0 LIMIT 1000)
) AS contact
ORDER BY contact.id;

-- name: of_addresses
-- Why addresses refuse a channel; those that do not are left out.
SELECT address, reason FROM refusal
WHERE address = ANY (CAST(:addresses AS text[])) AND channel = :channel AND reason IS NOT NULL;

-- name: forget
-- The words of mailboxes and numbers that nobody has any more.
DELETE FROM refusal WHERE address = ANY (CAST(:addresses AS text[]));

-- name: held
-- Which mailboxes others have.
SELECT address FROM unnest(CAST(:addresses AS text[])) AS wanted (address)
WHERE (SELECT min(contact.id + 0) FROM contact
       WHERE lower(contact.email) = wanted.address AND NOT contact.id = ANY (CAST(:ids AS bigint[]))) IS NOT NULL;

-- name: past_addresses
-- Where contacts were reached, as far as we still know.
SELECT address FROM do_not_contact WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND address IS NOT NULL
UNION
SELECT said.address
FROM event
CROSS JOIN LATERAL (VALUES (event.data ->> 'email'), (event.data -> 'fields' ->> 'phone'),
                           (event.data -> 'fields' ->> 'mobile')) AS said (address)
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND type = 'contact.changed' AND said.address <> ''
UNION
-- Where an import or a page has changed the address since. Messages to colleagues have none here.
SELECT address FROM message
WHERE contact_id = ANY (CAST(:ids AS bigint[])) AND channel IN ('email', 'sms') AND address IS NOT NULL;
