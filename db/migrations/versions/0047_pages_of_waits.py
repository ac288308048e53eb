"""Indexes for lists: who waits at a step among those due at one instant, and who failed there for one reason.

The previous code goes on: it reads the same indexes in the same order.
"""

from alembic import op

from parcours.db.migrations.indexes import create_index, create_partitioned_index

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    create_index("wait_due_contact_idx", "wait", "(step_id, due_at, contact_id)")
    # An error may be of any length, so that its sum stands for it.
    create_partitioned_index(
        "outcome_failed_why_idx",
        "outcome",
        "(md5(step_id::text || ' ' || coalesce(detail ->> 'error', detail ->> 'reason', '')), at) "
        "WHERE result = 'failed'",
    )
    op.execute("DROP INDEX IF EXISTS wait_due_idx")
    op.execute("ALTER INDEX wait_due_contact_idx RENAME TO wait_due_idx")


def downgrade() -> None:
    op.execute("DROP INDEX outcome_failed_why_idx")
    op.execute("DROP INDEX wait_due_idx")
    op.execute("CREATE INDEX wait_due_idx ON wait (step_id, due_at)")
