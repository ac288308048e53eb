"""The answers of rules, when they change, and what they depend on."""

from __future__ import annotations

import json
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parcours.domain.contacts import touched
from parcours.domain.segments import judging
from parcours.domain.segments import rule as rules
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps.batch import Batch, Company, Knowledge, Submission
from parcours.domain.steps.registry import condition
from parcours.domain.steps.types import Failed, NoProperties
from tests.domain.segments.people import (
    INTERVALS,
    NAMES,
    NOWS,
    ZONE,
    Person,
    as_condition,
    as_rule,
    conditions,
    mixed,
    people,
    trees,
    world_of,
)
from tests.domain.worlds import NOW, contact


def _naively(rule: Rule, person: Person, now: datetime) -> bool | Failed:
    """Return what a rule says of one contact, asked by recursion, one condition at a time."""
    match rule:
        case rules.All(several):
            answers = [_naively(each, person, now) for each in several]
            if False in answers:
                return False
            return next((each for each in answers if isinstance(each, Failed)), True)
        case rules.Any(several):
            answers = [_naively(each, person, now) for each in several]
            if True in answers:
                return True
            return next((each for each in answers if isinstance(each, Failed)), False)
        case rules.Not(one):
            answer = _naively(one, person, now)
            return answer if isinstance(answer, Failed) else not answer
    assert isinstance(rule, Condition)
    [answer] = judging.judge(rule, [person.contact], world_of([person]), now, ZONE)
    return answer


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_batch_is_answered_as_if_each_contact_and_condition_was_asked_alone(data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    rule = as_rule(data.draw(trees(now, span)))
    crowd = [data.draw(people(now, span, number)) for number in range(1, 4)]
    found = judging.judge(rule, [each.contact for each in crowd], world_of(crowd), now, ZONE)
    assert found == [_naively(rule, each, now) for each in crowd]


def _walk(rule: Rule, person: Person, now: datetime, until: datetime) -> tuple[list[datetime], list[bool | Failed]]:
    """Return when a rule is asked, from change to change, and the answers."""
    world, asked, answers = world_of([person]), [], []
    at: datetime | None = now
    while at is not None and at < until:
        [(answer, changes_at)] = judging.judged(rule, [person.contact], world, at, ZONE)
        assert changes_at is None or changes_at > at
        asked.append(at)
        answers.append(answer)
        assert len(asked) < 500, "asked again and again"
        at = changes_at
    return asked, answers


# Hours of the first days, and some of the days after them.
_LOOKS = sorted(
    {timedelta(minutes=85 * n) for n in range(40)} | {timedelta(hours=31 * n, minutes=11) for n in range(45)}
)


def _assert_no_change_is_missed(rule: Rule, person: Person, now: datetime) -> None:
    asked, answers = _walk(rule, person, now, now + timedelta(days=60))
    world = world_of([person])
    # Also right before each instant at which it was asked, when the answer was still that of the one before.
    looks = [now + by for by in _LOOKS] + [at - timedelta.resolution for at in asked[1:]]
    for look in looks:
        known = answers[bisect_right(asked, look) - 1]
        [answer] = judging.judge(rule, [person.contact], world, look, ZONE)
        assert answer == known, (look, asked)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_no_change_by_time_is_missed(name: str, data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    person = data.draw(people(now, span))
    for _ in range(3):
        _assert_no_change_is_missed(as_condition(data.draw(conditions(now, span, name))), person, now)


@pytest.mark.parametrize("operator", ["within", "older_than", "in_next", "date"])
@pytest.mark.parametrize("name", ["contact.field", "company.field", "form.field"])
def test_no_change_by_time_of_a_list_is_missed(name: str, operator: str) -> None:
    now = datetime(2026, 3, 28, 7, 13, tzinfo=UTC)
    days = ["2026-03-30", "2026-03-28T23:00:00"]
    test = {"field": "birthday", "operator": operator, "value": "+P0D" if operator == "date" else "90 minutes"}
    more: dict[str, dict[str, str]] = {
        "contact.field": {},
        "company.field": {"which": "any"},
        "form.field": {"form": "poll", "which": "any"},
    }
    asked = as_condition({"condition": name, "with": {**more[name], **test}})
    for value in (days[:1], days, days[::-1]):
        person = Person(
            contact(fields={"birthday": value}, companies=frozenset(["acme"])),
            submissions=[Submission("poll", {"birthday": each}, now) for each in (value, "nothing")],
            companies={"acme": Company("acme", "acme", 0, {"birthday": value})},
        )
        [changes_at] = judging.next_change(asked, [person.contact], world_of([person]), now, ZONE)
        assert changes_at is not None
        _assert_no_change_is_missed(asked, person, now)


def test_a_campaign_that_fails_the_date_hides_no_change_of_another() -> None:
    added = {"within": "30 days", "operator": "before", "date": "2026-02-28"}
    asked = as_condition(
        {"condition": "contact.campaigns", "with": {"campaigns": ["spring", "autumn"], "added": added}}
    )
    spring, autumn = datetime(2026, 2, 20, 9, tzinfo=UTC), datetime(2026, 3, 5, 9, tzinfo=UTC)
    person = Person(contact(), campaigns={"spring": spring, "autumn": autumn})
    now = datetime(2026, 3, 10, tzinfo=UTC)
    [changes_at] = judging.next_change(asked, [person.contact], world_of([person]), now, ZONE)
    assert changes_at == spring + timedelta(days=30, microseconds=1)
    _assert_no_change_is_missed(asked, person, now)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_no_change_of_a_whole_rule_is_missed(data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    _assert_no_change_is_missed(as_rule(data.draw(trees(now, span))), data.draw(people(now, span)), now)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_not_read_changes_no_answer(name: str, data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    one, other = data.draw(people(now, span, 1)), data.draw(people(now, span, 1))
    for _ in range(8):
        asked = as_condition(data.draw(conditions(now, span, name)))
        like = mixed(one, other, rules.reads(asked))
        first, second = (judging.judge(asked, [each.contact], world_of([each]), now, ZONE) for each in (one, like))
        assert first == second


def test_what_reads_no_time_never_changes_by_it() -> None:
    for name in ("contact.points", "contact.tags"):
        given_ = {"operator": "gte", "points": 3} if name == "contact.points" else {"tags": ["a"]}
        rule = as_rule({"condition": name, "with": given_})
        assert not rules.reads_time(rule)
        assert judging.next_change(rule, [contact()], Knowledge(), NOW, ZONE) == [None]


def _count(**given_: Any) -> dict[str, Any]:
    return {"condition": "event.count", "with": {"type": "order.paid", **given_}}


def test_what_another_condition_settles_is_not_asked_again() -> None:
    created = {"condition": "contact.created", "with": {"within": "7 days"}}
    never = {"condition": "contact.tags", "with": {"tags": ["a"]}}
    new = contact(created_at=NOW - timedelta(days=1))
    over = NOW + timedelta(days=6, microseconds=1)
    for rule, changes_at in (
        ({"all": [created, never]}, None),
        ({"any": [created, never]}, over),
        ({"any": [created, {"not": never}]}, None),
        ({"not": {"any": [{"not": created}, never]}}, over),
    ):
        assert judging.next_change(as_rule(rule), [new], Knowledge(), NOW, ZONE) == [changes_at]


def _type(name: str, run: Any, **more: Any) -> Condition:
    run.__doc__ = name
    made = condition(name, properties=NoProperties, **more)(run)
    return Condition(made, NoProperties())


def test_a_condition_that_raises_for_one_contact_fails_for_that_one_alone() -> None:
    def breaks(batch: Batch[NoProperties]) -> list[bool]:
        if any(each.id == 5 for each in batch.contacts):
            raise ZeroDivisionError("five")
        return [True for _ in batch.contacts]

    crowd = [contact(number) for number in range(1, 9)]
    broken = _type("test.breaks", breaks)
    found = judging.judge(broken, crowd, Knowledge(), NOW, ZONE)
    assert [each for each in found if each is not True] == [found[4]]
    assert isinstance(found[4], Failed)
    assert "ZeroDivisionError: five" in found[4].error
    no = as_rule({"condition": "contact.tags", "with": {"tags": ["a"]}})
    assert judging.judge(rules.All((broken, no)), crowd, Knowledge(), NOW, ZONE)[4] is False
    assert judging.judge(rules.Any((broken, rules.Not(no))), crowd, Knowledge(), NOW, ZONE)[4] is True
    assert judging.judge(rules.Not(broken), crowd, Knowledge(), NOW, ZONE)[4] == found[4]


def test_a_condition_that_does_not_answer_for_everybody_fails() -> None:
    found = judging.judge(_type("test.silent", lambda batch: []), [contact(1), contact(2)], Knowledge(), NOW, ZONE)
    assert all(isinstance(each, Failed) and "0 answers" in each.error for each in found)


def test_a_type_that_says_nothing_is_asked_after_every_change_and_once_a_day() -> None:
    silent = _type("test.silent", lambda batch: [True for _ in batch.contacts])
    assert touched.meets(rules.reads(silent), {"fields.country"})
    assert judging.next_change(silent, [contact()], Knowledge(), NOW, ZONE) == [NOW + timedelta(days=1)]


@pytest.mark.parametrize(
    "nonsense", [lambda batch: [NOW - timedelta(days=1)], lambda batch: [NOW], lambda batch: [], print]
)
def test_a_type_that_talks_nonsense_of_time_is_not_asked_at_once_again(nonsense: Any) -> None:
    strange = _type("test.strange", lambda batch: [True for _ in batch.contacts], flips=nonsense)
    [found] = judging.next_change(strange, [contact()], Knowledge(), NOW, ZONE)
    assert found is not None
    assert found >= NOW + timedelta(minutes=1)


def test_the_end_of_the_calendar_is_no_error() -> None:
    end = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    born = contact(fields={"day": "9999-12-31", "leap": "2024-02-29"}, created_at=end - timedelta(hours=1))
    for given_ in (
        {"condition": "contact.created", "with": {"within": "90 years"}},
        {"condition": "contact.field", "with": {"field": "day", "operator": "in_next", "value": "30 days"}},
        {"condition": "contact.field", "with": {"field": "day", "operator": "older_than", "value": "30 days"}},
        {"condition": "contact.field", "with": {"field": "leap", "operator": "date", "value": "anniversary"}},
        {"condition": "contact.field", "with": {"field": "day", "operator": "date", "value": "+P1Y"}},
    ):
        for now in (end, NOW):
            [(answer, changes_at)] = judging.judged(as_rule(given_), [born], Knowledge(), now, ZONE)
            assert isinstance(answer, bool)
            assert changes_at is None or changes_at > now


def test_why_somebody_is_in_or_not_is_told_condition_by_condition() -> None:
    rule = as_rule(
        {
            "all": [
                {"condition": "contact.points", "with": {"operator": "gte", "points": 50}},
                {"not": {"condition": "contact.tags", "with": {"tags": ["customer"]}}},
            ]
        }
    )
    found = judging.explain(rule, contact(points=60, tags=frozenset(["customer"])), Knowledge(), NOW, ZONE).as_json()
    assert (found["kind"], found["words"], found["answer"]) == ("all", "all of these", False)
    points, no_customer = found["below"]
    assert (points["answer"], points["has"]) == (True, 60)
    assert (no_customer["answer"], no_customer["below"][0]["answer"]) == (False, True)
    assert no_customer["below"][0]["has"] == ["customer"]
    assert no_customer["below"][0]["words"] == "the contact has the tag customer"


@pytest.mark.parametrize(
    ("name", "given_", "words"),
    [
        ("contact.field", {"field": "a", "operator": "in", "value": ["FR", "BE"]}, "a is one of FR, BE"),
        (
            "contact.field",
            {"field": "a", "operator": "gt", "value": {"field": "b"}},
            "a is more than what the field b says",
        ),
        ("contact.field", {"field": "a", "operator": "date", "value": "anniversary"}, "the anniversary of a is today"),
        ("contact.field", {"field": "a", "operator": "date", "value": "+P1W"}, "a is 1 week from today"),
        ("contact.field", {"field": "a", "operator": "gt", "value": "2026-12-24"}, "a is after 2026-12-24"),
        ("contact.field", {"field": "a", "operator": "within", "value": "7 days"}, "a is within the last 7 days"),
        (
            "event.count",
            {
                "type": "order.paid",
                "at_least": 2,
                "within": "90 days",
                "where": [{"field": "total", "operator": ">", "value": 5}],
            },
            "the event order.paid where total is more than 5 happened at least 2 times within the last 90 days",
        ),
        ("event.count", {"type": "order.paid", "exactly": 0}, "the event order.paid did not happen"),
        ("email.activity", {"activity": "opened", "emails": ["a"]}, "the email a was opened"),
        ("email.activity", {"activity": "sent", "emails": ["a", "b"]}, "one of the emails a, b was sent"),
        ("contact.created", {"older_than": "1 month"}, "the contact was created longer ago than 1 month"),
        ("contact.points", {"operator": ">=", "points": 5}, "the number of points is at least 5"),
    ],
)
def test_a_condition_is_told_in_words(name: str, given_: dict[str, Any], words: str) -> None:
    assert judging.words(as_condition({"condition": name, "with": given_})) == words


@given(st.data())
@settings(max_examples=60)
def test_every_condition_can_be_explained_as_json(data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    person = data.draw(people(now, span))
    rule = as_rule(data.draw(trees(now, span)))
    found = judging.explain(rule, person.contact, world_of([person]), now, ZONE)
    assert json.dumps(found.as_json())
    [answer] = judging.judge(rule, [person.contact], world_of([person]), now, ZONE)
    assert found.answer == answer
