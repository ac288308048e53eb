"""What became of emails: by template, campaign, step and variant, and which links were followed; from counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

# In the order in which they are shown.
COUNTED = ("sent", "delivered", "opened", "clicked", "bounced", "unsubscribed", "failed")
MOST_LINKS = 100
MOST_DELETED = 200
_MOST_URL = 500


class EmailFigures(NamedTuple):
    """Numbers of messages by what became of them."""

    sent: int = 0
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    bounced: int = 0
    unsubscribed: int = 0
    failed: int = 0


class EmailFiguresOf(NamedTuple):
    """The figures of one step and variant; without a variant, of the main version."""

    campaign: str | None
    campaign_name: str | None
    step: str | None
    variant: str | None
    figures: EmailFigures


class WinnerTest(NamedTuple):
    """The test of an email's versions in one step. Once it is decided, `variant` won; None: the main version."""

    campaign: str | None
    campaign_name: str | None
    step: str | None
    started_at: datetime
    decided_at: datetime | None
    variant: str | None


class LinkClicks(NamedTuple):
    """How often a link was followed; of the address, the query is left out."""

    url: str
    clicks: int


def totals(conn: Connection, keys: Iterable[str]) -> dict[str, EmailFigures]:
    """Return the figures of templates as a whole, by key."""
    found: dict[str, dict[str, int]] = {}
    for row in conn.execute(sql["totals"], {"keys": list(keys)}):
        found.setdefault(row.template, {})[row.what] = row.n
    return {key: figures_of(counted) for key, counted in found.items()}


def deleted(conn: Connection) -> list[str]:
    """Return the keys of emails that were deleted and have figures; of very many, the first."""
    return list(conn.execute(sql["deleted"], {"limit": MOST_DELETED}).scalars())


def parts(conn: Connection, key: str) -> list[EmailFiguresOf]:
    """Return the figures of a template by campaign, step and variant."""
    found: dict[tuple[Any, Any, Any, Any], dict[str, int]] = {}
    for row in conn.execute(sql["parts"], {"key": key}):
        place: tuple[Any, Any, Any, Any] = (row.campaign, row.campaign_name, row.step, row.variant or None)
        found.setdefault(place, {})[row.what] = row.n
    return [EmailFiguresOf(*place, figures_of(counted)) for place, counted in found.items()]


def tests(conn: Connection, key: str) -> list[WinnerTest]:
    """Return the tests of a template's versions that began, by campaign and step."""
    return [
        WinnerTest(
            row.campaign,
            row.campaign_name,
            row.step,
            row.started_at,
            row.decided_at,
            row.decided_at and (row.winner or None),
        )
        for row in conn.execute(sql["tests"], {"key": key})
    ]


def links(conn: Connection, key: str) -> list[LinkClicks]:
    """Return the links of a template that were followed, the most popular first."""
    return [LinkClicks(*row) for row in conn.execute(sql["links"], {"key": key, "limit": MOST_LINKS})]


def note_events(conn: Connection, clicks: Iterable[tuple[str, str]], unsubscribed: Iterable[str]) -> None:
    """Count clicks (message key, address) by link, and messages by which somebody unsubscribed."""
    followed = [(message, _without_query(url)) for message, url in clicks]
    if followed:
        columns = {"messages": [each[0] for each in followed], "urls": [each[1] for each in followed]}
        conn.execute(sql["note_clicks"], columns)
    gone = list(unsubscribed)
    if gone:
        conn.execute(sql["note_unsubscribed"], {"messages": gone})


def as_json(figures: EmailFigures) -> dict[str, int]:
    return dict(figures._asdict())


def figures_of(counted: Mapping[str, int]) -> EmailFigures:
    """Return figures of what was counted; what was not is nothing."""
    known = {name: max(0, counted.get(name, 0)) for name in COUNTED if name != "delivered"}
    return EmailFigures(**known, delivered=max(0, known["sent"] - known["bounced"]))


def _without_query(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "?"
    return parts._replace(query="", fragment="").geturl()[:_MOST_URL]
