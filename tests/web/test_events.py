"""POST /events, with every answer that it has."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from dramatiq.brokers.stub import StubBroker
from sqlalchemy import Engine, text

from parcours.db.engine import connect
from parcours.db.tables import api_keys
from parcours.db.tables.api_keys import Role
from parcours.domain.jobs import ActOnEvents
from parcours.producers.broker import publish
from parcours.web.inbox import ENOUGH_HINTS, Hints
from parcours.workers import intake
from tests.web.conftest import Client, count, event, eventually

ONE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PLAIN = "application/json"


def post(client: Any, value: Any, content_type: str = PLAIN, **headers: str) -> httpx.Response:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = {"content-type": content_type, **{name.replace("_", "-"): each for name, each in headers.items()}}
    answer: httpx.Response = client.post("/events", content=body, headers=headers)
    return answer


def refused(answer: httpx.Response, status: int) -> str:
    """Return the sentence of a problem, after a look at its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    return str(problem["detail"])


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (event("1"), ONE),
        ([event("1")], BATCH),
        (event("1"), PLAIN),
        ([event("1")], PLAIN),
        (event("1"), "Application/CloudEvents+JSON; charset=utf-8"),
    ],
)
def test_an_event_is_stored_in_each_form(client: Client, engine: Engine, value: Any, content_type: str) -> None:
    answer = post(client(), value, content_type)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert count(engine, "inbox") == 1


def test_an_event_in_binary_mode_has_its_attributes_in_headers(client: Client, engine: Engine) -> None:
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": "1",
        "ce_source": "crm",
        "ce_type": "order.paid",
        "ce_subject": "zo%C3%A9",
        "ce_time": "2026-03-01T10:00:00Z",
    }
    assert post(client(), {"amount": 5}, **attributes).json()["accepted"] == 1
    with engine.connect() as conn:
        stored = conn.execute(
            text("SELECT key, source, type, data FROM inbox JOIN contact ON contact.id = contact_id")
        ).one()
    assert tuple(stored) == ("zoé", "crm", "order.paid", {"amount": 5})


def test_the_same_events_twice_change_nothing_the_second_time(client: Client, engine: Engine) -> None:
    http = client()
    batch = [event("1"), event("2"), event("2")]
    assert post(http, batch).json() == {"accepted": 2, "duplicates": 1, "rejected": []}
    assert post(http, batch).json() == {"accepted": 0, "duplicates": 3, "rejected": []}
    assert count(engine, "inbox") == 2


def test_rejected_events_are_named_by_their_place_and_the_others_are_stored(client: Client, engine: Engine) -> None:
    batch = [
        {"no": "event"},
        event("1"),
        event("2", "segment.contact_added", segment="nowhere"),
        5,
        event("3"),
        event("4", "form.submitted", form="nothing"),
    ]
    answer = post(client(), batch, BATCH)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["duplicates"]) == (2, 0)
    assert [each["index"] for each in told["rejected"]] == [0, 2, 3, 5]
    assert "specversion" in told["rejected"][0]["error"]
    assert "there is no segment 'nowhere'" in told["rejected"][1]["error"]
    assert count(engine, "inbox") == 2


@pytest.mark.parametrize(
    "wrong",
    [
        '{"source": "\\ud800"}',
        '{"subject": "\\udfff"}',
        '{"data": {"x": "\\ud800"}}',
        '{"data": {"\\ud800": 1}}',
        '{"data": {"x": 1e999}}',
        '{"data": {"x": "\\u0000"}}',
        '{"time": "0001-01-01T00:00:00+14:00"}',
        '{"time": "1899-12-31T23:59:59Z"}',
    ],
)
def test_what_no_database_can_store_is_rejected_and_stops_nobody_else(
    client: Client, engine: Engine, wrong: str
) -> None:
    bad = json.dumps(event("1", "order.paid"))[:-1] + f", {wrong[1:]}"
    told = post(client(), f"[{bad}, {json.dumps(event('2'))}]".encode()).json()
    assert [each["index"] for each in told["rejected"]] == [0]
    assert told["accepted"] == count(engine, "inbox") == 1


def test_an_unknown_contact_is_rejected_when_the_setting_says_so(client: Client) -> None:
    told = post(client(unknown_contacts="reject"), [event("1")]).json()
    assert told["accepted"] == 0
    assert "unknown" in told["rejected"][0]["error"]


def test_an_empty_list_is_accepted_and_holds_nothing(client: Client) -> None:
    answer = post(client(), [], BATCH)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 0, "duplicates": 0, "rejected": []}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'"text"', b"5", b"null", b"true", b"\xff\xfe", b'{"x": NaN}', b"[" * 100_000, b"1" * 5000],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_not_a_json_object_or_list_is_a_400(client: Client, body: bytes) -> None:
    assert "JSON" in refused(post(client(), body), 400)


def test_without_a_key_the_answer_is_401_and_says_how_to_get_one(client: Client, engine: Engine) -> None:
    answer = post(client(open_to_all=False), event("1"))
    assert "parcours keys create" in refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert count(engine, "inbox") == 0


@pytest.mark.parametrize("authorization", ["Bearer prc_nobody", "Basic YTpi", "Bearer ", "prc_x"])
def test_an_unknown_key_is_a_401(client: Client, authorization: str) -> None:
    refused(post(client(open_to_all=False), event("1"), authorization=authorization), 401)


