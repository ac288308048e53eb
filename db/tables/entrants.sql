-- name: make
INSERT INTO campaign_entry (campaign_id) VALUES (:campaign_id) ON CONFLICT DO NOTHING;

-- name: lock
-- Whoever lets somebody in holds this row until the end of the transaction: limits are kept to the contact.
SELECT entered, period, in_period,
       EXISTS (SELECT FROM entrant WHERE entrant.campaign_id = campaign_entry.campaign_id) AS queued
FROM campaign_entry WHERE campaign_id = :campaign_id FOR UPDATE;

-- name: took
UPDATE campaign_entry
SET entered = entered + :n, period = :period, in_period = CASE WHEN period IS NOT DISTINCT FROM :period THEN in_period ELSE 0 END + :n
WHERE campaign_id = :campaign_id;

-- name: hold
INSERT INTO entrant (campaign_id, contact_id, arrival, key, entry, came_at, again)
SELECT :campaign_id, contact_id, arrival, key, entry, came_at, again
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:arrivals AS arrival[]), CAST(:keys AS text[]),
            CAST(:entries AS jsonb[]), CAST(:came AS timestamptz[]), CAST(:agains AS boolean[]))
     WITH ORDINALITY AS held (contact_id, arrival, key, entry, came_at, again, nth)
ORDER BY nth
ON CONFLICT (contact_id, campaign_id, key) DO UPDATE
SET entry = excluded.entry, again = entrant.again OR excluded.again;

-- name: look_again
UPDATE campaign_entry SET next_at = :at, more = coalesce(CAST(:more AS boolean), more) WHERE campaign_id = :campaign_id;

-- name: limited
-- A row for each campaign whose limit anybody met; nobody is held back without it.
SELECT campaign_id FROM campaign_entry WHERE campaign_id = ANY (CAST(:campaign_ids AS int[]));

-- name: first
SELECT seq, contact_id, arrival::text, key, entry, came_at, again FROM entrant
WHERE campaign_id = :campaign_id ORDER BY seq LIMIT :limit;

-- name: take
DELETE FROM entrant WHERE campaign_id = :campaign_id AND seq = ANY (CAST(:seqs AS bigint[])) RETURNING seq;

-- name: drop
DELETE FROM entrant
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]))
  AND (CAST(:key AS text) IS NULL OR key = CAST(:key AS text));

-- name: drop_all
DELETE FROM entrant WHERE campaign_id = :campaign_id;

-- name: has_more
SELECT more FROM campaign_entry WHERE campaign_id = :campaign_id;

-- name: first_due
-- A row for each campaign that has a limit.
SELECT min(campaign_entry.next_at)
FROM campaign_entry
JOIN campaign ON campaign.id = campaign_entry.campaign_id
LEFT JOIN category ON category.id = campaign.category_id
WHERE campaign_entry.next_at <= :now AND campaign.published AND campaign.deleted_at IS NULL
  AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
  AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
  AND coalesce(category.published, true);

-- name: due
SELECT campaign_entry.campaign_id
FROM campaign_entry
JOIN campaign ON campaign.id = campaign_entry.campaign_id
LEFT JOIN category ON category.id = campaign.category_id
WHERE campaign_entry.next_at <= :now AND campaign.published AND campaign.deleted_at IS NULL
  AND (campaign.publish_from IS NULL OR campaign.publish_from <= :now)
  AND (campaign.publish_until IS NULL OR campaign.publish_until > :now)
  AND coalesce(category.published, true)
ORDER BY campaign_entry.campaign_id;

-- name: of_contact
SELECT nullif(own.key, '') AS key, own.came_at,
       (SELECT count(*) FROM entrant AS other WHERE other.campaign_id = own.campaign_id AND other.seq < own.seq) AS before
FROM entrant AS own
WHERE own.contact_id = :contact_id AND own.campaign_id = :campaign_id
ORDER BY own.seq;

-- name: entered
SELECT coalesce(sum(entered), 0)::bigint AS ever,
       coalesce(sum(in_period) FILTER (WHERE period = :period), 0)::bigint AS now,
       (SELECT count(*) FROM entrant WHERE entrant.campaign_id = :campaign_id) AS held
FROM campaign_entry WHERE campaign_id = :campaign_id;

-- name: ever
SELECT entered FROM campaign_entry WHERE campaign_id = :campaign_id;
