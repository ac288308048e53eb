"""Who is behind what comes back from outside: a message of ours, an address, a telephone number."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.db.tables import contacts, refusals
from parcours.domain.steps.email import category_channel

sql = statements(__file__)


class Origin(NamedTuple):
    """A message of ours: who got it, how and when, and what sent it."""

    contact_id: int
    contact: str
    channel: str
    # None: the outbox still has it, or it went by a way that does not tell.
    sent_at: datetime | None
    campaign: str | None
    step: str | None


def origins(conn: Connection, messages: Iterable[str]) -> dict[str, Origin]:
    """Return what is known of our own messages, by message key; those that are gone are left out."""
    keys = sorted(set(messages))
    rows = conn.execute(sql["origins"], {"keys": keys}) if keys else ()
    return {key: Origin(*rest) for key, *rest in rows}


def keys_by_emails(conn: Connection, emails: Iterable[str]) -> dict[str, str]:
    """Return the keys of contacts by their addresses, for the addresses that somebody has."""
    ids = contacts.named(conn, emails)
    if not ids:
        return {}
    keys = {row.id: row.key for row in conn.execute(sql["keys"], {"ids": sorted(set(ids.values()))})}
    return {email: keys[id_] for email, id_ in ids.items()}


def keys_by_phones(conn: Connection, numbers: Iterable[str]) -> dict[str, list[str]]:
    """Return the keys of contacts by their telephone numbers, for the numbers that somebody has; the oldest first.

    A number is the same one however it is written: of the field `phone`, by the rules of the field `country`, else
    of the installation's.
    """
    return {number: [owner.key for owner in owners] for number, owners in refusals.owners(conn, numbers).items()}


def refused(conn: Connection, contact_id: int, channels: Iterable[str]) -> set[str]:
    """Return from which of some channels a contact unsubscribed, by what was last said of each."""
    stored = refusals.of_contacts(conn, [contact_id]).get(contact_id, {})
    last = {row.channel: row.type for row in conn.execute(sql["last_words"], {"contact_id": contact_id})}
    return {
        channel
        for channel in channels
        if (last[channel] == "email.unsubscribed" if channel in last else stored.get(channel) == "unsubscribed")
    }


def categories(conn: Connection, message: str) -> dict[str, str]:
    """Return the categories of emails that one can leave, by channel, as they are written; a message's own first."""
    found: dict[str, str] = {}
    for category in conn.execute(sql["categories"], {"message": message}).scalars():
        found.setdefault(category_channel(category), category)
    return found
