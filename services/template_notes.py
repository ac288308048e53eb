"""What a person should hear about templates that are right, and yet may not say what was meant."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from parcours.db.tables import contacts
from parcours.domain.messages.templates import fields_named


def notes(conn: Connection, templates: Iterable[tuple[str, Iterable[str | None]]]) -> list[str]:
    """Return a sentence for each custom field that templates name and that no contact has.

    `templates` are what each is called, and its texts. Where there are no contacts yet, there is nothing to say.
    """
    named = {called: {name for text in texts if text for name in fields_named(text)} for called, texts in templates}
    missing = contacts.fields_of_nobody(conn, {name for names in named.values() for name in names})
    return [
        f"{called} uses contact.{name}, which no contact has; it is blank where missing, unless you write "
        f"{{{{ contact.{name} | default: 'friend' }}}}"
        for called, names in named.items()
        for name in sorted(names & missing)
    ]
