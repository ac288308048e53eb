"""Steps that send: every outcome of each, and what they say of themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from pydantic import ValidationError

from parcours.domain.contacts.contact import Contact
from parcours.domain.messages.policy import Cap, Policy, QuietHours, Rule, parse_quiet_hours
from parcours.domain.steps import channels, email
from parcours.domain.steps.batch import EmailFacts, Knowledge, TemplateFacts
from parcours.domain.steps.types import Done, Outbound, Postponed, Result, Skipped, StepType
from tests.domain.worlds import NOW, contact, properties, run

WORLD = Knowledge(
    emails={
        "hello": EmailFacts("hello", True),
        "draft": EmailFacts("draft", False),
        "news": EmailFacts("news", True, "News"),
    },
    templates={
        ("sms", "hello"): TemplateFacts("hello", True),
        ("sms", "draft"): TemplateFacts("draft", False),
        ("push", "hello"): TemplateFacts("hello", True),
        ("push", "draft"): TemplateFacts("draft", False),
        ("message", "all"): TemplateFacts("all", True, {"email": "hello", "sms": "hello", "push": "hello"}),
        ("message", "two"): TemplateFacts("two", True, {"email": "hello", "sms": "hello"}),
        ("message", "drafts"): TemplateFacts("drafts", True, {"email": "draft", "sms": "draft", "push": "nowhere"}),
        ("message", "off"): TemplateFacts("off", False, {"email": "hello"}),
    },
)


def bound(**policies: Policy) -> Knowledge:
    return Knowledge(WORLD.emails, templates=WORLD.templates, policies=policies)


def person(contact_id: int = 1, **known: Any) -> Contact:
    return contact(contact_id, **{"email": "ada@example.com", "fields": {"phone": "+33 1"}, **known})


def one(step_type: StepType, given: dict[str, Any], someone: Contact, world: Knowledge = WORLD) -> Result:
    (result,) = run(step_type, given, someone, world=world)
    return cast(Result, result)


def reason(result: Result) -> str:
    assert isinstance(result, Skipped), result
    return result.reason


def sent(result: Result) -> Outbound:
    assert isinstance(result, Done), result
    (effect,) = result.effects
    assert isinstance(effect, Outbound)
    return effect


@pytest.mark.parametrize(
    ("step_type", "given", "sentence"),
    [
        (channels.send_sms, {}, "either 'sms'"),
        (channels.send_sms, {"sms": "a", "text": "b"}, "either 'sms'"),
        (channels.send_sms, {"text": "{{ a b }}"}, "invalid Liquid"),
        (channels.send_sms, {"text": "one\n{{ a | nope }}"}, "in line 2: unknown filter 'nope'"),
        (channels.send_sms, {"text": "{% include 'x' %}"}, "cannot include another"),
        (channels.send_sms, {"sms": "a", "attempts": 0}, "greater than or equal to 1"),
        (channels.send_push, {}, "or both 'title' and 'text'"),
        (channels.send_push, {"title": "a"}, "or both 'title' and 'text'"),
        (channels.send_push, {"push": "a", "url": "b"}, "give 'push' or 'url', not both"),
        (channels.send_push, {"title": "a", "text": "{{"}, "invalid Liquid"),
        (channels.send_webhook, {}, "Field required"),
        (channels.send_webhook, {"url": "example.com"}, "is not a URL"),
        (channels.send_webhook, {"url": "https://{{ a b }}"}, "invalid Liquid"),
        (channels.send_webhook, {"url": "https://a.com", "method": "fetch"}, "'get', 'post'"),
        (channels.send_webhook, {"url": "https://a.com", "timeout": 61}, "less than or equal to 60"),
        (channels.send_webhook, {"url": "https://a.com", "timeout": 0}, "greater than or equal to 1"),
        (channels.send_webhook, {"url": "https://a.com", "headers": {"A B": "c"}}, "is not a valid header name"),
        (channels.send_webhook, {"url": "https://a.com", "headers": {"A": "c\nd"}}, "must be on one line"),
        (channels.send_webhook, {"url": "https://a.com", "body": 7}, "a mapping, a list or a text"),
        (channels.send_webhook, {"url": "https://a.com", "method": "delete", "body": "x"}, "has no body"),
        (channels.send_webhook, {"url": "https://a.com", "method": "get", "body": "x"}, "becomes the query"),
        (channels.send_webhook, {"url": "https://a.com", "method": "get", "body": {"a": []}}, "becomes the query"),
        (channels.send_webhook, {"url": "https://a.com", "method": "get", "body": {}, "json": True}, "remove 'json'"),
        (channels.send_webhook, {"url": "https://a.com", "body": [1], "json": False}, "only be sent as JSON"),
        (
            channels.send_webhook,
            {"url": "https://a.com", "body": {"a": [{"b": "{{ c d }}"}]}},
            "body.a[0].b: invalid Liquid",
        ),
        (channels.send_message, {}, "Field required"),
        (email.send_to_user, {"email": "a"}, "at least one address"),
        (email.send_to_user, {"email": "a", "to": ["nobody"]}, "'nobody' is not an email address"),
        (email.send_to_user, {"email": "a", "bcc": ["{{ a b }}"]}, "invalid Liquid"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_applied(
    step_type: StepType, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        properties(step_type, given)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("step_type", "channel"), [(channels.send_sms, "sms"), (channels.send_push, "push")])
def test_a_template_that_cannot_be_sent_and_a_refusal_are_skipped(step_type: StepType, channel: str) -> None:
    assert reason(one(step_type, {channel: "draft"}, person())) == f"the {channel} 'draft' is not published"
    assert reason(one(step_type, {channel: "nowhere"}, person())) == f"the {channel} 'nowhere' does not exist"
    someone = person(do_not_contact={channel: "manual"})
    assert reason(one(step_type, {channel: "hello"}, someone)) == f"do not contact ({channel}): manual"
    outbound = sent(one(step_type, {channel: "hello", "transactional": True}, someone))
    assert (outbound.channel, outbound.template, outbound.marketing) == (channel, "hello", False)


@pytest.mark.parametrize(
    ("given", "fields", "number"),
    [
        ({}, {"phone": "+33 1", "mobile": "2"}, "+33 1"),
        ({}, {"phone": " ", "mobile": 491234}, "491234"),
        ({}, {"phone": "unknown"}, None),
        ({}, {"phone": True, "mobile": ["1"]}, None),
        ({}, {}, None),
        ({"number_field": "work"}, {"phone": "1", "work": "2"}, "2"),
        ({"number_field": "work"}, {"phone": "1"}, None),
    ],
)
def test_a_text_goes_to_the_number_of_the_contact(
    given: dict[str, Any], fields: dict[str, Any], number: str | None
) -> None:
    result = one(channels.send_sms, {"text": "Hi {{ contact.name }}", **given}, person(fields=fields))
    if number is None:
        assert "the contact has no phone number in" in reason(result)
        return
    names = [given["number_field"]] if given else ["phone", "mobile"]
    payload = {"attempts": 3, "number_fields": names, "text": "Hi {{ contact.name }}"}
    assert sent(result) == Outbound("sms", None, number, payload)


def test_a_push_message_goes_to_the_contact_or_to_the_token_of_its_device() -> None:
    said = {"title": "Hi", "text": "Come", "url": "https://a.com"}
    assert sent(one(channels.send_push, said, person())) == Outbound("push", None, None, {"attempts": 3, **said})
    with_token = {"push": "hello", "token_field": "token"}
    someone = person(fields={"token": "abc"})
    payload = {"attempts": 3, "token_field": "token"}
    assert sent(one(channels.send_push, with_token, someone)) == Outbound("push", "hello", "abc", payload)
    assert reason(one(channels.send_push, with_token, person())) == "the contact has no push token in the field 'token'"


def test_a_webhook_carries_all_that_delivery_needs() -> None:
    given = {"url": "https://a.com/{{ contact.key }}", "body": {"email": "{{ contact.email }}"}}
    someone = person(do_not_contact={"webhook": "manual"})
    assert sent(one(channels.send_webhook, given, someone)) == Outbound(
        "webhook",
        payload={
            "url": "https://a.com/{{ contact.key }}",
            "method": "post",
            "headers": {},
            "body": {"email": "{{ contact.email }}"},
            "json": True,
            "timeout_seconds": 10,
            "attempts": 3,
        },
        marketing=False,
    )


@pytest.mark.parametrize(
    ("given", "as_json"),
    [
        ({"body": "a=1"}, False),
        ({"body": "[1]", "json": True}, True),
        ({"body": {"a": 1}, "json": False}, False),
        ({"body": [1]}, True),
        ({"method": "GET", "body": {"a": 1}}, False),
        ({"method": "delete"}, False),
    ],
)
def test_a_body_goes_as_json_unless_it_is_a_text_or_a_query(given: dict[str, Any], as_json: bool) -> None:
    assert sent(one(channels.send_webhook, {"url": "https://a.com", **given}, person())).payload["json"] is as_json


def test_an_email_to_users_goes_to_those_named_and_to_the_owner() -> None:
    given = {"email": "hello", "to": ["sales@example.com", "{{ contact.manager }}"], "to_owner": True}
    someone = person(email=None, do_not_contact={"email": "unsubscribed"})
    payload = {
        "to": ["sales@example.com", "{{ contact.manager }}"],
        "cc": [],
        "bcc": [],
        "to_owner": True,
        "attempts": 3,
    }
    assert sent(one(email.send_to_user, given, someone)) == Outbound("email", "hello", None, payload, marketing=False)
    assert someone.received == frozenset()
    alone = {"email": "hello", "to_owner": True}
    assert "no owner" in reason(one(email.send_to_user, alone, person()))
    assert sent(one(email.send_to_user, alone, person(owner="zoe@example.com"))).payload["to_owner"] is True
    for key, state in (("draft", "is not published"), ("nowhere", "does not exist")):
        assert state in reason(one(email.send_to_user, {**given, "email": key}, person()))


def test_who_does_not_want_a_category_gets_no_email_of_it_of_any_type() -> None:
    someone = person(do_not_contact={"email:news": "unsubscribed"})
    for given in ({"email": "news"}, {"email": "news", "email_type": "transactional"}):
        assert "of the category 'News': unsubscribed" in reason(one(email.send, given, someone))
    assert isinstance(one(email.send, {"email": "hello"}, someone), Done)


def test_a_message_goes_by_the_first_channel_with_the_others_to_fall_back_on() -> None:
    someone = person()
    result = one(channels.send_message, {"message": "all"}, someone)
    assert isinstance(result, Done)
    assert result.detail == {"channel": "email"}
    fallback = [
        {"channel": "sms", "template": "hello", "address": "+33 1"},
        {"channel": "push", "template": "hello", "address": None},
    ]
    payload = {"attempts": 3, "number_fields": ["phone", "mobile"], "fallback": fallback}
    expected = Outbound("email", "hello", "ada@example.com", payload)
    assert sent(result) == expected
    assert someone.received == {"hello"}


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        ({}, ["email", "sms", "push"]),
        ({"sms": Rule(preferred=True)}, ["sms", "email", "push"]),
        ({"sms": Rule(Cap(1, "week")), "push": Rule(Cap(5, "month"))}, ["push", "sms", "email"]),
        ({"sms": Rule(Cap(1, "day")), "push": Rule(Cap(7, "week"))}, ["sms", "push", "email"]),
        ({"email": Rule(paused_until=NOW + timedelta(days=1), preferred=True)}, ["sms", "push", "email"]),
        ({"fax": Rule(preferred=True)}, ["email", "sms", "push"]),
    ],
)
def test_a_contacts_rules_order_the_channels(rules: dict[str, Rule], order: list[str]) -> None:
    someone = person(rules=rules)
    outbound = sent(one(channels.send_message, {"message": "all"}, someone))
    named = [outbound.channel, *(way["channel"] for way in outbound.payload["fallback"])]
    # What is paused is no fallback now.
    assert named == [channel for channel in order if rules.get(channel, Rule()).paused_until is None]


def test_channels_that_cannot_reach_a_contact_are_dropped_with_the_reason() -> None:
    someone = person(fields={}, do_not_contact={"email": "bounced"})
    result = one(channels.send_message, {"message": "all"}, someone)
    assert isinstance(result, Done)
    payload = {"attempts": 3, "number_fields": ["phone", "mobile"]}
    assert sent(result) == Outbound("push", "hello", None, payload)
    assert result.detail == {
        "channel": "push",
        "dropped": {
            "email": "do not contact (email): bounced",
            "sms": "the contact has no phone number in phone or mobile",
        },
    }


def test_who_cannot_be_reached_is_skipped_with_all_reasons() -> None:
    result = one(channels.send_message, {"message": "two"}, person(email=None, fields={}))
    assert reason(result) == (
        "the contact cannot be reached: email: the contact has no email address; "
        "sms: the contact has no phone number in phone or mobile"
    )
    assert "'draft' is not published" in reason(one(channels.send_message, {"message": "drafts"}, person()))
    assert "'off' is not published" in reason(one(channels.send_message, {"message": "off"}, person()))
    assert "'no' does not exist" in reason(one(channels.send_message, {"message": "no"}, person()))
    again = person(fields={}, received=frozenset({"hello"}))
    assert "already received the email" in reason(one(channels.send_message, {"message": "two"}, again))


NIGHT: QuietHours = parse_quiet_hours({"between": ["10:00", "14:00"]})
DAILY = Cap(1, "day")
JUST_SENT = {"email": (NOW - timedelta(hours=1),), "sms": (NOW - timedelta(hours=2),)}


@pytest.mark.parametrize("step_type", [email.send, channels.send_sms])
def test_over_a_cap_a_message_is_skipped_queued_or_tried_again(step_type: StepType) -> None:
    channel = step_type.name.removesuffix(".send")
    given = {channel: "hello"}
    until = JUST_SENT[channel][0] + timedelta(days=1, minutes=5)

    def ask(over: Any) -> tuple[Result, Contact]:
        someone = person(sent=JUST_SENT)
        return one(step_type, given, someone, bound(**{channel: Policy(DAILY, None, over)})), someone

    def about(over: str) -> dict[str, Any]:
        return {"policy": {"channel": channel, "rule": "cap", "over": over, "until": until.isoformat()}}

    left_out, someone = ask("skip")
    assert isinstance(left_out, Skipped)
    assert left_out.detail == about("skip")
    assert someone.sent == JUST_SENT
    queued, someone = ask("queue")
    assert isinstance(queued, Done)
    assert queued.detail == about("queue")
    assert sent(queued).not_before == until
    assert someone.sent[channel] == (*JUST_SENT[channel], until)
    postponed, someone = ask("next_slot")
    assert postponed == Postponed(until, about("next_slot"))
    assert someone.received == frozenset()


def test_messages_of_one_batch_count_for_each_other() -> None:
    world, someone = bound(email=Policy(DAILY)), person()
    assert isinstance(one(email.send, {"email": "hello"}, someone, world), Done)
    held = one(email.send, {"email": "news"}, someone, world)
    assert isinstance(held, Postponed)
    assert held.until == NOW + timedelta(days=1, minutes=5)


def test_transactional_messages_ignore_all_policies_and_are_not_counted() -> None:
    world, someone = bound(email=Policy(DAILY, NIGHT), sms=Policy(quiet_hours=NIGHT)), person(sent=JUST_SENT)
    outbound = sent(one(email.send, {"email": "hello", "email_type": "transactional"}, someone, world))
    assert (outbound.marketing, outbound.not_before) == (False, None)
    assert isinstance(one(channels.send_sms, {"text": "x", "transactional": True}, someone, world), Done)
    assert someone.sent == JUST_SENT


def test_quiet_hours_are_those_of_the_contacts_own_clock() -> None:
    world = bound(email=Policy(quiet_hours=NIGHT))
    here, there = person(1), person(2, timezone="America/New_York")
    first, second = run(email.send, {"email": "hello"}, here, there, world=world)
    assert isinstance(first, Postponed)
    assert first.until == NOW + timedelta(hours=2, minutes=5)
    assert isinstance(second, Done)


def test_a_pause_without_end_is_skipped_however_patient_the_policy() -> None:
    someone = person(rules={"email": Rule(paused_from=NOW - timedelta(days=1))})
    assert reason(one(email.send, {"email": "hello"}, someone)) == "sending is paused (email)"


def test_a_message_is_held_back_only_when_no_channel_is_free() -> None:
    someone = person(sent=JUST_SENT)
    world = bound(email=Policy(DAILY), sms=Policy(Cap(2, "day")))
    assert sent(one(channels.send_message, {"message": "two"}, someone, world)).channel == "sms"
    world = bound(email=Policy(DAILY), sms=Policy(DAILY))
    held = one(channels.send_message, {"message": "two"}, person(sent=JUST_SENT), world)
    assert isinstance(held, Postponed)
    assert held.detail["policy"]["channel"] == "sms"
    assert held.until == JUST_SENT["sms"][0] + timedelta(days=1, minutes=5)
    world = bound(email=Policy(DAILY, None, "queue"), sms=Policy(DAILY, None, "skip"))
    queued = one(channels.send_message, {"message": "two"}, person(sent=JUST_SENT), world)
    assert isinstance(queued, Done)
    assert (sent(queued).channel, queued.detail and queued.detail["channel"]) == ("email", "email")
    world = bound(email=Policy(DAILY, None, "skip"), sms=Policy(DAILY, None, "skip"))
    assert "cannot be reached now" in reason(
        one(channels.send_message, {"message": "two"}, person(sent=JUST_SENT), world)
    )
