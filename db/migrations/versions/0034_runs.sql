ALTER TYPE arrival ADD VALUE IF NOT EXISTS 'event';
ALTER TYPE departure ADD VALUE IF NOT EXISTS 'exit';

-- runs: the contact has rows in `run`, whose rotations are numbered through; `rotation` is the highest. reason: why
-- the contact exited, in words.
ALTER TABLE membership ADD COLUMN runs boolean NOT NULL DEFAULT false, ADD COLUMN reason text;

-- A contact's runs in a campaign. A member who has none here is one run without a key. `number` is the rotation with
-- which the run first began, and names it for good; `rotation` is the present one, which its waits have too. The key
-- is empty for the run that no key tells from others. entry: the data of the event that began the run.
CREATE TABLE run (
    contact_id  bigint NOT NULL,
    campaign_id int NOT NULL,
    number      int NOT NULL,
    key         text NOT NULL,
    rotation    int NOT NULL,
    entry       jsonb NOT NULL DEFAULT '{}',
    arrival     arrival NOT NULL,
    manual      boolean NOT NULL,
    began_at    timestamptz NOT NULL,
    left_at     timestamptz,
    departure   departure,
    reason      text,
    PRIMARY KEY (contact_id, campaign_id, number),
    UNIQUE (contact_id, campaign_id, key),
    CHECK ((left_at IS NULL) = (departure IS NULL))
) WITH (fillfactor = 90);

-- The run that an outcome belongs to; null: the only one, or the one without a key.
ALTER TABLE outcome ADD COLUMN run int;

-- What events and segments do to campaigns: an event that begins a run (`source`) or ends some (`exit`), by its type;
-- a segment whose members are out (`segment`), by its key.
CREATE TABLE campaign_event (
    campaign_id int NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    role        text NOT NULL CHECK (role IN ('source', 'exit', 'segment')),
    name        text NOT NULL,
    PRIMARY KEY (name, role, campaign_id)
);

-- Only who entered a segment later than this number (segment_member.entry) joins; null: everybody.
ALTER TABLE campaign ADD COLUMN entries_after bigint;

-- How many began in a campaign that limits them: ever, and in the period that began at an instant. next_at: when
-- somebody who is held back may begin; null: nobody is. more: an update has more contacts to let in.
CREATE TABLE campaign_entry (
    campaign_id int PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
    entered     bigint NOT NULL DEFAULT 0,
    period      timestamptz,
    in_period   int NOT NULL DEFAULT 0,
    next_at     timestamptz,
    more        boolean NOT NULL DEFAULT false
);

-- Who is held back by such a limit, in the order in which they came.
CREATE TABLE entrant (
    campaign_id int NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    contact_id  bigint NOT NULL,
    arrival     arrival NOT NULL,
    key         text,
    entry       jsonb,
    came_at     timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, seq)
);
CREATE UNIQUE INDEX entrant_contact_idx ON entrant (contact_id, campaign_id, key) NULLS NOT DISTINCT;
