"""What the workers send costs by the batch, whatever PostgreSQL believes of the tables.

Statistics are old when they matter most: right after an import, while a queue fills or drains, when the table was
analyzed while another campaign filled it. Here they lie on purpose, and every statement of a day's work is run,
with the server counting the rows that each part of each plan went through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, event, text

from parcours.db.engine import connect
from parcours.db.reads import batch, campaign_emails, failures, overview, standing
from parcours.db.scope import Scope
from parcours.db.tables import (
    campaigns,
    contacts,
    dates,
    erasure,
    events,
    merging,
    outbox,
    outcomes,
    refusals,
    segments,
    variant_tests,
    waits,
)
from parcours.db.tables import membership as memberships
from parcours.db.tables.contacts import Incoming
from parcours.db.tables.membership import Chunk
from parcours.db.tables.outcomes import FailedAt
from parcours.db.tables.variant_tests import TriedPlace
from parcours.domain.campaign import StopRule
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.messages.settle import MessageRow
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.workers import membership
from parcours.workers.executor import execute_due
from tests.conftest import cloned
from tests.workers import worlds
from tests.workers.test_plans import CONTACTS, LARGE, NOW, fill
from tests.workers.worlds import UTC_ZONE, World, at

BATCH = 100
# What a part of a plan may go through for a batch: a contact has a few waits, segments and outcomes. Comparing a
# batch with itself, each with each, is too much already.
ALLOWED = 40 * BATCH
# Of which the statistics lie. The last two have a row for each step that sends an email, or several.
TABLES = (*LARGE, "email_count", "variant_test")
# When what stands in the outbox is due.
LATER = at(25)
# What the server is to say of each statement.
EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    # What triggers do belongs to the cost.
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_level": "notice",
    "client_min_messages": "notice",
}


class Costly(NamedTuple):
    """A part of a plan that went through more rows than a batch is worth."""

    rows: int
    node: str
    statement: str


def parts(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from parts(below)


def rows_of(part: dict[str, Any]) -> int:
    """Return how many rows a part of a plan read, those that it dropped again included."""
    dropped = sum(value for name, value in part.items() if name.startswith("Rows Removed by"))
    return int((part.get("Actual Rows", 0) + dropped) * part.get("Actual Loops", 1))


class Watched:
    """A world whose server tells what each statement cost."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plans: list[dict[str, Any]] = []
        # Each test has contacts of its own in each turn, since the world stays as the one before left it.
        self.turn = 0
        with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            name = conn.engine.url.database
            for setting, value in EXPLAIN.items():
                conn.execute(text(f"ALTER DATABASE {name} SET {setting} = '{value}'"))
        event.listen(world.engine, "connect", self._listen)
        world.engine.dispose()

    def _listen(self, connection: Any, _: Any) -> None:
        connection.add_notice_handler(self._hear)

    def _hear(self, notice: Any) -> None:
        found = re.search(r"plan:\s*(\{.*\})", notice.message_primary or "", re.DOTALL)
        if found:
            self.plans.append(json.loads(found[1]))

    @contextmanager
    def costly(self, allowed: int = ALLOWED, least: int = 3) -> Iterator[list[Costly]]:
        """Collect what costs more than a batch may; the server must tell of so many statements at least."""
        found: list[Costly] = []
        self.plans.clear()
        yield found
        assert len(self.plans) >= least, "the server said nothing"
        for plan in self.plans:
            for part in parts(plan["Plan"]):
                if rows_of(part) > allowed:
                    node = " ".join(
                        str(part[name])
                        for name in ("Node Type", "Relation Name", "Index Name", "Index Cond", "Join Filter", "Filter")
                        if name in part
                    )
                    found.append(Costly(rows_of(part), node, plan["Query Text"]))


def skip_where_nobody_can_lie(server: str) -> None:
    engine = connect(server)
    with engine.connect() as conn:
        version = conn.execute(text("SELECT current_setting('server_version_num')::int")).scalar_one()
        superuser = conn.execute(text("SELECT current_setting('is_superuser')")).scalar_one()
    engine.dispose()
    if version < 180000:
        pytest.skip("statistics can be set from PostgreSQL 18 on")
    if superuser != "on":
        pytest.skip("only a superuser may load auto_explain and set statistics")


