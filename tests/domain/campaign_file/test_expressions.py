"""Values that look as if they were worked out for each contact or day, in the step types that are installed."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parcours.domain.campaign_file.check import Checked, check
from parcours.domain.campaign_file.model import dotted


def checked(*steps: object, stored: bool = False) -> Checked:
    """Return what is found in a campaign of these steps."""
    data = {"campaign": "welcome", "sources": {"segments": ["news"]}, "steps": list(steps)}
    return check(data, default_zone=ZoneInfo("UTC"), stored=stored)


def problems(*steps: object) -> dict[str, str]:
    return {dotted(problem.path): problem.sentence for problem in checked(*steps).problems}


def saying(**with_: Any) -> list[dict[str, Any]]:
    """Return one step of every type that tests a value, with the same test."""
    return [
        {"condition": "contact.field", "with": {"field": "signed", **with_}},
        {"condition": "form.field", "with": {"form": "f", "field": "signed", **with_}},
        {"condition": "company.field", "with": {"field": "signed", **with_}},
        {"condition": "contact.created", "with": with_},
        {"condition": "event.count", "with": {"type": "order.paid", "where": [{"field": "total", **with_}]}},
        {"decision": "event.happened", "with": {"type": "order.paid", "where": [{"field": "total", **with_}]}},
    ]


@pytest.mark.parametrize(("operator", "value"), [("gt", "-P30D"), ("gt", "today"), ("=", "{{ contact.b }}")])
def test_no_step_takes_a_value_that_looks_worked_out_and_is_not(operator: str, value: str) -> None:
    found = problems(*saying(operator=operator, value=value))
    whole = [f"steps[{index}].with" for index in range(4)]
    assert sorted(found) == [*whole, "steps[4].with.where[0]", "steps[5].with.where[0]"]
    assert all("write" in sentence or "use the operator" in sentence for sentence in found.values())


@pytest.mark.parametrize(
    "step",
    [
        {"action": "contact.tags", "with": {"add": ["{{ contact.country }}"]}},
        {"action": "contact.segments", "with": {"add": ["{{ contact.country }}"]}},
        {"action": "contact.stage", "with": {"stage": "{{ contact.stage }}"}},
        {"action": "contact.owner", "with": {"owner": "{% if a %}b{% endif %}"}},
        {"action": "contact.points", "with": {"points": 1, "group": "{{ contact.group }}"}},
        {"action": "contact.dnc_add", "with": {"channels": ["email"], "reason": "Dear {{ contact.name }}"}},
        {"action": "contact.update", "with": {"fields": {"{{ contact.a }}": "b"}}},
        {"action": "contact.update", "with": {"fields": {"a": "{contactfield=b}"}}},
        {"action": "company.update", "with": {"fields": {"name": "{{ contact.a }}"}}},
        {"action": "company.add_contact", "with": {"company": "{{ contact.a }}"}},
        {"action": "email.send", "with": {"email": "{{ contact.a }}"}},
        {"decision": "sms.reply", "with": {"pattern": "{{ contact.a }}"}},
        {"condition": "contact.tags", "with": {"tags": ["{{ contact.a }}"]}},
    ],
)
def test_a_template_is_refused_wherever_none_is_filled_in(step: dict[str, Any]) -> None:
    (sentence,) = problems(step).values()
    assert "templates are not supported here" in sentence or "is not valid Liquid" in sentence


@pytest.mark.parametrize(
    "fields", [{"a": "{{ contact.b"}, {"a": ["{{ nobody.b }}"]}, {"a": {"b": "{{ message.key }}"}}]
)
def test_a_field_is_set_to_liquid_that_can_be_read(fields: dict[str, Any]) -> None:
    (sentence,) = problems({"action": "contact.update", "with": {"fields": fields}}).values()
    assert "invalid Liquid" in sentence


def test_what_was_stored_before_it_was_refused_can_still_be_read() -> None:
    steps = [*saying(operator="gt", value="-P30D"), {"action": "contact.tags", "with": {"add": ["{{ a }}"]}}]
    assert problems(*steps)
    assert checked(*steps, stored=True).problems == []


@pytest.mark.parametrize(
    "step",
    [
        {"condition": "page.visited", "with": {"since": "-P30D"}},
        {"condition": "page.visited", "with": {"since": "30 days ago"}},
        {
            "condition": "contact.campaigns",
            "with": {"campaigns": ["a"], "added": {"operator": "after", "date": "-30 days"}},
        },
    ],
)
def test_a_date_counted_from_now_is_refused_with_what_to_write(step: dict[str, Any]) -> None:
    assert any("write within: 30 days" in sentence for sentence in problems(step).values())


@pytest.mark.parametrize("name", ["within", "older_than"])
@pytest.mark.parametrize("value", ["-P30D", "today", "{{ contact.a }}", "-30 days", 30])
def test_a_period_is_an_interval(name: str, value: object) -> None:
    for condition, with_ in (("page.visited", {}), ("email.activity", {"activity": "sent"}), ("contact.created", {})):
        assert problems({"condition": condition, "with": {**with_, name: value}})
