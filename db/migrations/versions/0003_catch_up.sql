-- When campaigns that had begun did not run: what fell due meanwhile follows the campaign's `catch_up`.

-- Without `resumed_at` the pause goes on; one in the future is the `publish_from` that was set for it.
-- The end of a window is nobody's act, so its pause is written when the campaign is next changed.
CREATE TABLE campaign_pause (
    campaign_id int NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    paused_at   timestamptz NOT NULL,
    resumed_at  timestamptz,
    PRIMARY KEY (campaign_id, paused_at)
);
-- A campaign is in one pause at a time.
CREATE UNIQUE INDEX campaign_pause_open_idx ON campaign_pause (campaign_id) WHERE resumed_at IS NULL;

-- Nothing says when a campaign was paused before; the last change is the best guess.
INSERT INTO campaign_pause (campaign_id, paused_at)
SELECT id, changed_at FROM campaign WHERE NOT published AND version > 0;