@pytest.fixture(scope="module")
def watched(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """30,000 contacts with a history, all of whom are due at the first step, and have a message in the outbox."""
    skip_where_nobody_can_lie(server)
    for engine in cloned(server, template):
        campaigns._loaded.clear()
        world = World(engine, tmp_path_factory.mktemp("unlucky"))
        fill(world)
        world.write(
            "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
            "SELECT id, :step, :campaign, 1, 2, 'delay', :now, :now FROM contact",
            step=world.step_id("start"),
            campaign=world.read("SELECT id FROM campaign WHERE key = 'c'")[0].id,
            now=NOW,
        )
        world.write(
            "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, address, state, "
            "due_at, created_at) SELECT contact.id, 'later-' || contact.key, campaign.id, :step, 1, 'email', 'later', "
            "contact.email, 'queued', :due, :due FROM contact, campaign WHERE campaign.key = 'c'",
            step=world.step_id("send"),
            due=LATER,
        )
        world.write("INSERT INTO rezoned (contact_id) SELECT id FROM contact")
        world.write(
            "INSERT INTO variant_test (template, campaign_id, step_id, round, started_at, figures_before) "
            "SELECT 'offer', 1, n, 0, :now, '{}' FROM generate_series(1, :n) AS n",
            now=NOW,
            n=CONTACTS,
        )
        world.write(
            "INSERT INTO email_count SELECT 'offer', 1, n, 'B', what, 0, 1 "
            "FROM generate_series(1, :n) AS n, unnest(ARRAY['sent', 'opened']) AS what",
            n=CONTACTS,
        )
        # The server would look at what tests write, and the statistics would be right again.
        for (table,) in world.read(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ):
            world.write(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        yield Watched(world)
        campaigns._loaded.clear()


def relation(world: World, name: str, *, pages: str, tuples: str) -> None:
    world.write(
        "SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', relname::text, "
        f"'relpages', ({pages})::int, 'reltuples', ({tuples})::real) "
        "FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND ("
        "  oid IN (SELECT oid FROM pg_class WHERE relname = :name UNION ALL "
        "          SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(:name)) "
        "  OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass(:name) OR indrelid IN "
        "             (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(:name))))",
        name=name,
    )


ACTUAL = "pg_relation_size(oid) / 8192"
# Columns by which many rows are alike, and what they are full of: another step, another campaign.
ALIKE = {
    "wait": ("step_id", "campaign_id", "passage", "rotation"),
    "membership": ("campaign_id",),
    "segment_member": ("segment_id",),
    "outcome": ("step_id",),
    "message": ("step_id", "campaign_id"),
    "failure": ("step_id",),
    "form_submission": ("form_id",),
    "email_count": ("campaign_id", "step_id"),
    "variant_test": ("campaign_id", "step_id"),
}


def settled(world: World) -> None:
    pass


def never_analyzed(world: World) -> None:
    for table in TABLES:
        world.write(
            "SELECT pg_clear_relation_stats('public', relname::text) FROM pg_class WHERE relname = :name", name=table
        )
        world.write(
            "SELECT pg_clear_attribute_stats('public', CAST(:name AS text), attname::text, false) FROM pg_attribute "
            "WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped",
            name=table,
        )


def tiny(world: World) -> None:
    for table in TABLES:
        relation(world, table, pages="1", tuples="1")


def drained(world: World) -> None:
    """All pages are there, and vacuum found nothing in them."""
    for table in TABLES:
        relation(world, table, pages=ACTUAL, tuples="0")


def nearly_drained(world: World) -> None:
    for table in TABLES:
        relation(world, table, pages=ACTUAL, tuples="3")


def huge(world: World) -> None:
    for table in TABLES:
        relation(world, table, pages=ACTUAL, tuples="1e9")


def full_of_another(world: World) -> None:
    for table, columns in ALIKE.items():
        for column in columns:
            world.write(
                "SELECT pg_restore_attribute_stats('schemaname', 'public', "
                "'relname', CAST(:table AS text), 'attname', CAST(:column AS text), "
                "'inherited', CAST(:inherited AS boolean), 'null_frac', 0::real, 'avg_width', 4, "
                "'n_distinct', 1::real, 'most_common_vals', '{999999}', 'most_common_freqs', '{1}'::real[])",
                table=table,
                column=column,
                inherited=table == "outcome",
            )


LIES: tuple[Callable[[World], None], ...] = (
    settled,
    never_analyzed,
    tiny,
    drained,
    nearly_drained,
    huge,
    full_of_another,
)


@pytest.fixture(scope="module", params=LIES, ids=lambda lie: lie.__name__)
def lied_to(watched: Watched, request: pytest.FixtureRequest) -> Watched:
    """The same world, of which the server believes something else, for all tests one after the other."""
    watched.turn += 1
    watched.world.engine.dispose()
    with watched.world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("ANALYZE"))
    request.param(watched.world)
    return watched


@pytest.fixture
def misled(lied_to: Watched) -> Watched:
    """That world, of which the connections know nothing yet."""
    lied_to.world.engine.dispose()
    return lied_to


@contextmanager
def undone(world: World) -> Iterator[Connection]:
    """Work in a transaction of which nothing stays."""
    with world.engine.connect() as conn:
        # As whoever sends, merges, erases and works by hand does.
        campaigns.read_by_index(conn)
        yield conn
        conn.rollback()


def ids_of(watched: Watched, first: int, number: int = BATCH) -> list[int]:
    rows = watched.world.read(
        "SELECT id FROM contact WHERE key = ANY (:keys)", keys=[f"c{n}" for n in range(first, first + number)]
    )
    return [row.id for row in rows]


def test_a_read_of_all_is_noticed(watched: Watched) -> None:
    with watched.costly() as found:
        for _ in range(3):
            watched.world.read("SELECT count(*) FROM wait WHERE attempt = 7")
    assert len(found) == 3


def test_a_batch_of_every_sort_of_step(misled: Watched) -> None:
    world = misled.world
    with misled.costly() as found, world.engine.begin() as conn:
        done = execute_due(conn, world.step_id("start"), now=NOW, limit=BATCH, zone=UTC_ZONE)
    assert done.claimed == BATCH
    assert found == []


def test_contact_events_and_what_follows_from_them(misled: Watched) -> None:
    offered = [
        worlds.event(type_, f"c{number}", NOW, **data)
        for number in range(1_000 + misled.turn * BATCH, 1_015 + misled.turn * BATCH)
        for type_, data in (
            ("email.opened", {"email": "hello"}),
            ("page.hit", {"url": "https://example.com/pricing"}),
            ("contact.changed", {"fields": {"colour": "green"}, "tags": ["x"]}),
            ("segment.contact_removed", {"segment": "everyone"}),
            ("segment.contact_added", {"segment": "everyone"}),
            ("form.submitted", {"form": "signup", "fields": {}}),
            ("device.seen", {"type": "tablet"}),
            ("email.unsubscribed", {}),
            ("email.resubscribed", {}),
        )
    ]
    with misled.costly() as found:
        misled.world.tell(*offered)
    assert found == []


def test_what_a_batch_of_contacts_refuses_and_takes_back(misled: Watched) -> None:
    ids = ids_of(misled, 25_000 + misled.turn * BATCH)
    with misled.costly() as found, misled.world.engine.begin() as conn:
        assert len(refusals.of_contacts(conn, ids)) == BATCH
        said = [refusals.RefusalChange(id_, "email", NOW) for id_ in ids]
        refusals.refuse(conn, said, reason="unsubscribed")
        refusals.resubscribe(conn, said)
        refusals.allow(conn, [(id_, "email:news") for id_ in ids[:50]], now=NOW)
        silent = [id_ for id_, reasons in refusals.of_contacts(conn, ids).items() if "email:news" in reasons]
        assert silent == ids[50:]
        refusals.forget(conn, ids)
    assert found == []


def test_the_tick(misled: Watched) -> None:
    with misled.costly() as found:
        Tick(misled.world.engine, make_broker(None)).run_once()
    assert found == []


def test_an_update_of_a_range_of_contacts(misled: Watched) -> None:
    world = misled.world
    ids = ids_of(misled, 10_000 + misled.turn * BATCH)
    chunk = Chunk(min(ids), max(ids))
    world.write("DELETE FROM wait WHERE contact_id = ANY (:ids)", ids=ids[:50])
    world.write("DELETE FROM membership WHERE contact_id = ANY (:ids)", ids=ids[:50])
    world.write("UPDATE segment_member SET active = false WHERE contact_id = ANY (:ids)", ids=ids[50:75])
    with misled.costly() as found, world.engine.begin() as conn:
        campaign, _ = campaigns.enter(conn, world.found(conn).id, UTC_ZONE)
        done = membership.reconcile(conn, campaign, chunk, now=NOW, zone=UTC_ZONE)
    assert (done["added"], done["removed"]) == (50, 25)
    assert found == []


def test_who_joins_leaves_and_comes_back(misled: Watched) -> None:
    world = misled.world
    ids = ids_of(misled, 20_000 + misled.turn * BATCH)
    with misled.costly() as found, world.engine.begin() as conn:
        campaign, _ = campaigns.enter(conn, world.found(conn).id, UTC_ZONE)
        assert membership.depart(conn, campaign.id, ids, Departure.ACTION, now=NOW) == BATCH
        memberships.rotate(conn, campaign.id, dict.fromkeys(ids, 7))
        membership.segment_changed(conn, 1, ids, now=NOW, zone=UTC_ZONE)
        membership.arrive(conn, campaign, ids, Arrival.MANUAL, now=NOW, zone=UTC_ZONE)
    assert found == []


def test_messages_are_claimed_and_recorded(misled: Watched) -> None:
    with misled.costly() as found, undone(misled.world) as conn:
        lanes = outbox.lanes(conn, now=LATER, scope=Scope())
        (lane,) = [lane for lane in lanes if lane.channel == "email"]
        leased = LATER + timedelta(minutes=5)
        taken = outbox.claim(conn, lane, now=LATER, leased_until=leased, limit=BATCH, scope=Scope())
        assert len(taken) == BATCH
        outbox.departed(conn, {(each.contact_id, each.campaign_id, None) for each in taken})
        outbox.departed(conn, {(each.contact_id, each.campaign_id, 1) for each in taken})
        outbox.told_already(conn, [each.key for each in taken])
        outbox.recipients(conn, [each.contact_id for each in taken])
        outbox.refusals(conn, [each.contact_id for each in taken], ["email"])
        rows = [
            MessageRow(m.key, leased, "sent", "email", m.template, m.address, None, 1, leased, None, None, None, False)
            for m in taken
        ]
        assert len(outbox.record(conn, rows, now=LATER)) == BATCH
        marked = {"keys": [m.key for m in taken], "whats": ["opened"] * BATCH, "ats": [LATER] * BATCH}
        conn.execute(events.sql["mark_messages"], marked)
        named = [(each.contact_id, each.template or "", LATER) for each in taken]
        assert len(events.messages_meant(conn, named)) == BATCH
    assert found == []


def test_messages_that_quiet_hours_hold_back_are_asked_again(misled: Watched) -> None:
    ids = ids_of(misled, 1)
    with misled.costly(least=2) as found, undone(misled.world) as conn:
        held = text("UPDATE message SET held = 'quiet_hours' WHERE contact_id = ANY (:ids) AND state::text = 'queued'")
        conn.execute(held, {"ids": ids})
        outbox.look_again(conn, ids, now=NOW)
    assert found == []


def test_messages_of_a_deleted_campaign_and_those_tried_again(misled: Watched) -> None:
    with misled.costly(least=2) as found, undone(misled.world) as conn:
        (lane,) = [lane for lane in outbox.lanes(conn, now=LATER, scope=Scope()) if lane.channel == "email"]
        assert outbox.cancel_deleted(conn, lane, now=LATER, limit=BATCH) == BATCH
        outbox.retry(conn, [f"later-c{number}" for number in range(BATCH)], now=LATER)
    assert found == []


def test_messages_of_a_step_that_failed_for_one_reason_are_tried_again(misled: Watched) -> None:
    world, ids = misled.world, ids_of(misled, 1)
    campaign_id, step_id = world.read("SELECT id FROM campaign WHERE key = 'c'")[0].id, world.step_id("send")
    with misled.costly(least=2) as found, undone(world) as conn:
        failed = text(
            "UPDATE message SET state = 'failed', error = 'refused' "
            "WHERE contact_id = ANY (:ids) AND state::text = 'queued'"
        )
        conn.execute(failed, {"ids": ids})
        assert outbox.retry_step(conn, campaign_id, step_id, "another", now=NOW) == 0
        assert outbox.retry_step(conn, campaign_id, step_id, "refused", now=NOW) == BATCH
    assert found == []


def test_members_whom_exits_let_stay(misled: Watched) -> None:
    world, ids = misled.world, ids_of(misled, 1)
    campaign_id = world.read("SELECT id FROM campaign WHERE key = 'c'")[0].id
    with misled.costly(least=1) as found, undone(world) as conn:
        assert memberships.asked_for_exit(conn, campaign_id, ids, now=NOW) == set(ids)
    assert found == []


def test_the_versions_of_emails_that_steps_try(misled: Watched) -> None:
    """A batch has messages of a few steps; each is a place of its own."""
    places = [TriedPlace("offer", 1, number, 0) for number in range(1, 1 + BATCH)]
    new = [place._replace(round=1) for place in places]
    with misled.costly() as found, undone(misled.world) as conn:
        assert len(variant_tests.of_places(conn, places)) == BATCH
        variant_tests.begin(conn, places + new, now=NOW)
        assert variant_tests.figures(conn, places[0]) == {"B": {"sent": 1, "opened": 1}}
        assert variant_tests.figures(conn, new[0]) == {"B": {"sent": 0, "opened": 0}}
        test, is_first = variant_tests.decide(conn, places[0], "B", now=NOW)
        assert (test.winner, is_first) == ("B", True)
        assert not variant_tests.decide(conn, places[0], "", now=NOW)[1]
    assert found == []


def test_the_overview_reads_as_many_rows_as_it_may(misled: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("WAITS_READ", BATCH), ("WAITS_COUNTED", BATCH), ("MESSAGES_READ", BATCH), ("BLOCKS_READ", 1)):
        monkeypatch.setattr(standing, name, most)
    monkeypatch.setattr(failures, "LOOKED_AT_TOGETHER", BATCH)
    world = misled.world
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, UTC_ZONE)
    hours = [NOW - timedelta(hours=nth) for nth in range(24, 0, -1)]
    waiting = dict.fromkeys(campaign.steps, 30_000)
    with misled.costly(least=10) as costs, undone(world) as conn:
        assert standing.of(conn, campaign, waiting, now=NOW)
        campaign_emails.of(conn, campaign, now=NOW)
        overview.series_between(conn, campaign.id, hours, NOW)
        overview.days(conn, campaign.id)
        failures.of(conn, campaign)
        assert overview._queued(conn, campaign.id, BATCH)[1]
    assert costs == []


