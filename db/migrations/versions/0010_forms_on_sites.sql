-- Where people go after they submitted the form, and the sites whose pages may submit it: origins
-- such as https://example.com. None: every site.
ALTER TABLE form ADD COLUMN redirect text, ADD COLUMN allowed_origins text[] NOT NULL DEFAULT '{}';

-- Who sent a text message is found by the digits of the number; few contacts have one, so the index is
-- small, and nobody else pays for it.
CREATE INDEX contact_phone_idx ON contact (regexp_replace(fields ->> 'phone', '[^0-9]', '', 'g'))
WHERE fields ? 'phone';
