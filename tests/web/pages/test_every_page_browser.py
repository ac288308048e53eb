"""Every page in a real browser, full of things with long names, in both languages, light and dark, wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter
from playwright.sync_api import Browser, Page, ViewportSize
from sqlalchemy import Engine, text

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import emails, events, forms
from parcours.db.tables.emails import Email
from parcours.domain.steps.types import Failed
from parcours.web.app import make_app
from parcours.web.i18n.language import catalogue
from parcours.web.pages.assets import assets
from parcours.web.pages.routes import ROUTERS
from parcours.web.server import Server
from tests.conftest import CHROMIUM
from tests.web.conftest import WAIT_MS, Client, settings_with
from tests.web.i18n.test_french import left_over
from tests.web.pages.test_sign_in import PASSWORD, given_user, sign_in, token_of
from tests.web.security.places import routes_of
from tests.workers.worlds import START, Moody, World, at

browser_there = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
AXE = Path(__file__).parent / "axe" / "axe-4.10.3.min.js"
WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
LONG = "Donaudampfschifffahrtsgesellschaftskapitänswitwenrentenantragsformular"
KEY = "a-key-as-long-as-nobody-would-ever-type-it-but-a-program-does-so-every-day"
CONTACT = "a-very-long-name-that-has-no-space-in-it-and-no-hyphen-either".replace("-", "")
DRAFT_OF_NEW = "/drafts/{draft}"
TREE = f"""
- step: hello
  name: {LONG}
  action: email.send
  with: {{email: {KEY}}}
  then:
    - step: opened
      name: Öffnet
      decision: email.open
      within: 3 days
      yes: [{{step: thank, name: Danke, action: contact.points, with: {{points: 5}}}}]
      no:
        - {{step: wait, name: Später, action: contact.tags, with: {{add: [{LONG}]}}, after: 30 days}}
        - {{step: again, name: Von vorn, action: campaign.jump, with: {{to: mood}}, after: 10 days}}
- {{step: mood, name: Laune, action: test.moody}}
- step: country
  name: Land
  condition: contact.field
  with: {{field: country, operator: "=", value: FR}}
  yes: [{{step: points, name: Punkte, action: contact.points, with: {{points: 1234567}}}}]
  no: [{{step: hook, name: Haken, action: webhook.send, with: {{url: "https://example.com/{LONG}"}}}}]
