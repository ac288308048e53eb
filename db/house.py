"""What an installation decided for itself, known to every connection of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class House:
    """The settings that statements follow; whoever makes the engine hands them over."""

    # Whether several contacts may have one address.
    shared_addresses: bool = False
    # How phone numbers without a country code are read: two letters, ISO 3166-1.
    country: str | None = None
    # Where messages are written to that go to files.
    home: Path | None = None


_DEFAULT = House()


def furnish(engine: Engine, house: House) -> None:
    """Let the connections of an engine know the house that they are in."""
    engine.update_execution_options(parcours_house=house)


def house_of(conn: Connection) -> House:
    """Return the house of a connection; the default one for an engine that nobody furnished."""
    found = conn.get_execution_options().get("parcours_house", _DEFAULT)
    assert isinstance(found, House)
    return found
