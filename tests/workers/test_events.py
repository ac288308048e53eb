"""Contact events from the inbox to the last effect: each once, in order, by their time."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns, erasure
from parcours.db.tables import membership as memberships
from parcours.domain.events.parsing import MAX_DATA_BYTES, ContactEvent, EventError, parse
from parcours.workers import events, intake
from parcours.workers.decisions import types_waiting_for
from parcours.workers.executor import execute_due
from parcours.workers.membership import grace_over
from tests.workers.worlds import START, World, at, event, statements_counted

THANKS = "yes: [{step: thanks, action: contact.points, with: {points: 5}}]"


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment, and an email."""
    world.contacts("ann", segment="everyone")
    world.email("hello")
    return world


def history(world: World) -> list[str]:
    """Return the types of the events that were acted on, in the order that they were taken in."""
    return [row.type for row in world.read("SELECT type FROM event ORDER BY received_at, id")]


def inbox(world: World) -> int:
    return len(world.read("SELECT FROM inbox"))


def contact(world: World, key: str) -> Any:
    (found,) = world.read(
        "SELECT email, timezone, owner, stage, fields, said_at, "
        "ARRAY(SELECT tag FROM contact_tag WHERE contact_id = id ORDER BY tag) AS tags FROM contact WHERE key = :key",
        key=key,
    )
    return found


def known(world: World) -> list[str]:
    return [row.key for row in world.read("SELECT key FROM contact ORDER BY key")]


# Each once.


def paid(id_: str, key: str = "ann", when: datetime = START) -> ContactEvent:
    return event("order.paid", key, when, id_=id_)


def test_the_same_event_twice_in_a_batch_counts_once(world: World) -> None:
    done = world.accept(paid("1"), paid("2"), paid("1"))
    assert (done.accepted, done.duplicates, done.rejected) == (2, 1, [])
    world.act()
    assert history(world) == ["order.paid"] * 2


def test_the_same_event_in_a_later_batch_changes_nothing(ann: World) -> None:
    ann.campaign(f"- {{step: paid, decision: event.happened, with: {{type: order.paid}}, {THANKS}}}", reentry="always")
    ann.update()
    assert ann.accept(paid("1")).accepted == 1
    assert ann.accept(paid("1")).duplicates == 1
    ann.act()
    assert ann.accept(paid("1")).duplicates == 1
    assert ann.act(at(2)) == {}
    assert (ann.points("ann"), history(ann)) == ([5], ["order.paid"])


def test_the_same_id_of_another_source_is_another_event(world: World) -> None:
    assert world.accept(paid("1"), paid("1")._replace(source="other")).accepted == 2


def test_the_same_events_in_two_transactions_at_once_count_once(world: World) -> None:
    batch = [paid(str(number), key=f"c{number % 7}") for number in range(50)]
    start = threading.Barrier(4)

    def offer(seed: int) -> int:
        mine = batch[:]
        random.Random(seed).shuffle(mine)
        start.wait()
        return world.accept(*mine).accepted

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(offer, range(4))) == 50
    world.act()
    assert (len(history(world)), len(known(world)), inbox(world)) == (50, 7, 0)


def test_what_was_rolled_back_may_be_offered_again(world: World) -> None:
    with world.engine.connect() as conn:
        assert intake.accept(conn, [paid("1")], now=START, unknown_contacts="create").accepted == 1
        conn.rollback()
    assert world.accept(paid("1")).accepted == 1


# Who and what is unknown.


def test_an_unknown_contact_is_made_unless_the_setting_says_reject(world: World) -> None:
    refused = world.accept(paid("1"), unknown="reject")
    assert refused.rejected == [(0, intake.UNKNOWN)]
    assert known(world) == []
    assert world.accept(paid("1")).accepted == 1
    assert known(world) == ["ann"]
    assert world.accept(paid("2"), unknown="reject").accepted == 1


@pytest.mark.parametrize(
    ("offered", "sentence"),
    [
        (
            event("segment.contact_added", "ann", segment="vip", id_="1"),
            "there is no segment 'vip'; create it with `parcours segments create`",
        ),
        (
            event("form.submitted", "ann", form="signup", id_="1"),
            "there is no form 'signup'; create it with `parcours forms create`",
        ),
    ],
)
def test_an_unknown_segment_or_form_is_refused_and_accepted_once_it_is_there(
    world: World, offered: ContactEvent, sentence: str
) -> None:
    done = world.accept(paid("0"), offered)
    assert (done.accepted, done.rejected) == (1, [(1, sentence)])
    world.segment("vip")
    world.form("signup")
    assert world.accept(offered).accepted == 1