def test_passages_that_go_on_are_taken_back(misled: Watched) -> None:
    world, ids = misled.world, ids_of(misled, 1)
    step_id = world.step_id("start")
    with misled.costly(least=1) as found, undone(world) as conn:
        outcomes.take_back(conn, step_id, [(contact_id, 1, 1) for contact_id in ids], "cancelled")
    assert found == []


def test_steps_that_failed_are_tried_again(misled: Watched) -> None:
    world, ids = misled.world, ids_of(misled, 1)
    step_id = world.step_id("start")
    with misled.costly(least=1) as found, undone(world) as conn:
        campaigns.read_by_index(conn, in_order=True)
        outcomes.failed_at(conn, step_id, None, past=FailedAt(LATER, 2**62), limit=100)
        outcomes.failures_of(conn, step_id, "x", ids)
    assert found == []


def test_a_rare_reason_among_many_failures(misled: Watched) -> None:
    world = misled.world
    step_id = world.step_id("start")
    failed = text(
        "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result, detail) "
        "SELECT id, :step, 1, 9, :now, 'failed', "
        "jsonb_build_object('error', CASE WHEN key = 'c7' THEN 'rare' ELSE 'the shop is away' END) FROM contact"
    )
    with undone(world) as conn:
        conn.execute(failed, {"step": step_id, "now": NOW})
        campaigns.read_by_index(conn, in_order=True)
        with misled.costly(least=2) as found:
            last = FailedAt(LATER, 2**62)
            assert len(outcomes.failed_at(conn, step_id, "rare", past=last, limit=100)) == 1
            assert len(outcomes.failed_at(conn, step_id, "the shop is away", past=last, limit=100)) == 100
    assert found == []


