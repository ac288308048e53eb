-- What became of the messages of a step, in the end. Kept by the database itself, so that whatever changes or
-- deletes messages, the previous version of the code included, leaves the counters right.
CREATE TABLE IF NOT EXISTS delivery_count (
    step_id int NOT NULL,
    state   message_state NOT NULL CHECK (state IN ('sent', 'failed', 'cancelled')),
    slot    smallint NOT NULL,
    n       bigint NOT NULL,
    PRIMARY KEY (step_id, state, slot)
) WITH (fillfactor = 50);

-- Once a statement, whatever the number of messages; a claim, which ends nothing, writes nothing.
CREATE OR REPLACE FUNCTION count_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_count (step_id, state, slot, n)
    SELECT step_id, state, pg_backend_pid() % 32, sum(n)
    FROM (
        SELECT step_id, state, 1 AS n FROM after WHERE state IN ('sent', 'failed', 'cancelled')
        UNION ALL
        SELECT step_id, state, -1 FROM before WHERE state IN ('sent', 'failed', 'cancelled')
    ) AS changed
    GROUP BY step_id, state
    HAVING sum(n) <> 0
    ORDER BY step_id, state
    ON CONFLICT (step_id, state, slot) DO UPDATE SET n = delivery_count.n + excluded.n;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION uncount_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_count (step_id, state, slot, n)
    SELECT step_id, state, pg_backend_pid() % 32, -count(*)
    FROM before
    WHERE state IN ('sent', 'failed', 'cancelled')
    GROUP BY step_id, state
    ORDER BY step_id, state
    ON CONFLICT (step_id, state, slot) DO UPDATE SET n = delivery_count.n + excluded.n;
    RETURN NULL;
END $$;

LOCK TABLE message IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO delivery_count (step_id, state, slot, n)
SELECT step_id, state, 0, count(*) FROM message WHERE state IN ('sent', 'failed', 'cancelled') GROUP BY step_id, state
ON CONFLICT DO NOTHING;

CREATE OR REPLACE TRIGGER count_deliveries AFTER UPDATE ON message
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE OR REPLACE TRIGGER uncount_deliveries AFTER DELETE ON message
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION uncount_deliveries();