@pytest.mark.parametrize(
    "data",
    [
        {"device": {"type": 0, "brand": ["x"], "os": {"a": 1}}},
        {"device": {"type": "mobile", "brand": None, "os": ""}},
        {"device": "mobile", "message": 7, "campaign": ["c"], "email": {}},
        {"message": {"a": 1}, "campaign": 5},
    ],
)
@pytest.mark.parametrize(
    "type_", ["page.hit", "device.seen", "email.clicked", "email.bounced", "email.unsubscribed", "sms.replied"]
)
def test_data_of_any_shape_stops_nobody(ann: World, type_: str, data: dict[str, Any]) -> None:
    every = ["page.hit", "page.device", "email.open", "email.click", "asset.download", "sms.reply"]
    steps = [f"- {{step: s{nth}, decision: {name}}}" for nth, name in enumerate(every) if not name.startswith("email")]
    ann.campaign("\n".join(steps))
    ann.update()
    value = {"specversion": "1.0", "id": "1", "source": "s", "type": type_, "subject": "ann"}
    odd = parse({**value, "data": {"url": "https://a.example", **data}}, now=START)
    ann.tell(odd, event("device.seen", "bob", type="mobile", brand="x", os="y"), paid("2"))
    assert (len(history(ann)), inbox(ann)) == (3, 0)


def test_whatever_parse_lets_through_can_be_stored(world: World) -> None:
    hard = ["\\u0000", "\\", "😀", "\u2028", "x" * (MAX_DATA_BYTES - 100), 10**99, 1e308, -0.0, {"": {"": []}}]
    value = {"specversion": "1.0", "source": "s", "type": "t", "subject": "\u007f" * 255}
    offered = [parse({**value, "id": str(n), "data": {"a": each}}, now=START) for n, each in enumerate(hard)]
    offered += [
        parse({**value, "id": f"t{n}", "time": time}, now=START)
        for n, time in enumerate(["1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-06-01"])
        if n < 2
    ]
    world.tell(*offered, now=START)
    assert len(history(world)) == len(offered)


def test_a_nul_is_refused_before_it_reaches_the_database() -> None:
    value = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "subject": "ann", "data": {"a": "\0"}}
    with pytest.raises(EventError, match="NUL"):
        parse(value, now=START)


# Order.


def test_the_order_of_one_contacts_events_is_kept(ann: World) -> None:
    ann.segment("everyone")
    ann.campaign("- {step: root, action: contact.points, with: {points: 1}}", reentry="after_exit")
    ann.update()
    story = [
        event(f"segment.contact_{what}", "ann", START, segment="everyone")
        for what in ("removed", "added", "removed", "added")
    ]
    assert ann.tell(*story) == {"removed": 2, "restarted": 2}
    assert ann.members() == {"ann": "in 3"}


def test_a_flood_of_one_contact_keeps_its_order_and_others_take_turns(world: World) -> None:
    world.contacts("ann", "bob")
    flood = [event("contact.changed", "ann", START, fields={"n": n, f"f{n}": n}) for n in range(200)]
    world.accept(*flood, event("contact.changed", "bob", START, fields={"n": 1}))
    ensure_partitions(world.engine, START)
    with world.engine.begin() as conn:
        assert events.act(conn, now=START, zone=world.zone).events == events.EVENTS_EACH + 1
    assert (contact(world, "ann").fields["n"], contact(world, "bob").fields["n"]) == (events.EVENTS_EACH - 1, 1)
    world.act()
    assert contact(world, "ann").fields == {"n": 199} | {f"f{n}": n for n in range(200)}


def test_several_workers_keep_the_order_of_each_contact(world: World) -> None:
    keys = world.crowd(20)
    world.accept(*(event("contact.changed", key, START, fields={"n": n}) for n in range(60) for key in keys))
    ensure_partitions(world.engine, START)

    def work(_: int) -> int:
        done = 0
        while True:
            with world.engine.begin() as conn:
                batch = events.act(conn, now=START, zone=world.zone)
            done += batch.events
            if not batch.events:
                return done

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(work, range(4)))
    world.act()
    assert done <= 1200
    assert [contact(world, key).fields for key in keys] == [{"n": 59}] * 20
    assert len(history(world)) == 1200


def test_a_failed_transaction_leaves_the_inbox_as_it_was(world: World) -> None:
    world.accept(paid("1"))
    ensure_partitions(world.engine, START)
    with world.engine.connect() as conn:
        assert events.act(conn, now=START, zone=world.zone).events == 1
        conn.rollback()
    assert (inbox(world), history(world)) == (1, [])


# contact.changed.

