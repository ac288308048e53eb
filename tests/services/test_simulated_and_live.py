"""A simulation and the engine at work give the same rows, for the sample world and the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text

from parcours.cli.demo import SAMPLE, START, load
from parcours.db.partitions import ensure_partitions
from parcours.db.scope import Scope
from parcours.db.scratch import scratch
from parcours.db.tables import contacts, segments
from parcours.domain.events.parsing import parse
from parcours.producers.files import campaigns as campaign_files
from parcours.services import forecast
from parcours.services.sample.contacts import Person, people
from parcours.services.simulation import Simulation
from parcours.workers import events, intake
from parcours.workers.sweeps import trigger_inline, update_inline

UTC = ZoneInfo("UTC")
DAYS = 10
# What a contact does to answer a decision of the sample with yes.
ANSWERS = {"opened": ("email.opened", {"email": "welcome"})}


def rows_of(conn: Connection) -> list[tuple[Any, ...]]:
    """Return all outcomes and open waits, without what only one of the two has."""
    found = conn.execute(
        text(
            "SELECT contact.key, step.key AS step, outcome.rotation, outcome.passage, outcome.result::text, outcome.at "
            "FROM outcome JOIN contact ON contact.id = contact_id JOIN step ON step.id = step_id "
            "UNION ALL "
            "SELECT contact.key, step.key, wait.rotation, wait.passage, wait.reason::text, wait.due_at "
            "FROM wait JOIN contact ON contact.id = contact_id JOIN step ON step.id = step_id "
            "ORDER BY 1, 2, 3, 4, 5, 6"
        )
    )
    return [tuple(row) for row in found]


def answered(rows: Sequence[tuple[Any, ...]]) -> list[tuple[datetime, str, str]]:
    """Return when who answered which decision, oldest first."""
    return sorted((at, key, step) for key, step, _, _, result, at in rows if result == "yes" and step in ANSWERS)


def live(engine: Engine, acts: Sequence[tuple[datetime, str, str]]) -> None:
    """Run the campaign as a crontab does, hour by hour, with events as they come from outside."""
    with engine.begin() as conn:
        newsletter = segments.find(conn, "newsletter")
        assert newsletter is not None
        everybody = list(conn.execute(text("SELECT id FROM contact ORDER BY id")).scalars())
        segments.add_members(conn, newsletter.id, everybody, manual=False, now=START)
    for hour in range(DAYS * 24 + 1):
        now = START + timedelta(hours=hour)
        ensure_partitions(engine, now)
        told = [act for act in acts if now - timedelta(hours=1) < act[0] <= now]
        if told:
            with engine.begin() as conn:
                intake.accept(conn, [event(*act) for act in told], now=now, unknown_contacts="reject")
            while True:
                with engine.begin() as conn:
                    if not events.act(conn, now=now, zone=UTC).events:
                        break
        if hour == 0 or told:
            update_inline(engine, Scope(), now=now, zone=UTC)
        trigger_inline(engine, Scope(), now=now, zone=UTC, batch_size=1000)


def event(at: datetime, key: str, step: str) -> Any:
    type_, data = ANSWERS[step]
    said = {"specversion": "1.0", "id": str(uuid4()), "source": "t", "type": type_, "subject": key}
    return parse({**said, "time": at.isoformat(), "data": data}, now=at)


def simulated(engine: Engine, persons: list[Person]) -> list[tuple[Any, ...]]:
    file = campaign_files.read(SAMPLE / "welcome.yaml", default_zone=UTC)
    only = {step.step: 0.0 for step in file.walk() if step.kind == "decision"}
    with scratch(engine) as apart:
        forecast.loaded(apart, (person.incoming(line) for line, person in enumerate(persons, 2)), START)
        Simulation(apart, file, UTC, 1000, START, DAYS, 1, {**only, **dict.fromkeys(ANSWERS, 60.0)}).run(lambda _: None)
        with apart.connect() as conn:
            return rows_of(conn)


def test_a_simulation_and_the_engine_at_work_agree_row_by_row(engine: Engine) -> None:
    persons = people(60, seed=1)
    load(engine, persons, UTC)
    expected = simulated(engine, persons)
    acts = answered(expected)
    assert len(acts) > 20
    live(engine, acts)
    with engine.connect() as conn:
        assert rows_of(conn) == expected
        assert contacts.named(conn, [persons[0].key])
