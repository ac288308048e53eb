"""Waits that move with a contact's timezone, and steps whose timing changed while contacts waited there."""

from pathlib import Path

from alembic import op

from parcours.db.migrations.indexes import create_index

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    # Who is to leave a paused campaign stays in the table, and must not be in the way of others.
    create_index("leaving_campaign_idx", "leaving", "(campaign_id, due_at)")
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
