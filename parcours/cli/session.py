"""What every command shares: settings, the database once it is needed, and how to print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from parcours.domain.errors import CampaignError
from parcours.domain.time.text import iso, shown

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Connection, Engine

    from parcours.ops.settings import Settings


# Columns of a terminal from which on there is room for everything.
ROOMY = 110


def database_away(error: Exception) -> str | None:
    """Return what to do about a database that does not answer; None for any other error."""
    from parcours.db.faults import Fault, fault_of

    if fault_of(error) is not Fault.AWAY:
        return None
    why = str(getattr(error, "orig", error)).strip().splitlines()[0]
    if "unsupported startup parameter" in why:
        return f"the connection pooler refuses the options of a session ({why}); use PgBouncer 1.20 or newer"
    return f"cannot reach the database ({why}); start it, or check PARCOURS_DATABASE_URL"


class Session:
    """One run of the command."""

    def __init__(self, settings: Settings, *, debug: bool = False) -> None:
        self.settings = settings
        self.debug = debug

    @property
    def zone(self) -> ZoneInfo:
        """The timezone of contacts who have none."""
        return self.settings.zone

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        return Console(highlight=False)

    @cached_property
    def engine(self) -> Engine:
        """The database, opened once it is needed. Raises CampaignError when its schema does not fit."""
        from parcours.services.open_database import open_database

        return open_database(self.settings)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Begin a transaction that is committed at the end; say whom it waits for when others hold what it needs."""
        from parcours.services.waits_for_locks import waits_told

        with self.engine.begin() as conn, waits_told(conn, self.warn):
            yield conn

    def wait_for_servers(self, broker_url: str | None = None, *, pause: float = 1.0) -> None:
        """Return as soon as the database, and the broker if one is named, answer; say so while they do not.

        For processes that run until told to stop: they often start before what they need.
        """
        said = None
        while (away := self._away(broker_url)) is not None:
            if away != said:
                self.warn(f"Waiting: {away}.")
                said = away
            time.sleep(pause)
        if said is not None:
            self.warn("Connected to the database and the broker." if broker_url else "Connected to the database.")

    def _away(self, broker_url: str | None) -> str | None:
        from sqlalchemy.exc import DBAPIError

        from parcours.producers.broker import BrokerAwayError, check_broker

        try:
            assert self.engine
            if broker_url is not None:
                check_broker(broker_url)
        except BrokerAwayError as error:
            return str(error)
        except DBAPIError as error:
            if (sentence := database_away(error)) is None:
                raise
            return sentence
        return None

    def need_broker(self, command: str) -> str:
        """Return the broker's URL. Raises CampaignError when there is none."""
        if self.settings.broker_url is None:
            raise CampaignError(
                f"`parcours {command}` needs a broker: set PARCOURS_BROKER_URL to redis://… or amqp://…, "
                "or use `parcours up`, which includes one"
            )
        return self.settings.broker_url

    def print_json(self, value: Any) -> None:
        """Print one JSON value on one line of standard output."""
        sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")

    def print_table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, cut: Collection[str] = ()
    ) -> None:
        """Print a table; numbers are right-aligned and never broken, None is blank.

        Text that is too long folds, between words if it can; in the columns of `cut` it is cut instead. Where words
        would have to be broken, each row is a paragraph of its own: its first cell, and the others below with their
        names.
        """
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        if title:
            self.console.print(f"[italic]{escape(title)}[/italic]", soft_wrap=True)
        rows = [list(row) for row in rows]
        texts = [["" if cell is None else _cell(cell, self.zone) for cell in row] for row in rows]
        numeric = [bool(rows) and all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
        if not cut and _is_narrow(columns, texts, room=self.console.width):
            self._print_paragraphs(columns, texts)
            return
        widths = _least_widths(columns, texts, numeric, room=self.console.width)
        table = Table(
            header_style="bold",
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
        )
        for column, is_numeric, width in zip(columns, numeric, widths, strict=True):
            table.add_column(
                column,
                justify="right" if is_numeric else "left",
                overflow="ellipsis" if column in cut else "fold",
                no_wrap=is_numeric or column in cut,
                min_width=None if column in cut else width,
            )
        for row in texts:
            table.add_row(*map(escape, row))
        self.console.print(table)

    def _print_paragraphs(self, columns: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        from rich.markup import escape

        for first, *rest in texts:
            self.console.print(f"[bold]{escape(first)}[/bold]", soft_wrap=True)
            named = [f"{name}: {each}" if name else each for name, each in zip(columns[1:], rest, strict=True) if each]
            for line in _folded(", ".join(named), room=self.console.width):
                self.console.print(escape(line), soft_wrap=True)

    def time(self, at: datetime) -> str:
        """Return an instant in the timezone of contacts who have none."""
        return shown(at, self.zone)

    def say(self, sentence: str) -> None:
        """Print one sentence for a person."""
        from rich.markup import escape

        self.console.print(escape(sentence), soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Print one sentence to standard error without failing."""
        sys.stderr.write(f"{sentence}\n")


_session: ContextVar[Session] = ContextVar("session")


def begin_session(opened: Session) -> None:
    """Make a session the one of the command that runs; the entry point does so once."""
    _session.set(opened)


def session() -> Session:
    """Return the session of the command that runs."""
    return _session.get()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    return str(value)


def _cell(value: Any, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return shown(value, zone)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# A word that is longer, such as an address, may be broken in a table.
_WORD = 24


def _is_narrow(columns: Sequence[str], texts: Sequence[Sequence[str]], *, room: int) -> bool:
    """Return whether the words of a table have no room beside each other."""
    words = [
        max((len(word) for row in texts for word in row[index].split()), default=0) for index in range(len(columns))
    ]
    needed = sum(max(len(column), min(word, _WORD)) for column, word in zip(columns, words, strict=True))
    return needed + 2 * (len(columns) - 1) > room


def _folded(text: str, *, room: int) -> list[str]:
    """Return lines, set in by two, that are no longer than the room unless a word is."""
    import textwrap

    return textwrap.wrap(
        text,
        width=room,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=True,
    )


def _least_widths(
    columns: Sequence[str], texts: Sequence[Sequence[str]], numeric: Sequence[bool], *, room: int
) -> list[int]:
    """Return widths below which columns should not shrink: whole numbers, headings, and words where there is room."""
    heads = [len(column) for column in columns]
    words = [
        max((len(word) for row in texts for word in row[index].split()), default=0) for index in range(len(columns))
    ]
    widths = [max(pair) for pair in zip(heads, words, strict=True)]
    # A divider and a space stand between two columns.
    over = sum(widths) + 2 * (len(columns) - 1) - room
    while over > 0:
        shrinking = [index for index, width in enumerate(widths) if not numeric[index] and width > heads[index]]
        if not shrinking:
            break
        widest = max(shrinking, key=lambda index: widths[index])
        widths[widest] -= 1
        over -= 1
    return widths
