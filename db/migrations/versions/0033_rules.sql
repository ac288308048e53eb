-- The rule of a segment as its file has it, in {"format": 1, "rule": …}; null: it is filled by hand and by events.
-- The digest says whether a file changes it, the version which members were judged by which rule, `reads` what of
-- contacts it looks at. The error is the latest that it raised, for as long as it does.
ALTER TABLE segment
    ADD COLUMN rule json,
    ADD COLUMN rule_digest text,
    ADD COLUMN rule_version int NOT NULL DEFAULT 0,
    ADD COLUMN reads text[] NOT NULL DEFAULT '{}',
    ADD COLUMN rule_error text,
    ADD COLUMN rule_failed_at timestamptz;

-- One row: its version is raised with every change of any rule, so that each process reads the rules once.
CREATE TABLE rule_set (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version  bigint NOT NULL
);
INSERT INTO rule_set (version) VALUES (0);

-- When the answer of a rule may next change for a contact by time alone. Found by (segment, due_at), so that what
-- is due costs, and not what will be; rules that cannot be read here are in nobody's way.
CREATE TABLE segment_due (
    contact_id bigint NOT NULL,
    segment_id int NOT NULL,
    due_at     timestamptz NOT NULL,
    PRIMARY KEY (contact_id, segment_id)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX segment_due_idx ON segment_due (segment_id, due_at);

-- Contacts whose rules are to be asked by somebody else than who changed them: who changed them had not locked them,
-- or they are too many for one transaction. `what` was changed; null: all of it. Rows are only added, so that
-- nobody ever waits for them.
CREATE TABLE unjudged (
    contact_id bigint NOT NULL,
    id         bigint GENERATED ALWAYS AS IDENTITY,
    what       text,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (contact_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX unjudged_id_idx ON unjudged (id);

-- Companies that changed, whose contacts are to be asked.
CREATE TABLE unjudged_company (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_id int NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);

-- A rule that is asked of everybody: after it changed, and as repair. `after` is the number of the transaction that
-- all others have to be past before it begins, since those before it may know the rule that was there before.
CREATE TABLE rebuild (
    segment_id int PRIMARY KEY REFERENCES segment (id) ON DELETE CASCADE,
    asked_at   timestamptz NOT NULL,
    after      xid8
);

-- What is left of it: ranges of contact ids that workers take one by one. A filled one has its members, and the
-- campaigns are still to follow.
CREATE TABLE rebuild_chunk (
    segment_id int NOT NULL REFERENCES rebuild (segment_id) ON DELETE CASCADE,
    first_id   bigint NOT NULL,
    last_id    bigint NOT NULL,
    filled     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (segment_id, first_id)
);
