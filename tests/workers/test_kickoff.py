"""The first steps of new members, and when steps are due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import ProgrammingError

from tests.workers.worlds import World, at

utc = datetime.fromisoformat

TWO_ROOTS = """
    - {step: one, action: contact.points, with: {points: 1}}
    - {step: two, action: contact.points, with: {points: 10}}
"""


def test_every_member_starts_at_every_root_once(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.contacts("bob")
    world.campaign(TWO_ROOTS, forms=["signup"])
    world.submit("signup", "bob")
    world.update()
    assert world.trigger() == {"done": 4}
    for day in range(1, 4):
        world.run(at(day))
    assert world.points("ann", "bob") == [11, 11]
    assert world.tally() == {"one done": 2, "two done": 2}


def test_kickoff_is_never_half_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.contacts("ann", segment="everyone")
    world.contacts("bob")
    world.campaign(TWO_ROOTS, forms=["signup"])
    world.write("ALTER TABLE wait RENAME TO wait_aside")
    try:
        with pytest.raises(ProgrammingError):
            world.update()
        with pytest.raises(ProgrammingError):
            world.submit("signup", "bob")
    finally:
        world.write("ALTER TABLE wait_aside RENAME TO wait")
    assert world.members() == {}
    world.update()
    world.submit("signup", "bob")
    world.trigger()
    assert world.points("ann", "bob") == [11, 11]


def test_roots_run_in_the_order_of_the_file(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(
        """
        - {step: b, action: contact.stage, with: {stage: first}}
        - {step: a, action: contact.stage, with: {stage: second}}
        """
    )
    world.run()
    (row,) = world.read("SELECT stage FROM contact")
    assert row.stage == "second"


def test_roots_run_in_the_order_of_the_file_also_after_it_changed(world: World) -> None:
    world.campaign(
        """
        - {step: b, action: contact.stage, with: {stage: first}}
        - {step: a, action: contact.stage, with: {stage: second}}
        """
    )
    world.campaign(
        """
        - {step: a, action: contact.stage, with: {stage: second}}
        - {step: b, action: contact.stage, with: {stage: first}}
        """
    )
    world.contacts("ann", segment="everyone")
    world.run()
    (row,) = world.read("SELECT stage FROM contact")
    assert row.stage == "first"


def test_what_is_due_at_once_runs_in_the_same_transaction_down_the_tree(world: World) -> None:
    world.contacts("us", country="US", segment="everyone")
    world.contacts("fr", country="FR", segment="everyone")
    world.campaign(
        """
        - step: tag
          action: contact.tags
          with: {add: [new]}
          then:
            - step: american
              condition: contact.field
              with: {field: country, operator: "=", value: US}
              yes:
                - step: yes-1
                  action: contact.points
                  with: {points: 1}
                  then:
                    - step: has
                      condition: contact.points
                      with: {operator: gte, points: 1}
                      yes: [{step: yes-2, action: contact.tags, with: {add: [rich]}}]
              no: [{step: no-1, action: contact.tags, with: {remove: [new]}}]
        """
    )
    world.run()
    assert world.log("us") == ["tag done", "american yes", "yes-1 done", "has yes", "yes-2 done"]
    assert world.log("fr") == ["tag done", "american no", "no-1 done"]
    assert (world.tags("us"), world.tags("fr")) == ({"new", "rich"}, set())


def test_a_condition_is_evaluated_once_and_only_when_its_time_has_come(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(
        """
        - step: rich
          condition: contact.points
          with: {operator: gt, points: 5}
          after: 1 day
          yes: [{step: tag, action: contact.tags, with: {add: [rich]}}]
        """
    )
    world.run()
    assert (world.log(), world.standing("ann")) == ([], ["rich"])
    world.write("UPDATE contact SET points = 6")
    world.trigger(at(2))
    world.write("UPDATE contact SET points = 0")
    world.trigger(at(3))
    assert world.log() == ["rich yes", "tag done"]


# When a step is due.


@pytest.mark.parametrize(
    ("timing", "zone", "joins", "due"),
    [
        ("after: 90 minutes", None, at(1), at(1, "10:30")),
        ("after: 2 hours", None, at(1), at(1, "11:00")),
        ("after: 1 day", None, at(1), at(2)),
        ("after: 2 weeks", None, at(1), at(15)),
        ("after: P1DT2H", None, at(1), at(2, "11:00")),
        # A month later is the same day, or the last of the month.
        ("after: 1 month", None, at(1), utc("2026-07-01T09:00Z")),
        (
            "after: 1 month",
            None,
            utc("2027-01-31T10:00Z"),
            utc("2027-02-28T10:00Z"),
        ),
        (
            "after: 1 year",
            None,
            utc("2028-02-29T10:00Z"),
            utc("2029-02-28T10:00Z"),
        ),
        # A date, with an offset or in the default timezone; one that has passed is due at once.
        ("at: 2026-06-05T12:00", None, at(1), at(5, "12:00")),
        ("at: 2026-06-05T12:00+02:00", "America/New_York", at(1), at(5, "10:00")),
        ("at: 2026-05-01T12:00", None, at(1), at(1)),
        # An hour is the contact's own.
        ('after: 1 day, hour: "09:00"', None, at(1, "08:00"), at(2, "09:00")),
        ('hour: "09:00"', None, utc("2026-10-22T08:00Z"), utc("2026-10-22T09:00Z")),
        (
            'hour: "09:00"',
            "Europe/Paris",
            utc("2026-10-22T08:00Z"),
            utc("2026-10-23T07:00Z"),
        ),
        (
            'hour: "09:00"',
            "America/New_York",
            utc("2026-10-22T08:00Z"),
            utc("2026-10-22T13:00Z"),
        ),
        # One day across the change of clocks is the same time on the wall.
        (
            "after: 1 day",
            "Europe/Paris",
            utc("2026-10-24T10:00Z"),
            utc("2026-10-25T11:00Z"),
        ),
        # A window: before it, in it, at its end and after it.
        ('between: ["08:00", "10:00"]', None, at(1, "07:00"), at(1, "08:00")),
        ('between: ["08:00", "10:00"]', None, at(1, "09:59"), at(1, "09:59")),
        ('between: ["08:00", "10:00"]', None, at(1, "10:00"), at(2, "08:00")),
        ('between: ["08:00", "10:00"]', "Asia/Tokyo", at(1, "07:00"), at(1, "23:00")),
        # A window over midnight.
        ('between: ["22:00", "06:00"]', None, at(1, "23:00"), at(1, "23:00")),
        ('between: ["22:00", "06:00"]', None, at(1, "05:59"), at(1, "05:59")),
        ('between: ["22:00", "06:00"]', None, at(1, "12:00"), at(1, "22:00")),
        # Weekdays are the contact's: it is still Friday in New York.
        ("days: [mon, tue, wed, thu, fri]", "America/New_York", at(6, "02:00"), at(6, "02:00")),
        ("days: [mon, tue, wed, thu, fri]", None, at(6, "02:00"), at(8, "02:00")),
        ('hour: "12:00", days: [wed]', None, at(3, "13:00"), at(10, "12:00")),
        # The start of the window on the next day that is allowed.
        ('between: ["08:00", "10:00"], days: [mon]', None, at(5, "09:30"), at(8, "08:00")),
    ],
)
@pytest.mark.parametrize("way", ["segment", "form", "step"])
def test_a_step_is_due_when_its_timing_says_by_every_way_to_it(
    world: World, *, timing: str, zone: str | None, joins: datetime, due: datetime, way: str
) -> None:
    world.contacts("ann", timezone=zone)
    step = f"{{step: later, action: contact.points, with: {{points: 1}}, {timing}}}"
    if way == "step":
        world.campaign(f"- {{step: first, action: contact.tags, with: {{add: [a]}}, then: [{step}]}}")
    else:
        world.campaign(f"- {step}", forms=["signup"])
    if way == "form":
        world.submit("signup", "ann", joins)
    else:
        world.enter("everyone", "ann")
        world.update(joins)
    if way == "step":
        world.trigger(joins)
    if due > joins:
        assert world.due("ann", "later") == due
        world.trigger(due - timedelta(minutes=1))
        assert world.points("ann") == [0]
    # What is due exactly now runs.
    world.trigger(due)
    assert world.points("ann") == [1]


def test_children_count_from_when_their_parent_was_executed(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(
        """
        - step: parent
          action: contact.points
          with: {points: 1}
          after: 1 day
          then: [{step: child, action: contact.points, with: {points: 1}, after: 1 day}]
        """
    )
    world.run()
    world.trigger(at(4))
    assert world.due("ann", "child") == at(5)


def test_an_hour_that_has_just_passed_does_not_postpone(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign('- {step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}')
    world.update(at(1, "08:00"))
    assert world.due("ann", "a") == at(2, "09:00")
    world.trigger(at(2, "09:05"))
    assert world.log() == ["a done"]


def test_a_window_that_forbids_now_postpones_to_its_next_start(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign('- {step: a, action: contact.points, with: {points: 1}, after: 1 day, between: ["08:00", "10:00"]}')
    world.update(at(1, "09:00"))
    world.trigger(at(2, "10:00"))
    assert (world.log(), world.due("ann", "a")) == ([], at(3, "08:00"))
    world.trigger(at(3, "08:00"))
    assert world.log() == ["a done"]


def test_a_weekday_that_forbids_now_postpones(world: World) -> None:
    world.contacts("ann", segment="everyone")
    timing = 'after: 4 days, hour: "09:00", days: [fri]'
    world.campaign(f"- {{step: a, action: contact.points, with: {{points: 1}}, {timing}}}")
    world.update(at(1, "08:00"))
    assert world.due("ann", "a") == at(5, "09:00")
    world.trigger(at(6))
    assert (world.log(), world.due("ann", "a")) == ([], at(12, "09:00"))