words = st.sampled_from(["x", "y", None])
tags = st.lists(st.sampled_from(["v", "w"]), max_size=2)
changes = st.fixed_dictionaries(
    {},
    optional={
        "email": words,
        "owner": words,
        "timezone": words,
        "fields": st.dictionaries(st.sampled_from(["a", "b"]), words, max_size=2),
        "tags": tags | st.fixed_dictionaries({"add": tags, "remove": tags}),
    },
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(datas=st.lists(changes, min_size=1, max_size=6), order=st.randoms(use_true_random=False), together=st.booleans())
def test_any_order_of_arrival_gives_the_same_contact(
    world: World, datas: list[dict[str, Any]], order: random.Random, together: bool
) -> None:
    world.clear()
    # Both are told the same, addresses too.
    set_installation_settings(world.engine, InstallationSettings(shared_addresses=True))
    told = [(START + timedelta(microseconds=nth), data) for nth, data in enumerate(datas)]
    for key in ("calm", "wild"):
        arriving = [event("contact.changed", key, when, **data) for when, data in told]
        if key == "wild":
            order.shuffle(arriving)
        for batch in [arriving] if together else [[each] for each in arriving]:
            world.tell(*batch)
    assert contact(world, "wild") == contact(world, "calm")


def test_a_change_of_the_timezone_counts_for_who_joins_in_the_next_event(world: World) -> None:
    world.segment("everyone")
    world.campaign('- {step: root, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}')
    world.tell(
        event("contact.changed", "ann", START, timezone="America/New_York"),
        event("segment.contact_added", "ann", START, segment="everyone"),
    )
    assert world.due("ann", "root") == at(2, "09:00", zone="America/New_York")


# Segments by their time.


def added(key: str, when: datetime, segment: str = "everyone") -> ContactEvent:
    return event("segment.contact_added", key, when, segment=segment)


def removed(key: str, when: datetime, segment: str = "everyone") -> ContactEvent:
    return event("segment.contact_removed", key, when, segment=segment)


def inside(world: World, key: str, segment: str = "everyone") -> bool:
    found = world.read(
        "SELECT active FROM segment_member JOIN contact ON contact.id = contact_id "
        "JOIN segment ON segment.id = segment_id WHERE contact.key = :key AND segment.key = :segment",
        key=key,
        segment=segment,
    )
    return any(row.active for row in found)


def test_the_newest_word_about_a_segment_counts_in_any_order(world: World) -> None:
    world.segment("everyone")
    world.campaign("- {step: root, action: contact.points, with: {points: 1}}")
    world.tell(added("ann", at(3)), removed("ann", at(2)), now=at(4))
    assert (inside(world, "ann"), world.members()) == (True, {"ann": "in 1"})
    world.tell(removed("bob", at(3)), added("bob", at(2)), now=at(4))
    assert (inside(world, "bob"), world.members()) == (False, {"ann": "in 1"})
    world.update(at(4))
    assert world.members() == {"ann": "in 1"}


def test_what_a_person_did_outranks_any_event(world: World) -> None:
    world.contacts("kept", "gone")
    world.enter("everyone", "kept", manual=True)
    world.enter("everyone", "gone")
    world.write("UPDATE segment_member SET manually_removed = true, active = false WHERE NOT manually_added")
    world.tell(removed("kept", at(5)), added("gone", at(5)))
    assert (inside(world, "kept"), inside(world, "gone")) == (True, False)


def test_who_enters_the_segment_joins_and_stands_at_every_root_at_once(world: World) -> None:
    world.segment("everyone")
    world.campaign(
        """
        - {step: now, action: contact.points, with: {points: 1}}
        - {step: later, action: contact.points, with: {points: 1}, after: 1 day}
        - {step: hit, decision: page.hit}
        """
    )
    assert world.tell(added("ann", START)) == {"added": 1}
    assert sorted((wait.step, wait.reason) for wait in world.waits()) == [
        ("hit", "decision"), ("later", "delay"), ("now", "kickoff")
    ]  # fmt: skip
    # The sweep finds nothing to repair.
    assert world.update() == {}


def test_who_leaves_the_last_segment_exits_at_once(world: World) -> None:
    for segment in ("everyone", "other"):
        world.segment(segment)
    world.campaign(
        "- {step: root, action: contact.points, with: {points: 1}, after: 1 day}", segments=["everyone", "other"]
    )
    world.tell(added("ann", START), added("ann", START, "other"))
    assert world.tell(removed("ann", at(2))) == {}
    assert world.tell(removed("ann", at(2), "other")) == {"removed": 1}
    assert (world.members(), world.waits(), world.log()) == ({"ann": "segment 1"}, [], ["root cancelled"])


def test_a_grace_that_ends_in_a_pause_is_looked_at_when_the_campaign_runs_again(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign("- {step: hit, decision: page.hit}", grace="2 days")
    world.run()
    world.tell(*(event("segment.contact_removed", key, at(1, "12:00"), segment="everyone") for key in ("ann", "bob")))
    world.pause(at(2))

    with world.engine.begin() as conn:
        assert not memberships.first_grace_over(conn, now=at(4))
        assert grace_over(conn, now=at(4), zone=world.zone) == 0
    world.tell(event("segment.contact_added", "bob", at(4), segment="everyone"))
    world.publish(True, at(5))
    with world.engine.begin() as conn:
        assert memberships.first_grace_over(conn, now=at(5))
        assert grace_over(conn, now=at(5), zone=world.zone) == 2
        assert not memberships.first_grace_over(conn, now=at(5))
    assert world.members() == {"ann": "segment 1", "bob": "in 1"}


def test_grace_lets_nobody_out_before_its_end(world: World) -> None:
    world.segment("everyone")
    world.campaign("- {step: hit, decision: page.hit}", grace="2 days")

    def sweep(now: datetime) -> None:
        with world.engine.begin() as conn:
            grace_over(conn, now=now, zone=world.zone)

    world.tell(added("ann", START), added("bob", START))
    world.tell(removed("ann", at(2)), removed("bob", at(2)))
    sweep(at(4) - timedelta(microseconds=1))
    assert world.members() == {"ann": "in 1", "bob": "in 1"}
    world.tell(added("bob", at(3)))
    sweep(at(4))
    assert world.members() == {"ann": "segment 1", "bob": "in 1"}
    # Somebody who flaps gets a new grace each time.
    world.tell(removed("bob", at(5)))
    sweep(at(6))
    assert world.members()["bob"] == "in 1"
    sweep(at(7))
    assert world.members()["bob"] == "segment 1"


@pytest.mark.parametrize(
    ("reentry", "cooldown", "state"),
    [("never", None, "segment 1"), ("after_exit", None, "in 2"), ("after_exit", "3 days", "segment 1")],
)
def test_who_comes_back_starts_again_as_the_rules_allow(
    world: World, reentry: str, cooldown: str | None, state: str
) -> None:
    world.segment("everyone")
    more: dict[str, Any] = {} if cooldown is None else {"cooldown": cooldown}
    world.campaign("- {step: root, action: contact.points, with: {points: 1}}", reentry=reentry, **more)
    world.tell(added("ann", START), removed("ann", at(2)), now=at(2))
    world.tell(added("ann", at(3)))
    assert world.members() == {"ann": state}
    if cooldown is not None:
        # Once the cooldown is over, the next word, or the sweep, lets them in.
        world.update(at(5))
        assert world.members() == {"ann": "in 2"}


def test_a_paused_campaign_is_left_to_the_update(world: World) -> None:
    world.segment("everyone")
    world.campaign("- {step: hit, decision: page.hit}")
    world.pause()
    assert world.tell(added("ann", START)) == {}
    world.publish()
    assert world.update() == {"added": 1}


# Forms.


def test_a_submission_joins_before_its_decision_is_looked_at(world: World) -> None:
    world.campaign(
        f"- {{step: sent, decision: form.submit, with: {{forms: [signup]}}, {THANKS}}}", segments=[], forms=["signup"]
    )
    submitted = event("form.submitted", "ann", form="signup", fields={"a": 1})
    assert world.tell(submitted) == {"added": 1, "yes": 1, "done": 1}
    assert world.accept(submitted).duplicates == 1
    (row,) = world.read("SELECT fields FROM form_submission")
    assert row.fields == {"a": 1}


def test_a_submission_that_comes_late_keeps_its_time(ann: World) -> None:
    ann.form("signup", standalone=True)
    ann.campaign("- {step: sent, decision: form.submit}")
    ann.update()
    ann.tell(event("form.submitted", "ann", at(2), form="signup"), now=at(3))
    (row,) = ann.read("SELECT at FROM form_submission")
    (outcome,) = ann.passed()
    assert outcome.detail is not None
    assert (row.at, outcome.at, outcome.detail["at"]) == (at(2), at(3), at(2).isoformat())


# Every decision.

KINDS = [
    ("email.open", "", "email.opened", {"email": "hello"}, {"email": "other"}),
    ("email.open", "", "email.clicked", {"email": "hello", "url": "https://a.example"}, {"email": "other"}),
    ("email.click", "{urls: [a.example/x]}", "email.clicked", {"email": "hello", "url": "https://a.example/x/y"},
     {"email": "hello", "url": "https://a.example"}),
    ("email.click", "", "email.clicked", {"email": "hello"}, {"email": "other"}),
    ("email.reply", "", "email.replied", {"email": "hello"}, {"email": "other"}),
    ("page.hit", "{url: a.example/*}", "page.hit", {"url": "https://a.example/x"}, {"url": "https://b.example/x"}),
    ("page.hit", "{referrer: b.example}", "page.hit", {"url": "https://a.example", "referrer": "http://b.example/"},
     {"url": "https://b.example"}),
    ("page.hit", "", "page.hit", {"url": "https://a.example"}, None),
    ("page.device", "{device_type: [mobile], device_os: [a, b]}", "device.seen", {"type": "Mobile", "os": "B"},
     {"type": "mobile", "os": "c"}),
    ("page.device", "{device_type: [mobile]}", "page.hit", {"url": "https://a.example", "device": {"type": "mobile"}},
     {"url": "https://a.example"}),
    ("asset.download", "{assets: [paper]}", "asset.downloaded", {"asset": "paper"}, {"asset": "film"}),
    ("form.submit", "{forms: [signup]}", "form.submitted", {"form": "signup"}, {"form": "survey"}),
    ("sms.reply", "{pattern: 'stop*'}", "sms.replied", {"text": "STOP it"}, {"text": "please stop"}),
    ("event.happened", "{type: order.paid}", "order.paid", {}, None),
    ("event.happened", "{type: 'order.*', where: [{field: total, operator: gt, value: 10}]}", "order.paid",
     {"total": 11}, {"total": 10}),
    ("event.happened", "{type: page.hit}", "page.hit", {"url": "https://a.example"}, None),
    ("event.happened", "{type: form.submitted, where: [{field: fields.a, operator: '=', value: 1}]}", "form.submitted",
     {"form": "signup", "fields": {"a": 1}}, {"form": "signup"}),
]  # fmt: skip


@pytest.mark.parametrize(("decision", "properties", "type_", "right", "wrong"), KINDS)
def test_a_decision_is_taken_once_in_every_campaign_that_waits(
    ann: World, decision: str, properties: str, type_: str, right: dict[str, Any], wrong: dict[str, Any] | None
) -> None:
    for form in ("signup", "survey"):
        ann.form(form, standalone=True)
    # Below a condition below the email: it is the nearest one upstream.
    steps = f"""
        - step: send
          action: email.send
          with: {{email: hello, email_type: transactional}}
          then:
            - step: always
              condition: contact.points
              with: {{operator: gte, points: 0}}
              yes:
                - step: waits
                  decision: {decision}
                  with: {properties or "{}"}
                  yes: [{{step: thanks, action: contact.points, with: {{points: 5}}}}]
    """
    for key in ("a", "b"):
        ann.campaign(steps, key=key)
    ann.run()
    if wrong is not None:
        assert ann.tell(event(type_, "ann", at(2), **wrong)) == {}
    assert ann.tell(event("other.thing", "ann", at(2)), event("contact.changed", "ann", at(2))) == {}
    assert ann.points("ann") == [0]
    taken = event(type_, "ann", at(2), **right)
    assert ann.tell(taken) == {"yes": 2, "done": 2}
    assert ann.tell(event(type_, "ann", at(3), **right)) == {}
    assert ann.points("ann") == [10]
    for key in ("a", "b"):
        last = next(each for each in ann.passed(campaign=key) if each.step == "waits")
        assert last.detail is not None
        assert last.detail["event"] in (type_, "email.opened")


def test_a_click_is_an_opening_and_a_click_in_one_go(ann: World) -> None:
    ann.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello}
          then:
            - {step: opened, decision: email.open}
            - {step: clicked, decision: email.click}
            - {step: replied, decision: email.reply}
        """
    )
    ann.run()
    ann.tell(event("email.clicked", "ann", at(2), email="hello", url="https://a.example"))
    assert sorted(ann.log()) == ["clicked yes", "opened yes", "send done"]


def test_the_email_is_the_nearest_one_sent_above(ann: World) -> None:
    ann.email("again")
    ann.campaign(
        """
        - step: first
          action: email.send
          with: {email: hello}
          then:
            - step: second
              action: email.send
              with: {email: again}
              then: [{step: opened, decision: email.open}]
        """
    )
    ann.run()
    assert ann.tell(event("email.opened", "ann", at(2), email="hello")) == {}
    assert ann.tell(event("email.opened", "ann", at(2), email="again")) == {"yes": 1}


def test_our_message_id_stands_for_its_email_and_its_state_is_kept(ann: World) -> None:
    ann.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello}
          then: [{step: clicked, decision: email.click}]
        """
    )
    ann.run()
    (message,) = ann.read("SELECT key FROM message")
    assert ann.tell(event("email.clicked", "ann", at(3), message="no-such", url="u")) == {}
    assert ann.tell(event("email.clicked", "ann", at(3), message=message.key, url="u")) == {"yes": 1}
    # The first time counts, also when it is told later.
    ann.tell(event("email.opened", "ann", at(2), message=message.key), now=at(4))
    ann.tell(event("email.opened", "ann", at(4), message=message.key))
    ann.tell(event("email.replied", "ann", at(5), message=message.key))
    ann.tell(event("email.bounced", "ann", at(6), message=message.key, kind="soft"))
    (state,) = ann.read("SELECT opened_at, clicked_at, replied_at, bounced_at FROM message")
    assert tuple(state) == (at(2), at(3), at(5), at(6))


