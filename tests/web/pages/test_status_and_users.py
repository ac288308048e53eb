"""The status for operators, accounts and passwords, first steps, and sessions that end while somebody types."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html import unescape
from threading import Barrier
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.db.clock import now as database_now
from parcours.db.tables import events, installation, users
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
    # What each is about, and its text.
    assert "Paid an order · ann" in shown
    assert "no json" in shown
    assert "Welcome" in shown
    token = token_of(admin.get("/status"))
    none = admin.post("/status/dead-letters", data={"csrf": token, "replay": "1"}, headers=HTML)
    assert "Select at least one event." in none.text
    done = admin.post("/status/dead-letters", data={"csrf": token, "all": "1"}, headers=HTML)
    assert "1 event processed. 1 event still fails." in done.text
    (left,) = re.findall(r'name="id" value="(\d+)"', done.text)
    asked = admin.post("/status/dead-letters", data={"csrf": token, "id": left, "discard": "1"}, headers=HTML)
    assert "Discard 1 event?" in asked.text
    assert count(world.engine, "dead_letter") == 1
    sent = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    assert (sent["discard"], sent["id"]) == ("1", left)
    gone = admin.post("/status/dead-letters", data=sent, headers=HTML)
    assert "1 event discarded." in gone.text
    assert count(world.engine, "dead_letter") == 0
    french = admin.get("/status", headers={"accept-language": "fr"}).text
    # In words, with the name of the setting beside them.
    assert "fichiers sur cette machine : rien n’est envoyé" in text_of(french)
    assert 'title="files"' in french


def test_the_status_says_which_campaigns_have_undelivered_messages(
    admin: TestClient, world: World, run: Run, engine: Engine
) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign('- {step: call, action: webhook.send, with: {url: "https://shop.example/hook"}}', name="Orders")
    world.run()
    shown = text_of(admin.get("/campaigns/c").text)
    assert ("queued 2" in shown, "done 2" in shown) == (True, False)
    # The step and the message.
    history = admin.get("/contacts/ann").text
    assert (history.count('class="result queued"'), history.count('class="result done"')) == (2, 0)
    assert "Failures" in shown
    figures = json.loads(run("overview", "c", "--json").stdout)
    assert [(each["queued"], each["undelivered"]) for each in figures["steps"]] == [(2, 0)]
    assert [each["message"] for each in figures["activity"]] == [None] * len(figures["activity"])
    assert " queued" in run("overview", "c").stdout
    listed = text_of(admin.get("/campaigns/c/contacts?step=call&at=queued").text)
    assert ("ann" in listed, "bob" in listed) == (True, True)
    with engine.begin() as conn:
        conn.execute(text("UPDATE message SET state = 'failed', error = 'it answered 404' WHERE contact_id = 1"))
    page = admin.get("/status").text
    assert re.search(r'href="/campaigns/c/failures">1<', page)
    told = json.loads(run("status", "--json").stdout)["campaigns"]
    assert [each["undelivered"] for each in told] == [1]
    shown = text_of(admin.get("/campaigns/c").text)
    assert ("queued 1" in shown, "not delivered 1" in shown) == (True, True)
    with engine.begin() as conn:
        conn.execute(text("UPDATE message SET state = 'sent' WHERE state = 'queued'"))
    assert "done 1" in text_of(admin.get("/campaigns/c").text)


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
    assert "<i>one</i>:7 running Messages to send, steps 4" in shown
    assert 'title="delivery, steps"' in page
    assert "two:8 has not reported for 5 minutes" in shown
    assert "A worker that stopped reporting was killed or cannot reach the database." in shown
    assert "its messages are sent by them after at most 2 minutes" in shown
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
    assert admin.get("/users").text.count(">Invited<") == 1
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
    shut = admin.post(f"/users/{id_}", data={"csrf": token, "link": "1"}, headers=HTML)
    assert "Ben is disabled. Enable the account first." in shut.text
    assert 'readonly value="' not in shut.text
    # Nobody locks themselves out.
    with engine.connect() as conn:
        me = users.find(conn, "ada@example.com")
    assert me is not None
    said = admin.post(f"/users/{me.id}", data={"csrf": token, "disable": "1"}, headers=HTML).text
    assert "You cannot change your own role" in said
    assert admin.post("/users/999999", data={"csrf": token}, headers=HTML).status_code == 404


def test_an_invitation_works_where_no_sign_in_is_needed(client: Client, world: World) -> None:
    http = client()
    token = token_of(http.get("/users"))
    invited = http.post("/users", data={"csrf": token, "email": "ben@example.com", "role": "viewer"}, headers=HTML)
    (link,) = re.findall(r'readonly value="([^"]+)"', invited.text)
    assert 'data-copies="link"' in invited.text
    path = urlsplit(unescape(link)).path
    chosen = http.post(path, data={"csrf": token_of(http.get(path)), "password": NEW, "again": NEW}, headers=HTML)
    assert "On this machine, the pages need no sign-in." in chosen.text
    assert "Invited" not in http.get("/users").text


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
    assert "Too many failed sign-ins. Try again in 15 minutes." in changed(NEW)


def invited(admin: TestClient, email: str = "ben@example.com", role: str = "viewer") -> str:
    """Invite somebody, and return the path of the link."""
    token = token_of(admin.get("/users"))
    page = admin.post("/users", data={"csrf": token, "email": email, "role": role}, headers=HTML)
    return path_of(page.text)


def path_of(page: str) -> str:
    """Return the path of the link that a page of users shows."""
    (link,) = re.findall(r'readonly value="([^"]+)"', page)
    return urlsplit(unescape(link)).path


def asked_of(admin: TestClient, engine: Engine, email: str, **action: str) -> str:
    """Do something to an account, and return the page that says what came of it."""
    with engine.connect() as conn:
        user = users.find(conn, email)
    assert user is not None
    data = {"csrf": token_of(admin.get("/users")), **action}
    return str(admin.post(f"/users/{user.id}", data=data, headers=HTML).text)


def accept(client: Client, path: str) -> TestClient:
    """Choose a password by a link, and return the browser."""
    ben = client(open_to_all=False)
    ben.post(path, data={"csrf": token_of(ben.get(path)), "password": NEW, "again": NEW})
    return ben


def test_users_show_when_they_last_signed_in_and_what_became_of_their_invitation(
    admin: TestClient, client: Client, world: World
) -> None:
    path = invited(admin)
    shown = text_of(admin.get("/users").text)
    assert re.search(r"Ada ada@example.com .* Enabled Last signed in \d", shown)
    assert re.search(r"Invited On \d[^.]*. The link is valid until \d", shown)
    # As long as it is good, the same one.
    again = path_of(asked_of(admin, world.engine, "ben@example.com", link="1"))
    world.write("UPDATE account SET linked_at = linked_at - interval '3 days' WHERE email = 'ben@example.com'")
    assert "The link has expired: send a new one." in admin.get("/users").text
    renewed = path_of(asked_of(admin, world.engine, "ben@example.com", link="1"))
    assert "The link has expired" not in admin.get("/users").text
    for old in (path, again):
        assert client(open_to_all=False).get(old).status_code == 410
    accept(client, renewed)
    assert "Never signed in" in admin.get("/users").text
    # Of accounts from before sign-ins were kept, nobody knows.
    world.write("UPDATE account SET sign_ins_kept = false WHERE email = 'ben@example.com'")
    assert "No sign-in on record" in admin.get("/users").text


def test_a_link_that_is_shown_again_is_good_no_longer_than_before(
    admin: TestClient, client: Client, world: World
) -> None:
    invited(admin)
    world.write("UPDATE account SET linked_at = linked_at - interval '2 days' WHERE email = 'ben@example.com'")
    page = asked_of(admin, world.engine, "ben@example.com", link="1")
    said = re.findall(r"valid until ([^.,]+, \d\d:\d\d)", text_of(page))
    assert len(set(said)) == 1
    assert len(said) == 2
    assert client(open_to_all=False).get(path_of(page)).status_code == 200


def test_an_invitation_is_withdrawn_until_a_password_is_chosen(
    admin: TestClient, client: Client, engine: Engine
) -> None:
    path = invited(admin)
    assert "The invitation of ben@example.com was withdrawn." in asked_of(
        admin, engine, "ben@example.com", withdraw="1"
    )
    assert client(open_to_all=False).get(path).status_code == 410
    assert "ben@example.com" not in admin.get("/users").text
    ben = accept(client, invited(admin))
    assert "has chosen a password already" in asked_of(admin, engine, "ben@example.com", withdraw="1")
    assert sign_in(ben, "ben@example.com", NEW).status_code == 303


def test_the_last_administrator_stays_one(client: Client, world: World, run: Run) -> None:
    engine = world.engine
    given_user(engine, "admin", "ada@example.com")
    http = client()
    # Who has no password yet is no administrator who can sign in.
    invited(http, "ben@example.com", "admin")
    for action in ({"disable": "1"}, {"role": "viewer"}):
        assert "Ada is the only administrator." in asked_of(http, engine, "ada@example.com", **action)
    given_user(engine, "admin", "eve@example.com")
    asked_of(http, engine, "ada@example.com", role="editor")
    assert "Ada is the only administrator." in asked_of(http, engine, "eve@example.com", disable="1")
    # The command does what it is told, and says what that means.
    said = run("users", "disable", "eve@example.com")
    assert said.returncode == 0
    assert "No administrator can sign in now" in said.stderr
    assert "No administrator" not in run("users", "edit", "ada@example.com", "--role", "admin").stderr


def test_two_administrators_cannot_take_each_others_role_at_the_same_time(engine: Engine) -> None:
    for email in ("ada@example.com", "eve@example.com"):
        given_user(engine, "admin", email)
    both = Barrier(2)

    def takes(email: str) -> bool:
        both.wait(timeout=60)
        with engine.begin() as conn:
            user = users.find(conn, email)
            assert user is not None
            if not users.has_other_admin(conn, user):
                return False
            users.edit(conn, email, role="viewer")
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(takes, ("ada@example.com", "eve@example.com"))) == [False, True]


def test_a_link_leads_to_where_the_administrator_is_unless_a_public_address_is_set(
    client: Client, world: World
) -> None:
    given = {"email": "ben@example.com", "role": "viewer"}
    for http, begins in (
        (client(), "http://testserver/"),
        (client(public_url="http://example.com"), "http://example.com/"),
    ):
        world.write("DELETE FROM account")
        page = http.post("/users", data={"csrf": token_of(http.get("/users")), **given}, headers=HTML).text
        assert f'readonly value="{begins}invitation/' in page


def test_an_address_with_letters_beyond_ascii_is_no_error_of_the_browser(admin: TestClient) -> None:
    """Browsers refuse what is right before the @ in fields of type email."""
    for page in (admin.get("/users"), admin.get("/sign-in")):
        assert 'type="email"' not in page.text
        assert 'inputmode="email"' in page.text
    token = token_of(admin.get("/users"))
    given = {"csrf": token, "email": "béa@exämple.com", "name": "Béa 🎉", "role": "viewer"}
    assert "Link for Béa 🎉" in admin.post("/users", data=given, headers=HTML).text


def test_a_form_in_another_tab_is_not_lost_when_one_signs_out_and_in_again(admin: TestClient) -> None:
    token = token_of(admin.get("/contacts/+new"))
    typed = {"csrf": token, "first_name": "Ann", "email": "ann@example.com"}
    admin.post("/sign-out", data={"csrf": token})
    asked = admin.post("/contacts/+new", data=typed, headers=HTML)
    assert (asked.status_code, "what you entered is kept" in asked.text) == (401, True)
    sign_in(admin)
    assert admin.post("/contacts/+new", data=typed, headers=HTML).url.path == "/contacts/ann@example.com"


def test_a_name_that_is_too_long_is_refused_and_nothing_typed_is_lost(admin: TestClient) -> None:
    given = {"csrf": token_of(admin.get("/users")), "email": "ben@example.com", "name": "é" * 256, "role": "viewer"}
    answer = admin.post("/users", data=given, headers=HTML)
    assert answer.status_code == 400
    assert "Enter at most 255 characters." in answer.text
    assert given["name"] in answer.text


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
    # Nor is it lost by who tries too often.
    for _ in range(users.MOST_FAILURES + 1):
        late = admin.post("/sign-in", data={**held, "email": "nobody@example.com", "password": "x"}, headers=HTML)
    assert (late.status_code, 'name="held"' in late.text) == (429, True)
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
    # A part of a page is not answered with another page, which would take the place of what is typed.
    world.write("DELETE FROM sign_in")
    part = admin.post("/campaigns/+new/check", data=typed, headers={**HTML, "hx-request": "true"})
    assert part.status_code == 401
    assert "hx-redirect" not in part.headers
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
