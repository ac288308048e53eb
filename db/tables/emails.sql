-- name: create
-- Tests of an email of the same key that was deleted are over.
INSERT INTO email (key, subject, html, text, sender, published, category, tracking, variants, translations, winner,
                   test_round, changed_at)
VALUES (:key, :subject, :html, :text, :sender, :published, :category, :tracking, CAST(:variants AS jsonb),
        CAST(:translations AS jsonb), CAST(:winner AS jsonb),
        (SELECT coalesce(max(round) + 1, 0) FROM variant_test WHERE template = :key), :now)
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: update
UPDATE email
SET subject = :subject, html = :html, text = :text, sender = :sender, published = :published, category = :category,
    tracking = :tracking,
    variants = CAST(:variants AS jsonb), translations = CAST(:translations AS jsonb), winner = CAST(:winner AS jsonb),
    -- Which variants are tried, and how: another set is another test. Their texts may be corrected.
    test_round = test_round + CAST(
        (winner, jsonb_path_query_array(variants, '$[*].name'), jsonb_path_query_array(variants, '$[*].weight'))
        IS DISTINCT FROM
        (CAST(:winner AS jsonb), jsonb_path_query_array(CAST(:variants AS jsonb), '$[*].name'),
         jsonb_path_query_array(CAST(:variants AS jsonb), '$[*].weight')) AS int),
    changed_at = :now
WHERE key = :key
  AND (subject, html, text, sender, published, category, tracking, variants, translations, winner) IS DISTINCT FROM
      (CAST(:subject AS text), CAST(:html AS text), CAST(:text AS text), CAST(:sender AS text),
       CAST(:published AS boolean), CAST(:category AS text), CAST(:tracking AS boolean), CAST(:variants AS jsonb),
       CAST(:translations AS jsonb), CAST(:winner AS jsonb))
RETURNING id;

-- name: listed
SELECT key, subject, html, text, sender, published, category, tracking, variants, translations, winner, test_round
FROM email
WHERE CAST(:keys AS text[]) IS NULL OR key = ANY (CAST(:keys AS text[]))
ORDER BY key;

-- name: titles
SELECT key, subject FROM email
WHERE CAST(:keys AS text[]) IS NULL OR key = ANY (CAST(:keys AS text[]))
ORDER BY key;

-- name: delete
DELETE FROM email WHERE key = :key;
