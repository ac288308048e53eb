-- Dates of contacts: steps that go by one, and campaigns that let contacts in when one comes.

-- The custom field by which contacts are due at a step; null where its waits go by no date of theirs.
ALTER TABLE step ADD COLUMN date_field text;
CREATE INDEX step_date_idx ON step (date_field) WHERE date_field IS NOT NULL;

-- By which dates contacts enter campaigns. A source keeps its id over versions by its name, and its row when it is
-- removed: who entered by it does not enter twice when it comes back.
CREATE TABLE date_source (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id int NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    name        text NOT NULL,
    field       text NOT NULL,
    rule        jsonb NOT NULL,
    -- Raised with each change of the rule.
    version     int NOT NULL DEFAULT 1,
    -- When the campaign first ran with it. Who was due before does not enter. Null while it has not run.
    since       timestamptz,
    removed_at  timestamptz,
    UNIQUE (campaign_id, name)
);

-- When each contact enters next by a source; infinity where no date is ahead. `turn` is the year, month or week in
-- which they entered last, or the date by which they did.
CREATE TABLE date_entry (
    contact_id bigint NOT NULL,
    source_id  int NOT NULL,
    due_at     timestamptz NOT NULL,
    turn       text,
    -- That of the source by whose rule the row was written.
    version    int NOT NULL,
    PRIMARY KEY (contact_id, source_id)
) WITH (fillfactor = 90);
CREATE INDEX date_entry_due_idx ON date_entry (source_id, due_at);

-- Ranges of contact ids in which the entries of a source are still to be written, as of an instant. Whoever changes
-- contacts in a transaction older than `begun` did not know of the source, so these are waited for.
CREATE TABLE date_build (
    source_id int NOT NULL REFERENCES date_source (id) ON DELETE CASCADE,
    first_id  bigint NOT NULL,
    last_id   bigint NOT NULL,
    at        timestamptz NOT NULL,
    begun     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (source_id, first_id)
);

-- Contacts whose dates, or the timezone in which they are meant, changed: waits and entries are yet to follow.
-- Mostly empty.
CREATE TABLE redated (
    contact_id bigint NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX redated_contact_idx ON redated (contact_id);

-- Whoever writes a field (an event, a file, a merge, a step, a person with psql) leaves a note where that matters, so
-- that no way in has to think of it.
CREATE FUNCTION note_redated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO redated (contact_id)
    SELECT NEW.id
    WHERE EXISTS (
        SELECT FROM date_source
        WHERE removed_at IS NULL
          AND (OLD.fields -> field IS DISTINCT FROM NEW.fields -> field
               OR OLD.timezone IS DISTINCT FROM NEW.timezone AND jsonb_exists(NEW.fields, field))
    ) OR EXISTS (
        SELECT FROM step
        CROSS JOIN LATERAL (
            SELECT FROM wait WHERE wait.contact_id = NEW.id AND wait.step_id = step.id LIMIT 1
        ) AS waiting
        WHERE date_field IS NOT NULL
          AND (OLD.fields -> date_field IS DISTINCT FROM NEW.fields -> date_field
               OR OLD.timezone IS DISTINCT FROM NEW.timezone)
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER contact_redated AFTER UPDATE OF fields, timezone ON contact
FOR EACH ROW WHEN (OLD.fields IS DISTINCT FROM NEW.fields OR OLD.timezone IS DISTINCT FROM NEW.timezone)
EXECUTE FUNCTION note_redated();

-- New contacts, a statement at a time: files bring many.
CREATE FUNCTION note_dated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM date_source WHERE removed_at IS NULL) THEN
        INSERT INTO redated (contact_id)
        SELECT added.id FROM added
        WHERE EXISTS (SELECT FROM date_source WHERE removed_at IS NULL AND jsonb_exists(added.fields, field));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER contact_dated AFTER INSERT ON contact
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_dated();

ALTER TYPE arrival ADD VALUE IF NOT EXISTS 'date';

-- Whoever a date that comes again let in, and a limit holds back, begins whatever the campaign says of re-entry.
ALTER TABLE entrant ADD COLUMN again boolean NOT NULL DEFAULT false;
