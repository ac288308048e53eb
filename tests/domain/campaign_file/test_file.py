from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.campaign_file import build as building
from parcours.domain.campaign_file.build import build, stored, to_data
from parcours.domain.campaign_file.check import MAX_DEPTH, MOST_PROBLEMS, check
from parcours.domain.campaign_file.model import CampaignFile, Problem, dotted
from parcours.domain.campaign_file.schema import file_schema
from parcours.domain.steps.types import Kind
from parcours.domain.time.intervals import Interval
from parcours.domain.time.schedule import Timing
from tests.domain.step_types import TYPES, find

PARIS = ZoneInfo("Europe/Paris")
TAG: dict[str, Any] = {"action": "contact.tags", "with": {"add": ["new"]}}


def problems(data: object) -> dict[str, str]:
    """Return the sentence at each place; fails when two problems share a place."""
    checked = check(data, default_zone=PARIS, step_type=find)
    assert (checked.file is None) == bool(checked.problems)
    found = {dotted(problem.path): problem.sentence for problem in checked.problems}
    assert len(found) == len(checked.problems)
    return found


def right(data: object) -> CampaignFile:
    checked = check(data, default_zone=PARIS, step_type=find)
    assert checked.problems == []
    assert checked.file is not None
    return checked.file


def campaign(*steps: object, **more: object) -> dict[str, Any]:
    return {"campaign": "welcome", "sources": {"segments": ["news"]}, "steps": list(steps), **more}


def jump(to: str, **more: object) -> dict[str, Any]:
    return {"action": "campaign.jump", "with": {"to": to}, **more}


# What is right


def test_a_short_file_has_the_documented_defaults() -> None:
    file = right(campaign(TAG))
    assert file.name == "welcome"
    assert (file.published, file.exit_on_leave, file.reentry) == (None, True, "never")
    step = file.steps[0]
    assert (step.step, step.name, step.kind, step.type) == (
        "contact-tags",
        None,
        Kind.ACTION,
        "contact.tags",
    )
    assert (step.max_attempts, step.on_failure) == (5, "stop")


def test_made_keys_are_numbered_in_document_order_and_keep_clear_of_given_ones() -> None:
    below = {"condition": "contact.tags", "yes": [TAG], "no": [{**TAG, "step": "contact-tags-2"}]}
    file = right(campaign(TAG, below, TAG))
    keys = [step.step for step in file.walk()]
    assert keys == ["contact-tags", "contact-tags-3", "contact-tags-4", "contact-tags-2", "contact-tags-5"]


def test_null_counts_as_left_out() -> None:
    full = campaign({**TAG, "then": None, "after": None, "name": None}, publish_until=None, category=None)
    assert right(full) == right(campaign(TAG))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-12-24T09:00", "2026-12-24T09:00:00+01:00"),
        ("2026-07-24 09:00", "2026-07-24T09:00:00+02:00"),
        ("2026-12-24", "2026-12-24T00:00:00+01:00"),
        ("2026-12-24T09:00Z", "2026-12-24T09:00:00+00:00"),
        ("2026-12-24 09:00:00 -05:00", "2026-12-24T09:00:00-05:00"),
        (date(2026, 12, 24), "2026-12-24T00:00:00+01:00"),
        (datetime(2026, 12, 24, 9), "2026-12-24T09:00:00+01:00"),  # noqa: DTZ001
        (datetime(2026, 12, 24, 9, tzinfo=UTC), "2026-12-24T09:00:00+00:00"),
        ("2026-03-29T02:30", "2026-03-29T02:30:00+01:00"),
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),
    ],
)
def test_dates_without_offset_are_in_the_default_zone(written: object, meant: str) -> None:
    file = right(campaign({**TAG, "at": written}))
    at = file.steps[0].at
    assert isinstance(at, datetime)
    assert at.isoformat() == meant


def test_the_files_own_timezone_comes_before_the_default() -> None:
    file = right(campaign(TAG, timezone="America/New_York", publish_from="2026-12-24"))
    assert file.publish_from == datetime(2026, 12, 24, 5, tzinfo=UTC)


def test_a_condition_may_stand_between_two_decisions() -> None:
    second = {"condition": "contact.tags", "yes": [{"decision": "page.hit"}]}
    right(campaign({"decision": "page.hit", "yes": [second]}))


def test_a_no_step_needs_no_delay_when_the_decision_has_within() -> None:
    right(campaign({"decision": "page.hit", "within": "3 days", "no": [TAG]}))


def test_dates_inside_properties_become_text() -> None:
    step = {"condition": "contact.field", "with": {"field": "born", "value": [date(2000, 1, 1)]}}
    assert right(campaign(step)).steps[0].with_["value"] == ["2000-01-01"]


def test_the_deepest_tree_can_be_checked_stored_and_read_again() -> None:
    step = TAG
    for _ in range(MAX_DEPTH - 1):
        step = {**TAG, "then": [step]}
    file = right(campaign(step))
    data = json.loads(json.dumps(to_data(file)))
    assert right(data) == file == CampaignFile.model_validate(data)
    assert len(list(file.walk())) == MAX_DEPTH


