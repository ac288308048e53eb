-- What somebody has changed of a campaign, or of one that is yet to be, and not applied.
CREATE TABLE draft (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Null: of a new campaign.
    campaign_id  int REFERENCES campaign (id) ON DELETE CASCADE,
    owner        text NOT NULL,
    -- The version that it was begun from; 0 for a new campaign.
    base_version int NOT NULL,
    -- Raised with each change, so that nobody changes what they have not seen.
    revision     int NOT NULL DEFAULT 1,
    -- The snapshot that counts; those after it were undone.
    pointer      int NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL
);
-- Each person has one of a campaign.
CREATE UNIQUE INDEX draft_campaign_idx ON draft (campaign_id, owner) WHERE campaign_id IS NOT NULL;
CREATE INDEX draft_owner_idx ON draft (owner, changed_at);

CREATE TABLE draft_snapshot (
    draft_id bigint NOT NULL REFERENCES draft (id) ON DELETE CASCADE,
    n        int NOT NULL,
    -- A campaign file as data, with its names in the order in which they were written.
    file     json NOT NULL,
    -- What was done to it, in a sentence of the pages; null for the first.
    said     text,
    PRIMARY KEY (draft_id, n)
);
