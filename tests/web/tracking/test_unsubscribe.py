"""Leaving a channel by the link of a message, and coming back."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser
from sqlalchemy import Engine, text

from parcours.db.engine import connect
from parcours.web.app import make_app
from parcours.web.server import Server
from tests.conftest import CHROMIUM
from tests.web.conftest import Client, settings_with
from tests.web.mailing import PERSON, Mailing, mailing

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    return mailing(engine, tmp_path)


@pytest.fixture
def http(client: Client) -> TestClient:
    return client()


def link(mail: Mailing, channel: str = "email") -> str:
    return f"/unsubscribe/{mail.token('unsubscribe', [mail.key, channel])}"


def test_the_page_asks_and_changes_nothing(http: TestClient, mail: Mailing) -> None:
    for method in ("GET", "HEAD"):
        answer = http.request(method, link(mail), headers=PERSON | {"sec-purpose": "prefetch"})
        assert answer.status_code == 200
    answer = http.get(link(mail))
    assert "Unsubscribe?" in answer.text
    assert answer.text.count("<button>") == 1
    assert '<form method="post">' in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert mail.stored() == []


@pytest.mark.parametrize("how", ["one click", "multipart", "button", "empty"])
def test_a_post_unsubscribes_once(http: TestClient, mail: Mailing, how: str) -> None:
    for _ in range(2):
        if how == "multipart":
            answer = http.post(link(mail), files={"List-Unsubscribe": (None, "One-Click")})
        else:
            data = {"one click": ONE_CLICK, "button": {"action": "unsubscribe"}, "empty": {}}[how]
            answer = http.post(link(mail), data=data, follow_redirects=False)
        assert answer.status_code == 200
        assert "You are unsubscribed" in answer.text
    (row,) = mail.stored()
    assert (row.type, row.contact, row.source) == ("email.unsubscribed", "ann", "parcours")
    assert row.data == {"message": mail.key, "channel": "email"}
    mail.act_now()
    assert mail.refused() == {"email": "unsubscribed"}
    http.post(link(mail), data=ONE_CLICK)
    assert mail.stored() == []


def test_the_channel_is_the_one_of_the_token(http: TestClient, mail: Mailing) -> None:
    answer = http.post(link(mail, "SMS"), data=ONE_CLICK)
    assert "text messages" in answer.text
    mail.act_now()
    assert mail.refused() == {"sms": "unsubscribed"}


def test_who_unsubscribed_may_come_back_and_leave_again(http: TestClient, mail: Mailing) -> None:
    for acts_between in (False, True):
        http.post(link(mail), data=ONE_CLICK)
        if acts_between:
            mail.act_now()
        assert "Subscribe again" in http.get(link(mail)).text
        assert "subscribed again" in http.post(link(mail), data={"action": "resubscribe"}).text
        if acts_between:
            mail.act_now()
        assert "Unsubscribe?" in http.get(link(mail)).text
    mail.act_now()
    assert mail.refused() == {}
    http.post(link(mail), data=ONE_CLICK)
    mail.act_now()
    assert mail.refused() == {"email": "unsubscribed"}


@pytest.mark.parametrize("reason", ["bounced", "manual"])
def test_coming_back_undoes_nothing_else(http: TestClient, mail: Mailing, reason: str) -> None:
    with mail.engine.begin() as conn:
        conn.execute(
            text("INSERT INTO do_not_contact SELECT id, 'email', :reason, NULL, now() FROM contact"), {"reason": reason}
        )
    http.post(link(mail), data={"action": "resubscribe"})
    mail.act_now()
    assert mail.refused() == {"email": reason}


def test_the_page_speaks_french_to_those_who_do(http: TestClient, mail: Mailing) -> None:
    answer = http.post(link(mail), data=ONE_CLICK, headers={"accept-language": "fr-FR,fr;q=0.9,en;q=0.5"})
    assert "Vous êtes désabonné" in answer.text
    assert '<html lang="fr">' in answer.text


@pytest.mark.parametrize("token", ["x", "<b>"])
def test_a_bad_token_is_a_page_that_says_so(http: TestClient, mail: Mailing, token: str) -> None:
    for answer in (http.get(f"/unsubscribe/{token}"), http.post(f"/unsubscribe/{token}", data=ONE_CLICK)):
        assert answer.status_code == 404
        assert "<b>" not in answer.text
    other = http.post(f"/unsubscribe/{mail.token('click', [mail.key, 'email'])}", data=ONE_CLICK)
    assert other.status_code == 404
    assert mail.stored() == []


def test_who_was_erased_is_unsubscribed_for_good(http: TestClient, mail: Mailing) -> None:
    mail.write("DELETE FROM message")
    for answer in (http.get(link(mail)), http.post(link(mail), data=ONE_CLICK)):
        assert answer.status_code == 200
        assert "no longer stored here" in answer.text


def test_without_a_database_nothing_is_changed_and_the_page_says_so(client: Client, mail: Mailing) -> None:
    http = client(engine=connect("postgresql://nobody@127.0.0.1:1/none"))
    answer = http.post(link(mail), data=ONE_CLICK)
    assert answer.status_code == 503
    assert "Nothing was changed" in answer.text


# Categories of emails.


@pytest.fixture
def sorted_mail(mail: Mailing) -> Mailing:
    """A mail of the category News, beside others that have one."""
    mail.write("UPDATE email SET category = 'News'")
    mail.email("sale", category="Offers & <b>sales</b>")
    mail.email("again", category="news")
    mail.email("plain")
    mail.email("draft", category="Secret plans", published=False)
    return mail


def channels(mail: Mailing) -> dict[str, str]:
    mail.act_now()
    return mail.refused()


def test_the_page_offers_the_mails_own_category_first_and_those_that_are_sent(
    http: TestClient, sorted_mail: Mailing
) -> None:
    page = http.get(link(sorted_mail)).text
    assert "Your emails" in page
    assert page.index("News") < page.index("Offers &amp; &lt;b&gt;sales&lt;/b&gt;") < page.index("from all emails")
    assert page.count("<button") == 3
    assert "Secret plans" not in page
    assert "<script" not in page
    assert sorted_mail.stored() == []


def test_one_leaves_a_category_and_takes_it_back(http: TestClient, sorted_mail: Mailing) -> None:
    for _ in range(2):
        page = http.post(link(sorted_mail), data={"action": "unsubscribe", "category": "News"}).text
        assert page.count("You do not receive these emails.") == 1
    (row,) = sorted_mail.stored()
    assert (row.type, row.data) == ("email.unsubscribed", {"message": sorted_mail.key, "channel": "email:news"})
    assert channels(sorted_mail) == {"email:news": "unsubscribed"}
    assert "You do not receive these emails." in http.get(link(sorted_mail)).text
    page = http.post(link(sorted_mail), data={"action": "resubscribe", "category": "News"}).text
    assert "You do not receive these emails." not in page
    assert channels(sorted_mail) == {}


def test_who_leaves_all_and_comes_back_still_refuses_the_category_that_they_left(
    http: TestClient, sorted_mail: Mailing
) -> None:
    http.post(link(sorted_mail), data={"action": "unsubscribe", "category": "Offers & <b>sales</b>"})
    assert "You are unsubscribed" in http.post(link(sorted_mail), data=ONE_CLICK).text
    assert channels(sorted_mail) == {"email": "unsubscribed", "email:offers & <b>sales</b>": "unsubscribed"}
    page = http.post(link(sorted_mail), data={"action": "resubscribe"}).text
    assert "You are subscribed again" in page
    assert page.count("You do not receive these emails.") == 1
    assert channels(sorted_mail) == {"email:offers & <b>sales</b>": "unsubscribed"}


@pytest.mark.parametrize("category", ["Secret plans", "nothing", "x" * 9_000, "\udcff", ""])
@pytest.mark.parametrize("action", ["unsubscribe", "resubscribe"])
def test_a_category_that_is_not_offered_changes_nothing(
    http: TestClient, sorted_mail: Mailing, category: str, action: str
) -> None:
    sent = f"action={action}&category=".encode() + category.encode("utf-8", "surrogateescape")
    answer = http.post(link(sorted_mail), content=sent, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 200
    # Without a name it is about all emails, as ever.
    assert len(sorted_mail.stored()) == (1 if category == "" and action == "unsubscribe" else 0)


def test_text_messages_have_no_categories(http: TestClient, sorted_mail: Mailing) -> None:
    assert "News" not in http.get(link(sorted_mail, "sms")).text
    http.post(link(sorted_mail, "sms"), data={"action": "unsubscribe", "category": "News"})
    assert sorted_mail.stored() == []


def test_the_choice_speaks_french(http: TestClient, sorted_mail: Mailing) -> None:
    page = http.get(link(sorted_mail), headers={"accept-language": "fr"}).text
    assert "Vos e-mails" in page
    assert "Se désabonner de tous les e-mails" in page


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_person_chooses_in_a_browser_without_scripts(
    engine: Engine, sorted_mail: Mailing, browser: Browser, width: int, tmp_path: Path
) -> None:
    server = Server(host="127.0.0.1", port=0)
    server.start(make_app(engine, None, settings_with(), open_to_all=False))
    try:
        context = browser.new_context(
            java_script_enabled=False, locale="en-GB", viewport={"width": width, "height": 800}
        )
        tab = context.new_page()
        tab.goto(server.address + link(sorted_mail))
        tab.get_by_role("button", name="Unsubscribe: News").click()
        tab.get_by_role("button", name="Subscribe again: News").wait_for()
        box = tab.get_by_role("button", name="Unsubscribe from all emails").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        tab.screenshot(path=str(tmp_path / "preferences.png"))
        tab.get_by_role("button", name="Unsubscribe from all emails").click()
        tab.get_by_text("You are unsubscribed").wait_for()
        context.close()
    finally:
        server.stop()
    assert channels(sorted_mail) == {"email": "unsubscribed", "email:news": "unsubscribed"}
