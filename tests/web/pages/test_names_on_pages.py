"""Pages name steps and emails as people know them, and say what to do on pages."""

from __future__ import annotations

import json
import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.clock import now as database_now
from parcours.db.tables import events, users
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import START, World, at, event

HTML = {"accept": "text/html"}
BOTH = """
- {step: greet, name: Say hello, action: email.send, with: {email: hello}}
- {step: again, action: email.send, with: {email: hello, again: always}}
"""


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    return client()


def test_the_figures_of_an_email_name_the_steps_and_say_which_are_removed(http: TestClient, world: World) -> None:
    world.email("hello")
    world.contacts("ann", segment="everyone")
    world.campaign(BOTH, name="Welcome")
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = due_at")
    page = text_of(http.get("/emails/hello").text)
    assert "Welcome Say hello Main version" in page
    assert "Welcome Send “hello” Main version" in page
    # Two versions later, one of them is gone.
    world.campaign("- {step: again, action: email.send, with: {email: hello, again: always}}", when=at(2))
    world.campaign("- {step: again, name: Once more, action: email.send, with: {email: hello}}", when=at(3))
    page = text_of(http.get("/emails/hello").text)
    assert "Say hello (removed) Main version" in page
    assert "Once more Main version" in page
    assert "Say hello (supprimée)" in text_of(http.get("/emails/hello", headers={"accept-language": "fr"}).text)
    assert "Say hello (removed)" in text_of(http.get("/campaigns/c").text)
    assert "Changed to version 2: removed: Say hello" in text_of(http.get("/campaigns/c").text)
    history = text_of(http.get("/contacts/ann").text)
    assert "Say hello (removed) done" in history
    assert "· Say hello (removed) ann@example.com" in history
    back = text_of(http.get("/campaigns/c/versions/1/rollback").text)
    assert "Step “Say hello” will be added." in back
    assert "Steps: “Say hello”." in back
    assert "switched off" not in history
    world.write("UPDATE campaign SET published = false")
    assert "Paused The campaign is switched off." in text_of(http.get("/contacts/ann").text)
    assert "At Say hello (removed): done" in text_of(http.get("/campaigns/c/contacts?step=greet&at=done").text)
    with world.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE campaign SET deleted_at = now()")
    assert "greet Main version" in text_of(http.get("/emails/hello").text)


def test_a_removed_step_of_a_version_that_nobody_can_read_keeps_its_key(http: TestClient, world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: old, name: Old one, action: contact.points, with: {points: 1}}")
    world.run()
    world.campaign("- {step: new, action: contact.points, with: {points: 1}}", when=at(2))
    assert "Old one (removed)" in text_of(http.get("/campaigns/c").text)
    for broken in ('{"steps": [7, {"step": null}, {"step": "x", "then": 3}]}', "[]", "null"):
        world.write("UPDATE campaign_version SET definition = CAST(:broken AS jsonb) WHERE version = 1", broken=broken)
        page = http.get("/campaigns/c")
        assert page.status_code == 200
        assert "old Change points" in text_of(page.text)


def test_the_review_names_a_changed_email_by_its_subject(http: TestClient, world: World) -> None:
    world.email("hello")
    world.email("offer")
    world.write("UPDATE email SET subject = 'Our best offer' WHERE key = 'offer'")
    world.campaign("- {step: greet, name: Say hello, action: email.send, with: {email: hello}}")
    page = http.get("/campaigns/c/build")
    (revision,) = re.findall(r'data-revision="(\d+)"', page.text)
    fields = {"csrf": token_of(page), "revision": revision, "do": "set", "step": "greet", "name": "Say hello"}
    http.post("/campaigns/c/build", data={**fields, "when": "now", "with-email": "offer"})
    for address in ("/campaigns/c/build/review", "/campaigns/c/build"):
        assert "hello → Our best offer" in text_of(http.get(address).text)


def test_a_dead_letter_about_something_missing_says_what_to_do_on_the_page(http: TestClient, world: World) -> None:
    world.contacts("ann")
    accepted = world.accept(
        event("segment.contact_added", "ann", segment="it's new"), event("form.submitted", "ann", form="sign up")
    )
    reasons = [reason for _, reason in accepted.rejected]
    assert ["`parcours" in each for each in reasons] == [True, True]
    with world.engine.begin() as conn:
        failed = "it could not be processed: a fault; fix the cause, then run `parcours dead-letters replay`"
        letters = [(each, json.dumps({})) for each in (*reasons, failed)]
        events.add_dead_letters(conn, letters, origin="event", now=START)
    page = http.get("/status").text
    said = text_of(page)
    assert "`parcours" not in said
    assert "There is no segment “it's new”. Create it with this key, then process the event again. New segment" in said
    assert "There is no form “sign up”. Create it with this key, then process the event again. New form" in said
    assert "it could not be processed: a fault. Fix the cause, then process the event again." in said
    assert 'value="it&#39;s new"' in http.get("/segments/+new?key=it%27s+new").text
    assert 'href="/segments/+new?key=it%27s+new"' in page
    assert 'value="sign up"' in http.get("/forms?key=sign+up").text


def test_an_account_whose_password_can_be_none_is_invited(client: Client, world: World, engine: Engine) -> None:
    given_user(engine, "admin", "ada@example.com")
    with engine.begin() as conn:
        users.create(conn, "ben@example.com", name="Ben", role="viewer", password_hash="!", now=database_now(conn))
        users.invite(conn, "cid@example.com", name="Cid", role="viewer", now=database_now(conn))
    http = client(open_to_all=False)
    sign_in(http)
    assert http.get("/users").text.count(">Invited<") == 2
