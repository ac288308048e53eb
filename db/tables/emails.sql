-- name: create
INSERT INTO email (key, subject, html, text, sender, published, category, tracking, variants, translations, changed_at)
VALUES (:key, :subject, :html, :text, :sender, :published, :category, :tracking, CAST(:variants AS jsonb),
        CAST(:translations AS jsonb), :now)
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: update
UPDATE email
SET subject = :subject, html = :html, text = :text, sender = :sender, published = :published, category = :category,
    tracking = :tracking,
    variants = CAST(:variants AS jsonb), translations = CAST(:translations AS jsonb), changed_at = :now
WHERE key = :key
  AND (subject, html, text, sender, published, category, tracking, variants, translations) IS DISTINCT FROM
      (CAST(:subject AS text), CAST(:html AS text), CAST(:text AS text), CAST(:sender AS text),
       CAST(:published AS boolean), CAST(:category AS text), CAST(:tracking AS boolean), CAST(:variants AS jsonb),
       CAST(:translations AS jsonb))
RETURNING id;

-- name: listed
SELECT key, subject, html, text, sender, published, category, tracking, variants, translations
FROM email
WHERE CAST(:keys AS text[]) IS NULL OR key = ANY (CAST(:keys AS text[]))
ORDER BY key;
