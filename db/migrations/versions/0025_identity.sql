-- A refusal, or a bounce, is one of a mailbox or a number: of an email address in small letters, or of a phone
-- number as E.164 writes it. Whoever has that address is silent on the channel, and who gets another is not.
-- Without a reason: taken back at that time, so that an older word is not heard again.
CREATE TABLE refusal (
    address text NOT NULL,
    channel text NOT NULL,
    reason  text CHECK (reason IN ('unsubscribed', 'bounced', 'manual')),
    comment text,
    at      timestamptz NOT NULL,
    -- By which a number finds it, however the number is written.
    tail    text GENERATED ALWAYS AS (CASE WHEN address NOT LIKE '%@%' THEN right(address, 6) END) STORED,
    PRIMARY KEY (address, channel)
);
CREATE INDEX refusal_tail_idx ON refusal (tail) WHERE tail IS NOT NULL;

-- The address at which a contact said so; the refusal of that address decides then. Null: it is about the contact,
-- whatever their address.
ALTER TABLE do_not_contact ADD COLUMN address text;
INSERT INTO refusal (address, channel, reason, comment, at)
SELECT DISTINCT ON (lower(btrim(contact.email)), channel) lower(btrim(contact.email)), channel, reason, comment, at
FROM do_not_contact JOIN contact ON contact.id = do_not_contact.contact_id
WHERE (channel = 'email' OR channel LIKE 'email:%') AND btrim(contact.email) <> ''
ORDER BY lower(btrim(contact.email)), channel,
         array_position(ARRAY['unsubscribed', 'manual', 'bounced'], reason), at DESC;
UPDATE do_not_contact SET address = lower(btrim(contact.email))
FROM contact
WHERE contact.id = do_not_contact.contact_id AND reason <> 'manual'
  AND (channel = 'email' OR channel LIKE 'email:%') AND btrim(contact.email) <> '';
CREATE INDEX do_not_contact_address_idx ON do_not_contact (address) WHERE address IS NOT NULL;

-- Whether the hash of an erased key is made with the installation's own key; those from before are made so one by
-- one, when others are erased.
ALTER TABLE erased ADD COLUMN keyed boolean NOT NULL DEFAULT false;
CREATE INDEX erased_unkeyed_idx ON erased (key_hash) WHERE NOT keyed;

-- Which of a form's fields become what of the contact; null: those with the usual names.
ALTER TABLE form ADD COLUMN mapping jsonb;
