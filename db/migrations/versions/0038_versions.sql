-- Who made a version, and why. Null in versions that are older than these columns; the audit has who made them.
ALTER TABLE campaign_version ADD COLUMN who text, ADD COLUMN message text;

-- Campaigns that changed since an update aligned their members. The database itself notes them, so that whoever changes
-- a campaign, with psql too, need not think of it. Tick asks for an update once the campaign runs; a note of one that
-- does not run stays until then.
CREATE TABLE realign (
    campaign_id int PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT now()
);

-- Each takes the note's row, also where there is one: whoever deletes it meanwhile did not see this change.
CREATE FUNCTION note_realign_of_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO realign (campaign_id) VALUES (NEW.id) ON CONFLICT (campaign_id) DO UPDATE SET at = now();
    RETURN NULL;
END
$$;
CREATE TRIGGER campaign_realigned
AFTER UPDATE OF version, published, publish_from, publish_until, category_id, deleted_at ON campaign
FOR EACH ROW WHEN (
    (OLD.version, OLD.published, OLD.publish_from, OLD.publish_until, OLD.category_id, OLD.deleted_at)
    IS DISTINCT FROM
    (NEW.version, NEW.published, NEW.publish_from, NEW.publish_until, NEW.category_id, NEW.deleted_at)
)
EXECUTE FUNCTION note_realign_of_campaign();

CREATE FUNCTION note_realign_of_campaign_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- None where the campaign itself is being deleted.
    INSERT INTO realign (campaign_id)
    SELECT id FROM campaign WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.campaign_id ELSE NEW.campaign_id END
    ON CONFLICT (campaign_id) DO UPDATE SET at = now();
    RETURN NULL;
END
$$;
CREATE TRIGGER campaign_source_realigned AFTER INSERT OR UPDATE OR DELETE ON campaign_source
FOR EACH ROW EXECUTE FUNCTION note_realign_of_campaign_source();

CREATE FUNCTION note_realign_of_category() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO realign (campaign_id)
    SELECT id FROM campaign WHERE category_id = NEW.id AND deleted_at IS NULL
    ON CONFLICT (campaign_id) DO UPDATE SET at = now();
    RETURN NULL;
END
$$;
CREATE TRIGGER category_realigned AFTER UPDATE OF published ON category
FOR EACH ROW WHEN (OLD.published <> NEW.published) EXECUTE FUNCTION note_realign_of_category();

CREATE FUNCTION note_realign_of_segment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO realign (campaign_id)
    SELECT DISTINCT campaign_id FROM campaign_source WHERE kind = 'segment' AND source_id = NEW.id
    ON CONFLICT (campaign_id) DO UPDATE SET at = now();
    RETURN NULL;
END
$$;
CREATE TRIGGER segment_realigned AFTER UPDATE OF published ON segment
FOR EACH ROW WHEN (OLD.published <> NEW.published) EXECUTE FUNCTION note_realign_of_segment();
