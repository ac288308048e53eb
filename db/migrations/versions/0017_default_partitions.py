"""A partition for what no other takes, so that a write never fails for want of one."""

from alembic import op
from sqlalchemy import text

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    for parent in ("outcome", "event"):
        if op.get_bind().execute(text(f"SELECT to_regclass('{parent}_default')")).scalar() is not None:
            continue
        # Made aside and attached: attaching does not block readers and writers of the parent.
        op.execute(f"CREATE TABLE {parent}_default (LIKE {parent} INCLUDING ALL)")
        op.execute(f"ALTER TABLE {parent} ATTACH PARTITION {parent}_default DEFAULT")
