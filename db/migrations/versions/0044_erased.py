"""How often each member was counted as added, and how many of those are erased."""

from pathlib import Path

from alembic import op

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        DELETE FROM campaign_count WHERE what = 'erased';
        ALTER TABLE campaign_count
            DROP CONSTRAINT campaign_count_what_check,
            ADD CONSTRAINT campaign_count_what_check CHECK (what IN ('added', 'left', 'emails_sent', 'page_views'));
        ALTER TABLE membership DROP COLUMN entries;
        """
    )
