-- `marketing` messages respect refusals and policies, transactional ones do not and go first; within
-- each, the higher `priority`.
ALTER TABLE message ADD COLUMN marketing boolean NOT NULL DEFAULT true,
                    ADD COLUMN priority smallint NOT NULL DEFAULT 0;

-- What is said on other channels than email, and marketing messages, which name one content per channel.
CREATE TABLE template (
    kind       text NOT NULL CHECK (kind IN ('sms', 'push', 'message')),
    key        text NOT NULL,
    name       text NOT NULL DEFAULT '',
    published  boolean NOT NULL DEFAULT true,
    content    jsonb NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
