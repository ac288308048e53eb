"""What providers report becomes events of the contacts it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from structlog.testing import capture_logs

from parcours.db.reads import timeline
from parcours.db.tables import refusals
from parcours.db.tables.api_keys import Role
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
    assert answer.status_code in (202, 422), answer.text
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


def silent(mail: Mailing) -> set[str]:
    """Return who does not get text messages any more."""
    keys = {row.id: row.key for row in mail.read("SELECT id, key FROM contact")}
    with mail.engine.connect() as conn:
        found = refusals.of_contacts(conn, keys)
    return {keys[id_] for id_, reasons in found.items() if reasons.get("sms") == "unsubscribed"}


def contacts(mail: Mailing, **fields: dict[str, str]) -> None:
    for key, own in fields.items():
        mail.write("INSERT INTO contact (key, fields) VALUES (:key, :own)", key=key, own=json.dumps(own))


def test_stop_silences_all_contacts_of_the_number_however_it_is_written_and_start_frees_them(
    http: TestClient, mail: Mailing
) -> None:
    contacts(
        mail,
        bea={"phone": "0033 6 12 34 56 78"},
        cyd={"phone": "+33612345678"},
        dan={"phone": "06 12 34 56 78", "country": "FR"},
        eve={"phone": "+33 1 23 45 67 89", "mobile": "06.12.34.56.78", "country": "fr"},
        fay={"phone": "06 12 34 56 78", "country": "BE"},
    )
    for stop, start in (("+33612345678", "0033612345678"), ("33612345678", "+33 6 12 34 56 78")):
        assert report(http, "sms", {"from": stop, "text": "STOP", "time": "2026-06-02T10:00:00Z"}) == ONE
        mail.act_now()
        assert silent(mail) == {"bea", "cyd", "dan", "eve"}
        assert report(http, "sms", {"from": start, "text": "Oui", "time": "2026-06-02T11:00:00Z"}) == ONE
        mail.act_now()
        assert silent(mail) == {"bea", "cyd", "dan", "eve"}
        assert report(http, "sms", {"from": start, "text": "START", "time": "2026-06-02T12:00:00Z"}) == ONE
        mail.act_now()
        assert silent(mail) == set()
        mail.write("DELETE FROM refusal")
    with mail.engine.connect() as conn:
        (oldest,) = mail.read("SELECT id FROM contact WHERE key = 'bea'")
        entries, _ = timeline.page(conn, oldest.id, timeline.Place(datetime.max.replace(tzinfo=UTC)), limit=50)
    said = sorted(entry.detail["text"] for entry in entries if entry.type == "sms.replied")
    assert said == ["Oui", "Oui", "START", "START", "STOP", "STOP"]


def test_stop_from_a_number_of_nobody_silences_whoever_gets_it(http: TestClient, mail: Mailing) -> None:
    stop = {"id": "p-1", "from": "+33 6 12 34 56 78", "text": "Stop.", "time": "2026-06-02T10:00:00Z"}
    assert report(http, "sms", [stop, stop]) == {"accepted": 1, "duplicates": 1, "rejected": []}
    (row,) = mail.read("SELECT address, channel, reason FROM refusal")
    assert tuple(row) == ("+33612345678", "sms", "unsubscribed")
    contacts(mail, bea={"phone": "0033612345678"}, cyd={"mobile": "+33612345678"})
    assert silent(mail) == {"bea", "cyd"}
    mail.write("DELETE FROM contact WHERE key IN ('bea', 'cyd')")
    report(http, "sms", {"from": "+33612345678", "text": "START", "time": "2026-06-02T11:00:00Z"})
    contacts(mail, bea={"phone": "0033612345678"})
    assert silent(mail) == set()


def test_stop_from_a_number_in_another_field_holds_for_it_and_is_told(http: TestClient, mail: Mailing) -> None:
    contacts(mail, bea={"tel": "0033 612 345 678"})
    with capture_logs() as logged:
        report(http, "sms", {"from": "+33612345678", "text": "STOP"})
    assert [(line["event"], line["n"]) for line in logged if "n" in line] == [("text_command_of_nobody", 1)]
    assert "612345678" not in str(logged)
    # What delivery asks of a step with `number_field: tel`.
    with mail.engine.connect() as conn:
        found = refusals.of_numbers(conn, "sms", {"m": ("0033 612 345 678", "FR"), "n": ("+33612345679", None)})
    assert found == {"m": "unsubscribed"}


def test_a_number_without_a_country_code_is_read_by_the_country_of_the_contact(http: TestClient, mail: Mailing) -> None:
    contacts(mail, bea={"phone": "06 12 34 56 78", "country": "FR"}, cyd={"phone": "06 12 34 56 79", "country": "FR"})
    for word, who in (("STOP", {"bea"}), ("START", set())):
        assert report(http, "sms", {"from": "0612345678", "text": word}) == ONE
        mail.act_now()
        assert silent(mail) == who


@pytest.mark.parametrize("number", ["ACME", "1" * 41, "   "])
def test_a_word_from_what_is_no_number_is_rejected(http: TestClient, mail: Mailing, number: str) -> None:
    told = report(http, "sms", {"from": number, "text": "STOP"})
    assert told["accepted"] == 0
    assert "from" in told["rejected"][0]["error"]
    assert not mail.read("SELECT FROM refusal")


def test_stop_refuses_the_number_that_sent_it_and_those_of_the_contact_it_answers_for(
    http: TestClient, mail: Mailing
) -> None:
    contacts(mail, bea={"phone": "+33612345678"}, cyd={"phone": "+33600000000"}, dan={"mobile": "+33612345678"})
    report(http, "sms", {"contact": "bea", "from": "+33600000000", "text": "STOP"})
    mail.act_now()
    assert silent(mail) == {"bea", "cyd", "dan"}
    mail.write("UPDATE contact SET fields = '{\"phone\": \"+33611111111\"}' WHERE key = 'cyd'")
    assert silent(mail) == {"bea", "dan"}


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
    assert errors[3].startswith("no contact matches email; ")
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


def test_a_request_of_which_every_report_is_rejected_is_refused_with_the_reasons(
    http: TestClient, mail: Mailing
) -> None:
    answer = http.post("/inbound/sms", json=[{"from": 5, "text": None}])
    assert (answer.status_code, answer.json()["accepted"]) == (422, 0)
    assert [each["index"] for each in answer.json()["rejected"]] == [0]
    some = http.post("/inbound/sms", json=[{"from": 5, "text": None}, {"from": "+3361234", "text": "yes"}])
    assert (some.status_code, some.json()["accepted"]) == (202, 1)
