-- name: page
-- Each part by its primary key, whose first column is the contact. Many things happen at one instant, so
-- a page begins at an instant and passes over what of it stood on the page before; `place` puts them in
-- one order, here and in each part.
SELECT what, at, campaign, step, type, result, detail, rotation FROM (
    (SELECT 'outcome' AS what, outcome.at, campaign.key AS campaign, step.key AS step, step.type,
            outcome.result::text AS result, outcome.detail, outcome.rotation,
            concat_ws('/', to_char(outcome.step_id, '0000000000'), outcome.rotation, outcome.passage) AS place
     FROM outcome
     JOIN step ON step.id = outcome.step_id
     JOIN campaign ON campaign.id = step.campaign_id
     WHERE outcome.contact_id = :contact_id AND outcome.at <= :at
     ORDER BY outcome.at DESC, place DESC LIMIT :reach)
    UNION ALL
    (SELECT 'event', event.at, NULL, NULL, event.type, NULL, event.data, NULL,
            concat_ws('/', event.source, event.id) AS place
     FROM event
     WHERE event.contact_id = :contact_id AND event.at <= :at
     ORDER BY event.at DESC, place DESC LIMIT :reach)
    UNION ALL
    (SELECT 'message', coalesce(message.sent_at, message.due_at) AS at, campaign.key, step.key, message.channel,
            message.state::text,
            jsonb_strip_nulls(jsonb_build_object(
                'template', message.template, 'address', message.address, 'error', message.error,
                'opened_at', message.opened_at, 'clicked_at', message.clicked_at, 'bounced_at', message.bounced_at)),
            message.rotation, to_char(message.id, '0000000000000000000') AS place
     FROM message
     LEFT JOIN campaign ON campaign.id = message.campaign_id
     LEFT JOIN step ON step.id = message.step_id
     WHERE message.contact_id = :contact_id AND coalesce(message.sent_at, message.due_at) <= :at
     ORDER BY at DESC, place DESC LIMIT :reach)
    UNION ALL
    (SELECT 'joined', membership.added_at, campaign.key, NULL, NULL, membership.arrival::text, NULL,
            membership.rotation, campaign.key
     FROM membership JOIN campaign ON campaign.id = membership.campaign_id
     WHERE membership.contact_id = :contact_id AND membership.added_at <= :at)
    UNION ALL
    (SELECT 'left', membership.left_at, campaign.key, NULL, NULL, membership.departure::text, NULL,
            membership.rotation, campaign.key
     FROM membership JOIN campaign ON campaign.id = membership.campaign_id
     WHERE membership.contact_id = :contact_id AND membership.left_at <= :at)
) AS entry
ORDER BY at DESC, what DESC, place DESC
LIMIT :limit OFFSET :skipped;
