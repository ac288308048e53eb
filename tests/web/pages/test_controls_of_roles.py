"""What a page shows to somebody, they may do: every link and form of every page that can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from starlette.routing import compile_path

from parcours.db.clock import now as database_now
from parcours.db.tables import events, users
from tests.web.conftest import Client
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.web.security.test_who_may_what import ROUTES
from tests.workers.worlds import START, World

TREE = """
- step: hello
  action: email.send
  with: {email: hello}
  then:
    - step: visited
      decision: page.hit
      with: {url: "*"}
      within: 3 days
      yes: [{step: hot, action: contact.points, with: {points: 1}}]
"""
# More of them are the same pages again, in another order or with other words to search for.
MOST_PAGES = 150
# What is reached from there, and what somebody may know the address of.
PAGES = (
    *("/campaigns", "/start", "/drafts", "/status", "/account", "/drafts/+new", "/campaigns/+new?as=yaml"),
    *(f"/campaigns/c/{page}" for page in ("edit", "build", "build/review", "pause", "publish", "delete", "clone")),
    *(f"/campaigns/c/{page}" for page in ("try", "ahead", "failures", "contacts", "versions", "activity")),
    *("/contacts/+new", "/contacts/+import", "/contacts/ann/edit", "/contacts/ann/erase"),
    *("/contacts/ann/leave?campaign=c", "/segments/+new", "/segments/everyone/edit", "/segments/everyone/delete"),
    *("/emails/+new", "/emails/hello/edit", "/emails/hello", "/forms/signup"),
)
FORM = re.compile(r"(?s)<form\b.*?</form>")
TARGET = re.compile(r"\b(?:(?:href|hx-get)=\"(?P<get>[^\"]*)\"|(?:hx-post|formaction)=\"(?P<post>[^\"]*)\")")
# The panel of the builder for who may only look.
SHOWN_ONLY = re.compile(r"(?s)<fieldset class=\"bare\" disabled>.*?</fieldset></section>")


def controls_of(page: str, base: str) -> Iterator[tuple[str, str]]:
    """Yield the method and address of each control of a page that leads to one of ours."""
    page = SHOWN_ONLY.sub("", page)
    targets = [
        ("GET", found["get"]) if found["get"] is not None else ("POST", found["post"])
        for found in TARGET.finditer(page)
    ]
    for form in FORM.findall(page):
        if "<button" in form or "data-autosave" in form:
            action, sends = re.search(r'action="([^"]*)"', form), re.search(r'method="(\w+)"', form)
            targets.append((sends[1].upper() if sends else "GET", action[1] if action else base))
    for method, target in targets:
        address = urldefrag(urljoin(base, unescape(target)))[0]
        if urlsplit(address).netloc == urlsplit(base).netloc:
            yield method, address.removeprefix("http://testserver")


def route_of(method: str, address: str) -> tuple[str, str] | None:
    """Return the route that an address leads to: of those that fit, the one that says most itself."""
    path = address.partition("?")[0]
    fitting = [route for route in ROUTES if route[0] == method and compile_path(route[1])[0].match(path)]
    return max(fitting, key=lambda route: len(re.sub(r"\{.*?\}", "", route[1])), default=None)


@pytest.fixture
def everything(world: World) -> World:
    """A world with one of each kind."""
    world.contacts("ann", "ben", segment="everyone")
    world.email("hello")
    world.form("signup")
    world.campaign(TREE, segments=["everyone"])
    world.run()
    with world.engine.begin() as conn:
        events.add_dead_letters(conn, [("broken", "no json")], origin="event", now=START)
        users.invite(conn, "cid@example.com", name="Cid", role="viewer", now=database_now(conn))
    return world


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
def test_no_page_shows_somebody_what_they_may_not_do(client: Client, everything: World, role: users.Role) -> None:
    given_user(everything.engine, "admin", "editor@example.com")
    maker = client(open_to_all=False)
    sign_in(maker, "editor@example.com")
    draft = {"csrf": token_of(maker.get("/drafts/+new")), "name": "New", "template": "welcome"}
    assert maker.post("/drafts", data=draft).status_code == 200
    given_user(everything.engine, role)
    http = client(open_to_all=False)
    sign_in(http)
    wrong: set[tuple[str, str, str]] = set()
    seen, pending = set[str](), [*PAGES]
    shapes = dict[str, int]()
    while pending and len(seen) < MOST_PAGES:
        page = pending.pop(0)
        shape = re.sub(r"\d+|=[^&]*", "", page)
        shapes[shape] = shapes.get(shape, 0) + 1
        if page in seen or shapes[shape] > 1:
            continue
        seen.add(page)
        answer = http.get(page, headers={"accept": "text/html"})
        if answer.status_code in (401, 403) and page not in PAGES:
            wrong.add(("GET", page, f"answers {answer.status_code}"))
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        for method, address in controls_of(answer.text, str(answer.url)):
            route = route_of(method, address)
            if route is None or role not in ROUTES[route]:
                wrong.add((method, address, f"on {page}"))
            elif method == "GET" and "/static/" not in address:
                pending.append(address)
    assert not wrong, "\n".join(map(str, sorted(wrong)))
    assert len(seen) > 40
