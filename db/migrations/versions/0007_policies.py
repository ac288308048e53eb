"""What holds messages back: policies of channels, categories of emails, and why a contact is held at a step."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    # The outbox may be large, and nobody waits for its index. First, so that all else is one transaction
    # with the revision: building it again after it failed changes nothing else.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS message_marketing_idx")
        op.execute(
            "CREATE INDEX CONCURRENTLY message_marketing_idx ON message (contact_id, channel, due_at) WHERE marketing"
        )
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
