"""Odd requests to every route, by every method: no 500, and memory that does not grow.

The seed is printed; `PARCOURS_TEST_SEED` sends the same requests again. `PARCOURS_TEST_FUZZ` says how many.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import companies
from parcours.ops.tokens import Purpose
from parcours.web.api.common import cursor_of
from tests.web.conftest import Client
from tests.web.mailing import PERSON, Mailing, mailing
from tests.web.pages.test_sign_in import token_of
from tests.web.security.places import queries_of, routes_of
from tests.web.security.test_fuzzed_events import Odd

REQUESTS = int(os.environ.get("PARCOURS_TEST_FUZZ") or 1_500)
RENEWED_EVERY = 300
MOST_NAMES = 500
MOST_GROWTH_BYTES = 80_000_000
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
TEXTS = (
    "", " ", "0", "-1", "1", "2", "999999999999999999999999", "9" * 5_000, "1e999", "NaN", "½", "١٢", "true", "null",
    "0001-01-01", "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-02-30", "2026-06-01",
    "1900-01-01", "-1-1-1", "Europe/Paris", "../../etc/passwd", "\0", "\ud83d", "\udc00x", "\u202e", "\ufeff",
    "é" * 300,
    "x" * 9_000, "<script>alert(1)</script>", "' OR 1=1 --", "%", "_", "\\", "%00", "%s", "{}", "{{ 1 }}", "{% for %}",
    "(" * 2_000, "[" * 2_000, "a+" * 500, "https://[", "http://[::1]:x/", "//evil.example", "everyone", "ann", "c",
    "hello", "signup", "s0", "7d", "30d", "24h", "all", "+new", "actions", "contacts", "failures", "history", "email",
    "waiting", "done", "created", "-created", "name", "published", "\r\nX-A: b", "a\tb", ";", "&", "=", "fr",
)  # fmt: skip
NAMES = (
    "q", "page", "cursor", "limit", "from", "to", "range", "sort", "order", "step", "at", "why", "state", "status",
    "key", "name", "csrf", "next", "language", "email", "password", "contact", "contacts", "segment", "campaign",
    "type", "kind", "since", "until", "before", "after", "day", "start", "end", "subject", "html", "text", "timezone",
    "points", "stage", "tags", "fields", "definition", "yaml", "steps", "version", "force", "manual", "category",
    "public", "standalone", "published", "_contact", "_redirect", "_hp", "visit", "url", "message", "time", "channel",
    "phone", "id", "description", "settings", "sources", "restartable", "ids", "country",
)  # fmt: skip
KINDS = (
    "application/json", "application/yaml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
    "multipart/form-data", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain",
    "application/json; charset=utf-7", "x", "",
)  # fmt: skip
HEADERS = (
    "accept", "accept-language", "cookie", "origin", "host", "hx-request", "if-none-match", "if-match", "range",
    "authorization", "x-api-key", "content-encoding", "ce-specversion", "ce-id", "ce-time", "ce-type", "user-agent",
    "referer", "x-csrf-token",
)  # fmt: skip
VALID = (
    {"campaign": "c", "sources": {"segments": ["everyone"]}, "steps": [{"step": "s0", "action": "contact.points"}]},
    {"key": "x1", "name": "x"},
    {"key": "hello", "subject": "Hi", "html": "<p>{{ contact.first_name }}</p>", "text": "Hi"},
    {"fields": {"country": "FR"}, "email": "ann@example.com", "timezone": "Europe/Paris"},
    {"contacts": ["ann"]},
    {"email": "ann@example.com", "fields": {"a": "b"}},
    {"kind": "hard", "message": "x", "time": "2026-06-01T00:00:00Z"},
)


class OddRequests:
    """Draws requests; most come as far as the code that stands behind a route."""

    def __init__(self, chance: random.Random, app: Any, mail: Mailing, ids: list[str]) -> None:
        self.chance = chance
        self.odd = Odd(chance)
        self.routes = routes_of(app)
        self.mail = mail
        self.ids = ids
        self.csrf = ""
        self.cookies: dict[str, str] = {}
        self.queries = queries_of(app)
        # Of the fields of our forms, as pages come by.
        self.fields: dict[str, None] = dict.fromkeys(NAMES)

    def text(self) -> str:
        draw = self.chance.random()
        if draw < 0.06:
            return self.cursor()
        if draw < 0.12:
            return self.token()
        if draw < 0.2:
            return self.chance.choice(self.ids)
        return self.chance.choice(TEXTS)

    def cursor(self) -> str:
        """Return a cursor with a place that nobody was."""
        kind = self.chance.choice(("campaigns", "contacts", "members", "log", "waiting", "segments", "emails", "x"))
        place = [self.odd.value() for _ in range(self.chance.randrange(4))]
        if self.chance.random() < 0.8:
            return cursor_of(kind, *place)
        return base64.urlsafe_b64encode(self.text_of(place).encode()).decode()

    def text_of(self, value: Any) -> str:
        return json.dumps(value)

    def token(self) -> str:
        """Return a signed token of something odd, which no mistake of a stranger's makes: as if the key leaked."""
        purpose = self.chance.choice(PURPOSES)
        value = self.chance.choice([self.mail.key, [self.mail.key, self.chance.choice(TEXTS)], self.odd.value()])
        try:
            return self.mail.tokens.sign(purpose, value)
        except (ValueError, RecursionError):
            return "x"

    def path(self, path: str) -> str:
        known = {"campaign": "c", "contact": "ann", "segment": "everyone", "form": "signup", "email": "hello"}

        is_odd = self.chance.random() < 0.35

        def filled(match: re.Match[str]) -> str:
            name = match[1].partition(":")[0]
            if not is_odd or self.chance.random() < 0.3:
                return known.get(name) or {"camp": "c", "cont": "ann", "segm": "everyone", "form": "signup"}.get(
                    path.removeprefix("/api").strip("/")[:4], "hello"
                )
            return percent(self.text())

        return re.sub(r"\{([^}]+)\}", filled, path)

    def pairs(self, known: list[str]) -> list[tuple[str, str]]:
        chance = self.chance
        drawn = []
        for _ in range(chance.randrange(6)):
            name = chance.choice(known) if known and chance.random() < 0.7 else chance.choice(list(self.fields))
            drawn.append((name if chance.random() < 0.95 else self.text(), self.text()))
        return drawn

    def body(self, path: str) -> tuple[bytes, str]:
        chance = self.chance
        is_json = path.startswith(("/api/", "/events", "/inbound/", "/t/")) == (chance.random() < 0.9)
        draw = chance.random()
        if draw < 0.85 and not is_json:
            pairs = self.pairs([])
            pairs += [
                (name, chance.choice(("x1", "1", "on", "c"))) for name in ("key", "name") if chance.random() < 0.4
            ]
            return "&".join(f"{percent(n)}={percent(v)}" for n, v in pairs).encode(), KINDS[2]
        if draw < 0.9:
            value: Any = dict(chance.choice(VALID))
            for _ in range(chance.randrange(3)):
                value[chance.choice([*value, chance.choice(NAMES)])] = self.odd.value()
            if chance.random() < 0.3:
                value = chance.choice([self.odd.event("x"), self.odd.value(), [self.odd.event("x")]])
            return self.text_of(value).encode(), chance.choice(KINDS[:1] * 9 + KINDS)
        return chance.randbytes(chance.randrange(200)), chance.choice(KINDS)

    def headers(self, kind: str) -> dict[str, bytes]:
        chance = self.chance
        given = {"content-type": kind, **PERSON}
        if chance.random() < 0.6:
            given["accept"] = "text/html"
        if chance.random() < 0.9:
            given["x-csrf-token"] = self.csrf
        for _ in range(chance.randrange(3) if chance.random() < 0.5 else 0):
            given[chance.choice(HEADERS)] = re.sub(r"[\x00-\x08\x0a-\x1f]", "", self.text())
        return {name: value.encode("utf-8", "surrogatepass") for name, value in given.items()}

    def send(self, http: TestClient) -> tuple[str, httpx.Response]:
        chance = self.chance
        method, path = chance.choice(self.routes)
        if chance.random() < 0.05:
            method = chance.choice(METHODS)
        where = self.path(path)
        if chance.random() < 0.7:
            pairs = self.pairs(self.queries.get((method, path), []))
            where += "?" + "&".join(f"{percent(name)}={percent(value)}" for name, value in pairs)
        body, kind = self.body(path) if method not in ("GET", "HEAD") else (b"", "")
        headers = self.headers(kind)
        # Some answers give a browser another name, of which the token of forms knows nothing.
        http.cookies.clear()
        http.cookies.update(self.cookies)
        answer: httpx.Response = http.request(
            method, where[:60_000], content=body, headers=headers, follow_redirects=False
        )
        if answer.headers.get("content-type", "").startswith("text/html") and len(self.fields) < MOST_NAMES:
            self.fields |= dict.fromkeys(re.findall(r'<(?:input|select|textarea)[^>]* name="([^"]+)"', answer.text))
        return f"{method} {where[:300]} {kind} {body[:600]!r} {headers}", answer


