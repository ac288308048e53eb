"""The month ahead of a campaign as a picture, and one contact tried, over HTTP."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from parcours.db.partitions import ensure_partitions
from parcours.web.pages import ahead
from tests.web.conftest import Client
from tests.workers.worlds import START, World

TREE = """
- step: hello
  name: Say hello
  action: email.send
  with: {email: hello}
  after: 1 day
  then:
    - step: opened
      decision: email.open
      within: 2 days
      yes: [{step: warm, action: contact.points, with: {points: 5}}]
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("ann", "ben", timezone="Europe/Paris")
    made.email("hello")
    made.campaign(TREE)
    return made


def words_of(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|svg)\b.*?</\1>", " ", page))))


def test_the_month_ahead_is_a_picture_with_a_table_beside_it(world: World, client: Client, engine: Engine) -> None:
    browser = client()
    asked = browser.get("/campaigns/c/ahead")
    assert asked.status_code == 200
    assert 'name="source-0"' in asked.text
    csrf = re.search(r'name="csrf" value="([^"]+)"', asked.text)
    assert csrf is not None
    shown = browser.post("/campaigns/c/ahead", data={"csrf": csrf[1], "source-0": "3"})
    assert shown.status_code == 200, shown.text
    assert re.search(
        r'(?s)<svg class="chart-svg" role="img" aria-labelledby="chart-title chart-desc".*</svg>', shown.text
    )
    assert "style=" not in shown.text
    assert "<script>" not in shown.text
    table = re.search(r'(?s)<table class="table compact" id="chart-table".*?</table>', shown.text)
    assert table is not None
    # It begins in the middle of a day, and ends in that of the last; nobody is missing.
    came = [int(n) for n in re.findall(r"<td[^>]*>(\d+)</td>\s*<td[^>]*>\d+</td>\s*<td[^>]*>\d+</td>", table[0])]
    assert len(came) in {ahead.DAYS, ahead.DAYS + 1}
    assert sum(came) == 3 * ahead.DAYS
    words = words_of(shown.text)
    assert "Contacts and messages by day" in words
    assert "Nothing: no frequency cap, quiet hours, limit or rate is reached." in words
    assert "Opens the email: no contact has answered yet" in words
    french = browser.post(
        "/campaigns/c/ahead", data={"csrf": csrf[1], "source-0": "1"}, headers={"Accept-Language": "fr"}
    )
    assert "Contacts et messages par jour" in words_of(french.text)
    for number in ("0", "-1", "many", "9999"):
        refused = browser.post("/campaigns/c/ahead", data={"csrf": csrf[1], "source-0": number})
        assert (refused.status_code, "Enter " in words_of(refused.text)) == (422, True)
    with ahead._alone():
        busy = browser.post("/campaigns/c/ahead", data={"csrf": csrf[1], "source-0": "1"})
    assert (busy.status_code, "Another simulation is running." in words_of(busy.text)) == (503, True)
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM contact")).scalar_one() == 2
        assert conn.execute(text("SELECT count(*) FROM outcome")).scalar_one() == 0


def test_one_contact_is_tried_in_its_own_time(world: World, client: Client) -> None:
    browser = client()
    page = browser.get("/campaigns/c/try").text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf is not None
    shown = browser.post("/campaigns/c/try", data={"csrf": csrf[1], "contact": "ann"})
    words = words_of(shown.text)
    assert shown.status_code == 200
    assert "What would happen to ann" in words
    assert "joins the campaign" in words
    assert re.search(r"Say hello (done|skipped)", words), words
    unknown = browser.post("/campaigns/c/try", data={"csrf": csrf[1], "contact": "<b>"})
    assert unknown.status_code == 422
    assert "No contact has the key &lt;b&gt;." in unknown.text