"""
FRENCH_ONES = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
BOUGHT = {"type": "order.paid", "where": [{"field": "total", "operator": "gt", "value": 5}], "at_least": 9}
OF_LATE = {"campaigns": ["c"], "added": {"within": "1 minutes"}}
RULE = {
    "any": [
        FRENCH_ONES,
        {"not": {"condition": "contact.tags", "with": {"tags": [LONG]}}},
        {"condition": "event.count", "with": BOUGHT},
        {"condition": "contact.campaigns", "with": OF_LATE},
    ]
}

# What every address of a page leads to in the world below. A route that is in neither of the two fails the first test.
PAGES: Mapping[str, tuple[str, ...]] = {
    "/account": ("/account",),
    "/campaigns": ("/campaigns", "/campaigns?q=nothing"),
    "/campaigns/+new": ("/campaigns/+new?as=yaml",),
    "/campaigns/{key}": ("/campaigns/c", "/campaigns/quiet", "/campaigns/c?range=all"),
    "/campaigns/{key}/activity": ("/campaigns/c/activity",),
    "/campaigns/{key}/ahead": ("/campaigns/c/ahead",),
    "/campaigns/{key}/build": (
        *("/campaigns/c/build", "/campaigns/c/build?step=hello", "/campaigns/c/build?step=opened"),
        *("/campaigns/c/build?step=country", "/campaigns/c/build?panel=settings", "/campaigns/c/build?add=first"),
        *("/campaigns/c/build?moving=mood", "/campaigns/c/build?panel=yaml"),
    ),
    "/campaigns/{key}/build/review": ("/campaigns/c/build/review",),
    "/campaigns/{key}/clone": ("/campaigns/c/clone",),
    "/campaigns/{key}/delete": ("/campaigns/quiet/delete",),
    "/campaigns/{key}/edit": ("/campaigns/c/edit",),
    "/campaigns/{key}/pause": ("/campaigns/c/pause",),
    "/campaigns/{key}/publish": ("/campaigns/c/publish",),
    "/campaigns/{key}/try": ("/campaigns/c/try",),
    "/campaigns/{key}/versions": ("/campaigns/c/versions",),
    "/campaigns/{key}/versions/{version}": ("/campaigns/c/versions/2", "/campaigns/c/versions/1?yaml=1"),
    "/campaigns/{key}/versions/{version}/rollback": ("/campaigns/c/versions/1/rollback",),
    "/campaigns/{key}/{tab}": tuple(
        f"/campaigns/c/{tab}" for tab in ("decisions", "actions", "conditions", "contacts", "failures")
    ),
    "/contacts": ("/contacts", "/contacts?q=nobody"),
    "/contacts/+import": ("/contacts/+import",),
    "/contacts/+import/{id_}": ("/contacts/+import/1", "/contacts/+import/2"),
    "/contacts/+import/{id_}/delete": ("/contacts/+import/1/delete",),
    "/contacts/+new": ("/contacts/+new",),
    "/contacts/{key:path}": (f"/contacts/{CONTACT}",),
    "/contacts/{key:path}/edit": (f"/contacts/{CONTACT}/edit",),
    "/contacts/{key:path}/erase": (f"/contacts/{CONTACT}/erase",),
    "/contacts/{key:path}/leave": (f"/contacts/{CONTACT}/leave?campaign=c",),
    "/drafts": ("/drafts",),
    "/drafts/+new": ("/drafts/+new",),
    "/drafts/{draft_id}": (DRAFT_OF_NEW, f"{DRAFT_OF_NEW}?step=hello"),
    "/drafts/{draft_id}/delete": (f"{DRAFT_OF_NEW}/delete",),
    "/drafts/{draft_id}/review": (f"{DRAFT_OF_NEW}/review",),
    "/emails": ("/emails",),
    "/emails/+new": ("/emails/+new",),
    "/emails/{key:path}": (f"/emails/{KEY}", "/emails/gone"),
    "/emails/{key:path}/delete": (f"/emails/{KEY}/delete", "/emails/unused/delete"),
    "/emails/{key:path}/edit": (f"/emails/{KEY}/edit",),
    "/forms": ("/forms",),
    "/forms/{key:path}": (f"/forms/{KEY}",),
    "/forms/{key:path}/delete": (f"/forms/{KEY}/delete", "/forms/unused/delete"),
    "/invitation/{token}": ("{invitation}", "/invitation/forged"),
    "/segments": ("/segments",),
    "/segments/+new": ("/segments/+new",),
    "/segments/{key:path}": (f"/segments/{KEY}", "/segments/ruled"),
    "/segments/{key:path}/delete": ("/segments/unused/delete", f"/segments/{KEY}/delete"),
    "/segments/{key:path}/edit": (f"/segments/{KEY}/edit", "/segments/ruled/edit"),
    "/sign-in": ("/sign-in",),
    "/start": ("/start",),
    "/status": ("/status",),
    "/users": ("/users",),
}
# Parts of pages, files, and what leads on.
NO_PAGES = {
    *("/", "/static/{name}", "/campaigns/{key}/live", "/emails/{key:path}/preview"),
    *(
        "/contacts/+found",
        "/contacts/+import/{id_}/rejected",
        "/contacts/{key:path}/export",
        "/segments/{key:path}/export",
    ),
}
# For whoever has not signed in.
OUTSIDE = {"/sign-in", "/invitation/{token}"}

RUN_AXE = """async (rules) => {
  const found = await axe.run(document, {
    iframes: false, resultTypes: ['violations'],
    ...(Array.isArray(rules) ? {runOnly: rules} : {}),
    ...(rules?.without ? {rules: Object.fromEntries(rules.without.map((each) => [each, {enabled: false}]))} : {}),
  });
  return found.violations.map((each) => [each.id, each.help, ...each.nodes.slice(0, 4).map(
    (node) => `${node.target} ${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 240)}`)]);
}"""
# What size and colours change.
SEEN = ["color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block"]
WIDER = """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]
  .filter((each) => each.checkVisibility() && !each.closest('nav, .scrolls, .table-wrap, pre')
    && each.getBoundingClientRect().left + Math.max(each.offsetWidth, each.scrollWidth) > innerWidth + 1)
  .slice(-4).map((each) => each.outerHTML.slice(0, 200))"""
# A number, with the space between its thousands and its percent sign, is on one line.
BROKEN = r"""() => {
  const broken = [];
  const texts = document.createTreeWalker(document.querySelector('main') ?? document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!node.parentElement.checkVisibility() || node.parentElement.closest('code, pre, textarea, .breaks')) continue;
    for (const found of node.data.matchAll(/(?<![\w.-])≈?\s?\d(?:[\d.,\u00a0\u202f]*\d)?(?:\s?%)?(?![\w-])/g)) {
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const tops = [...range.getClientRects()].filter((each) => each.width).map((each) => Math.round(each.top));
      if (new Set(tops).size > 1) broken.push(`${found[0]} in ${node.data.trim().slice(0, 80)}`);
    }
  }
  return broken;
}"""
# Texts that people read, without what they wrote and code.
TEXTS = """() => {
  const found = new Set([document.title]);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    const own = parent.closest('code, pre, textarea, datalist, time, script, style, noscript, [lang]');
    if (own === document.documentElement) found.add(walker.currentNode.data.replace(/\\s+/g, ' ').trim());
  }
  for (const name of ['title', 'aria-label', 'placeholder', 'data-confirm', 'data-failed'])
    for (const each of document.querySelectorAll(`[${name}]`))
      if (each.closest('[lang]') === document.documentElement) found.add(each.getAttribute(name));
  return [...found].filter(Boolean);
}"""
# Steps that were made in English keep their names.
NAMED = {"Welcome email", "Reminder"}
# Words of every French sentence that are none of an English one.
FRENCH = re.compile(
    r"\b(?:le|la|les|du|une|et|est|sont|aux|dans|avec|sans|pour|vous|votre|vos|qui|que|ce|cette|ces|ne|pas|ou|au|par|"
    r"sur|aucune?|n’est|l’étape|d’un|d’une)\b",
    re.IGNORECASE,
)


class Shown(NamedTuple):
    """An installation that is served, and where its pages are."""

    address: str
    pages: list[str]
    outside: list[str]


def _routes() -> set[str]:
    together = APIRouter(routes=[route for router in ROUTERS for route in router.routes])
    return {path for method, path in routes_of(together) if method == "GET"}


def test_every_page_is_looked_at() -> None:
    assert _routes() == PAGES.keys() | NO_PAGES


def _full(engine: Engine, folder: Path, moody: Moody) -> World:
    """Make a world that fills every page, with names that are long."""
    ensure_partitions(engine, START)
    world = World(engine, folder)
    world.crowd(30, segment=KEY, country="FR", timezone="Europe/Paris")
    world.contacts(CONTACT, segment=KEY, country="DE", remark=f"{LONG} {LONG}", points=1234567)
    world.segment("unused")
    world.by_rule("ruled", RULE)
    world.email("unused")
    world.form("unused")
    world.write("INSERT INTO email_count VALUES ('gone', 1, 1, '', 'sent', 0, 3)")
    with engine.begin() as conn:
        html = f'<p>{LONG}</p><a href="https://example.com/{LONG}">{LONG}</a> <a href="{{{{ unsubscribe_url }}}}">x</a>'
        emails.save(conn, Email(KEY, f"{LONG} {{{{ contact.first_name }}}}", html, LONG, None, True), now=START)
        forms.create(conn, KEY, LONG, True)
        events.add_dead_letters(conn, [(f"Grund {LONG}", "{}"), ("unknown type", "no json")], origin="event", now=START)
    moody.moods = {CONTACT: Failed(f"Panne {LONG}", retry=False), "c2": Failed("Panne", retry=False)}
    world.campaign(TREE, name=LONG, description=f"{LONG} " * 5, segments=(KEY,), goal={"event": "order.paid"})
    world.campaign("- {step: x, action: contact.points, with: {points: 1}}", key="quiet", published=False)
    world.campaign(TREE, name=f"{LONG} 2", description="x", segments=(KEY,), goal={"event": "order.paid"})
    world.run()
    world.run(at(4))
    world.remove("c3", at(5))
    # One that is tried again.
    world.write(
        "UPDATE message SET state = 'queued', error = :why, due_at = :at, sent_at = NULL "
        "WHERE (contact_id, id) = (SELECT contact_id, id FROM message LIMIT 1)",
        why=f"Grund {LONG}",
        at=at(40),
    )
    return world


def _filled(client: Client, engine: Engine) -> dict[str, str]:
    """Do on pages what only pages do: drafts, uploads and an invitation. Return what their addresses are."""
    http = client(open_to_all=False)
    given_user(engine, "admin")
    sign_in(http)
    token = token_of(http.get("/users"))
    invited = http.post("/users", data={"csrf": token, "email": "ben@example.com", "name": LONG, "role": "viewer"})
    (link,) = re.findall(r'readonly value="([^"]+)"', invited.text)
    begun = http.post("/drafts", data={"csrf": token, "name": LONG, "template": "welcome"}, follow_redirects=False)
    draft = urlsplit(begun.headers["location"]).path
    changed = {"csrf": token, "revision": "0", "do": "remove", "step": "country"}
    assert http.post("/campaigns/c/build", data=changed).status_code == 200
    assert LONG in http.get("/drafts").text
    for number in (1, 2):
        rows = f"E-Mail;Vorname;{LONG}\nzoe@example.com;Zoe;1\n{LONG};;\n"
        http.post("/contacts/+import", data={"csrf": token}, files={"file": (f"{LONG}.csv", rows.encode())})
        if number == 2:
            http.post("/contacts/+import/2", data={"csrf": token, "import": "1"})
    return {"draft": draft.rsplit("/", 1)[-1], "invitation": urlsplit(link).path}


@pytest.fixture
def shown(engine: Engine, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    moody = Moody()
    moody.install(monkeypatch)
    _full(engine, tmp_path, moody)
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM wait")).scalar_one()
    made = _filled(client, engine)

    def places(which: set[str]) -> list[str]:
        return [each.format(**made) for route in PAGES if route in which for each in PAGES[route]]

    server = Server(host="127.0.0.1", port=0)
    server.start(make_app(engine, None, settings_with(home=tmp_path), open_to_all=False))
    yield Shown(server.address, places(PAGES.keys() - OUTSIDE), places(OUTSIDE))
    server.stop()


@browser_there
def test_every_page_can_be_read_by_everybody_and_fits(shown: Shown, browser: Browser) -> None:
    wrong = [f"{language} {each}" for language in ("en", "fr") for each in _walk(shown, browser, language)]
    assert wrong == [], "\n".join(wrong)


def _walk(shown: Shown, browser: Browser, language: str) -> Iterator[str]:
    """Look at every page in a language; yield what is wrong."""
    page = browser.new_context(locale=language, viewport=WIDE, reduced_motion="reduce").new_page()
    page.set_default_timeout(WAIT_MS)
    heard: list[str] = []
    page.on("pageerror", lambda error: heard.append(f"{page.url}: {error}"))
    page.on(
        "console", lambda said: heard.append(f"{page.url}: {said.text}") if "Content Security" in said.text else None
    )
    for path in shown.outside:
        yield from (f"{path}: {each}" for each in _troubles(page, f"{shown.address}{path}", language))
    page.goto(f"{shown.address}/sign-in")
    page.locator("[name=email]").fill("ada@example.com")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url("**/campaigns")
    for path in shown.pages:
        yield from (f"{path}: {each}" for each in _troubles(page, f"{shown.address}{path}", language))
    yield from heard
    page.context.close()


def _troubles(page: Page, address: str, language: str) -> Iterator[Any]:
    """Yield what is wrong with a page, each way it is looked at."""
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)
    answer = page.goto(address)
    if answer is None or (answer.status >= 400 and not address.endswith("forged")):
        yield f"answers {answer and answer.status}"
    if page.evaluate("!window.axe"):
        page.evaluate(AXE.read_text())
    yield from page.evaluate(RUN_AXE, None if language == "en" else {"without": SEEN})
    yield from page.evaluate(WIDER)
    yield from page.evaluate(BROKEN)
    yield from _foreign(page.evaluate(TEXTS), language)
    page.set_viewport_size(NARROW)
    # The language changes neither colours nor sizes, and to look at colours takes longest.
    if language == "en":
        page.emulate_media(color_scheme="dark")
        yield from page.evaluate(RUN_AXE, SEEN)
    yield from page.evaluate(WIDER)
    yield from page.evaluate(BROKEN)


def _foreign(texts: list[str], language: str) -> Iterator[str]:
    """Yield texts that are not in the language of the page."""
    ours = {said: french for said, french in catalogue("fr").items() if said != french}
    for said in set(texts) - NAMED:
        plain = said.replace(LONG, "").replace(KEY, "").replace(CONTACT, "").replace(Moody.run.__doc__ or "", "")
        if language == "fr" and (said in ours.keys() - set(ours.values()) or left_over(plain)):
            yield f"in English: {said}"
        if language == "en" and (said in set(ours.values()) - ours.keys() or FRENCH.search(plain)):
            yield f"in French: {said}"


def test_the_scripts_of_all_pages_are_small_together() -> None:
    scripts = [each for name, each in assets().items() if name.endswith(".js")]
    assert len(scripts) > 4
    # As they travel.
    assert sum(len(each.zipped or each.content) for each in scripts) < 60_000
