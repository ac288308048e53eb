"""The index of phone numbers holds their first digits, so that no text in a contact's `phone` is too long for it."""

from alembic import op

from parcours.db.migrations.indexes import create_index

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    rest = "(left(regexp_replace(fields ->> 'phone', '[^0-9]', '', 'g'), 40)) WHERE fields ? 'phone'"
    create_index("contact_phone_digits_idx", "contact", rest)
    # A process of before reads the table for an inbound text message meanwhile, which is slower and no less right.
    op.execute("DROP INDEX IF EXISTS contact_phone_idx")
