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

-- name: last_words
-- A person's last word on each channel, if it still stands in the inbox.
SELECT DISTINCT ON (channel) channel, type
FROM (SELECT lower(coalesce(data ->> 'channel', 'email')) AS channel, type, seq FROM inbox
      WHERE contact_id = :contact_id AND type IN ('email.unsubscribed', 'email.resubscribed')) AS said
ORDER BY channel, seq DESC;

-- name: categories
-- The categories of emails that are sent; that of the message first, whatever became of its template's publication.
SELECT email.category
FROM email
LEFT JOIN message ON message.key = :message AND message.template = email.key AND message.channel = 'email'
WHERE btrim(email.category) <> '' AND (email.published OR message.key IS NOT NULL)
ORDER BY message.key IS NULL, lower(email.category), email.category;
