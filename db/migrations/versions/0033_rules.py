"""Segments by rule: the rule, who is asked again by time or by others, and what is left of a rebuild."""

from pathlib import Path

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP TABLE segment_due, unjudged, unjudged_company, rebuild_chunk, rebuild, rule_set")
    op.execute(
        "ALTER TABLE segment DROP COLUMN rule, DROP COLUMN rule_digest, DROP COLUMN rule_version, "
        "DROP COLUMN reads, DROP COLUMN rule_error, DROP COLUMN rule_failed_at"
    )
