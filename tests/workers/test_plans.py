"""How PostgreSQL would run what the workers send: through indexes, however large the tables have grown.

Every statement of a day's work is explained with its real parameters, on tables so large that reading
one of them as a whole is never the best that a planner with the right index can do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from parcours.db.partitions import ensure_partitions
from parcours.db.reads import overview
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, contacts, events, outcomes
from parcours.domain.campaign_file.model import ExitFile
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.services import campaign_plan
from parcours.workers import membership
from parcours.workers.executor import execute_due
from parcours.workers.sweeps import trigger_inline
from tests.conftest import cloned
from tests.workers import worlds
from tests.workers.worlds import UTC_ZONE, World, at

CONTACTS = 30_000
# What grows with contacts or with time.
LARGE = (
    "contact",
    "contact_tag",
    "device",
    "do_not_contact",
    "event",
    "event_key",
    "failure",
    "form_submission",
    "membership",
    "message",
    "outcome",
    "refusal",
    "segment_member",
    "wait",
)
NOW = at(2)
STEPS = """
    - step: start
      action: contact.tags
      with: {add: [new]}
      then:
        - step: send
          action: email.send
          with: {email: hello}
          then:
            - step: opened
              decision: email.open
              yes: [{step: warm, action: contact.points, with: {points: 1}}]
              no: [{step: cold, action: contact.segments, with: {add: [colds]}, after: 3 days}]
        - step: local
          condition: contact.segments
          with: {segments: [everyone]}
          yes: [{step: stage, action: contact.stage, with: {stage: lead}}]
        - {step: set, action: contact.update, with: {fields: {colour: red}}, after: 1 day}
        - step: known
          condition: form.field
          with: {form: signup, field: colour, operator: "=", value: red}
        - {step: seen, condition: page.visited, with: {url: "*/pricing"}}
        - {step: machine, condition: contact.device, with: {device_type: [phone]}}
        - {step: elsewhere, condition: contact.campaigns, with: {campaigns: [other]}}
        - {step: again, action: campaign.jump, with: {to: start}, after: 30 days}
"""


@pytest.fixture(scope="module")
def big(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A database in which 30,000 contacts have a history, and most of them wait for another day."""
    for engine in cloned(server, template):
        # Other databases of this process have campaigns of the same ids.
        campaigns._loaded.clear()
        world = World(engine, tmp_path_factory.mktemp("big"))
        fill(world)
        yield world
        campaigns._loaded.clear()


