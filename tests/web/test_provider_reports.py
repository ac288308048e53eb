"""Webhooks of providers: their class checks and understands them, and they become events of contacts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import textline
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.ops.settings import Settings
from parcours.web.app import make_app
from parcours.workers.delivery import registry
from tests.web.mailing import Mailing, mailing

STEPS = """
- step: hello
  action: sms.send
  with: {text: Hello}
  then:
    - step: there
      decision: event.happened
      with: {type: sms.delivered}
      yes: [{action: contact.tags, with: {add: [delivered]}}]
    - {step: texted, decision: sms.reply, with: {pattern: "yes*"}, yes: [{action: contact.tags, with: {add: [texted]}}]}
"""
ONE = {"accepted": 1, "duplicates": 0, "rejected": []}


def chosen(**more: Any) -> Settings:
    made = Settings(sms_provider="textline", public_url="https://parcours.example", **more)
    options = {"URL": "http://127.0.0.1:1", "KEY": "key", "SECRET": "secret", "SENDER": "+33700000000"}
    made.provider_options.update({f"PARCOURS_PROVIDER_TEXTLINE_{name}": value for name, value in options.items()})
    return made


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(registry._entry_points())
    known["textline"] = EntryPoint("textline", "textline:Textline", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: known)


@pytest.fixture
def message(engine: Engine, tmp_path: Path) -> Mailing:
    return mailing(engine, tmp_path, STEPS)


@pytest.fixture
def http(engine: Engine) -> Iterator[TestClient]:
    # Keys are asked for, and a provider has none.
    with TestClient(make_app(engine, None, chosen(), open_to_all=False)) as client:
        yield client


def post(http: TestClient, said: Any, *, name: str = "textline", secret: str = "secret") -> Any:
    body = json.dumps(said).encode()
    headers = {"Textline-Signature": textline.signature(secret, int(time.time()), body)}
    return http.post(f"/inbound/providers/{name}", content=body, headers=headers)


def test_a_delivery_answers_the_decision_that_waits_for_it_once(http: TestClient, message: Mailing) -> None:
    said = {"id": "1", "event": "delivered", "reference": message.key}
    answer = post(http, said)
    assert (answer.status_code, answer.json()) == (202, ONE)
    (row,) = message.stored()
    assert (row.type, row.contact, row.data) == ("sms.delivered", "ann", {"message": message.key})
    assert row.source == "parcours/inbound/providers/textline"
    assert post(http, said).json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    message.act_now()
    assert "delivered" in message.tags("ann")


def test_a_number_that_does_not_exist_gets_no_more_text_messages(http: TestClient, message: Mailing) -> None:
    soft = {"id": "1", "event": "undelivered", "reference": message.key, "code": "switched_off"}
    assert post(http, soft).json() == ONE
    message.act_now()
    assert message.refused() == {}
    assert post(http, {**soft, "id": "2", "code": "unknown_number"}).json() == ONE
    message.act_now()
    assert message.refused() == {"sms": "bounced"}
    assert len(message.read("SELECT FROM message WHERE bounced_at IS NOT NULL")) == 1


def test_an_answer_is_found_by_its_number_and_stop_is_heard(http: TestClient, message: Mailing) -> None:
    said = {"id": "1", "event": "inbound", "from": "+336 1234", "text": "Yes please"}
    assert post(http, said).json() == ONE
    message.act_now()
    assert "texted" in message.tags("ann")
    assert post(http, {**said, "id": "2", "text": "STOP"}).json() == ONE
    message.act_now()
    assert message.refused() == {"sms": "unsubscribed"}


def test_what_concerns_nobody_is_listed_and_does_not_keep_back_the_others(http: TestClient, message: Mailing) -> None:
    answer = post(
        http,
        [
            {"id": "1", "event": "delivered", "reference": "9-9-9-9"},
            {"id": "2", "event": "inbound", "from": "\x00", "text": "\ud800"},
            {"id": "3", "event": "delivered", "reference": message.key},
            {"id": "4", "event": "price_changed"},
        ],
    )
    found = answer.json()
    assert (answer.status_code, found["accepted"]) == (202, 1)
    assert [each["index"] for each in found["rejected"]] == [0, 1]


@pytest.mark.parametrize(
    ("said", "more", "status"),
    [
        ({"id": "1"}, {"secret": "another"}, 401),
        ([1], {}, 400),
        ({"id": "1"}, {"name": "nobody"}, 404),
        # It is in use, and reports nothing.
        ({"id": "1"}, {"name": "webhook"}, 404),
    ],
)
def test_a_request_is_refused_in_a_sentence(http: TestClient, said: Any, more: dict[str, str], status: int) -> None:
    answer = post(http, said, **more)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)


@pytest.mark.parametrize("error", [KeyError, SystemExit])
def test_a_class_that_fails_is_no_other_provider_s_trouble(
    http: TestClient, message: Mailing, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fails(*_: Any) -> None:
        raise error("a bug")

    monkeypatch.setattr(textline.Textline, "parse", fails)
    answer = post(http, {"id": "1", "event": "delivered", "reference": message.key})
    assert (answer.status_code, answer.json()["detail"]) == (500, "the provider 'textline' failed; see the log")
    monkeypatch.undo()


def test_a_provider_whose_options_are_wrong_is_asked_to_come_again(engine: Engine) -> None:
    settings = chosen()
    settings.provider_options.clear()
    with TestClient(make_app(engine, None, settings, open_to_all=False)) as client:
        answer = post(client, {"id": "1"})
    assert (answer.status_code, "parcours doctor" in answer.json()["detail"]) == (503, True)
