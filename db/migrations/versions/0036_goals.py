"""Goals and control groups of campaigns.

The previous code goes on: nobody is in a control group by it, and it sets campaigns that have a goal aside. A downgrade
keeps members; those of a control group stay without waits.
"""

from pathlib import Path

from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute(
        """
        DELETE FROM campaign_event WHERE role = 'goal';
        ALTER TABLE campaign_event
            DROP CONSTRAINT campaign_event_role_check,
            ADD CONSTRAINT campaign_event_role_check CHECK (role IN ('source', 'exit', 'segment'));
        DELETE FROM segment_member USING segment WHERE segment.id = segment_id AND segment.goal_of IS NOT NULL;
        DELETE FROM segment_due USING segment WHERE segment.id = segment_id AND segment.goal_of IS NOT NULL;
        DELETE FROM segment WHERE goal_of IS NOT NULL;
        ALTER TABLE segment DROP COLUMN goal_of;
        DROP TABLE trial, trial_count;
        ALTER TABLE membership DROP COLUMN control;
        DROP FUNCTION in_control_group(bigint, bytea, bytea);
        """
    )
