"""What `parcours overview` says of emails and of contacts who wait."""

from __future__ import annotations

import json

from tests.conftest import Run
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
