-- Contacts are found by the beginning of their names.
CREATE INDEX contact_first_name_idx ON contact (lower(fields ->> 'first_name') text_pattern_ops)
    WHERE fields ->> 'first_name' IS NOT NULL;
CREATE INDEX contact_last_name_idx ON contact (lower(fields ->> 'last_name') text_pattern_ops)
    WHERE fields ->> 'last_name' IS NOT NULL;

-- A file of contacts that somebody uploaded in the browser. It is here so that any process can show and import it.
CREATE TABLE contact_import (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    size        bigint NOT NULL,
    who         text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- How the file is to be read, as it was typed.
    options     jsonb NOT NULL DEFAULT '{}',
    -- Key of the segment that the contacts are added to.
    segment     text,
    state       text NOT NULL DEFAULT 'uploaded' CHECK (state IN ('uploaded', 'running', 'done', 'failed')),
    read_bytes  bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    -- Counts and notes, or the error.
    result      jsonb
);

-- The bytes of the file, and of the rows that were rejected, piece by piece.
CREATE TABLE contact_import_part (
    import_id int NOT NULL REFERENCES contact_import (id) ON DELETE CASCADE,
    kind      text NOT NULL CHECK (kind IN ('file', 'rejected')),
    number    int NOT NULL,
    data      bytea NOT NULL,
    PRIMARY KEY (import_id, kind, number)
);

-- What became of emails, by template, step and variant (empty: the main version). Kept by the database itself, as the
-- counters of deliveries are; `unsubscribed` is written by whoever acts on the event.
CREATE TABLE email_count (
    template    text NOT NULL,
    campaign_id int NOT NULL,
    step_id     int NOT NULL,
    variant     text NOT NULL,
    what        text NOT NULL,
    slot        smallint NOT NULL,
    n           bigint NOT NULL,
    PRIMARY KEY (template, campaign_id, step_id, variant, what, slot)
) WITH (fillfactor = 50);

-- Clicks on the links of emails, by address without its query, which may name the contact.
CREATE TABLE email_link_count (
    template text NOT NULL,
    url      text NOT NULL,
    slot     smallint NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (template, url, slot)
) WITH (fillfactor = 50);

CREATE FUNCTION count_emails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO email_count (template, campaign_id, step_id, variant, what, slot, n)
    SELECT template, campaign_id, step_id, coalesce(variant, ''), kind.what, pg_backend_pid() % 8, sum(sign)
    FROM (
        SELECT template, campaign_id, step_id, variant, channel, state, opened_at, clicked_at, bounced_at, 1 AS sign
        FROM after
        UNION ALL
        SELECT template, campaign_id, step_id, variant, channel, state, opened_at, clicked_at, bounced_at, -1
        FROM before
    ) AS changed
    CROSS JOIN LATERAL (
        VALUES ('sent', state = 'sent'), ('failed', state = 'failed'), ('opened', opened_at IS NOT NULL),
               ('clicked', clicked_at IS NOT NULL), ('bounced', bounced_at IS NOT NULL)
    ) AS kind (what, holds)
    WHERE channel = 'email' AND template IS NOT NULL AND kind.holds
    GROUP BY template, campaign_id, step_id, coalesce(variant, ''), kind.what
    HAVING sum(sign) <> 0
    ORDER BY template, campaign_id, step_id, coalesce(variant, ''), kind.what
    ON CONFLICT (template, campaign_id, step_id, variant, what, slot) DO UPDATE SET n = email_count.n + excluded.n;
    RETURN NULL;
END $$;

CREATE FUNCTION uncount_emails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO email_count (template, campaign_id, step_id, variant, what, slot, n)
    SELECT template, campaign_id, step_id, coalesce(variant, ''), kind.what, pg_backend_pid() % 8, -count(*)
    FROM before
    CROSS JOIN LATERAL (
        VALUES ('sent', state = 'sent'), ('failed', state = 'failed'), ('opened', opened_at IS NOT NULL),
               ('clicked', clicked_at IS NOT NULL), ('bounced', bounced_at IS NOT NULL)
    ) AS kind (what, holds)
    WHERE channel = 'email' AND template IS NOT NULL AND kind.holds
    GROUP BY template, campaign_id, step_id, coalesce(variant, ''), kind.what
    ORDER BY template, campaign_id, step_id, coalesce(variant, ''), kind.what
    ON CONFLICT (template, campaign_id, step_id, variant, what, slot) DO UPDATE SET n = email_count.n + excluded.n;
    RETURN NULL;
END $$;

LOCK TABLE message IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO email_count (template, campaign_id, step_id, variant, what, slot, n)
SELECT template, campaign_id, step_id, coalesce(variant, ''), kind.what, 0, count(*)
FROM message
CROSS JOIN LATERAL (
    VALUES ('sent', state = 'sent'), ('failed', state = 'failed'), ('opened', opened_at IS NOT NULL),
           ('clicked', clicked_at IS NOT NULL), ('bounced', bounced_at IS NOT NULL)
) AS kind (what, holds)
WHERE channel = 'email' AND template IS NOT NULL AND kind.holds
GROUP BY template, campaign_id, step_id, coalesce(variant, ''), kind.what;

CREATE TRIGGER count_emails AFTER UPDATE ON message
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails();
CREATE TRIGGER uncount_emails AFTER DELETE ON message
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION uncount_emails();
