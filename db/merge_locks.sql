-- One lock of the whole database: merges take it alone, imports and new versions of campaigns together.

-- name: shut_out_imports
-- An import looks contacts up long before it writes them: it and a merge keep out of each other's way. Who
-- waits for it must hold no contact, since it may be waiting for that.
SELECT pg_advisory_xact_lock(7272687600000000);

-- name: shut_out_merges
-- Shared with other imports: a contact that is merged away between being looked up and being written would
-- begin anew. Also with new versions of campaigns, which let contacts wait elsewhere.
SELECT pg_advisory_xact_lock_shared(7272687600000000);

-- name: try_to_shut_out_imports
SELECT pg_try_advisory_xact_lock(7272687600000000);
