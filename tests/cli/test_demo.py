"""The demo, at a small size: the same figures every time, and figures that fit together."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from parcours.cli.demo import SAMPLE, START, DemoRun
from parcours.db.reads import email_figures, overview
from parcours.db.reads.overview import Overview, StepFigures
from parcours.db.tables import campaigns
from parcours.domain.campaign_file.model import CampaignFile
from parcours.producers.files import campaigns as campaign_files
from parcours.services.sample.contacts import people
from tests.conftest import ROOT, cloned

UTC = ZoneInfo("UTC")
CONTACTS, DAYS = 60, 14


def simulated(engine: Engine, *, seed: int = 1) -> Overview:
    DemoRun(engine, UTC, 1000, people(CONTACTS, seed), DAYS).run(lambda _: None)
    with engine.connect() as conn:
        found = campaigns.find(conn, "welcome")
        return overview.of(conn, campaigns.load(conn, found.id, found.version, UTC))


@pytest.fixture(scope="module")
def world(server: str, template: str) -> Iterator[Engine]:
    """A database in which the demo has run."""
    yield from cloned(server, template)


@pytest.fixture(scope="module")
def figures(world: Engine) -> Overview:
    return simulated(world)


@pytest.fixture(scope="module")
def steps(figures: Overview) -> dict[str, StepFigures]:
    return {step.step: step for step in figures.steps}


def rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement))]


def test_two_runs_give_the_same_figures(figures: Overview, engine: Engine) -> None:
    assert asdict(simulated(engine)) == asdict(figures)


def test_who_came_in_is_in_or_has_left(world: Engine, figures: Overview) -> None:
    assert figures.added == figures.active + figures.left
    assert rows(world, "SELECT count(*) FROM membership WHERE left_at IS NULL") == [(figures.active,)]
    assert figures.left > 0


def test_everybody_who_joined_stood_at_every_root(figures: Overview, steps: dict[str, StepFigures]) -> None:
    assert [steps[root].reached for root in ("tag-new", "hello")] == [figures.added] * 2


def test_what_reached_a_step_waits_there_or_has_an_outcome(world: Engine, figures: Overview) -> None:
    for step in figures.steps:
        given = {"key": step.step}
        with world.connect() as conn:
            outcomes = conn.execute(
                text("SELECT count(*) FROM outcome JOIN step ON step.id = step_id WHERE key = :key"), given
            ).scalar_one()
        assert step.reached == step.waiting + outcomes, step.step
        if step.kind == "decision":
            decided = step.results["yes"] + step.results["no"] + step.results["cancelled"]
            assert step.reached == step.waiting + decided, step.step


def test_a_step_has_one_outcome_for_each_passage_of_a_contact(world: Engine) -> None:
    repeated = "SELECT contact_id, step_id, passage FROM outcome GROUP BY 1, 2, 3 HAVING count(*) > 1"
    assert rows(world, repeated) == []


def test_branches_get_what_the_step_above_sends_them(figures: Overview, steps: dict[str, StepFigures]) -> None:
    jumped = steps["catch-up"].results["done"]
    for step in figures.steps:
        if step.parent is not None and step.branch is not None:
            sent = steps[step.parent].results[step.branch]
            assert step.reached == sent + (jumped if step.step == "thank" else 0), step.step


def test_the_tour_visits_every_step_and_every_kind_of_way(world: Engine, steps: dict[str, StepFigures]) -> None:
    rare = {"ordered", "customer"}
    assert [key for key, step in steps.items() if not step.reached and key not in rare] == []
    arrivals = rows(world, "SELECT DISTINCT arrival::text FROM membership ORDER BY 1")
    assert arrivals == [("form",), ("segment",)]
    assert rows(world, "SELECT count(*) > 0 FROM contact WHERE timezone IS NULL") == [(True,)]


def test_a_marketing_email_goes_once_and_all_of_them_are_sent(world: Engine, figures: Overview) -> None:
    assert rows(world, "SELECT DISTINCT state::text FROM message") == [("sent",)]
    assert rows(world, "SELECT contact_id FROM message GROUP BY contact_id, template HAVING count(*) > 1") == []
    assert rows(world, "SELECT count(*) FROM message") == [(figures.emails_sent,)]


def test_the_first_email_comes_in_the_morning_of_the_contact(world: Engine) -> None:
    hours = rows(
        world,
        "SELECT DISTINCT extract(hour FROM due_at AT TIME ZONE coalesce(timezone, 'UTC'))::int "
        "FROM outcome JOIN step ON step.id = step_id JOIN contact ON contact.id = contact_id "
        "WHERE step.key = 'hello' AND result = 'done'",
    )
    assert hours == [(9,)]


def test_the_offer_goes_out_in_office_hours_of_a_working_day(world: Engine) -> None:
    at = (
        "SELECT extract(isodow FROM local)::int, extract(hour FROM local)::int FROM (SELECT outcome.at AT TIME ZONE "
        "coalesce(timezone, 'UTC') AS local FROM outcome JOIN step ON step.id = step_id "
        "JOIN contact ON contact.id = contact_id WHERE step.key = 'offer' AND result = 'done') AS sent"
    )
    found = rows(world, at)
    assert found
    assert all(day <= 5 and 8 <= hour < 18 for day, hour in found)


def test_a_contact_does_the_same_in_a_larger_demo() -> None:
    few, many = people(10, 1), people(20, 1)
    assert many[:10] == few
    assert [list(each.comes_and_goes(START)) for each in few] == [
        list(each.comes_and_goes(START)) for each in many[:10]
    ]
    assert people(10, 2) != few


def test_nobody_signs_up_outside_two_weeks() -> None:
    acts = [next(each.comes_and_goes(START), None) for each in people(500, 1)]
    joined = [act.at for act in acts if act is not None]
    assert min(joined) >= START
    # A night's sleep more.
    assert max(joined) < START + timedelta(days=15)


def test_the_sample_file_is_right_and_explained() -> None:
    path = SAMPLE / "welcome.yaml"
    file = campaign_files.read(path, default_zone=UTC)
    assert isinstance(file, CampaignFile)
    comments = [line for line in path.read_text("utf-8").splitlines() if line.strip().startswith("#")]
    assert len(comments) > 20


def test_the_command_shows_the_table_and_leaves_a_database_to_look_at() -> None:
    # Not pytest's folder: as root, the server runs as another user, who must get in.
    home = Path(tempfile.mkdtemp(prefix="parcours-demo-"))
    home.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    environment |= {"PARCOURS_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def run(*args: str, **more: str) -> str:
        command = [sys.executable, "-m", "parcours", *args]
        # Run elsewhere, so that a .env of this folder is not read.
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", env=environment | more, cwd=home, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        said = run("demo", "--contacts", "20", "--days", "2")
        assert "picture-guide" in said
        assert " added, " in said
        assert f"PARCOURS_HOME={home / 'demo'} parcours overview welcome" in said
        # Commands are not broken, so that they can be copied.
        table = [line for line in said.splitlines() if "PARCOURS_HOME" not in line and "─" in line]
        assert table
        assert max(map(len, table)) <= 80
        # It stopped its server; the next command finds everything as it was.
        assert not (home / "demo" / "postgres" / "postmaster.pid").exists()
        seen = json.loads(run("overview", "welcome", "--json", PARCOURS_HOME=str(home / "demo")))
        added = seen["contacts"]["added"]
        assert f"{added:,} {'contact' if added == 1 else 'contacts'} added" in said
    finally:
        run("db", "stop", PARCOURS_HOME=str(home / "demo"))
        shutil.rmtree(home, ignore_errors=True)


def test_emails_that_somebody_opened_say_so_in_their_figures(world: Engine, figures: Overview) -> None:
    with world.connect() as conn:
        found = email_figures.totals(conn, ["welcome", "offer"])
        links = email_figures.links(conn, "welcome")
    assert found["welcome"].sent > found["welcome"].opened > found["welcome"].clicked > 0
    assert sum(link.clicks for link in links) >= found["welcome"].clicked
