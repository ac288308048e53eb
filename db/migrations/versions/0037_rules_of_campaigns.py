"""Rules in campaigns: decisions that wait until one is true, and exits.

The previous code goes on: it sets a campaign that has such a step or exit aside, and all else is as it was.
"""

from alembic import op

from parcours.db.migrations.indexes import create_index

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    # Empty, so that it takes no time; the index is built while others work.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE membership ADD COLUMN IF NOT EXISTS exit_due_at timestamptz")
    create_index("membership_exit_idx", "membership", "(campaign_id, exit_due_at) WHERE exit_due_at IS NOT NULL")
    # What of contacts the rule of a decision, or of an exit, reads, as `reads` of a segment; null: there is none.
    op.execute("ALTER TABLE step ADD COLUMN reads text[]")
    op.execute("ALTER TABLE campaign ADD COLUMN exit_reads text[]")


def downgrade() -> None:
    op.execute("ALTER TABLE campaign DROP COLUMN exit_reads")
    op.execute("ALTER TABLE step DROP COLUMN reads")
    op.execute("ALTER TABLE membership DROP COLUMN exit_due_at")