def test_page_hits_and_most_events_find_only_decisions_that_may_wait_for_them(ann: World) -> None:
    ann.campaign("- {step: paid, decision: event.happened, with: {type: order.paid}}")
    ann.update()
    assert set(types_waiting_for("page.hit")) == {"page.hit", "page.device", "event.happened"}
    assert set(types_waiting_for("order.paid")) == {"event.happened"}
    costs = []
    for offered in (event("page.hit", "ann", url="u"), event("order.refunded", "ann")):
        ann.accept(offered)
        ensure_partitions(ann.engine, START)
        with statements_counted(ann.engine) as sent, ann.engine.begin() as conn:
            events.act(conn, now=START, zone=ann.zone)
        # One look at what is armed, in the table, and no campaign is entered.
        assert sum("FROM wait" in each for each in sent) == 1
        assert not any("pg_advisory" in each for each in sent)
        costs.append(len(sent))
    assert max(costs) <= 7, costs


def test_a_new_version_waits_for_what_it_says(ann: World) -> None:
    ann.campaign("- {step: x, decision: event.happened, with: {type: 'order_%*'}}")
    ann.update()
    assert ann.tell(event("orderXY", "ann", at(2))) == {}
    ann.campaign("- {step: x, decision: event.happened, with: {type: other}}", when=at(2))
    assert ann.tell(event("order_%1", "ann", at(2))) == {}
    ann.campaign("- {step: x, decision: page.hit}", when=at(2))
    assert ann.tell(event("other", "ann", at(2))) == {}
    ann.campaign("- {step: x, decision: event.happened, with: {type: 'order_%*'}}", when=at(2))
    assert ann.tell(event("order_%1", "ann", at(3))) == {"yes": 1}


