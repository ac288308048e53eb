"""What holds messages back: policies of channels, categories of emails, and why a contact is held at a step."""

from pathlib import Path

from alembic import op

from parcours.db.migrations.indexes import create_index

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    create_index("message_marketing_idx", "message", "(contact_id, channel, due_at) WHERE marketing")
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
