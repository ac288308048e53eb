from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from parcours.domain.steps import email
from parcours.domain.steps.batch import EmailFacts, Knowledge
from parcours.domain.steps.types import Need, Outbound, Skipped
from tests.domain.worlds import NOW, contact, properties, run, takes

EMAILS = Knowledge(emails={"hello": EmailFacts("hello", True), "draft": EmailFacts("draft", False)})
MARKETING = {"email": "hello"}
TRANSACTIONAL = {"email": "hello", "email_type": "transactional", "priority": "high", "attempts": 5}


@pytest.mark.parametrize(
    "given", [{}, {"email": ""}, {"email": "a", "email_type": "other"}, {"email": "a", "attempts": 0}]
)
def test_an_email_without_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        properties(email.send, given)


@pytest.mark.parametrize("key", ["draft", "nowhere"])
def test_a_template_that_cannot_be_sent_is_skipped_for_all(key: str) -> None:
    contacts = [contact(1, email="a@example.com"), contact(2)]
    results = run(email.send, {"email": key}, *contacts, world=EMAILS)
    assert [type(result) for result in results] == [Skipped, Skipped]
    assert key in results[0].reason
    assert contacts[0].received == frozenset()


def test_an_email_goes_to_the_address_of_the_contact() -> None:
    ada, bob = contact(1, email="ada@example.com"), contact(2, email="bob@example.com")
    first, second = run(email.send, MARKETING, ada, bob, world=EMAILS)
    payload = {"email_type": "marketing", "priority": "normal", "attempts": 3}
    assert first.effects == (Outbound("email", "hello", "ada@example.com", payload),)
    assert second.effects == (Outbound("email", "hello", "bob@example.com", payload),)
    assert first.effects[0].payload is second.effects[0].payload


@pytest.mark.parametrize("given", [MARKETING, TRANSACTIONAL])
@pytest.mark.parametrize("address", [None, ""])
def test_who_has_no_address_is_skipped(given: dict[str, Any], address: str | None) -> None:
    (result,) = run(email.send, given, contact(email=address), world=EMAILS)
    assert isinstance(result, Skipped)


def test_do_not_contact_stops_marketing_and_says_why() -> None:
    ada = contact(email="ada@example.com", do_not_contact={"email": "bounced"})
    (result,) = run(email.send, MARKETING, ada, world=EMAILS)
    assert isinstance(result, Skipped)
    assert "bounced" in result.reason
    assert ada.received == frozenset()


def test_do_not_contact_on_another_channel_does_not_stop_an_email() -> None:
    ada = contact(email="ada@example.com", do_not_contact={"sms": "manual"})
    (result,) = run(email.send, MARKETING, ada, world=EMAILS)
    assert not isinstance(result, Skipped)


def test_a_marketing_email_goes_once_also_within_a_batch() -> None:
    before = frozenset({"other"})
    ada = contact(email="ada@example.com", received=before)
    (first,) = run(email.send, MARKETING, ada, world=EMAILS)
    (second,) = run(email.send, MARKETING, ada, world=EMAILS)
    assert not isinstance(first, Skipped)
    assert isinstance(second, Skipped)
    assert ada.received == {"other", "hello"}
    assert before == {"other"}


@pytest.mark.parametrize(
    ("again", "days", "goes"),
    [(None, 400, False), ("always", 0, True), ("after 300 days", 299, False), ("after 300 days", 300, True)],
)
def test_a_marketing_email_may_go_again_where_the_step_says_so(again: str | None, days: int, goes: bool) -> None:
    last = NOW - timedelta(days=days)
    ada = contact(email="ada@example.com", received=frozenset({"hello"}), received_at={"hello": last})
    (result,) = run(email.send, {**MARKETING, "again": again}, ada, world=EMAILS)
    assert isinstance(result, Skipped) != goes
    if again == "after 300 days":
        (result,) = run(email.send, {**MARKETING, "again": again}, ada, world=EMAILS)
        assert isinstance(result, Skipped)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"again": "yearly"}, "'again' is always, or such as 'after 300 days', not 'yearly'"),
        ({"again": "after a while"}, "'a while' is not an interval"),
        ({"again": "always", "email_type": "transactional"}, "a transactional email goes every time"),
    ],
)
def test_when_an_email_goes_again_is_said_so_that_it_can_be_read(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(email.send, {**MARKETING, **given})


def test_a_transactional_email_goes_again_and_whatever_do_not_contact_says() -> None:
    ada = contact(email="ada@example.com", received=frozenset({"hello"}), do_not_contact={"email": "unsubscribed"})
    (result,) = run(email.send, TRANSACTIONAL, ada, world=EMAILS)
    assert result.effects[0].payload == {"email_type": "transactional", "priority": "high", "attempts": 5}


def test_sending_says_what_it_needs() -> None:
    needs = email.send.needs_of(properties(email.send, {"email": "hello"}))
    assert needs == {
        Need.EMAILS,
        Need.DO_NOT_CONTACT,
        Need.RECEIVED,
        Need.POLICIES,
    }


@pytest.mark.parametrize(
    ("data", "sent", "taken"),
    [
        ({"email": "hello"}, "hello", True),
        ({"email": "other"}, "hello", False),
        ({"email": "hello"}, None, False),
        ({}, "hello", False),
        ({}, None, False),
        ({"email": None}, None, False),
        ({"email": ["hello"]}, "hello", False),
    ],
)
def test_an_opening_counts_for_the_nearest_email_sent_upstream(
    data: dict[str, Any], sent: str | None, taken: bool
) -> None:
    assert takes(email.opened, {}, data, email=sent) is taken


def test_the_opening_decision_listens_to_openings() -> None:
    assert email.opened.events == frozenset({"email.opened"})
