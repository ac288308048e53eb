"""The name of this installation, which is part of the keys of its messages."""

from pathlib import Path

from alembic import op

revision = "0028"
down_revision = "0025"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
