-- name: page
-- Each part by its primary key, whose first column is the contact. Many things happen at one instant, so
-- a page begins at an instant and passes over what of it stood on the page before; `place` puts them in
-- one order, here and in each part.
SELECT what, at, campaign, step, type, result, detail, rotation FROM (
    (SELECT 'outcome' AS what, outcome.at, campaign.key AS campaign, step.key AS step, step.type,
            outcome.result::text AS result,
            CASE WHEN run.key IS NULL AND message.state IS NULL THEN outcome.detail
                 ELSE coalesce(outcome.detail, '{}')
                      || jsonb_strip_nulls(jsonb_build_object('run', run.key, 'message_state', message.state)) END AS detail,
            outcome.rotation, outcome.place
     FROM (SELECT *, concat_ws('/', to_char(step_id, '0000000000'), rotation, passage) AS place
           FROM outcome
           WHERE contact_id = :contact_id AND at <= :at
             AND (CAST(:whats AS text[]) IS NULL OR 'outcome' = ANY (CAST(:whats AS text[])))
             -- As an array, and with nothing that an index of steps has: the contact leads, whatever statistics say.
             AND (CAST(:campaign AS text) IS NULL OR step_id + 0 = ANY (ARRAY(
                     SELECT step.id FROM step JOIN campaign ON campaign.id = step.campaign_id
                     WHERE campaign.key = CAST(:campaign AS text))))
           ORDER BY at DESC, place DESC LIMIT :reach) AS outcome
     JOIN step ON step.id = outcome.step_id
     LEFT JOIN run ON run.contact_id = outcome.contact_id AND run.campaign_id = step.campaign_id
                  AND run.number = outcome.run AND run.key <> ''
     JOIN campaign ON campaign.id = step.campaign_id
     -- What became of the message that the step wrote, where it did not arrive (yet): as in `log` of outcomes.sql.
     LEFT JOIN LATERAL (
         SELECT nullif(message.state, 'sent') AS state FROM message
         WHERE message.contact_id = outcome.contact_id AND message.step_id = outcome.step_id AND outcome.result = 'done'
           AND CASE WHEN split_part(message.key, '-', 3) = outcome.contact_id::text
                         OR outcome.passage > 0 AND outcome.run IS NULL
                    THEN split_part(message.key, '-', 4) = outcome.passage::text
                    ELSE message.rotation = outcome.rotation END
         ORDER BY message.id
         LIMIT 1
     ) AS message ON true)
    UNION ALL
    (SELECT 'event', event.at, NULL, NULL, event.type, NULL, event.data, NULL,
            concat_ws('/', event.source, event.id) AS place
     FROM event
     WHERE event.contact_id = :contact_id AND event.at <= :at
       AND (CAST(:whats AS text[]) IS NULL OR 'event' = ANY (CAST(:whats AS text[])))
       AND CAST(:campaign AS text) IS NULL
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
       AND (CAST(:whats AS text[]) IS NULL OR 'message' = ANY (CAST(:whats AS text[])))
       AND (CAST(:campaign AS text) IS NULL OR campaign.key = CAST(:campaign AS text))
     ORDER BY at DESC, place DESC LIMIT :reach)
    UNION ALL
    (SELECT 'joined', membership.added_at, campaign.key, NULL, NULL, membership.arrival::text, NULL,
            membership.rotation, campaign.key
     FROM membership JOIN campaign ON campaign.id = membership.campaign_id
     WHERE membership.contact_id = :contact_id AND membership.added_at <= :at AND NOT membership.runs
       AND (CAST(:whats AS text[]) IS NULL OR 'joined' = ANY (CAST(:whats AS text[])))
       AND (CAST(:campaign AS text) IS NULL OR campaign.key = CAST(:campaign AS text)))
    UNION ALL
    (SELECT 'joined', run.began_at, campaign.key, NULL, NULL, run.arrival::text,
            jsonb_strip_nulls(jsonb_build_object('run', nullif(run.key, ''))), run.rotation,
            concat_ws('/', campaign.key, to_char(run.number, '0000000000'))
     FROM run JOIN campaign ON campaign.id = run.campaign_id
     WHERE run.contact_id = :contact_id AND run.began_at <= :at
       AND (CAST(:whats AS text[]) IS NULL OR 'joined' = ANY (CAST(:whats AS text[])))
       AND (CAST(:campaign AS text) IS NULL OR campaign.key = CAST(:campaign AS text))
     ORDER BY run.began_at DESC LIMIT :reach)
    UNION ALL
    (SELECT 'left', membership.left_at, campaign.key, NULL, NULL, membership.departure::text,
            CASE WHEN membership.reason IS NOT NULL THEN jsonb_build_object('reason', membership.reason) END,
            membership.rotation, campaign.key
     FROM membership JOIN campaign ON campaign.id = membership.campaign_id
     WHERE membership.contact_id = :contact_id AND membership.left_at <= :at AND NOT membership.runs
       AND (CAST(:whats AS text[]) IS NULL OR 'left' = ANY (CAST(:whats AS text[])))
       AND (CAST(:campaign AS text) IS NULL OR campaign.key = CAST(:campaign AS text)))
    UNION ALL
    (SELECT 'left', run.left_at, campaign.key, NULL, NULL, run.departure::text,
            jsonb_strip_nulls(jsonb_build_object('run', nullif(run.key, ''), 'reason', run.reason)), run.rotation,
            concat_ws('/', campaign.key, to_char(run.number, '0000000000'))
     FROM run JOIN campaign ON campaign.id = run.campaign_id
     WHERE run.contact_id = :contact_id AND run.left_at <= :at
       AND (CAST(:whats AS text[]) IS NULL OR 'left' = ANY (CAST(:whats AS text[])))
       AND (CAST(:campaign AS text) IS NULL OR campaign.key = CAST(:campaign AS text))
     ORDER BY run.left_at DESC LIMIT :reach)
) AS entry
ORDER BY at DESC, what DESC, place DESC
LIMIT :limit OFFSET :skipped;
