"""Who is behind what comes back from outside: a message of ours, an address, a telephone number."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from db import contacts, refusals
from db.statements import statements

sql = statements("tracking")


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


def refuses(conn: Connection, contact_id: int, channel: str) -> bool:
    """Return whether a contact unsubscribed from a channel, by what was last said of it."""
    last = conn.execute(sql["last_word"], {"contact_id": contact_id, "channel": channel}).scalar_one_or_none()
    if last is not None:
        return bool(last == "email.unsubscribed")
    return refusals.of_contacts(conn, [contact_id]).get(contact_id, {}).get(channel) == "unsubscribed"