# Looking back.


@pytest.mark.parametrize(
    ("decision", "type_", "data"),
    [
        ("page.hit", "page.hit", {"url": "https://a.example"}),
        ("event.happened, with: {type: 'order.*'}", "order.paid", {}),
        ("form.submit", "form.submitted", {"form": "signup"}),
    ],
)
def test_what_happened_before_counts_if_it_is_young_enough(
    world: World, decision: str, type_: str, data: dict[str, Any]
) -> None:
    world.contacts("old", "young", "quiet", segment="everyone")
    world.form("signup", standalone=True)
    world.campaign(
        f"""
        - step: first
          action: contact.points
          with: {{points: 1}}
          after: 1 day
          then: [{{step: waits, decision: {decision}, look_back: 2 hours}}]
        """
    )
    world.update()
    world.tell(event(type_, "old", at(2, "06:59"), **data))
    world.tell(event(type_, "young", at(2, "07:00"), **data))
    world.trigger(at(2))
    world.trigger(at(2))
    assert {key: world.log(key)[-1] for key in ("old", "young", "quiet")} == {
        "old": "first done",
        "young": "waits yes",
        "quiet": "first done",
    }
    assert world.tell(event(type_, "old", at(2, "10:00"), **data)) == {"yes": 1}


def test_a_decision_looks_back_on_clicks_and_messages_as_it_would_have_seen_them(ann: World) -> None:
    ann.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello}
          then:
            - step: later
              action: contact.points
              with: {points: 1}
              after: 1 hour
              then: [{step: opened, decision: email.open, look_back: 1 day}]
        """
    )
    ann.run()
    (message,) = ann.read("SELECT key FROM message")
    ann.tell(event("email.clicked", "ann", at(1, "09:30"), message=message.key, url="u"))
    ann.trigger(at(1, "10:00"))
    ann.trigger(at(1, "10:00"))
    assert ann.log() == ["send done", "later done", "opened yes"]


def test_looking_back_on_anything_leaves_out_what_was_said_about_the_contact(ann: World) -> None:
    ann.campaign("- {step: x, decision: event.happened, with: {type: '*'}, look_back: 2 days}")
    ann.tell(event("contact.changed", "ann", START))
    ann.run(at(1, "10:00"))
    assert ann.standing("ann") == ["x"]


# Together with the deadline.


def test_a_click_and_the_deadline_at_the_same_instant_exactly_one_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A few at a time, so that the two meet often.
    monkeypatch.setattr(events, "CONTACTS_AT_ONCE", 2)
    won = {"yes": 0, "no": 0}
    for _ in range(5):
        yes, no = click_and_close(world, 40)
        won["yes"] += yes
        won["no"] += no
        world.check()
        world.clear()
    assert all(won.values()), f"they never met: {won}"


def click_and_close(world: World, size: int) -> tuple[int, int]:
    """Let everybody click in the instant in which their decision closes; return how many made it, and how many not."""
    keys = world.crowd(size, segment="everyone")
    world.campaign(
        """
        - step: hit
          decision: page.hit
          yes: [{step: came, action: contact.points, with: {points: 5}}]
          no: [{step: missed, action: contact.points, with: {points: -1}, after: 1 day}]
        """
    )
    world.update()
    ensure_partitions(world.engine, at(2))
    step_id = world.step_id("hit")
    world.accept(*(event("page.hit", key, at(2), url="u") for key in keys), now=at(2))
    start = threading.Barrier(2)

    def click() -> None:
        start.wait()
        while inbox(world):
            with world.engine.begin() as conn:
                events.act(conn, now=at(2), zone=world.zone)

    def close() -> None:
        start.wait()
        while any(wait.step == "hit" for wait in world.waits()):
            with world.engine.begin() as conn:
                execute_due(conn, step_id, now=at(2), limit=2, zone=world.zone)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(click), pool.submit(close)]:
            future.result()
    tally = world.tally()
    yes, no = tally.get("hit yes", 0), tally.get("hit no", 0)
    assert yes + no == size
    assert (tally.get("came done", 0), tally.get("missed done", 0)) == (yes, no)
    assert sorted(world.points()) == [-1] * no + [5] * yes
    return yes, no


# Channels.


@pytest.mark.parametrize(
    ("type_", "data", "sent"),
    [
        ("email.bounced", {"kind": "hard"}, False),
        ("email.bounced", {}, False),
        ("email.bounced", {"kind": "soft"}, True),
        ("email.unsubscribed", {}, False),
        ("email.opened", {}, True),
    ],
)
def test_nobody_is_sent_an_email_after_a_bounce_or_an_unsubscription(
    ann: World, type_: str, data: dict[str, Any], sent: bool
) -> None:
    ann.campaign("- {step: send, action: email.send, with: {email: hello}}")
    ann.tell(event(type_, "ann", **data))
    ann.run()
    assert ann.log() == ["send done" if sent else "send skipped"]


def test_an_unsubscription_that_a_decision_waits_for_comes_before_what_it_sends(ann: World) -> None:
    ann.campaign(
        """
        - step: left
          decision: event.happened
          with: {type: email.unsubscribed}
          yes: [{step: send, action: email.send, with: {email: hello}}]
        """
    )
    ann.update()
    assert ann.tell(event("email.unsubscribed", "ann")) == {"yes": 1, "skipped": 1}


def test_a_persons_word_outranks_a_bounce(ann: World) -> None:
    ann.tell(event("email.unsubscribed", "ann"), event("email.bounced", "ann"))
    (row,) = ann.read("SELECT reason FROM do_not_contact")
    assert row.reason == "unsubscribed"


def test_page_views_are_counted_for_the_campaign_that_brought_them(ann: World) -> None:
    ann.campaign("- {step: root, action: contact.points, with: {points: 1}}")
    hits = [event("page.hit", "ann", url="u", campaign=key) for key in ("c", "c", "nobodys")]
    ann.tell(*hits, event("page.hit", "ann", url="u"))
    (row,) = ann.read("SELECT sum(n) AS n FROM campaign_count WHERE what = 'page_views'")
    assert row.n == 2


def test_the_last_activity_is_the_latest_thing_the_contact_did(ann: World) -> None:
    ann.tell(event("page.hit", "ann", at(3), url="u"), event("page.hit", "ann", at(2), url="u"), now=at(4))
    ann.tell(event("contact.changed", "ann", at(5)))
    (row,) = ann.read("SELECT last_active_at FROM contact")
    assert row.last_active_at == at(3)


def test_a_device_is_remembered_once(ann: World) -> None:
    ann.tell(*(event("device.seen", "ann", at(2), type="mobile", os="b") for _ in range(3)))
    ann.tell(event("page.hit", "ann", at(3), url="u", device={"type": "mobile", "os": "b"}))
    assert len(ann.read("SELECT FROM device")) == 1


# Erasure.


def everything_about(world: World, contact_id: int) -> dict[str, int]:
    """Return how many rows each table has of a contact; tables without any are left out."""
    tables = world.read(
        "SELECT table_name FROM information_schema.columns JOIN pg_class ON relname = table_name "
        "WHERE table_schema = 'public' AND column_name = 'contact_id' AND NOT relispartition"
    )
    found = {"contact": len(world.read("SELECT FROM contact WHERE id = :id", id=contact_id))}
    for table in tables:
        rows = world.read(f"SELECT FROM {table.table_name} WHERE contact_id = :id", id=contact_id)
        found[table.table_name] = len(rows)
    return {name: n for name, n in found.items() if n}


def a_full_life(world: World) -> None:
    """Let Ann leave a row in every table that can hold one."""
    world.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello}
          then: [{step: opened, decision: email.open}]
        - {step: score, action: contact.points, with: {points: 1, group: wine}}
        - {step: later, action: contact.points, with: {points: 1}, after: 9 days}
        """,
        forms=["signup"],
        grace="9 days",
    )
    carts = [{"type": "cart.updated", "key": "id"}]
    later = "- {step: later, action: contact.points, with: {points: 1}, after: 9 days}"
    world.campaign(later, key="carts", segments=(), events=carts, entry={"rate": "1 per day"})
    world.run()
    world.tell(*(event("cart.updated", "ann", id=id_) for id_ in "abc"))
    world.tell(
        event("contact.changed", "ann", tags=["vip"], fields={"a": 1}),
        event("device.seen", "ann", type="mobile"),
        event("form.submitted", "ann", form="signup", fields={"utm_source": "fair"}),
        event("email.opened", "ann", email="hello"),
        event("email.unsubscribed", "ann"),
        event("contact.changed", "ann", stage="fan", company="Acme"),
    )
    world.write("UPDATE membership SET manual = false")
    world.tell(removed("ann", at(2)))
    world.write(
        "INSERT INTO failure (contact_id, step_id, at, attempts, error) SELECT id, 1, now(), 1, 'x' FROM contact"
    )
    world.write("INSERT INTO frequency_rule (contact_id, channel) SELECT id, 'email' FROM contact")
    world.write("INSERT INTO contact_alias (contact_id, key, merged_at) SELECT id, 'anna', now() FROM contact")


