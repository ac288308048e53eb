"""`/mail`: what was written to files, shown without trusting it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from parcours.web.mail import add_mail
from parcours.workers.delivery.providers.smtp import MailFiles, Sender
from parcours.workers.delivery.render import Mail
from tests.workers.worlds import START

HTML = "<script>alert(1)</script><p>Hello</p>"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    mail = Mail("1-2-3-4", START, None, ("ann@example.com",), "<b>Hi</b>", HTML, "Hello text")
    MailFiles(tmp_path / "mail", Sender("x.example", "us@example.org")).send([mail])
    (tmp_path / "secret.eml").write_text("secret")
    app = FastAPI()
    add_mail(app, tmp_path / "mail")
    return TestClient(app, raise_server_exceptions=False)


def test_the_list_and_an_email(client: TestClient) -> None:
    listed = client.get("/mail")
    assert "&lt;b&gt;Hi&lt;/b&gt;" in listed.text
    assert "<b>Hi" not in listed.text
    name = listed.text.split("href='/mail/")[1].split("'")[0]
    shown = client.get(f"/mail/{name}")
    assert "Hello text" in shown.text
    assert "alert" not in shown.text
    assert "iframe sandbox" in shown.text
    body = client.get(f"/mail/{name}/html")
    assert body.text.strip() == HTML
    assert body.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


@pytest.mark.parametrize("name", ["..%2Fsecret.eml", "%2E%2E/secret.eml", "nothing.eml", "x", "..\\secret.eml"])
def test_nothing_else_can_be_read(client: TestClient, name: str) -> None:
    for path in (f"/mail/{name}", f"/mail/{name}/html"):
        answer = client.get(path)
        assert answer.status_code >= 400
        assert "secret" not in answer.text.replace("secret.eml", "")