# What is wrong, and where


@pytest.mark.parametrize("empty", [None, {}])
def test_an_empty_file_is_one_problem(empty: object) -> None:
    assert list(problems(empty)) == [""]


@pytest.mark.parametrize(("other", "called"), [([], "a list"), ("campaign", "text"), (3, "a number")])
def test_a_file_is_a_mapping(other: object, called: str) -> None:
    assert problems(other) == {"": f"a campaign file must be a mapping of names to values, not {called}"}


def test_every_problem_is_found_at_once() -> None:
    data = {
        "name": "",
        "publishd": True,
        "reentry": "allways",
        "cooldown": "3 dayz",
        "timezone": "Europe/Pariss",
        "exit_on_leave": "yes",
        "publish_from": "soon",
        "sources": {"segment": ["news"]},
        "steps": [
            {"action": "contact.points", "with": {"pints": 5}, "after": 3},
            "tag",
            {"decision": "page.hit", "yes": [{"action": "email.sent"}]},
            {**TAG, "decison": "page.hit"},
        ],
    }
    assert problems(data) == {
        "campaign": "the key of the campaign is missing, such as 'campaign: welcome'",
        "name": "must not be empty",
        "publishd": "unknown name 'publishd'; did you mean 'published'?",
        "reentry": "must be 'never', 'after_exit' or 'always', not 'allways'; did you mean 'always'?",
        "cooldown": problems(campaign(TAG, cooldown="3 dayz"))["cooldown"],
        "timezone": "unknown timezone 'Europe/Pariss'; did you mean 'Europe/Paris'?",
        "exit_on_leave": "must be true or false, not 'yes'",
        "publish_from": ("'soon' is not a date; write it like '2026-12-24T09:00' or '2026-12-24T09:00+01:00'"),
        "sources": "the campaign has no source; add at least one segment, form, event or date",
        "sources.segment": "unknown name 'segment'; did you mean 'segments'?",
        "steps[0].with.pints": "unknown property 'pints'; did you mean 'points'?",
        "steps[0].with.points": "the property 'points' is missing",
        "steps[0].after": problems(campaign({**TAG, "after": 3}))["steps[0].after"],
        "steps[1]": "a step must be a mapping of names to values, not text",
        "steps[2].yes[0].action": "unknown action 'email.sent'; did you mean 'email.send'?",
        "steps[3].decison": "unknown name 'decison'; did you mean 'decision'?",
    }


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"campaign": "Welcome"}, "campaign"),
        ({"campaign": 2026}, "campaign"),
        ({"campaign": "this"}, "campaign"),
        ({"campaign": None}, "campaign"),
        ({"name": ["a"]}, "name"),
        ({"name": "nul \0"}, "name"),
        ({"name": "half \ud83d"}, "name"),
        ({"published": 1}, "published"),
        ({"reentry": True}, "reentry"),
        ({"cooldown": 30}, "cooldown"),
        ({"catch_up": "skip"}, "catch_up"),
        ({"catch_up": True}, "catch_up"),
        ({"catch_up": ["run"]}, "catch_up"),
        ({"catch_up": {}}, "catch_up"),
        ({"catch_up": {"skip": None}}, "catch_up"),
        ({"catch_up": {"skip": 1}}, "catch_up.skip"),
        ({"catch_up": {"skip": "1 dya"}}, "catch_up.skip"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"publish_from": 2026}, "publish_from"),
        ({"publish_from": "0001-01-01T00:00"}, "publish_from"),
        ({"publish_from": "2026-02-30"}, "publish_from"),
        ({"sources": None}, "sources"),
        ({"sources": ["news"]}, "sources"),
        ({"sources": {}}, "sources"),
        ({"sources": {"segments": [], "forms": []}}, "sources"),
        ({"sources": {"segments": "news"}}, "sources.segments"),
        ({"sources": {"segments": ["news", 3]}}, "sources.segments[1]"),
        ({"sources": {"segments": ["news", "news"]}}, "sources.segments[1]"),
        ({"steps": None}, "steps"),
        ({"steps": []}, "steps"),
        ({"steps": {"action": "contact.tags"}}, "steps"),
        ({"steps": [None]}, "steps[0]"),
        ({3: True}, ""),
        ({"a key": 1}, '["a key"]'),
    ],
)
def test_what_a_campaign_cannot_say(more: dict[Any, Any], place: str) -> None:
    assert list(problems({**campaign(TAG), **more})) == [place]


