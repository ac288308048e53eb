CREATE TABLE company (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text NOT NULL UNIQUE,
    name       text NOT NULL,
    points     int NOT NULL DEFAULT 0,
    fields     jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
-- A step may name a company by what people call it.
CREATE INDEX company_name_idx ON company (name);

CREATE TABLE company_member (
    contact_id bigint NOT NULL,
    company_id bigint NOT NULL REFERENCES company (id) ON DELETE CASCADE,
    is_primary boolean NOT NULL DEFAULT false,
    PRIMARY KEY (contact_id, company_id)
);
-- A contact has one primary company at most.
CREATE UNIQUE INDEX company_member_primary_idx ON company_member (contact_id) WHERE is_primary;
CREATE INDEX company_member_company_idx ON company_member (company_id, contact_id);
