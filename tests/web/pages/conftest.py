"""An empty world, and a browser without a name on it; a file of tests may have a fuller world of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from tests.web.conftest import Client
from tests.workers.worlds import START, World


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    return World(engine, tmp_path)


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    return client()
