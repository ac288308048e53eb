-- What was chosen for a message when it was first rendered, and when that was.
ALTER TABLE message ADD COLUMN variant text, ADD COLUMN locale text, ADD COLUMN tried_at timestamptz;

-- A lane is what goes out in one order: messages of one channel, campaign, kind and priority. The
-- first row of a lane is its next due one, so that looking for work costs a probe a lane, however
-- many messages wait or belong to campaigns that are paused.
CREATE INDEX message_lane_idx ON message (channel, campaign_id, marketing, priority, due_at)
    WHERE state IN ('queued', 'sending');
DROP INDEX message_due_idx;
-- What a person looks at, and may try again.
CREATE INDEX message_failed_idx ON message (due_at) WHERE state = 'failed';

ALTER TABLE email ADD COLUMN tracking boolean NOT NULL DEFAULT true,
                  ADD COLUMN variants jsonb NOT NULL DEFAULT '[]',
                  ADD COLUMN translations jsonb NOT NULL DEFAULT '{}';

-- A provider that does not answer is left alone by all workers until `opened_until`; then one of
-- them tries one message. No row: it works.
CREATE TABLE circuit (
    provider     text PRIMARY KEY,
    state        text NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    failures     int NOT NULL,
    trips        int NOT NULL DEFAULT 0,
    opened_until timestamptz,
    error        text,
    changed_at   timestamptz NOT NULL
);

-- How many messages may leave now, of a provider or a campaign, as of `at`; refilled by whoever looks.
CREATE TABLE rate (
    name   text PRIMARY KEY,
    tokens double precision NOT NULL,
    at     timestamptz NOT NULL
);
