-- Who waits by a clock, and whose clock turned out to be another one.

-- Contacts whose timezone changed while they wait, by whatever way: their waits are yet to move. Mostly empty.
CREATE TABLE rezoned (
    contact_id bigint NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rezoned_contact_idx ON rezoned (contact_id);

-- Whoever writes a timezone (an event, a file, a merge, a step, a person with psql) leaves a note, so that no
-- way in has to think of it.
CREATE FUNCTION note_rezoned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rezoned (contact_id) SELECT NEW.id WHERE EXISTS (SELECT FROM wait WHERE wait.contact_id = NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER contact_rezoned AFTER UPDATE OF timezone ON contact
FOR EACH ROW WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone) EXECUTE FUNCTION note_rezoned();

-- Since when a step has a timing that some of those who wait at it may not follow.
ALTER TABLE step ADD COLUMN retimed_at timestamptz;