def test_a_deleted_contact_is_gone_from_every_table_and_the_counters(ann: World) -> None:
    a_full_life(ann)
    ann.contacts("bob", segment="everyone")
    ann.run(at(2))
    ann.write("UPDATE contact SET timezone = 'Asia/Tokyo' WHERE key = 'ann'")
    ann.write("INSERT INTO segment_due SELECT id, 1, now() FROM contact WHERE key = 'ann'")
    ann.write("INSERT INTO unjudged (contact_id) SELECT id FROM contact WHERE key = 'ann'")
    ann.write("INSERT INTO redated (contact_id) SELECT id FROM contact WHERE key = 'ann'")
    ann.write(
        "INSERT INTO date_entry (contact_id, source_id, due_at, version) "
        "SELECT id, 1, 'infinity', 1 FROM contact WHERE key = 'ann'"
    )
    ann.write(
        "INSERT INTO trial (contact_id, campaign_id, number, key, control, began_at, until) "
        "SELECT contact.id, campaign.id, 1, '', false, now(), 'infinity' FROM contact, campaign "
        "WHERE contact.key = 'ann' LIMIT 1; "
        "INSERT INTO trial_count (campaign_id, part, slot, entered) SELECT id, 'treated', 0, 1 FROM campaign LIMIT 1"
    )
    gone, stays = ann.contact_id("ann"), ann.contact_id("bob")
    assert set(everything_about(ann, gone)) == {*erasure.TABLES, "contact"} - {"inbox"}
    before = everything_about(ann, stays)
    ann.tell(event("contact.deleted", "ann", at(3)), event("page.hit", "ann", at(2), url="u"), now=at(3))
    assert (everything_about(ann, gone), everything_about(ann, stays)) == ({}, before)
    assert known(ann) == ["bob"]
    # Against counting the outcomes again.
    ann.check()
    erased = ann.read("SELECT * FROM erased")
    assert len(erased) == 2
    assert all(row.keyed for row in erased)
    assert sha256(b"ann").digest() not in {bytes(row.key_hash) for row in erased}


