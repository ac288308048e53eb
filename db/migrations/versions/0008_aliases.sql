-- The keys of contacts that were merged into another, which they lead to from then on. A key is that of a
-- contact or an alias, never both.
CREATE TABLE contact_alias (
    contact_id bigint NOT NULL,
    key        text NOT NULL UNIQUE,
    merged_at  timestamptz NOT NULL,
    PRIMARY KEY (contact_id, key)
);

-- The step stands elsewhere than in an earlier version, so that a contact may reach it in a passage in which
-- it passed it, or still waits there, already.
ALTER TABLE step ADD COLUMN moved boolean NOT NULL DEFAULT false;
