-- All of these read whole tables, which nobody else uses: those of a sandbox.

-- name: next_message
SELECT min(message.due_at) FROM message JOIN campaign ON campaign.id = message.campaign_id AND campaign.published
WHERE message.state = 'queued';

-- name: outcomes
SELECT contact.key AS contact, step.key AS step, outcome.result::text AS result, outcome.at
FROM outcome JOIN contact ON contact.id = outcome.contact_id JOIN step ON step.id = outcome.step_id
WHERE CAST(:contact AS text) IS NULL OR contact.key = :contact
ORDER BY outcome.at, contact.key, step.id;

-- name: messages
SELECT message.key, contact.key AS contact, campaign.key AS campaign, step.key AS step, message.template
FROM message
JOIN contact ON contact.id = message.contact_id
JOIN campaign ON campaign.id = message.campaign_id
JOIN step ON step.id = message.step_id
WHERE message.key = ANY (CAST(:keys AS text[]));
