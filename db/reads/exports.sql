-- name: rows_of
-- Each by the contact, the first column of its key.
SELECT (SELECT count(*) FROM membership WHERE contact_id = :id) AS memberships,
       (SELECT count(*) FROM segment_member WHERE contact_id = :id) AS segments,
       (SELECT count(*) FROM wait WHERE contact_id = :id) AS waits,
       (SELECT count(*) FROM outcome WHERE contact_id = :id) AS outcomes,
       (SELECT count(*) FROM event WHERE contact_id = :id) AS events,
       (SELECT count(*) FROM message WHERE contact_id = :id) AS messages,
       (SELECT count(*) FROM form_submission WHERE contact_id = :id) AS submissions,
       (SELECT count(*) FROM contact_tag WHERE contact_id = :id) AS tags;

-- name: events
SELECT type, source, at, data FROM event WHERE contact_id = :id ORDER BY at, id;

-- name: messages
SELECT message.channel, message.template, message.address, message.state::text AS state, campaign.key AS campaign,
       message.created_at, message.sent_at, message.opened_at, message.clicked_at, message.bounced_at, message.error
FROM message LEFT JOIN campaign ON campaign.id = message.campaign_id
WHERE message.contact_id = :id
ORDER BY message.created_at, message.id;

-- name: submissions
SELECT form.key AS form, form_submission.at, form_submission.fields
FROM form_submission JOIN form ON form.id = form_submission.form_id
WHERE form_submission.contact_id = :id
ORDER BY form_submission.at, form_submission.id;

-- name: devices
SELECT type, brand, os, last_seen_at FROM device WHERE contact_id = :id ORDER BY last_seen_at;

-- name: field_names
SELECT DISTINCT jsonb_object_keys(contact.fields) AS name
FROM segment_member JOIN contact ON contact.id = segment_member.contact_id
WHERE segment_member.segment_id = :segment_id AND segment_member.active
ORDER BY name;

-- name: members
SELECT contact.id, contact.key, contact.email, contact.timezone, contact.points, contact.stage, contact.owner,
       ARRAY(SELECT tag FROM contact_tag WHERE contact_tag.contact_id = contact.id ORDER BY tag) AS tags,
       (SELECT company.key FROM company_member JOIN company ON company.id = company_member.company_id
        WHERE company_member.contact_id = contact.id AND company_member.is_primary) AS company,
       contact.created_at, contact.last_active_at, contact.fields
FROM segment_member JOIN contact ON contact.id = segment_member.contact_id
WHERE segment_member.segment_id = :segment_id AND segment_member.active AND segment_member.contact_id > :after
ORDER BY segment_member.contact_id
LIMIT :limit;
