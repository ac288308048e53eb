"""What providers report becomes events of the contacts it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from db.api_keys import Role
from tests.web.conftest import Client
from tests.web.mailing import Mailing, mailing

STEPS = """
- step: hello
  action: email.send
  with: {email: hello}
  then:
    - {step: replied, decision: email.reply, yes: [{action: contact.tags, with: {add: [replied]}}]}
    - {step: texted, decision: sms.reply, with: {pattern: "yes*"}, yes: [{action: contact.tags, with: {add: [texted]}}]}
"""
ONE = {"accepted": 1, "duplicates": 0, "rejected": []}


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    return mailing(engine, tmp_path, STEPS)


@pytest.fixture
def http(client: Client) -> TestClient:
    return client()


def report(http: TestClient, path: str, value: Any) -> Any:
    # With escapes: half a character cannot be sent as it is.
    headers = {"content-type": "application/json"}
    answer = http.post(f"/inbound/{path}", content=json.dumps(value), headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.parametrize("who", ["message", "message id", "email", "contact"])
def test_a_hard_bounce_is_found_by_message_address_or_key(http: TestClient, mail: Mailing, who: str) -> None:
    said = {
        "message": {"message": mail.key},
        "message id": {"message": f"<{mail.key}@mail.example.com>"},
        "email": {"email": " Ann@Example.com "},
        "contact": {"contact": "ann"},
    }[who]
    assert report(http, "bounces", {**said, "kind": "hard", "reason": "550 no such user"}) == ONE
    (row,) = mail.stored()
    about = {"message": mail.key} if "message" in who else {}
    assert row.data == {"kind": "hard", "reason": "550 no such user", **about}
    mail.act_now()
    assert mail.refused() == {"email": "bounced"}
    assert bool(mail.read("SELECT FROM message WHERE bounced_at IS NOT NULL")) is ("message" in who)


def test_a_soft_bounce_changes_nothing(http: TestClient, mail: Mailing) -> None:
    report(http, "bounces", {"message": mail.key, "kind": "soft"})
    mail.act_now()
    assert mail.refused() == {}


def test_a_complaint_unsubscribes(http: TestClient, mail: Mailing) -> None:
    report(http, "complaints", {"email": "ann@example.com"})
    (row,) = mail.stored()
    assert (row.type, row.data) == ("email.unsubscribed", {"channel": "email", "complaint": True})
    mail.act_now()
    assert mail.refused() == {"email": "unsubscribed"}


def test_a_reply_takes_its_decision(http: TestClient, mail: Mailing) -> None:
    report(http, "replies", {"message": f"<{mail.key}@mail.example.com>", "text": "hello"})
    mail.act_now()
    assert mail.tags("ann") == {"replied"}


@pytest.mark.parametrize("number", ["+33 6 12 34", "+3361234", "33-6-12-34"])
def test_a_text_message_is_found_by_the_digits_of_its_number(http: TestClient, mail: Mailing, number: str) -> None:
    report(http, "sms", {"from": number, "text": "Yes please"})
    mail.act_now()
    assert mail.tags("ann") == {"texted"}


def test_a_list_is_taken_one_by_one_and_what_is_wrong_has_its_place(http: TestClient, mail: Mailing) -> None:
    told = report(
        http,
        "bounces",
        [
            {"kind": "hard"},
            {"email": "ann@example.com"},
            5,
            {"email": "nobody@example.com"},
            {"contact": "ann", "kind": "odd"},
            {"contact": "ann", "reason": 5},
            {"message": "9-9-9-9"},
            {"message": "\0", "email": "\ud800x"},
        ],
    )
    assert told["accepted"] == 1
    errors = {each["index"]: each["error"] for each in told["rejected"]}
    assert list(errors) == [0, 2, 3, 4, 5, 6, 7]
    assert "give message or contact or email" in errors[0]
    assert errors[3] == "nobody is found by email"
    assert "hard or soft" in errors[4]
    assert '"reason"' in errors[5]


def test_a_report_with_an_id_is_taken_once(http: TestClient, mail: Mailing) -> None:
    said = {"id": "p-1", "from": "+3361234", "text": "yes", "time": "2026-06-02T10:00:00Z"}
    assert report(http, "sms", [said, said]) == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert report(http, "sms", said)["duplicates"] == 1


def test_reports_need_a_key_json_and_room(client: Client, mail: Mailing, key: Callable[[Role], str]) -> None:
    http = client(open_to_all=False)
    one = {"contact": "ann"}
    assert http.post("/inbound/bounces", json=one).status_code == 401
    assert http.post("/inbound/bounces", json=one, headers={"x-api-key": key("read")}).status_code == 403
    may = {"x-api-key": key("publish")}
    assert http.post("/inbound/bounces", content=b"{}", headers=may | {"content-type": "text/plain"}).status_code == 415
    assert (
        http.post("/inbound/bounces", content=b"{", headers=may | {"content-type": "application/json"}).status_code
        == 400
    )
    assert http.post("/inbound/bounces", json=one, headers=may).status_code == 202
    full = client(max_inbox=1)
    report(full, "bounces", one)
    assert full.post("/inbound/bounces", json=one).status_code == 429


def test_the_description_of_the_interface_names_the_reports(http: TestClient) -> None:
    paths = http.get("/api/openapi.json").json()["paths"]
    for name in ("bounces", "complaints", "replies", "sms"):
        assert "application/json" in paths[f"/inbound/{name}"]["post"]["requestBody"]["content"]