def test_contacts_are_merged(misled: Watched) -> None:
    ids = ids_of(misled, 1)
    with misled.costly() as found, undone(misled.world) as conn:
        merging.lock(conn, [f"c{number}" for number in range(1, 1 + BATCH)])
        merging.merge(conn, dict(zip(ids[::2], ids[1::2], strict=True)), now=NOW)
    assert found == []


def test_contacts_are_erased(misled: Watched) -> None:
    ids = ids_of(misled, 201)
    with misled.costly() as found, undone(misled.world) as conn:
        assert len(erasure.erase(conn, dict.fromkeys(ids, NOW))) == BATCH
        erasure.clean_up(conn, ids, now=NOW)
    assert found == []


@pytest.mark.parametrize("looked_up", [contacts.LOOKED_UP, 0], ids=["a small one", "a large one"])
def test_a_file_is_imported(misled: Watched, monkeypatch: pytest.MonkeyPatch, looked_up: int) -> None:
    """A file may be as large as the table, which is then read as a whole: but once, and not for each row."""
    monkeypatch.setattr(contacts, "LOOKED_UP", looked_up)
    rows = [
        Incoming(
            n,
            n % 2 == 0,
            f"c{n}",
            f"C{n}@example.com",
            None,
            n,
            "lead",
            None,
            '{"colour": "red"}',
            '["new"]',
            "acme",
            '{"email": "manual"}',
        )
        for n in range(29_950, 29_950 + BATCH)
    ]
    with misled.costly(ALLOWED if looked_up else 2 * CONTACTS) as found, undone(misled.world) as conn:
        contacts.stage(conn, rows)
        contacts.merge(conn, now=NOW)
        for ids in contacts.staged_ids(conn, BATCH):
            segments.add_members(conn, 1, ids, manual=True, now=NOW)
    assert found == []


