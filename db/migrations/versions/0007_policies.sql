-- A cap, quiet hours, and what becomes of a message that they hold back, as the policy's file says it.
CREATE TABLE policy (
    channel    text PRIMARY KEY,
    rules      jsonb NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Why a contact that reached a step still stands there; the step's outcome says so as well.
ALTER TABLE wait ADD COLUMN held jsonb;

-- A contact that does not want emails of a category has a refusal of the channel `email:CATEGORY`.
ALTER TABLE email ADD COLUMN category text;

-- A rule without a number caps nothing.
ALTER TABLE frequency_rule ADD CHECK (number >= 1), ADD CHECK ((number IS NULL) = (period IS NULL));
