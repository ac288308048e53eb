"""Stages: where a contact stands in its life, ordered by weight."""

from dataclasses import dataclass

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.db.stored import Stored

sql = statements(__file__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage and how many contacts are in it."""

    key: str
    name: str
    weight: int | None
    published: bool
    contacts: int


def save(conn: Connection, key: str, *, name: str | None, weight: int | None, published: bool | None) -> Stored:
    """Create a stage or change what is given of it; None keeps what is there.

    A new stage is named by its key, has no weight and is published, unless said otherwise.
    """
    given = {"key": key, "name": name, "weight": weight, "published": published}
    created = conn.execute(sql["create"], given).one_or_none()
    if created is not None:
        return "created"
    updated = conn.execute(sql["change"], given).one_or_none()
    return "unchanged" if updated is None else "updated"


def keys(conn: Connection) -> set[str]:
    """Return the keys of all stages."""
    return set(conn.execute(sql["keys"]).scalars())


def listed(conn: Connection) -> list[Stage]:
    """Return all stages in their order; those without a weight come last."""
    return [Stage(*row) for row in conn.execute(sql["listed"])]
