"""One place for how the weaker of two refusals is kept beneath the stronger one."""

from pathlib import Path

from alembic import op

revision = "0042"
down_revision = "0039"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP FUNCTION refusals_beneath(jsonb, boolean, text, timestamptz, text, text, timestamptz, text)")
    op.execute("DROP FUNCTION is_weaker_refusal(text, text)")