def test_segments_are_changed_and_names_are_found(misled: Watched) -> None:
    ids = ids_of(misled, 401)
    with misled.costly() as found, undone(misled.world) as conn:
        names = [f"c{number}" for number in range(401, 451)] + [f"C{number}@example.com" for number in range(451, 501)]
        assert len(contacts.named(conn, names)) == BATCH
        contacts.holders(conn, names[50:])
        segments.remove_members(conn, 1, ids, manual=True, now=NOW)
        segments.add_members(conn, 1, ids[:50], manual=True, now=NOW)
        segments.remove_members(conn, 1, ids[:50], manual=False, now=NOW)
        batch.change_tags(conn, added=[], removed=[(id_, "a") for id_ in ids])
        batch._write(conn, "allow", ("ids", "channels"), [(id_, "sms") for id_ in ids])
    assert found == []


def test_waits_that_move(misled: Watched) -> None:
    world = misled.world
    ids = ids_of(misled, 601)
    opened, campaign_id = world.step_id("opened"), world.read("SELECT id FROM campaign WHERE key = 'c'")[0].id
    with misled.costly() as found, undone(world) as conn:
        assert len(waits.take_rezoned(conn, limit=BATCH)) == BATCH
        waits.take_rezoned(conn, limit=BATCH, of=ids)
        coming = waits.still_to_come(conn, ids)
        waits.move_to(conn, [(wait, LATER) for wait in coming])
        waits.count_up_to(conn, [opened], BATCH)
        dates.first_to_follow(conn)
        waits.standing(conn, opened, ids)
        waits.take_kickoffs(conn, campaign_id, ids, now=NOW)
        outcomes.recent_passes(conn, ids, [opened], now=NOW)
        outcomes.answered(conn, opened, ids)
        outcomes.passed(conn, opened, [(id_, 1) for id_ in ids])
        assert len(waits.cancel_steps(conn, [opened], limit=BATCH)) == BATCH
        waits.due_steps(conn, now=NOW, scope=Scope(contact_ids=tuple(ids)))
    assert found == []


