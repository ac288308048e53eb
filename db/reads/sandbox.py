"""What a sandbox asks of its own database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


class Outcome(NamedTuple):
    """The result of a step for a contact. `result` is done, skipped, failed, yes, no or cancelled."""

    contact: str
    step: str
    result: str
    at: datetime


class WrittenMessage(NamedTuple):
    """Whose a message is, and which step wrote it."""

    key: str
    contact: str
    campaign: str
    step: str
    template: str | None


def next_message(conn: Connection) -> datetime | None:
    """Return when the next message is due; None when none waits."""
    found: datetime | None = conn.execute(sql["next_message"]).scalar_one()
    return found


def outcomes(conn: Connection, contact: str | None) -> list[Outcome]:
    """Return the outcomes of one contact or all, oldest first."""
    return [Outcome(*row) for row in conn.execute(sql["outcomes"], {"contact": contact})]


def messages(conn: Connection, keys: Iterable[str]) -> Sequence[WrittenMessage]:
    """Return the messages of some keys."""
    return [WrittenMessage(*row) for row in conn.execute(sql["messages"], {"keys": list(keys)})]