def fill(world: World) -> None:
    """Give a world its contacts, their history, and statistics."""
    for day in (1, 2):
        ensure_partitions(world.engine, at(day))
    world.email("hello")
    world.segment("colds")
    world.form("signup")
    world.campaign(
        "- {step: slow, action: contact.points, with: {points: 1}, after: 9 days}", key="other", segments=["everyone"]
    )
    world.campaign(STEPS)
    steps = {key: world.step_id(key) for key in ("start", "send", "opened", "set")}
    given = {"n": CONTACTS, "now": at(1), "today": NOW, "far": at(20), **steps}
    with world.engine.begin() as conn:
        ids = {key: world.found(conn, key).id for key in ("c", "other")}
        for statement in (
            "INSERT INTO contact (key, email, fields) SELECT 'c' || n, 'c' || n || '@example.com', "
            "jsonb_build_object('colour', 'blue') FROM generate_series(1, :n) AS n",
            "INSERT INTO contact_tag SELECT id, tag FROM contact, unnest(ARRAY['a', 'b', 'c']) AS tag",
            "INSERT INTO segment_member (contact_id, segment_id, changed_at) SELECT contact.id, segment.id, :now "
            "FROM contact, segment WHERE segment.key = 'everyone'",
            "INSERT INTO do_not_contact SELECT id, 'sms', 'manual', NULL, :now FROM contact",
            "INSERT INTO refusal (address, channel, reason, at) "
            "SELECT email, 'email:news', 'unsubscribed', :now FROM contact",
            "INSERT INTO device (contact_id, type, last_seen_at) SELECT id, 'phone', :now FROM contact",
            "INSERT INTO form_submission (contact_id, form_id, at) SELECT contact.id, form.id, :now FROM contact, form",
            "INSERT INTO membership (contact_id, campaign_id, added_at, arrival) "
            "SELECT contact.id, campaign.id, :now, 'segment' FROM contact, campaign",
            "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
            f"SELECT id, :opened, {ids['c']}, 1, 1, 'decision', :now, :far FROM contact",
            "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
            f"SELECT id, :set, {ids['c']}, 1, 1, 'delay', :now, :far FROM contact",
            "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
            "SELECT id, step_id, 1, 1, :now, 'done' FROM contact, unnest(ARRAY[:start, :send]) AS step_id",
            "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, address, state, "
            "due_at, created_at, sent_at) SELECT id, "
            f"'{ids['c']}-' || :send || '-' || id || '-1', {ids['c']}, :send, 1, 'email', 'hello', email, 'sent', "
            ":now, :now, :now FROM contact",
            "INSERT INTO event (contact_id, received_at, source, id, type, at) "
            "SELECT id, day, 'test', 'e' || id, 'page.hit', day FROM contact, unnest(ARRAY[:now, :today]) AS day",
            "INSERT INTO event_key SELECT 'test', 'e' || id, :now FROM contact",
            "INSERT INTO failure SELECT id, :start, :now, 1, 'broken' FROM contact WHERE id % 3 = 0",
            "INSERT INTO step_count VALUES (:start, CAST(:now AS date), 'done', 0, :n), "
            "(:send, CAST(:now AS date), 'done', 0, :n)",
        ):
            needed = {name: value for name, value in given.items() if f":{name}" in statement}
            conn.execute(text(statement), needed)
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE"))


