"""`/mail`: what was written to files, shown without trusting it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from parcours.web.mail import add_mail
from parcours.workers.delivery.providers.smtp import MailFiles, Sender
from parcours.workers.delivery.render import Mail
from tests.web.conftest import Client
from tests.workers.worlds import START

HTML = "<script>alert(1)</script><p>Hello</p>"


@pytest.fixture
def mailbox(client: Client, tmp_path: Path) -> TestClient:
    mail = Mail("1-2-3-4", START, None, ("ann@example.com",), "<b>Hi</b>", HTML, "Hello text")
    MailFiles(tmp_path / "mail", Sender("x.example", "us@example.org")).send([mail])
    (tmp_path / "secret.eml").write_text("secret")
    http = client()
    assert isinstance(http.app, FastAPI)
    add_mail(http.app, tmp_path / "mail", "http://127.0.0.1:8080")
    return http


def test_the_list_and_an_email(mailbox: TestClient) -> None:
    listed = mailbox.get("/mail")
    assert "No mail server is set" in listed.text
    assert "&lt;b&gt;Hi&lt;/b&gt;" in listed.text
    assert "<b>Hi" not in listed.text
    name = listed.text.split('href="/mail/')[1].split('"')[0]
    shown = mailbox.get(f"/mail/{name}")
    assert "Hello text" in shown.text
    assert "alert" not in shown.text
    assert "allow-scripts" not in shown.text
    assert "Showing this email counts as an open" in shown.text
    body = mailbox.get(f"/mail/{name}/html")
    assert body.text.strip() == f'<base target="_blank">{HTML}'
    rules = [each.strip() for each in body.headers["Content-Security-Policy"].split(";")]
    assert rules[:2] == ["sandbox allow-popups allow-popups-to-escape-sandbox", "default-src 'none'"]
    assert "img-src data: http://127.0.0.1:8080/t/o/" in rules


@pytest.mark.parametrize("name", ["..%2Fsecret.eml", "%2E%2E/secret.eml", "nothing.eml", "x", "..\\secret.eml"])
def test_nothing_else_can_be_read(mailbox: TestClient, name: str) -> None:
    for path in (f"/mail/{name}", f"/mail/{name}/html"):
        answer = mailbox.get(path)
        assert answer.status_code >= 400
        assert "secret" not in answer.text.replace("secret.eml", "")


def test_every_page_leads_to_the_mailbox_where_mails_are_caught(mailbox: TestClient, client: Client) -> None:
    assert 'href="/mail"' in mailbox.get("/campaigns").text
    assert 'href="/mail"' not in client().get("/campaigns").text
    page = mailbox.get("/mail", headers={"accept-language": "fr"}).text
    assert "<main" in page
    assert "Boîte d’envoi" in page
    assert "Aucun serveur de messagerie n’est configuré" in page
