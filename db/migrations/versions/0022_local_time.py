"""Waits that move with a contact's timezone, and steps whose timing changed while contacts waited there."""

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0015"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
