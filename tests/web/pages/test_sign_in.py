"""Signing in to the pages, and what keeps strangers and other sites out."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta

import argon2
import httpx
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.web.pages.contact_import import posted_file
from parcours.web.pages.routes import ROUTERS
from parcours.web.security.access import posted
from tests.conftest import Run
from tests.web.conftest import Client, count

PASSWORD = "correct horse battery"
HTML = {"accept": "text/html"}
# What connections other than ours do inside a transaction.
OPEN_TRANSACTIONS = (
    "SELECT query FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
)


def given_user(engine: Engine, role: users.Role = "editor", email: str = "ada@example.com") -> None:
    with engine.begin() as conn:
        assert users.create(
            conn, email, name="Ada", role=role, password_hash=passwords.hashed(PASSWORD), now=database_now(conn)
        )


def token_of(page: httpx.Response) -> str:
    """Return what the forms of a page carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def sign_in(http: TestClient, email: str = "ada@example.com", password: str = PASSWORD, to: str = "") -> httpx.Response:
    given = {"csrf": token_of(http.get("/sign-in")), "email": email, "password": password, "next": to}
    answer: httpx.Response = http.post("/sign-in", data=given, follow_redirects=False)
    return answer


def test_a_page_asks_for_a_sign_in_and_leads_back_to_where_one_wanted_to_go(client: Client, engine: Engine) -> None:
    given_user(engine)
    http = client(open_to_all=False)
    asked = http.get("/campaigns?q=x", headers=HTML, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?next=%2Fcampaigns%3Fq%3Dx")
    done = sign_in(http, "Ada@Example.com", to="/campaigns?q=x")
    assert (done.status_code, done.headers["location"]) == (303, "/campaigns?q=x")
    assert "Ada" in http.get("/campaigns").text


def test_only_hashes_of_sessions_and_passwords_are_kept(client: Client, engine: Engine) -> None:
    given_user(engine)
    http = client(open_to_all=False)
    sign_in(http)
    secret = http.cookies["parcours_session"]
    with engine.connect() as conn:
        stored = str([conn.execute(text(f"TABLE {table}")).all() for table in ("sign_in", "account")])
    assert secret not in stored
    assert PASSWORD not in stored
    assert "$argon2id$" in stored


def test_signing_out_makes_the_cookie_worthless(client: Client, engine: Engine) -> None:
    given_user(engine)
    http = client(open_to_all=False)
    sign_in(http)
    secret = http.cookies["parcours_session"]
    http.post("/sign-out", data={"csrf": token_of(http.get("/campaigns"))})
    assert count(engine, "sign_in") == 0
    http.cookies.set("parcours_session", secret)
    assert http.get("/campaigns", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("goal", ["https://evil.example/", "//evil.example/", "/\\evil.example", "/\n/evil.example"])
def test_signing_in_never_leads_to_another_site(client: Client, engine: Engine, goal: str) -> None:
    given_user(engine)
    assert sign_in(client(open_to_all=False), to=goal).headers["location"] == "/campaigns"


def test_a_wrong_password_an_unknown_address_and_a_disabled_account_are_told_the_same(
    client: Client, engine: Engine
) -> None:
    given_user(engine)
    given_user(engine, email="gone@example.com")
    with engine.begin() as conn:
        users.set_active(conn, "gone@example.com", False)
    http = client(open_to_all=False)
    answers = [
        sign_in(http, password="wrong"),
        sign_in(http, "nobody@example.com"),
        sign_in(http, "gone@example.com"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert all("The address or the password is wrong." in answer.text for answer in answers)


def test_after_five_failures_an_address_has_to_wait_also_with_the_right_password(
    client: Client, engine: Engine
) -> None:
    given_user(engine)
    http = client(open_to_all=False)
    for _ in range(users.MOST_FAILURES):
        assert sign_in(http, password="wrong").status_code == 401
    refused = sign_in(http, "ADA@example.com")
    assert refused.status_code == 429
    assert "Try again in 15 minutes." in refused.text
    # Others are not concerned.
    given_user(engine, email="bob@example.com")
    assert sign_in(http, "bob@example.com").status_code == 303


def begin(
    engine: Engine, source: str, now: datetime, email: str = "ada@example.com"
) -> users.Attempt | users.Throttled:
    with engine.begin() as conn:
        return users.begin(conn, email, source, now=now)


def test_failures_are_forgotten_after_their_time(engine: Engine) -> None:
    given_user(engine)
    with engine.connect() as conn:
        now: datetime = database_now(conn)
    for _ in range(users.MOST_FAILURES):
        assert isinstance(begin(engine, "here", now), users.Attempt)
    assert begin(engine, "here", now) == users.Throttled(now + users.FAILURES_COUNT_FOR)
    later = now + users.FAILURES_COUNT_FOR + timedelta(seconds=1)
    assert isinstance(begin(engine, "here", later), users.Attempt)


def test_wrong_passwords_from_elsewhere_keep_nobody_out(engine: Engine) -> None:
    given_user(engine)
    with engine.connect() as conn:
        now: datetime = database_now(conn)
    for _ in range(users.MOST_FAILURES + 1):
        begin(engine, "a stranger", now)
    attempt = begin(engine, "home", now)
    assert isinstance(attempt, users.Attempt)
    with engine.begin() as conn:
        users.succeed(conn, "ada@example.com", "home")
    assert isinstance(begin(engine, "a stranger", now), users.Throttled)


def test_a_source_that_guesses_for_many_addresses_is_stopped(engine: Engine) -> None:
    with engine.connect() as conn:
        now: datetime = database_now(conn)
    for nth in range(users.MOST_FAILURES_OF_SOURCE):
        assert isinstance(begin(engine, "a stranger", now, f"{nth}@example.com"), users.Attempt)
    assert isinstance(begin(engine, "a stranger", now, "next@example.com"), users.Throttled)


def test_a_browser_known_from_before_is_heard_though_a_neighbour_guessed_too_often(
    client: Client, engine: Engine
) -> None:
    given_user(engine)
    own, neighbour = client(open_to_all=False), client(open_to_all=False)
    sign_in(own)
    own.post("/sign-out", data={"csrf": token_of(own.get("/campaigns"))})
    for _ in range(users.MOST_FAILURES):
        sign_in(neighbour, password="wrong")
    assert sign_in(neighbour).status_code == 429
    assert sign_in(own).status_code == 303
    # The mark is worth nothing for another account, nor when it is not ours.
    own.cookies.set("parcours_device", "x")
    assert sign_in(own).status_code == 429


def test_a_few_passwords_are_compared_at_once_and_the_others_are_told_to_come_again(
    client: Client, engine: Engine
) -> None:
    given_user(engine)
    http = client(open_to_all=False)
    with ExitStack() as taken:
        for _ in range(passwords.HASHES_AT_ONCE + passwords.HASHES_WAITING):
            assert passwords._in_line.acquire(blocking=False)
            taken.callback(passwords._in_line.release)
        answer = sign_in(http)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert "Too many sign-ins at the moment" in answer.text
    # Nobody looked at it, so it did not count.
    assert count(engine, "sign_in_failure") == 0
    assert sign_in(http).status_code == 303


def test_a_comparison_takes_nineteen_mebibytes_and_no_transaction(engine: Engine) -> None:
    assert "m=19456,t=2,p=1" in passwords.hashed(PASSWORD)
    given_user(engine)
    old = argon2.PasswordHasher(memory_cost=65_536).hash(PASSWORD)
    assert passwords.is_right(old, PASSWORD)
    assert passwords.is_outdated(old)
    assert not passwords.is_right(None, PASSWORD)
    assert not passwords.is_right("no hash", PASSWORD)
    assert not passwords.is_right(passwords.hashed(PASSWORD), "half \ud83d")


def test_no_transaction_is_open_while_a_password_is_hashed_or_compared(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes wait their turn; whoever waits inside a transaction holds its locks and a connection meanwhile."""
    given_user(engine, "admin")
    outdated = argon2.PasswordHasher(memory_cost=8_192).hash(PASSWORD)
    with engine.begin() as conn:
        conn.execute(text("UPDATE account SET password_hash = :old"), {"old": outdated})
    in_turn, found = passwords._in_turn, []

    def watched(work: Callable[[], object]) -> object:
        with engine.connect() as conn:
            found.append(conn.execute(text(OPEN_TRANSACTIONS)).scalars().all())
        return in_turn(work)

    monkeypatch.setattr(passwords, "_in_turn", watched)
    http = client(open_to_all=False)
    sign_in(http)
    token = token_of(http.get("/account"))
    new = {"password": "staple battery horse", "again": "staple battery horse"}
    http.post("/account/password", data={"csrf": token, "present": PASSWORD, **new})
    token = token_of(http.get("/users"))
    invited = http.post("/users", data={"csrf": token, "email": "ben@example.com", "name": "Ben", "role": "viewer"})
    (link,) = re.findall(r'readonly value="([^"]+)"', invited.text)
    ben = client(open_to_all=False)
    ben.post(link, data={"csrf": token_of(ben.get(link)), **new})
    # A sign-in compares, and renews what is outdated; then a comparison and a hash, and one of who was invited.
    assert found == [[]] * 5
    with engine.connect() as conn:
        kept = conn.execute(text("SELECT password_hash FROM account ORDER BY id")).scalars().all()
    assert not any(passwords.is_outdated(each) for each in kept)
    assert all(passwords.is_right(each, new["password"]) for each in kept)


def test_people_see_where_they_are_signed_in_and_end_it_there_or_everywhere(client: Client, engine: Engine) -> None:
    given_user(engine, "viewer")
    one, other = client(open_to_all=False), client(open_to_all=False)
    one.headers["user-agent"], other.headers["user-agent"] = "Kitchen <b>", "Office"
    sign_in(one)
    sign_in(other)
    page = one.get("/account")
    assert "Kitchen &lt;b&gt;" in page.text
    assert "Office" in page.text
    ids = re.findall(r"/account/sign-ins/(\d+)/end", page.text)
    assert len(ids) == 1
    one.post(f"/account/sign-ins/{ids[0]}/end", data={"csrf": token_of(page)})
    assert other.get("/campaigns", follow_redirects=False).status_code == 303
    sign_in(other)
    one.post("/account/sign-out-everywhere", data={"csrf": token_of(one.get("/account"))})
    for http in (one, other):
        assert http.get("/campaigns", follow_redirects=False).status_code == 303


def test_nobody_ends_the_sign_in_of_somebody_else(client: Client, engine: Engine) -> None:
    given_user(engine)
    given_user(engine, email="bob@example.com")
    ada, bob = client(open_to_all=False), client(open_to_all=False)
    sign_in(ada)
    sign_in(bob, "bob@example.com")
    with engine.connect() as conn:
        ids = conn.execute(text("SELECT id FROM sign_in")).scalars().all()
    token = token_of(bob.get("/account"))
    for id_ in ids:
        bob.post(f"/account/sign-ins/{id_}/end", data={"csrf": token})
    assert ada.get("/campaigns", follow_redirects=False).status_code == 200


def test_a_sign_in_expires_and_a_new_password_ends_it(engine: Engine) -> None:
    given_user(engine)
    with engine.begin() as conn:
        now = database_now(conn)
        attempt = users.begin(conn, "ada@example.com", "here", now=now)
        assert isinstance(attempt, users.Attempt)
        assert attempt.user
        secret = users.sign_in(conn, attempt.user, now=now)
        assert users.signed_in(conn, secret, now=now) == attempt.user
        assert users.signed_in(conn, secret, now=now + users.SIGNED_IN_FOR) is None
        users.set_password(conn, "ada@example.com", "another hash", now=database_now(conn))
        assert users.signed_in(conn, secret, now=now) is None


def test_a_form_without_our_token_or_with_another_browsers_is_refused(client: Client) -> None:
    http, other = client(), client()
    for token in ("", "x", token_of(other.get("/campaigns"))):
        http.get("/campaigns")
        answer = http.post("/language", data={"csrf": token, "language": "fr"}, headers=HTML, follow_redirects=False)
        assert answer.status_code == 403
        assert "expired or came from another site" in answer.text
    token = token_of(http.get("/campaigns"))
    answer = http.post("/language", data={"csrf": token, "language": "fr", "next": "/campaigns"})
    assert 'lang="fr"' in answer.text


def test_every_page_that_changes_something_checks_its_form() -> None:
    def calls(route: APIRoute) -> set[object]:
        pending = [route.dependant]
        for each in pending:
            pending += each.dependencies
        return {each.call for each in pending}

    pages = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    changing = [route for route in pages if (route.methods or set()) - {"GET", "HEAD"}]
    assert len(changing) > 5
    # An upload is checked as it comes, by a reader of its own.
    checks = {posted, posted_file}
    assert [route.path for route in changing if not checks & calls(route)] == []


def test_who_may_only_look_cannot_change_and_is_told_so(client: Client, engine: Engine) -> None:
    given_user(engine, "viewer")
    http = client(open_to_all=False)
    sign_in(http)
    page = http.get("/campaigns")
    assert page.status_code == 200
    answer = http.post("/campaigns/welcome/pause", data={"csrf": token_of(page)}, headers=HTML)
    assert answer.status_code == 403
    assert "You have read-only access" in answer.text


def test_cookies_are_kept_from_scripts_and_other_sites_and_from_plain_http_behind_https(client: Client) -> None:
    plain = client().get("/campaigns").headers["set-cookie"]
    assert "HttpOnly" in plain
    assert "SameSite=lax" in plain
    assert "Secure" not in plain
    # Whatever name the proxy in front asks for.
    behind = client(public_url="https://example.com")
    assert "Secure" in behind.get("/campaigns").headers["set-cookie"]


def test_headers_forbid_scripts_frames_and_sniffing(client: Client) -> None:
    answer = client().get("/campaigns")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=|<style", answer.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)


def test_an_asset_is_kept_for_ever_under_the_name_of_its_content(client: Client) -> None:
    http = client()
    address = re.search(r'href="(/static/app\.css[^"]+)"', http.get("/campaigns").text)
    assert address
    answer = http.get(address[1])
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert http.get(address[1], headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert http.get("/static/app.css?v=old").headers["cache-control"] == "no-cache"
    assert http.get("/static/..%2Fapp.py").status_code == 404


@pytest.mark.parametrize("path", ["/nowhere", "/campaigns/nobody/publish"])
def test_what_is_not_there_is_a_page_for_people_and_a_problem_for_programs(client: Client, path: str) -> None:
    http = client()
    page = http.get(path, headers=HTML)
    assert page.status_code == 404
    assert "Not found" in page.text
    assert page.headers["content-type"].startswith("text/html")
    problem = http.get(path)
    assert problem.headers["content-type"] == "application/problem+json"


def test_a_nul_in_an_address_is_refused_before_the_database_sees_it(client: Client) -> None:
    assert client().get("/campaigns?q=%00").status_code == 400
    assert client().get("/campaigns/%00/publish").status_code == 400


def test_users_are_made_listed_disabled_and_given_passwords_by_command(run: Run, engine: Engine) -> None:
    made = run("users", "create", "ada@example.com", "--name", "Ada", "--password-stdin", stdin=PASSWORD + "\n")
    assert made.stdout.strip() == "ada@example.com can sign in as editor."
    twice = run("users", "create", "ADA@example.com", "--password-stdin", stdin=PASSWORD + "\n")
    assert twice.returncode == 1
    assert "user 'ADA@example.com' already exists" in twice.stderr
    short = run("users", "create", "bob@example.com", "--password-stdin", stdin="short\n")
    assert "must have 10 to" in short.stderr
    assert "not an email address" in run("users", "create", "bob", "--password-stdin", stdin=PASSWORD).stderr
    assert "--password-stdin" in run("users", "create", "bob@example.com").stderr
    assert run("users", "password", "ada@example.com", "--password-stdin", stdin="another password\n").returncode == 0
    with engine.begin() as conn:
        attempt = users.begin(conn, "ada@example.com", "here", now=database_now(conn))
    assert isinstance(attempt, users.Attempt)
    assert passwords.is_right(attempt.password_hash, "another password")
    assert run("users", "disable", "ada@example.com").returncode == 0
    assert "false" in run("users", "list", "--json").stdout
    assert "there is no user 'x@y'" in run("users", "disable", "x@y").stderr