def test_a_late_event_does_not_bring_the_contact_back_and_a_newer_one_does(ann: World) -> None:
    ann.tell(event("contact.deleted", "ann", at(3)))
    late = ann.accept(event("page.hit", "ann", at(3), url="u"), now=at(4))
    assert late.rejected == [(0, "the contact was erased after this happened")]
    assert known(ann) == []
    ann.tell(event("contact.changed", "ann", at(4), fields={"a": 1}))
    assert contact(ann, "ann").fields == {"a": 1}


def test_what_happened_after_an_erasure_that_nobody_acted_on_yet_is_not_lost(ann: World) -> None:
    many = [event("contact.changed", "ann", at(4), fields={f"f{n}": n}) for n in range(events.EVENTS_EACH * 2)]
    before, after = event("page.hit", "ann", at(2), url="u"), event("contact.changed", "ann", at(5), owner="x")
    assert ann.accept(event("contact.deleted", "ann", at(3)), before, *many, after, now=at(5)).accepted == len(many) + 3
    ann.act(at(5))
    assert contact(ann, "ann").owner == "x"
    assert contact(ann, "ann").fields == {f"f{n}": n for n in range(events.EVENTS_EACH * 2)}
    assert "page.hit" not in history(ann)


def test_somebody_never_heard_of_can_be_deleted(world: World) -> None:
    assert world.accept(event("contact.deleted", "ann", at(3)), now=at(3), unknown="reject").accepted == 1
    assert world.accept(paid("1", when=at(2)), now=at(4)).rejected != []
    assert (known(world), inbox(world)) == ([], 0)
    world.tell(event("contact.deleted", "bob", at(3)), paid("2", "bob", at(2)), now=at(4))
    assert (known(world), history(world)) == ([], [])


