-- name: of_contacts
-- The companies of contacts, the primary one last. Served by the primary key.
SELECT company_member.contact_id, company.key, company_member.is_primary
FROM company_member JOIN company ON company.id = company_member.company_id
WHERE company_member.contact_id = ANY (CAST(:ids AS bigint[]))
ORDER BY company_member.contact_id, company.key;

-- name: known
-- The companies that contacts are in, and those that steps name by key or name; by id, so that of several
-- of one name the oldest comes first.
SELECT key, name, points, fields FROM company
WHERE id IN (SELECT company_id FROM company_member WHERE contact_id = ANY (CAST(:ids AS bigint[])))
   OR key = ANY (CAST(:named AS text[])) OR name = ANY (CAST(:named AS text[]))
ORDER BY id;

-- name: make
-- In one order, so that two who make the same ones wait for each other rather than deadlock.
INSERT INTO company (key, name)
SELECT DISTINCT new.key, new.key FROM unnest(CAST(:keys AS text[])) AS new (key)
WHERE NOT EXISTS (SELECT FROM company WHERE company.key = new.key)
ORDER BY new.key
ON CONFLICT (key) DO NOTHING;

-- name: link
-- Contacts, whose locks the caller holds, become members.
INSERT INTO company_member (contact_id, company_id)
SELECT new.contact_id, company.id
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[])) AS new (contact_id, key)
JOIN company ON company.key = new.key
ON CONFLICT DO NOTHING;

-- name: unlink
DELETE FROM company_member
USING unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[])) AS gone (contact_id, key)
JOIN company ON company.key = gone.key
WHERE company_member.contact_id = gone.contact_id AND company_member.company_id = company.id
RETURNING company_member.contact_id;

-- name: forget_primary
-- Two statements, since the index that keeps the primary one alone looks at each row by itself.
UPDATE company_member SET is_primary = false
WHERE contact_id = ANY (CAST(:contact_ids AS bigint[])) AND is_primary;

-- name: make_primary
UPDATE company_member SET is_primary = true
FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:keys AS text[])) AS new (contact_id, key)
JOIN company ON company.key = new.key
WHERE company_member.contact_id = new.contact_id AND company_member.company_id = company.id;

-- name: lock
-- Many contacts of different batches share a company: whoever changes some takes their locks in this order.
SELECT id FROM company WHERE key = ANY (CAST(:keys AS text[])) ORDER BY id FOR NO KEY UPDATE;

-- name: add_points
-- Relative, so that no batch undoes another's; kept within what the column holds.
UPDATE company
SET points = CAST(least(greatest(CAST(company.points AS bigint) + new.by, -2147483647), 2147483647) AS int)
FROM unnest(CAST(:keys AS text[]), CAST(:bys AS bigint[])) AS new (key, by)
WHERE company.key = new.key;

-- name: set_fields
UPDATE company SET fields = company.fields || new.fields
FROM unnest(CAST(:keys AS text[]), CAST(:fields AS jsonb[])) AS new (key, fields)
WHERE company.key = new.key;

-- name: create
INSERT INTO company (key, name, fields) VALUES (:key, coalesce(:name, :key), CAST(:fields AS jsonb))
ON CONFLICT (key) DO NOTHING
RETURNING id;

-- name: change
UPDATE company SET name = coalesce(:name, name), fields = fields || CAST(:fields AS jsonb)
WHERE key = :key AND (name, fields) IS DISTINCT FROM (coalesce(:name, name), fields || CAST(:fields AS jsonb))
RETURNING id;

-- name: listed
SELECT company.key, company.name, company.points, count(company_member.contact_id) AS contacts
FROM company LEFT JOIN company_member ON company_member.company_id = company.id
GROUP BY company.id
ORDER BY company.key;

-- name: show
SELECT key, name, points, fields FROM company WHERE key = :key;

-- name: members
SELECT contact.key, company_member.is_primary
FROM company
JOIN company_member ON company_member.company_id = company.id
JOIN contact ON contact.id = company_member.contact_id
WHERE company.key = :key
ORDER BY contact.key
LIMIT :limit;

-- name: named
SELECT key FROM company WHERE key = ANY (CAST(:keys AS text[]));
