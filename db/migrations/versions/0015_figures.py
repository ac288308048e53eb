"""What those who watch the installation read, at a cost that does not follow what waits or what was."""

from parcours.db.migrations.indexes import create_index, create_partitioned_index

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    create_index("wait_retry_idx", "wait", "(step_id) WHERE reason = 'retry'")
    # Outcomes come nearly in the order of time: a few pages of the index find the last minute among years.
    create_partitioned_index("outcome_at_idx", "outcome", "USING brin (at) WITH (autosummarize = on)")
