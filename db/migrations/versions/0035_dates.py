"""Dates of contacts, as what steps wait for and as sources of campaigns."""

from pathlib import Path

from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    # The arrival stays a word that the type knows: PostgreSQL takes none back.
    for table in ("membership", "run", "entrant"):
        op.execute(f"UPDATE {table} SET arrival = 'form' WHERE arrival = 'date'")
    op.execute("DROP TRIGGER contact_dated ON contact")
    op.execute("DROP TRIGGER contact_redated ON contact")
    op.execute("DROP FUNCTION note_dated()")
    op.execute("DROP FUNCTION note_redated()")
    op.execute("DROP TABLE redated, date_build, date_entry, date_source")
    op.execute("ALTER TABLE entrant DROP COLUMN again")
    op.execute("ALTER TABLE step DROP COLUMN date_field")
