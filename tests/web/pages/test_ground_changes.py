"""A draft that is open while what it stands on changes: its pages say what happened, and nothing of it is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import text

from parcours.db.tables import campaigns
from parcours.producers.files.campaigns import write
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder, file_of, world
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import START, World

__all__ = ["world"]

HTML = {"accept": "text/html"}
STEPS = [
    {"step": "hello", "action": "contact.points", "with": {"points": 1}},
    {"step": "mail", "action": "email.send", "with": {"email": "hello"}},
    {"step": "sent", "decision": "form.submit", "with": {"form": "signup"}, "within": "1 day"},
]
PATHS = (
    "",
    "?settings=1",
    "?step=hello",
    "?step=mail",
    "?yaml=1",
    "?add=1",
    "?q=a",
    "?help=1",
    "?moving=hello",
    "/review",
)
OPERATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("insert", {"type": "action contact.points", "parent": "hello", "branch": "then"}),
    ("set", {"step": "hello", "name": "Typed by hand", "with-points": "2"}),
    ("settings", {"name": "Typed by hand", "segments": "everyone"}),
    ("move", {"step": "hello", "parent": "", "nth": "2"}),
    ("copy", {"step": "hello"}),
    ("up", {"step": "mail"}),
    ("rename", {"step": "hello", "key": "hallo"}),
    ("redirect", {"from": "a", "to": "hello"}),
    ("choose", {"choice": "backfill"}),
    ("undo", {}),
    ("redo", {}),
    ("rebase", {}),
    ("remove", {"step": "hello"}),
    ("yaml", {"text": "steps: [] # Typed by hand"}),
)


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    world.email("hello")
    made = Builder(client(), "/campaigns/c/build")
    made.does("yaml", text=write({"sources": {"segments": ["everyone"]}, "steps": STEPS}))
    return made


def sql(world: World, statement: str) -> None:
    with world.engine.begin() as conn:
        conn.execute(text(statement))


def test_a_draft_cannot_be_applied_that_names_what_was_deleted_since_its_review(builder: Builder, world: World) -> None:
    builder.does("remove", step="sent")
    review = builder.review()
    (seen,) = re.findall(r'name="seen" value="([^"]+)"', review.text)
    sql(world, "DELETE FROM email")
    answer = builder.http.post(f"{builder.base}/review", data={"csrf": token_of(review), "seen": seen})
    assert answer.status_code == 409
    said = text_of(answer.text)
    assert "Check the changes again." in said
    assert "There is no email 'hello'; choose another or create it." in said


def test_the_draft_of_a_campaign_that_was_deleted_stays_and_makes_it_again(builder: Builder, world: World) -> None:
    builder.does("remove", step="sent")
    builder.does("set", step="hello", name="Typed before", when="now", **{"with-points": "2"})
    before = file_of(world)
    with world.engine.begin() as conn:
        campaigns.delete(conn, campaigns.find(conn, "c").id, now=START)
    answer = builder.http.get(f"{builder.base}?step=mail", headers=HTML)
    assert answer.url.path.startswith("/drafts/")
    assert "The campaign was deleted since you began this draft." in text_of(answer.text)
    listed = builder.http.get("/drafts").text
    assert f'href="{answer.url.path}"' in listed
    # A page that is open still has its old address.
    (revision,) = set(re.findall(r'data-revision="(\d+)"', answer.text))
    data = {"csrf": token_of(answer), "revision": revision, "do": "set", "step": "mail", "name": "Typed after"}
    saved = builder.http.post(builder.base, data={**data, "with-email": "hello", "when": "now"}, headers=HTML)
    assert "Changed: Typed after" in text_of(saved.text)
    builder.base = str(answer.url.path)
    assert "Typed before" in builder.page()
    assert before["steps"][0]["name"] == "Typed before"
    said = text_of(builder.apply().text)
    assert "was created" in said
    with world.engine.connect() as conn:
        assert campaigns.find(conn, "c").version == 2
    assert builder.http.get(answer.url.path, headers=HTML).status_code == 404


def test_whoever_has_no_draft_of_a_deleted_campaign_is_told_no_command(builder: Builder, world: World) -> None:
    builder.does("discard")
    with world.engine.begin() as conn:
        campaigns.delete(conn, campaigns.find(conn, "c").id, now=START)
    for path in (
        "/campaigns/c/build",
        "/campaigns/c",
        "/segments/none",
        "/contacts/none",
        "/emails/none",
        "/forms/none",
    ):
        answer = builder.http.get(path, headers=HTML)
        assert answer.status_code == 404
        assert "parcours " not in text_of(answer.text), path
        french = builder.http.get(path, headers={**HTML, "accept-language": "fr"})
        assert "there is no" not in french.text.lower(), path


CHANGES = {
    "an email is deleted": "DELETE FROM email",
    "a segment is private": "UPDATE segment SET public = false",
    "it is paused": "UPDATE campaign SET published = false",
    "the draft is deleted": "DELETE FROM draft",
    "the campaign is deleted": "UPDATE campaign SET deleted_at = now()",
    "it was stored by a later release": 'UPDATE campaign_version SET definition = \'{"format": 99, "steps": 5}\'',
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_page_and_operation_of_a_draft_answers_when_something_changed(
    builder: Builder, world: World, change: str
) -> None:
    page = builder.http.get(builder.base)
    csrf = token_of(page)
    (revision,) = set(re.findall(r'data-revision="(\d+)"', page.text))
    sql(world, change)
    for path in PATHS:
        answer = builder.http.get(builder.base + path, headers=HTML)
        assert answer.status_code in (200, 409), (path, text_of(answer.text))
    for path in ("/preview", "/count?rule=with-rule", "/review"):
        answer = builder.http.post(builder.base + path, data={"csrf": csrf, "step": "hello"}, headers=HTML)
        assert answer.status_code in (200, 204, 409), (path, text_of(answer.text))
    for do, fields in OPERATIONS:
        for seen in (revision, "1", "9999"):
            data = {"csrf": csrf, "revision": seen, "do": do, **fields}
            answer = builder.http.post(builder.base, data=data, headers=HTML)
            assert answer.status_code in (200, 409, 422), (do, text_of(answer.text))
        now = re.findall(r'data-revision="(\d+)"', builder.http.get(builder.base).text)
        revision = now[0] if now else revision
