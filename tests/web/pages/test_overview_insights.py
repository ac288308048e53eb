"""What `parcours overview` says of emails and of contacts who wait."""

from __future__ import annotations

import json
import re

from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.workers.worlds import World

TREE = """
- step: hello
  action: email.send
  with: {email: hello}
  then: [{step: news, action: email.send, with: {email: news}}]
- step: later
  action: contact.points
  with: {points: 1}
  after: 1 day
- step: visited
  decision: page.hit
  with: {url: "*"}
"""


def mailed(world: World, size: int = 120) -> None:
    """Everybody got both emails; all opened the first, nobody the second. Everybody waits at two other steps."""
    for key in ("hello", "news"):
        world.email(key)
    world.crowd(size, segment="everyone")
    world.campaign(TREE)
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = created_at")
    world.write("UPDATE message SET opened_at = sent_at WHERE template = 'hello'")


def test_the_worst_email_and_who_is_stuck_are_printed(world: World, run: Run) -> None:
    mailed(world)
    # HTML is what makes openings count.
    world.write("UPDATE email SET html = '<p>Hello'")
    found = json.loads(run("overview", "c", "--json").stdout)
    assert found["emails"]["compared_by"] == "opened"
    (worst,) = found["emails"]["worst"]
    assert (worst["email"], worst["steps"], worst["delivered"], worst["rate"], worst["others_rate"]) == (
        "news",
        ["news"],
        120,
        0.0,
        1.0,
    )
    waits = {each["step"]: each for each in found["waits"]}
    assert list(waits) == ["later", "visited"]
    # It was due long before today, and no worker runs.
    assert (waits["later"]["late"], waits["later"]["planned"]) == (120, 0)
    assert [each["cause"] for each in waits["later"]["causes"]] == ["no_worker"]
    assert (waits["visited"]["answer"], waits["visited"]["causes"]) == (120, [])
    assert waits["visited"]["median_since"] == waits["visited"]["oldest_since"] == "2026-06-01T09:00:00Z"
    printed = run("overview", "c").stdout
    assert "worst email: news: opened by 0.0 % of 120, the others by 100.0 %." in printed
    assert "longer than planned at later: 120 contacts due for more than 15 minutes: no worker is running" in printed
    assert "no answer yet at visited: 120 contacts, half of them since 2026-06-01" in printed


def test_nothing_is_said_of_emails_where_there_are_not_two(world: World, run: Run) -> None:
    world.campaign("- {step: one, action: contact.points, with: {points: 1}}")
    assert "email:" not in run("overview", "c").stdout
    assert json.loads(run("overview", "c", "--json").stdout)["emails"]["worst"] == []


def test_a_campaign_that_is_switched_off_is_the_cause(world: World, run: Run) -> None:
    mailed(world, 2)
    world.publish(False)
    assert (
        "longer than planned at later: 2 contacts due, but the campaign is not running: it is not published"
        in run("overview", "c").stdout
    )


def card(page: str, id_: str) -> str:
    found = re.search(rf'(?s)id="{id_}".*?</(?:div|table)>', page)
    assert found, page
    return text_of(found[0]).split("> ", 1)[-1]


def test_the_page_says_which_email_is_worst_and_why(client: Client, world: World) -> None:
    mailed(world)
    world.write("UPDATE email SET html = '<p>Hello', subject = 'The news' WHERE key = 'news'")
    world.write("UPDATE email SET html = '<p>Hello' WHERE key = 'hello'")
    world.write("UPDATE message SET bounced_at = sent_at WHERE template = 'news' AND contact_id <= 2")
    page = client().get("/campaigns/c").text
    assert "The news Opened by 0% of 118, the others by 100%. Bounced 2 (1.7%) · Unsubscribed 0 (0%)" in card(
        page, "weak"
    )
    assert '<a href="/emails/news">The news</a>' in page
    http = client()
    http.cookies.set("parcours_language", "fr")
    assert "Taux d’ouverture : 0 % sur 118, contre 100 % pour les autres." in text_of(http.get("/campaigns/c").text)


def test_the_page_says_why_no_email_is_named(client: Client, world: World) -> None:
    mailed(world, 3)
    assert "Not enough data yet: emails are compared once two of them were delivered 100 times." in text_of(
        client().get("/campaigns/c").text
    )
    world.campaign("- {step: one, action: contact.points, with: {points: 1}}", key="d")
    assert "Worst email" not in client().get("/campaigns/d").text


def test_the_page_says_where_contacts_are_longer_than_planned_and_where_none_answered(
    client: Client, world: World
) -> None:
    mailed(world, 12)
    page = client().get("/campaigns/c").text
    stuck = card(page, "stuck")
    assert "+1 point 12 contacts are here longer than planned. The first one has waited for" in stuck
    assert "12 are due for more than 15 minutes: no worker is running. Show the status" in stuck
    assert "No answer yet Visits * 12 contacts have not answered yet. Half of them have waited for" in stuck
    assert "There is no deadline." in stuck
    table = card(page, "waits-table")
    assert re.search(r"\+1 point 12 \d+ days \d+ days longer than planned", table), table
    assert re.search(r"Visits \* 12 \d+ days \d+ days no answer yet", table), table


def test_the_deadline_of_a_decision_that_says_none_is_that_of_its_no_branch(client: Client, world: World) -> None:
    act = "action: contact.points, with: {points: 1}"
    late = f"{{step: late, {act}, after: 900 days}}"
    last = f"{{step: last, {act}, after: 950 days}}"
    world.crowd(12, segment="everyone")
    for key, branch in (("one", late), ("two", f"{late}, {last}")):
        world.campaign(f"- {{step: seen, decision: page.hit, with: {{url: '*'}}, no: [{branch}]}}", key=key)
    world.run()
    one, two = (card(client().get(f"/campaigns/{key}").text, "stuck") for key in ("one", "two"))
    assert "Without an answer, they go on with the “no” branch: after 900 days." in one
    assert "Without an answer, they go on when the first step of the “no” branch is due." in two
    assert "There is no deadline." not in one + two


def test_nobody_stuck_is_said(client: Client, world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign("- {step: far, action: contact.points, with: {points: 1}, at: '2199-01-01 09:00'}")
    world.run()
    assert card(client().get("/campaigns/c").text, "stuck").strip() == "No contact is at a step longer than planned."
    world.campaign("- {step: now, action: contact.points, with: {points: 1}}", key="d", segments=("nobody",))
    assert "No contact is waiting." in client().get("/campaigns/d").text


def test_what_is_said_follows_while_the_page_is_open(client: Client, world: World) -> None:
    mailed(world, 12)
    live = client().get("/campaigns/c/live?tab=path").text
    for id_ in ("weak", "stuck", "waits-table"):
        assert re.search(rf'id="{id_}"[^>]* data-live', live)
