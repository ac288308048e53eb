"""Times on pages are in the timezone of who reads them, whatever was chosen for that."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from parcours.db.tables import outcomes
from parcours.web.i18n.language import Reader, planned, speaking
from parcours.web.pages.panels import moment_of
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import World

HTML = {"accept": "text/html"}
ZONE_COOKIE = "parcours_timezone"
AT = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)


def choose(http: TestClient, zone: str, **more: str) -> str:
    """Choose a timezone, and return the page that follows."""
    data = {"csrf": token_of(http.get("/account")), "timezone": zone, **more}
    return str(http.post("/account/timezone", data=data, headers=HTML).text)


@pytest.fixture
def ada(client: Client, world: World) -> TestClient:
    """Somebody signed in, in an installation in Paris with a segment and a campaign, changed and entered at `AT`."""
    given_user(world.engine, "viewer")
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: s, action: contact.points, with: {points: 1}}")
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE audit SET at = :at"), {"at": AT})
        conn.execute(text("UPDATE segment_member SET changed_at = :at"), {"at": AT})
        outcomes.count_campaign(conn, Counter({(world.found(conn).id, AT.replace(minute=0), "added"): 3}))
    http = client(open_to_all=False, default_timezone="Europe/Paris")
    sign_in(http)
    return http


def test_somebody_chooses_a_timezone_and_every_page_follows(ada: TestClient) -> None:
    shown = text_of(ada.get("/campaigns/c").text)
    assert "2 Jun 2026, 00:30" in shown
    assert "Times in Europe/Paris" in shown
    assert "as the installation: Europe/Paris" in ada.get("/account").text
    assert "Times are shown in America/New_York." in choose(ada, " america/new_york ")
    shown = text_of(ada.get("/campaigns/c").text)
    assert "1 Jun 2026, 18:30" in shown
    assert "2 Jun 2026, 00:30" not in shown
    for page in (
        "/campaigns",
        "/segments/everyone",
        "/campaigns/c/versions",
        "/drafts",
        "/status",
        "/forms",
        "/emails",
    ):
        assert "Times in America/New_York" in text_of(ada.get(page).text), page
    assert "1 Jun 2026, 18:30" in text_of(ada.get("/segments/everyone").text)
    # Back to the installation's.
    assert "Times are shown in Europe/Paris." in choose(ada, "")
    assert "2 Jun 2026, 00:30" in text_of(ada.get("/campaigns/c").text)


def test_two_people_read_the_same_page_in_their_own_timezones(ada: TestClient, client: Client, world: World) -> None:
    given_user(world.engine, "viewer", "bob@example.com")
    bob = client(open_to_all=False, default_timezone="Europe/Paris")
    sign_in(bob, "bob@example.com")
    choose(ada, "Asia/Tokyo")
    assert "2 Jun 2026, 07:30" in text_of(ada.get("/campaigns/c").text)
    assert "2 Jun 2026, 00:30" in text_of(bob.get("/campaigns/c").text)
    # A cookie says nothing for who has an account.
    bob.cookies.set(ZONE_COOKIE, "Asia/Tokyo")
    assert "2 Jun 2026, 00:30" in text_of(bob.get("/campaigns/c").text)


@pytest.mark.parametrize(
    ("zone", "day"), [("Asia/Kolkata", 2), ("Asia/Kathmandu", 2), ("America/St_Johns", 1), ("Australia/Lord_Howe", 2)]
)
def test_the_graph_counts_each_hour_once_in_zones_of_half_and_quarter_hours(
    ada: TestClient, zone: str, day: int
) -> None:
    choose(ada, zone)
    hours = ada.get(f"/campaigns/c?from=2026-06-0{day}&to=2026-06-0{day}").text
    rows = re.findall(r"(\d\d:\d\d)\s*</td><td[^>]*>(\d+)</td>", hours)
    began = AT.replace(minute=0).astimezone(ZoneInfo(zone))
    assert [hour for hour, n in rows if n != "0"] == [f"{began:%H:%M}"]
    days = ada.get("/campaigns/c?from=2026-05-28&to=2026-06-05").text
    assert re.search(rf"{day} Jun 2026\s*</td><td[^>]*>3</td>", days)
    assert f"Times in {zone}" in text_of(days)


def test_a_timezone_that_is_unknown_is_refused_and_stays_in_the_field(ada: TestClient) -> None:
    for given in ("Europe/Pariis", "x" * 10_000, "../../etc/passwd", "Factory", "localtime", "<b>"):
        data = {"csrf": token_of(ada.get("/account")), "timezone": given}
        answer = ada.post("/account/timezone", data=data, headers=HTML)
        assert answer.status_code == 422
        assert "nknown timezone" in answer.text
        assert "<b>" not in answer.text
    assert "did you mean &#39;Europe/Paris&#39;?" in choose(ada, "Europe/Pariis")
    assert 'value="Europe/Pariis"' in choose(ada, "Europe/Pariis")


@pytest.mark.parametrize("lost", ["Europe/Atlantis", "x" * 10_000, "../../../etc/passwd", "<i>", " ", "é"])
def test_a_timezone_that_is_no_longer_known_breaks_no_page(ada: TestClient, world: World, lost: str) -> None:
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE account SET timezone = :zone"), {"zone": lost})
    for page in ("/campaigns/c", "/account", "/status"):
        shown = ada.get(page).text
        assert "Times in Europe/Paris" in text_of(shown)
        assert "that you chose is not known here" in shown
        assert "<i>" not in shown
    assert "2 Jun 2026, 00:30" in text_of(ada.get("/campaigns/c").text)


def test_without_a_sign_in_the_browser_keeps_the_timezone(client: Client, ada: TestClient) -> None:
    http = client(default_timezone="Europe/Paris")
    assert "Settings of this browser" in http.get("/account").text
    assert "Change your password" not in http.get("/account").text
    choose(http, "Asia/Tokyo")
    assert "2 Jun 2026, 07:30" in text_of(http.get("/campaigns/c").text)
    choose(http, "")
    assert ZONE_COOKIE not in http.cookies
    for odd in ("Europe/Atlantis", "x" * 3_000, '"', "%00", "../x", "a;b"):
        shown = http.get("/campaigns/c", headers={"cookie": f"{ZONE_COOKIE}={odd}"}).text
        assert "2 Jun 2026, 00:30" in text_of(shown), odd


def test_the_browser_may_suggest_its_timezone_until_one_is_chosen(ada: TestClient) -> None:
    assert 'data-browser-zone="Europe/Paris"' in ada.get("/campaigns?q=x").text
    page = choose(ada, "Asia/Tokyo", next="/campaigns?q=x")
    assert "Times are shown in Asia/Tokyo." in page
    assert "data-browser-zone" not in page
    evil = {"csrf": token_of(ada.get("/account")), "timezone": "", "next": "//evil.example/"}
    answer = ada.post("/account/timezone", data=evil, follow_redirects=False)
    assert answer.headers["location"] == "/account"


def test_the_command_sets_timezones(run: Run, ada: TestClient) -> None:
    changed = run("users", "edit", "ada@example.com", "--timezone", "asia/tokyo")
    assert changed.stdout.strip() == "Changed ada@example.com."
    assert "Times in Asia/Tokyo" in text_of(ada.get("/campaigns/c").text)
    assert "Asia/Tokyo" in run("users", "list", "--json").stdout
    assert "did you mean" in run("users", "edit", "ada@example.com", "--timezone", "asia/tokio").stderr
    assert "nothing to change" in run("users", "edit", "ada@example.com").stderr
    run("users", "edit", "ada@example.com", "--timezone", "")
    assert "Times in Europe/Paris" in text_of(ada.get("/campaigns/c").text)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2026-12-24T09:00:00+09:00", "2026-12-24T01:00"),
        ("2026-12-24T09:00:00+01:00", "2026-12-24T09:00"),
        ("2026-12-24T09:00", "2026-12-24T09:00"),
        ("2026-12-24", "2026-12-24T00:00"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00"),
        ("tomorrow or the day after", "tomorrow or the "),
        (None, ""),
    ],
)
def test_a_date_of_a_draft_is_shown_in_the_timezone_of_the_campaign(written: object, shown: str) -> None:
    assert moment_of(written, ZoneInfo("Europe/Paris")) == shown


def test_a_date_of_a_campaign_that_a_reader_elsewhere_sees_names_the_timezone() -> None:
    for reader, said in (
        (Reader("en", ZoneInfo("Asia/Tokyo"), "Asia/Tokyo"), "2 Jun 2026, 07:30 (Asia/Tokyo)"),
        (Reader("en", ZoneInfo("Europe/Paris")), "2 Jun 2026, 00:30"),
        (Reader("en", ZoneInfo("Europe/Paris"), "Europe/Atlantis", lost=True), "2 Jun 2026, 00:30"),
    ):
        with speaking(reader):
            assert planned(AT) == said
