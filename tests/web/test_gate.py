"""What strangers send over HTTP: bounded, told, and never the end of anything."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.cli import up
from parcours.ops.health import Health
from parcours.ops.settings import Settings
from parcours.web.api.common import cursor_of
from parcours.workers.consumer import Consumer
from tests.web.conftest import Client


@pytest.fixture
def http(client: Client) -> TestClient:
    return client()


def cloud(type_: str = "order.paid", **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(uuid4()), "source": "s", "type": type_, "subject": "ann", **more}


BAD = [
    cloud("contact.changed", data={"email": "nonsense"}),
    cloud("contact.changed", data={"timezone": "Central European Time"}),
    cloud("contact.changed", data={"first_name": "Ann", "email": "ann@example.com"}),
    cloud("segment.contact_added", data={"segment": "nobody-made-it"}),
]


def test_a_request_whose_every_event_is_rejected_is_a_422_with_the_details(http: TestClient) -> None:
    answer = http.post("/events", json=BAD)
    assert answer.status_code == 422
    told = answer.json()
    assert (told["accepted"], told["duplicates"]) == (0, 0)
    assert [each["index"] for each in told["rejected"]] == [0, 1, 2, 3]
    assert "'nonsense' is not an email address" in told["rejected"][0]["error"]


def test_a_request_with_a_good_event_is_a_202_with_the_details(http: TestClient) -> None:
    good = cloud("segment.created", data={"segment": 7})
    answer = http.post("/events", json=[*BAD, good])
    assert (answer.status_code, answer.json()["accepted"], len(answer.json()["rejected"])) == (202, 1, 4)
    # Known already is no mistake of the sender's.
    answer = http.post("/events", json=[*BAD, good])
    assert (answer.status_code, answer.json()["duplicates"]) == (202, 1)
    assert http.post("/events", json=[]).status_code == 202


def test_a_time_in_the_future_is_stored_as_now_and_marked(http: TestClient, engine: Engine) -> None:
    assert http.post("/events", json=cloud(time="2099-01-01T00:00:00Z")).status_code == 202
    with engine.connect() as conn:
        row = conn.execute(text("SELECT at <= received_at AS past, data FROM inbox")).one()
    assert (row.past, row.data) == (True, {"claimed_time": "2099-01-01T00:00:00Z"})


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"timezone": "europe/paris"}, 201),
        ({"timezone": "Europe/Pari"}, 422),
        ({"email": "ant@example.com,bee@example.com"}, 422),
        ({"fields": {"points": 3}}, 422),
    ],
)
def test_rest_has_the_checks_of_events(http: TestClient, given: dict[str, Any], status: int) -> None:
    answer = http.put("/api/contacts/ann", json=given)
    assert answer.status_code == status
    if status == 201:
        assert answer.json()["timezone"] == "Europe/Paris"
    else:
        assert "contact.changed" in answer.json()["detail"]


@pytest.mark.parametrize("levels", [61, 600, 970])
@pytest.mark.parametrize("path", ["/events", "/forms/signup", "/api/contacts/ann"])
def test_nesting_that_could_not_be_read_again_is_refused(
    http: TestClient, engine: Engine, path: str, levels: int
) -> None:
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO form (key, name, standalone) VALUES ('signup', 'signup', true)"))
    deep = "[" * levels + '"é"' + "]" * levels
    body = {
        "/events": json.dumps(cloud(data={"a": "DEEP"})),
        "/forms/signup": '{"email": "ann@example.com", "fields": {"a": "DEEP"}}',
        "/api/contacts/ann": '{"fields": {"a": "DEEP"}}',
    }[path].replace('"DEEP"', deep)
    answer = http.request(
        "PUT" if "api" in path else "POST", path, content=body.encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert "nested" in answer.text
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM inbox")).scalar_one() == 0


def test_a_redirect_that_is_no_address_leads_nowhere(http: TestClient, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO form (key, name, standalone) VALUES ('signup', 'signup', true)"))
    for wanted in ("https://[example.com]", "https://[", "//[::1", "http://[::1]:x/"):
        answer = http.post("/forms/signup", data={"email": "ann@example.com", "_redirect": wanted})
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")


def test_a_cursor_that_somebody_made_up_is_refused(http: TestClient) -> None:
    for place in ([None, 1], ["\ud800", 1], ["0001-01-01T00:00:00+14:00", 1], ["2026-06-01T00:00:00Z", None]):
        answer = http.get("/api/campaigns", params={"cursor": cursor_of("campaigns", *place)})
        assert (answer.status_code, "cursor" in answer.json()["detail"]) == (400, True)


def test_a_deep_campaign_survives_get_and_put_as_json(http: TestClient) -> None:
    step: dict[str, Any] = {"step": "s0", "action": "contact.points", "with": {"points": 1}}
    for number in range(1, 40):
        step = {"step": f"s{number}", "action": "contact.points", "with": {"points": 1}, "then": [step]}
    assert http.post("/api/segments", json={"key": "everyone"}).status_code == 201
    file = {"campaign": "deep", "sources": {"segments": ["everyone"]}, "steps": [step]}
    made = http.post("/api/campaigns", json=file)
    assert made.status_code == 201, made.text
    got = http.get("/api/campaigns/deep")
    assert got.status_code == 200, got.text
    again = http.put("/api/campaigns/deep", json=got.json()["definition"])
    assert again.status_code == 200, again.text
    assert again.json()["definition"] == got.json()["definition"]


# `parcours up`.


def test_a_part_that_has_died_is_told_by_health_and_stops_the_process(client: Client, engine: Engine) -> None:
    dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    parts = {"consumer": lambda: None if dead.is_alive() else up.DEAD}
    stop, lost = threading.Event(), list[str]()
    up._watch(parts, stop, lost)
    assert (stop.is_set(), lost) == (True, ["consumer"])
    report = Health(engine.url, Settings(), parts=parts).ready()
    assert report["consumer"] == up.DEAD


def test_a_consumer_in_trouble_says_so_and_lives(engine: Engine) -> None:
    stop = threading.Event()
    made = Consumer(engine, "redis://127.0.0.1:1/0", Settings())
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    while made.trouble is None:
        stop.wait(0.02)
    assert "cannot reach the events queue" in made.trouble
    assert thread.is_alive()
    stop.set()
    thread.join(600)
    assert not thread.is_alive()
