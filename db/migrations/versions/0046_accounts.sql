-- The timezone in which somebody is shown times; without one, or with one that is no longer known, the installation's.
-- `linked_at` is when the present link of an invitation was made.
ALTER TABLE account ADD COLUMN timezone text,
                    ADD COLUMN linked_at timestamptz,
                    ADD COLUMN password_at timestamptz,
                    ADD COLUMN signed_in_at timestamptz,
                    -- Whether all sign-ins were kept: not those of accounts that are there already.
                    ADD COLUMN sign_ins_kept boolean NOT NULL DEFAULT false;
ALTER TABLE account ALTER COLUMN sign_ins_kept SET DEFAULT true;

UPDATE account SET signed_in_at = latest.at
FROM (SELECT account_id, max(created_at) AS at FROM sign_in GROUP BY account_id) AS latest
WHERE latest.account_id = account.id;
