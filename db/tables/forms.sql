-- name: create
INSERT INTO form (key, name, standalone) VALUES (:key, :name, :standalone)
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: place
-- What is null stays as it is.
UPDATE form
SET redirect = wanted.redirect, allowed_origins = wanted.origins, names_contact = wanted.names, mapping = wanted.mapping
FROM (SELECT id, coalesce(CAST(:redirect AS text), redirect) AS redirect,
             coalesce(CAST(:origins AS text[]), allowed_origins) AS origins,
             coalesce(CAST(:names AS boolean), names_contact) AS names,
             coalesce(CAST(:mapping AS jsonb), mapping) AS mapping
      FROM form WHERE key = :key FOR UPDATE) AS wanted
WHERE form.id = wanted.id
  AND (form.redirect, form.allowed_origins, form.names_contact, form.mapping)
      IS DISTINCT FROM (wanted.redirect, wanted.origins, wanted.names, wanted.mapping)
RETURNING form.id;

-- name: set_up
UPDATE form
SET name = :name, published = :published, redirect = :redirect, allowed_origins = CAST(:origins AS text[]),
    names_contact = :names
WHERE key = :key;

-- name: delete
WITH gone AS (
    DELETE FROM form WHERE key = :key RETURNING id
), submissions AS (
    DELETE FROM form_submission WHERE form_id IN (SELECT id FROM gone)
)
DELETE FROM campaign_source WHERE kind = 'form' AND source_id IN (SELECT id FROM gone);

-- name: find
SELECT id, key, name, standalone, published, redirect, allowed_origins, names_contact,
       coalesce(mapping, '{}') AS mapping
FROM form WHERE key = :key;

-- name: listed
-- The latest submission comes from form_submission_recent_idx.
SELECT key, name, standalone, published,
       (SELECT at FROM form_submission WHERE form_id = form.id ORDER BY at DESC LIMIT 1),
       ARRAY(SELECT campaign.key
             FROM campaign_source
             JOIN campaign ON campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NULL
             WHERE campaign_source.kind = 'form' AND campaign_source.source_id = form.id
             ORDER BY campaign.key),
       coalesce(mapping, '{}')
FROM form
WHERE (CAST(:key AS text) IS NULL OR key = CAST(:key AS text))
  AND (CAST(:pattern AS text) IS NULL OR name ILIKE CAST(:pattern AS text) OR key ILIKE CAST(:pattern AS text))
ORDER BY key
LIMIT CAST(:limit AS bigint) OFFSET :offset;

-- name: submit
INSERT INTO form_submission (contact_id, form_id, at, fields)
SELECT contact_id, :form_id, at, fields
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:ats AS timestamptz[]), CAST(:fields AS jsonb[]))
     AS new (contact_id, at, fields);

-- name: names
SELECT key, name FROM form WHERE key = ANY (CAST(:keys AS text[]));