def test_contacts_that_are_named_are_found_however_many_are_due_before_them(misled: Watched) -> None:
    start, named = misled.world.step_id("start"), Scope(contact_ids=tuple(ids_of(misled, 15_000)))
    with misled.costly() as found, undone(misled.world) as conn:
        assert start in {due.step_id for due in waits.due_steps(conn, now=NOW, scope=named)}
        assert waits.has_due(conn, [start], now=NOW, scope=named)
        few = waits.claim_due(conn, start, now=NOW, limit=BATCH // 2, scope=named)
        capped = named.model_copy(update={"campaign_limit": BATCH})
        rest = waits.claim_due(conn, start, now=NOW, limit=BATCH, scope=capped)
        assert {claim.contact_id for claim in few + rest} == set(named.contact_ids or ())
        assert not waits.has_due(conn, [start], now=NOW, scope=named)
    assert found == []


def test_a_campaign_is_resumed_a_part_at_a_time(misled: Watched) -> None:
    world = misled.world
    campaign_id = world.read("SELECT id FROM campaign WHERE key = 'c'")[0].id
    first = {"contact_id": 0, "step_id": 0, "passage": 0}
    given = {"campaign_id": campaign_id, "since": at(1), "until": at(3), "limit": BATCH, **first}
    with misled.costly(least=1) as found, undone(world) as conn:
        conn.execute(waits.sql["shift"], given)
    assert found == []


def test_a_failing_step_is_looked_for(misled: Watched) -> None:
    """What failed within the hour is counted, and not once more for each of them."""
    start = misled.world.step_id("start")
    with misled.costly(2 * CONTACTS, least=1) as found, undone(misled.world) as conn:
        outcomes.failing_step(conn, [start], StopRule(), now=at(1, "09:30"))
    assert found == []


def test_the_inbox_is_shared_out(misled: Watched) -> None:
    ids = ids_of(misled, 801)
    misled.world.write(
        "INSERT INTO inbox (contact_id, received_at, source, id, type, at, data) "
        "SELECT id, :now, 'test', 'i' || id || '-' || n, 'page.hit', :now, '{}' FROM contact, "
        "generate_series(1, 3) AS n WHERE NOT EXISTS (SELECT FROM inbox)",
        now=NOW,
    )
    with misled.costly() as found, undone(misled.world) as conn:
        for look in (20, 1000):
            given = {"look": look, "limit": BATCH, "share": 0.5}
            conn.execute(events.sql["pending_contacts"], given).all()
        conn.execute(events.sql["pending_of"], {"ids": ids, "limit": BATCH}).all()
        conn.execute(events.sql["take"], {"contact_ids": ids, "each": 2}).all()
        conn.execute(events.sql["take_all"], {"contact_ids": ids}).all()
        events.oldest_pending(conn)
    misled.world.write("DELETE FROM inbox")
    assert found == []


def test_who_may_come_back(misled: Watched) -> None:
    world = misled.world
    ids = ids_of(misled, 901)
    campaign_id = world.read("SELECT id FROM campaign WHERE key = 'c'")[0].id
    (everyone,) = world.read("SELECT id FROM segment WHERE key = 'everyone'")
    given = {
        "campaign_id": campaign_id,
        "segment_ids": [everyone.id],
        "first_id": min(ids),
        "last_id": max(ids),
        "now": LATER,
    }
    given |= {**Scope().contacts(), "limit": BATCH}
    for name in ("min_id", "max_id"):
        given.pop(name)
    with misled.costly() as found, undone(world) as conn:
        membership.depart(conn, campaign_id, ids, Departure.SEGMENT, now=NOW)
        assert len(conn.execute(memberships.sql["returning"], given).all()) == BATCH
    assert found == []
