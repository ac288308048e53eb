"""A contact may wait at a step in several passages; counters are spread so that nobody waits for another's.

The new key is built while others work; putting it in the place of the old one is a change of the catalogue, for
which the table is locked for a moment. From then on the previous code cannot write waits: its statements name the
old key, and PostgreSQL refuses them. What such a worker has in hand is rolled back and stays due, events stay in
the inbox, and the new code does them. A second index with the old key would let it go on, and would keep the new
code from writing a second passage, so there is none.
"""

from pathlib import Path

from alembic import op

from parcours.db.migrations.indexes import create_index

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    create_index("wait_passage_key", "wait", "(contact_id, step_id, passage)", unique=True)
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
