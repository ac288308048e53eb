"""What is an event and what is not, with a sentence that says why; and whose word counts."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.contacts.changes import change
from parcours.domain.events.facts import as_facts
from parcours.domain.events.parsing import MAX_DATA_BYTES, ContactEvent, EventError, parse
from parcours.domain.events.table import ABOUT_THE_CONTACT, EVENT_TYPES

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)


def cloud(type_: str = "order.paid", data: Any = None, **more: Any) -> dict[str, Any]:
    event = {"specversion": "1.0", "id": "1", "source": "shop", "type": type_, "subject": "ann", "data": data}
    return {**event, **more}


def refusal(event: Any) -> str:
    with pytest.raises(EventError) as caught:
        parse(event, now=NOW)
    return str(caught.value)


def test_an_event_is_read_as_it_was_sent() -> None:
    event = cloud(data={"total": 30}, time="2026-06-01T11:00:00+02:00")
    assert parse(event, now=NOW + timedelta(days=1)) == ContactEvent(
        "shop", "1", "order.paid", "ann", NOW, {"total": 30}
    )


def test_what_may_be_left_out_has_a_meaning() -> None:
    event = cloud(subject=7)
    del event["data"]
    assert parse(event, now=NOW) == ContactEvent("shop", "1", "order.paid", "7", NOW, {})


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ([], "an event must be a JSON object"),
        (None, "an event must be a JSON object"),
        ({}, '"specversion" must be "1.0"; it is missing'),
        (cloud(specversion="0.3"), "\"specversion\" must be \"1.0\", not '0.3'"),
        (cloud(specversion=10**5000), '"specversion" must be "1.0", not a number'),
        (cloud(id=None), '"id" is missing or not a text'),
        (cloud(id=7), '"id" is missing or not a text'),
        (cloud(source=" "), '"source" is missing or not a text'),
        (cloud(source="s" * 256), '"source" is longer than 255 characters'),
        (cloud(subject=None), '"subject" (the key of the contact) is missing or not a text'),
        (cloud(subject=True), '"subject" (the key of the contact) is missing or not a text'),
        (cloud(subject=10**5000), '"subject" (the key of the contact) is missing or not a text'),
        (cloud(subject="a\0b"), '"subject" (the key of the contact) contains a NUL character'),
        (cloud(id="\ud800"), '"id" contains an incomplete character'),
        (cloud(data=[]), '"data" must be a JSON object'),
        (cloud(data_base64="AA=="), '"data_base64" is not supported; send "data" as a JSON object'),
        (cloud(data={"a": ["b\0"]}), '"data" contains a NUL character'),
        (cloud(data={"a\0": 1}), 'a name in "data" contains a NUL character'),
        (cloud(data={"a": {"b": "\udc00"}}), '"data" contains an incomplete character'),
        (cloud(data={"a": "x" * MAX_DATA_BYTES}), '"data" is larger than 262144 bytes'),
        (cloud(data={"a": "x" * (MAX_DATA_BYTES + 1)}), '"data" is longer than 262144 characters'),
        (cloud(time="yesterday"), "\"time\" must be an RFC 3339 time such as 2026-12-01T09:00:00Z, not 'yesterday'"),
        (cloud(time=5), '"time" must be an RFC 3339 time such as 2026-12-01T09:00:00Z, not a number'),
        (cloud(time="2026-06-01T09:00:00"), '"time" has no offset; write it like 2026-12-01T09:00:00Z'),
        (cloud("segment.contact_added"), "an event of type 'segment.contact_added' needs a text \"segment\""),
        (cloud("segment.contact_removed", {"segment": 3}), "needs a text \"segment\" in its data"),
        (cloud("form.submitted", {"form": " "}), "needs a text \"form\" in its data"),
        (cloud("form.submitted", {"form": "f", "fields": []}), '"fields" of a form submission must be an object'),
        (cloud("page.hit", {}), "needs a text \"url\" in its data"),
        (cloud("contact.changed", {"fields": "x"}), '"fields" of contact.changed must be an object'),
        (cloud("contact.changed", {"email": 3}), '"email" of contact.changed must be a text or null'),
        (cloud("contact.changed", {"email": "x" * 3000}), '"email" of contact.changed is longer than 255'),
        (cloud("contact.changed", {"tags": "vip"}), '"tags" of contact.changed must be a list of names'),
        (cloud("contact.changed", {"tags": [1]}), '"tags" of contact.changed must be a list of names'),
        (cloud("contact.changed", {"tags": {"ad": []}}), '"tags" of contact.changed must be a list of names'),
        (cloud("contact.changed", {"tags": {"add": None}}), '"tags" of contact.changed must be a list of names'),
        (cloud("contact.changed", {"channels": ["sms"]}), '"channels" of contact.changed must be an object'),
        (cloud("contact.changed", {"channels": {" ": None}}), "a channel of contact.changed must be a text"),
        (cloud("contact.changed", {"channels": {1: None}}), "a channel of contact.changed must be a text"),
        (cloud("contact.changed", {"channels": {"sms": {"nmber": 1}}}), "'sms': a channel's rule has no 'nmber'; did"),
        (cloud("contact.changed", {"channels": {"sms": {"number": 1}}}), "a cap must be day, week or month"),
        (
            cloud("contact.changed", {"channels": {"sms": {"paused_until": "9999-12-31T00:00:00Z"}}}),
            "omit 'paused_until' for a pause without end",
        ),
        (cloud("contact.changed", {"tags": ["x" * 3000]}), "a tag of contact.changed is longer than 255"),
        (cloud("contact.changed", {"email": "nonsense"}), "\"email\" of contact.changed: 'nonsense' is not an email"),
        (cloud("contact.changed", {"timezone": "localtime"}), '"timezone" of contact.changed: unknown timezone'),
        (cloud("contact.changed", {"timezone": "Central European Time"}), "unknown timezone 'Central European Time'"),
        (cloud("contact.changed", {"first_name": "Ann"}), 'no attribute "first_name"; it accepts email, '),
        (cloud("contact.changed", {"fields": {"email": "a@example.com"}}), 'put it beside "fields": {"email": …}'),
        (cloud("contact.changed", {"fields": {"last_active_at": "x"}}), "the built-in attribute 'last_active_at'"),
        (cloud("contact.changed", {"fields": {"phone": "1" * 3000}}), '"phone" of contact.changed is longer than 255'),
        (cloud("segment.contact_added", {"segment": "s" * 300}), '"segment" of segment.contact_added is longer than'),
        (cloud(time="1899-12-31T00:00:00Z"), '"time": the year is before 1900; correct it'),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_with_a_sentence(event: Any, sentence: str) -> None:
    assert sentence in refusal(event)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), "which is not valid JSON"),
        (float("inf"), "which is not valid JSON"),
        (10**5000, "a number of more than 100 digits; send it as text"),
        ({(1, 2): 3}, "cannot be stored"),
    ],
    ids=["nan", "inf", "long", "tuple"],
)
def test_what_json_does_not_have_could_not_be_stored(value: Any, sentence: str) -> None:
    assert sentence in refusal(cloud(data={"a": value}))


@pytest.mark.parametrize("levels", [61, 200, 930, 999, 100_000])
@pytest.mark.parametrize("leaf", ["a", "é"])
def test_nesting_that_could_not_be_read_again_is_refused(levels: int, leaf: str) -> None:
    deep: Any = leaf
    for _ in range(levels):
        deep = {"a": deep}
    assert "nested more than 60 levels deep" in refusal(cloud(data=deep))


@pytest.mark.parametrize(
    "time", ["2026-06-01T09:05:01Z", "2099-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-06-01T11:00:00Z"]
)
def test_a_time_in_the_future_counts_as_now_and_says_what_it_claimed(time: str) -> None:
    event = parse(cloud(time=time, data={"total": 1}), now=NOW)
    assert (event.at, event.data) == (NOW, {"total": 1, "claimed_time": time})


def test_clocks_may_differ_by_a_few_minutes() -> None:
    event = parse(cloud(time="2026-06-01T09:04:59Z", data={}), now=NOW)
    assert (event.at, event.data) == (NOW + timedelta(minutes=4, seconds=59), {})


def test_one_change_of_the_year_2099_does_not_outrank_all_later_ones() -> None:
    wrong = parse(cloud("contact.changed", {"owner": "x"}, time="2099-01-01T00:00:00Z"), now=NOW)
    right = parse(cloud("contact.changed", {"owner": "y"}), now=NOW + timedelta(minutes=1))
    assert become([(wrong.at, {"owner": "x"}), (right.at, right.data)])[0] == {"owner": "y"}


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "1500-01-01T00:00:00Z"])
def test_a_time_before_all_contacts_is_refused(time: str) -> None:
    assert "the year is before 1900" in refusal(cloud(time=time))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"timezone": "europe/paris"}, {"timezone": "Europe/Paris"}),
        ({"timezone": " UTC "}, {"timezone": "UTC"}),
        ({"timezone": ""}, {"timezone": None}),
        ({"email": " Kim@Example.com "}, {"email": "Kim@Example.com"}),
        ({"email": ""}, {"email": None}),
        ({"email": None, "timezone": None}, {"email": None, "timezone": None}),
        ({"owner": "bob"}, {"owner": "bob"}),
    ],
)
def test_an_address_and_a_timezone_are_kept_as_they_are_spelled_everywhere(
    said: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert parse(cloud("contact.changed", said), now=NOW).data == kept


@pytest.mark.parametrize("type_", ["segment.created", "segment.", "form.viewed", "contact.created", "email.delivered"])
def test_an_unknown_type_of_a_known_group_is_an_event_of_your_own(type_: str) -> None:
    assert parse(cloud(type_, {"segment": 7}), now=NOW).type == type_


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "😀", "\u2028", "\\\\u0000"])
def test_a_text_that_only_looks_like_an_escape_is_fine(text: str) -> None:
    assert parse(cloud(data={"a": text}), now=NOW).data == {"a": text}


texts = st.text(st.characters(exclude_categories=[]) | st.sampled_from("\0\ud800\\"), max_size=5)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.datetimes() | st.binary()
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
types = st.sampled_from(
    ["contact.changed", "form.submitted", "segment.contact_added", "page.hit", "email.clicked", "a"]
)
names = st.sampled_from(
    ["fields", "email", "timezone", "tags", "segment", "form", "url", "device", "message", "channels"]
)
datas = st.dictionaries(names | texts, anything | st.fixed_dictionaries({"add": anything}), max_size=4)
almost = st.builds(
    lambda type_, data, wrong: {**cloud(type_, data), **wrong},
    types,
    datas | anything,
    st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "subject", "time", "data"]), anything, max_size=2
    ),
)


@given(anything | almost)
def test_nothing_makes_parse_raise_anything_but_its_own_error(value: Any) -> None:
    try:
        event = parse(value, now=NOW)
    except EventError as error:
        # The sentence goes to logs, to dead letters and to whoever sent it.
        str(error).encode()
        return
    assert event.at.tzinfo is UTC
    # What was accepted can be stored.
    text = json.dumps(event.data, default=str, allow_nan=False)
    json.loads(text)
    for text in (event.source, event.id, event.type, event.contact):
        assert text.strip() == text != ""
        assert "\0" not in text
        text.encode()


# contact.changed: for each attribute, the newest word counts.

words = st.sampled_from(["x", "y", None])
changes = st.fixed_dictionaries(
    {},
    optional={
        "email": words,
        "owner": words,
        "stage": words,
        "fields": st.dictionaries(st.sampled_from(["a", "b"]), words, max_size=2),
        "tags": st.lists(st.sampled_from(["v", "w"]), max_size=2)
        | st.fixed_dictionaries(
            {},
            optional={
                "add": st.lists(st.sampled_from(["v", "w"]), max_size=2),
                "remove": st.lists(st.sampled_from(["v", "w"]), max_size=2),
            },
        ),
        "channels": st.dictionaries(
            st.sampled_from(["sms", "SMS", "email"]),
            st.sampled_from([None, {}, {"preferred": True}, {"number": 1, "period": "day"}]),
            max_size=1,
        ),
    },
)


def become(said: list[tuple[datetime, dict[str, Any]]]) -> tuple[Any, ...]:
    """Return what a contact is after changes have arrived in this order."""
    attributes: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    said_at: dict[str, str] = {}
    tags: set[str] = set()
    rules: dict[str, Any] = {}
    for at, data in said:
        done = change(fields, said_at, data, at)
        attributes |= done.attributes
        fields, said_at = done.fields, done.said_at
        tags = {tag for tag in tags | done.tags.keys() if done.tags.get(tag, True)}
        rules |= done.rules
    return attributes, fields, tags, said_at, rules


@given(st.lists(changes, max_size=6), st.randoms(use_true_random=False))
def test_any_order_of_changes_gives_the_same_contact(datas: list[dict[str, Any]], chance: random.Random) -> None:
    said = [(NOW + timedelta(microseconds=nth), data) for nth, data in enumerate(datas)]
    shuffled = said[:]
    chance.shuffle(shuffled)
    assert become(shuffled) == become(said)


def test_what_a_change_does_not_name_stays_and_null_erases() -> None:
    done = change({"a": 1, "b": 2}, {}, {"fields": {"a": None}, "email": None}, NOW)
    assert (done.fields, done.attributes) == ({"b": 2}, {"email": None})


def test_of_two_words_at_the_same_instant_the_later_arrival_counts() -> None:
    assert become([(NOW, {"owner": "x"}), (NOW, {"owner": "y"})])[0] == {"owner": "y"}


def test_a_tag_in_both_lists_is_taken() -> None:
    assert change({}, {}, {"tags": {"add": ["v", " "], "remove": [" v "]}}, NOW).tags == {"v": False}


# What decisions see of it.


def test_a_click_is_an_opening_too_and_a_message_is_known_by_its_template() -> None:
    facts = as_facts("email.clicked", {"message": "m1"}, NOW, {"m1": "hello"})
    assert [(fact.type, fact.data["email"]) for fact in facts] == [
        ("email.clicked", "hello"),
        ("email.opened", "hello"),
    ]


def test_what_the_sender_says_of_the_email_counts_more_than_the_message() -> None:
    (fact,) = as_facts("email.opened", {"message": "m1", "email": "other"}, NOW, {"m1": "hello"})
    assert fact.data["email"] == "other"


def test_what_is_said_about_a_contact_is_nothing_it_did() -> None:
    assert as_facts("contact.changed", {}, NOW, {}) == []


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_what_the_table_says_that_a_type_needs_is_asked_for_and_described(name: str) -> None:
    known = EVENT_TYPES[name]
    assert (known.name, bool(known.label), bool(known.effect)) == (name, True, True)
    event = {"specversion": "1.0", "source": "s", "id": "1", "type": name, "subject": "ann"}
    assert parse({**event, "data": dict.fromkeys(known.required, "x")}, now=NOW).type == name
    for missing in known.required:
        assert f"`{missing}` (required)" in known.data
        rest = {each: "x" for each in known.required if each != missing}
        with pytest.raises(EventError, match=f'needs a text "{missing}"'):
            parse({**event, "data": rest}, now=NOW)
    facts = as_facts(name, {}, NOW, {})
    assert [fact.type for fact in facts] == [
        each for each in (name, known.counts_as) if each and name not in ABOUT_THE_CONTACT
    ]
    assert (as_facts(name, {"bot": "a scanner"}, NOW, {}) == []) == (known.by_machines or known.about_the_contact)
