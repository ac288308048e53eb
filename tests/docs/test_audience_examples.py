"""The examples of welcome, win-back, lead score and mailing do what their pages say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from parcours.testing import Sandbox, sandbox
from tests.conftest import ROOT, Run

EXAMPLES = ROOT / "examples"


def utc(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.fixture
def made(engine: Engine) -> Iterator[Sandbox]:
    url = engine.url.render_as_string(hide_password=False)
    with sandbox(url, start=utc("2026-11-01T12:00")) as found:
        yield found


def put(made: Sandbox, name: str) -> None:
    """Apply all files of an example, as its page says."""
    folder = EXAMPLES / name
    made.emails(folder / "emails.yaml")
    if (folder / "segment.yaml").exists():
        made.segments(folder / "segment.yaml")
    made.campaign(folder / "campaign.yaml")


def tags(made: Sandbox, contact: str) -> set[str]:
    with made.engine.connect() as conn:
        rows = conn.execute(
            text("SELECT tag FROM contact_tag JOIN contact ON contact.id = contact_id WHERE key = :key"),
            {"key": contact},
        )
        return set(rows.scalars())


@pytest.mark.parametrize("name", ["welcome", "win-back", "lead-score", "mailing"])
def test_the_lines_on_the_page_of_an_example_work(run: Run, name: str) -> None:
    folder = EXAMPLES / name
    page = (folder / "README.md").read_text(encoding="utf-8")
    if "contacts create" not in page:
        made = ("events", "publish", "--inline", "--type", "contact.changed", "--contact", "ann@example.com")
        assert run(*made, "--data", "{}").returncode == 0
    lines = page.split("```bash\n")[1].split("```")[0].splitlines()
    assert lines
    for line in lines:
        words = [str(folder / word) if word.endswith(".yaml") else word for word in _words(line)]
        done = run(*words[1:])
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def _words(line: str) -> list[str]:
    before, quote, after = line.partition(" '")
    return before.split() + ([after.removesuffix("'")] if quote else [])


def test_half_of_the_contacts_get_another_subject_and_who_does_not_open_gets_first_steps(made: Sandbox) -> None:
    put(made, "welcome")
    names = [f"c{number}" for number in range(20)]
    for name in names:
        made.contact(name, segment="newsletter", first_name=name.upper())
    subjects = {each.content.subject.replace(each.contact.upper(), "X") for each in made.sent()}
    assert subjects == {"Welcome, X!", "X, where would you like to start?"}
    made.advance(days=1)
    made.event("email.opened", "c1", email="welcome")
    made.advance(days=4)
    assert [each.content.subject for each in made.sent("c1")][1:] == ["The guide"]
    assert [each.content.subject for each in made.sent("c2")][1:] == ["Three first steps"]


def test_who_was_quiet_for_90_days_is_written_to_and_who_comes_back_is_marked(made: Sandbox) -> None:
    put(made, "win-back")
    for name in ("ann", "ben", "eve"):
        made.contact(name, first_name=name)
        made.event("page.hit", name, url="https://www.example.com/")
    made.advance(days=80)
    made.event("page.hit", "eve", url="https://www.example.com/")
    assert made.sent() == []
    made.advance(days=11)
    assert sorted(each.contact for each in made.sent()) == ["ann", "ben"]
    made.advance(days=3)
    made.event("page.hit", "ann", url="https://www.example.com/new")
    made.advance(days=12)
    assert (tags(made, "ann"), tags(made, "ben"), tags(made, "eve")) == ({"back"}, {"silent"}, set())
    made.advance(days=70)
    assert [each.contact for each in made.sent()].count("eve") == 1


def test_enough_points_tell_sales_and_the_owner_once_and_a_customer_leaves(made: Sandbox) -> None:
    put(made, "lead-score")
    made.campaign(EXAMPLES / "lead-score" / "points.yaml")
    for name in ("ann", "ben"):
        made.contact(name, segment="leads", known={"owner": "sales@example.com"}, first_name=name)
    for _ in range(2):
        made.event("page.hit", "ann", url="https://www.example.com/pricing")
        made.advance(minutes=5)
    assert made.sent() == []
    made.event("asset.downloaded", "ann", asset="whitepaper")
    made.advance(minutes=5)
    made.event("page.hit", "ann", url="https://www.example.com/pricing")
    made.advance(days=1)
    assert sorted(each.channel for each in made.sent()) == ["email", "webhook"]
    assert "60 points" in next(each.content.subject for each in made.sent() if each.channel == "email")
    assert tags(made, "ann") == {"hot"}
    made.event("contact.changed", "ben", tags=["customer"])
    for _ in range(4):
        made.event("asset.downloaded", "ben", asset="whitepaper")
    made.advance(days=1)
    assert len(made.sent()) == 2


def test_the_mailing_goes_once_to_who_is_in_france_and_has_more_than_50_points(made: Sandbox) -> None:
    for name, country, points in (("ann", "FR", 51), ("ben", "FR", 50), ("eve", "BE", 90)):
        made.contact(name, country=country)
        with made.engine.begin() as conn:
            conn.execute(text("UPDATE contact SET points = :points WHERE key = :key"), {"key": name, "points": points})
    for event, change in (("bonus", 60), ("malus", -60)):
        head = f"format: 2\ncampaign: {event}\nreentry: always\nsources: {{events: [{{type: got.{event}}}]}}\nsteps:\n"
        made.campaign(f"{head}  - {{step: give, action: contact.points, with: {{points: {change}}}}}\n")
    put(made, "mailing")
    assert [each.contact for each in made.sent()] == ["ann"]
    made.event("got.bonus", "ben")
    made.event("got.malus", "ann")
    made.event("got.bonus", "ann")
    made.advance(days=2)
    assert [each.contact for each in made.sent()] == ["ann", "ben"]
