"""The pixel, links, page hits and the script: what people do with messages becomes events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from parcours.db.engine import connect
from parcours.db.reads import overview
from parcours.domain.campaign import Campaign
from parcours.web.inbox import Inbox
from parcours.web.tracking.routes import PIXEL
from parcours.web.tracking.tracking_events import Sighting, Sightings
from tests.web.conftest import Client, eventually, settings_with
from tests.web.mailing import PERSON, SCANNER, Mailing, mailing


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    return mailing(engine, tmp_path)


@pytest.fixture
def http(client: Client, mail: Mailing) -> TestClient:
    found = client()
    found.follow_redirects = False
    return found


def kinds(mail: Mailing) -> list[str]:
    return [row.type + (" by a machine" if "bot" in row.data else "") for row in mail.stored()]


# Openings.


def test_an_opened_email_takes_its_decision(http: TestClient, mail: Mailing) -> None:
    answer = http.get(f"/t/o/{mail.token('open')}.gif", headers=PERSON)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PIXEL, "image/gif")
    assert "no-store" in answer.headers["cache-control"]
    (row,) = mail.stored()
    assert (row.type, row.contact, row.source, row.data) == ("email.opened", "ann", "parcours", {"message": mail.key})
    mail.act_now()
    assert mail.tags("ann") == {"opened"}
    (row,) = mail.read("SELECT opened_at, clicked_at FROM message")
    assert row.opened_at is not None
    assert row.clicked_at is None


@pytest.mark.parametrize("token", ["x", "x.y", "é", "a" * 3000])
def test_a_bad_token_gets_the_same_picture_and_nothing_happens(http: TestClient, mail: Mailing, token: str) -> None:
    assert http.get(f"/t/o/{token}.gif", headers=PERSON).content == PIXEL
    assert mail.stored() == []


def test_a_token_of_another_purpose_or_of_a_message_that_is_gone_opens_nothing(http: TestClient, mail: Mailing) -> None:
    for token in (mail.token("visit"), mail.token("open", "9-9-9-9"), mail.token("open", ["x"])):
        assert http.get(f"/t/o/{token}.gif", headers=PERSON).content == PIXEL
    assert mail.stored() == []


def test_a_mail_program_that_reloads_is_one_opening(http: TestClient, mail: Mailing, monkeypatch: Any) -> None:
    monkeypatch.setattr("parcours.web.tracking.tracking_events.SAME_SECONDS", 10**9)
    for _ in range(5):
        http.get(f"/t/o/{mail.token('open')}.gif", headers=PERSON)
    assert kinds(mail) == ["email.opened"]


def test_machines_are_kept_apart_and_decide_nothing(http: TestClient, mail: Mailing) -> None:
    pixel = f"/t/o/{mail.token('open')}.gif"
    http.get(pixel, headers=SCANNER)
    http.head(pixel, headers=PERSON)
    link = mail.token("click", [mail.key, "https://example.com/pricing"])
    http.get(f"/t/c/{link}", headers=PERSON | {"purpose": "prefetch"})
    hit = {"url": "https://example.com/pricing", "visit": mail.token("visit")}
    http.post("/t/p", json=hit, headers=SCANNER)
    assert set(kinds(mail)) == {"email.opened by a machine", "email.clicked by a machine", "page.hit by a machine"}
    mail.act_now()
    assert mail.tags("ann") == set()
    assert mail.read("SELECT FROM message WHERE opened_at IS NOT NULL OR clicked_at IS NOT NULL") == []
    assert mail.read("SELECT FROM device") == []
    assert mail.read("SELECT FROM contact WHERE last_active_at IS NOT NULL") == []
    assert figures(mail).page_views == 0
    # The person who comes in the same minute is not taken for the scanner.
    http.get(pixel, headers=PERSON)
    mail.act_now()
    assert mail.tags("ann") == {"opened"}


def test_machines_are_counted(http: TestClient, mail: Mailing) -> None:
    http.get(f"/t/o/{mail.token('open')}.gif", headers=SCANNER)
    assert 'parcours_automatic_requests_total{what="opened"}' in http.get("/metrics/process").text


# Clicks.


@pytest.mark.parametrize(
    ("url", "before", "after"),
    [
        ("https://example.com/a?b=1&c#part", "https://example.com/a?b=1&c&parcours=", "#part"),
        ("http://example.com", "http://example.com?parcours=", ""),
        ("https://example.com/é", "https://example.com/%C3%A9?parcours=", ""),
    ],
)
def test_a_link_leads_where_it_was_signed_to_with_the_visit(
    http: TestClient, mail: Mailing, url: str, before: str, after: str
) -> None:
    answer = http.get(f"/t/c/{mail.token('click', [mail.key, url])}", headers=PERSON)
    assert answer.status_code == 302
    location = answer.headers["location"]
    assert location.startswith(before)
    assert location.endswith(after)
    visit = location.removeprefix(before).removesuffix(after)
    assert mail.tokens.read("visit", visit) == mail.key
    (row,) = mail.stored()
    assert (row.type, row.contact, row.data) == ("email.clicked", "ann", {"message": mail.key, "url": url})


def test_a_click_is_an_opening_too(http: TestClient, mail: Mailing) -> None:
    http.get(f"/t/c/{mail.token('click', [mail.key, 'https://example.com/'])}", headers=PERSON)
    mail.act_now()
    assert mail.tags("ann") == {"opened", "clicked"}
    assert len(mail.read("SELECT FROM message WHERE opened_at = clicked_at")) == 1


@pytest.mark.parametrize(
    "value", ["https://example.com/", ["1", "javascript:alert(1)"], ["1", "//evil.example"], ["1"], ["1", 2], {}]
)
def test_only_signed_addresses_of_the_web_are_followed(http: TestClient, mail: Mailing, value: Any) -> None:
    answer = http.get(f"/t/c/{mail.token('click', value)}", headers=PERSON)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert mail.stored() == []


def test_a_bad_link_is_a_plain_page_in_the_readers_language(http: TestClient) -> None:
    answer = http.get("/t/c/<script>", headers={"accept-language": "de, fr-CA;q=0.8, en;q=0.5"})
    assert answer.status_code == 404
    assert "Ce lien ne fonctionne pas" in answer.text
    assert "script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_click_right_after_sending_is_a_machines(http: TestClient, mail: Mailing) -> None:
    link = f"/t/c/{mail.token('click', [mail.key, 'https://example.com/'])}"
    mail.write("UPDATE message SET sent_at = now()")
    assert http.get(link, headers=PERSON).status_code == 302
    assert kinds(mail) == ["email.clicked by a machine"]
    mail.write("UPDATE message SET sent_at = now() - interval '1 minute'")
    http.get(link, headers=PERSON)
    assert kinds(mail)[1:] == ["email.clicked"]


def test_a_link_in_a_text_message_is_no_clicked_email(http: TestClient, mail: Mailing) -> None:
    mail.write("UPDATE message SET channel = 'sms'")
    http.get(f"/t/c/{mail.token('click', [mail.key, 'https://example.com/'])}", headers=PERSON)
    assert kinds(mail) == ["sms.clicked"]
    mail.act_now()
    assert mail.tags("ann") == set()
    assert len(mail.read("SELECT FROM message WHERE clicked_at IS NOT NULL")) == 1


# Page hits.


def figures(mail: Mailing) -> overview.Overview:
    with mail.engine.connect() as conn:
        return overview.of(conn, Campaign(mail.found(conn).id, "c", 1, {}))


def test_a_page_hit_takes_decisions_and_counts_for_the_campaign(http: TestClient, mail: Mailing) -> None:
    visit = mail.token("visit")
    hit = {"url": f"https://example.com/pricing?parcours={visit}", "referrer": "https://mail.example/", "visit": visit}
    # As a browser's beacon sends it.
    answer = http.post("/t/p", content=json.dumps(hit), headers=PERSON | {"content-type": "text/plain;charset=UTF-8"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "set-cookie" not in answer.headers
    (row,) = mail.stored()
    assert row.data == {
        "message": mail.key,
        "campaign": "c",
        "step": "hello",
        "url": "https://example.com/pricing",
        "referrer": "https://mail.example/",
        "device": {"type": "mobile", "brand": "Apple", "os": "iOS"},
    }
    mail.act_now()
    assert mail.tags("ann") == {"visited", "phoned"}
    assert figures(mail).page_views == 1


def test_without_a_visit_nothing_is_stored(http: TestClient, mail: Mailing) -> None:
    for more in ({}, {"visit": "x"}, {"visit": mail.token("open")}, {"contact": "ann"}, {"visit": 5}):
        answer = http.post("/t/p", json={"url": "https://example.com/", **more}, headers=PERSON)
        assert answer.status_code == 204
    assert mail.stored() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"5", b'{"url": 5}', b'{"url": "nowhere"}', b'{"url": "https://a.example/\\u0000"}',
     b'{"url": "https://a.example/", "referrer": []}', b'{"url": "https://a.example/", "page": "\\ud800"}'],
)  # fmt: skip
def test_what_is_no_page_hit_is_a_sentence_that_the_page_may_read(http: TestClient, body: bytes) -> None:
    answer = http.post("/t/p", content=body, headers=PERSON)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_page_hit_is_small(http: TestClient) -> None:
    assert http.post("/t/p", content=b" " * 20_000).status_code == 413


def test_other_sites_may_ask_before_they_tell(http: TestClient) -> None:
    asked = {"origin": "https://example.com", "access-control-request-method": "POST"}
    answer = http.options("/t/p", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_the_script_is_small_and_may_be_loaded_by_other_sites(http: TestClient) -> None:
    answer = http.get("/t/parcours.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert len(answer.content) < 3000
    assert "document.cookie" not in answer.text


# What is away.


def test_a_hint_follows_a_sighting(client: Client, mail: Mailing, stub: StubBroker) -> None:
    client(broker=stub).get(f"/t/o/{mail.token('open')}.gif", headers=PERSON)
    eventually(lambda: stub.queues["decisions"].qsize() == 1)


@contextmanager
def outage(server: str, engine: Engine) -> Iterator[None]:
    """Nobody gets into the database of an engine, and who was in is thrown out."""
    name = engine.url.database
    administrator = connect(server).execution_options(isolation_level="AUTOCOMMIT")
    with administrator.connect() as conn:
        conn.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        conn.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
        yield
        conn.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    administrator.dispose()


def test_links_lead_on_without_a_database_and_what_was_done_is_stored_when_it_is_back(
    http: TestClient, mail: Mailing, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parcours.web.tracking.tracking_events.TRY_SECONDS", 0.05)
    link, pixel = mail.token("click", [mail.key, "https://example.com/"]), mail.token("open")
    with outage(server, mail.engine):
        for _ in range(3):
            assert http.get(f"/t/c/{link}", headers=PERSON).headers["location"].startswith("https://example.com/?")
        assert http.get(f"/t/o/{pixel}.gif", headers=PERSON).content == PIXEL
        assert http.get("/health/ready").status_code == 503
    eventually(lambda: len(mail.stored()) == 2)
    assert set(kinds(mail)) == {"email.clicked", "email.opened"}


def test_what_is_kept_for_too_long_or_is_too_much_is_lost_and_the_log_says_so(
    engine: Engine, mail: Mailing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = connect("postgresql://nobody@127.0.0.1:1/none")
    sightings = Sightings(Inbox(away, None, settings_with()))
    monkeypatch.setattr("parcours.web.tracking.tracking_events.KEPT", 1)
    monkeypatch.setattr("parcours.web.tracking.tracking_events.TRY_SECONDS", 0.01)
    sightings.store(Sighting("opened", mail.key, datetime.now(UTC)))
    sightings.store(Sighting("opened", mail.key, datetime.now(UTC)))
    assert "too many" in capsys.readouterr().out
    monkeypatch.setattr("parcours.web.tracking.tracking_events.KEPT_FOR", timedelta(0))
    eventually(lambda: not sightings._kept)
    sightings.close()
    assert "too old" in capsys.readouterr().out


def test_without_the_secret_a_link_asks_to_come_again_and_the_picture_is_there(client: Client, mail: Mailing) -> None:
    http = client(engine=connect("postgresql://nobody@127.0.0.1:1/none"))
    answer = http.get(f"/t/c/{mail.token('click', [mail.key, 'https://example.com/'])}", headers=PERSON)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert http.get(f"/t/o/{mail.token('open')}.gif", headers=PERSON).content == PIXEL


def test_the_log_holds_neither_tokens_nor_addresses(
    http: TestClient, mail: Mailing, capsys: pytest.CaptureFixture[str]
) -> None:
    token = mail.token("click", [mail.key, "https://example.com/secret"])
    http.get(f"/t/c/{token}", headers=PERSON)
    told = "".join(capsys.readouterr())
    assert "/t/c/{token}" in told
    assert token not in told
    assert "secret" not in told


def test_an_erased_contact_is_nobody(http: TestClient, mail: Mailing) -> None:
    with mail.engine.begin() as conn:
        conn.execute(text("DELETE FROM message"))
    http.get(f"/t/o/{mail.token('open')}.gif", headers=PERSON)
    assert mail.stored() == []


def test_what_users_do_with_a_message_about_a_contact_is_not_the_contacts(http: TestClient, mail: Mailing) -> None:
    mail.write("""UPDATE message SET payload = '{"to": ["sales@example.com"]}', address = NULL""")
    http.get(f"/t/o/{mail.token('open')}.gif", headers=PERSON)
    assert mail.stored() == []
