"""Event sources, exits and limits in campaign files: what is refused, and what comes back as it was written."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parcours.domain.campaign_file.build import build, stored, to_data
from parcours.domain.campaign_file.check import check
from parcours.domain.campaign_file.schema import file_schema
from parcours.domain.entry import EntryLimit
from parcours.domain.errors import CampaignError

UTC = ZoneInfo("UTC")
CART: dict[str, Any] = {
    "type": "cart.updated",
    "where": [{"field": "total", "operator": "gte", "value": 50}],
    "key": "cart_id",
}
TAG = {"step": "tag", "action": "contact.tags", "with": {"add": ["x"]}}


def file(**changes: Any) -> dict[str, Any]:
    return {"format": 2, "campaign": "carts", "sources": {"events": [CART]}, "steps": [TAG], **changes}


def problems(data: dict[str, Any]) -> dict[str, str]:
    return {each.place: each.sentence for each in check(data, default_zone=UTC).problems}


def test_a_file_with_sources_exits_and_limits_comes_back_as_it_was_written() -> None:
    data = file(
        sources={"segments": ["all"], "events": [CART, {"type": "order.paid"}], "existing": False},
        entry={"most": 10000, "rate": "500 per hour"},
        exit=[{"event": "order.paid", "key": "cart_id"}, {"segment": "customers"}],
    )
    found = check(data, default_zone=UTC)
    assert found.problems == []
    assert found.file is not None
    assert found.file.format == 2
    written = json.loads(json.dumps(to_data(found.file)))
    assert written == data
    assert stored(written) == found.file
    built = build(found.file, campaign_id=1, version=1, step_ids={"tag": 1}, zone=UTC)
    assert [source.key for source in built.event_sources] == ["cart_id", None]
    assert [leaving.type for leaving in built.event_exits] == ["order.paid"]
    assert built.segment_exits == ("customers",)
    assert isinstance(built.entry, EntryLimit)
    assert (built.entry.most, built.entry.rate) == (10000, 500)


def test_a_file_of_before_is_of_the_first_format() -> None:
    found = check({"campaign": "c", "sources": {"segments": ["all"]}, "steps": [TAG]}, default_zone=UTC)
    assert found.file is not None
    assert found.file.format == 1


def test_a_file_that_says_the_first_format_and_uses_the_second_is_refused() -> None:
    assert problems(file(format=1)) == {
        "format": "the file uses properties of format 2; write 'format: 2'",
    }
    assert problems({name: value for name, value in file().items() if name != "format"}) == {}


def test_a_later_format_is_refused_in_a_file_and_in_what_is_stored() -> None:
    assert "upgrade Parcours" in problems(file(format=3))["format"]
    with pytest.raises(CampaignError, match="upgrade Parcours"):
        stored(file(format=3))


@pytest.mark.parametrize(
    ("type_", "says"),
    [
        ("contact.changed", "states something about the contact"),
        ("segment.contact_added", "states something about the contact"),
        ("form.submitted", "add the form to 'forms'"),
        ("email.open", "did you mean 'email.opened'?"),
        ("Email.Opened", "did you mean 'email.opened'?"),
        ("email.bogus_thing", "event types that begin with email. are reserved"),
        ("cart.*", "must be one event type"),
        ("x" * 300, "at most 255 characters"),
    ],
)
def test_types_that_no_event_has_are_refused_with_what_was_meant(type_: str, says: str) -> None:
    (said,) = problems(file(sources={"events": [{"type": type_}]})).values()
    assert says in said


@pytest.mark.parametrize("type_", ["order.paid", "page.hit", "email.opened", "contact.called", "café.ouvert", "😀"])
def test_types_of_ones_own_and_what_contacts_do_may_be_sources(type_: str) -> None:
    assert problems(file(sources={"events": [{"type": type_}]})) == {}


def test_what_is_wrong_with_sources_exits_and_limits_is_said_with_its_place() -> None:
    wrong = file(
        sources={
            "events": [
                {"type": "a.b", "where": [{"field": "total", "operator": "about", "value": 5}]},
                {"typ": "a.b"},
                {"type": "a.b", "where": "total > 5"},
                {"type": 5},
                "cart.updated",
                {"type": "a.b", "key": "{{ contact.key }}"},
            ],
            "existing": "maybe",
        },
        entry={"most": 0, "rate": "fast"},
        exit=[{}, {"event": "order.paid", "segment": "x"}, {"segment": "x", "key": "y"}, 7],
    )
    found = problems(wrong)
    assert set(found) >= {
        "sources.events[0].where[0]",
        "sources.events[1].typ",
        "sources.events[1]",
        "sources.events[2].where",
        "sources.events[3].type",
        "sources.events[4]",
        "sources.events[5].key",
        "sources.existing",
        "entry.most",
        "exit[0]",
        "exit[1]",
        "exit[2].key",
        "exit[3]",
    }
    assert problems(file(entry={}))["entry"].startswith("is empty")
    assert "rate" in problems(file(entry={"rate": "fast"}))["entry.rate"]


def test_a_key_is_asked_for_only_where_runs_have_one() -> None:
    keyless = {"events": [{"type": "cart.updated"}]}
    asks = {
        "step": "paid",
        "decision": "event.happened",
        "with": {"type": "order.paid", "key": "cart_id"},
        "within": "1 day",
        "no": [TAG],
    }
    found = problems(file(sources=keyless, exit=[{"event": "order.paid", "key": "cart_id"}], steps=[asks]))
    assert set(found) == {"exit[0].key", "steps[0].with.key"}
    assert problems(file(exit=[{"event": "order.paid", "key": "cart_id"}], steps=[asks])) == {}


def test_the_schema_knows_sources_exits_and_limits() -> None:
    schema = file_schema()
    assert set(schema["$defs"]["event_source"]["properties"]) == set(CART)
    assert schema["properties"]["format"]["enum"] == [1, 2, None]
    assert {"events", "existing"} <= set(schema["properties"]["sources"]["properties"])
