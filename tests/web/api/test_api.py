"""REST under `/api/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import refusals
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.steps.types import Failed
from parcours.services import contact_changes
from parcours.services.campaign_plan import CampaignPlan
from parcours.web.api.campaigns import Planned
from parcours.web.api.common import cursor_of
from tests.conftest import Run
from tests.web.conftest import Client, event
from tests.web.pages.test_overview_pages import travelled
from tests.web.pages.test_sign_in import given_user, sign_in
from tests.workers.worlds import START, Moody, World, at
from tests.workers.worlds import event as happened

STEP = {"step": "hello", "action": "contact.points", "with": {"points": 1}}
YAML = {"content-type": "application/yaml"}


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.segment("everyone")
    return made


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    return client()


def file(key: str = "c", **more: Any) -> dict[str, Any]:
    return {"campaign": key, "name": key, "sources": {"segments": ["everyone"]}, "steps": [STEP], **more}


def walked(http: TestClient, path: str, limit: int) -> list[dict[str, Any]]:
    """Return the items of all pages of a list."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = http.get(path, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["items"]) <= limit
        found += body["items"]
        cursor = body["next"]
        if cursor is None:
            return found


# Campaigns.


def test_a_campaign_is_made_got_changed_and_deleted(http: TestClient) -> None:
    made = http.post("/api/campaigns", json=file())
    assert (made.status_code, made.headers["location"]) == (201, "/api/campaigns/c"), made.text
    got = http.get("/api/campaigns/c")
    assert got.json() == made.json()
    assert got.headers["etag"] == made.headers["etag"]
    assert (got.json()["version"], got.json()["state"], got.json()["published"]) == (1, "paused", False)
    changed = http.put("/api/campaigns/c", json={**got.json()["definition"], "name": "Other"})
    assert (changed.status_code, changed.json()["version"], changed.json()["name"]) == (200, 2, "Other")
    assert http.delete("/api/campaigns/c").status_code == 204
    assert http.get("/api/campaigns/c").status_code == 404
    assert http.delete("/api/campaigns/c").status_code == 404


def test_a_campaign_may_come_as_yaml(http: TestClient) -> None:
    text = (
        "campaign: c\nname: Hello\nsources: {segments: [everyone]}\n"
        "steps:\n  - {step: hello, action: contact.points, with: {points: 1}, hour: 09:00}\n"
    )
    made = http.post("/api/campaigns", content=text, headers=YAML)
    assert made.status_code == 201, made.text
    assert made.json()["definition"]["steps"][0]["hour"] == "09:00"
    wrong = http.post("/api/campaigns", content="campaign: d\nsteps: [", headers=YAML)
    assert wrong.status_code == 422
    assert http.post("/api/campaigns", content="x", headers={"content-type": "text/plain"}).status_code == 415


def test_a_key_that_is_taken_is_a_conflict(http: TestClient) -> None:
    assert http.post("/api/campaigns", json=file()).status_code == 201
    again = http.post("/api/campaigns", json=file(name="Another"))
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert http.get("/api/campaigns/c").json()["name"] == "c"
    assert http.post("/api/campaigns/c/clone", json={"key": "c"}).status_code == 409


def test_everything_that_is_wrong_is_said_with_its_path(http: TestClient) -> None:
    wrong = file(steps=[{"step": "a", "action": "contact.points", "with": {"points": "x"}}, {"step": "b"}])
    answer = http.post("/api/campaigns", json=wrong)
    assert answer.status_code == 422
    paths = [each["path"] for each in answer.json()["problems"]]
    assert any(path.startswith("steps[0]") for path in paths)
    assert any(path.startswith("steps[1]") for path in paths)
    answer = http.post("/api/campaigns", json=file(sources={"segments": ["nowhere"]}))
    assert [each["path"] for each in answer.json()["problems"]] == ["sources.segments[0]"]
    # Nothing of it is there.
    assert http.get("/api/campaigns").json() == {"items": [], "next": None}


