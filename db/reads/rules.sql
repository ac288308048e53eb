-- What conditions of rules are in SQL: each an expression on a row of `contact`, true or false where SQL can tell, and
-- NULL where the contact has to be asked in Python. AND, OR and NOT of SQL then do what `judging` does: a condition that
-- nobody can tell matters only where the others do not settle it.

-- name: unknown
CAST(NULL AS boolean)

-- name: tags
EXISTS (SELECT FROM contact_tag WHERE contact_tag.contact_id = contact.id AND contact_tag.tag = ANY (CAST(:tags AS text[])))

-- name: any_tag
EXISTS (SELECT FROM contact_tag WHERE contact_tag.contact_id = contact.id)

-- name: segments
EXISTS (
    SELECT FROM segment_member JOIN segment ON segment.id = segment_member.segment_id
    WHERE segment_member.contact_id = contact.id AND segment_member.active AND segment.key = ANY (CAST(:keys AS text[]))
)

-- name: campaigns
EXISTS (
    SELECT FROM membership JOIN campaign ON campaign.id = membership.campaign_id
    WHERE membership.contact_id = contact.id AND membership.left_at IS NULL AND campaign.deleted_at IS NULL
      AND campaign.key = ANY (CAST(:keys AS text[]))
)

-- name: stage
coalesce(contact.stage = ANY (CAST(:keys AS text[])), false)

-- name: owner
coalesce(contact.owner = ANY (CAST(:keys AS text[])), false)

-- name: points
CASE CAST(:operator AS text) WHEN '=' THEN contact.points = :number WHEN '!=' THEN contact.points <> :number
                             WHEN 'gt' THEN contact.points > :number WHEN 'gte' THEN contact.points >= :number
                             WHEN 'lt' THEN contact.points < :number ELSE contact.points <= :number END

-- name: scores
EXISTS (
    SELECT FROM contact_score
    WHERE contact_score.contact_id = contact.id AND group_key = :group_key
      AND CASE CAST(:operator AS text) WHEN '=' THEN points = :number WHEN '!=' THEN points <> :number
                                       WHEN 'gt' THEN points > :number WHEN 'gte' THEN points >= :number
                                       WHEN 'lt' THEN points < :number ELSE points <= :number END
)

-- name: do_not_contact
-- Of whom nothing is said by themselves, and who has nothing that others may have said it of, the answer is no. What is
-- said of an address or a number, Python compares.
CASE WHEN CAST(:plain AS boolean) AND EXISTS (
         SELECT FROM do_not_contact
         WHERE do_not_contact.contact_id = contact.id AND do_not_contact.address IS NULL
           AND do_not_contact.channel = ANY (CAST(:channels AS text[]))
     ) THEN true
     WHEN NOT EXISTS (SELECT FROM do_not_contact WHERE do_not_contact.contact_id = contact.id)
      AND NOT EXISTS (SELECT FROM refusal WHERE refusal.address = lower(btrim(contact.email)))
      AND NOT contact.fields ?| CAST(ARRAY['phone', 'mobile'] AS text[]) THEN false
END

-- name: form_submitted
-- Surely in the period, or surely not.
CASE WHEN EXISTS (
         SELECT FROM form_submission JOIN form ON form.id = form_submission.form_id
         WHERE form_submission.contact_id = contact.id AND (CAST(:any_form AS boolean) OR form.key = ANY (CAST(:keys AS text[])))
           AND form_submission.at >= :inside_from AND form_submission.at < :inside_until
     ) THEN CASE WHEN (SELECT count(*) FROM form_submission WHERE form_submission.contact_id = contact.id) <= :most
                 THEN true END
     WHEN NOT EXISTS (
         SELECT FROM form_submission JOIN form ON form.id = form_submission.form_id
         WHERE form_submission.contact_id = contact.id AND (CAST(:any_form AS boolean) OR form.key = ANY (CAST(:keys AS text[])))
           AND form_submission.at >= :maybe_from AND form_submission.at < :maybe_until
     ) THEN false
END

-- name: never_submitted
-- What is asked of submissions of a form is not so where there are none.
CASE WHEN NOT EXISTS (
    SELECT FROM form_submission JOIN form ON form.id = form_submission.form_id
    WHERE form_submission.contact_id = contact.id AND form.key = :form
) THEN false END

-- name: created
CASE WHEN contact.created_at >= :inside_from AND contact.created_at < :inside_until THEN true
     WHEN contact.created_at < :maybe_from OR contact.created_at >= :maybe_until THEN false
