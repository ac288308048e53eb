"""Drafts of campaigns, with what they looked like after each change."""

from pathlib import Path

from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP TABLE draft_snapshot, draft")
