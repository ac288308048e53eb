"""A simulation and the engine at work give the same rows, for the sample world and the same answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import yaml
from sqlalchemy import Connection, Engine, text

from parcours.cli.demo import SAMPLE, START, load
from parcours.db.partitions import ensure_partitions
from parcours.db.scope import Scope
from parcours.db.scratch import scratch
from parcours.db.tables import contacts, policies, segments
from parcours.domain.events.parsing import parse
from parcours.producers.files import campaigns as campaign_files
from parcours.services import forecast
from parcours.services.sample.contacts import Person, people
from parcours.services.sandbox import Sandbox
from parcours.services.simulation import Simulation
from parcours.workers import events, intake
from parcours.workers.sweeps import trigger_inline, update_inline
from tests.conftest import Run

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


# The same world twice: once in a sandbox, once from outside by the commands of a crontab.

CART = """
campaign: cart
priority: high
reentry: always
cooldown: 3 hours
sources:
  events:
    - {type: cart.updated, where: [{field: total, operator: gte, value: 20}], key: cart_id}
exit:
  - {event: order.paid, key: cart_id}
  - {segment: customers}
  - rule: {condition: contact.tags, with: {tags: [barred]}}
goal: {event: order.paid, within: 2 days, value: total}
steps:
  - step: remind
    action: email.send
    with: {email: reminder, again: always}
    after: 2 hours
    then:
      - step: opened
        decision: email.open
        within: 20 hours
        yes: [{step: warm, action: contact.points, with: {points: 5}}]
        no:
          - {step: last-call, action: email.send, with: {email: last-call, again: always}, after: 1 day}
"""
NEWS = """
campaign: news
priority: high
reentry: always
grace: 3 hours
sources: {segments: [newsletter]}
exit:
  - rule: {condition: contact.points, with: {operator: gte, points: 15}}
steps:
  - {step: hello, action: email.send, with: {email: hello, again: always}, after: 1 hour}
  - {step: noon, action: contact.tags, with: {add: [noon]}, after: 1 day, hour: "12:00"}
  - step: paid
    decision: event.happened
    with: {type: order.paid}
    within: 1 day
    yes: [{step: thanks, action: email.send, with: {email: thanks, again: always}}]
    no: [{step: cold, action: contact.points, with: {points: 1}}]