END

-- name: email_activity
-- What messages say; where they do not say yes, an event of somebody else's email may. Of who has more than Python
-- looks at, Python tells.
CASE WHEN EXISTS (
         SELECT FROM message
         CROSS JOIN LATERAL (VALUES ('sent', sent_at), ('opened', opened_at), ('clicked', clicked_at), ('bounced', bounced_at))
                    AS became (activity, at)
         WHERE message.contact_id = contact.id AND message.channel = 'email' AND message.address IS NOT NULL
           AND (CAST(:any_email AS boolean) OR message.template = ANY (CAST(:emails AS text[])))
           AND became.activity = :activity AND became.at >= :inside_from AND became.at < :inside_until
     ) THEN CASE WHEN (SELECT count(*) FROM message WHERE message.contact_id = contact.id AND channel = 'email')
                      + coalesce({alias}.every, 0) < :most
                 THEN true END
     WHEN {alias}.asked > 0 THEN CAST(NULL AS boolean)
     WHEN NOT EXISTS (
         SELECT FROM message
         CROSS JOIN LATERAL (VALUES ('sent', sent_at), ('opened', opened_at), ('clicked', clicked_at), ('bounced', bounced_at))
                    AS became (activity, at)
         WHERE message.contact_id = contact.id AND message.channel = 'email' AND message.address IS NOT NULL
           AND (CAST(:any_email AS boolean) OR message.template = ANY (CAST(:emails AS text[])))
           AND became.activity = :activity AND became.at >= :maybe_from AND became.at < :maybe_until
     ) THEN false
END

-- name: email_activity_join
-- The events of a whole range at once, as in all joins: a table of many partitions is not asked contact by contact.
LEFT JOIN (
    SELECT contact_id, count(*) AS every, count(*) FILTER (WHERE type = ANY (CAST(:types AS text[]))) AS asked
    FROM event
    WHERE contact_id BETWEEN :first_id AND :last_id AND data ? 'email' AND received_at >= :received_from
      AND type = ANY (CAST(:every_type AS text[]))
    GROUP BY contact_id
) AS {alias} ON {alias}.contact_id = contact.id

-- name: event_count
-- The counts of what surely is in the period, and of what may be, settle it when both are on the same side. Without
-- `plain`, not all of these count: too few are too few all the same.
CASE WHEN coalesce({alias}.possibly, 0) < :at_least THEN false
     WHEN NOT CAST(:plain AS boolean) AND coalesce({alias}.possibly, 0) > 0 OR {alias}.possibly >= :few THEN CAST(NULL AS boolean)
     WHEN coalesce({alias}.surely, 0) >= :at_least
      AND (CAST(:at_most AS int) IS NULL OR coalesce({alias}.possibly, 0) <= :at_most) THEN true
     WHEN {alias}.surely > CAST(:at_most AS int) THEN false
END

-- name: event_count_join
LEFT JOIN (
    SELECT contact_id,
           count(*) FILTER (WHERE at >= :inside_from AND at < :inside_until) AS surely,
           count(*) FILTER (WHERE at >= :maybe_from AND at < :maybe_until) AS possibly
    FROM event
    WHERE contact_id BETWEEN :first_id AND :last_id AND type = ANY (CAST(:types AS text[]))
      AND received_at >= :received_from
      AND NOT (type = ANY (CAST(:by_machines AS text[]))
               AND coalesce(data ->> 'bot', '') NOT IN ('', 'false', '0', '[]', '{}'))
    GROUP BY contact_id
) AS {alias} ON {alias}.contact_id = contact.id

-- name: no_visit
CASE WHEN {alias}.contact_id IS NULL THEN false END

-- name: no_visit_join
LEFT JOIN (
    SELECT DISTINCT contact_id FROM event WHERE contact_id BETWEEN :first_id AND :last_id AND type = 'page.hit'
) AS {alias} ON {alias}.contact_id = contact.id

-- name: no_device
CASE WHEN NOT EXISTS (SELECT FROM device WHERE device.contact_id = contact.id) THEN false END

-- name: no_company
CASE WHEN NOT EXISTS (SELECT FROM company_member WHERE company_member.contact_id = contact.id) THEN false END

-- name: custom_field
-- The value of a field test; so is `attribute`.
(contact.fields -> CAST(:field AS text))

