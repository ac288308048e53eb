-- name: totals
SELECT template, what, sum(n)::bigint AS n FROM email_count
WHERE template = ANY (CAST(:keys AS text[]))
GROUP BY template, what;

-- name: deleted
-- Keys that have figures and no email. One probe of the primary key for each key that has figures.
WITH RECURSIVE counted AS (
    (SELECT template FROM email_count ORDER BY template LIMIT 1)
    UNION ALL
    SELECT (SELECT template FROM email_count WHERE template > counted.template ORDER BY template LIMIT 1)
    FROM counted WHERE counted.template IS NOT NULL
)
SELECT template FROM counted
WHERE template IS NOT NULL AND NOT EXISTS (SELECT FROM email WHERE key = template)
ORDER BY template LIMIT :limit;

-- name: parts
SELECT campaign.key AS campaign, campaign.name AS campaign_name, step.key AS step, email_count.variant,
       email_count.what, sum(email_count.n)::bigint AS n
FROM email_count
LEFT JOIN campaign ON campaign.id = email_count.campaign_id
LEFT JOIN step ON step.id = email_count.step_id
WHERE email_count.template = :key
GROUP BY campaign.key, campaign.name, email_count.step_id, step.key, email_count.variant, email_count.what
HAVING sum(email_count.n) <> 0
ORDER BY campaign.key, step.key, email_count.variant, email_count.what;

-- name: tests
-- The tests of the present round of an email, with what people call their places.
SELECT campaign.key AS campaign, campaign.name AS campaign_name, step.key AS step, test.started_at, test.decided_at,
       test.winner
FROM variant_test AS test
JOIN email ON email.key = test.template AND email.test_round = test.round
LEFT JOIN campaign ON campaign.id = test.campaign_id
LEFT JOIN step ON step.id = test.step_id
WHERE test.template = :key AND email.winner IS NOT NULL
ORDER BY campaign.key, step.key;

-- name: links
SELECT url, sum(n)::bigint AS clicks FROM email_link_count
WHERE template = :key
GROUP BY url ORDER BY clicks DESC, url LIMIT :limit;

-- name: note_clicks
INSERT INTO email_link_count (template, url, slot, n)
SELECT message.template, followed.url, pg_backend_pid() % 8, count(*)
FROM unnest(CAST(:messages AS text[]), CAST(:urls AS text[])) AS followed (message, url)
JOIN message ON message.key = followed.message
WHERE message.channel = 'email' AND message.template IS NOT NULL
GROUP BY message.template, followed.url
ORDER BY message.template, followed.url
ON CONFLICT (template, url, slot) DO UPDATE SET n = email_link_count.n + excluded.n;

-- name: note_unsubscribed
INSERT INTO email_count (template, campaign_id, step_id, variant, what, slot, n)
SELECT message.template, message.campaign_id, message.step_id, coalesce(message.variant, ''), 'unsubscribed',
       pg_backend_pid() % 8, count(*)
FROM unnest(CAST(:messages AS text[])) AS gone (message)
JOIN message ON message.key = gone.message
WHERE message.channel = 'email' AND message.template IS NOT NULL
GROUP BY message.template, message.campaign_id, message.step_id, coalesce(message.variant, '')
ORDER BY message.template, message.campaign_id, message.step_id, coalesce(message.variant, '')
ON CONFLICT (template, campaign_id, step_id, variant, what, slot) DO UPDATE SET n = email_count.n + excluded.n;