def test_a_revoked_key_is_a_401(client: Client, engine: Engine) -> None:
    with engine.begin() as conn:
        given, kept = api_keys.create(conn, "test", "publish")
        api_keys.revoke(conn, kept.id)
    refused(post(client(open_to_all=False), event("1"), x_api_key=given), 401)


@pytest.mark.parametrize("role", ["publish", "manage"])
def test_keys_that_publish_may_post_by_either_header(client: Client, key: Callable[[Role], str], role: Role) -> None:
    http, given = client(open_to_all=False), key(role)
    assert post(http, event("1"), authorization=f"Bearer {given}").status_code == 202
    assert post(http, event("2"), x_api_key=given).status_code == 202


def test_a_key_that_only_reads_is_a_403(client: Client, key: Callable[[Role], str]) -> None:
    assert "has the role read" in refused(post(client(open_to_all=False), event("1"), x_api_key=key("read")), 403)


def test_a_body_over_the_limit_is_a_413_also_when_no_header_says_its_length(client: Client, engine: Engine) -> None:
    http = client(max_body_bytes=1000)

    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 100

    headers = {"content-type": PLAIN}
    refused(http.post("/events", content=chunks(), headers=headers), 413)
    refused(http.post("/events", content=b" " * 1001, headers=headers), 413)
    refused(http.post("/events", content=b" " * 1001, headers=headers | {"content-length": "5"}), 413)
    refused(post(http, [{}] * 20), 413)
    assert post(http, [event("1")]).status_code == 202
    assert count(engine, "inbox") == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "", "application/x-www-form-urlencoded"])
def test_another_content_type_is_a_415(client: Client, content_type: str) -> None:
    answer = post(client(), event("1"), content_type)
    assert ONE in refused(answer, 415)


def test_a_packed_body_is_a_415(client: Client) -> None:
    assert "gzip" in refused(post(client(), event("1"), content_encoding="gzip"), 415)


def test_a_full_inbox_is_a_429_that_says_when_to_come_again_and_takes_more_once_there_is_room(
    client: Client, engine: Engine
) -> None:
    http = client(max_inbox=2)
    assert post(http, [event("1"), event("2"), event("3")]).status_code == 202
    answer = post(http, event("4"))
    refused(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    assert count(engine, "inbox") == 3
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM inbox"))
    assert post(http, event("4")).json()["accepted"] == 1


def test_an_unknown_path_and_another_method_are_problems_too(client: Client) -> None:
    http = client()
    assert "check the address" in refused(http.get("/nowhere"), 404)
    answer = http.get("/events")
    assert refused(answer, 405) == "GET is not supported here; use POST"
    assert answer.headers["allow"] == "POST"
    # Of all routes of the address.
    answer = http.post("/api/campaigns/welcome")
    assert refused(answer, 405) == "POST is not supported here; use DELETE or GET or PUT"


def test_a_page_says_which_methods_its_address_takes(client: Client) -> None:
    http = client()
    page = {"accept": "text/html"}
    answer = http.get("/language", headers=page)
    assert answer.status_code == 405
    assert "This address does not support GET, only POST. Go back and try again." in answer.text
    answer = http.request("<b>", "/campaigns", headers={**page, "accept-language": "fr"})
    assert "Cette adresse n’accepte pas &lt;B&gt;, seulement GET. Revenez en arrière" in answer.text


def test_without_a_database_the_answer_is_503_and_says_when_to_come_again(client: Client) -> None:
    away = connect("postgresql://nobody@127.0.0.1:1/none")
    for open_to_all in (True, False):
        answer = post(client(engine=away, open_to_all=open_to_all), event("1"), x_api_key="prc_x")
        assert "nothing was stored" in refused(answer, 503)
        assert int(answer.headers["retry-after"]) > 0


def test_what_nobody_expected_is_a_500_without_details(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(intake, "accept", fail)
    assert "secret" not in refused(post(client(), event("1")), 500)


def test_a_hint_is_published_once_events_are_stored_and_not_for_duplicates(client: Client, stub: StubBroker) -> None:
    http = client(broker=stub)
    post(http, event("1"))
    eventually(lambda: stub.queues["decisions"].qsize() == 1)
    post(http, event("1"))
    post(http, [])
    post(http, event("2"))
    eventually(lambda: stub.queues["decisions"].qsize() == 2)


def test_hints_do_not_pile_up_while_no_worker_runs(stub: StubBroker) -> None:
    for _ in range(ENOUGH_HINTS - 2):
        publish(stub, ActOnEvents())
    for _ in range(10):
        hints = Hints(stub)
        hints.give()
        hints.stop()
        assert stub.queues["decisions"].qsize() <= ENOUGH_HINTS
    assert stub.queues["decisions"].qsize() == ENOUGH_HINTS


def test_nobody_who_publishes_waits_for_a_broker_that_does_not_answer(
    client: Client, engine: Engine, stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def silent(*_: Any, **__: Any) -> None:
        asked.set()
        answers.wait()

    monkeypatch.setattr(stub, "enqueue", silent)
    http = client(broker=stub)
    try:
        for number in range(20):
            assert post(http, event(str(number))).status_code == 202
        assert count(engine, "inbox") == 20
        assert asked.wait(600)
    finally:
        answers.set()


def test_the_description_of_the_interface_names_the_events(client: Client) -> None:
    described = client().get("/api/openapi.json").json()["paths"]["/events"]["post"]
    assert set(described["requestBody"]["content"]) == {ONE, BATCH, PLAIN}
    assert {"202", "400", "401", "403", "413", "415", "429"} <= set(described["responses"])
