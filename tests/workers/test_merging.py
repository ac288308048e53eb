"""Two contacts become one: by the command's statements, and by the event `contact.merged`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from parcours.db import merge_locks
from parcours.db.checks import invariants
from parcours.db.tables import contacts, erasure, merging
from parcours.db.tables.merging import Merged
from parcours.domain.events.parsing import EventError, parse
from tests.workers.test_processes import eventually
from tests.workers.worlds import START, World, at, event, statements_counted

POINT = "action: contact.points, with: {points: 1}"
SLOW = f"- {{step: later, {POINT}, after: 10 days}}"


@pytest.fixture
def pair(world: World) -> World:
    """A world with Ann, who stays, and Ben, who turns out to be Ann."""
    world.contacts("ann", "ben")
    return world


def merge(world: World, gone: str = "ben", into: str = "ann", now: datetime = START) -> Merged:
    with world.engine.begin() as conn:
        merge_locks.shut_out_imports(conn)
        ids = merging.lock(conn, [gone, into])
        return merging.merge(conn, {ids[gone]: ids[into]}, now=now)


def holds(world: World) -> None:
    """Fail if `parcours check` would find anything."""
    assert [(each.name, each.examples) for each in invariants.run(world.engine) if each.violations] == []


def one(world: World, sql: str) -> Any:
    return tuple(world.read(sql)[0])


# Tables.


def test_every_table_of_a_contact_is_merged_in_one_way_and_erased(world: World) -> None:
    rows = world.read(
        "SELECT table_name FROM information_schema.columns JOIN pg_class ON relname = table_name "
        "WHERE table_schema = 'public' AND column_name = 'contact_id' AND NOT relispartition AND relkind IN ('r', 'p')"
    )
    tables = sorted(row.table_name for row in rows)
    assert sorted([*merging.MOVED, *merging.FILLED]) == tables, "name a new table in db/tables/merging.py"
    assert sorted(erasure.TABLES) == tables, "name a new table in db/tables/erasure.py"


def test_merging_sends_as_many_statements_for_many_as_for_one(world: World) -> None:
    sent = []
    for size in (1, 40):
        stay = world.crowd(size, segment="everyone", prefix=f"stay{size}-")
        go = world.crowd(size, segment="everyone", prefix=f"go{size}-")
        world.campaign(f"[{{step: a, {POINT}}}, {{step: later, {POINT}, after: 9 days}}]")
        world.run()
        with world.engine.begin() as conn, statements_counted(world.engine) as statements:
            pairs = dict(zip(world.ids(conn, *go), world.ids(conn, *stay), strict=True))
            merging.merge(conn, pairs, now=START)
        sent.append(len(statements))
    assert sent[0] == sent[1]
    assert set(world.points()) == {2}
    holds(world)


# Campaigns.


def test_a_campaign_of_the_other_alone_goes_on_where_it_was(pair: World) -> None:
    pair.enter("everyone", "ben")
    pair.campaign(
        f"""
        - {{step: a, {POINT}}}
        - {{step: jump, action: campaign.jump, with: {{to: later}}}}
        - {{step: hit, decision: page.hit, yes: [{{step: b, {POINT}}}]}}
        - step: never
          condition: contact.tags
          with: {{tags: [none]}}
          after: 30 days
          yes: [{{step: later, {POINT}, after: 10 days}}]
        """
    )
    pair.run()
    before = {(row.step, row.result, row.rotation, row.at) for row in pair.passed()}
    waits = {(wait.step, wait.due_at, wait.rotation) for wait in pair.waits()}
    assert merge(pair) == Merged(0, 0)
    assert pair.members() == {"ann": "in 2"}
    assert {(row.step, row.result, row.rotation, row.at) for row in pair.passed()} == before
    assert {(wait.step, wait.due_at, wait.rotation) for wait in pair.waits("ann")} == waits
    pair.happens("ann", "page.hit", at(2), url="u")
    pair.trigger(at(11))
    assert pair.log("ann") == ["a done", "jump done", "hit yes", "b done", "later done"]
    holds(pair)


def test_in_a_campaign_of_both_the_survivor_goes_on_and_the_others_waits_are_cancelled(pair: World) -> None:
    pair.enter("everyone", "ben")
    steps = f"""
        - {{step: a, {POINT}, then: [{{step: b, {POINT}, after: 1 day, then: [{{step: c, {POINT}}}]}}]}}
        - {{step: later, {POINT}, after: 10 days}}
        """
    pair.campaign(steps)
    pair.run()
    pair.enter("everyone", "ann")
    pair.run(at(2))
    assert pair.log("ben") == ["a done", "b done", "c done"]
    assert pair.log("ann") == ["a done"]
    assert merge(pair, now=at(2, "10:00")) == Merged(1, 1)
    # Ann has an outcome of `a`, so Ben's is dropped; his others are hers now.
    assert pair.log() == ["a done", "b done", "c done", "later cancelled"]
    assert pair.passed()[-1].detail == {"reason": "the contact was merged into another, who is in the campaign"}
    assert pair.standing("ann") == ["b", "later"]
    holds(pair)
    # She still goes her own way, which is no second outcome of a passage.
    pair.trigger(at(12))
    assert pair.log()[4:] == ["b done", "c done", "later done"]
    assert pair.points() == [7]
    holds(pair)


def test_a_member_who_left_stays_out_whatever_the_other_was(pair: World) -> None:
    pair.enter("everyone", "ann", "ben")
    pair.campaign(SLOW)
    pair.update()
    pair.remove("ann")
    merge(pair)
    assert pair.members() == {"ann": "manual 1"}
    assert pair.waits() == []
    pair.update(at(2))
    assert pair.members() == {"ann": "manual 1"}
    holds(pair)


def test_a_grace_goes_with_the_membership_that_it_is_of(pair: World) -> None:
    pair.enter("everyone", "ben")
    pair.enter("others", "ann", "ben")
    pair.campaign(SLOW, key="alone", grace="3 days")
    pair.campaign(SLOW, key="both", segments=["others"], grace="3 days")
    pair.update()
    pair.leave("everyone", "ben")
    pair.leave("others", "ben")
    pair.update(at(2))
    assert len(pair.read("SELECT FROM leaving")) == 2
    merge(pair, now=at(2))
    pair.update(at(6))
    assert (pair.members(campaign="alone"), pair.members(campaign="both")) == ({"ann": "segment 1"}, {"ann": "in 1"})
    holds(pair)


def test_several_are_merged_one_after_the_other_and_each_leaves_its_trace(world: World) -> None:
    world.contacts("ann", "ben", "cleo", "dan", segment="everyone")
    world.campaign(f"[{{step: a, {POINT}, after: 1 day}}, {{step: later, {POINT}, after: 10 days}}]")
    world.update()
    world.trigger(at(2), contacts=["ben", "cleo"])
    merge(world, "ben", "ann", at(2))
    merge(world, "dan", "cleo", at(2))
    merge(world, "cleo", "ann", at(3))
    world.trigger(at(11))
    assert world.tally() == {"a done": 2, "later cancelled": 2, "later done": 1}
    holds(world)


def test_a_message_of_the_other_stays_under_its_key_and_counts_as_received(pair: World) -> None:
    pair.enter("everyone", "ben")
    pair.email("hello")
    pair.campaign("- {step: send, action: email.send, with: {email: hello}}")
    pair.run()
    pair.enter("everyone", "ann")
    pair.update()
    (key,) = one(pair, "SELECT key FROM message")
    merge(pair)
    assert pair.outbox() == ["ann hello"]
    pair.trigger(at(1, "10:00"))
    # The survivor's own turn finds that she was sent it.
    assert pair.log() == ["send done", "send skipped"]
    pair.tell(event("email.opened", "ben", at(2), message=key))
    assert one(pair, "SELECT opened_at, key FROM message") == (at(2), key)
    holds(pair)


def test_failures_move_unless_the_survivor_has_one_there(pair: World) -> None:
    pair.write(
        "INSERT INTO failure (contact_id, step_id, at, attempts, error) "
        "SELECT id, step_id, now(), 1, key FROM contact CROSS JOIN (VALUES (1), (2)) AS steps (step_id) "
        "WHERE NOT (key = 'ann' AND step_id = 2)"
    )
    merge(pair)
    assert [tuple(row) for row in pair.read("SELECT step_id, error FROM failure ORDER BY step_id")] == [
        (1, "ann"),
        (2, "ben"),
    ]


# What is known of a contact.


def test_the_survivors_own_values_win_and_gaps_are_filled(world: World) -> None:
    world.contacts("ann", email="ann@example.com", points=5, country="FR", city=None)
    world.contacts("ben", email="ben@example.com", timezone="Europe/Paris", points=7, country="US", city="Lyon", vip=1)
    world.tell(
        event("page.hit", "ann", at(2), url="u"),
        event("page.hit", "ben", at(3), url="u"),
        event("contact.changed", "ann", at(2), owner="eve"),
        event("contact.changed", "ben", at(3), owner="bob", stage="lead"),
    )
    merge(world, now=at(4))
    assert one(
        world, "SELECT key, email, timezone, points, owner, stage, fields, last_active_at FROM contact"
    ) == (
        "ann", "ann@example.com", "Europe/Paris", 12, "eve", "lead",
        {"country": "FR", "city": "Lyon", "vip": 1}, at(3),
    )  # fmt: skip
    # What was said of a filled gap counts as said then, and of her own as it was.
    world.tell(event("contact.changed", "ann", at(2, "12:00"), stage="late", owner="late"), now=at(5))
    assert one(world, "SELECT owner, stage FROM contact") == ("late", "lead")


def test_points_do_not_leave_their_column(world: World) -> None:
    world.contacts("ann", "ben", points=2**31 - 2)
    merge(world)
    assert world.points() == [2**31 - 1]


REASONS = ("unsubscribed", "manual", "bounced")


@pytest.mark.parametrize("own", REASONS)
@pytest.mark.parametrize("other", REASONS)
def test_the_stricter_refusal_wins(pair: World, own: str, other: str) -> None:
    pair.write(
        "INSERT INTO do_not_contact (contact_id, channel, reason, comment, at) "
        "SELECT id, 'email', CASE key WHEN 'ann' THEN :own ELSE :other END, key, now() FROM contact",
        own=own,
        other=other,
    )
    pair.write(
        "INSERT INTO do_not_contact (contact_id, channel, reason, at) "
        "SELECT id, 'sms', 'bounced', now() FROM contact WHERE key = 'ben'"
    )
    merge(pair)
    stricter = min(own, other, key=REASONS.index)
    rows = pair.read("SELECT channel, reason, comment FROM do_not_contact ORDER BY channel")
    assert [tuple(row) for row in rows] == [
        ("email", stricter, "ann" if stricter == own else "ben"),
        ("sms", "bounced", None),
    ]


@pytest.mark.parametrize(
    ("own", "other", "active"),
    [
        (None, "in", True),
        ("in", "out", True),
        ("out", "in", True),
        ("removed by hand", "in", False),
        ("in", "removed by hand", True),
        ("out", "out", False),
    ],
)
def test_who_was_in_a_segment_as_either_is_in_it(pair: World, own: str | None, other: str | None, active: bool) -> None:
    for key, state in (("ann", own), ("ben", other)):
        if state is not None:
            pair.enter("everyone", key)
        if state in ("out", "removed by hand"):
            pair.leave("everyone", key)
        if state == "removed by hand":
            pair.write("UPDATE segment_member SET manually_removed = NOT active")
    merge(pair)
    (row,) = pair.read("SELECT active, manually_removed FROM segment_member")
    assert (row.active, row.manually_removed) == (active, own == "removed by hand")


def test_tags_devices_submissions_and_rules_are_those_of_both(pair: World) -> None:
    pair.form("signup", standalone=True)
    for key, tag, system in (("ann", "a", "ios"), ("ben", "b", "ios"), ("ben", "a", "linux")):
        pair.tell(
            event("contact.changed", key, tags=[tag]),
            event("device.seen", key, type="mobile", os=system),
            event("form.submitted", key, form="signup", fields={"by": key}),
        )
    pair.write(
        "INSERT INTO frequency_rule (contact_id, channel, number, period, preferred) "
        "SELECT id, channel, CASE key WHEN 'ann' THEN 1 ELSE 9 END, 'day', channel = (CASE key WHEN 'ann' "
        "THEN 'email' ELSE 'sms' END) FROM contact CROSS JOIN (VALUES ('email'), ('sms')) AS channels (channel) "
        "WHERE NOT (key = 'ann' AND channel = 'sms')"
    )
    merge(pair)
    assert pair.tags("ann") == {"a", "b"}
    assert [row.os for row in pair.read("SELECT os FROM device ORDER BY os")] == ["ios", "linux"]
    assert len(pair.read("SELECT FROM form_submission JOIN contact ON contact.id = contact_id")) == 3
    rules = pair.read("SELECT channel, number, preferred FROM frequency_rule ORDER BY channel")
    assert [tuple(row) for row in rules] == [("email", 1, True), ("sms", 9, False)]
    assert len(pair.read("SELECT FROM event JOIN contact ON contact.id = contact_id")) == 9


# The old key.


def test_the_old_key_leads_to_the_survivor_for_events_look_ups_and_again_after_another_merge(world: World) -> None:
    world.contacts("ann", "ben", "cleo")
    merge(world)
    world.tell(event("contact.changed", "ben", at(2), tags=["late"]))
    assert world.tags("ann") == {"late"}
    merge(world, "ann", "cleo")
    world.tell(event("contact.changed", "ben", at(3), fields={"a": 1}), event("page.hit", "ann", at(3), url="u"))
    with world.engine.connect() as conn:
        found = contacts.named(conn, ["ann", "ben", "cleo"])
        shown = contacts.show(conn, "ben")
    assert len(found) == 3
    assert len(set(found.values())) == 1
    assert shown is not None
    assert (shown.key, shown.aliases, shown.fields) == ("cleo", ["ann", "ben"], {"a": 1})
    assert [row.key for row in world.read("SELECT key FROM contact")] == ["cleo"]
    holds(world)


def test_erasing_the_survivor_erases_the_old_keys_too(pair: World) -> None:
    merge(pair)
    pair.tell(event("contact.deleted", "ann", at(3)))
    assert pair.read("SELECT FROM contact_alias") == []
    late = pair.accept(event("page.hit", "ben", at(2), url="u"), now=at(4))
    assert late.rejected == [(0, "the contact was erased after this happened")]
    pair.tell(event("page.hit", "ben", at(5), url="u"))
    assert [row.key for row in pair.read("SELECT key FROM contact")] == ["ben"]


def test_deleting_the_old_key_is_the_end_of_the_key_and_not_of_the_survivor(pair: World) -> None:
    merge(pair)
    before = event("contact.changed", "ben", at(2), tags=["before"])
    accepted = pair.accept(before, event("contact.deleted", "ben", at(3)), now=at(3))
    assert (accepted.accepted, accepted.rejected) == (2, [])
    pair.act(at(3))
    assert [row.key for row in pair.read("SELECT key FROM contact")] == ["ann"]
    assert pair.tags("ann") == {"before"}
    assert pair.read("SELECT FROM contact_alias") == []
    assert pair.accept(event("page.hit", "ben", at(2), url="u"), now=at(4)).rejected != []


# The event.


def test_the_event_merges_with_all_that_still_stands_in_the_inbox(pair: World) -> None:
    pair.enter("everyone", "ben")
    pair.campaign(
        f"[{{step: hit, decision: page.hit, yes: [{{step: a, {POINT}}}]}}, {{step: later, {POINT}, after: 9 days}}]"
    )
    pair.update()
    counts = pair.tell(
        event("contact.changed", "ben", at(2), tags=["b"]),
        event("contact.merged", "ann", at(2), **{"from": " ben "}),
        event("page.hit", "ben", at(2, "10:00"), url="u"),
        event("contact.changed", "ann", at(2), tags=["a"]),
    )
    assert counts["yes"] == 1
    assert pair.log() == ["hit yes", "a done"]
    assert pair.tags("ann") == {"a", "b"}
    assert [row.key for row in pair.read("SELECT key FROM contact")] == ["ann"]
    # It is told of the contact, and nothing that the contact did.
    assert one(pair, "SELECT last_active_at FROM contact") == (at(2, "10:00"),)
    holds(pair)


def test_the_event_twice_or_of_somebody_unknown_makes_the_key_lead_there(pair: World) -> None:
    merged = event("contact.merged", "ann", at(2), **{"from": "ben"})
    pair.tell(merged, event("contact.merged", "ann", at(3), **{"from": "ben"}))
    pair.tell(event("contact.merged", "ann", at(3), **{"from": "never heard of"}))
    pair.tell(event("contact.changed", "never heard of", at(4), tags=["x"]))
    assert pair.tags("ann") == {"x"}
    assert [row.key for row in pair.read("SELECT key FROM contact")] == ["ann"]


def test_a_key_that_was_erased_does_not_lead_anywhere(pair: World) -> None:
    pair.tell(event("contact.deleted", "ben", at(3)))
    pair.tell(event("contact.merged", "ann", at(2), **{"from": "ben"}), now=at(4))
    assert pair.read("SELECT FROM contact_alias") == []
    assert pair.accept(event("page.hit", "ben", at(2), url="u"), now=at(4)).rejected != []


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ([("ann", "ben"), ("ben", "ann")], {"ann": ["ben"], "cleo": []}),
        ([("ann", "ben"), ("cleo", "ben")], {"ann": [], "cleo": ["ben"]}),
        ([("ann", "ben"), ("cleo", "ann")], {"cleo": ["ann", "ben"]}),
        ([("cleo", "ann"), ("ann", "ben")], {"cleo": ["ann", "ben"]}),
        ([("ann", "ben"), ("ann", "cleo")], {"ann": ["ben", "cleo"]}),
    ],
)
def test_merges_that_come_together_end_as_they_would_one_after_the_other(
    pair: World, told: list[tuple[str, str]], left: dict[str, list[str]]
) -> None:
    pair.contacts("cleo")
    pair.tell(*(event("contact.merged", into, at(2), **{"from": gone}) for into, gone in told))
    with pair.engine.connect() as conn:
        found = {key: contacts.show(conn, key) for key in left}
    assert {key: shown and shown.aliases for key, shown in found.items()} == left
    assert len(pair.read("SELECT FROM contact")) == len(left)
    assert pair.read("SELECT FROM inbox") == []


def test_who_is_in_other_hands_is_merged_when_they_are_free(pair: World) -> None:
    pair.accept(event("contact.merged", "ann", at(2), **{"from": "ben"}), event("page.hit", "ann", at(2), url="u"))
    with pair.engine.begin() as conn:
        merging.lock(conn, ["ben"])
        assert pair.act(at(2)) == {}
        assert len(pair.read("SELECT FROM inbox")) == 2
    pair.act(at(2))
    assert (pair.read("SELECT FROM inbox"), len(pair.read("SELECT FROM contact"))) == ([], 1)


def test_an_import_and_a_merge_keep_out_of_each_others_way(pair: World) -> None:
    pair.accept(event("contact.merged", "ann", at(2), **{"from": "ben"}))
    with pair.engine.begin() as conn:
        contacts.stage(conn, [contacts.Incoming(1, False, "ben", None, None, 3, None, None, None, '["imported"]')])
        contacts.merge(conn, now=at(2))
        assert pair.act(at(2)) == {}
    pair.act(at(2))
    with pair.engine.begin() as conn:
        row = contacts.Incoming(1, False, "ben", None, None, None, None, None, '{"a": 1}', '["again"]')
        contacts.stage(conn, [row])
        assert contacts.merge(conn, now=at(3)) == contacts.Imported(0, 1, 0)
    assert pair.tags("ann") == {"imported", "again"}
    assert [tuple(row) for row in pair.read("SELECT key, points, fields FROM contact")] == [("ann", 3, {"a": 1})]


def test_an_import_updates_whom_somebody_else_adds_meanwhile(world: World) -> None:
    rows = [contacts.Incoming(n, False, key, None, None, n, *[None] * 4) for n, key in enumerate(("ann", "ben"), 1)]
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"

    def load() -> contacts.Imported:
        with world.engine.begin() as conn:
            contacts.stage(conn, rows)
            return contacts.merge(conn, now=at(2))

    with ThreadPoolExecutor(1) as threads:
        with world.engine.begin() as other:
            other.execute(text("INSERT INTO contact (key) VALUES ('ben')"))
            imported = threads.submit(load)
            eventually(lambda: bool(world.read(waiting)))
        assert imported.result(600) == contacts.Imported(added=1, updated=1, unchanged=0)
    assert [row.points for row in world.read("SELECT points FROM contact ORDER BY key")] == [1, 2]
    assert [row.points for row in world.read("SELECT points FROM point_log ORDER BY points")] == [1, 2]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "an event of type 'contact.merged' needs a text \"from\" in its data; add it"),
        ({"from": "ann"}, "'ann' cannot be merged into itself; name another contact in \"from\""),
        ({"from": "x" * 300}, '"from" of contact.merged is longer than 255 characters; shorten it'),
    ],
)
def test_a_merge_that_makes_no_sense_is_refused(data: dict[str, Any], says: str) -> None:
    value = {"specversion": "1.0", "source": "s", "id": "1", "type": "contact.merged", "subject": "ann", "data": data}
    with pytest.raises(EventError) as refused:
        parse(value, now=START)
    assert str(refused.value) == says


# Whatever they did before.


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    story=st.lists(
        st.tuples(
            st.sampled_from(["ann", "ben", "cleo"]),
            st.sampled_from(["enter", "leave", "hit", "submit", "add", "remove", "merge", "run"]),
        ),
        max_size=14,
    )
)
def test_the_database_never_contradicts_itself(world: World, story: list[tuple[str, str]]) -> None:
    world.clear()
    world.contacts("ann", "ben", "cleo")
    world.campaign(
        f"""
        - {{step: a, {POINT}, then: [{{step: b, {POINT}, after: 1 day}}]}}
        - step: hit
          decision: page.hit
          yes: [{{step: jump, action: campaign.jump, with: {{to: a}}, after: 1 hour}}]
          no: [{{step: c, {POINT}, after: 3 days}}]
        """,
        forms=["signup"],
        reentry="always",
    )
    for nth, (key, what) in enumerate(story):
        now = at(1 + nth)
        match what:
            case "enter":
                world.tell(event("segment.contact_added", key, now, segment="everyone"))
            case "leave":
                world.tell(event("segment.contact_removed", key, now, segment="everyone"))
            case "hit":
                world.tell(event("page.hit", key, now, url="u"))
            case "submit":
                world.tell(event("form.submitted", key, now, form="signup"))
            case "merge":
                others = {"ann": "ben", "ben": "cleo", "cleo": "ann"}
                world.tell(event("contact.merged", key, now, **{"from": others[key]}))
            case "run":
                world.run(now)
            case "add" | "remove":
                with world.engine.connect() as conn:
                    shown = contacts.show(conn, key)
                assert shown is not None
                (world.add if what == "add" else world.remove)(shown.key, now)
        holds(world)
    world.run(at(60))
    holds(world)
    world.check()