@pytest.mark.parametrize("until", ["2026-12-01T08:00", "2026-12-01T07:00Z", "2026-11-30"])
def test_a_campaign_ends_after_it_begins(until: str) -> None:
    data = campaign(TAG, publish_from="2026-12-01T08:00", publish_until=until)
    assert problems(data) == {"publish_until": "'publish_until' must be after 'publish_from'"}


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"step": "tag it"}, "step"),
        ({"step": "-tag"}, "step"),
        ({"step": 7}, "step"),
        ({"stepp": "tag"}, "stepp"),
        ({"with": ["new"]}, "with"),
        ({"after": "3 fortnights"}, "after"),
        ({"at": "tomorrow"}, "at"),
        ({"hour": 540}, "hour"),
        ({"hour": "nine"}, "hour"),
        ({"between": "09:00"}, "between"),
        ({"between": ["09:00"]}, "between"),
        ({"between": ["09:00", 1080]}, "between"),
        ({"between": ["09:00", "late"]}, "between"),
        ({"days": "mon"}, "days"),
        ({"days": []}, "days"),
        ({"after": 3}, "after"),
        ({"after": "999999999999 years"}, "after"),
        ({"between": {"09:00": "18:00"}}, "between"),
        ({"between": ["09:00", [1]]}, "between"),
        ({"days": ["mon", "someday"]}, "days"),
        ({"days": ["mon", True]}, "days"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"on_failure": "ignore"}, "on_failure"),
        ({"within": "3 days"}, "within"),
        ({"look_back": "3 days"}, "look_back"),
        ({"yes": [TAG]}, "yes"),
        ({"no": [TAG]}, "no"),
        ({"then": TAG}, "then"),
        ({"after": "1 day", "at": "2026-12-24"}, "at"),
        ({"hour": "09:00", "between": ["09:00", "18:00"]}, "between"),
        ({"at": "2026-12-24", "hour": "09:00"}, "hour"),
        ({"at": "2026-12-24", "between": ["09:00", "18:00"]}, "between"),
        ({"at": "2026-12-24", "days": ["mon"]}, "days"),
        ({"at": {}}, "at.field"),
        ({"at": {"field": ""}}, "at.field"),
        ({"at": {"field": 7}}, "at.field"),
        ({"at": {"field": "points"}}, "at.field"),
        ({"at": {"field": "utm_source"}}, "at.field"),
        ({"at": {"field": "d", "befor": "1 day"}}, "at.befor"),
        ({"at": {"field": "d", "before": "-P1D"}}, "at.before"),
        ({"at": {"field": "d", "before": "1 day", "after": "1 day"}}, "at.after"),
        ({"at": {"field": "d", "before": "1 hour", "hour": "09:00"}}, "at.hour"),
        ({"at": {"field": "d", "every": "year"}}, "at.every"),
        ({"at": {"field": "d"}, "hour": "09:00"}, "hour"),
        ({"at": {"field": "d"}, "between": ["09:00", "18:00"]}, "between"),
        ({"at": {"field": "d"}, "late": "never"}, "late"),
        ({"at": "2026-12-24", "late": "run"}, "late"),
        ({"late": "skip"}, "late"),
    ],
)
def test_what_an_action_cannot_say(more: dict[str, Any], place: str) -> None:
    root = {**TAG, "step": "root", "then": [{**TAG, **more}]}
    assert list(problems(campaign(root))) == [f"steps[0].then[0].{place}"]


@pytest.mark.parametrize(
    "more",
    [
        {"then": [TAG]},
        {"within": "1 day"},
        {"look_back": "1 day"},
        {"max_attempts": 3},
        {"on_failure": "stop"},
    ],
)
def test_what_a_condition_cannot_say(more: dict[str, Any]) -> None:
    assert list(problems(campaign({"condition": "contact.tags", **more}))) == [f"steps[0].{next(iter(more))}"]


@pytest.mark.parametrize(
    "more",
    [
        {"after": "1 day"},
        {"at": "2026-12-24"},
        {"hour": "09:00"},
        {"between": ["09:00", "18:00"]},
        {"days": ["mon"]},
        {"then": [TAG]},
        {"max_attempts": 3},
        {"on_failure": "stop"},
    ],
)
def test_what_a_decision_cannot_say(more: dict[str, Any]) -> None:
    assert list(problems(campaign({"decision": "page.hit", **more}))) == [f"steps[0].{next(iter(more))}"]


@pytest.mark.parametrize(
    ("dates", "place"),
    [
        ({"field": "birthday"}, ""),
        ("birthday", ""),
        (["birthday"], "[0]"),
        ([{}], "[0].field"),
        ([{"field": "email"}], "[0].field"),
        ([{"field": "birthday", "every": "years"}], "[0].every"),
        ([{"field": "birthday", "every": "day"}], "[0].every"),
        ([{"field": "birthday", "before": "soon"}], "[0].before"),
        ([{"field": "birthday"}, {"field": "birthday", "hour": "09:00"}], "[1]"),
        ([{"field": "half \ud83d"}], "[0].field"),
    ],
)
def test_what_a_date_as_a_source_cannot_say(dates: object, place: str) -> None:
    assert list(problems({**campaign(TAG), "sources": {"dates": dates}})) == [f"sources.dates{place}"]


def test_a_file_with_dates_of_contacts_says_that_it_is_of_the_second_format() -> None:
    data = campaign({**TAG, "step": "tag", "at": {"field": "webinar_at", "before": "1 day"}, "late": "run"})
    data["sources"] = {"dates": [{"field": "birthday", "every": "year", "before": "7 days", "hour": "09:00"}]}
    file = right(data)
    again = to_data(file)
    assert again["format"] == 2
    assert again["sources"] == {"dates": [{"field": "birthday", "before": "7 days", "hour": "09:00", "every": "year"}]}
    assert again["steps"][0]["at"] == {"field": "webinar_at", "before": "1 day"}
    assert again["steps"][0]["late"] == "run"
    assert right(again) == file
    assert stored(again) == file
    assert "format" not in to_data(right(campaign(TAG)))


