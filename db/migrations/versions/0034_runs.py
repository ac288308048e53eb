"""Runs: a contact may be in a campaign several times at once, begun by events.

The previous code goes on: it reads and writes members without runs as before, and sets campaigns of the new format
aside. A downgrade keeps members and history; of a contact with several runs, what the run that began last waits for.
"""

from pathlib import Path

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    # The values of the two types stay: PostgreSQL takes none away, and they are in no one's way.
    op.execute(
        """
        DELETE FROM wait USING membership
        WHERE membership.contact_id = wait.contact_id AND membership.campaign_id = wait.campaign_id
          AND membership.runs AND membership.rotation <> wait.rotation;
        UPDATE membership SET departure = 'action' WHERE departure = 'exit';
        UPDATE membership SET arrival = 'form' WHERE arrival = 'event';
        DROP TABLE run, entrant, campaign_entry, campaign_event;
        ALTER TABLE membership DROP COLUMN runs, DROP COLUMN reason;
        ALTER TABLE outcome DROP COLUMN run;
        ALTER TABLE campaign DROP COLUMN entries_after;
        """
    )
