"""Whatever strangers send, nothing breaks and nothing that cannot be stored gets in."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.conftest import Client
from tests.web.mailing import PERSON, Mailing

NAMES = ("contact", "email", "visit", "id", "fields", "_hp", "message", "from", "text", "kind", "time", "url", "page")
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=5)),
    max_leaves=8,
)
PATHS = ["/t/p", "/forms/signup", "/inbound/bounces", "/inbound/complaints", "/inbound/replies", "/inbound/sms"]
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def http(client: Client, mail: Mailing) -> TestClient:
    found = client()
    found.follow_redirects = False
    return found


def test_no_json_breaks_anything(http: TestClient, mail: Mailing) -> None:
    known = {"visit": mail.token("visit"), "url": "https://a.example/", "contact": "ann"}

    @many
    @given(values, st.sampled_from(PATHS), st.booleans())
    def send(value: Any, path: str, by_somebody: bool) -> None:
        body = {**known, **value} if by_somebody and isinstance(value, dict) else value
        headers = {**PERSON, "content-type": "application/json"}
        answer = http.post(path, content=json.dumps(body).encode(), headers=headers)
        assert answer.status_code < 500, answer.text

    send()
    mail.act_now()


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_no_html_form_breaks_anything_or_leads_astray(http: TestClient, mail: Mailing, kind: str) -> None:
    @many
    @given(st.text(max_size=30), st.binary(max_size=100))
    def send(redirect: str, rest: bytes) -> None:
        if kind.startswith("multipart"):
            fields = {"_contact": "ann", "_redirect": redirect}
            parts = [f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
            body = "".join(parts).encode() + rest
        else:
            body = f"_contact=ann&_redirect={redirect}&".encode() + rest
        answer = http.post("/forms/signup", content=body, headers={"content-type": kind})
        assert answer.status_code < 500, answer.text
        if answer.status_code == 303:
            leads = urlsplit(answer.headers["location"])
            assert (leads.scheme, leads.netloc) == ("http", "127.0.0.1:8080")

    send()
    mail.act_now()


def test_no_link_breaks_anything(http: TestClient, mail: Mailing) -> None:
    @many
    @given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
    def follow(url: str, channel: str, language: str) -> None:
        headers = {**PERSON, "accept-language": language.encode("latin-1", "replace").decode("latin-1")}
        for signed in (f"https://{url}", url):
            answer = http.get(f"/t/c/{mail.token('click', [mail.key, signed])}", headers=PERSON)
            assert answer.status_code in (302, 404)
        link = f"/unsubscribe/{mail.token('unsubscribe', [mail.key, channel])}"
        assert http.post(link, headers={n: v.encode("latin-1") for n, v in headers.items()}).status_code in (200, 404)

    follow()
    mail.act_now()


@pytest.mark.parametrize("path", ["/t/o/%00.gif", "/t/c/%00", "/unsubscribe/%00", "/forms/%00", "/forms/%ff"])
def test_no_address_breaks_anything(http: TestClient, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        assert http.request(method, path).status_code < 500
