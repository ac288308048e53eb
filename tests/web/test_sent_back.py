"""What GET answers can be sent back with PUT, as it is or changed in what can be changed."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.db.clock import now
from parcours.db.tables import refusals
from tests.web.conftest import Client

FILE: dict[str, Any] = {
    "campaign": "welcome",
    "category": "news",
    "sources": {"segments": ["everyone"]},
    "steps": [{"step": "s", "action": "contact.points", "with": {"points": 1}, "after": "1 day"}],
}


@pytest.fixture
def http(client: Client) -> TestClient:
    return client()


@pytest.fixture
def campaign(http: TestClient) -> dict[str, Any]:
    assert http.post("/api/segments", json={"key": "everyone"}).status_code == 201
    assert http.post("/api/campaigns", json=FILE).status_code == 201
    assert http.post("/api/campaigns/welcome/publish").status_code == 200
    found: dict[str, Any] = http.get("/api/campaigns/welcome").json()
    return found


def test_a_campaign_sent_back_stays_as_it_is(http: TestClient, campaign: dict[str, Any]) -> None:
    answer = http.put("/api/campaigns/welcome", json=campaign)
    assert (answer.status_code, answer.json()) == (200, campaign)
    plan = http.post("/api/campaigns/welcome/plan", json=campaign).json()
    assert plan["unchanged"]


def test_a_campaign_sent_back_is_changed_in_its_definition(http: TestClient, campaign: dict[str, Any]) -> None:
    campaign["definition"]["steps"][0]["after"] = "2 days"
    answer = http.put("/api/campaigns/welcome", json=campaign)
    assert (answer.status_code, answer.json()["version"]) == (200, campaign["version"] + 1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("published", False, "change it there"),
        ("category", None, "change it there"),
        ("campaign", "other", "change it there"),
        ("retries", 3, "no such property"),
    ],
)
def test_what_would_change_nothing_is_refused(
    http: TestClient, campaign: dict[str, Any], name: str, value: Any, said: str
) -> None:
    answer = http.put("/api/campaigns/welcome", json={**campaign, name: value})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["path"] == name
    assert said in answer.json()["detail"]


@pytest.fixture
def contact(http: TestClient, engine: Engine) -> dict[str, Any]:
    made = {
        "email": "Ann@example.com",
        "timezone": "Europe/Paris",
        "company": "acme",
        "fields": {"first_name": "Ann", "n": 1},
        "tags": ["a"],
    }
    assert http.put("/api/contacts/ann", json=made).status_code == 201
    with engine.begin() as conn:
        (id_,) = conn.execute(text("UPDATE contact SET points = 5 RETURNING id")).scalars()
        refusals.refuse(conn, [refusals.RefusalChange(id_, "email", now(conn))], reason="unsubscribed")
    found: dict[str, Any] = http.get("/api/contacts/ann").json()
    assert found["refusals"]
    return found


def stored(engine: Engine) -> list[Any]:
    with engine.connect() as conn:
        return [conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in ("event", "inbox")]


def test_a_contact_sent_back_stays_as_it_is(http: TestClient, contact: dict[str, Any], engine: Engine) -> None:
    before = stored(engine)
    answer = http.put("/api/contacts/ann", json=contact)
    assert (answer.status_code, answer.json()) == (200, contact)
    assert stored(engine) == before


def test_a_contact_sent_back_is_changed_in_what_can_be_changed(http: TestClient, contact: dict[str, Any]) -> None:
    changed = {**contact, "owner": "bob", "fields": {**contact["fields"], "n": True}, "tags": ["a", "b"]}
    answer = http.put("/api/contacts/ann", json=changed)
    assert (answer.status_code, answer.json()) == (200, changed)


@pytest.mark.parametrize(("name", "value"), [("points", 6), ("segments", ["x"]), ("refusals", []), ("key", "bob")])
def test_what_cannot_be_changed_is_not_passed_over_in_silence(
    http: TestClient, contact: dict[str, Any], name: str, value: Any
) -> None:
    answer = http.put("/api/contacts/ann", json={**contact, name: value})
    assert (answer.status_code, answer.json()["problems"][0]["path"]) == (422, name)
    assert http.get("/api/contacts/ann").json() == contact


def test_a_new_contact_has_nothing_yet_of_what_cannot_be_changed(http: TestClient) -> None:
    empty = {"key": "eve", "points": 0, "scores": {}, "segments": [], "refusals": []}
    assert http.put("/api/contacts/eve", json={**empty, "points": 1}).status_code == 422
    assert http.put("/api/contacts/eve", json=empty).status_code == 201


@pytest.mark.parametrize(
    "email",
    [
        {"subject": "Hello", "html": "<p>Hello {{ unsubscribe_url }}</p>"},
        {
            "subject": "Hello",
            "text": "Hello",
            "from": "Ann <ann@example.com>",
            "category": "news",
            "published": False,
            "tracking": False,
            "translations": {"fr": {"subject": "Bonjour"}},
            "variants": [{"name": "b", "weight": 50, "subject": "Hi", "translations": {"fr": {"text": "Salut"}}}],
        },
    ],
)
def test_an_email_sent_back_stays_as_it_is(http: TestClient, email: dict[str, Any]) -> None:
    assert http.put("/api/emails/hello", json=email).status_code == 201
    found = http.get("/api/emails/hello").json()
    answer = http.put("/api/emails/hello", json=found)
    assert (answer.status_code, answer.json()) == (200, found), answer.text
