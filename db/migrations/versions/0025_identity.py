"""Refusals of mailboxes and numbers, numbers found by their last digits, tombstones with a key, what forms map."""

import secrets
from pathlib import Path

from alembic import op
from sqlalchemy import text

from parcours.db.migrations.indexes import create_index

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    # The last digits find who it may be, however the number is written, and no number is too long for the index.
    create_index(
        "contact_phone_tail_idx",
        "contact",
        "(right(regexp_replace(fields ->> 'phone', '[^0-9]', '', 'g'), 6)) WHERE fields ? 'phone'",
    )
    op.execute("DROP INDEX IF EXISTS contact_phone_digits_idx")
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    op.get_bind().execute(
        text("INSERT INTO installation (name, value) VALUES ('erasure_key', :made) ON CONFLICT DO NOTHING"),
        {"made": secrets.token_urlsafe(32)},
    )