@pytest.mark.parametrize("noted", [{"note": "Ask sales first"}, {"steps": [{**TAG, "note": "Ask sales first"}]}])
def test_a_file_with_notes_is_of_the_second_format(noted: dict[str, Any]) -> None:
    file = right({**campaign(TAG), **noted})
    assert to_data(file)["format"] == 2
    assert right(to_data(file)) == file


def test_an_older_release_refuses_the_second_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "FORMAT", 1)
    assert list(problems(campaign(TAG, format=2))) == ["format"]


def test_a_date_of_the_contact_does_not_close_a_decision() -> None:
    by_date = {**TAG, "at": {"field": "webinar_at"}}
    assert list(problems(campaign({"decision": "page.hit", "no": [by_date]}))) == ["steps[0].no[0].at"]
    assert problems(campaign({"decision": "page.hit", "within": "1 day", "no": [by_date]})) == {}


def test_a_condition_may_have_timing() -> None:
    right(campaign({"condition": "contact.tags", "after": "1 day", "hour": "09:00", "days": ["mon"]}))


def test_a_step_is_exactly_one_of_three() -> None:
    found = problems(campaign({"name": "nothing"}, {"action": "contact.tags", "condition": "contact.tags"}))
    assert list(found) == ["steps[0]", "steps[1]"]
    assert found["steps[0]"] == "has no type; add 'action', 'decision' or 'condition'"
    assert found["steps[1]"] == "a step can be only one of these; this one has 'action' and 'condition'"


def test_a_type_of_another_kind_is_recognised() -> None:
    assert problems(campaign({"action": "email.open"})) == {
        "steps[0].action": "'email.open' is a decision; write 'decision: email.open'"
    }


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (
            {"action": "contact.points", "with": {"points": "many"}},
            {"points": "must be a whole number, not 'many'"},
        ),
        (
            {"action": "email.send", "with": {"email": 7}},
            {"email": "must be text, not 7"},
        ),
        (
            {"action": "email.send"},
            {"email": "the property 'email' is missing"},
        ),
        (
            {"action": "contact.tags", "with": {"add": "new", "remove": [3, "old"]}},
            {"add": "must be a list, not 'new'", "remove[0]": "must be text, not 3"},
        ),
        (
            {"action": "webhook.send", "with": {"url": "u", "method": "put", "body": 3}},
            {
                "method": "must be 'get' or 'post', not 'put'",
                "body": "must be a mapping or text, not 3",
            },
        ),
        (
            {"action": "contact.update", "with": {"owner": {}, "limit": -1}},
            {
                "owner.name": "the property 'name' is missing",
                "limit": "the limit cannot be below zero",
            },
        ),
        (
            {"action": "contact.delete", "with": {"now": True}},
            {"now": "unknown property 'now'; none are allowed here"},
        ),
        (
            {"condition": "contact.field", "with": {"field": "a", "value": {"b": [float("nan")]}}},
            {"value.b[0]": "must be a finite number"},
        ),
        (
            {"condition": "contact.field", "with": {"field": "a", "value": {True: 1, "raw": b"raw"}}},
            {
                "value": "the name True must be text; put it in quotes",
                "value.raw": "must be text, a number, true, false, a list or a mapping, not a bytes",
            },
        ),
        (
            {"condition": "contact.field", "with": {"field": "a", "value": "\0"}},
            {"value": "contains a character that cannot be stored (NUL or a lone surrogate)"},
        ),
    ],
)
def test_wrong_properties_are_told_in_plain_words(step: dict[str, Any], found: dict[str, str]) -> None:
    checked = check(campaign(step), default_zone=PARIS, step_type=find).problems
    said = {dotted(each.path).removeprefix("steps[0].with."): each.sentence for each in reversed(checked)}
    assert said == found


def test_properties_nested_without_end_are_refused() -> None:
    value: object = [1, 2]
    for _ in range(MAX_DEPTH - 2):
        value = [value, value] if value == [1, 2] else [value]
    step = {"condition": "contact.field", "with": {"field": "a", "value": value}}
    right(campaign(step))
    step = {"condition": "contact.field", "with": {"field": "a", "value": [value]}}
    assert problems(campaign(step)) == {
        "steps[0].with": "is nested too deeply; lists and mappings can be nested at most 100 levels deep"
    }


def test_a_tree_without_end_is_refused() -> None:
    step = TAG
    for _ in range(MAX_DEPTH):
        step = {**TAG, "then": [step]}
    place = "steps[0]" + ".then[0]" * (MAX_DEPTH - 1) + ".then"
    assert problems(campaign(step)) == {place: "steps can be nested at most 100 levels deep"}


def test_nothing_follows_a_last_step() -> None:
    found = problems(campaign({"action": "contact.delete", "then": [TAG]}))
    assert found == {"steps[0].then": "no step can follow 'contact.delete'"}


