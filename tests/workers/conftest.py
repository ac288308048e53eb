"""A database that the tests of this folder share, and that each finds empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.db.tables import campaigns
from tests.conftest import cloned
from tests.workers.worlds import Moody, World


@pytest.fixture(scope="session")
def worlds_engine(server: str, template: str) -> Iterator[Engine]:
    """A migrated database whose tests commit, and clear up after themselves."""
    yield from cloned(server, template)


@pytest.fixture
def world(worlds_engine: Engine, tmp_path: Path) -> Iterator[World]:
    """An empty world; after the test it is looked over for contradictions."""
    # Other tests of this process have campaigns of the same ids in databases of their own.
    campaigns._loaded.clear()
    made = World(worlds_engine, tmp_path)
    try:
        yield made
        made.check()
    finally:
        set_installation_settings(worlds_engine, InstallationSettings())
        made.clear()


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> Moody:
    """A step type, `action: test.moody`, that does what the test says."""
    made = Moody()
    made.install(monkeypatch)
    return made
