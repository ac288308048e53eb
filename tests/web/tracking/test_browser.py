"""parcours.js in a real browser, on a page of another site."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine

from parcours.web.app import make_app
from parcours.web.server import Server
from tests.conftest import CHROMIUM
from tests.web.conftest import eventually, settings_with
from tests.web.mailing import BROWSER, Mailing, mailing

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    return mailing(engine, tmp_path)


@pytest.fixture
def parcours(engine: Engine, mail: Mailing) -> Iterator[str]:
    """The address of Parcours."""
    server = Server(host="127.0.0.1", port=0)
    server.start(make_app(engine, None, settings_with(), open_to_all=False))
    yield server.address
    server.stop()


@pytest.fixture
def site(parcours: str) -> Iterator[str]:
    """The address of another site, whose pages have the script; those below /consent ask for it first."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            consent = "<script>parcoursConsent = true</script>" if self.path.startswith("/consent") else ""
            script = f'{consent}<script src="{parcours}/t/parcours.js" defer></script>'
            form = '<form><input type="hidden" name="_visit"></form>'
            content = f"<!doctype html><title>Shop</title>{script}{form}<a href='/consent/next'>next</a>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody wants to know."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    # Another name than Parcours has, so that it is another site.
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(user_agent=BROWSER)
    yield context.new_page()
    context.close()


def urls(mail: Mailing) -> list[str]:
    return [row.data["url"] for row in mail.stored() if row.type == "page.hit"]


def test_a_click_brings_a_visit_whose_token_leaves_the_address_bar(
    parcours: str, site: str, tab: Page, mail: Mailing
) -> None:
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(f"{parcours}/t/c/{mail.token('click', [mail.key, f'{site}/pricing?a=%20b&c#part'])}")
    eventually(lambda: urls(mail) == [f"{site}/pricing?a=%20b&c#part"])
    assert tab.url == f"{site}/pricing?a=%20b&c#part"
    assert mail.tokens.read("visit", tab.input_value("input[name=_visit]")) == mail.key
    assert {row.type for row in mail.stored()} == {"email.clicked", "page.hit"}
    assert problems == []
    assert tab.context.cookies() == []
    assert tab.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]


def test_without_consent_the_next_page_is_nobodys(parcours: str, site: str, tab: Page, mail: Mailing) -> None:
    tab.goto(f"{site}/?parcours={mail.token('visit')}")
    eventually(lambda: urls(mail) == [f"{site}/"])
    tab.evaluate("parcours.hit('second')")
    tab.goto(f"{site}/other")
    tab.goto(f"{site}/third?parcours={mail.token('visit')}")
    eventually(lambda: f"{site}/third" in urls(mail))
    assert f"{site}/other" not in urls(mail)


def test_with_consent_the_tab_remembers_until_it_is_taken_back(
    parcours: str, site: str, tab: Page, mail: Mailing
) -> None:
    tab.goto(f"{site}/consent/?parcours={mail.token('visit')}")
    tab.click("a")
    eventually(lambda: urls(mail) == [f"{site}/consent/", f"{site}/consent/next"])
    (*_, row) = mail.stored()
    assert row.data["referrer"] == f"{site}/consent/"
    assert tab.context.cookies() == []
    tab.evaluate("parcours.consent(false)")
    assert tab.evaluate("sessionStorage.length") == 0


def test_consent_may_come_later(parcours: str, site: str, tab: Page, mail: Mailing) -> None:
    tab.goto(f"{site}/?parcours={mail.token('visit')}")
    tab.evaluate("parcours.consent(true)")
    tab.goto(f"{site}/consent/later")
    eventually(lambda: f"{site}/consent/later" in urls(mail))


def test_a_page_of_nobody_sends_nothing(parcours: str, site: str, tab: Page, mail: Mailing) -> None:
    sent: list[str] = []
    tab.on("request", lambda request: sent.append(request.url))
    tab.goto(f"{site}/pricing", wait_until="networkidle")
    assert [each for each in sent if each.endswith("/t/p")] == []


def test_the_page_that_unsubscribes_works_without_a_script(parcours: str, tab: Page, mail: Mailing) -> None:
    tab.goto(f"{parcours}/unsubscribe/{mail.token('unsubscribe', [mail.key, 'email'])}")
    tab.click("button")
    tab.wait_for_selector("text=You are unsubscribed")
    assert [row.type for row in mail.stored()] == ["email.unsubscribed"]
    # Its style is let in by the page's own policy.
    assert tab.evaluate("getComputedStyle(document.querySelector('button')).cursor") == "pointer"
