"""What pages need: contacts found by name, imports from the browser, and the figures of emails."""

from pathlib import Path

from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP TRIGGER count_emails ON message")
    op.execute("DROP TRIGGER uncount_emails ON message")
    op.execute("DROP FUNCTION count_emails()")
    op.execute("DROP FUNCTION uncount_emails()")
    op.execute("DROP TABLE email_count, email_link_count, contact_import_part, contact_import")
    op.execute("DROP INDEX contact_first_name_idx, contact_last_name_idx")
