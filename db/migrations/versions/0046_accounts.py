"""A timezone of each account, and when it was invited, got its password and was last signed in to."""

from pathlib import Path

from alembic import op

revision = "0046"
down_revision = "0044"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        "ALTER TABLE account DROP COLUMN timezone, DROP COLUMN linked_at, DROP COLUMN password_at, "
        "DROP COLUMN signed_in_at, DROP COLUMN sign_ins_kept"
    )
