-- Contact events: accepted means that they stand in the inbox.

-- What a contact did and nobody has acted on yet. Small and hot, as `wait` is; a row leaves it in the
-- transaction that does all that follows, and becomes history in `event`.
CREATE TABLE inbox (
    contact_id  bigint NOT NULL,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL,
    source      text NOT NULL,
    id          text NOT NULL,
    type        text NOT NULL,
    at          timestamptz NOT NULL,
    data        jsonb NOT NULL,
    PRIMARY KEY (contact_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX inbox_seq_idx ON inbox (seq);

-- When each attribute of a contact was last said by an event, so that a late one does not overwrite
-- a newer one.
ALTER TABLE contact ADD COLUMN said_at jsonb NOT NULL DEFAULT '{}';

-- Who was erased, without saying who: a late event must not bring anybody back.
CREATE TABLE erased (
    key_hash bytea PRIMARY KEY,
    at       timestamptz NOT NULL
);

-- For a decision whose type leaves that to its properties: the types of event it looks at, as patterns
-- for LIKE. NULL: the step's type says it.
ALTER TABLE step ADD COLUMN events text[];

ALTER TABLE message ADD COLUMN opened_at timestamptz, ADD COLUMN clicked_at timestamptz,
                    ADD COLUMN replied_at timestamptz, ADD COLUMN bounced_at timestamptz;

-- What could not be understood or done, with the reason; replayed or discarded by a person.
CREATE TABLE dead_letter (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL,
    origin text NOT NULL CHECK (origin IN ('event', 'message')),
    reason text NOT NULL,
    body   text NOT NULL
);

-- Members that left every source segment, until their grace is over.
CREATE TABLE leaving (
    contact_id  bigint NOT NULL,
    campaign_id int NOT NULL,
    due_at      timestamptz NOT NULL,
    PRIMARY KEY (contact_id, campaign_id)
);
CREATE INDEX leaving_due_idx ON leaving (due_at);

CREATE TABLE api_key (
    id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('publish', 'read', 'manage')),
    hash       bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
