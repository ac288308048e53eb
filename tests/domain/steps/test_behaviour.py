"""Conditions on what a contact did, and on when it was created."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from parcours.domain.steps import behaviour, conditions, history
from parcours.domain.steps.batch import Company, Fact, Knowledge, Mailing, Submission, Visit
from parcours.domain.steps.types import StepType
from tests.domain.worlds import NOW, contact, properties, run


def _ago(**by: float) -> Any:
    return NOW - timedelta(**by)


ORDERS = [Fact("order.paid", {"total": total}, _ago(days=days)) for total, days in ((50, 1), (5, 30), (70, 95))]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({}, True),
        ({"at_least": 3}, True),
        ({"at_least": 4}, False),
        ({"at_least": 2, "within": "90 days"}, True),
        ({"at_least": 3, "within": "90 days"}, False),
        ({"at_most": 2}, False),
        ({"at_most": 2, "within": "90 days"}, True),
        ({"exactly": 1, "older_than": "90 days"}, True),
        ({"exactly": 0, "within": "1 hour"}, True),
        ({"exactly": 1, "within": "90 days", "older_than": "7 days"}, True),
        ({"exactly": 2, "where": [{"field": "total", "operator": "gte", "value": 50}]}, True),
        ({"at_least": 2, "within": "90 days", "where": [{"field": "total", "operator": "gte", "value": 50}]}, False),
        # Of the interval up to now, its beginning included.
        ({"at_least": 2, "within": "30 days"}, True),
        ({"at_least": 2, "within": "29 days"}, False),
    ],
)
def test_events_are_counted(given: dict[str, Any], answer: bool) -> None:
    world = Knowledge(events={1: [*ORDERS, Fact("order.sent", {}, NOW)]})
    assert run(behaviour.event_count, {"type": "order.paid", **given}, contact(), contact(2), world=world) == [
        answer,
        given.get("at_least", 1) == 0 or "at_most" in given or given.get("exactly") == 0,
    ]


def test_events_of_a_pattern_are_counted_together() -> None:
    world = Knowledge(events={1: [*ORDERS, Fact("order.sent", {}, NOW), Fact("page.hit", {}, NOW)]})
    assert run(behaviour.event_count, {"type": "order.*", "exactly": 4}, contact(), world=world) == [True]
    assert run(behaviour.event_count, {"type": "*", "exactly": 5}, contact(), world=world) == [True]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"activity": "sent"}, True),
        ({"activity": "sent", "emails": ["offer"]}, False),
        ({"activity": "opened", "emails": ["offer", "welcome"]}, True),
        ({"activity": "opened", "within": "1 day"}, False),
        ({"activity": "opened", "older_than": "1 day"}, True),
        ({"activity": "clicked"}, False),
    ],
)
def test_what_became_of_emails_is_asked(given: dict[str, Any], answer: bool) -> None:
    mailings = [Mailing("sent", "welcome", _ago(days=3)), Mailing("opened", "welcome", _ago(days=2))]
    world = Knowledge(mailings={1: mailings})
    assert run(behaviour.email_activity, given, contact(), contact(2), world=world) == [answer, False]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({}, True),
        ({"forms": ["poll"]}, False),
        ({"forms": ["poll", "signup"]}, True),
        ({"within": "7 days"}, True),
        ({"within": "2 days"}, False),
        ({"older_than": "7 days"}, False),
    ],
)
def test_submissions_are_asked(given: dict[str, Any], answer: bool) -> None:
    world = Knowledge(submissions={1: [Submission("signup", {}, _ago(days=3))]})
    assert run(behaviour.form_submitted, given, contact(), contact(2), world=world) == [answer, False]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"within": "7 days"}, True),
        ({"within": "2 days"}, False),
        ({"older_than": "2 days"}, True),
        ({"operator": "gte", "value": "2026-02-27"}, True),
        ({"operator": "lt", "value": "2026-02-27"}, False),
        ({"operator": "date", "value": "-P3D"}, True),
        ({"operator": "lt", "value": "2026-02-28", "within": "7 days"}, True),
        ({"operator": "lt", "value": "2026-02-28", "within": "1 day"}, False),
    ],
)
def test_the_time_of_creation_is_asked(given: dict[str, Any], answer: bool) -> None:
    old = contact(created_at=_ago(days=3))
    assert run(conditions.created, given, old, contact(2)) == [answer, False]


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        ({"field": "city", "operator": "=", "value": "Lyon"}, [False, False]),
        ({"field": "city", "operator": "=", "value": "Lyon", "which": "any"}, [True, False]),
        ({"field": "city", "operator": "=", "value": "paris"}, [True, False]),
        ({"field": "points", "operator": ">", "value": 5}, [True, False]),
        ({"field": "name", "operator": "contains", "value": "inc"}, [True, False]),
        ({"field": "city", "operator": "empty"}, [False, False]),
    ],
)
def test_fields_of_companies_are_asked(given: dict[str, Any], answers: list[bool]) -> None:
    companies = {
        "acme": Company("acme", "Acme Inc.", 9, {"city": "Paris"}),
        "bolt": Company("bolt", "Bolt", 0, {"city": "Lyon"}),
    }
    ann = contact(companies=frozenset(companies), company="acme")
    assert run(conditions.company_field, given, ann, contact(2), world=Knowledge(companies=companies)) == answers


def test_a_visit_and_a_campaign_are_asked_for_lately() -> None:
    world = Knowledge(visits={1: [Visit("a.com", None, _ago(days=3))]}, campaigns={1: {"spring": _ago(days=3)}})
    for given, answer in (
        ({"within": "7 days"}, True),
        ({"within": "2 days"}, False),
        ({"older_than": "2 days"}, True),
        ({"older_than": "7 days"}, False),
    ):
        assert run(history.page_visited, given, contact(), world=world) == [answer]
        added = {"campaigns": ["spring"], "added": given}
        assert run(conditions.in_campaigns, added, contact(), world=world) == [answer]


def test_days_of_a_period_are_those_of_the_contacts_clock() -> None:
    # In New York the clocks went forward on the 8th of March: a week before was an hour later there than in UTC.
    now = NOW.replace(day=12)
    people = [contact(1, timezone="America/New_York"), contact(2)]
    for minutes, answers in ((-30, [False, False]), (30, [False, True]), (75, [True, True])):
        fact = Fact("a", {}, now - timedelta(days=7) + timedelta(minutes=minutes))
        world = Knowledge(events={1: [fact], 2: [fact]})
        assert run(behaviour.event_count, {"type": "a", "within": "7 days"}, *people, world=world, now=now) == answers


@pytest.mark.parametrize(
    ("step_type", "given", "sentence"),
    [
        (behaviour.event_count, {}, "Field required"),
        (behaviour.event_count, {"type": "a", "exactly": 1, "at_least": 1}, "use either"),
        (behaviour.event_count, {"type": "a", "at_least": 3, "at_most": 1}, "must not be greater"),
        (behaviour.event_count, {"type": "a", "at_least": 1001}, "less than or equal to 1000"),
        (behaviour.event_count, {"type": "contact.changed"}, "cannot be counted"),
        (behaviour.event_count, {"type": "a", "within": "soon"}, "soon"),
        (behaviour.event_count, {"type": "a", "within": "7 days", "older_than": "1 month"}, "must be shorter"),
        (behaviour.email_activity, {}, "Field required"),
        (behaviour.email_activity, {"activity": "read"}, "sent"),
        (conditions.created, {}, "set 'within'"),
        (conditions.created, {"value": "2026-01-01", "within": "1 day"}, "needs an 'operator'"),
        (conditions.company_field, {"field": "a", "operator": "is"}, "unknown operator"),
        (conditions.in_campaigns, {"campaigns": ["a"], "added": {"operator": "before"}}, "set both"),
        (conditions.in_campaigns, {"campaigns": ["a"], "added": {}}, "set 'operator'"),
    ],
)
def test_properties_that_make_no_sense_are_refused(step_type: StepType, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(step_type, given)
