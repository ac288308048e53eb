-- Goals and control groups.

-- control: the contact is in the campaign's control group, and nothing happens to it there. It was drawn when the contact
-- first came, and stays, whatever becomes of the percentage.
ALTER TABLE membership ADD COLUMN control boolean NOT NULL DEFAULT false;

-- Whether a contact is drawn for a control group: the first 8 bytes of the SHA-256 of `prefix` and the contact's id are
-- below a number. Without one, nobody is.
CREATE FUNCTION in_control_group(contact_id bigint, prefix bytea, below bytea) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN below IS NULL THEN false
                ELSE substring(sha256(prefix || CAST(CAST(contact_id AS text) AS bytea)) FROM 1 FOR 8) < below END
$$;

-- Each time a contact, or a run of one, began in a campaign that has a goal or a control group: whether it reached the
-- goal. number: the rotation in which it began; key: that of the run. until: when it can be reached no more. parts: what
-- the contact came through before that, as in `trial_count`.
CREATE TABLE trial (
    contact_id  bigint NOT NULL,
    campaign_id int NOT NULL,
    number      int NOT NULL,
    key         text NOT NULL,
    control     boolean NOT NULL,
    began_at    timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    parts       text[] NOT NULL DEFAULT '{}',
    reached_at  timestamptz,
    value       numeric,
    PRIMARY KEY (contact_id, campaign_id, number)
) WITH (fillfactor = 85);

-- How many trials there are, how many reached the goal, and the value of that. part: 'treated' or 'control' of all,
-- STEP:yes and STEP:no of those that took a branch, STEP=VARIANT of those that were sent an email.
CREATE TABLE trial_count (
    campaign_id int NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    part        text NOT NULL,
    slot        int NOT NULL,
    entered     bigint NOT NULL DEFAULT 0,
    reached     bigint NOT NULL DEFAULT 0,
    value       numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, part, slot)
) WITH (fillfactor = 80);

-- The segment of those of whom the rule of a campaign's goal is true. People do not see it.
ALTER TABLE segment ADD COLUMN goal_of int UNIQUE REFERENCES campaign (id) ON DELETE CASCADE;

ALTER TABLE campaign_event
    DROP CONSTRAINT campaign_event_role_check,
    ADD CONSTRAINT campaign_event_role_check CHECK (role IN ('source', 'exit', 'segment', 'goal'));
