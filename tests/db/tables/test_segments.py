"""Segment membership: what the statements do to a million rows, said again for one."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from parcours.db.tables import segments

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SEGMENT = 7

contact_ids = st.integers(1, 6)


@dataclass(frozen=True)
class Member:
    active: bool
    manually_added: bool
    manually_removed: bool


states = st.sampled_from(
    [
        Member(active=True, manually_added=False, manually_removed=False),
        Member(active=True, manually_added=True, manually_removed=False),
        Member(active=False, manually_added=False, manually_removed=False),
        Member(active=False, manually_added=False, manually_removed=True),
    ]
)
worlds = st.dictionaries(contact_ids, states)


def added(member: Member | None, *, manual: bool) -> Member | None:
    """The rule of one contact: what an addition makes of a membership."""
    if member is not None and member.active:
        return replace(member, manually_added=member.manually_added or manual)
    if member is not None and member.manually_removed and not manual:
        return member
    return Member(active=True, manually_added=manual, manually_removed=False)


def removed(member: Member | None, *, manual: bool) -> Member | None:
    """The rule of one contact: what a removal makes of a membership."""
    if member is None or (not manual and (member.manually_added or not member.active)):
        return member
    return Member(active=False, manually_added=False, manually_removed=manual or member.manually_removed)


def given_contacts(conn: Connection, ids: Iterable[int]) -> None:
    conn.execute(
        text("INSERT INTO contact (id, key) SELECT id, id::text FROM unnest(CAST(:ids AS bigint[])) AS id"),
        {"ids": list(ids)},
    )


def given_world(conn: Connection, world: dict[int, Member]) -> None:
    for contact_id, member in world.items():
        conn.execute(
            text(
                "INSERT INTO segment_member (contact_id, segment_id, active, "
                "manually_added, manually_removed, "
                "changed_at) VALUES (:contact_id, :segment_id, :active, :added, :removed, :now)"
            ),
            {
                "contact_id": contact_id,
                "segment_id": SEGMENT,
                "active": member.active,
                "added": member.manually_added,
                "removed": member.manually_removed,
                "now": NOW,
            },
        )


def world_of(conn: Connection) -> dict[int, Member]:
    rows = conn.execute(
        text(
            "SELECT contact_id, active, manually_added, manually_removed FROM segment_member "
            "WHERE segment_id = :segment_id"
        ),
        {"segment_id": SEGMENT},
    )
    return {contact_id: Member(*state) for contact_id, *state in rows}


def entries(conn: Connection) -> dict[int, int]:
    rows = conn.execute(text("SELECT contact_id, entry FROM segment_member"))
    return {row.contact_id: row.entry for row in rows}


def active(world: dict[int, Member]) -> set[int]:
    return {contact_id for contact_id, member in world.items() if member.active}


@given(world=worlds, wanted=st.lists(contact_ids), manual=st.booleans())
def test_adding_does_what_the_rule_says_and_gives_an_entry_to_who_entered(
    shared_engine: Engine, world: dict[int, Member], wanted: list[int], manual: bool
) -> None:
    expected = dict(world)
    for contact_id in wanted:
        member = added(world.get(contact_id), manual=manual)
        assert member is not None
        expected[contact_id] = member
    with shared_engine.connect() as conn:  # rolled back after each example
        given_contacts(conn, range(1, 7))
        given_world(conn, world)
        before = entries(conn)
        entered = segments.add_members(conn, SEGMENT, wanted, manual=manual, now=NOW)
        after = entries(conn)
        assert sorted(entered) == sorted(active(expected) - active(world))
        assert world_of(conn) == expected
        assert {contact_id for contact_id in after if after[contact_id] != before.get(contact_id)} == set(entered)
        assert all(after[contact_id] > max(before.values(), default=0) for contact_id in entered)
        assert segments.add_members(conn, SEGMENT, wanted, manual=manual, now=NOW) == []
        assert (world_of(conn), entries(conn)) == (expected, after)


@given(world=worlds, wanted=st.lists(contact_ids), manual=st.booleans())
def test_removing_does_what_the_rule_says_and_changes_no_entry(
    shared_engine: Engine, world: dict[int, Member], wanted: list[int], manual: bool
) -> None:
    expected = {
        contact_id: (removed(member, manual=manual) or member) if contact_id in wanted else member
        for contact_id, member in world.items()
    }
    with shared_engine.connect() as conn:
        given_world(conn, world)
        before = entries(conn)
        left = segments.remove_members(conn, SEGMENT, wanted, manual=manual, now=NOW)
        assert left == sorted(active(world) - active(expected))
        assert world_of(conn) == expected
        assert entries(conn) == before
        assert segments.remove_members(conn, SEGMENT, wanted, manual=manual, now=NOW) == []


def test_only_what_is_given_of_a_segment_changes(conn: Connection) -> None:
    assert segments.save(conn, "news", name="News", public=False, published=None) == "created"
    assert segments.save(conn, "news", name=None, public=None, published=None) == "unchanged"
    assert segments.save(conn, "news", name=None, public=None, published=False) == "updated"
    found = segments.find(conn, "news")
    assert found is not None
    assert (found.name, found.public, found.published) == ("News", False, False)


@pytest.mark.parametrize("size", [10, 1000])
def test_adding_takes_two_statements_at_most_whatever_the_number(conn: Connection, size: int) -> None:
    from sqlalchemy import event

    given_contacts(conn, range(size))
    ran: list[str] = []

    def note(*args: object) -> None:
        ran.append(str(args[2]))

    event.listen(conn, "before_cursor_execute", note)
    segments.add_members(conn, SEGMENT, range(size), manual=True, now=NOW)
    segments.add_members(conn, SEGMENT, range(size), manual=True, now=NOW)
    assert len(ran) == 3
