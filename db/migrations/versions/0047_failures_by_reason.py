"""An index for who failed at a step for one reason, which may be a rare one among many."""

from alembic import op

from parcours.db.migrations.indexes import create_partitioned_index

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    # An error may be of any length, so that its sum stands for it.
    create_partitioned_index(
        "outcome_failed_why_idx",
        "outcome",
        "(md5(step_id::text || ' ' || coalesce(detail ->> 'error', detail ->> 'reason', '')), at) "
        "WHERE result = 'failed'",
    )


def downgrade() -> None:
    op.execute("DROP INDEX outcome_failed_why_idx")
