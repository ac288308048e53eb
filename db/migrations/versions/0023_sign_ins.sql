-- Where a sign-in was made, so that people find theirs in a list and end those that are not.
ALTER TABLE sign_in ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
                    ADD COLUMN address text, ADD COLUMN agent text;

-- Failures count for an address and where they came from, so that nobody locks somebody else out.
ALTER TABLE sign_in_failure ADD COLUMN source_hash bytea;
CREATE INDEX sign_in_failure_source_idx ON sign_in_failure (source_hash, at);
