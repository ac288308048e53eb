"""Whatever people, programs and strangers call things: pages show it, and browsers never run it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import companies, forms, segments
from parcours.db.tables.emails import Email
from parcours.db.tables.emails import save as save_email
from tests.web.conftest import Client
from tests.web.security.test_who_may_what import ROUTES
from tests.workers.worlds import START, World, at, event

SCRIPT = "<script>alert(1)</script>"
EVIL = (
    SCRIPT,
    '"><script>alert(1)</script>',
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "--><img src=x onerror=alert(1)>",
    "</textarea></title><script>alert(1)</script>",
    "\u202e</script><script>alert(1)</script>",
)
ADDRESSES = ("href", "src", "action", "formaction", "hx-get", "hx-post")
TABS = ("actions", "contacts", "failures", "decisions", "conditions", "history")


class Runs(HTMLParser):
    """Finds what a browser would run: scripts that are not our files, handlers, addresses of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: (value or "").strip().lower() for name, value in attrs}
        if tag == "script" and not given.get("src", "").startswith("/static/"):
            self.found.append(tag)
        if tag == "img" and given.get("src") == "x":
            self.found.append(tag)
        self.found += [name for name in given if name.startswith("on")]
        self.found += [value for name, value in given.items() if name in ADDRESSES and value.startswith("javascript:")]


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    ensure_partitions(engine, datetime.now(UTC))
    return World(engine, tmp_path)


def named(world: World, evil: str) -> None:
    """Make one of everything, each with the name."""
    world.contacts(evil, segment="everyone", note=evil, email=f"{evil}@example.com")
    with world.engine.begin() as conn:
        segments.save(conn, "everyone", name=evil, public=True, published=True)
        segments.save(conn, evil, name=evil, public=True, published=True)
        forms.create(conn, "signup", evil, True)
        forms.create(conn, evil, evil, True)
        companies.save(conn, evil, name=evil, fields={"a": evil})
        save_email(conn, Email("hello", evil, None, evil, None, True, evil), now=START)
    # What is no place for a template refuses one.
    tag = "x" if "{{" in evil else evil
    world.campaign(
        f"- {{step: a, name: {json.dumps(evil)}, action: contact.points, with: {{points: 1}}}}\n"
        f"- {{step: b, name: {json.dumps(evil)}, action: contact.tags, with: {{add: [{json.dumps(tag)}]}}}}",
        name=evil,
        description=evil,
    )
    world.run()
    world.tell(event("page.hit", evil, at(1, "10:00"), url=f"https://example.com/{evil}"))
    world.tell(event(evil, evil, at(1, "11:00"), a=evil))
    fields: dict[str, Any] = {"a": evil, evil: evil}
    world.submit("signup", evil, **fields)


def addresses(evil: str) -> list[str]:
    """Return every page, of what has a plain key and of what has the evil one, asked for with the evil word too."""
    said = quote(evil, safe="")
    keys = {"campaigns": ("c", said), "contacts": (said,), "segments": ("everyone", said), "forms": ("signup", said)}
    found = []
    for method, path in ROUTES:
        if method != "GET" or path.startswith(("/api/openapi", "/static", "/health", "/metrics")):
            continue
        for key in keys.get(path.split("/")[1], ("hello", said)):
            filled = [path.replace("{tab}", tab) for tab in TABS] if "{tab}" in path else [path]
            found += [re.sub(r"\{[^}]+\}", lambda _, key=key: key, each) for each in filled]  # type: ignore[misc]
    asked = "&".join(
        f"{name}={said}" for name in ("q", "step", "at", "why", "from", "to", "next", "cursor", "page", "sort")
    )
    return [*found, *(f"{each}?{asked}" for each in found)]


@pytest.mark.parametrize("evil", EVIL)
def test_no_page_runs_what_it_shows(client: Client, world: World, evil: str) -> None:
    named(world, evil)
    http: TestClient = client()
    shown = 0
    for address in addresses(evil):
        answer = http.get(address, headers={"accept": "text/html"}, follow_redirects=False)
        assert answer.status_code < 500, address
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        assert Runs(answer.text).found == [], address
        shown += evil.replace("<", "&lt;").replace(">", "&gt;")[:12] in answer.text.replace("&#34;", '"').replace(
            "&#39;", "'"
        )
    assert shown > 10