def test_a_key_used_twice_names_both_places() -> None:
    found = problems(campaign({**TAG, "step": "tag", "then": [{**TAG, "step": "tag"}]}))
    assert found == {
        "steps[0].then[0].step": "the key 'tag' is already used at steps[0].step; step keys must be unique"
    }


@pytest.mark.parametrize("branch", ["yes", "no"])
def test_a_decision_never_stands_directly_below_a_decision(branch: str) -> None:
    found = problems(campaign({"decision": "page.hit", branch: [{"decision": "page.hit"}]}))
    assert list(found) == [f"steps[0].{branch}[0]"]


def test_a_no_step_without_any_deadline_is_refused() -> None:
    decision = {"decision": "page.hit", "no": [{**TAG, "after": "1 day"}, TAG, {**TAG, "at": "2026-12-24"}]}
    assert list(problems(campaign(decision))) == ["steps[0].no[1]"]


EMAIL = {"action": "email.send", "with": {"email": "hello"}}


def test_a_decision_about_an_email_needs_one_anywhere_above() -> None:
    opened = {"decision": "email.open"}
    right(campaign({**EMAIL, "then": [opened]}))
    right(campaign({**EMAIL, "then": [{**TAG, "then": [opened]}]}))
    right(campaign({"action": "message.send", "then": [opened]}))
    assert problems(campaign({**EMAIL, "then": [TAG]}, {**TAG, "then": [opened]})) == {
        "steps[1].then[0]": "'email.open' refers to the nearest email above it, but there is none"
    }


def test_a_decision_with_unreadable_properties_is_not_blamed_for_its_place_as_well() -> None:
    assert list(problems(campaign({"decision": "email.open", "with": ["hello"]}))) == ["steps[0].with"]


# Jumps and loops


def test_a_jump_to_no_step_is_refused() -> None:
    assert problems(campaign({**TAG, "step": "tag-new"}, jump("tag-now"))) == {
        "steps[1].with.to": "there is no step 'tag-now' to jump to; did you mean 'tag-new'?"
    }


def test_a_jump_to_a_decision_or_a_jump_is_refused() -> None:
    data = campaign(
        {"decision": "page.hit", "step": "hit"},
        jump("hit"),
        jump("second", step="first"),
        jump("second", step="second"),
    )
    assert list(problems(data)) == ["steps[1].with.to", "steps[2].with.to", "steps[3].with.to"]


def test_a_jump_may_name_a_made_key() -> None:
    right(campaign(TAG, jump("contact-tags")))


def loop(*, start: dict[str, Any] | None = None, **jump_: object) -> dict[str, Any]:
    return campaign({**TAG, "step": "start", **(start or {}), "then": [jump("start", step="back", **jump_)]})


def test_a_loop_without_delay_or_decision_is_refused() -> None:
    assert problems(loop()) == {
        "steps[0].then[0]": (
            "this jump creates a loop without a pause (start → back → start); "
            "add a decision, or delays of at least 30 minutes in total"
        )
    }


@pytest.mark.parametrize("delay", ["30 minutes", "1 day", "1 month"])
def test_a_loop_with_enough_delay_is_right_wherever_the_delay_is(delay: str) -> None:
    right(loop(after=delay))
    right(loop(start={"after": delay}))


def test_the_delays_of_a_loop_add_up() -> None:
    right(loop(start={"after": "15 minutes"}, after="15 minutes"))
    assert problems(loop(start={"after": "15 minutes"}, after="14 minutes"))


def test_neither_a_date_nor_an_hour_makes_a_loop_right() -> None:
    assert problems(loop(at="2026-12-24"))
    assert problems(loop(hour="09:00"))


def test_a_decision_makes_a_loop_right_and_a_condition_does_not() -> None:
    for kind, fine in (("decision", True), ("condition", False)):
        type_ = "page.hit" if kind == "decision" else "contact.tags"
        between = {kind: type_, "yes": [jump("start")]}
        data = campaign({**TAG, "step": "start", "then": [between]})
        assert bool(problems(data)) != fine


def test_a_loop_of_two_jumps_is_one_problem() -> None:
    data = campaign(
        {**TAG, "step": "one", "then": [jump("two", step="to-two")]},
        {**TAG, "step": "two", "then": [jump("one", step="to-one")]},
    )
    found = problems(data)
    assert list(found) == ["steps[0].then[0]"]
    assert "(two → to-one → one → to-two → two)" in found["steps[0].then[0]"]


def test_a_quick_way_around_a_delay_is_found() -> None:
    slow = {**TAG, "after": "1 day", "then": [jump("start")]}
    data = campaign({**TAG, "step": "start", "then": [slow, jump("start", step="fast")]})
    assert list(problems(data)) == ["steps[0].then[1]"]


def test_a_jump_that_leads_away_is_no_loop() -> None:
    right(campaign({**TAG, "step": "start", "then": [jump("other")]}, {**TAG, "step": "other"}))


def test_a_wrong_delay_is_not_called_a_loop_as_well() -> None:
    assert list(problems(loop(after="soon"))) == ["steps[0].then[0].after"]


