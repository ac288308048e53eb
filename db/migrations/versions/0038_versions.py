"""Who made a version of a campaign and why, and notes of campaigns whose members are to be aligned.

The previous code goes on: it writes versions without the new columns, and leaves the notes alone. What it changes is
aligned by the first tick of the new code.
"""

from pathlib import Path

from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    for table, trigger in (
        ("campaign", "campaign_realigned"),
        ("campaign_source", "campaign_source_realigned"),
        ("category", "category_realigned"),
        ("segment", "segment_realigned"),
    ):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
        op.execute(f"DROP FUNCTION note_realign_of_{table}()")
    op.execute("DROP TABLE realign")
    op.execute("ALTER TABLE campaign_version DROP COLUMN who, DROP COLUMN message")
