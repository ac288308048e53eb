"""Who is behind a request: a person's device, or a machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.events.visitors import device_of, is_automatic, why_automatic

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Mobile/15E148 Safari/604.1"
)
WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
GALAXY = "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36"
CUBOT = "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (IPHONE, {"type": "mobile", "brand": "Apple", "os": "iOS"}),
        (WINDOWS, {"type": "desktop", "os": "Windows"}),
        (GALAXY, {"type": "mobile", "brand": "Samsung", "os": "Android"}),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) Version/17.0 Mobile/15E148 Safari/604.1",
            {"type": "tablet", "brand": "Apple", "os": "iOS"},
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
            {"type": "desktop", "brand": "Apple", "os": "macOS"},
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", {"type": "desktop", "os": "Linux"}),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
            {"type": "desktop", "os": "Chrome OS"},
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
            {"type": "tablet", "brand": "Samsung", "os": "Android"},
        ),
        # A browser that hides the model.
        (
            "Mozilla/5.0 (Linux; Android 10; K) Chrome/142.0.0.0 Mobile Safari/537.36",
            {"type": "mobile", "os": "Android"},
        ),
        (
            "Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) AppleWebKit/537.36 Version/7.0 TV Safari/537.36",
            {"type": "tv", "os": "Tizen"},
        ),
        ("curl/8.5.0", {}),
        ("", {}),
    ],
)
def test_a_device_is_what_its_browser_says_and_no_more(agent: str, device: dict[str, str]) -> None:
    assert device_of({"user-agent": agent}) == device


def test_client_hints_go_before_a_user_agent_that_is_frozen() -> None:
    hints = {"user-agent": WINDOWS, "sec-ch-ua-platform": '"Chromium OS"', "sec-ch-ua-mobile": "?0"}
    assert device_of(hints) == {"type": "desktop", "os": "Chrome OS"}
    assert device_of({"user-agent": "x", "sec-ch-ua-platform": '"Android"', "sec-ch-ua-mobile": "?1"}) == {
        "type": "mobile",
        "os": "Android",
    }


@pytest.mark.parametrize("agent", [IPHONE, WINDOWS, GALAXY, CUBOT, GMAIL, "YahooMailProxy; https://help.yahoo.com"])
def test_people_are_not_taken_for_machines(agent: str) -> None:
    assert why_automatic("GET", {"user-agent": agent}) is None


@pytest.mark.parametrize(
    ("method", "headers", "why"),
    [
        ("HEAD", {"user-agent": WINDOWS}, "a HEAD request"),
        ("GET", {"user-agent": WINDOWS, "purpose": "prefetch"}, "fetched ahead"),
        ("GET", {"user-agent": WINDOWS, "sec-purpose": "prefetch;prerender"}, "fetched ahead"),
        ("GET", {"user-agent": WINDOWS, "x-moz": "Prefetch"}, "fetched ahead"),
        ("GET", {}, "no user agent"),
        ("GET", {"user-agent": "Mozilla/5.0"}, "mail privacy protection"),
        (
            "GET",
            {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
            "a known scanner",
        ),
        ("GET", {"user-agent": "BarracudaCentral link check"}, "a known scanner"),
        ("GET", {"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, "a known scanner"),
    ],
)
def test_machines_are_marked_with_the_reason(method: str, headers: dict[str, str], why: str) -> None:
    assert why_automatic(method, headers) == why


def test_only_what_a_machine_can_cause_is_marked() -> None:
    assert is_automatic("email.opened", {"bot": "a known scanner"})
    assert not is_automatic("email.opened", {"bot": ""})
    assert not is_automatic("order.paid", {"bot": "the one that was bought"})


@given(st.text(max_size=300), st.text(max_size=40))
def test_no_header_breaks_anything(agent: str, platform: str) -> None:
    headers = {"user-agent": agent, "sec-ch-ua-platform": platform}
    assert all(isinstance(value, str) and value for value in device_of(headers).values())
    why_automatic("GET", headers)
