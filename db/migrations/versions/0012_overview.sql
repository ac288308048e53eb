-- What the pages of a campaign read, at a cost that does not follow how many contacts it has.

-- The counters of `campaign_count` by the hour, for a graph of a day or two. Hours are counted from here
-- on; nothing says at which hours of past days what happened.
CREATE TABLE campaign_hour_count (
    campaign_id int NOT NULL,
    hour        timestamptz NOT NULL,
    what        text NOT NULL CHECK (what IN ('added', 'emails_sent', 'page_views')),
    slot        smallint NOT NULL,
    n           bigint NOT NULL,
    PRIMARY KEY (campaign_id, hour, what, slot)
) WITH (fillfactor = 50);

-- Outcomes that somebody may have to look into, by their step. The many others cost it nothing.
CREATE INDEX outcome_trouble_idx ON outcome (step_id, result, at) WHERE result IN ('failed', 'skipped');
CREATE INDEX message_failed_step_idx ON message (campaign_id, step_id, contact_id) WHERE state = 'failed';

-- Contacts by the beginning of their key or address, whatever the database's collation. The second
-- serves equality too, which was all that the index of this name was for.
CREATE INDEX contact_key_prefix_idx ON contact (key text_pattern_ops);
DROP INDEX contact_email_idx;
CREATE INDEX contact_email_idx ON contact (lower(email) text_pattern_ops);

CREATE INDEX form_submission_recent_idx ON form_submission (form_id, at DESC);
