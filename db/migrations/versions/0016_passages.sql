ALTER TABLE wait
    DROP CONSTRAINT wait_pkey,
    ADD CONSTRAINT wait_pkey PRIMARY KEY USING INDEX wait_passage_key;

-- The slot of a counter that a transaction writes to: the first that nobody else has, and its own until it ends.
-- Two transactions therefore never wait for each other at a counter, in whatever order they count. Locks of
-- campaigns' steps are of the same two numbers, whose first is above zero.
CREATE FUNCTION counter_slot() RETURNS int LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(
        (SELECT slot FROM (SELECT generate_series(0, 1023) AS slot) AS slots
         WHERE pg_try_advisory_xact_lock(-72726878, slot) LIMIT 1),
        pg_backend_pid() % 1024
    )
$$;
