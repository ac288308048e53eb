"""Every route and everybody who might ask; a route that is not in the table fails until somebody says who may."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.cli.up import _for_this_machine
from parcours.db.tables import api_keys
from tests.web.conftest import Client
from tests.web.pages.test_sign_in import given_user, sign_in
from tests.web.security.places import routes_of

KEYS = ("key publish", "key read", "key manage")
PEOPLE = ("viewer", "editor", "admin")
ACTORS = ("anonymous", *KEYS, *PEOPLE)

# Whoever comes.
ALL = frozenset(ACTORS)
# Programs that tell of events, and programs that read figures.
PUBLISH = frozenset({"key publish", "key manage"})
READ_BY_KEY = frozenset({"key read", "key manage"})
# Whoever may look, and whoever may change something, with a key or signed in.
READ = READ_BY_KEY | set(PEOPLE)
MANAGE = frozenset({"key manage", "editor", "admin"})
# Pages, which no key opens.
LOOK = frozenset(PEOPLE)
EDIT = frozenset({"editor", "admin"})
ADMIN = frozenset({"admin"})

TABLE = {
    ALL: """
        GET /
        GET /api/docs
        GET /health/live
        GET /health/ready
        GET /static/{name}
        GET /sign-in
        POST /sign-in
        GET /invitation/{token}
        POST /invitation/{token}
        POST /language
        GET /api/openapi.json
        GET /t/o/{token}.gif
        GET /t/c/{token}
        POST /t/p
        GET /t/parcours.js
        GET /unsubscribe/{token}
        POST /unsubscribe/{token}
        POST /forms/{key}
        POST /inbound/providers/{name}
    """,
    PUBLISH: """
        POST /events
        POST /inbound/bounces
        POST /inbound/complaints
        POST /inbound/replies
        POST /inbound/sms
    """,
    READ_BY_KEY: """
        GET /metrics
        GET /metrics/process
    """,
    READ: """
        GET /api/campaigns
        GET /api/campaigns/{campaign}
        GET /api/campaigns/{campaign}/diff
        GET /api/campaigns/{campaign}/log
        GET /api/campaigns/{campaign}/members
        GET /api/campaigns/{campaign}/overview
        POST /api/campaigns/{campaign}/plan
        GET /api/campaigns/{campaign}/versions
        GET /api/campaigns/{campaign}/versions/{version}
        POST /api/campaigns/{campaign}/versions/{version}/plan
        GET /api/campaigns/{campaign}/waiting
        GET /api/contacts
        GET /api/contacts/{contact:path}
        GET /api/contacts/{contact:path}/campaigns
        GET /api/contacts/{contact:path}/export
        GET /api/emails
        GET /api/emails/{email:path}
        GET /api/emails/{email:path}/figures
        GET /api/forms
        GET /api/forms/{form:path}
        GET /api/segments
        GET /api/segments/{segment:path}
        GET /api/segments/{segment:path}/members
        GET /api/segments/{segment:path}/export
        GET /api/segments/{segment:path}/explain/{contact:path}
        POST /api/segments/{segment:path}/plan
    """,
    MANAGE: """
        POST /api/campaigns
        DELETE /api/campaigns/{campaign}
        PUT /api/campaigns/{campaign}
        POST /api/campaigns/{campaign}/clone
        POST /api/campaigns/{campaign}/pause
        POST /api/campaigns/{campaign}/publish
        POST /api/campaigns/{campaign}/send-again
        POST /api/campaigns/{campaign}/try-again
        POST /api/campaigns/{campaign}/versions/{version}/rollback
        POST /api/campaigns/{campaign}/members/{contact:path}
        PUT /api/campaigns/{campaign}/members/{contact:path}
        DELETE /api/campaigns/{campaign}/members/{contact:path}
        PUT /api/contacts/{contact:path}
        DELETE /api/contacts/{contact:path}
        PUT /api/emails/{email:path}
        DELETE /api/emails/{email:path}
        DELETE /api/forms/{form:path}
        POST /api/emails/{email:path}/test
        POST /api/forms
        PUT /api/forms/{form:path}/mapping
        POST /api/segments
        PUT /api/segments/{segment:path}
        DELETE /api/segments/{segment:path}
        PUT /api/segments/{segment:path}/members/{contact:path}
        DELETE /api/segments/{segment:path}/members/{contact:path}
    """,
    LOOK: """
        GET /account
        POST /account/password
        POST /account/sign-ins/{id_}/end
        POST /account/timezone
        POST /account/sign-out-everywhere
        GET /campaigns
        GET /drafts
        GET /drafts/{draft_id}
        GET /drafts/{draft_id}/review
        GET /campaigns/{key}
        GET /campaigns/{key}/activity
        GET /campaigns/{key}/ahead
        GET /campaigns/{key}/build
        GET /campaigns/{key}/build/review
        GET /campaigns/{key}/live
        GET /campaigns/{key}/try
        GET /campaigns/{key}/versions
        GET /campaigns/{key}/versions/{version}
        GET /campaigns/{key}/versions/{version}/rollback
        GET /campaigns/{key}/{tab}
        GET /contacts
        GET /contacts/{key:path}
        GET /contacts/+found
        GET /contacts/+import
        GET /contacts/+import/{id_}
        GET /contacts/+import/{id_}/rejected
        GET /contacts/{key:path}/export
        GET /emails
        GET /emails/{key:path}
        GET /emails/{key:path}/preview
        GET /forms
        GET /forms/{key:path}
        GET /segments
        GET /start
        GET /status
        GET /segments/{key:path}
        GET /segments/{key:path}/edit
        GET /segments/{key:path}/export
        POST /sign-out
    """,
    ADMIN: """
        GET /users
        POST /users
        POST /users/{id_}
    """,
    EDIT: """
        GET /contacts/+new
        GET /contacts/{key:path}/edit
        GET /contacts/+import/{id_}/delete
        GET /contacts/{key:path}/erase
        GET /emails/+new
        GET /emails/{key:path}/delete
        GET /forms/{key:path}/delete
        GET /emails/{key:path}/edit
        GET /campaigns/+new
        GET /campaigns/{key}/edit
        GET /contacts/{key:path}/leave
        GET /campaigns/{key}/publish
        GET /campaigns/{key}/pause
        GET /campaigns/{key}/clone
        GET /campaigns/{key}/delete
        GET /drafts/+new
        GET /drafts/{draft_id}/delete
        GET /segments/{key:path}/delete
        GET /segments/+new
        POST /campaigns/+new
        POST /campaigns/{key}/build
        POST /campaigns/{key}/build/count
        POST /campaigns/{key}/build/preview
        POST /campaigns/{key}/build/review
        POST /drafts
        POST /drafts/{draft_id}
        POST /drafts/{draft_id}/count
        POST /drafts/{draft_id}/delete
        POST /drafts/{draft_id}/preview
        POST /drafts/{draft_id}/review
        POST /campaigns/+new/check
        POST /campaigns/{key}/ahead
        POST /campaigns/{key}/clone
        POST /campaigns/{key}/delete
        POST /campaigns/{key}/edit
        POST /campaigns/{key}/failures
        POST /campaigns/{key}/pause
        POST /campaigns/{key}/publish
        POST /contacts/+import
        POST /contacts/+import/{id_}
        POST /contacts/+import/{id_}/delete
        POST /contacts/+new
        POST /contacts/{key:path}/edit
        POST /contacts/{key:path}/erase
        POST /campaigns/{key}/try
        POST /campaigns/{key}/versions/{version}/rollback
        POST /contacts/{key:path}/join
        POST /contacts/{key:path}/leave
        POST /emails/+new
        POST /emails/+preview
        POST /emails/{key:path}/delete
        POST /emails/{key:path}/edit
        POST /emails/{key:path}/test
        POST /forms
        POST /forms/{key:path}/mapping
        POST /forms/{key:path}/settings
        POST /forms/{key:path}/delete
        POST /segments
        POST /status/dead-letters
        POST /segments/{key:path}/apply
        POST /segments/{key:path}/count
        POST /segments/{key:path}/delete
        POST /segments/{key:path}/edit
        POST /segments/{key:path}/members
    """,
}
ROUTES = {
    (line.split()[0], line.split()[1]): who for who, lines in TABLE.items() for line in lines.strip().splitlines()
}
# What a page of another site might get a browser to send: no key is in it, and the cookies are.
PAGES = sorted(route for route, who in ROUTES.items() if who in (LOOK, EDIT, ADMIN) and route[0] != "GET")
BY_COOKIE = sorted(route for route, who in ROUTES.items() if who == MANAGE)

SIGN_IN = ("POST", "/sign-in")


class Actors:
    """Clients of everybody, each signed in or with a key."""

    def __init__(self, client: Client, engine: Engine) -> None:
        self._client = client
        self._engine = engine

    def __call__(self, who: str) -> tuple[TestClient, dict[str, str]]:
        """Return a client and the headers that prove who it is."""
        http = self._client(open_to_all=False, forms_per_minute=10**6, hits_per_minute=10**6)
        http.follow_redirects = False
        if who in PEOPLE:
            role: Any = who
            given_user(self._engine, role, f"{who}@example.com")
            assert sign_in(http, f"{who}@example.com").status_code == 303
            found = re.search(r'name="csrf" value="([^"]+)"', http.get("/campaigns").text)
            assert found
            return http, {"x-csrf-token": found[1]}
        found = re.search(r'name="csrf" value="([^"]+)"', http.get("/sign-in").text)
        assert found
        if who == "anonymous":
            return http, {"x-csrf-token": found[1]}
        with self._engine.begin() as conn:
            key_role: Any = who.removeprefix("key ")
            return http, {"authorization": f"Bearer {api_keys.create(conn, who, key_role)[0]}"} | {
                "x-csrf-token": found[1]
            }


@pytest.fixture
def actors(client: Client, engine: Engine) -> Actors:
    return Actors(client, engine)


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "7", path)


def is_let_in(answer: Any) -> bool:
    if answer.status_code == 303:
        return not answer.headers["location"].startswith("/sign-in?")
    return answer.status_code not in (401, 403)


def test_every_route_says_who_may(client: Client) -> None:
    app = client().app
    assert sorted(routes_of(app)) == sorted(ROUTES)


@pytest.mark.parametrize("who", ACTORS)
def test_everybody_may_what_the_table_says_and_nothing_else(actors: Actors, who: str) -> None:
    http, headers = actors(who)
    cookies = dict(http.cookies)
    wrong = []
    for (method, path), allowed in ROUTES.items():
        http.cookies.clear()
        http.cookies.update(cookies)
        if path in ("/sign-out", "/account/sign-out-everywhere") or ((method, path) == SIGN_IN and who in PEOPLE):
            continue
        answer = http.request(method, filled(path), headers={**headers, "accept": "text/html"})
        # 401 there is what a wrong password gets.
        is_in = is_let_in(answer) or ((method, path) == SIGN_IN and answer.status_code == 401)
        if is_in != (who in allowed) or answer.status_code >= 500:
            wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("path", ["/sign-out", "/account/sign-out-everywhere"])
@pytest.mark.parametrize("who", ACTORS)
def test_who_is_signed_in_may_sign_out(actors: Actors, who: str, path: str) -> None:
    http, headers = actors(who)
    answer = http.post(path, headers=headers)
    assert (answer.status_code, answer.headers["location"].startswith("/sign-in?")) == (303, who not in PEOPLE)


def test_no_page_takes_a_form_without_its_token(actors: Actors) -> None:
    http, _ = actors("admin")
    _, other = actors("editor")
    for headers in ({}, other, {"x-csrf-token": "x"}):
        answers = {route: http.request(*at(route), headers=headers).status_code for route in PAGES}
        assert set(answers.values()) == {403}, answers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver.evil.example", "http://[", ""])
def test_no_page_of_another_site_speaks_with_our_cookies(actors: Actors, origin: str) -> None:
    http, _ = actors("admin")
    answers = {route: http.request(*at(route), headers={"origin": origin}).status_code for route in BY_COOKIE}
    assert set(answers.values()) == {403}, answers


def at(route: tuple[str, str]) -> tuple[str, str]:
    return route[0], filled(route[1])


def test_no_other_site_may_read_what_needs_a_key_or_a_sign_in(actors: Actors) -> None:
    http, _ = actors("admin")
    for route, who in ROUTES.items():
        if who == ALL or route[1] in ("/sign-out", "/account/sign-out-everywhere"):
            continue
        for method in (route[0], "OPTIONS"):
            answer = http.request(method, filled(route[1]), headers={"origin": "https://evil.example"})
            assert "access-control-allow-origin" not in answer.headers, route


def test_a_key_that_is_revoked_or_made_up_opens_nothing(actors: Actors, engine: Engine) -> None:
    http, headers = actors("key manage")
    with engine.begin() as conn:
        conn.execute(text("UPDATE api_key SET revoked_at = now()"))
    for given in (headers["authorization"], "Bearer x", "Bearer \xff", "Basic eDp4", "Bearer " + "x" * 5_000):
        for route, who in ROUTES.items():
            if who in (PUBLISH, READ_BY_KEY, READ, MANAGE):
                answer = http.request(*at(route), headers={"authorization": given.encode("latin-1")})
                assert answer.status_code == 401, (route, given[:20])


def test_every_answer_is_careful(actors: Actors) -> None:
    for who in ("anonymous", "admin"):
        http, _ = actors(who)
        for route in ROUTES:
            answer = http.request(*at(route), headers={"accept": "text/html"})
            headers = answer.headers
            assert headers["x-content-type-options"] == "nosniff", route
            assert "content-security-policy" in headers, route
            assert "unsafe" not in headers["content-security-policy"].replace("style-src 'unsafe-inline'", ""), route
            assert "server" not in headers, route
            for cookie in headers.get_list("set-cookie"):
                assert "httponly" in cookie.lower(), route
                assert "samesite=lax" in cookie.lower(), route


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "x@127.0.0.1",
        "[::1",
        "",
        "0",
    ],
)
def test_where_nobody_needs_a_key_another_name_of_this_machine_opens_nothing(client: Client, host: str) -> None:
    app = _for_this_machine(client().app, "127.0.0.1")
    # Begun once: one that is not begins a thread and an event loop for each request.
    with TestClient(app, base_url="http://127.0.0.1") as http:
        assert http.get("/campaigns").status_code == 200
        for route in ROUTES:
            answer = http.request(*at(route), headers={"host": host}, follow_redirects=False)
            assert answer.status_code in (400, 403, 421), route
