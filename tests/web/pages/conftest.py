"""An empty world, and a browser without a name on it; a file of tests may have a fuller world of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from tests.web.conftest import WAIT_MS, Client
from tests.web.pages.served import Served
from tests.workers.worlds import START, World

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    return World(engine, tmp_path)


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    return client()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A page in a context of its own."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def address(world: World) -> Iterator[str]:
    """The address of the pages of the world, without workers beside them."""
    with Served(world.engine) as served:
        yield served
