"""Settings of an installation that statements follow, known to every connection of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class InstallationSettings:
    """What statements have to know of the settings; whoever makes the engine hands them over."""

    # Whether several contacts may have one address.
    shared_addresses: bool = False
    # How phone numbers without a country code are read: two letters, ISO 3166-1.
    country: str | None = None
    # Where messages are written to that go to files.
    home: Path | None = None


_DEFAULT = InstallationSettings()


def set_installation_settings(engine: Engine, settings: InstallationSettings) -> None:
    """Let the connections of an engine know the settings."""
    engine.update_execution_options(parcours_installation=settings)


def settings_of(conn: Connection) -> InstallationSettings:
    """Return the settings that a connection follows; the default ones where nobody set them."""
    found = conn.get_execution_options().get("parcours_installation", _DEFAULT)
    assert isinstance(found, InstallationSettings)
    return found
