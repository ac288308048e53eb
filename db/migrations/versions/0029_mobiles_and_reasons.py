"""Contacts found by the last digits of their mobile number, and reasons of refusals kept beside each other."""

from alembic import op

from parcours.db.migrations.indexes import create_index

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    create_index(
        "contact_mobile_tail_idx",
        "contact",
        "(right(regexp_replace(fields ->> 'mobile', '[^0-9]', '', 'g'), 6)) WHERE fields ? 'mobile'",
    )
    # What is refused for a weaker reason as well, {reason: {at, comment}}, and when they came `back` last.
    op.execute("ALTER TABLE refusal ADD COLUMN beneath jsonb NOT NULL DEFAULT '{}'")
