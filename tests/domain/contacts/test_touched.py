"""What was touched, and whose answers may be others then."""

from __future__ import annotations

import pytest

from parcours.domain.contacts import touched
from tests.domain.worlds import contact


def test_only_readers_of_what_was_touched_are_found() -> None:
    readers = touched.Readers(
        {1: {"fields.country"}, 2: {"fields.city"}, 3: {"tags"}, 4: {"*", "time"}, 5: {"tags.vip"}, 6: {"points"}}
    )
    assert readers.of(["fields.country"]) == {1, 4}
    assert readers.of(["fields"]) == {1, 2, 4}
    assert readers.of(["tags.vip"]) == {3, 4, 5}
    assert readers.of(["tags.other", "points"]) == {3, 4, 6}
    assert readers.of(["*"]) == {1, 2, 3, 4, 5, 6}
    assert readers.of([]) == frozenset()


def test_what_differs_between_two_states_was_touched() -> None:
    one = contact(points=1, tags=frozenset(["a", "b"]), fields={"x": 1, "y": 2})
    before = one.state()
    assert touched.by_difference(before, one.state()) == frozenset()
    one.points, one.tags, one.fields, one.company = 2, frozenset(["b", "c"]), {"x": 1, "z": 3}, "acme"
    one.received, one.scores = frozenset(["welcome"]), {"sport": 1}
    assert touched.by_difference(before, one.state()) == {
        "points", "tags.a", "tags.c", "fields.y", "fields.z", "companies", "emails", "scores.sport",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "data", "found"),
    [
        ("order.paid", {}, {"events.order.paid", "last_active_at"}),
        (
            "form.submitted",
            {"form": "a.b"},
            {"events.form.submitted", "last_active_at", "submissions.a.b", "utm", "devices"},
        ),
        ("page.hit", {}, {"events.page.hit", "last_active_at", "visits", "utm", "devices"}),
        ("email.bounced", {}, {"events.email.bounced", "emails", "do_not_contact"}),
        ("contact.merged", {"from": "b"}, {"*"}),
    ],
)
def test_an_event_touches_what_it_leaves_behind(type_: str, data: dict[str, str], found: set[str]) -> None:
    assert touched.by_event(type_, data) == found
