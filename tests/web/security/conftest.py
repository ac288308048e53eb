"""What strangers meet: contacts with messages, and a form."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.web.mailing import Mailing, mailing


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    """Contacts who were sent messages, and the form `signup`."""
    world = mailing(engine, tmp_path)
    world.form("signup", standalone=True)
    return world
