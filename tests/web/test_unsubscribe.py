"""Leaving a channel by the link of a message, and coming back."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from db.engine import connect
from tests.web.conftest import Client
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
        assert "do not know you" in answer.text


def test_without_a_database_nothing_is_changed_and_the_page_says_so(client: Client, mail: Mailing) -> None:
    http = client(engine=connect("postgresql://nobody@127.0.0.1:1/none"))
    answer = http.post(link(mail), data=ONE_CLICK)
    assert answer.status_code == 503
    assert "nothing is changed" in answer.text
