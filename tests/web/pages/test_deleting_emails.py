"""An email that nothing uses is deleted; what became of it stays. What uses it is named, on the page and elsewhere."""

from __future__ import annotations

import json
import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.tables import drafts, templates
from parcours.domain.errors import CampaignError
from parcours.domain.steps.types import RefersTo
from parcours.services import removal
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import START, World, at, event

HTML = {"accept": "text/html"}
SENDING = "- {step: hello, action: email.send, with: {email: hello}}"
RULE = {"condition": "email.activity", "with": {"emails": ["hello"], "activity": "sent", "within": "30 days"}}


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    world.contacts("ann", segment="everyone")
    world.email("hello")
    return client()


def users(world: World) -> removal.Uses:
    with world.engine.connect() as conn:
        return removal.users_of(conn, RefersTo.EMAIL, "hello")


def refused(http: TestClient, run: Run) -> str:
    """Return why the email cannot be deleted, which REST and the command say; nowhere is it gone after that."""
    answer = http.delete("/api/emails/hello")
    assert answer.status_code == 409
    said = str(answer.json()["detail"])
    done = run("emails", "delete", "hello", "--yes")
    assert (done.returncode, done.stderr.strip()) == (1, f"parcours: {said}")
    posted = http.post("/emails/hello/delete", data={"csrf": token_of(http.get("/emails/+new"))}, headers=HTML)
    assert str(posted.url.path) == "/emails/hello/delete"
    assert "cannot be deleted" in text_of(posted.text)
    assert http.get("/api/emails/hello").status_code == 200
    return said


def test_an_email_that_nothing_uses_is_deleted_and_its_figures_stay(http: TestClient, world: World, run: Run) -> None:
    world.campaign(SENDING, name="Welcome")
    world.run()
    (key,) = (row.key for row in world.read("SELECT key FROM message"))
    world.write("UPDATE message SET state = 'sent', sent_at = due_at")
    world.tell(event("email.clicked", "ann", at(1, "10:00"), message=key, url="https://e.org/offer"))
    figures = http.get("/api/emails/hello/figures").json()
    world.campaign("- {action: contact.points, with: {points: 1}}", name="Welcome")
    asked = http.get("/emails/hello/delete", headers=HTML)
    assert "Its figures and the sent messages stay." in text_of(asked.text)
    gone = http.post("/emails/hello/delete", data={"csrf": token_of(asked)}, headers=HTML)
    assert "was deleted." in text_of(gone.text)
    assert 'href="/emails/hello"' in gone.text
    assert http.get("/api/emails/hello").status_code == 404
    assert http.delete("/api/emails/hello").status_code == 404
    assert http.get("/emails/hello/edit", headers=HTML).status_code == 404
    # What became of it.
    assert http.get("/api/emails/hello/figures").json() == figures
    page = text_of(http.get("/emails/hello", headers=HTML).text)
    for said in ("The email was deleted.", "Sent 1", "Clicked 1", "Welcome", "https://e.org/offer"):
        assert said in page
    shown = json.loads(run("emails", "show", "hello", "--json").stdout)
    assert (shown["deleted"], shown["figures"]) == (True, figures)
    assert "the email was deleted; its figures stay" in run("emails", "show", "hello").stdout
    assert http.get("/contacts/ann", headers=HTML).status_code == 200
    assert http.get("/campaigns/c", headers=HTML).status_code == 200


def test_one_that_was_never_sent_leaves_nothing(http: TestClient, run: Run) -> None:
    assert run("emails", "delete", "hello").stdout == (
        "Email hello is deleted. Its figures stay: parcours emails show hello\n"
    )
    assert http.get("/emails/hello", headers=HTML).status_code == 404
    assert http.get("/api/emails/hello/figures").status_code == 404
    assert run("emails", "delete", "hello").returncode == 1