"""
POLICY = 'channel: email\ncap: {number: 1, period: day}\nquiet_hours: {between: ["21:00", "08:00"]}\n'
MAILS = ("reminder", "last-call", "hello", "thanks")
EMAILS = "".join(
    f"- {{key: {key}, subject: {key}, text: Hello}}\n" for key in ("reminder", "last-call", "hello", "thanks")
)
ZONES = ("UTC", "Europe/Paris", "Asia/Kolkata", "America/New_York")
LENGTH = 4
CROWD = 8
HAPPENINGS = 80

# A type of event, a contact, and data.
Happening = tuple[str, str, dict[str, Any]]
# What is read of both worlds, row by row: what came of whom, who waits, runs, members, messages, points.
READ = (
    """SELECT contact.key, step.key AS step, outcome.rotation, run.key AS run, outcome.passage,
           outcome.result::text, at, outcome.detail ->> 'reason' AS reason, outcome.detail ->> 'policy' AS policy
    FROM outcome JOIN contact ON contact.id = contact_id JOIN step ON step.id = step_id
    LEFT JOIN run ON run.contact_id = contact.id AND run.campaign_id = step.campaign_id
                 AND run.rotation = outcome.rotation""",
    """SELECT contact.key, step.key AS step, wait.rotation, wait.passage, reason::text, due_at, anchor_at,
           held ->> 'policy', (held ->> 'held_since')::timestamptz
    FROM wait JOIN contact ON contact.id = contact_id JOIN step ON step.id = step_id""",
    """SELECT contact.key, campaign.key AS campaign, number, run.key AS run, rotation, entry::text, arrival::text,
           began_at, left_at, departure::text, reason
    FROM run JOIN contact ON contact.id = contact_id JOIN campaign ON campaign.id = campaign_id""",
    """SELECT contact.key, campaign.key AS campaign, rotation, added_at, arrival::text, left_at, departure::text
    FROM membership JOIN contact ON contact.id = contact_id JOIN campaign ON campaign.id = campaign_id""",
    """SELECT contact.key, step.key AS step, template, state::text, due_at
    FROM message JOIN contact ON contact.id = contact_id JOIN step ON step.id = step_id""",
    """SELECT contact.key, campaign.key AS campaign, number, trial.key AS run, control, began_at, until,
           reached_at, value
    FROM trial JOIN contact ON contact.id = contact_id JOIN campaign ON campaign.id = campaign_id""",
    "SELECT key, points::text FROM contact",
)


def everything(conn: Connection) -> list[list[tuple[Any, ...]]]:
    """Return what `READ` reads, each sorted."""
    return [sorted((tuple(row) for row in conn.execute(text(each))), key=repr) for each in READ]


def happenings(random: Random, people: Sequence[str]) -> dict[datetime, list[Happening]]:
    """Return what contacts do, hour by hour; at one hour a contact does one thing."""
    made: dict[datetime, dict[str, Happening]] = {}
    for _ in range(HAPPENINGS):
        at = START + timedelta(hours=random.randrange(1, (LENGTH - 1) * 24))
        key, cart, total = random.choice(people), random.choice("ab"), random.choice((10, 20, 50))
        does: tuple[tuple[str, dict[str, Any]], ...] = (
            *[("cart.updated", {"cart_id": cart, "total": total})] * 4,
            *[("segment.contact_added", {"segment": "newsletter"})] * 3,
            *[("segment.contact_removed", {"segment": "newsletter"})] * 2,
            ("order.paid", {"cart_id": cart, "total": total}),
            ("order.paid", {"cart_id": "c", "total": total}),
            ("segment.contact_added", {"segment": "customers"}),
            ("segment.contact_removed", {"segment": "customers"}),
            *[("contact.changed", {"tags": {"add": ["barred"]}})] * 2,
            ("contact.changed", {"tags": {"remove": ["barred"]}}),
            *[("email.opened", {"email": each}) for each in ("reminder", "reminder", "hello")],
        )
        type_, data = random.choice(does)
        made.setdefault(at, {})[key] = (type_, key, data)
    return {at: list(made[at].values()) for at in sorted(made)}


def in_a_sandbox(
    engine: Engine, people: dict[str, str], told: dict[datetime, list[Happening]]
) -> list[list[tuple[Any, ...]]]:
    """Run the world in simulated time, which goes from one moment with something due to the next."""
    with scratch(engine) as apart:
        world = Sandbox(apart, now=START)
        try:
            with apart.begin() as conn:
                policies.save(conn, "email", yaml.safe_load(POLICY), now=START)
                for key in ("newsletter", "customers"):
                    segments.save(conn, key, name=None, public=None, published=None)
            world.emails(EMAILS)
            for key, zone in people.items():
                world.contact(key, known={"timezone": zone})
            for campaign in (CART, NEWS):
                world.campaign(campaign)
            for at, happened in told.items():
                world.advance(to=at)
                world.happen(happened)
            world.advance(to=START + timedelta(days=LENGTH))
            with apart.connect() as conn:
                return everything(conn)
        finally:
            world.close()


def from_outside(run: Run, folder: Path, people: dict[str, str], told: dict[datetime, list[Happening]]) -> None:
    """Make the same world by commands; it stands at the start, and nothing has been due."""
    files = {"p.yaml": POLICY, "e.yaml": EMAILS, "cart.yaml": CART, "news.yaml": NEWS}
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    for key in ("newsletter", "customers"):
        said(run, "segments", "create", key)
    said(run, "policies", "apply", "p.yaml")
    said(run, "emails", "apply", "e.yaml")
    new = [
        ("contact.changed", key, {"email": f"{key}@example.com", "fields": {}, "timezone": zone})
        for key, zone in people.items()
    ]
    publish(run, START, new)
    for name in ("cart.yaml", "news.yaml"):
        said(run, "campaigns", "apply", name, "--yes", "--now", START.isoformat())
    for key in ("cart", "news"):
        said(run, "campaigns", "publish", key, "--now", START.isoformat())


def publish(run: Run, at: datetime, happened: Sequence[Happening]) -> None:
    lines = [
        {"specversion": "1.0", "id": str(uuid4()), "source": "t", "type": type_, "subject": key, "data": data}
        for type_, key, data in happened
    ]
    given = "\n".join(json.dumps(line) for line in lines)
    said(run, "events", "publish", "-", "--inline", "--now", at.isoformat(), stdin=given)


def said(run: Run, *words: object, stdin: str | None = None) -> None:
    done = run(*words, stdin=stdin)
    assert done.returncode == 0, (words, done.stdout, done.stderr)


def cron(run: Run, at: datetime) -> None:
    said(run, "update", "--inline", "--now", at.isoformat())
    said(run, "trigger", "--inline", "--now", at.isoformat())


def moments(rows: Sequence[Sequence[tuple[Any, ...]]], told: Iterable[datetime]) -> list[datetime]:
    """Return when a crontab of every minute would find something, and each third hour, when it may find nothing."""
    end = START + timedelta(days=LENGTH)
    named = {value for table in rows for row in table for value in row if isinstance(value, datetime)}
    regular = {START + timedelta(hours=hour) for hour in range(0, LENGTH * 24 + 1, 3)}
    return sorted(at for at in named | regular | set(told) if START <= at <= end)


# A story in which all happens that is asked for below; other numbers may lack some of it.
@pytest.mark.parametrize("seed", [6])
def test_a_sandbox_and_the_commands_of_a_crontab_agree_row_by_row(
    engine: Engine, run: Run, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    people = {f"c{nth:02}": random.choice(ZONES) for nth in range(CROWD)}
    told = happenings(random, list(people))
    expected = in_a_sandbox(engine, people, told)
    outcomes, _, runs, members, _, trials, _ = expected
    assert len(outcomes) > 30
    # Something of all that the world is made for happens in it.
    held = " ".join(row[8] or "" for row in outcomes)
    assert '"cap"' in held
    assert '"quiet_hours"' in held
    assert {row[-1] for row in members} >= {None, "segment", "exit"}
    assert {str(row[10]).split()[0] for row in runs} > {"exit"}
    assert any(row[4] > 1 for row in runs)
    assert any(row[7] is not None for row in trials)
    from_outside(run, tmp_path, people, told)
    for at in moments(expected, told):
        cron(run, at)
        if at in told:
            publish(run, at, told[at])
            cron(run, at)
    with engine.connect() as conn:
        found = everything(conn)
    for one, other in zip(found, expected, strict=True):
        assert one == other
