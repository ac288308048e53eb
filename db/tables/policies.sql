-- name: listed
SELECT channel, rules FROM policy ORDER BY channel;

-- name: create
INSERT INTO policy (channel, rules, changed_at) VALUES (:channel, CAST(:rules AS jsonb), :now)
ON CONFLICT (channel) DO NOTHING
RETURNING channel;

-- name: update
UPDATE policy SET rules = CAST(:rules AS jsonb), changed_at = :now
WHERE channel = :channel AND rules <> CAST(:rules AS jsonb)
RETURNING channel;

-- name: delete
DELETE FROM policy WHERE channel = :channel RETURNING channel;

-- name: rules
-- Served by the primary key.
SELECT contact_id, channel, number, period, preferred, paused_from, paused_until FROM frequency_rule
WHERE contact_id = ANY (CAST(:ids AS bigint[]))
ORDER BY contact_id, channel;

-- name: save_rules
INSERT INTO frequency_rule (contact_id, channel, number, period, preferred, paused_from, paused_until)
SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:channels AS text[]), CAST(:numbers AS int[]),
                     CAST(:periods AS text[]), CAST(:preferreds AS boolean[]), CAST(:froms AS timestamptz[]),
                     CAST(:untils AS timestamptz[]))
ON CONFLICT (contact_id, channel) DO UPDATE
SET number = excluded.number, period = excluded.period, preferred = excluded.preferred,
    paused_from = excluded.paused_from, paused_until = excluded.paused_until;

-- name: clear_rules
DELETE FROM frequency_rule
USING unnest(CAST(:ids AS bigint[]), CAST(:channels AS text[])) AS gone (contact_id, channel)
WHERE frequency_rule.contact_id = gone.contact_id AND frequency_rule.channel = gone.channel;

-- name: rule_said
-- What a person says here and now counts as said now, against what upstream says of earlier or later.
UPDATE contact SET said_at = said_at || jsonb_build_object('channels.' || CAST(:channel AS text), CAST(:at AS text))
WHERE id = :contact_id;