-- name: attribute
to_jsonb(CASE CAST(:field AS text) WHEN 'key' THEN contact.key WHEN 'email' THEN contact.email
                                   WHEN 'timezone' THEN contact.timezone WHEN 'stage' THEN contact.stage
                                   ELSE contact.owner END)

-- name: text_equals
-- Of a text in small letters that is neither a number nor a date. Letters other than ASCII have their cases compared in
-- Python, and so have the items of lists.
CASE WHEN {value} IS NULL OR jsonb_typeof({value}) = 'null' THEN false
     WHEN jsonb_typeof({value}) IN ('number', 'boolean') THEN false
     WHEN jsonb_typeof({value}) <> 'string' THEN CAST(NULL AS boolean)
     WHEN octet_length{text} = length{text}
         THEN lower({text} COLLATE "C") = ANY (CAST(:values AS text[]))
END

-- name: number_compares
-- Of a whole number that a float holds. Text is compared where it is a plain whole number, and is none where it begins
-- with a letter.
CASE WHEN {value} IS NULL OR jsonb_typeof({value}) = 'null' THEN false
     WHEN jsonb_typeof({value}) = 'boolean' THEN CASE WHEN CAST(:operator AS text) <> '=' THEN false END
     WHEN jsonb_typeof({value}) = 'number' OR {text} ~ '^[0-9]{1,15}$' AND jsonb_typeof({value}) = 'string' THEN
         CASE WHEN CAST({text} AS numeric) = 0 OR abs(CAST({text} AS numeric)) BETWEEN 1e-300 AND 1e15 THEN
             CASE CAST(:operator AS text)
                  WHEN '=' THEN CAST({text} AS float8) = :number
                  WHEN 'gt' THEN CAST({text} AS float8) > :number
                  WHEN 'gte' THEN CAST({text} AS float8) >= :number
                  WHEN 'lt' THEN CAST({text} AS float8) < :number
                  ELSE CAST({text} AS float8) <= :number
             END
         END
     WHEN jsonb_typeof({value}) = 'string' AND {text} COLLATE "C" ~ '^[A-Za-z]' THEN false
     WHEN {text} = '' THEN false
END

-- name: day_compares
-- Of a day. Days of the calendar, written as ISO 8601 has them, compare as texts do; the 29th of February, which not
-- every year has, and times are compared in Python.
CASE WHEN {value} IS NULL OR jsonb_typeof({value}) IN ('null', 'number', 'boolean') THEN false
     WHEN jsonb_typeof({value}) = 'string' AND {text} COLLATE "C" ~
          '^[0-9]{4}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)$'
          AND {text} COLLATE "C" > '0001-01-02' AND {text} COLLATE "C" < '9999-12-30' THEN
         CASE WHEN {text} COLLATE "C" >= CAST(:inside_from AS text) AND {text} COLLATE "C" < CAST(:inside_until AS text) THEN true
              WHEN {text} COLLATE "C" < CAST(:maybe_from AS text) OR {text} COLLATE "C" >= CAST(:maybe_until AS text) THEN false
         END
     WHEN jsonb_typeof({value}) = 'string' AND ({text} = '' OR {text} COLLATE "C" ~ '^[A-Za-z]') THEN false
END

-- name: month_and_day
-- Of an anniversary. Who has another day than those of today anywhere does not have it today.
CASE WHEN {value} IS NULL OR jsonb_typeof({value}) IN ('null', 'number', 'boolean') THEN false
     WHEN jsonb_typeof({value}) = 'string' AND {text} COLLATE "C" ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
          AND NOT substr({text}, 6) = ANY (CAST(:days AS text[])) THEN false
     WHEN jsonb_typeof({value}) = 'string' AND ({text} = '' OR {text} COLLATE "C" ~ '^[A-Za-z]') THEN false
END

-- name: empty
coalesce({value} IN (CAST('null' AS jsonb), CAST('""' AS jsonb), CAST('[]' AS jsonb)), true)

-- name: last_active
CASE WHEN contact.last_active_at IS NULL THEN false
     WHEN contact.last_active_at >= :inside_from AND contact.last_active_at < :inside_until THEN true
     WHEN contact.last_active_at < :maybe_from OR contact.last_active_at >= :maybe_until THEN false
END

-- name: answers
-- Whom the rule takes in, and of whom Python has to tell (NULL), in a range of contacts.
SELECT id, answer FROM (
    SELECT contact.id, {rule} AS answer FROM contact {joins} WHERE contact.id BETWEEN :first_id AND :last_id
) AS asked
WHERE answer IS NOT false
ORDER BY id
