"""One module a table, with its SQL beside it."""
