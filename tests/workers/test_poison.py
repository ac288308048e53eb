"""Whoever cannot be handled is set apart with the reason, and stops nobody else."""

import json
import random
import string
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from parcours.db.checks import invariants
from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns
from parcours.db.tables import events as inbox
from parcours.domain.events.parsing import ContactEvent
from parcours.domain.retries import step_delay
from parcours.domain.steps import registry, types
from parcours.domain.steps.batch import Batch, Fact, Standing
from parcours.domain.steps.registry import action, condition, decision
from parcours.domain.steps.types import NoProperties, Result
from parcours.workers import decisions, events
from tests.conftest import Run
from tests.workers.worlds import START, Moody, World, at, event

CONTACTS, EVENTS = 5_000, 20_000

STEPS = """
- step: visit
  decision: page.hit
  with: {url: ["*/pricing"]}
  yes:
    - {step: points, action: contact.points, with: {points: 1}}
- step: judged
  decision: test.judge
  yes:
    - {step: seen, action: contact.points, with: {points: 10}}
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    return World(engine, tmp_path)


class Point(NamedTuple):
    made: Any
    value: str = "tests"

    def load(self) -> Any:
        return self.made


def install(patch: pytest.MonkeyPatch, *made: Any) -> None:
    """Make types known, as another package's would be."""
    points = {**registry._entry_points(), **{f"{each.kind}.{each.name}": Point(each) for each in made}}
    patch.setattr(registry, "_entry_points", lambda: points)
    registry.step_type.cache_clear()
    decisions.types_waiting_for.cache_clear()


@pytest.fixture(autouse=True)
def _forget_types() -> Iterator[None]:
    yield
    registry.step_type.cache_clear()
    decisions.types_waiting_for.cache_clear()


@decision("test.judge", properties=NoProperties, events=["thing.judged"])
def judge(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
    """Raises for what it cannot judge."""
    return int(fact.data["value"]) > 0


def digits(n: int) -> str:
    return "".join(random.Random(1).choices(string.digits, k=n))


def act_on_all(world: World) -> None:
    """Act on the inbox as workers do, until it is empty."""
    while events.act_once(world.engine, zone=world.zone).events:
        pass


def dead(world: World) -> dict[str, str]:
    """Return the reasons of the dead letters by the id of their event."""
    rows = world.read("SELECT CAST(body AS json) ->> 'id' AS id, reason FROM dead_letter")
    return {row.id: row.reason for row in rows}


def left(world: World) -> int:
    return int(world.read("SELECT count(*) AS n FROM inbox")[0].n)


def clean(world: World) -> None:
    assert [(each.name, each.examples) for each in invariants.run(world.engine) if each.violations] == []
    world.check()


def test_bad_events_among_many_become_dead_letters_and_every_good_one_is_acted_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, judge)
    keys = world.crowd(CONTACTS, segment="everyone")
    world.campaign(STEPS)
    world.run()
    now = datetime.now(UTC)
    draw = random.Random(7)
    good = [
        event("page.hit", draw.choice(keys), now, url="https://example.com/pricing", id_=f"good-{n}")
        for n in range(EVENTS)
    ]
    bad: list[ContactEvent] = []
    for n, key in enumerate(draw.sample(keys, 40)):
        match n % 4:
            case 0:
                bad.append(event("thing.judged", key, now, id_=f"judge-{n}", value="no number"))
            case 1:
                bad.append(event("page.hit", key, now, id_=f"refused-{n}", url="https://example.com/"))
            case _:
                bad.append(event("thing.judged", key, now, id_=f"nothing-{n}"))
    refused = {each.id for each in bad if each.id.startswith("refused")}
    offered = good + bad
    draw.shuffle(offered)
    keep = inbox.keep

    def picky(conn: Any, kept: Any) -> None:
        if any(each.id in refused for each in kept):
            conn.execute(text("SELECT CAST('no number' AS int)"))
        keep(conn, kept)

    monkeypatch.setattr(inbox, "keep", picky)
    for first in range(0, len(offered), 500):
        world.accept(*offered[first : first + 500], now=now)
    act_on_all(world)
    assert left(world) == 0
    reasons = dead(world)
    assert reasons.keys() == {each.id for each in offered} - {each.id for each in good}
    for id_, reason in reasons.items():
        if id_.startswith("refused"):
            assert "invalid input syntax for type integer" in reason
            assert "parcours dead-letters replay" in reason
        else:
            assert reason.startswith("the decision 'judged' of campaign 'c' could not evaluate it: ")
    kept = world.read("SELECT id FROM event")
    assert {each.id for each in good} <= {row.id for row in kept}
    assert world.tally()["visit yes"] == len({each.contact for each in good})
    clean(world)


