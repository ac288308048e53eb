"""`parcours campaigns`: what the producers' part has, and who is in one by hand, which is work at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Protocol
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from parcours.cli.campaigns import Key, app, user
from parcours.cli.session import session
from parcours.db import partitions
from parcours.db.tables import campaigns, contacts
from parcours.domain.errors import CampaignError
from parcours.domain.keys import checked_key
from parcours.services import manual_changes
from parcours.workers import membership

__all__ = ["app"]

ContactKeys = Annotated[list[str] | None, typer.Argument(metavar="CONTACT…", help="Keys of contacts.")]
KeyFile = Annotated[Path | None, typer.Option("--file", help="A file with one key a line, besides those named.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, one line a contact.")]


class Move(Protocol):
    """Moves the contacts of one transaction, and returns what became of those of whom there is something to say."""

    def __call__(
        self, conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, who: str, now: datetime, zone: ZoneInfo
    ) -> Mapping[int, str]: ...


@app.command()
def add(campaign: Key, contact: ContactKeys = None, file: KeyFile = None, as_json: Json = False) -> None:
    """Add contacts by hand: no segment removes them again. Who was out comes back, also after a removal by hand."""
    _move(campaign, contact, file, manual_changes.add, otherwise=manual_changes.ALREADY_IN, as_json=as_json)


@app.command()
def remove(campaign: Key, contact: ContactKeys = None, file: KeyFile = None, as_json: Json = False) -> None:
    """Remove contacts by hand: only a person brings them back. What they waited for is cancelled."""
    _move(campaign, contact, file, manual_changes.remove, otherwise=manual_changes.NOT_IN, as_json=as_json)


def _move(
    campaign: str,
    named: list[str] | None,
    file: Path | None,
    move: Move,
    *,
    otherwise: str,
    as_json: bool,
) -> None:
    """Move contacts, so many a transaction, and say of each what became of it, or `otherwise`."""
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
    now = partitions.begin(here.engine)
    counts: Counter[str] = Counter()
    wanted = list(dict.fromkeys(_keys(named, file)))
    for first in range(0, len(wanted), membership.LOCKED_AT_ONCE):
        keys = wanted[first : first + membership.LOCKED_AT_ONCE]
        with here.engine.begin() as conn:
            ids = contacts.named(conn, keys)
            done = move(conn, found.id, list(ids.values()), who=user(), now=now, zone=here.zone)
            words = {key: done.get(ids[key], otherwise) if key in ids else "no contact of that key" for key in keys}
        counts.update(words.values())
        for key, what in words.items():
            if as_json:
                here.print_json({"contact": key, "what": what})
            else:
                here.say(f"{key}: {what}")
    if not wanted:
        raise CampaignError("name contacts, or a --file with one key a line that is not blank")
    unknown = counts["no contact of that key"]
    if unknown:
        raise CampaignError(f"{unknown:,} of {counts.total():,} are no contacts; with the others it is done")


def _keys(named: list[str] | None, file: Path | None) -> Iterator[str]:
    yield from (checked_key("contact", key) for key in named or ())
    if file is None:
        return
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from (checked_key("contact", line) for line in lines if line.strip())
    except UnicodeDecodeError:
        raise CampaignError(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise CampaignError(f"{file} cannot be read: {error.strerror}") from None
