-- name: origins
-- Who got messages of ours, and what sent them; those of contacts that are gone are gone. One that went to
-- users is about a contact who never saw it.
SELECT message.key, contact.id AS contact_id, contact.key AS contact, message.channel, message.sent_at,
       campaign.key AS campaign, step.key AS step
FROM message
JOIN contact ON contact.id = message.contact_id
LEFT JOIN campaign ON campaign.id = message.campaign_id
LEFT JOIN step ON step.id = message.step_id
WHERE message.key = ANY (CAST(:keys AS text[]))
  AND NOT message.payload ?| ARRAY['to', 'cc', 'bcc', 'to_owner'];

-- name: keys
SELECT id, key FROM contact WHERE id = ANY (CAST(:ids AS bigint[]));

-- name: last_word
-- A person's last word on a channel, if it still stands in the inbox.
SELECT type FROM inbox
WHERE contact_id = :contact_id AND type IN ('email.unsubscribed', 'email.resubscribed')
  AND lower(coalesce(data ->> 'channel', 'email')) = :channel
ORDER BY seq DESC LIMIT 1;