@pytest.mark.parametrize("body", ["", "{", "nonsense", '{"campaign": NaN}', "[" * 5000])
def test_what_is_no_json_is_refused(http: TestClient, body: str) -> None:
    answer = http.post("/api/campaigns", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


@pytest.mark.parametrize(
    "body", ['"\\u0000"', '"\\ud800"', "1e999", "[" * 100 + "]" * 100, '{"campaign": "c", "steps": [1e999]}', "null"]
)
def test_what_cannot_be_stored_is_refused(http: TestClient, body: str) -> None:
    answer = http.post("/api/campaigns", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_of_two_writers_the_second_is_told_that_the_campaign_changed(http: TestClient) -> None:
    tag = http.post("/api/campaigns", json=file()).headers["etag"]
    first = http.put("/api/campaigns/c", json=file(name="First"), headers={"if-match": tag})
    assert first.status_code == 200
    assert first.headers["etag"] != tag
    second = http.put("/api/campaigns/c", json=file(name="Second"), headers={"if-match": tag})
    assert (second.status_code, second.headers["etag"]) == (412, first.headers["etag"])
    assert http.get("/api/campaigns/c").json()["name"] == "First"
    for path, method in (("", "DELETE"), ("/publish", "POST"), ("/pause", "POST")):
        assert http.request(method, f"/api/campaigns/c{path}", headers={"if-match": tag}).status_code == 412
    for matching in ('"2"', "*", f'"9.0", {first.headers["etag"]}'):
        same = http.put("/api/campaigns/c", json=file(name="First"), headers={"if-match": matching})
        assert (same.status_code, same.json()["version"]) == (200, 2)


def test_who_switches_it_on_changes_what_others_saw(http: TestClient) -> None:
    tag = http.post("/api/campaigns", json=file()).headers["etag"]
    on = http.post("/api/campaigns/c/publish")
    assert (on.status_code, on.json()["running"], on.json()["why_not"]) == (200, True, None)
    assert http.put("/api/campaigns/c", json=file(), headers={"if-match": tag}).status_code == 412
    off = http.post("/api/campaigns/c/pause")
    assert (off.json()["running"], off.json()["state"]) == (False, "paused")


def test_a_key_stays_for_good(http: TestClient) -> None:
    http.post("/api/campaigns", json=file())
    answer = http.put("/api/campaigns/c", json=file("d"))
    assert (answer.status_code, answer.json()["problems"][0]["path"]) == (422, "campaign")
    assert http.put("/api/campaigns/d", json=file("d")).status_code == 404


def test_a_plan_changes_nothing(http: TestClient) -> None:
    new = http.post("/api/campaigns/c/plan", json=file())
    assert (new.status_code, new.json()["creates"], new.json()["added"]) == (200, True, ["hello"])
    assert http.get("/api/campaigns/c").status_code == 404
    http.post("/api/campaigns", json=file())
    more = file(steps=[STEP, {**STEP, "step": "more"}])
    planned = http.post("/api/campaigns/c/plan", json=more).json()
    assert (planned["version"], planned["added"], planned["new_roots"]) == (2, ["more"], ["more"])
    assert http.get("/api/campaigns/c").json()["version"] == 1


def test_new_first_steps_reach_members_where_that_is_asked_for(http: TestClient, world: World) -> None:
    world.crowd(2, segment="everyone")
    http.post("/api/campaigns", json=file(published=True))
    world.update()
    more = file(published=True, steps=[STEP, {**STEP, "step": "more", "after": "1 day"}])
    assert http.put("/api/campaigns/c?backfill=true", json=more).status_code == 200
    assert {wait.contact for wait in world.waits() if wait.step == "more"} == {"c1", "c2"}


def test_a_copy_is_switched_off(http: TestClient) -> None:
    http.post("/api/campaigns", json=file(published=True))
    made = http.post("/api/campaigns/c/clone", json={"key": "d"})
    assert (made.status_code, made.headers["location"]) == (201, "/api/campaigns/d"), made.text
    assert made.json()["published"] is False
    assert http.post("/api/campaigns/c/clone", json={"key": "no key"}).status_code == 422
    assert http.post("/api/campaigns/c/clone", json={}).json()["problems"][0]["path"] == "key"


def test_the_overview_is_what_the_command_prints(http: TestClient, world: World, run: Run) -> None:
    travelled(world)
    assert http.get("/api/campaigns/c/overview").json() == json.loads(run("overview", "c", "--json").stdout)


def test_every_page_of_campaigns_comes_once(http: TestClient) -> None:
    keys = [f"c{number}" for number in range(7)]
    for key in keys:
        http.post("/api/campaigns", json=file(key))
    for limit in (1, 2, 3, 7, 500):
        assert [each["campaign"] for each in walked(http, "/api/campaigns", limit)] == keys[::-1]


# Members and what happened.


def test_members_are_added_and_removed_by_hand_with_the_rules_of_the_command(http: TestClient, world: World) -> None:
    world.contacts("ann", "a/b")
    world.campaign(json.dumps([{**STEP, "after": "1 day"}]))
    for method in ("PUT", "POST"):
        assert http.request(method, "/api/campaigns/c/members/nobody").status_code == 404
        assert http.request(method, "/api/campaigns/nothing/members/ann").status_code == 404
    added = http.put("/api/campaigns/c/members/ann")
    assert (added.status_code, added.json()) == (200, {"contact": "ann", "changed": True, "what": "added"})
    again = http.post("/api/campaigns/c/members/ann").json()
    assert (again["changed"], again["what"][:13]) == (False, "already in it")
    assert http.put("/api/campaigns/c/members/a%2Fb").json()["what"] == "added"
    (member,) = [each for each in walked(http, "/api/campaigns/c/members", 1) if each["contact"] == "ann"]
    assert (member["arrival"], [wait["step"] for wait in member["waits"]]) == ("manual", ["hello"])
    # No segment takes out who was added by hand, and none brings back who was taken out.
    world.update()
    assert http.delete("/api/campaigns/c/members/ann").json()["what"] == "removed"
    assert http.delete("/api/campaigns/c/members/ann").json()["changed"] is False
    world.enter("everyone", "ann")
    world.update()
    for state, there in (("active", ["a/b"]), ("left", ["ann"])):
        page = http.get("/api/campaigns/c/members", params={"state": state}).json()
        assert [each["contact"] for each in page["items"]] == there
    assert http.put("/api/campaigns/c/members/ann").json()["what"] == "back"
    done = [each["what"] for each in http.get("/api/campaigns/c").json()["activity"]]
    assert done[:2] == ["contacts added by hand: 1", "contacts removed by hand: 1"]


def test_every_page_of_members_comes_once(http: TestClient, world: World) -> None:
    keys = world.crowd(7, segment="everyone")
    world.campaign(json.dumps([STEP]))
    world.update()
    for limit in (1, 3, 7, 500):
        assert [each["contact"] for each in walked(http, "/api/campaigns/c/members", limit)] == keys[::-1]


def printed(run: Run, *args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("log", *args, "--json").stdout.splitlines()]


def test_the_log_is_what_the_command_prints_page_by_page(http: TestClient, world: World, run: Run) -> None:
    travelled(world)
    whole = printed(run, "c")
    assert len(whole) > 10
    for limit in (1, 3, 500):
        assert walked(http, "/api/campaigns/c/log", limit) == whole
    for name, value in (("contact", "c1"), ("step", "known")):
        only = http.get("/api/campaigns/c/log", params={name: value}).json()["items"]
        assert only == printed(run, "c", f"--{name}", value)
        assert http.get("/api/campaigns/c/log", params={name: "nothing"}).status_code == 404


def test_waits_come_page_by_page_those_without_a_deadline_last(http: TestClient, world: World, run: Run) -> None:
    world.crowd(5, segment="everyone")
    world.campaign(
        """
        - {step: later, action: contact.points, with: {points: 1}, after: 2 days}
        - {step: ever, decision: page.hit, with: {url: "*"}, yes: [{action: contact.tags, with: {add: [y]}}]}
        """
    )
    world.run()
    whole = printed(run, "c", "--waiting")
    assert [each["due_at"] is None for each in whole] == [False] * 5 + [True] * 5
    for limit in (1, 2, 3, 500):
        assert walked(http, "/api/campaigns/c/waiting", limit) == whole
    # A cursor is of one list, and one that somebody made up breaks nothing.
    cursor = http.get("/api/campaigns/c/waiting", params={"limit": 1}).json()["next"]
    assert http.get("/api/campaigns/c/log", params={"cursor": cursor}).status_code == 400
    made_up = cursor_of("log", START, *[2**62] * 4)
    assert http.get("/api/campaigns/c/log", params={"cursor": made_up}).status_code == 200


# Contacts.


def test_a_contact_is_made_changed_found_and_erased(http: TestClient, world: World) -> None:
    given = {"email": "ann@example.com", "timezone": "Europe/Paris", "fields": {"city": "Paris"}, "tags": ["new"]}
    made = http.put("/api/contacts/a%2Fb", json={**given, "owner": "bob", "company": "acme"})
    assert (made.status_code, made.headers["location"]) == (201, "/api/contacts/a%2Fb"), made.text
    assert (made.json()["owner"], made.json()["companies"]) == ("bob", ["acme"])
    changed = http.put("/api/contacts/a%2Fb", json={"owner": None, "tags": {"add": ["old"], "remove": ["new"]}})
    assert changed.status_code == 200
    assert changed.json() == http.get("/api/contacts/a%2Fb").json()
    assert {name: changed.json()[name] for name in ("email", "owner", "tags", "fields")} == {
        "email": "ann@example.com",
        "owner": None,
        "tags": ["old"],
        "fields": {"city": "Paris"},
    }
    world.contacts("zoe")
    for search, there in (("a/", ["a/b"]), ("ANN@", ["a/b"]), ("nobody", []), ("", ["zoe", "a/b"])):
        items = http.get("/api/contacts", params={"search": search}).json()["items"]
        assert [each["key"] for each in items] == there
    assert http.delete("/api/contacts/a%2Fb").status_code == 204
    assert http.get("/api/contacts/a%2Fb").status_code == 404
    assert http.delete("/api/contacts/a%2Fb").status_code == 404
    # Somebody new may have the key.
    assert http.put("/api/contacts/a%2Fb", json={}).status_code == 201


def test_nobody_is_given_the_address_of_another_contact(http: TestClient, world: World) -> None:
    world.contacts("kim", email="Kim@Example.com")
    for key in ("ann", "kim2"):
        answer = http.put(f"/api/contacts/{key}", json={"email": "kim@example.com"})
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
        assert "'kim'" in answer.json()["detail"]
    assert http.put("/api/contacts/kim", json={"email": "kim@example.com"}).status_code == 200


def test_who_loses_an_address_to_somebody_quicker_is_told_so(
    http: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened_ = contact_changes.happened

    def somebody_is_quicker(*given: Any, **named: Any) -> None:
        world.contacts("kim", email="kim@example.com")
        happened_(*given, **named)

    monkeypatch.setattr(contact_changes, "happened", somebody_is_quicker)
    answer = http.put("/api/contacts/ann", json={"email": "kim@example.com", "owner": "bob"})
    assert answer.status_code == 409
    assert "'kim'" in answer.json()["detail"]
    assert http.get("/api/contacts/ann").json()["email"] is None


def test_who_changes_a_contact_does_not_do_the_work_of_others(http: TestClient, world: World) -> None:
    world.contacts("zoe")
    for each in ("zoe", "ann"):
        assert http.post("/events", json=[event(each, "order.paid", each)]).status_code == 202
    assert http.put("/api/contacts/ann", json={"owner": "bob"}).status_code == 200
    left = world.read("SELECT contact.key, inbox.type FROM inbox JOIN contact ON contact.id = inbox.contact_id")
    assert left == [("zoe", "order.paid")]


@pytest.mark.parametrize(
    "wrong", [{"emial": "x"}, {"email": 7}, {"fields": []}, {"tags": "x"}, {"tags": ["x" * 999]}, []]
)
def test_what_is_wrong_of_a_contact_makes_nobody(http: TestClient, wrong: Any) -> None:
    assert http.put("/api/contacts/ann", json=wrong).status_code == 422
    assert http.get("/api/contacts/ann").status_code == 404


def test_of_a_property_that_is_not_known_the_known_ones_are_said(http: TestClient) -> None:
    answer = http.put("/api/contacts/ann", json={"emial": "x"})
    assert answer.json()["detail"].startswith("emial: unknown property; known properties are email, timezone")


def test_a_contact_has_its_campaigns(http: TestClient, world: World) -> None:
    world.contacts("ann", segment="everyone")
    for key in ("b", "a", "c"):
        world.campaign(json.dumps([{**STEP, "after": "1 day"}]), key=key)
    world.update()
    for limit in (1, 2, 500):
        stays = walked(http, "/api/contacts/ann/campaigns", limit)
        assert [each["campaign"] for each in stays] == ["a", "b", "c"]
    assert [wait["step"] for wait in stays[0]["waits"]] == ["hello"]
    assert http.get("/api/contacts/bob/campaigns").status_code == 404


def test_a_contact_has_its_refusals_as_the_command_prints_them(http: TestClient, world: World, run: Run) -> None:
    world.contacts("ann", email="Ann@example.com", phone="0033 6 12 34 56 78")
    with world.engine.begin() as conn:
        refusals.heard(conn, "sms", "+33612345678", "unsubscribed", at(2))
    world.tell(
        happened("email.unsubscribed", "ann", at(3)), happened("email.unsubscribed", "ann", at(4), channel="push")
    )
    shown = http.get("/api/contacts/ann").json()["refusals"]
    assert [(each["channel"], each["address"], each["reason"], each["since"][:10]) for each in shown] == [
        ("email", "ann@example.com", "unsubscribed", at(3).date().isoformat()),
        ("push", None, "unsubscribed", at(4).date().isoformat()),
        ("sms", "+33612345678", "unsubscribed", at(2).date().isoformat()),
    ]
    printed = json.loads(run("contacts", "show", "ann", "--json").stdout)["refusals"]
    assert [{**each, "since": None} for each in printed] == [{**each, "since": None} for each in shown]
    assert "+33612345678" in run("contacts", "show", "ann").stdout


def test_every_page_of_contacts_comes_once(http: TestClient, world: World) -> None:
    keys = world.crowd(7)
    for limit in (1, 3, 500):
        assert [each["key"] for each in walked(http, "/api/contacts", limit)] == keys[::-1]


# Segments, forms and emails.


def test_a_segment_is_made_and_who_comes_in_by_hand_joins_its_campaigns_at_once(http: TestClient, world: World) -> None:
    made = http.post("/api/segments", json={"key": "vip", "name": "Very important"})
    assert (made.status_code, made.headers["location"], made.json()["public"]) == (201, "/api/segments/vip", True)
    assert http.post("/api/segments", json={"key": "vip"}).status_code == 409
    assert http.post("/api/segments", json={"key": " "}).status_code == 422
    world.contacts("ann", "bob")
    world.campaign(json.dumps([{**STEP, "after": "1 day"}]), segments=["vip"])
    for key in ("ann", "bob"):
        assert http.put(f"/api/segments/vip/members/{key}").json() == {"contact": key, "changed": True}
    assert http.put("/api/segments/vip/members/ann").json()["changed"] is False
    assert world.members() == {"ann": "in 1", "bob": "in 1"}
    got = http.get("/api/segments/vip").json()
    assert (got["members"], got["campaigns"]) == (2, ["c"])
    assert [each["contact"] for each in walked(http, "/api/segments/vip/members", 1)] == ["bob", "ann"]
    assert http.delete("/api/segments/vip/members/ann").json()["changed"] is True
    assert world.members() == {"ann": "segment 1", "bob": "in 1"}
    for path in ("vip/members/nobody", "nothing/members/ann"):
        assert http.put(f"/api/segments/{path}").status_code == 404
    assert [each["key"] for each in walked(http, "/api/segments", 1)] == ["everyone", "vip"]


def test_a_form_is_made(http: TestClient) -> None:
    given = {"key": "signup", "redirect": "https://example.com/thanks", "allowed_origins": ["https://example.com/"]}
    made = http.post("/api/forms", json=given)
    assert (made.status_code, made.headers["location"]) == (201, "/api/forms/signup"), made.text
    assert made.json() == http.get("/api/forms/signup").json()
    assert http.post("/api/forms", json=given).status_code == 409
    for wrong in ({"redirect": "javascript:x"}, {"allowed_origins": ["https://example.com/path"]}, {"standalone": 7}):
        answer = http.post("/api/forms", json={"key": "other", **wrong})
        assert (answer.status_code, answer.json()["problems"][0]["path"][:8]) == (422, next(iter(wrong))[:8])
    assert made.json()["mapping"] == {}
    mapped = http.put("/api/forms/signup/mapping", json={"mapping": {"tel": "phone", "plan": None}})
    assert (mapped.status_code, mapped.json()["mapping"]) == (200, {"tel": "phone", "plan": None})
    assert http.get("/api/forms/signup").json() == mapped.json()
    assert http.put("/api/forms/other/mapping", json={"mapping": {}}).status_code == 404
    assert http.put("/api/forms/signup/mapping", json={"mapping": {"a": "points"}}).status_code == 422
    made = http.post("/api/forms", json={"key": "told", "mapping": {"a": "b"}})
    assert (made.status_code, made.json()["mapping"]) == (201, {"a": "b"})
    assert [each["key"] for each in walked(http, "/api/forms", 1)] == ["signup", "told"]
    assert http.get("/api/forms/other").status_code == 404


def test_an_email_is_made_and_changed_as_a_whole(http: TestClient) -> None:
    given = {
        "subject": "Hello 👋 {{ contact.first_name }}",
        "html": "<p>\t\u0085x</p>",
        "from": "Ann <ann@example.com>",
        "variants": [{"name": "short", "weight": 50, "subject": "Hi"}],
        "translations": {"fr": {"subject": "Bonjour"}},
    }
    made = http.put("/api/emails/hello", json=given)
    assert (made.status_code, made.headers["location"]) == (201, "/api/emails/hello"), made.text
    got = http.get("/api/emails/hello").json()
    assert {name: got[name] for name in ("subject", "html", "from")} == {
        name: given[name] for name in ("subject", "html", "from")
    }
    assert (got["variants"][0]["subject"], got["translations"]["fr"]["subject"]) == ("Hi", "Bonjour")
    changed = http.put("/api/emails/hello", json={"key": "hello", "subject": "Other", "text": "x"})
    assert (changed.status_code, changed.json()["variants"], changed.json()["from"]) == (200, [], None)
    wrong: Any
    for wrong in ({}, [], {"key": "other", "subject": "x", "text": "x"}, {"subject": "{{", "text": "x"}, {"x": 1}):
        answer = http.put("/api/emails/hello", json=wrong)
        assert (answer.status_code, bool(answer.json()["problems"])) == (422, True)
    assert [each["key"] for each in walked(http, "/api/emails", 1)] == ["hello"]


# Who may.


def test_roles(client: Client, world: World, key: Any) -> None:
    http = client(open_to_all=False)
    world.campaign(json.dumps([STEP]))
    assert http.get("/api/campaigns").status_code == 401
    assert http.get("/api/campaigns", headers={"x-api-key": "prc_unknown"}).status_code == 401
    # Before the body is looked at.
    assert http.post("/api/campaigns", content="{").status_code == 401
    may = {role: {"x-api-key": key(role)} for role in ("publish", "read", "manage")}
    assert http.get("/api/campaigns", headers=may["publish"]).status_code == 403
    assert http.get("/api/campaigns", headers=may["read"]).status_code == 200
    for role, status in (("publish", 403), ("read", 403), ("manage", 200)):
        assert http.post("/api/campaigns/c/pause", headers=may[role]).status_code == status
    assert http.get("/api/campaigns/c", headers=may["read"]).json()["activity"][0]["who"] == "key test"


def test_who_signed_in_may_what_the_role_may(client: Client, world: World, engine: Engine) -> None:
    world.campaign(json.dumps([STEP]))
    world.contacts("ann")
    http = client(open_to_all=False)
    given_user(engine, "viewer", "vic@example.com")
    given_user(engine, "editor", "eve@example.com")
    sign_in(http, "vic@example.com")
    assert http.get("/api/campaigns/c").status_code == 200
    assert http.put("/api/campaigns/c/members/ann").status_code == 403
    http.cookies.clear()
    sign_in(http, "eve@example.com")
    # A page of another site sends the cookies along, and its name.
    foreign = http.put("/api/campaigns/c/members/ann", headers={"origin": "https://example.org"})
    assert foreign.status_code == 403
    assert http.get("/api/campaigns/c/members").json()["items"] == []
    assert http.put("/api/campaigns/c/members/ann").status_code == 200
    assert http.get("/api/campaigns/c").json()["activity"][0]["who"] == "eve@example.com"


# Lists.


@pytest.mark.parametrize("cursor", ["", "x", "!", "W10", "WyJjYW1wYWlnbnMiXQ", "é", "bnVsbA", "NQ"])
def test_what_is_no_cursor_is_refused(http: TestClient, cursor: str) -> None:
    answer = http.get("/api/campaigns", params={"cursor": cursor})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("limit", ["0", "501", "x", "-1"])
def test_a_page_has_one_to_five_hundred_items(http: TestClient, limit: str) -> None:
    answer = http.get("/api/campaigns", params={"limit": limit})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.limit: must be ")
    assert answer.json()["detail"].endswith(f", not '{limit}'")


def test_an_unknown_address_is_a_problem(http: TestClient) -> None:
    answer = http.get("/api/nothing", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_plan_says_which_timings_an_earlier_version_changed(
    http: TestClient, world: World, run: Run, tmp_path: Path
) -> None:
    def later(days: int) -> dict[str, Any]:
        return file(published=True, steps=[{**STEP, "after": f"{days} days"}])

    world.contacts("ann", segment="everyone")
    assert http.post("/api/campaigns", json=later(1)).status_code == 201
    run("update", "--inline")
    planned = http.post("/api/campaigns/c/plan", json=later(2)).json()
    assert (planned["retimed"], planned["retimed_before"]) == ({"hello": 1}, [])
    assert http.put("/api/campaigns/c", json=later(2)).status_code == 200
    planned = http.post("/api/campaigns/c/plan", json=later(2)).json()
    assert (planned["retimed"], planned["retimed_before"]) == ({"hello": 1}, ["hello"])
    (tmp_path / "c.yaml").write_text(json.dumps(later(2)))
    (printed,) = json.loads(run("campaigns", "plan", "c.yaml", "--json").stdout)
    assert (printed["retimed"], printed["retimed_before"]) == ({"hello": 1}, ["hello"])


def test_messages_that_were_not_delivered_are_sent_again(http: TestClient, world: World) -> None:
    world.email("hello")
    world.crowd(3, segment="everyone")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}")
    world.run()
    failed = (
        "UPDATE message SET state = 'failed', error = :why WHERE contact_id = (SELECT id FROM contact WHERE key = :key)"
    )
    for n, why in enumerate(("no mailbox", "no mailbox", "other"), 1):
        world.write(failed, why=why, key=f"c{n}")
    address = "/api/campaigns/c/send-again"
    assert http.post(address, json={"step": "hello", "why": "no mailbox"}).json() == {"messages": 2}
    assert http.post(address, json={"step": "hello"}).json() == {"messages": 1}
    assert http.post(address, json={"step": "hello"}).json() == {"messages": 0}
    assert http.post(address, json={"step": "nowhere"}).status_code == 404
    assert http.post(address, json={}).status_code == 422
    told = [each["what"] for each in http.get("/api/campaigns/c").json()["activity"]]
    assert told[:2] == ["messages sent again", "messages sent again"]


def test_steps_that_failed_are_tried_again(http: TestClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.otherwise = Failed("away", retry=False)
    world.crowd(2, segment="everyone")
    world.campaign("- {step: act, action: test.moody}\n- {step: on, action: test.moody, on_failure: continue}")
    world.run()
    address = "/api/campaigns/c/try-again"
    assert http.post(address, json={"step": "act", "why": "near"}).json() == {"contacts": 0, "gone": 0, "more": False}
    assert http.post(address, json={"step": "act", "why": "away"}).json() == {"contacts": 2, "gone": 0, "more": False}
    assert http.post(address, json={"step": "nowhere"}).status_code == 404
    refused = http.post(address, json={"step": "on"})
    assert (refused.status_code, "next steps" in refused.text) == (422, True)
    assert http.get("/api/campaigns/c").json()["activity"][0]["what"] == "step tried again"


def test_a_plan_over_rest_has_all_that_the_command_prints() -> None:
    file = CampaignFile.model_validate({"campaign": "c", "sources": {"segments": ["s"]}, "steps": []})
    printed = CampaignPlan(file, None, 1, unchanged=False).to_json()
    assert set(Planned.model_fields) == {*printed, "lines"}
