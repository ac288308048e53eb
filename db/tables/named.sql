-- name: keep_segments
SELECT key FROM segment WHERE key = ANY (CAST(:keys AS text[])) ORDER BY key FOR KEY SHARE;

-- name: keep_forms
SELECT key FROM form WHERE key = ANY (CAST(:keys AS text[])) ORDER BY key FOR KEY SHARE;

-- name: keep_emails
SELECT key FROM email WHERE key = ANY (CAST(:keys AS text[])) ORDER BY key FOR KEY SHARE;

-- name: take_segments
SELECT FROM segment WHERE key = :key FOR UPDATE;

-- name: take_forms
SELECT FROM form WHERE key = :key FOR UPDATE;

-- name: take_emails
SELECT FROM email WHERE key = :key FOR UPDATE;
