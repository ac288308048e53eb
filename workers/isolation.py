"""Work on many at once that one of them must not stop: what raises is done in halves, until the guilty are alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from parcours.db.faults import blames_the_data

T = TypeVar("T")


def in_halves(
    conn: Connection,
    items: Sequence[T],
    work: Callable[[Sequence[T]], None],
    guilty: Callable[[T, Exception], None],
) -> None:
    """Work on all items, in their order, within a savepoint; where that raises, on each half by itself.

    `guilty` gets an item for which it raised though it was alone, with nothing left of what was tried. Whatever
    says nothing about the items is raised.
    """
    try:
        with conn.begin_nested():
            work(items)
            return
    except Exception as error:
        if not blames_the_data(error):
            raise
        alone = error
    if len(items) == 1:
        guilty(items[0], alone)
        return
    middle = len(items) // 2
    in_halves(conn, items[:middle], work, guilty)
    in_halves(conn, items[middle:], work, guilty)