def test_campaigns_drafts_rules_and_messages_that_use_it_are_named(
    http: TestClient, world: World, run: Run, engine: Engine
) -> None:
    world.campaign(SENDING, name="Welcome")
    # What only has the same name is no use of it.
    world.campaign("- {step: hello, action: contact.tags, with: {add: [hello]}}", key="other")
    world.by_rule("mailed", RULE)
    file = {"campaign": "spring", "name": "Spring", "steps": [{"step": "a", "action": "email.send", "with": {}}]}
    using = json.loads(json.dumps(file).replace('"with": {}', '"with": {"email": "hello"}'))
    with engine.begin() as conn:
        drafts.create(conn, campaign_id=None, owner="Bob", base_version=0, file=using, now=START)
        drafts.create(conn, campaign_id=None, owner="Eve", base_version=0, file=file, now=START)
        templates.save(conn, templates.Template("message", "news", "News", True, {"email": "hello"}), now=START)
    said = refused(http, run)
    assert said == (
        "email 'hello' cannot be deleted: it is used by campaigns c and by rules of segments mailed and by messages "
        "news and by drafts of Spring (Bob); remove it there first"
    )
    page = http.get("/emails/hello/delete", headers=HTML).text
    assert 'Campaign <a href="/campaigns/c">Welcome</a>' in page
    for line in ("Draft of Bob Spring", "Rule of the segment mailed", "Message News"):
        assert line in text_of(page)
    french = text_of(http.get("/emails/hello/delete", headers={**HTML, "accept-language": "fr"}).text)
    assert "Brouillon de Bob Spring" in french


@pytest.mark.parametrize(
    "steps",
    [
        "- {condition: email.activity, with: {emails: [hello], activity: opened, within: 9 days}}",
        "- {action: email.send_to_user, with: {email: hello, to_owner: true}}",
        "- {decision: contact.matches, within: 1 day, with: {rule: {condition: email.activity, with: "
        "{emails: [hello], activity: opened, within: 9 days}}}}",
    ],
)
def test_every_way_to_name_it_in_a_campaign_counts(http: TestClient, world: World, steps: str) -> None:
    world.campaign(steps)
    assert [each.key for each in users(world).campaigns] == ["c"]


def test_an_exit_and_a_goal_that_name_it_count(http: TestClient, world: World) -> None:
    rule = json.dumps(RULE)
    world.campaign("- {action: contact.points, with: {points: 1}}", exit=[{"rule": RULE}])
    world.campaign("- {action: contact.points, with: {points: 1}}", key="d", goal={"rule": json.loads(rule)})
    assert [each.key for each in users(world).campaigns] == ["c", "d"]


def test_one_that_is_still_to_be_sent_stays(http: TestClient, world: World, run: Run) -> None:
    world.campaign(SENDING)
    world.run()
    world.campaign("- {action: contact.points, with: {points: 1}}")
    assert "messages with it wait to be sent; try again when they are sent" in refused(http, run)


def test_a_campaign_that_mentions_it_and_cannot_be_read_keeps_it(http: TestClient, world: World, run: Run) -> None:
    world.campaign(SENDING)
    world.write('UPDATE campaign_version SET definition = \'{"format": 99, "steps": ["hello"]}\'')
    assert "cannot be checked in campaigns that cannot be read: c (" in refused(http, run)


def test_a_new_email_of_the_same_key_is_tested_anew(http: TestClient, world: World) -> None:
    world.write(
        "INSERT INTO variant_test (template, campaign_id, step_id, round, started_at, figures_before, decided_at, "
        "winner) VALUES ('hello', 1, 1, 3, now(), '{}', now(), 'short')"
    )
    with world.engine.begin() as conn:
        removal.delete_email(conn, "hello")
        with pytest.raises(CampaignError):
            removal.delete_email(conn, "hello")
    world.email("hello")
    assert [row.test_round for row in world.read("SELECT test_round FROM email")] == [4]
    assert re.search("no email", http.get("/api/emails/none").text)
