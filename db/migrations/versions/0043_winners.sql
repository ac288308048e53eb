-- A rule by which one version of an email gets all further sends: {"after": "4 hours", "by": "clicked"}. A test begins
-- anew, with the next round, when the rule, the names or the weights of the variants change.
ALTER TABLE email ADD COLUMN winner jsonb, ADD COLUMN test_round int NOT NULL DEFAULT 0;

-- The test of an email's versions in one step. It begins with the first email that goes out; `figures_before` are the
-- counters of the step then, by version. A version is the name of a variant, or empty: the main one.
CREATE TABLE variant_test (
    template       text NOT NULL,
    campaign_id    int NOT NULL,
    step_id        int NOT NULL,
    round          int NOT NULL,
    started_at     timestamptz NOT NULL,
    figures_before jsonb NOT NULL,
    decided_at     timestamptz,
    winner         text,
    PRIMARY KEY (template, campaign_id, step_id, round),
    CHECK ((decided_at IS NULL) = (winner IS NULL))
);