def test_a_phone_number_without_end_stops_nobody(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.accept(
        event("contact.changed", "ann", fields={"phone": digits(9_000)}),
        event("contact.changed", "ben", fields={"city": "Oslo"}),
    )
    act_on_all(world)
    assert (left(world), dead(world)) == (0, {})
    assert world.read("SELECT fields FROM contact WHERE key = 'ben'")[0].fields == {"city": "Oslo"}


def test_a_decision_that_raises_leaves_the_others_of_the_event_alone_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, judge)
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(STEPS)
    world.campaign(
        """
        - step: any
          decision: event.happened
          with: {type: thing.judged}
          yes: [{step: counted, action: contact.points, with: {points: 5}}]
        """,
        key="other",
    )
    world.run()
    with capture_logs() as lines:
        world.tell(event("thing.judged", "ann", at(1, "10:00"), value="x"), event("thing.judged", "ben", value="1"))
    assert world.points("ann", "ben") == [5, 15]
    assert "judged" in world.standing("ann")
    (line,) = [line for line in lines if line["event"] == "step_raised"]
    assert (line["step"], line["error"], "in judge" in line["traceback"]) == ("judged", "ValueError", True)
    (failure,) = world.read("SELECT attempts, error FROM failure")
    assert failure.error.startswith("ValueError: invalid literal for int()")
    (reason,) = dead(world).values()
    assert reason.startswith("the decision 'judged' of campaign 'c' could not evaluate it: ValueError")


