-- Groups of points, such as one a product line; a contact's own points are in none.
CREATE TABLE point_group (
    key  text PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE contact_score (
    contact_id bigint NOT NULL,
    group_key  text NOT NULL,
    points     int NOT NULL,
    PRIMARY KEY (contact_id, group_key)
);

-- What changed points and stages: a step, which also says the campaign, or else `source`. The ids give the
-- order within an instant; no CACHE, since a session's own block of numbers would not be in the order of time.
CREATE TABLE point_log (
    contact_id bigint NOT NULL,
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    -- Two points may be further apart than a number of points is large.
    change     bigint NOT NULL,
    points     int NOT NULL,
    step_id    int,
    group_key  text,
    source     text CHECK (source IN ('import', 'event')),
    PRIMARY KEY (contact_id, id)
);

CREATE TABLE stage_log (
    contact_id bigint NOT NULL,
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    step_id    int,
    from_stage text,
    to_stage   text,
    source     text CHECK (source IN ('import', 'event')),
    PRIMARY KEY (contact_id, id)
);

-- Where the latest visit or form submission that said so came from. A table, not columns of the contact: few
-- contacts have it, and a visit need not write a new version of the contact's row.
CREATE TABLE contact_utm (
    contact_id   bigint PRIMARY KEY,
    at           timestamptz NOT NULL,
    utm_campaign text,
    utm_content  text,
    utm_medium   text,
    utm_source   text,
    utm_term     text
);
