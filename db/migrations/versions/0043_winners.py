"""Variants of emails may have a winner."""

from pathlib import Path

from alembic import op

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP TABLE variant_test")
    op.execute("ALTER TABLE email DROP COLUMN winner, DROP COLUMN test_round")
