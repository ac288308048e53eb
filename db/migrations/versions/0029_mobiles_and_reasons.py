"""Contacts found by the last digits of their mobile number, and reasons of refusals kept beside each other."""

from db.migrations.indexes import create_index

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    create_index(
        "contact_mobile_tail_idx",
        "contact",
        "(right(regexp_replace(fields ->> 'mobile', '[^0-9]', '', 'g'), 6)) WHERE fields ? 'mobile'",
    )