def percent(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def used_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    ensure_partitions(engine, datetime.now(UTC))
    world = mailing(engine, tmp_path)
    world.form("signup", standalone=True)
    with engine.begin() as conn:
        companies.save(conn, "acme", name="Acme", fields={})
    return world


def renew(http: TestClient) -> None:
    """Bring back what requests deleted."""
    for method, path, value in (
        ("PUT", "/api/contacts/ann", {"email": "ann@example.com", "fields": {"country": "FR"}}),
        ("POST", "/api/segments", {"key": "everyone"}),
        (
            "POST",
            "/api/campaigns",
            {**VALID[0], "steps": [{"step": "s0", "action": "contact.points", "with": {"points": 1}}]},
        ),
        ("PUT", "/api/campaigns/c/members/ann", None),
        ("POST", "/api/campaigns/c/publish", None),
    ):
        http.request(method, path, json=value)


def test_no_request_breaks_anything(client: Client, engine: Engine, mail: Mailing) -> None:
    seed = int(os.environ.get("PARCOURS_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"PARCOURS_TEST_SEED={seed}")  # noqa: T201 - so that a failure can be run again
    http = client(forms_per_minute=10**6, hits_per_minute=10**6)
    ids = [str(row.id) for row in mail.read("SELECT id FROM step UNION SELECT id FROM message")]
    odd = OddRequests(random.Random(seed), http.app, mail, ids)
    broken: list[str] = []
    statuses: dict[int, int] = {}
    before = 0
    for nth in range(REQUESTS):
        if nth % RENEWED_EVERY == 0:
            http.cookies.clear()
            odd.csrf, odd.cookies = token_of(http.get("/campaigns")), dict(http.cookies)
            renew(http)
            mail.act_now()
        if nth == REQUESTS // 3:
            before = used_bytes()
        sent, answer = odd.send(http)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        if answer.status_code >= 500 and "/health/ready" not in sent:
            broken.append(f"{answer.status_code} {sent}")
    print(f"answers by status: {statuses}")  # noqa: T201 - so that one sees what a run was worth
    assert not broken, "\n\n".join([f"{len(broken)} requests", *broken[:50]])
    assert statuses.get(200, 0) > REQUESTS / 10, statuses
    assert used_bytes() - before < MOST_GROWTH_BYTES
    mail.act_now()
    assert mail.read("SELECT count(*) AS n FROM inbox")[0].n == 0
