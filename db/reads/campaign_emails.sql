-- name: counted
-- From the counters: one range of their primary key an email.
SELECT email.template, email_count.what, sum(email_count.n)::bigint AS n
FROM unnest(CAST(:keys AS text[])) AS email (template)
JOIN email_count ON email_count.template = email.template AND email_count.campaign_id = :campaign_id
WHERE email_count.step_id = ANY (CAST(:step_ids AS int[]))
GROUP BY email.template, email_count.what;

-- name: counted_as
-- Whether openings and clicks are counted. A link to unsubscribe is none that anybody should follow. Quotes in the
-- texts of variants and translations have a backslash before them.
SELECT key, tracking AND html IS NOT NULL AS pixel,
       tracking AND concat(html, variants, translations)
                    ~* 'href\s*=\s*\\?["'']?\s*(https?:|\{\{(?!-?\s*(unsubscribe_url|open_url)))' AS links
FROM email WHERE key = ANY (CAST(:keys AS text[]));

-- name: lately
SELECT step_id, sum(n)::bigint AS n FROM step_count
WHERE step_id = ANY (CAST(:step_ids AS int[])) AND day >= :since AND result = 'done'
GROUP BY step_id;
