"""Conditions on stage, owner, refusals and campaigns, and the draw."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parcours.domain.contacts.contact import Contact
from parcours.domain.steps import conditions
from parcours.domain.steps.batch import Knowledge
from parcours.domain.steps.types import StepType
from tests.domain.worlds import contact, properties, run


@pytest.mark.parametrize(
    ("step_type", "given_", "sentence"),
    [
        (conditions.in_stage, {}, "Field required"),
        (conditions.has_owner, {"owners": "ann"}, "valid list"),
        (conditions.is_do_not_contact, {"channels": []}, "at least 1 item"),
        (conditions.is_do_not_contact, {"channels": ["email"], "reason": "bored"}, "Input should be"),
        (conditions.is_do_not_contact, {"channels": ["email"], "match": "none"}, "Input should be"),
        (conditions.in_campaigns, {"campaigns": ["a"], "added": {"operator": "before", "date": "soon"}}, "not a date"),
        (conditions.in_campaigns, {"campaigns": ["a"], "added": {"operator": "gt", "date": "2026-01-01"}}, "Input"),
        (conditions.in_campaigns, {"campaigns": ["a"], "added": {"operator": "after", "date": 2026}}, "not a date"),
        (conditions.split, {"percent": 101}, "less than or equal to 100"),
        (conditions.split, {"percent": -1}, "greater than or equal to 0"),
        (conditions.split, {"percent": True}, "a number is needed"),
        (conditions.split, {"percent": float("nan")}, "finite|greater"),
        (conditions.split, {}, "give 'percent', or 'draw', 'shares' and 'share'"),
        (conditions.split, {"draw": "d", "shares": {"a": 1}}, "or 'draw', 'shares' and 'share'"),
        (conditions.split, {"percent": 5, "share": "a"}, "use 'percent' or 'share', not both"),
        (conditions.split, {"draw": "d", "shares": {"a": 60, "b": 40.1}, "share": "a"}, "100.1 percent"),
        (conditions.split, {"draw": "d", "shares": {"a": 60}, "share": "b"}, "no share 'b'; 'shares' has a"),
        (conditions.split, {"draw": "d", "shares": {}, "share": "b"}, "'shares' has none"),
        (conditions.split, {"draw": "d", "shares": {"a": -1}, "share": "a"}, "greater than or equal to 0"),
    ],
)
def test_properties_that_make_no_sense_are_refused(step_type: StepType, given_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(step_type, given_)


def test_a_stage_or_an_owner_is_one_of_several() -> None:
    people = [contact(1, stage="lead", owner="ann"), contact(2, stage="fan", owner="bob"), contact(3)]
    assert run(conditions.in_stage, {"stages": ["fan", "lead"]}, *people) == [True, True, False]
    assert run(conditions.in_stage, {"stages": []}, *people) == [False, False, False]
    assert run(conditions.has_owner, {"owners": ["zoe", "bob"]}, *people) == [False, True, False]
    assert run(conditions.has_owner, {"owners": []}, *people) == [False, False, False]


@pytest.mark.parametrize(
    ("more", "answers"),
    [
        ({}, [True, True, False, False]),
        ({"match": "all"}, [True, False, False, False]),
        ({"reason": "manual"}, [True, False, False, False]),
        ({"reason": "bounced", "match": "all"}, [False, False, False, False]),
        ({"channels": ["Email"]}, [True, True, False, False]),
    ],
)
def test_do_not_contact_asks_for_any_channel_or_all(more: dict[str, Any], answers: list[bool]) -> None:
    people = [
        contact(1, do_not_contact={"email": "bounced", "sms": "manual"}),
        contact(2, do_not_contact={"email": "unsubscribed"}),
        contact(3, do_not_contact={"push": "manual"}),
        contact(4),
    ]
    assert run(conditions.is_do_not_contact, {"channels": ["email", "sms"], **more}, *people) == answers


MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
JUST_BEFORE = MIDNIGHT - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("given_", "answers"),
    [
        ({"campaigns": ["spring"]}, [True, True, False]),
        ({"campaigns": ["this"]}, [False, False, True]),
        ({"campaigns": ["winter", "this", "spring"]}, [True, True, True]),
        ({"campaigns": []}, [False, False, False]),
        ({"campaigns": ["spring"], "added": {"operator": "after", "date": "2026-03-01"}}, [True, False, False]),
        ({"campaigns": ["spring"], "added": {"operator": "before", "date": MIDNIGHT}}, [False, True, False]),
        # Only the campaigns asked for are dated.
        ({"campaigns": ["this"], "added": {"operator": "after", "date": "2026-03-01"}}, [False, False, False]),
    ],
)
def test_campaigns_are_those_the_contact_is_in(given_: dict[str, Any], answers: list[bool]) -> None:
    campaigns = {1: {"spring": MIDNIGHT}, 2: {"spring": JUST_BEFORE}, 3: {"welcome": JUST_BEFORE}}
    people = [contact(number) for number in (1, 2, 3)]
    assert run(conditions.in_campaigns, given_, *people, world=Knowledge(campaigns=campaigns)) == answers


def test_a_date_without_an_offset_is_the_contacts() -> None:
    campaigns = {number: {"spring": MIDNIGHT - timedelta(minutes=30)} for number in (1, 2, 3)}
    people = [contact(1, timezone="Europe/Paris"), contact(2), contact(3, timezone="America/New_York")]
    given_ = {"campaigns": ["spring"], "added": {"operator": "after", "date": "2026-03-01"}}
    assert run(conditions.in_campaigns, given_, *people, world=Knowledge(campaigns=campaigns)) == [True, False, False]


CROWD = [contact(number) for number in range(1, 10_001)]


@pytest.mark.parametrize("percent", [1, 12.5, 50, 99])
def test_a_draw_takes_about_as_many_as_asked(percent: float) -> None:
    assert abs(sum(run(conditions.split, {"percent": percent}, *CROWD)) / 100 - percent) < 2


def test_nobody_is_among_0_percent_and_everybody_among_100() -> None:
    assert not any(run(conditions.split, {"percent": 0}, *CROWD))
    assert all(run(conditions.split, {"percent": 100}, *CROWD))
    assert conditions.split_threshold(0) == 0
    assert conditions.split_threshold(100) == 2**64


@given(st.lists(st.integers(1, 2**62), unique=True, max_size=20), st.floats(0, 100), st.floats(0, 100))
def test_a_draw_is_the_contacts_own_and_grows_with_the_percentage(ids: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    people = [contact(id_) for id_ in ids]
    fewer, more = (run(conditions.split, {"percent": percent}, *people) for percent in (low, high))
    assert all(after or not before for before, after in zip(fewer, more, strict=True))
    alone = [run(conditions.split, {"percent": low}, person)[0] for person in people]
    assert alone == fewer


def test_the_draw_never_changes() -> None:
    answers = run(conditions.split, {"percent": 50}, *CROWD[:16])
    assert "".join("ny"[answer] for answer in answers) == "nnynnyyyyyyynynn"


def in_share(shares: dict[str, float], share: str, *people: Contact, draw: str = "d") -> set[int]:
    given_ = {"draw": draw, "shares": shares, "share": share}
    answers = run(conditions.split, given_, *people)
    return {person.id for person, answer in zip(people, answers, strict=True) if answer}


# Percentages that add up to at most 100: points that cut a line of a thousand.
cuts = st.lists(st.integers(0, 1000), min_size=1, max_size=6).map(sorted)


def shares_of(cut: list[int]) -> dict[str, float]:
    return {f"s{nth}": (end - start) / 10 for nth, (start, end) in enumerate(zip([0, *cut], cut, strict=False))}


@given(cuts, st.lists(st.integers(1, 2**62), unique=True, max_size=30))
def test_shares_divide_the_contacts_and_a_full_draw_leaves_nobody_out(cut: list[int], ids: list[int]) -> None:
    people = [contact(id_) for id_ in ids]
    shares = shares_of([*cut, 1000])
    drawn = [in_share(shares, name, *people) for name in shares]
    assert sorted(id_ for each in drawn for id_ in each) == sorted(ids)
    # Each by itself as in company.
    assert all(
        in_share(shares, name, person) <= each for name, each in zip(shares, drawn, strict=True) for person in people
    )


@given(cuts, st.integers(0, 1000), st.lists(st.integers(1, 2**62), unique=True, max_size=30))
def test_a_share_that_grows_at_the_end_keeps_everybody_where_they_were(
    cut: list[int], end: int, ids: list[int]
) -> None:
    people = [contact(id_) for id_ in ids]
    *_, last = before = shares_of(cut)
    after = shares_of([*cut[:-1], max(cut[-1], end), 1000])
    for name in before:
        was, is_ = in_share(before, name, *people), in_share(after, name, *people)
        assert was <= is_ if name == last else was == is_


def test_a_draw_takes_about_its_shares_and_is_independent_of_others() -> None:
    shares = {"a": 50.0, "b": 30.0, "c": 20.0}
    for name, percent in shares.items():
        assert abs(len(in_share(shares, name, *CROWD)) / 100 - percent) < 2
    both = in_share(shares, "a", *CROWD) & in_share(shares, "a", *CROWD, draw="another")
    assert abs(len(both) / 100 - 25) < 2


def test_three_times_a_third_is_a_whole_draw() -> None:
    thirds = {"a": 33.3, "b": 33.3, "c": 33.4}
    assert sum(len(in_share(thirds, name, *CROWD)) for name in thirds) == len(CROWD)


def test_the_shares_of_a_draw_never_change() -> None:
    shares = {"a": 50.0, "b": 30.0, "c": 20.0}
    drawn = {id_: name for name in shares for id_ in in_share(shares, name, *CROWD[:16])}
    assert "".join(drawn[number] for number in range(1, 17)) == "aaaaaaabaaaabaca"
