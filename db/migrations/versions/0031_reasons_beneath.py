"""Reasons of a contact's own refusals kept beside each other, as those of addresses are."""

from alembic import op

revision = "0031"
down_revision = "0029"


def upgrade() -> None:
    # {reason: {at, comment}}. Only of what is about the contact at any address; the rest is with the addresses.
    op.execute("ALTER TABLE do_not_contact ADD COLUMN beneath jsonb NOT NULL DEFAULT '{}'")