def whole_reads(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the large tables, and partitions of them, that a plan reads from one end to the other."""
    if plan["Node Type"] == "Seq Scan":
        table = plan["Relation Name"]
        # The default partition and those made ahead are empty.
        filled = {f"{at(1):outcome_%Y_%m}", f"{at(1):event_%Y_%m_%d}", f"{NOW:event_%Y_%m_%d}"}
        if table in LARGE or table in filled:
            yield table
    for below in plan.get("Plans", ()):
        yield from whole_reads(below)


@contextmanager
def explained(engine: Engine) -> Iterator[dict[str, list[str]]]:
    """Collect the statements that read a large table as a whole, with the tables."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()

    def explain(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        words = statement.split()
        if statement in seen or not words or words[0].upper() not in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
            return
        seen.add(statement)
        with conn.connection.cursor() as other:
            other.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            (plans,) = other.fetchone()
        tables = list(whole_reads((json.loads(plans) if isinstance(plans, str) else plans)[0]["Plan"]))
        if tables:
            found[statement] = tables

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
        assert len(seen) > 2, "hardly anything was explained"
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def ids_of(world: World, *numbers: int) -> list[int]:
    with world.engine.connect() as conn:
        return world.ids(conn, *(f"c{number}" for number in numbers))


def test_a_read_of_a_whole_table_is_noticed(big: World) -> None:
    with explained(big.engine) as found, big.engine.connect() as conn:
        for _ in range(4):
            conn.execute(text(f"SELECT count(*) FROM contact WHERE points = {_}"))
    assert list(found.values()) == [["contact"]] * 4


def test_a_batch_of_every_sort_of_step(big: World) -> None:
    ids = ids_of(big, *range(1, 101))
    big.write("DELETE FROM wait WHERE contact_id = ANY (:ids)", ids=ids)
    big.write(
        "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
        "SELECT id, :step, :campaign, 1, 2, 'delay', :now, :now FROM unnest(CAST(:ids AS bigint[])) AS id",
        ids=ids,
        step=big.step_id("start"),
        campaign=big.read("SELECT id FROM campaign WHERE key = 'c'")[0].id,
        now=NOW,
    )
    with explained(big.engine) as found, big.engine.begin() as conn:
        done = execute_due(conn, big.step_id("start"), now=NOW, limit=100, zone=UTC_ZONE)
    assert done.claimed == 100
    assert found == {}


def test_contact_events_and_what_follows_from_them(big: World) -> None:
    offered = [
        worlds.event(type_, f"c{number}", NOW, **data)
        for number in range(200, 230)
        for type_, data in (
            ("email.opened", {"email": "hello"}),
            ("page.hit", {"url": "https://example.com/pricing"}),
            ("contact.changed", {"fields": {"colour": "green"}, "tags": ["x"]}),
            ("segment.contact_removed", {"segment": "everyone"}),
            ("segment.contact_added", {"segment": "everyone"}),
            ("form.submitted", {"form": "signup", "fields": {}}),
            ("device.seen", {"type": "tablet"}),
        )
    ]
    with explained(big.engine) as found:
        big.tell(*offered)
    assert found == {}


def test_the_tick_and_a_sweep_that_finds_nothing(big: World) -> None:
    with explained(big.engine) as found:
        Tick(big.engine, make_broker(None)).run_once()
        trigger_inline(big.engine, Scope(), now=at(3), zone=UTC_ZONE, batch_size=100)
    assert found == {}


def test_somebody_joins_and_leaves_by_hand(big: World) -> None:
    ids = ids_of(big, 300, 301, 302)
    with explained(big.engine) as found, big.engine.begin() as conn:
        campaign, _ = campaigns.enter(conn, big.found(conn).id, UTC_ZONE)
        membership.depart(conn, campaign.id, ids, Departure.MANUAL, now=NOW)
        membership.arrive(conn, campaign, ids, Arrival.MANUAL, now=NOW, zone=UTC_ZONE)
    assert found == {}


def test_one_contact_is_looked_at(big: World) -> None:
    (id_,) = ids_of(big, 400)
    with explained(big.engine) as found, big.engine.connect() as conn:
        contacts.show(conn, "c400")
        list(outcomes.log(conn, big.found(conn).id, contact_id=id_, step_id=None))
        list(outcomes.waiting(conn, big.found(conn).id, contact_id=id_, step_id=None))
        events.contact_ids(conn, ["c400"])
        events.pending_of(conn, ["c400"], 10)
    assert found == {}


def test_a_page_of_who_waits(big: World) -> None:
    (id_,) = ids_of(big, 400)
    with explained(big.engine) as found, big.engine.connect() as conn:
        for after in (None, outcomes.Waiting(at(20), id_, big.step_id("opened"), 1)):
            page = outcomes.waiting(conn, big.found(conn).id, contact_id=None, step_id=None, after=after, limit=50)
            assert len(list(page)) == 50
    assert found == {}


def test_a_change_of_a_campaign_is_planned(big: World) -> None:
    file = big.campaign(STEPS, description="as it is").file
    changed = file.model_copy(
        update={
            "reentry": "after_exit",
            "sources": file.sources.model_copy(update={"segments": ("colds",)}),
            "exit": (ExitFile(segment="everyone"),),
            "steps": file.steps[1:],
        }
    )
    with explained(big.engine) as found, big.engine.connect() as conn:
        planned = campaign_plan.plan(conn, changed, zone=UTC_ZONE, now=NOW)
    assert planned.moves is not None
    assert planned.moves.exits > CONTACTS - 1000
    assert found == {}


def test_the_overview(big: World) -> None:
    with explained(big.engine) as found, big.engine.connect() as conn:
        campaign = big.found(conn)
        overview.of(conn, campaigns.load(conn, campaign.id, campaign.version, UTC_ZONE))
    assert found == {}
