"""The inbox and what becomes of events: each once, whoever offers it, in the order in which a contact's came."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import events, segments
from parcours.db.tables.events import DeadEvent, Pending
from parcours.domain.events.parsing import ContactEvent
from tests.db.rows import NOW, campaign, contacts, read

SECOND = timedelta(seconds=1)


def event(id_: str, contact: str = "c1", type_: str = "page.hit", source: str = "test") -> ContactEvent:
    return ContactEvent(source, id_, type_, contact, NOW, {"n": id_})


def fill(conn: Connection, owners: Sequence[int]) -> None:
    """Store an event of each of these contacts, in this order, called by its place in it."""
    events.store(conn, [(id_, event(str(nth))) for nth, id_ in enumerate(owners)], now=NOW)


def test_an_event_is_new_once_whoever_offers_it_first(engine: Engine) -> None:
    offered = [event("1"), event("2"), event("1"), event("1", source="other")]
    with engine.begin() as conn:
        assert events.remember(conn, offered, now=NOW) == {("test", "1"), ("test", "2"), ("other", "1")}
        assert events.remember(conn, [], now=NOW) == set()
    with engine.begin() as conn:
        assert events.remember(conn, [event("2"), event("3")], now=NOW) == {("test", "3")}
        events.forget_ids(conn, [("test", "1"), ("test", "3")])
        assert events.remember(conn, offered, now=NOW) == {("test", "1")}


@given(st.lists(st.integers(1, 5), max_size=30), st.integers(1, 4), st.integers(1, 3))
def test_the_inbox_is_emptied_contact_by_contact_and_in_each_ones_order(
    shared_engine: Engine, owners: list[int], limit: int, each: int
) -> None:
    with shared_engine.connect() as conn:
        contacts(conn, range(1, 6))
        fill(conn, owners)
        oldest = {id_: nth for nth, id_ in reversed(list(enumerate(owners)))}
        found = events.pending_contacts(conn, limit)
        assert found == sorted(found, key=oldest.__getitem__)
        assert len(found) == min(limit, len(oldest))
        taken = events.take(conn, found, each=each)
        expected = [
            (id_, str(nth)) for nth, id_ in enumerate(owners) if id_ in found and owners[:nth].count(id_) < each
        ]
        assert [(one.contact_id, one.id) for one in taken] == expected
        left = Counter(owners) - Counter(one.contact_id for one in taken)
        assert events.backlog(conn)[0] == sum(left.values())
        rest = events.take_all(conn, range(1, 6))
        assert Counter(one.contact_id for one in rest) == left
        assert [one.seq for one in rest] == sorted(one.seq for one in rest)
        assert events.oldest_pending(conn) is None


def test_who_is_in_other_hands_is_left_to_these(engine: Engine) -> None:
    with engine.begin() as conn:
        contacts(conn, [1, 2, 3])
        fill(conn, [2, 1, 3])
    with engine.connect() as one, engine.connect() as two:
        assert events.pending_contacts(one, 1) == [2]
        assert events.pending_contacts(two, 5) == [1, 3]
        assert events.pending_of(two, ["c1", "c2"], 5) == [1]
        assert events.lock_pending(two, [3, 2, 1]) == [3, 1]
        one.rollback()
        assert events.lock_pending(two, [3, 2, 1]) == [3, 2, 1]


def test_a_flood_of_one_contact_keeps_nobody_waiting(conn: Connection) -> None:
    contacts(conn, [1, 2, 3])
    fill(conn, [1] * (2 * events.LOOK_EACH) + [2, 3])
    assert events.pending_contacts(conn, 1) == [1]
    assert set(events.pending_contacts(conn, 2)) > {1}
    assert set(events.pending_contacts(conn, 3)) == {1, 2, 3}
    assert events.is_longer_than(conn, 2 * events.LOOK_EACH + 1)
    assert not events.is_longer_than(conn, 2 * events.LOOK_EACH + 2)


def test_names_make_one_contact_each_and_an_address_one_in_whatever_capitals(conn: Connection) -> None:
    events.make_contacts(conn, ["crm-1", "Anna@Example.com", "anna@example.com", "crm-1"])
    events.make_contacts(conn, ["ANNA@example.com", "crm-1", "crm-2"])
    found = sorted(read(conn, "SELECT key, email FROM contact"))
    assert [(key, email) for key, email in found if not email] == [("crm-1", None), ("crm-2", None)]
    assert [email.lower() for _, email in found if email] == ["anna@example.com"]
    ids = events.contact_ids(conn, ["anna@EXAMPLE.com", "crm-1", "nobody"])
    assert set(ids) == {"anna@EXAMPLE.com", "crm-1"}
    assert events.keys(conn, [ids["crm-1"], 2**60]) == ["crm-1"]
    assert events.contact_ids(conn, []) == {}


def test_a_key_that_was_erased_is_remembered_by_its_latest_time_and_never_by_itself(conn: Connection) -> None:
    events.tombstone(conn, {"anna": NOW, "bob": NOW})
    events.tombstone(conn, {"anna": NOW - SECOND, "bob": NOW + SECOND})
    assert events.erased(conn, ["anna", "bob", "carl"]) == {"anna": NOW, "bob": NOW + SECOND}
    assert events.erased(conn, []) == {}
    # As a version before this one left it: under a hash that anybody can make.
    conn.execute(
        text("INSERT INTO erased (key_hash, at, keyed) VALUES (sha256('dora'), :at, false)"), {"at": NOW + SECOND}
    )
    assert events.erased(conn, ["dora"]) == {"dora": NOW + SECOND}
    events.tombstone(conn, {"dora": NOW})
    assert events.erased(conn, ["dora"]) == {"dora": NOW + SECOND}
    assert read(conn, "SELECT count(*) FROM erased WHERE NOT keyed") == [0]


marks = st.lists(
    st.tuples(
        st.sampled_from(["m1", "m2", "unknown"]),
        st.sampled_from(["opened", "clicked", "replied", "bounced"]),
        st.integers(0, 9),
    ),
    max_size=6,
    unique_by=lambda mark: mark[0],
)


@given(st.lists(marks, max_size=4))
def test_the_first_time_counts_of_what_became_of_a_message(
    shared_engine: Engine, batches: list[list[tuple[str, str, int]]]
) -> None:
    expected: dict[tuple[str, str], datetime] = {}
    with shared_engine.connect() as conn:
        contacts(conn, [1])
        campaign_id, (step,) = campaign(conn, "a")
        for key in ("m1", "m2"):
            conn.execute(
                text(
                    "INSERT INTO message "
                    "(contact_id, key, campaign_id, step_id, rotation, channel, due_at, created_at) "
                    "VALUES (1, :key, :campaign_id, :step, 1, 'email', :now, :now)"
                ),
                {"key": key, "campaign_id": campaign_id, "step": step, "now": NOW},
            )
        for batch in batches:
            events.mark_messages(conn, [(key, what, NOW + n * SECOND) for key, what, n in batch])
            for key, what, n in batch:
                # Who clicks or replies has opened it.
                for each in {what} | ({"opened"} if what in ("clicked", "replied") else set()):
                    at = NOW + n * SECOND
                    expected[key, each] = min(at, expected.get((key, each), at))
        rows = read(conn, "SELECT key, opened_at, clicked_at, replied_at, bounced_at FROM message")
        for key, *ats in rows:
            names = ("opened", "clicked", "replied", "bounced")
            assert dict(zip(names, ats, strict=True)) == {name: expected.get((key, name)) for name in names}


words = st.lists(
    st.tuples(st.booleans(), st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=4)),
    max_size=5,
)


@given(words, st.dictionaries(st.integers(1, 3), st.sampled_from(["in", "out"]), max_size=3))
def test_the_newest_word_on_a_segment_holds_and_a_persons_above_all(
    shared_engine: Engine, words: list[tuple[bool, list[tuple[int, int]]]], by_hand: dict[int, str]
) -> None:
    state: dict[int, tuple[bool, datetime]] = {}
    with shared_engine.connect() as conn:
        contacts(conn, [1, 2, 3])
        segments.save(conn, "s", name=None, public=None, published=None)
        found = segments.find(conn, "s")
        assert found is not None
        for id_, way in by_hand.items():
            segments.add_members(conn, found.id, [id_], manual=True, now=NOW)
            if way == "out":
                segments.remove_members(conn, found.id, [id_], manual=True, now=NOW)
            state[id_] = (way == "in", NOW)
        for active, said in words:
            events.segments_by_time(conn, found.id, [(id_, NOW + n * SECOND) for id_, n in said], active=active)
            for id_ in {id_ for id_, _ in said}:
                at = NOW + max(n for each, n in said if each == id_) * SECOND
                kept = id_ in by_hand and (by_hand[id_] == "in") != active
                if not kept and (id_ not in state or at >= state[id_][1]):
                    state[id_] = (active, at)
        rows = read(conn, "SELECT contact_id, active, changed_at FROM segment_member")
        assert {id_: (active, at) for id_, active, at in rows} == state


def test_when_somebody_was_last_active_never_goes_back(conn: Connection) -> None:
    contacts(conn, [1, 2])
    events.seen_active(conn, [(1, NOW), (1, NOW + SECOND), (2, NOW)])
    events.seen_active(conn, [(1, NOW), (2, NOW + 2 * SECOND)])
    assert read(conn, "SELECT last_active_at FROM contact ORDER BY id") == [NOW + SECOND, NOW + 2 * SECOND]


def test_a_device_is_remembered_once_even_when_little_is_known_of_it(conn: Connection) -> None:
    contacts(conn, [1, 2])
    unknown = (1, "phone", None, None, NOW)
    events.see_devices(conn, [unknown, unknown, (1, "phone", "acme", None, NOW), (2, "phone", None, None, NOW)])
    events.see_devices(conn, [unknown])
    assert sorted(read(conn, "SELECT contact_id, brand FROM device"), key=str) == [(1, "acme"), (1, None), (2, None)]


def pending(conn: Connection) -> Pending:
    contacts(conn, [1])
    events.remember(conn, [event("1")], now=NOW)
    events.store(conn, [(1, event("1"))], now=NOW)
    row = read(conn, "SELECT contact_id, seq, received_at, source, id, type, at, data FROM inbox")[0]
    return Pending(*row)


def test_an_event_that_is_buried_can_be_sent_again_as_it_came(conn: Connection) -> None:
    one = pending(conn)
    assert events.move_to_dead_letters(conn, one, "broken", now=NOW)
    assert not events.move_to_dead_letters(conn, one, "broken", now=NOW)
    (letter,) = events.dead_letters(conn)
    body = json.loads(letter.body)
    assert (letter.reason, letter.origin, body["subject"], body["id"], body["data"]) == (
        "broken", "event", "c1", "1", {"n": "1"},
    )  # fmt: skip
    assert events.remember(conn, [event("1")], now=NOW) == {("test", "1")}


def test_what_an_event_could_not_be_judged_by_goes_with_it(conn: Connection) -> None:
    one = pending(conn)
    events.add_dead_events(conn, [DeadEvent(one, "broken", ["c/a", "c/b"])], now=NOW)
    (letter,) = events.dead_letters(conn)
    assert events.unjudged_of(json.loads(letter.body)) == ["c/a", "c/b"]
    assert events.unjudged_of({}) == events.unjudged_of({events.UNJUDGED: 7}) == []


@pytest.mark.parametrize("body", ["nul \0", "half \ud83d", "x" * (events.MAX_LETTER + 1), ""])
def test_a_dead_letter_keeps_whatever_came(conn: Connection, body: str) -> None:
    events.add_dead_letters(conn, [("why \0" * 100_000, body)], origin="message", now=NOW)
    (letter,) = events.dead_letters(conn)
    assert len(letter.body) == min(len(body), events.MAX_LETTER)
    assert ("only the first" in letter.reason) == (len(body) > events.MAX_LETTER)
    assert "\0" not in letter.body + letter.reason


def test_a_dead_letter_is_taken_out_once(engine: Engine) -> None:
    with engine.begin() as conn:
        events.add_dead_letters(conn, [("a", "1"), ("b", "2"), ("c", "3")], origin="message", now=NOW)
        ids = sorted(each.id for each in events.dead_letters(conn))
    with engine.begin() as one, engine.begin() as two:
        assert [each.id for each in events.take_dead_letters(one, ids[:1])] == ids[:1]
        assert [each.id for each in events.take_dead_letters(two, None)] == ids[1:]
    with engine.connect() as conn:
        assert events.count_dead_letters(conn) == 0
        assert events.dead_letters(conn, id_=ids[0]) == []


def test_history_is_read_by_type_time_and_contact_and_a_percent_sign_is_one(engine: Engine) -> None:
    ensure_partitions(engine, NOW)
    with engine.begin() as conn:
        kept = [
            Pending(id_, nth, NOW, "test", str(nth), type_, NOW + nth * SECOND, {})
            for nth, (id_, type_) in enumerate([(1, "page.hit"), (1, "page_hit"), (1, "p%ge.hit"), (2, "page.hit")])
        ]
        events.keep(conn, kept)
        events.keep(conn, [])

        def found(*types: str, since: datetime = NOW - SECOND, who: tuple[int, ...] = (1,)) -> list[str]:
            return [each.type for each in events.recent(conn, who, types, since=since)]

        assert found("page.*") == ["page.hit"]
        assert found("*") == ["page.hit", "page_hit", "p%ge.hit"]
        assert found("p%ge.hit", "page_hit") == ["page_hit", "p%ge.hit"]
        assert found("*", since=NOW) == ["page_hit", "p%ge.hit"]
        assert found("page.hit", who=(1, 2)) == ["page.hit", "page.hit"]
        assert found("*", since=datetime(9999, 12, 31, tzinfo=UTC)) == []
