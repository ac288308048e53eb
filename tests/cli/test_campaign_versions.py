"""Plans, versions and rollback from outside, as a person and as a pipeline call them."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.db.reads import overview
from parcours.db.tables import campaigns
from parcours.web.i18n.labels import happened
from tests.conftest import Run

STEPS = """
steps:
  - {step: keep, action: contact.points, with: {points: 1}, after: 2 days}
  - {step: old, action: contact.points, with: {points: 1}, after: 3 days}
"""
BOTH = "campaign: c\npublished: true\nsources: {segments: [news, vip]}" + STEPS
ONE = BOTH.replace("news, vip", "vip")


@pytest.fixture
def file(run: Run, tmp_path: Path) -> Path:
    """Ann and Ben are in the one segment of a campaign, Cleo in the other."""
    people = tmp_path / "people.csv"
    people.write_text("key\nann\nben\ncleo\n", encoding="utf-8")
    found = tmp_path / "c.yaml"
    found.write_text(BOTH, encoding="utf-8")
    for call in (
        ("contacts", "import", people),
        ("segments", "create", "news"),
        ("segments", "create", "vip"),
        ("segments", "add", "news", "ann", "ben"),
        ("segments", "add", "vip", "cleo"),
    ):
        done = run(*call)
        assert done.returncode == 0, done.stderr
    return found


def ok(run: Run, *call: object) -> str:
    done = run(*call)
    assert done.returncode == 0, done.stderr
    return done.stdout


def waiting(run: Run) -> list[tuple[str, str, str]]:
    lines = map(json.loads, ok(run, "log", "c", "--waiting", "--json").splitlines())
    return sorted((line["contact"], line["step"], line["due_at"]) for line in lines)


def test_from_launch_to_rollback(run: Run, file: Path) -> None:
    assert run("campaigns", "plan", file, "--check").returncode == 3
    said = ok(run, "campaigns", "apply", file, "--yes", "--message", "the first", "--inline")
    assert "+ 3 contacts join" in said
    assert said.splitlines()[-1] == "c: 3 added, 0 restarted, 0 removed."
    assert run("campaigns", "plan", file, "--check").returncode == 0
    before = waiting(run)
    file.write_text(ONE.replace("2 days", "5 days").replace("  - {step: old", "  # - {step: old"), encoding="utf-8")
    refused = run("campaigns", "apply", file)
    assert (refused.returncode, refused.stderr.strip()) == (
        1,
        "parcours: 2 contacts leave by this; add --yes to confirm",
    )
    planned = ok(run, "campaigns", "plan", file).splitlines()
    assert [line.strip() for line in planned] == [
        "c: creates version 2",
        "~ sources.segments: - news",
        "~ step keep: after 2 days → 5 days",
        "- step old; 3 contacts wait there; their waits are cancelled",
        "3 contacts wait at keep, whose timing changes; --reschedule moves them",
        "- 2 contacts leave, because they are in none of the segments",
    ]
    ok(run, "campaigns", "apply", file, "--yes", "-m", "only VIPs")
    lines = json.loads(ok(run, "campaigns", "versions", "c", "--json"))
    assert [(line["version"], line["message"], line["present"]) for line in lines] == [
        (2, "only VIPs", True),
        (1, "the first", False),
    ]
    assert all(line["who"] for line in lines)
    assert ok(run, "campaigns", "diff", "c").splitlines() == [
        "version 1 → version 2",
        "  ~ sources.segments: - news",
        "  ~ step keep: after 2 days → 5 days",
        "  - step old",
    ]
    assert json.loads(ok(run, "campaigns", "diff", "c", "2", "1", "--json"))["added"] == ["old"]
    said = ok(run, "campaigns", "rollback", "c", "1", "--yes", "-m", "too few", "--inline")
    assert "+ step old; 3 contacts wait there again" in said
    assert "c is back at version 1, as version 3." in said
    assert waiting(run) == before
    (newest, *_) = json.loads(ok(run, "campaigns", "versions", "c", "--json"))
    assert newest["message"] == "rollback to version 1: too few"
    assert "There was nothing to apply." in ok(run, "campaigns", "rollback", "c", "3", "--yes")


def test_the_message_of_a_change_without_a_version_is_listed(run: Run, file: Path) -> None:
    ok(run, "campaigns", "apply", file, "--yes", "--message", "the first")
    file.write_text(BOTH.replace("published: true", "published: false"), encoding="utf-8")
    ok(run, "campaigns", "apply", file, "--yes", "--message", "a wrong price")
    (line,) = json.loads(ok(run, "campaigns", "versions", "c", "--json"))
    (change,) = line["changes"]
    assert (line["message"], change["what"], change["message"]) == ("the first", "paused", "a wrong price")
    assert ok(run, "campaigns", "versions", "c").splitlines()[-1].endswith(": paused, at version 1: a wrong price")
    activity = json.loads(ok(run, "campaigns", "show", "c", "--json"))["activity"]
    assert [(each["what"], each["message"]) for each in activity][:1] == [("paused", "a wrong price")]


def test_a_version_that_is_not_there_and_a_message_that_is_too_long_are_refused(run: Run, file: Path) -> None:
    ok(run, "campaigns", "apply", file, "--yes")
    gone = run("campaigns", "rollback", "c", "7", "--yes")
    assert (gone.returncode, gone.stderr.strip()) == (
        1,
        "parcours: there is no version '7'; the versions of c are 1 to 1",
    )
    assert run("campaigns", "diff", "c", "0").returncode == 1
    long = run("campaigns", "apply", file, "--yes", "-m", "x" * 501)
    assert (long.returncode, long.stderr.strip()) == (1, "parcours: the message has 501 characters; use at most 500")


def test_publishing_says_how_many_join_and_lets_them_in(run: Run, file: Path) -> None:
    file.write_text(BOTH.replace("published: true", "published: false"), encoding="utf-8")
    said = ok(run, "campaigns", "apply", file, "--yes")
    assert "contacts join and leave once the campaign runs" in said
    assert said.splitlines()[-1] == (
        "c is not running: it is not published. Publish it with `parcours campaigns publish c`."
    )
    published = ok(run, "campaigns", "publish", "c", "--inline").splitlines()
    assert published == ["c is published.", "3 contacts join.", "c: 3 added, 0 restarted, 0 removed."]
    assert ok(run, "campaigns", "publish", "c").splitlines() == ["c was already published."]


def test_a_reason_is_kept_where_no_version_is_made(run: Run, file: Path, engine: Engine) -> None:
    ok(run, "campaigns", "apply", file, "--yes", "--inline")
    file.write_text(ONE.replace("2 days", "5 days"), encoding="utf-8")
    ok(run, "campaigns", "apply", file, "--yes")
    said = ok(run, "campaigns", "apply", file, "--yes", "--reschedule", "-m", "for all")
    assert "whose timing changed before; they are rescheduled" in said
    with engine.connect() as conn:
        rows, _ = overview.activity(conn, campaigns.find(conn, "c").id, None, limit=1)
    assert happened(rows[0].what, rows[0].detail) == "Waiting contacts rescheduled: 3 (for all)"
