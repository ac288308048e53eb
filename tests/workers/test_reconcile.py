"""The update's statements against the rule for one contact, over worlds that nobody would think of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from parcours.db.scope import Scope
from parcours.db.tables import campaigns, membership
from parcours.db.tables.membership import Chunk
from parcours.domain.contacts.membership import Arrival, Departure, State, entering
from parcours.domain.time.intervals import Interval
from parcours.workers.membership import reconcile
from tests.workers.worlds import START, UTC_ZONE, World

NOW = START + timedelta(days=30)
COOLDOWN = Interval(days=10)

# Of each segment, when the contact last entered and whether it is still in; None: never was.
presences = st.none() | st.tuples(st.integers(1, 9), st.booleans())
departures = st.none() | st.sampled_from(list(Departure))


@dataclass(frozen=True)
class Person:
    """A contact before the update: the published segment, the one switched off, and its membership."""

    on: tuple[int, bool] | None
    off: tuple[int, bool] | None
    state: State | None


@st.composite
def states(draw: st.DrawFn) -> State:
    departure = draw(departures)
    days_ago = draw(st.integers(0, 20))
    return State(
        rotation=draw(st.integers(1, 3)),
        added_at=START,
        manual=departure is None and draw(st.booleans()),
        left_at=None if departure is None else NOW - timedelta(days=days_ago),
        departure=departure,
        left_entry=None if departure is None else draw(st.integers(0, 9)),
    )


people = st.builds(Person, presences, presences, st.none() | states())
worlds = st.dictionaries(st.integers(1, 8), people, max_size=8)
reentries = st.sampled_from(["never", "after_exit", "always"])


def after(person: Person, *, reentry: Any, cooled: bool, exit_on_leave: bool) -> str | None:
    """The rule of one contact: its membership after an update, as `in 1` or `segment 2`."""
    state = person.state
    in_source = person.on is not None and person.on[1]
    if in_source and (state is None or state.departure is not None):
        assert person.on is not None
        known = None if state is None else replace(state, entry=person.on[0])
        cooldown = COOLDOWN if cooled else None
        entry = entering(known, Arrival.SEGMENT, reentry=reentry, cooldown=cooldown, now=NOW, zone=UTC_ZONE)
        if entry is not None:
            return f"in {entry.rotation}"
    if state is None:
        return None
    held = in_source or (person.off is not None and person.off[1])
    if state.departure is None and exit_on_leave and not state.manual and not held:
        return f"segment {state.rotation}"
    return f"{state.departure or 'in'} {state.rotation}"


def given_people(conn: Connection, world: dict[int, Person], campaign_id: int, on: int, off: int) -> None:
    for id_, person in world.items():
        here: dict[str, Any] = {"id": id_, "campaign": campaign_id, "now": START}
        conn.execute(text("INSERT INTO contact (id, key) VALUES (:id, 'p' || :id)"), here)
        for segment_id, presence in ((on, person.on), (off, person.off)):
            if presence is not None:
                entry, active = presence
                conn.execute(
                    text(
                        "INSERT INTO segment_member (contact_id, segment_id, active, entry, changed_at) "
                        "VALUES (:id, :segment, :active, :entry, :now)"
                    ),
                    {**here, "segment": segment_id, "active": active, "entry": entry},
                )
        if person.state is not None:
            conn.execute(
                text(
                    "INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival, manual, "
                    "left_at, departure, left_entry) VALUES (:id, :campaign, :rotation, :now, 'segment', "
                    ":manual, :left_at, :departure, :left_entry)"
                ),
                {
                    **here,
                    "rotation": person.state.rotation,
                    "manual": person.state.manual,
                    "left_at": person.state.left_at,
                    "departure": person.state.departure,
                    "left_entry": person.state.left_entry,
                },
            )


def members(conn: Connection, campaign_id: int) -> dict[int, str]:
    rows = conn.execute(
        text(
            "SELECT contact_id, coalesce(departure::text, 'in') || ' ' || rotation AS state FROM membership "
            "WHERE campaign_id = :id"
        ),
        {"id": campaign_id},
    )
    return {row.contact_id: row.state for row in rows}


@pytest.fixture
def sources(world: World) -> World:
    """Campaigns of every kind, with a source that is on and one that is off."""
    world.segment("on")
    world.segment("off")
    for reentry in ("never", "after_exit", "always"):
        for cooled in (False, True):
            for exit_on_leave in (False, True):
                more: dict[str, Any] = {"cooldown": "10 days"} if cooled else {}
                world.campaign(
                    """
                    - {step: one, action: contact.points, with: {points: 1}}
                    - {step: two, action: contact.points, with: {points: 1}, after: 1 day}
                    """,
                    key=name(reentry, cooled, exit_on_leave),
                    segments=["on", "off"],
                    reentry=reentry,
                    exit_on_leave=exit_on_leave,
                    **more,
                )
    world.segment("off", published=False)
    return world


def name(reentry: str, cooled: bool, exit_on_leave: bool) -> str:
    return f"{reentry}-{cooled}-{exit_on_leave}".lower()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    people=worlds,
    reentry=reentries,
    cooled=st.booleans(),
    exit_on_leave=st.booleans(),
    limit=st.none() | st.integers(1, 4),
)
def test_the_update_does_what_the_rule_says_and_then_nothing(
    sources: World,
    *,
    people: dict[int, Person],
    reentry: str,
    cooled: bool,
    exit_on_leave: bool,
    limit: int | None,
) -> None:
    zone, chunk = sources.zone, Chunk(1, 100)
    with sources.engine.connect() as conn:  # Rolled back after each example.
        campaign, _ = campaigns.enter(conn, sources.found(conn, name(reentry, cooled, exit_on_leave)).id, zone)
        on, off = (
            conn.execute(text("SELECT id FROM segment WHERE key = :key"), {"key": key}).scalar_one()
            for key in ("on", "off")
        )
        given_people(conn, people, campaign.id, on, off)
        before = members(conn, campaign.id)
        expected = {
            id_: state
            for id_, person in people.items()
            if (state := after(person, reentry=reentry, cooled=cooled, exit_on_leave=exit_on_leave))
        }
        moved = 0
        while done := +reconcile(conn, campaign, chunk, now=NOW, zone=zone, limit=limit, scope=Scope()):
            assert limit is None or done.total() <= limit
            moved += done.total()
        assert members(conn, campaign.id) == expected
        assert moved == sum(before.get(id_) != state for id_, state in expected.items())
        # Who came in stands at both roots; nobody else was armed.
        waits = conn.execute(
            text("SELECT contact_id, count(*), min(rotation) FROM wait WHERE campaign_id = :id GROUP BY 1"),
            {"id": campaign.id},
        )
        came = {id_ for id_, state in expected.items() if state.startswith("in") and before.get(id_) != state}
        assert {tuple(row) for row in waits} == {(id_, 2, int(expected[id_][-1])) for id_ in came}


def test_the_way_by_timezone_joins_the_same_contacts_as_the_plain_one(world: World) -> None:
    for zone in ("Europe/Paris", "America/New_York", "Not/AZone", "", None):
        key = f"c-{zone}".lower().replace("/", "-")
        world.contacts(key, timezone=zone, segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}", key="plain")
    world.campaign('- {step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}', key="zoned")
    world.update()
    assert world.members(campaign="plain") == world.members(campaign="zoned")
    assert len(world.waits(campaign="zoned")) == len(world.waits(campaign="plain")) == 5
    assert {wait.contact: f"{wait.due_at:%d %H}" for wait in world.waits(campaign="zoned")} == {
        # It is eleven in Paris, so a day later nine is over.
        "c-europe-paris": "03 07",
        "c-america-new_york": "02 13",
        "c-not-azone": "02 09",
        "c-": "02 09",
        "c-none": "02 09",
    }


def test_who_moves_to_another_timezone_meanwhile_does_not_join_by_half(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.contacts("ann", segment="everyone", timezone="Europe/Paris")
    world.campaign('- {step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}')
    zones = membership.zones

    def just_before_she_moves(conn: Connection, chunk: Chunk) -> list[str]:
        found = zones(conn, chunk)
        world.write("UPDATE contact SET timezone = 'Asia/Tokyo'")
        return found

    monkeypatch.setattr(membership, "zones", just_before_she_moves)
    world.update()
    assert (world.members(), world.standing("ann")) in (({}, []), ({"ann": "in 1"}, ["a"]))
    monkeypatch.undo()
    world.update()
    assert (world.members(), world.standing("ann")) == ({"ann": "in 1"}, ["a"])


def test_a_range_of_ids_without_a_contact_is_passed_over(world: World) -> None:
    world.contacts("first", segment="everyone")
    world.contacts("second")
    world.write("UPDATE contact SET id = id + 100000 WHERE key = 'second'")
    world.enter("everyone", "second")
    world.campaign('- {step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}')
    assert world.update() == {"added": 2}