@pytest.mark.parametrize("itself", ["this", "welcome"])
def test_a_restart_reached_at_once_is_refused(itself: str) -> None:
    change = {"action": "campaign.change", "step": "again", "with": {"add": ["other", itself]}}
    assert list(problems(campaign(change))) == ["steps[0].with.add[1]"]
    found = problems(campaign({**TAG, "step": "tag", "then": [{**change, "after": "29 minutes"}]}))
    assert found == {
        "steps[0].then[0].with.add[1]": (
            "this restarts the campaign in a loop without a pause; add a decision before it, or delays of at "
            "least 30 minutes in total"
        )
    }
    right(campaign({**TAG, "then": [{**change, "after": "30 minutes"}]}))
    right(campaign({"decision": "page.hit", "yes": [change]}))
    far = campaign({"decision": "page.hit", "yes": [change]}, jump("again"))
    assert list(problems(far)) == ["steps[0].yes[0].with.add[1]"]


def test_adding_to_another_campaign_is_no_restart() -> None:
    right(campaign({"action": "campaign.change", "with": {"add": ["other"], "remove": ["this"]}}))


# Building and storing


def test_build_flattens_the_tree_in_document_order() -> None:
    data = campaign(
        {
            **TAG,
            "step": "a",
            "name": "First",
            "hour": "09:00",
            "after": "1 day",
            "then": [
                {
                    "step": "b",
                    "decision": "page.hit",
                    "within": "3 days",
                    "look_back": "1 hour",
                    "yes": [{**TAG, "step": "c", "between": ["09:00", "18:00"], "days": ["mon"]}],
                    "no": [{**TAG, "step": "d", "at": "2026-12-24T09:00", "on_failure": "continue"}],
                }
            ],
        },
        {"step": "e", "action": "contact.points", "with": {"points": "5"}, "max_attempts": 2},
        reentry="always",
        cooldown="30 days",
        timezone="Europe/Paris",
        exit_on_leave=False,
    )
    ids = {"a": 11, "b": 12, "c": 13, "d": 14, "e": 15}
    tree = build(right(data), campaign_id=7, version=3, step_ids=ids, zone=ZoneInfo("Asia/Tokyo"), step_type=find)
    assert (tree.id, tree.key, tree.version) == (7, "welcome", 3)
    assert (tree.reentry, tree.cooldown, tree.exit_on_leave) == ("always", Interval(days=30), False)
    assert list(tree.steps) == [11, 12, 13, 14, 15]
    assert [(step.key, step.parent, step.branch) for step in tree.steps.values()] == [
        ("a", None, None),
        ("b", 11, None),
        ("c", 12, "yes"),
        ("d", 12, "no"),
        ("e", None, None),
    ]
    assert (tree.by_key["a"].name, tree.by_key["b"].name) == ("First", "b")
    assert tree.by_key["a"].timing == Timing(after=Interval(days=1), hour=time(9))
    assert (tree.by_key["b"].within, tree.by_key["b"].look_back) == (
        Interval(days=3),
        Interval(exact=timedelta(hours=1)),
    )
    assert tree.by_key["c"].timing == Timing(between=(time(9), time(18)), days=frozenset({0}))
    at = tree.by_key["d"].timing.at
    assert at is not None
    assert at.isoformat() == "2026-12-24T09:00:00+01:00"
    assert (tree.by_key["d"].on_failure, tree.by_key["e"].max_attempts) == ("continue", 2)
    assert getattr(tree.by_key["e"].properties, "points") == 5  # noqa: B009


def test_data_has_the_documented_order_made_keys_and_no_defaults() -> None:
    data = campaign({**TAG, "max_attempts": 5, "then": []}, exit_on_leave=True, name="welcome")
    assert json.dumps(to_data(right(data))) == json.dumps(
        {
            "campaign": "welcome",
            "sources": {"segments": ["news"]},
            "steps": [{"step": "contact-tags", "action": "contact.tags", "with": {"add": ["new"]}}],
        }
    )


def test_catch_up_is_a_word_or_an_interval_to_skip() -> None:
    assert problems(campaign(TAG, catch_up="shfit")) == {
        "catch_up": "must be 'run', 'shift' or {skip: INTERVAL}, not 'shfit'; did you mean 'shift'?"
    }
    assert problems(campaign(TAG, catch_up="skip")) == {
        "catch_up": "must be 'run', 'shift' or {skip: INTERVAL}, not 'skip'; give the age, such as {skip: 1 day}"
    }
    assert problems(campaign(TAG, catch_up={"skip": "1 day", "run": True}))["catch_up.run"] == "unknown name 'run'"
    assert "catch_up" not in to_data(right(campaign(TAG, catch_up="run")))
    for said, built in (({"skip": "1 day"}, Interval(days=1)), ("shift", "shift"), (None, "run")):
        data = campaign({**TAG, "step": "a"}, catch_up=said)
        tree = build(right(data), campaign_id=1, version=1, step_ids={"a": 1}, zone=PARIS, step_type=find)
        assert tree.catch_up == built


