from __future__ import annotations

from typing import Any

import pytest

from domain.steps.email import opened, send
from domain.steps.registry import Done, EmailFacts, Outbound, Skipped, World
from tests.domain.worlds import a_contact, decide, refusal, run

WORLD = World(emails={"hello": EmailFacts("hello", True), "draft": EmailFacts("draft", False)})


def sent(**payload: Any) -> Done:
    full = {"email_type": "marketing", "priority": "normal", "attempts": 3, **payload}
    return Done(effects=(Outbound("email", "hello", "ann@example.com", full),))


def ann(**more: Any) -> Any:
    return a_contact(email="ann@example.com", **more)


def test_an_email_goes_to_the_contacts_address() -> None:
    contact = ann()
    assert run(send, {"email": "hello"}, contact, world=WORLD) == [sent()]
    assert contact.received == {"hello"}


def test_priority_and_attempts_go_along() -> None:
    properties = {"email": "hello", "email_type": "transactional", "priority": "high", "attempts": 1}
    expected = sent(email_type="transactional", priority="high", attempts=1)
    assert run(send, properties, ann(), world=WORLD) == [expected]


@pytest.mark.parametrize(("email", "says"), [("gone", "does not exist"), ("draft", "is not published")])
def test_a_template_that_is_gone_or_unpublished_skips_all(email: str, says: str) -> None:
    results = run(send, {"email": email}, ann(), a_contact(2), world=WORLD)
    assert [isinstance(each, Skipped) and says in each.reason for each in results] == [True, True]


@pytest.mark.parametrize("address", [None, "", " "])
@pytest.mark.parametrize("email_type", ["marketing", "transactional"])
def test_a_contact_without_address_is_skipped(address: str | None, email_type: str) -> None:
    contact = a_contact(email=address)
    (result,) = run(send, {"email": "hello", "email_type": email_type}, contact, world=WORLD)
    assert isinstance(result, Skipped)
    assert "no email address" in result.reason
    assert not contact.received


def test_do_not_contact_skips_marketing_with_its_reason_and_only_that_contact() -> None:
    refusing, willing = ann(do_not_contact={"email": "bounced"}), ann(do_not_contact={"sms": "manual"})
    results = run(send, {"email": "hello"}, refusing, willing, world=WORLD)
    assert isinstance(results[0], Skipped)
    assert "bounced" in results[0].reason
    assert results[1] == sent()
    assert not refusing.received


def test_a_marketing_email_is_sent_once_also_within_a_batch() -> None:
    contact, before = ann(received=frozenset({"other"})), frozenset({"hello"})
    first, second = run(send, {"email": "hello"}, contact, contact, world=WORLD)
    assert first == sent()
    assert isinstance(second, Skipped)
    assert "already" in second.reason
    assert isinstance(run(send, {"email": "hello"}, ann(received=before), world=WORLD)[0], Skipped)


def test_a_transactional_email_always_goes() -> None:
    contact = ann(received=frozenset({"hello"}), do_not_contact={"email": "unsubscribed"})
    properties = {"email": "hello", "email_type": "transactional"}
    assert run(send, properties, contact, world=WORLD) == [sent(email_type="transactional")]


@pytest.mark.parametrize(
    "wrong", [{}, {"email": ""}, *({"email": "x", **more} for more in (
        {"email_type": "spam"}, {"priority": "2"}, {"attempts": 0}, {"attempts": True}
    ))]
)  # fmt: skip
def test_wrong_properties_of_an_email_are_refused(wrong: dict[str, Any]) -> None:
    assert refusal(send, wrong)


def test_opening_the_nearest_email_upstream_is_a_yes() -> None:
    assert decide(opened, {}, {"email": "hello"}, email="hello")


@pytest.mark.parametrize("data", [{}, {"email": None}, {"email": "other"}, {"email": ["hello"]}])
@pytest.mark.parametrize("upstream", ["hello", None])
def test_any_other_opening_is_not(data: dict[str, Any], upstream: str | None) -> None:
    assert not decide(opened, {}, data, email=upstream)
