-- name: create
-- Who is invited has a link since then, anybody else a password.
INSERT INTO account (email, name, role, password_hash, timezone, created_at, linked_at, password_at)
VALUES (:email, :name, :role, :password_hash, :timezone, :now,
        CASE WHEN NOT :has_password THEN CAST(:now AS timestamptz) END,
        CASE WHEN :has_password THEN CAST(:now AS timestamptz) END)
ON CONFLICT DO NOTHING
RETURNING id, email, name, role, active, timezone;

-- name: listing
SELECT id, email, name, role, active, timezone, NOT starts_with(password_hash, '$argon2') AS invited,
       created_at, linked_at, password_at, signed_in_at, sign_ins_kept
FROM account ORDER BY lower(email);

-- name: by_email
SELECT id, email, name, role, active, timezone, password_hash FROM account WHERE lower(email) = lower(:email);

-- name: by_id
SELECT id, email, name, role, active, timezone, password_hash, linked_at,
       NOT starts_with(password_hash, '$argon2') AS invited
FROM account WHERE id = :id;

-- name: renew
UPDATE account SET password_hash = :password_hash, linked_at = :now
WHERE id = :id AND NOT starts_with(password_hash, '$argon2');

-- name: uninvite
DELETE FROM account WHERE id = :id AND NOT starts_with(password_hash, '$argon2')
RETURNING id;

-- name: administrators
-- Locked, so that of two who are taken their role at the same time the second one stays.
SELECT id FROM account WHERE role = 'admin' AND active AND starts_with(password_hash, '$argon2')
ORDER BY id FOR UPDATE;

-- name: edit
UPDATE account SET name = coalesce(:name, name), role = coalesce(:role, role),
                   timezone = CASE WHEN :sets_timezone THEN CAST(:timezone AS text) ELSE timezone END
WHERE lower(email) = lower(:email)
RETURNING id, email, name, role, active, timezone;

-- name: set_active
UPDATE account SET active = :active WHERE lower(email) = lower(:email)
RETURNING id, email, name, role, active, timezone;

-- name: set_password
UPDATE account SET password_hash = :password_hash, password_at = :now WHERE lower(email) = lower(:email)
RETURNING id, email, name, role, active, timezone;

-- name: renew_hash
UPDATE account SET password_hash = :password_hash WHERE id = :id AND password_hash = :before;

-- name: sign_out_everywhere
DELETE FROM sign_in WHERE account_id = :account_id;

-- name: sign_in
INSERT INTO sign_in (hash, account_id, created_at, expires_at, address, agent)
VALUES (:hash, :account_id, :now, :expires_at, :address, :agent);

-- name: signed_in_at
UPDATE account SET signed_in_at = :now WHERE id = :account_id;

-- name: sign_ins
SELECT id, created_at, address, agent, hash = :hash AS current
FROM sign_in WHERE account_id = :account_id AND expires_at > :now
ORDER BY created_at DESC, id DESC LIMIT 100;

-- name: end_sign_in
DELETE FROM sign_in WHERE account_id = :account_id AND id = :id;

-- name: forget_expired
-- One after another: two at once must not wait for each other's rows.
DELETE FROM sign_in WHERE hash IN (SELECT hash FROM sign_in WHERE expires_at <= :now FOR UPDATE SKIP LOCKED);

-- name: signed_in
SELECT account.id, account.email, account.name, account.role, account.active, account.timezone
FROM sign_in JOIN account ON account.id = sign_in.account_id
WHERE sign_in.hash = :hash AND sign_in.expires_at > :now AND account.active;

-- name: sign_out
DELETE FROM sign_in WHERE hash = :hash;

-- name: attempt
-- Those who try for the same address from the same source go one after another, so that many at once count as many.
SELECT pg_advisory_xact_lock(hashtextextended(encode(CAST(:email_hash AS bytea), 'hex'), 72726877));

-- name: failures
-- `email_hash` is of the address and the source together.
SELECT count(*) FILTER (WHERE email_hash = :email_hash) AS of_both,
       min(at) FILTER (WHERE email_hash = :email_hash) AS both_since,
       count(*) FILTER (WHERE source_hash = :source_hash) AS of_source,
       min(at) FILTER (WHERE source_hash = :source_hash) AS source_since
FROM sign_in_failure
WHERE (email_hash = :email_hash OR source_hash = :source_hash) AND at > :since;

-- name: fail
INSERT INTO sign_in_failure (email_hash, source_hash, at) VALUES (:email_hash, :source_hash, :now) RETURNING id;

-- name: withdraw
DELETE FROM sign_in_failure WHERE id = :id;

-- name: forgive
DELETE FROM sign_in_failure WHERE email_hash = :email_hash;

-- name: forget_failures
DELETE FROM sign_in_failure WHERE id IN (SELECT id FROM sign_in_failure WHERE at <= :since FOR UPDATE SKIP LOCKED);