def test_said_and_unsaid_are_kept_apart_for_published() -> None:
    assert to_data(right(campaign(TAG, published=False)))["published"] is False
    assert "published" not in to_data(right(campaign(TAG)))


@pytest.mark.parametrize("key", ["welcome", "0"])
def test_stored_data_without_a_name_is_a_file_with_the_key_for_a_name(key: str) -> None:
    stored = to_data(right({**campaign(TAG), "campaign": key}))
    assert "name" not in stored
    assert CampaignFile.model_validate(stored).name == key


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)
keys = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True)
intervals = st.sampled_from(["30 minutes", "1 day", "2 weeks", "3 months"])
dates = st.datetimes(datetime(1971, 1, 1), datetime(8999, 1, 1)).map(datetime.isoformat) | st.sampled_from(  # noqa: DTZ001
    ["2026-03-29T02:30", "2026-10-25T02:30", "2026-12-24", "2026-12-24T09:00-11:30"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=5,
)
days = st.lists(st.sampled_from(["mon", "tue", "sun"]), min_size=1, unique=True)
timing: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"at": dates}),
    st.fixed_dictionaries(
        {"at": st.fixed_dictionaries({"field": st.just("day")}, optional={"after": intervals})},
    ),
    st.fixed_dictionaries({"after": intervals}, optional={"hour": st.just("09:00"), "days": days}),
    st.fixed_dictionaries({"between": st.just(["22:00", "06:00"])}),
)


@st.composite
def trees(draw: st.DrawFn, depth: int = 0, *, under_decision: bool = False) -> list[dict[str, Any]]:
    below = trees(depth + 1) if depth < 3 else st.just([])
    steps: list[dict[str, Any]] = []
    step: dict[str, Any]
    for _ in range(draw(st.integers(0 if depth else 1, 2))):
        kind = draw(st.sampled_from(["action", "condition", *([] if under_decision else ["decision"])]))
        common: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={"name": texts, "note": texts}))
        if kind == "action":
            step = {"action": "webhook.send", "with": {"url": draw(texts), "body": {"v": draw(values)}}}
            step |= draw(timing) | {"then": draw(below)}
            step |= draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "max_attempts": st.integers(1, 100),
                        "on_failure": st.sampled_from(["stop", "continue"]),
                    },
                )
            )
        elif kind == "condition":
            step = {"condition": "contact.field", "with": {"field": draw(texts), "value": draw(values)}}
            step |= draw(timing) | {"yes": draw(below), "no": draw(below)}
        else:
            under = trees(depth + 1, under_decision=True) if depth < 3 else st.just([])
            step = {"decision": "page.hit", "within": draw(intervals), "yes": draw(under), "no": draw(under)}
            step |= draw(st.fixed_dictionaries({}, optional={"look_back": intervals}))
        steps.append(common | step)
    return steps


@st.composite
def campaigns(draw: st.DrawFn) -> dict[str, Any]:
    data: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"campaign": keys, "sources": st.just({"forms": ["signup"]}), "steps": trees()},
            optional={
                "name": texts,
                "note": texts,
                "description": st.text(st.characters(codec="utf-8", blacklist_characters="\0")),
                "category": texts,
                "published": st.booleans(),
                "publish_from": dates,
                "reentry": st.sampled_from(["never", "after_exit", "always"]),
                "cooldown": intervals,
                "catch_up": st.sampled_from(["run", "shift"]) | st.fixed_dictionaries({"skip": intervals}),
                "timezone": st.sampled_from(["Europe/Paris", "America/St_Johns"]),
                "exit_on_leave": st.booleans(),
            },
        )
    )
    given_keys = draw(st.lists(st.none() | keys, unique_by=lambda key: key or object(), max_size=10))

    def name(steps: list[dict[str, Any]], names: itertools.chain[str | None]) -> None:
        for step in steps:
            if (key := next(names)) is not None:
                step["step"] = key
            for branch in ("then", "yes", "no"):
                name(step.get(branch, []), names)

    name(data["steps"], itertools.chain(given_keys, itertools.repeat(None)))
    return data


@given(campaigns())
def test_stored_data_makes_the_same_file_again_in_any_zone(data: dict[str, Any]) -> None:
    file = right(data)
    stored = json.loads(json.dumps(to_data(file)))
    again = check(stored, default_zone=ZoneInfo("Asia/Tokyo"), step_type=find)
    assert again.problems == []
    assert again.file == file
    assert building.stored(stored) == file
    assert json.dumps(to_data(file)) == json.dumps(stored)


WORDS = (
    *("campaign", "sources", "segments", "steps", "step", "action", "decision", "condition", "with", "to"),
    *("add", "after", "at", "hour", "between", "days", "within", "then", "yes", "no"),
)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=2),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS) | st.text(max_size=3) | st.integers(),
            below,
            max_size=5,
        )
        | st.sampled_from(["campaign.jump", "campaign.change", "email.open", "this", "1 day"])
    ),
    max_leaves=30,
)


@given(json_like, json_like)
def test_whatever_the_data_the_answer_is_a_file_or_problems(whole: object, steps: object) -> None:
    for data in (whole, campaign(steps), campaign({"action": "campaign.jump", "with": steps})):
        checked = check(data, default_zone=PARIS, step_type=find)
        assert (checked.file is None) == bool(checked.problems)
        assert all(str(problem) for problem in checked.problems)


