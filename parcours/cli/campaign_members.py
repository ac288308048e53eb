"""`parcours campaigns add` and `remove`: changing the members of a campaign manually."""

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
from parcours.cli.instants import Now, begin
from parcours.cli.session import session
from parcours.db.tables import campaigns, contacts
from parcours.domain.errors import CampaignError
from parcours.domain.keys import checked_key
from parcours.services import manual_changes
from parcours.workers import membership

__all__ = ["app"]

ContactKeys = Annotated[list[str] | None, typer.Argument(metavar="CONTACT…", help="Keys of contacts.")]
KeyFile = Annotated[Path | None, typer.Option("--file", help="File with more keys, one per line.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one line per contact.")]


class Move(Protocol):
    """Moves the contacts of one transaction and returns the results worth reporting."""

    def __call__(
        self, conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, who: str, now: datetime, zone: ZoneInfo
    ) -> Mapping[int, str]: ...


@app.command()
def add(
    campaign: Key, contact: ContactKeys = None, file: KeyFile = None, now: Now = None, as_json: Json = False
) -> None:
    """Add contacts to a campaign manually. Segments never remove them. Contacts who left or were removed return."""
    _move(campaign, contact, file, manual_changes.add, otherwise=manual_changes.ALREADY_IN, given=now, as_json=as_json)


@app.command()
def remove(
    campaign: Key, contact: ContactKeys = None, file: KeyFile = None, now: Now = None, as_json: Json = False
) -> None:
    """Remove contacts from a campaign manually and cancel their waits. They return only when added manually."""
    _move(campaign, contact, file, manual_changes.remove, otherwise=manual_changes.NOT_IN, given=now, as_json=as_json)


def _move(
    campaign: str,
    named: list[str] | None,
    file: Path | None,
    move: Move,
    *,
    otherwise: str,
    given: str | None,
    as_json: bool,
) -> None:
    """Move contacts in batches, one transaction each, and print the result of each contact, or `otherwise`."""
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
    now = begin(here.engine, given)
    counts: Counter[str] = Counter()
    wanted = list(dict.fromkeys(_keys(named, file)))
    for first in range(0, len(wanted), membership.LOCKED_AT_ONCE):
        keys = wanted[first : first + membership.LOCKED_AT_ONCE]
        with here.begin() as conn:
            ids = contacts.named(conn, keys)
            done = move(conn, found.id, list(ids.values()), who=user(), now=now, zone=here.zone)
            words = {key: done.get(ids[key], otherwise) if key in ids else "no contact has this key" for key in keys}
        counts.update(words.values())
        for key, what in words.items():
            if as_json:
                here.print_json({"contact": key, "what": what})
            else:
                here.say(f"{key}: {what}")
    if not wanted:
        raise CampaignError("give contact keys, or --file with one key per line")
    unknown = counts["no contact has this key"]
    if unknown:
        raise CampaignError(f"{unknown:,} of {counts.total():,} keys do not exist; the other contacts were processed")


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
