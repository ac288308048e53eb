"""The page of the HTTP interface."""

from __future__ import annotations

import re

from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of


def test_every_operation_is_there_and_nothing_comes_from_elsewhere(client: Client) -> None:
    http = client(open_to_all=False)
    page = http.get("/api/docs")
    assert page.status_code == 200
    words = text_of(page.text)
    for path, methods in http.get("/api/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in words
    assert "specversion" in words
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page.text) == []
    assert "unsafe" not in page.headers["content-security-policy"]
