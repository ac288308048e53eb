-- How often a member was counted as `added`: once, and again when coming back. Of members from before it is not known
-- how often they came back. The column has a constant default, so no row is written.
ALTER TABLE membership ADD COLUMN entries int NOT NULL DEFAULT 1;

-- `erased`: those of `added` of whom nothing is left, so that shares of the others can be told. Its days are days of
-- erasing. Whom a version before this one erases is not counted.
ALTER TABLE campaign_count
    DROP CONSTRAINT campaign_count_what_check,
    ADD CONSTRAINT campaign_count_what_check CHECK (what IN ('added', 'left', 'emails_sent', 'page_views', 'erased'));
