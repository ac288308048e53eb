"""Indexes of tables that may be large when a migration meets them."""

from alembic import op
from sqlalchemy import text


def create_index(name: str, table: str, rest: str, *, unique: bool = False) -> None:
    """Create an index on a table: while others work on it, unless there is nothing in it to read.

    Called first in a migration, so that all else is one transaction with the revision: building it again after
    it failed changes nothing else. An index of a new, empty table waits for nobody.
    """
    kind = "UNIQUE INDEX" if unique else "INDEX"
    if not op.get_bind().execute(text(f"SELECT EXISTS (SELECT FROM {table})")).scalar_one():
        op.execute(f"CREATE {kind} {name} ON {table} {rest}")
        return
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {kind} CONCURRENTLY {name} ON {table} {rest}")


def create_partitioned_index(name: str, table: str, rest: str) -> None:
    """Create an index on a partitioned table and on its partitions, on each of them as `create_index` does."""
    partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:table AS regclass)"
    for partition in op.get_bind().execute(text(partitions), {"table": table}).scalars().all():
        create_index(f"{partition}_{name}", partition, rest)
    # Takes those of its like that the partitions have.
    op.execute(f"CREATE INDEX {name} ON {table} {rest}")
