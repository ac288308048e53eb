"""Email templates."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

Stored = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Email:
    """A template; subject, html and text are Liquid. Without a sender, the installation's is used.

    Who does not want emails of its category, a refusal of `email:CATEGORY`, is not sent it.
    """

    key: str
    subject: str
    html: str | None
    text: str | None
    sender: str | None
    published: bool
    category: str | None = None


def save(conn: Connection, email: Email, *, now: datetime) -> Stored:
    """Store a template as a whole and say what that changed."""
    given = {
        "key": email.key,
        "subject": email.subject,
        "html": email.html,
        "text": email.text,
        "sender": email.sender,
        "published": email.published,
        "category": email.category,
        "now": now,
    }
    created = conn.execute(
        text(
            "INSERT INTO email (key, subject, html, text, sender, published, category, changed_at) "
            "VALUES (:key, :subject, :html, :text, :sender, :published, :category, :now) "
            "ON CONFLICT (key) DO NOTHING RETURNING id"
        ),
        given,
    ).one_or_none()
    if created is not None:
        return "created"
    updated = conn.execute(
        text(
            "UPDATE email SET subject = :subject, html = :html, text = :text, sender = :sender, "
            "published = :published, category = :category, changed_at = :now WHERE key = :key "
            "AND (subject, html, text, sender, published, category) IS DISTINCT FROM "
            "(CAST(:subject AS text), CAST(:html AS text), CAST(:text AS text), CAST(:sender AS text), "
            "CAST(:published AS boolean), CAST(:category AS text)) RETURNING id"
        ),
        given,
    ).one_or_none()
    return "unchanged" if updated is None else "updated"


def listed(conn: Connection) -> list[Email]:
    """Return all templates by key."""
    rows = conn.execute(text("SELECT key, subject, html, text, sender, published, category FROM email ORDER BY key"))
    return [Email(*row) for row in rows]
