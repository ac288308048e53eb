"""How many messages of each step arrived, were given up and were withdrawn."""

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0018"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
