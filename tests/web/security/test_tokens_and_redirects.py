"""Tokens that nobody signed, tokens of another purpose, and where redirects lead."""

from __future__ import annotations

import base64
import json
from typing import get_args
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from itsdangerous import URLSafeSerializer
from sqlalchemy import Engine

from parcours.ops.tokens import Purpose
from tests.web.conftest import Client
from tests.web.mailing import PERSON, Mailing
from tests.web.pages.test_sign_in import given_user, sign_in

ELSEWHERE = (
    "https://evil.example/",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/%0d%0aSet-Cookie:a=b",
    "\r\nLocation: https://evil.example",
    "https:evil.example",
    "http:/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    " //evil.example",
    "/@evil.example/..//evil.example",
    "https://127.0.0.1:8080@evil.example/",
    "http://127.0.0.1:8080.evil.example/",
    "https://[example.com]",
    "http://[::1",
    "//\u3002evil.example",
    "\ud83d",
    "\0//evil.example",
)
HOME = ("127.0.0.1:8080", "testserver", "")


@pytest.fixture
def http(client: Client, mail: Mailing) -> TestClient:
    found = client(forms_per_minute=10**6)
    found.follow_redirects = False
    return found


def forged(mail: Mailing, purpose: Purpose, value: object) -> list[str]:
    """Return tokens that look like ours, and are not."""
    real = mail.tokens.sign(purpose, value)
    body, _, signature = real.rpartition(".")
    other = base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return [
        body,
        f"{body}.",
        f".{signature}",
        f"{body}.{signature[:-2]}",
        f"{body}.{signature}x",
        f"{body}x.{signature}",
        f"{other[:-1]}A.{signature}",
        real.swapcase(),
        f"{real}.{signature}",
        "." * 500,
        "x" * 20_000,
        "\u00e9",
        str(URLSafeSerializer("", salt=purpose).dumps(value)),
        str(URLSafeSerializer("secret", salt=purpose).dumps(value)),
        *(mail.tokens.sign(each, value) for each in get_args(Purpose) if each != purpose),
    ]


def test_no_forged_token_is_believed(http: TestClient, mail: Mailing) -> None:
    for token in forged(mail, "click", [mail.key, "https://evil.example/"]):
        assert http.get(f"/t/c/{token}", headers=PERSON).status_code == 404
    for token in forged(mail, "open", mail.key):
        http.get(f"/t/o/{token}.gif", headers=PERSON)
    for token in forged(mail, "unsubscribe", [mail.key, "email"]):
        assert http.post(f"/unsubscribe/{token}").status_code in (404, 405)
    for token in forged(mail, "visit", mail.key):
        http.post("/t/p", json={"visit": token, "url": "https://a.example/"})
        assert http.post("/forms/signup", json={"visit": token, "fields": {}}).status_code == 422
    assert mail.stored() == []
    assert mail.refused() == {}


def test_a_forged_sign_in_is_none(client: Client, engine: Engine, mail: Mailing) -> None:
    given_user(engine)
    http = client(open_to_all=False)
    http.follow_redirects = False
    sign_in(http)
    secret = http.cookies["parcours_session"]
    for each in (
        secret[:-1],
        secret + "x",
        secret.swapcase(),
        "",
        "x" * 5_000,
        *forged(mail, "device", ["ada@example.com", "x"]),
    ):
        http.cookies.clear()
        cookie = f"parcours_session={each}".encode()
        assert http.get("/campaigns", headers={"cookie": cookie}).status_code == 303
    assert http.get("/campaigns", headers={"cookie": f"parcours_session={secret}"}).status_code == 200


@pytest.mark.parametrize("goal", ELSEWHERE)
def test_no_redirect_leads_to_where_a_stranger_wants(client: Client, engine: Engine, mail: Mailing, goal: str) -> None:
    given_user(engine)
    http = client(open_to_all=False, forms_per_minute=10**6)
    http.follow_redirects = False
    goal_bytes = goal.encode("utf-8", "surrogatepass")
    asked = http.post(
        "/forms/signup",
        files={"email": (None, "ann@example.com"), "_redirect": (None, goal_bytes)},
    )
    answers = [asked]
    if "\0" not in goal and "\ud83d" not in goal:
        answers.append(sign_in(http, to=goal))
    for answer in answers:
        assert answer.status_code in (200, 303, 400, 422)
        if answer.status_code == 303:
            leads = urlsplit(answer.headers["location"])
            assert leads.netloc in HOME
            assert leads.scheme in ("", "http")
            assert not answer.headers["location"].startswith(("//", "/\\"))
            assert "evil" not in leads.netloc
        assert "a" not in answer.cookies
