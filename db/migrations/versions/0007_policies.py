"""What holds messages back: policies of channels, categories of emails, and why a contact is held at a step."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    # The outbox may be large; nobody waits for its index.
    with op.get_context().autocommit_block():
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS message_marketing_idx ON message (contact_id, channel, due_at) "
            "WHERE marketing"
        )