def test_an_event_that_comes_while_its_contact_is_erased_does_not_stay_for_ever(ann: World) -> None:
    ann.accept(event("contact.deleted", "ann", at(3)))
    ensure_partitions(ann.engine, at(3))
    with ThreadPoolExecutor(1) as pool:
        with ann.engine.begin() as conn:
            events.act(conn, now=at(3), zone=ann.zone)
            offer = pool.submit(ann.accept, paid("old", when=at(2)), paid("new", when=at(4)), now=at(4))
            waiting = text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
            while not offer.done():
                with ann.engine.connect() as other:
                    if other.execute(waiting).scalar_one():
                        break
        done = offer.result()
    assert (done.accepted, done.rejected) == (1, [(0, "the contact was erased after this happened")])
    ann.act(at(4))
    assert (inbox(ann), known(ann)) == (0, ["ann"])


# What it costs.


def cost(world: World, size: int) -> int:
    keys = world.crowd(size, segment="everyone")
    world.form("signup", standalone=True)
    for segment in ("other", "third"):
        world.segment(segment)
    world.email("hello")
    world.campaign(
        """
        - {step: hit, decision: page.hit, yes: [{step: a, action: contact.tags, with: {add: [came]}}]}
        - {step: sent, decision: form.submit}
        - {step: paid, decision: event.happened, with: {type: "order.*"}}
        """
    )
    world.campaign("- {step: x, action: contact.points, with: {points: 1}, after: 1 day}", key="o", segments=["other"])
    world.update()
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("page.hit", {"url": "u", "campaign": "c", "device": {"type": "mobile"}}),
        ("form.submitted", {"form": "signup"}),
        ("order.paid", {"total": 3}),
        ("contact.changed", {"fields": {"a": 1}, "tags": ["x"]}),
        ("segment.contact_added", {"segment": "other"}),
        ("segment.contact_removed", {"segment": "third"}),
        ("email.clicked", {"email": "hello", "message": "m"}),
        ("email.bounced", {}),
        ("email.unsubscribed", {}),
        ("contact.deleted", {}),
        ("page.hit", {"url": "u"}),
    ]
    world.accept(*(event(kinds[n % len(kinds)][0], key, **kinds[n % len(kinds)][1]) for n, key in enumerate(keys)))
    ensure_partitions(world.engine, START)
    with world.engine.connect() as conn:
        for key in ("c", "o"):
            campaigns.enter(conn, world.found(conn, key).id, world.zone)
    with statements_counted(world.engine) as sent, world.engine.begin() as conn:
        assert events.act(conn, now=START, zone=world.zone).events == size
    found = len(sent)
    world.check()
    world.clear()
    return found


def test_a_batch_sends_as_many_statements_for_many_contacts_as_for_few(world: World) -> None:
    few, many = cost(world, 22), cost(world, 440)
    assert few == many
    assert few < 125
