"""The status for operators, accounts and passwords, first steps, and sessions that end while somebody types."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.db.clock import now as database_now
from parcours.db.tables import events, installation
from parcours.db.tables.installation import WorkerSeen
from tests.conftest import Run
from tests.web.conftest import Client, count
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import PASSWORD, given_user, sign_in, token_of
from tests.workers.worlds import START, World

HTML = {"accept": "text/html"}
NEW = "another long password"


@pytest.fixture
def admin(client: Client, world: World, engine: Engine) -> TestClient:
    given_user(engine, "admin", "ada@example.com")
    http = client(open_to_all=False)
    sign_in(http)
    return http


def test_the_status_shows_what_the_command_says_and_processes_dead_letters_again(
    admin: TestClient, world: World, run: Run
) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: s, action: contact.points, with: {points: 1}}", name="Welcome")
    right = {"specversion": "1.0", "id": "1", "source": "s", "type": "order.paid", "subject": "ann", "data": {}}
    with world.engine.begin() as conn:
        events.add_dead_letters(
            conn, [("it was <b>broken</b>", json.dumps(right)), ("never", "no json")], origin="event", now=START
        )
    page = admin.get("/status").text
    shown = text_of(page)
    told = json.loads(run("status", "--json").stdout)
    assert told["dead_letters"] == 2
    assert "Dead letters 2" in shown
    assert "<b>broken</b>" not in page
    assert "Welcome" in shown
    token = token_of(admin.get("/status"))
    none = admin.post("/status/dead-letters", data={"csrf": token, "replay": "1"}, headers=HTML)
    assert "Select at least one event." in none.text
    done = admin.post("/status/dead-letters", data={"csrf": token, "all": "1"}, headers=HTML)
    assert "1 event processed. 1 event still fails." in done.text
    (left,) = re.findall(r'name="id" value="(\d+)"', done.text)
    gone = admin.post("/status/dead-letters", data={"csrf": token, "id": left, "discard": "1"}, headers=HTML)
    assert "1 event discarded." in gone.text
    assert count(world.engine, "dead_letter") == 0
    assert "fichiers" not in text_of(admin.get("/status", headers={"accept-language": "fr"}).text)


def test_the_status_shows_which_workers_run(admin: TestClient, engine: Engine, run: Run) -> None:
    assert "No worker is running" in text_of(admin.get("/status").text)
    assert "0 worker processes running." in run("status").stdout
    with engine.begin() as conn:
        now = database_now(conn)
        # One that is alive however long this takes.
        for name, ago in (("<i>one</i>:7", -3600), ("two:8", 300)):
            at = now - timedelta(seconds=ago)
            installation.beat(conn, WorkerSeen(name, at, at, 4, ("delivery", "steps")))
    page = admin.get("/status").text
    assert "<i>one" not in page
    shown = text_of(page)
    assert "<i>one</i>:7 running delivery, steps 4" in shown
    assert "two:8 has not reported for 5 minutes" in shown
    told = json.loads(run("status", "--json").stdout)["workers"]
    assert [(each["worker"], each["alive"], each["threads"]) for each in told] == [
        ("<i>one</i>:7", True, 4),
        ("two:8", False, 4),
    ]
    said = run("status").stdout
    assert "1 worker process running." in said
    assert "Worker two:8 has not reported for 3" in said


def test_an_administrator_invites_and_the_link_sets_a_password_once(
    admin: TestClient, client: Client, engine: Engine
) -> None:
    token = token_of(admin.get("/users"))
    wrong = admin.post("/users", data={"csrf": token, "email": "nobody", "role": "viewer"}, headers=HTML)
    assert (wrong.status_code, "Enter an email address." in wrong.text) == (400, True)
    invited = admin.post(
        "/users", data={"csrf": token, "email": "ben@example.com", "name": "Ben", "role": "viewer"}, headers=HTML
    )
    (link,) = re.findall(r'readonly value="([^"]+)"', invited.text)
    assert ("Only this machine can open the link" in invited.text) == link.startswith("http://127.0.0.1")
    path = urlsplit(unescape(link)).path
    # Until a password is chosen, which no sign-in can guess.
    assert admin.get("/users").text.count("Invited") == 1
    with engine.connect() as conn:
        kept = conn.execute(text("SELECT password_hash FROM account WHERE email = 'ben@example.com'")).scalar_one()
    assert sign_in(client(open_to_all=False), "ben@example.com", kept).status_code == 401
    again = admin.post("/users", data={"csrf": token, "email": "BEN@example.com", "role": "viewer"}, headers=HTML)
    assert "already has an account" in again.text
    ben = client(open_to_all=False)
    own = token_of(ben.get(path))
    for given, said in (({"password": "short"}, "10 to 1000"), ({"password": NEW, "again": "x"}, "differ")):
        assert said in ben.post(path, data={"csrf": own, **given}).text
    assert "Your password is set." in ben.post(path, data={"csrf": own, "password": NEW, "again": NEW}).text
    assert ben.get(path).status_code == 410
    assert ben.get("/invitation/forged").status_code == 410
    assert sign_in(ben, "ben@example.com", NEW).status_code == 303
    assert "Invited" not in admin.get("/users").text
    assert ben.get("/users", headers=HTML).status_code == 403
    # A role, and the end of it.
    id_ = re.findall(r"/users/(\d+)", admin.get("/users").text)[-1]
    admin.post(f"/users/{id_}", data={"csrf": token, "role": "editor"})
    assert ben.get("/contacts/+new").status_code == 200
    admin.post(f"/users/{id_}", data={"csrf": token, "disable": "1"})
    assert ben.get("/contacts", follow_redirects=False).status_code == 303
    link_page = admin.post(f"/users/{id_}", data={"csrf": token, "link": "1"}, headers=HTML).text
    (link,) = re.findall(r'readonly value="([^"]+)"', link_page)
    assert ben.get(urlsplit(unescape(link)).path).status_code == 410
    # Nobody locks themselves out.
    with engine.connect() as conn:
        from parcours.db.tables import users

        me = users.find(conn, "ada@example.com")
    assert me is not None
    said = admin.post(f"/users/{me.id}", data={"csrf": token, "disable": "1"}, headers=HTML).text
    assert "You cannot change your own role" in said
    assert admin.post("/users/999999", data={"csrf": token}, headers=HTML).status_code == 404


def test_people_change_their_own_password_and_guessing_the_present_one_ends(admin: TestClient, client: Client) -> None:
    token = token_of(admin.get("/account"))
    other = client(open_to_all=False)
    sign_in(other)

    def changed(present: str, new: str = NEW, again: str = NEW) -> str:
        given = {"csrf": token, "present": present, "password": new, "again": again}
        return str(admin.post("/account/password", data=given, headers=HTML).text)

    assert "The present password is wrong." in changed("wrong")
    assert "differ" in changed(PASSWORD, again="else")
    assert "Your password was changed." in changed(PASSWORD)
    assert admin.get("/campaigns", follow_redirects=False).status_code == 200
    assert other.get("/campaigns", follow_redirects=False).status_code == 303
    for _ in range(6):
        changed("wrong")
    assert "The present password is wrong." in changed(NEW)


def hidden(page: str) -> dict[str, str]:
    """Return the hidden fields of the first form of a page."""
    form = re.findall(r"(?s)<form.*?</form>", page)[0]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)}


def test_what_was_typed_when_the_session_ended_is_sent_after_signing_in_again(admin: TestClient, world: World) -> None:
    token = token_of(admin.get("/contacts/+new"))
    world.write("DELETE FROM sign_in")
    typed = {"csrf": token, "first_name": "Ann <i>", "email": "ann@example.com", "tags": "a, b"}
    asked = admin.post("/contacts/+new", data=typed, headers=HTML)
    assert asked.status_code == 401
    assert "what you entered is kept" in asked.text
    held = {
        name: unescape(re.findall(rf'name="{name}" value="([^"]*)"', asked.text)[0])
        for name in ("held", "held_to", "csrf")
    }
    account = {"email": "ada@example.com", "password": "wrong"}
    asked = admin.post("/sign-in", data={**held, **account}, headers=HTML)
    assert 'name="held"' in asked.text
    resumed = admin.post("/sign-in", data={**held, **account, "password": PASSWORD}, headers=HTML)
    assert "What you entered has not been sent yet." in resumed.text
    assert "Ann &lt;i&gt;" in resumed.text
    assert count(world.engine, "contact") == 0
    fields = {
        name: unescape(value)
        for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', resumed.text)
    }
    done = admin.post("/contacts/+new", data={name: fields[name] for name in typed}, headers=HTML)
    assert done.url.path == "/contacts/ann@example.com"
    # What no page of ours sent is not kept, and nothing leads to another site.
    world.write("DELETE FROM sign_in")
    assert admin.post("/contacts/+new", data={"email": "x"}, follow_redirects=False).status_code == 303
    evil = {**held, "held_to": "//evil.example/", **account, "password": PASSWORD}
    assert "evil" not in admin.post("/sign-in", data=evil, headers=HTML).text


def test_the_first_steps_lead_from_contacts_to_a_running_campaign(client: Client, world: World) -> None:
    http = client()
    assert 'href="/start"' in http.get("/campaigns").text
    page = http.get("/start").text
    for link in ("/contacts/+import", "/segments/+new", "/emails/+new", "/drafts/+new"):
        assert f'href="{link}"' in page
        assert http.get(link).status_code == 200
    assert page.count("badge good") == 0
    world.contacts("ann", segment="everyone")
    world.email("hello")
    world.campaign("- {step: s, action: email.send, with: {email: hello}}")
    assert http.get("/start").text.count("badge good") == 5
    for path in ("/campaigns", "/contacts", "/segments", "/emails", "/start", "/contacts/+import", "/sign-in"):
        assert not re.search(r"parcours (?:campaigns|contacts|emails|segments|users) [a-z]", http.get(path).text), path