def test_an_event_of_the_year_9999_is_looked_back_at_without_harm(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(
        """
        - step: visit
          decision: page.hit
          look_back: 7 days
          yes: [{step: points, action: contact.points, with: {points: 1}}]
        """
    )
    world.write(
        "INSERT INTO event (contact_id, received_at, source, id, type, at, data) "
        "VALUES (:id, :now, 's', '1', 'page.hit', '9999-12-31T23:00:00Z', '{\"url\": \"u\"}')",
        id=world.contact_id("ann"),
        now=START,
    )
    world.run()
    assert world.log("ann") == ["visit yes", "points done"]
    assert world.standing("ben") == ["visit"]


def test_one_contact_for_whom_a_step_makes_what_cannot_be_stored_fails_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    keys = world.crowd(40, segment="everyone")
    moody.moods = {
        "c3": types.Done(effects=(types.Outbound("sms", payload={"text": "\0"}),)),
        "c4": types.Failed("not today\0\ud83d"),
        "c5": ValueError("no\0"),
        "c6": types.Failed("far", after=timedelta.max),
        "c7": types.Done({"said": "\0\ud83d"}),
    }
    world.campaign("- {step: moody, action: test.moody}\n- {step: other, action: contact.points, with: {points: 1}}")
    world.run()
    errors = dict(world.read("SELECT key, error FROM failure JOIN contact ON id = contact_id"))
    assert errors.keys() == {"c3", "c4", "c5", "c6"}
    assert errors["c3"].startswith("the database rejected a value: ")
    assert (errors["c4"], errors["c5"]) == ("not today\ufffd\ufffd", "ValueError: no\ufffd")
    assert errors["c6"].startswith("OverflowError")
    assert {wait.contact for wait in world.waits()} == errors.keys()
    assert world.tally() == {"moody done": len(keys) - 4, "other done": len(keys)}
    clean(world)


def test_a_detail_and_a_payload_may_be_empty(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    world.contacts("ann", "ben", "cid", segment="everyone")
    moody.moods = {
        "ann": types.Done({}, effects=(types.Outbound("sms", payload={}),)),
        "ben": types.Skipped("not today", {}),
        "cid": types.Failed("never", retry=False),
    }
    world.campaign("- {step: moody, action: test.moody}")
    world.run()
    assert world.tally() == {"moody done": 1, "moody skipped": 1, "moody failed": 1}


@pytest.mark.parametrize("kind", ["action", "condition", "decision"])
def test_a_step_type_that_ends_the_process_fails_for_whom_it_does_so(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def leave(key: str) -> bool:
        return sys.exit(3) if key == "c2" else True

    @action("test.leaver", properties=NoProperties)
    def act(batch: Batch[NoProperties]) -> Iterator[Result]:
        """Ends the process for one, while its results are read."""
        yield from (types.Done({"left": leave(contact.key)}) for contact in batch.contacts)

    @condition("test.leaver", properties=NoProperties)
    def ask(batch: Batch[NoProperties]) -> Iterator[bool]:
        """Ends the process for one."""
        return (leave(contact.key) for contact in batch.contacts)

    @decision("test.leaver", properties=NoProperties, events=["thing.judged"])
    def wait(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
        """Ends the process for one."""
        return leave(fact.data["whose"])

    install(monkeypatch, act, ask, wait)
    keys = world.crowd(5, segment="everyone")
    branch = "then" if kind == "action" else "yes"
    world.campaign(
        f"- {{step: s, {kind}: test.leaver, {branch}: [{{step: p, action: contact.points, with: {{points: 1}}}}]}}"
    )
    world.run()
    if kind == "decision":
        for key in keys:
            world.happens(key, "thing.judged", datetime.now(UTC), whose=key)
    assert world.points() == [1, 0, 1, 1, 1]
    ((key, error),) = world.read("SELECT key, error FROM failure JOIN contact ON id = contact_id")
    assert key == "c2"
    assert error == "StepExitError: test.leaver tried to end the process (sys.exit, code 3)"


def test_a_condition_that_raises_for_one_contact_fails_for_that_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @condition("test.picky", properties=NoProperties)
    def picky(batch: Batch[NoProperties]) -> list[bool]:
        """Raises for one."""
        return [1 // (contact.key != "c2") > 0 for contact in batch.contacts]

    install(monkeypatch, picky)
    world.crowd(5, segment="everyone")
    world.campaign("- {step: ask, condition: test.picky, yes: [{step: p, action: contact.points, with: {points: 1}}]}")
    with capture_logs() as lines:
        world.run()
    assert world.points() == [1, 0, 1, 1, 1]
    (line,) = [line for line in lines if line["event"] == "step_raised"]
    assert (line["attempt"], line["contacts"], line["error"]) == (1, 1, "ZeroDivisionError")
    assert [(wait.contact, wait.reason) for wait in world.waits()] == [("c2", "retry")]


def test_the_pause_after_any_attempt_is_known() -> None:
    assert timedelta(hours=4) < step_delay(513, 1, 1) < timedelta(hours=8)


def test_a_flood_of_one_contact_leaves_others_their_turn(world: World) -> None:
    world.contacts("flood", "ann")
    flood = world.contact_id("flood")
    with world.engine.begin() as conn:
        inbox.store(conn, [(flood, event("page.hit", "flood", url="u", id_=str(n))) for n in range(30_000)], now=START)
    world.accept(event("page.hit", "ann", url="u"))
    events.act_once(world.engine, zone=world.zone)
    acted = world.read("SELECT key, count(*) AS n FROM event JOIN contact ON contact.id = contact_id GROUP BY key")
    assert {row.key: row.n for row in acted} == {"flood": events.EVENTS_EACH, "ann": 1}


VISIT = """
- step: visit
  decision: page.hit
  within: 3 days
  yes:
    - {step: points, action: contact.points, with: {points: 1}}
"""


def test_what_was_done_before_a_decision_was_armed_does_not_answer_it(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(VISIT)
    world.run(at(1, "10:00"))
    world.tell(event("page.hit", "ann", at(1, "09:59"), url="u"), now=at(1, "11:00"))
    assert world.standing("ann") == ["visit"]
    world.tell(event("page.hit", "ben", at(1, "10:01"), url="u"), now=at(1, "11:00"))
    assert world.log("ben") == ["visit yes", "points done"]


def test_what_followed_a_moment_later_counts_though_both_were_heard_of_late(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(
        """
        - step: first
          decision: page.hit
          yes:
            - step: points
              action: contact.points
              with: {points: 1}
              then:
                - step: second
                  decision: page.hit
                  with: {url: ["*/second"]}
        """
    )
    world.run(at(1, "09:00"))
    world.tell(
        event("page.hit", "ann", at(1, "10:00"), url="x/first"),
        event("page.hit", "ann", at(1, "10:01"), url="x/second"),
        now=at(1, "10:05"),
    )
    assert world.log("ann") == ["first yes", "points done", "second yes"]


def test_in_a_loop_a_fact_that_is_looked_back_at_answers_once(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(
        """
        - step: top
          action: contact.points
          with: {points: 1}
          then:
            - step: visit
              decision: page.hit
              look_back: 7 days
              within: 1 day
              yes:
                - {step: again, action: campaign.jump, with: {to: top}, after: 1 hour}
        """
    )
    world.tell(event("page.hit", "ann", at(1, "08:00"), url="u"))
    world.run(at(1, "09:00"))
    for hour in range(10, 16):
        world.trigger(at(1, f"{hour}:01"))
    assert world.points("ann") == [2]
    assert world.standing("ann") == ["visit"]


def test_a_campaign_that_cannot_be_read_here_is_set_aside_and_all_others_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @action("test.elsewhere", properties=NoProperties)
    def elsewhere(batch: Batch[NoProperties]) -> list[Result]:
        """Is installed elsewhere only."""
        return [types.DONE for _ in batch.contacts]

    world.contacts("ann", segment="everyone")
    with monkeypatch.context() as patch:
        install(patch, elsewhere)
        world.campaign(f"{VISIT.strip()}\n- {{step: far, action: test.elsewhere}}", key="aside")
        world.update()
    registry.step_type.cache_clear()
    campaigns._loaded.clear()
    world.campaign(f"{VISIT.strip()}\n- {{step: near, action: contact.points, with: {{points: 1}}}}", key="other")
    waited = world.waits(campaign="aside")
    assert world.update()["added"] == 1
    assert world.trigger()["done"] == 1
    world.tell(event("page.hit", "ann", at(1, "10:00"), url="u"))
    assert world.log(campaign="other") == ["near done", "visit yes", "points done"]
    assert world.waits(campaign="aside") == waited
    with world.engine.connect() as conn:
        (why,) = campaigns.set_aside(conn).values()
    assert "unknown action 'test.elsewhere'" in why
    assert "contacts keep their places" in why
    with monkeypatch.context() as patch:
        install(patch, elsewhere)
        assert world.trigger()["done"] == 1


def test_a_stored_definition_says_its_format_and_a_newer_one_is_set_aside(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(VISIT, key="new")
    world.campaign(VISIT, key="now")
    (row,) = world.read("SELECT DISTINCT definition ->> 'format' AS format FROM campaign_version")
    assert row.format == "1"
    world.write(
        "UPDATE campaign_version SET definition = CAST(jsonb_set(CAST(definition AS jsonb), '{format}', '9') AS json) "
        "WHERE campaign_id = (SELECT id FROM campaign WHERE key = 'new')"
    )
    assert world.update()["added"] == 1
    with world.engine.connect() as conn:
        (why,) = campaigns.set_aside(conn).values()
    assert "this version of Parcours reads formats 1 to 2, not 9" in why


def test_who_is_to_join_a_campaign_that_cannot_be_read_waits_and_does_not_fail(world: World, run: Run) -> None:
    """The package of the other campaign's steps is missing here: that is no failure of who comes to it."""
    world.contacts("ann", "ben", segment="everyone")
    world.segment("nobody")
    world.campaign(VISIT, key="other", segments=["nobody"])
    readable = world.read("SELECT definition FROM campaign_version")[0].definition
    world.write(
        "UPDATE campaign_version SET definition = "
        "CAST(replace(CAST(definition AS text), 'page.hit', 'no.such') AS json)"
    )
    campaigns._loaded.clear()
    world.campaign("- {step: into, action: campaign.change, with: {add: [other]}}", key="feeder")
    world.update()
    for days in range(3):
        world.trigger(at(days))
    assert world.read("SELECT FROM outcome") == world.read("SELECT FROM failure") == []
    told = run("explain", "feeder", "ann").stdout
    assert ", because the campaign 'other' cannot be read: unknown decision 'no.such'" in told
    world.write("UPDATE campaign_version SET definition = :it WHERE campaign_id = 1", it=json.dumps(readable))
    world.trigger(at(4))
    assert world.log(campaign="feeder") == ["ann: into done", "ben: into done"]
    assert world.members(campaign="other") == {"ann": "in 1", "ben": "in 1"}


def test_a_step_that_raises_says_why_at_the_first_attempt(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    world.contacts("ann", segment="everyone")
    moody.moods["ann"] = ValueError("the coffee is cold")
    world.campaign("- {step: moody, action: test.moody}")
    world.run()
    assert "; the last attempt failed: ValueError: the coffee is cold" in run("explain", "c", "ann").stdout


def test_status_tells_of_a_campaign_that_is_set_aside(world: World, run: Run) -> None:
    world.campaign(VISIT)
    world.write(
        "UPDATE campaign_version SET definition = "
        "CAST(replace(CAST(definition AS text), 'page.hit', 'no.such') AS json)"
    )
    campaigns._loaded.clear()
    assert "Alarm: campaign c is stopped: this process cannot read version 1 of campaign" in run("status").stdout
    (alarm,) = json.loads(run("status", "--json").stdout)["set_aside"]
    assert alarm["campaign"] == "c"
    assert "unknown decision 'no.such'" in alarm["error"]
    assert run("trigger", "--inline").returncode == 0
    assert "this process cannot read" in run("overview", "c").stderr
