"""Commands that go on where one line, one option or one name is wrong, and say so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Ran
from tests.conftest import Run

CAMPAIGN = """
campaign: welcome
published: true
sources: {segments: [everyone]}
steps:
  - {step: point, action: contact.points, with: {points: 1}}
"""


@pytest.fixture
def here(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "c.yaml").write_text(CAMPAIGN)
    (tmp_path / "p.csv").write_text("key,email\nann,ann@example.com\nbob,bob@example.com\n")
    for line in (
        ("segments", "create", "everyone"),
        ("contacts", "import", "p.csv"),
        ("campaigns", "apply", "c.yaml", "--yes"),
    ):
        done = run(*line)
        assert done.returncode == 0, done.stderr
    return run


def added(key: str, segment: str = "everyone") -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{key}-{segment}",
            "source": "test",
            "type": "segment.contact_added",
            "subject": key,
            "data": {"segment": segment},
        }
    )


def test_events_are_taken_in_around_lines_that_are_none(here: Run, tmp_path: Path) -> None:
    lines = [added("ann"), "hello", "[1]", added("bob", "nowhere"), "{}", added("bob")]
    (tmp_path / "e.ndjson").write_text("\n".join(lines) + "\n")
    done = here("events", "publish", "e.ndjson", "--inline")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "2 accepted, 0 known already, 4 rejected."
    told = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in told] == [f"e.ndjson:{number}" for number in (2, 3, 4, 5)]
    assert "not JSON" in told[0]
    assert "nowhere" in told[2]
    done = here("events", "publish", "e.ndjson", "--inline", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["accepted"], said["duplicates"]) == (0, 2)
    assert [each["index"] for each in said["rejected"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("command", ["update", "trigger", "mautic:campaigns:update", "mautic:campaigns:trigger"])
@pytest.mark.parametrize(
    "options",
    [
        ["-n", "-v", "--no-ansi", "--env=prod"],
        ["--no-interaction", "-vv", "--ansi", "-e", "prod"],
        ["-vvv", "--no-debug", "-eprod"],
        ["--env", "prod", "-q"],
    ],
)
def test_the_options_of_a_crontab_of_the_reference_engine_are_taken(
    here: Run, command: str, options: list[str]
) -> None:
    done = here(command, "--inline", *options, "-i", "welcome")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["update", "trigger"])
def test_a_campaign_to_leave_out_that_is_gone_stops_nobody(here: Run, command: str) -> None:
    here("segments", "add", "everyone", "ann")
    here("campaigns", "clone", "welcome", "other")
    here("campaigns", "delete", "other", "--yes")
    done = here(command, "--inline", "--json", "-d", "other", "-d", "never")
    assert done.returncode == 0
    assert [each["campaign"] for each in json.loads(done.stdout)["campaigns"]] == ["welcome"]
    assert [line.split("'")[1] for line in done.stderr.splitlines()] == ["other", "never"]


@pytest.fixture
def explained(here: Run) -> Callable[[str], list[str]]:
    def explanation(key: str) -> list[str]:
        done: Ran = here("explain", "welcome", key, "--json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout)["explanation"])

    return explanation


def test_explain_says_that_a_source_has_somebody_who_is_not_in_yet(
    here: Run, explained: Callable[[str], list[str]]
) -> None:
    assert explained("bob") == ["bob was never in welcome, and is in none of its segments."]
    here("campaigns", "pause", "welcome")
    here("segments", "add", "everyone", "ann")
    assert "but a source has it (segment everyone)" in explained("ann")[1]


def test_explain_says_what_keeps_somebody_out_who_left(here: Run, explained: Callable[[str], list[str]]) -> None:
    here("segments", "add", "everyone", "ann")
    here("update", "--inline")
    here("segments", "remove", "everyone", "ann")
    here("update", "--inline")
    assert any("Re-entry is never" in sentence for sentence in explained("ann"))
    here("campaigns", "remove", "welcome", "ann")
    assert any("removed by hand" in sentence for sentence in explained("ann"))
