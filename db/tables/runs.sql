-- name: open_of
-- By the primary key; few contacts have many that go on.
SELECT contact_id, number, key, rotation, entry FROM run
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL
ORDER BY contact_id, number;

-- name: of_keys
-- One probe a contact of the unique index on (contact, campaign, key).
SELECT found.contact_id, found.number, found.key, found.rotation, found.manual, found.began_at, found.left_at,
       found.departure
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[])) AS asked (contact_id, key)
CROSS JOIN LATERAL (
    SELECT * FROM run
    WHERE run.contact_id = asked.contact_id AND run.campaign_id = :campaign_id AND run.key = asked.key
    LIMIT 1
) AS found;

-- name: numbers
SELECT contact_id, rotation, number FROM run
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]));

-- name: waiting
SELECT contact_id FROM wait
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[]))
GROUP BY contact_id
HAVING count(DISTINCT rotation) >= :least;

-- name: begin
-- A run that begins again keeps its number, by which history knows it.
INSERT INTO run (contact_id, campaign_id, number, key, rotation, entry, arrival, manual, began_at)
SELECT contact_id, :campaign_id, rotation, key, rotation, entry, arrival, manual, :now
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[]), CAST(:rotations AS int[]),
            CAST(:entries AS jsonb[]), CAST(:arrivals AS arrival[]), CAST(:manuals AS boolean[]))
     AS new (contact_id, key, rotation, entry, arrival, manual)
ON CONFLICT (contact_id, campaign_id, key) DO UPDATE
SET rotation = excluded.rotation, entry = excluded.entry, arrival = excluded.arrival, manual = excluded.manual,
    began_at = excluded.began_at, left_at = NULL, departure = NULL, reason = NULL
RETURNING contact_id, number;

-- name: rotate
-- Each row is probed for, and written by its place, as in `move` of waits.sql.
UPDATE run SET rotation = jumped.rotation
FROM (
    SELECT found.place, new.rotation
    FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:numbers AS int[]), CAST(:rotations AS int[]))
         AS new (contact_id, number, rotation)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM run
        WHERE run.contact_id = new.contact_id AND run.campaign_id = :campaign_id AND run.number = new.number
        LIMIT 1
    ) AS found
) AS jumped
WHERE run.ctid = jumped.place;

-- name: end
UPDATE run SET left_at = :now, departure = CAST(:departure AS departure), reason = :reason
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL
  AND (:all OR EXISTS (
      SELECT FROM unnest(CAST(:only_contacts AS bigint[]), CAST(:only_keys AS text[])) AS wanted (contact_id, key)
      WHERE wanted.contact_id = run.contact_id AND wanted.key = run.key))
RETURNING contact_id, number, key, rotation;

-- name: still_in
SELECT contact_id, bool_and(manual) AS manual FROM run
WHERE campaign_id = :campaign_id AND contact_id = ANY (CAST(:contact_ids AS bigint[])) AND left_at IS NULL
GROUP BY contact_id;

-- name: last_entry_of_any
SELECT entry FROM run WHERE contact_id = :contact_id AND entry <> '{}' ORDER BY began_at DESC LIMIT 1;

-- name: last_entry
SELECT entry FROM run WHERE contact_id = :contact_id AND campaign_id = :campaign_id ORDER BY number DESC LIMIT 1;
