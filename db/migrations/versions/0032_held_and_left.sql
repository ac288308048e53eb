-- What holds a message back in the outbox: quiet_hours, paused or cap.
ALTER TABLE message ADD COLUMN held text;

-- Contacts whose timezone changed, now also those who have a message that waits for the end of their quiet hours.
-- Both look at what is one contact's.
CREATE OR REPLACE FUNCTION note_rezoned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rezoned (contact_id)
    SELECT NEW.id
    WHERE EXISTS (SELECT FROM wait WHERE wait.contact_id = NEW.id)
       OR EXISTS (SELECT FROM message WHERE message.contact_id = NEW.id AND message.held IS NOT NULL);
    RETURN NULL;
END
$$;

-- What names erased contacts in files of a home, until those files are deleted: mostly empty, and then at once.
CREATE TABLE leftover (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    home   text NOT NULL,
    traces jsonb NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);