# The schema for editors


def test_the_schema_knows_every_type_and_its_properties() -> None:
    schema = file_schema(TYPES)
    json.dumps(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    fields = schema["$defs"]["step"]["properties"]
    assert {each["const"]: each["description"] for each in fields["decision"]["oneOf"]} == {
        "email.open": "About email.open.",
        "page.hit": "About page.hit.",
    }
    assert schema["$defs"]["action.contact.points"]["required"] == ["points"]
    assert set(fields) == {
        info.alias or name for name, info in type(right(campaign(TAG)).steps[0]).model_fields.items()
    }
    assert set(schema["properties"]) == {"format", *CampaignFile.model_fields}


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    schema = file_schema(TYPES)

    def references(part: object) -> list[str]:
        if isinstance(part, dict):
            below = [found for value in part.values() for found in references(value)]
            return [*below, part["$ref"]] if isinstance(part.get("$ref"), str) else below
        return [found for value in part for found in references(value)] if isinstance(part, list) else []

    found = references(schema)
    assert "#/$defs/action.contact.update/$defs/Owner" in found
    for reference in found:
        place: Any = schema
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_a_problem_prints_its_place() -> None:
    assert str(Problem(("steps", 2, "then", 0, "with", "points"), "is wrong")) == (
        "steps[2].then[0].with.points: is wrong"
    )


def drawing(draw: str, shares: Mapping[str, float], share: str, **more: object) -> dict[str, Any]:
    return {"condition": "split.random", "with": {"draw": draw, "shares": shares, "share": share}, **more}


def test_all_steps_of_a_draw_cut_it_alike() -> None:
    alike = [drawing("d", {"a": 50, "b": 50}, "a", yes=[drawing("d", {"a": 50.0, "b": 50}, "b")])]
    other = drawing("e", {"b": 50, "a": 50}, "a")
    assert check(campaign(*alike, other), default_zone=PARIS).problems == []
    for shares in ({"b": 50, "a": 50}, {"a": 50}, {"a": 50, "b": 49}):
        file = campaign(other, *alike, drawing(" d ", shares, "a"))
        (problem,) = check(file, default_zone=PARIS).problems
        assert problem.place == "steps[2].with.shares"
        assert problem.sentence == (
            "the draw 'd' has different shares at steps[1].with.shares; all its steps must list "
            "the same shares in the same order"
        )


def test_a_check_stops_at_a_hundred_problems_and_says_so() -> None:
    steps = [{"action": f"contact.pointz{nth}"} for nth in range(1_000)]
    checked = check({"campaign": "a", "steps": steps}, default_zone=PARIS, step_type=find)
    assert checked.file is None
    assert len(checked.problems) == MOST_PROBLEMS + 1
    assert "stops at 100" in checked.problems[-1].sentence


def test_a_campaign_of_more_steps_than_a_page_or_a_plan_can_hold_is_refused_at_once() -> None:
    steps = [TAG for _ in range(100_000)]
    checked = check(
        {"campaign": "a", "sources": {"segments": ["s"]}, "steps": steps}, default_zone=PARIS, step_type=find
    )
    assert [problem.sentence for problem in checked.problems] == [
        "the campaign has more than 2,000 steps; split it into several campaigns"
    ]


def test_many_jumps_are_checked_without_following_each_way_again() -> None:
    def branch(nth: int) -> dict[str, Any]:
        jump = {"step": f"q{nth}", "action": "campaign.jump", "with": {"to": "top"}, "after": "40 minutes"}
        return {**TAG, "step": f"p{nth}", "then": [jump]}

    top = {**TAG, "step": "top", "then": [branch(nth) for nth in range(990)]}
    data = {"campaign": "a", "sources": {"segments": ["s"]}, "steps": [top]}
    assert check(data, default_zone=PARIS, step_type=find).problems == []


def test_jumps_that_lead_everywhere_from_everywhere_are_refused_rather_than_followed() -> None:
    steps = [
        {
            **TAG,
            "step": f"p{nth}",
            "then": [
                {
                    "step": f"q{nth}",
                    "action": "campaign.jump",
                    "with": {"to": f"p{(nth * 7 + 1) % 990}"},
                    "after": "1 second",
                }
            ],
        }
        for nth in range(990)
    ]
    checked = check(
        {"campaign": "a", "sources": {"segments": ["s"]}, "steps": steps}, default_zone=PARIS, step_type=find
    )
    assert checked.problems
    assert len(checked.problems) <= MOST_PROBLEMS + 1


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"segment": "warm", "rule": {}, "public": True}, "parcours segments apply"),
        ({"scenario": "X", "campaign": "welcome.yaml", "contacts": []}, "parcours campaigns test"),
    ],
)
def test_a_file_of_another_kind_gets_one_sentence_that_names_its_command(other: dict[str, Any], said: str) -> None:
    (problem,) = check(other, default_zone=ZoneInfo("UTC")).problems
    assert said in problem.sentence
