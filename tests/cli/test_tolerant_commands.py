"""Commands that go on where one line, one option or one name is wrong, and say so."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.db.tables import outbox
from parcours.domain.messages.circuit import Circuit
from tests.commands import Ran
from tests.conftest import Run
from tests.workers.worlds import START

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
    assert done.stdout.splitlines()[0] == "2 accepted, 0 duplicates, 4 rejected."
    told = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in told] == [f"e.ndjson:{number}" for number in (2, 3, 4, 5)]
    assert "not valid JSON" in told[0]
    assert "nowhere" in told[2]
    done = here("events", "publish", "e.ndjson", "--inline", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["accepted"], said["duplicates"]) == (0, 2)
    assert [each["index"] for each in said["rejected"]] == [1, 2, 3, 4]


def test_events_are_published_around_lines_that_are_none(here: Run, tmp_path: Path) -> None:
    lines = [added("ann"), "hello", "[1]", added("cid", "nowhere"), "{}", *(added(f"c{nth}") for nth in range(250))]
    (tmp_path / "e.ndjson").write_text("\n".join(lines) + "\n")
    (tmp_path / "data_out").mkdir()
    (tmp_path / "data_in").mkdir()
    (tmp_path / ".env").write_text("PARCOURS_EVENTS_URL=filesystem://\n")
    done = here("events", "publish", "e.ndjson")
    assert done.returncode == 1, done.stderr
    # Whether a segment is there, only who takes an event in can tell.
    assert done.stdout.splitlines() == ["252 published, 3 rejected."]
    told = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in told] == [f"e.ndjson:{number}" for number in (2, 3, 5)]
    assert "not valid JSON" in told[0]
    bodies = [json.loads(each.read_text())["body"] for each in (tmp_path / "data_out").iterdir()]
    sent = [value["id"] for body in bodies for value in json.loads(base64.b64decode(body))]
    assert sorted(sent) == sorted(json.loads(line)["id"] for line in lines if "specversion" in line)
    done = here("events", "publish", "e.ndjson", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["published"], [each["index"] for each in said["rejected"]]) == (1, 252, [1, 2, 4])


ODD_LINES = [
    # Ends of lines to Python, and not to JSON.
    '{"specversion": "1.0", "id": "1", "source": "t", "type": "a", "subject": "ann", "data": {"a": "x\u2028\x85y"}}',
    '{"specversion": "1.0", "id": "2", "source": "t", "type": "a", "subject": "ann", "trace": "\\ud83d"}',
    '{"specversion": "1.0", "id": "3", "source": "t", "type": "a", "subject": "ann", "data": {"n": %s}}' % ("9" * 5000),
    '{"a": %s' % ("[" * 50_000),
]


@pytest.mark.parametrize("queue", [False, True])
def test_each_odd_line_of_events_is_judged_alone(here: Run, tmp_path: Path, queue: bool) -> None:
    (tmp_path / "e.ndjson").write_text("\ufeff" + "\r\n".join(ODD_LINES) + "\n")
    (tmp_path / "data_out").mkdir()
    (tmp_path / "data_in").mkdir()
    (tmp_path / ".env").write_text("PARCOURS_EVENTS_URL=filesystem://\n")
    done = here("events", "publish", "e.ndjson", *([] if queue else ["--inline"]))
    assert done.returncode == 1
    assert done.stdout.startswith("2 published, 2 rejected." if queue else "2 accepted, 0 duplicates, 2 rejected.")
    told = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in told] == ["e.ndjson:3", "e.ndjson:4"]
    assert "a number has too many digits; send it as text" in told[0]
    assert "nested too deeply" in told[1]


def test_data_of_an_event_that_is_no_json_is_wrong_usage(here: Run) -> None:
    for data, why in (("[" * 50_000, "it is nested too deeply"), ("9" * 5_000, "a number has too many digits")):
        done = here("events", "publish", "--type", "a", "--contact", "ann", "--inline", "--data", data)
        assert done.returncode == 2
        assert f"--data is not JSON: {why}" in " ".join(done.stderr.replace("│", " ").split())


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
    assert explained("bob") == [
        "bob was never in welcome and is in none of its segments.",
        "Source segment everyone: bob is not in it.",
        "Re-entry is `never`: a contact enters once.",
    ]
    here("campaigns", "pause", "welcome")
    here("segments", "add", "everyone", "ann")
    assert "but is in its source segment everyone" in explained("ann")[1]


def test_explain_says_what_keeps_somebody_out_who_left(here: Run, explained: Callable[[str], list[str]]) -> None:
    here("segments", "add", "everyone", "ann")
    here("update", "--inline")
    here("segments", "remove", "everyone", "ann")
    here("update", "--inline")
    assert any("Re-entry is `never`" in sentence for sentence in explained("ann"))
    here("campaigns", "remove", "welcome", "ann")
    assert any("removed manually" in sentence for sentence in explained("ann"))


def test_the_log_begins_and_ends_where_one_asks(here: Run) -> None:
    here("segments", "add", "everyone", "ann", "bob")
    for day in ("2026-03-02", "2026-03-04"):
        key = "ann" if day == "2026-03-02" else "bob"
        here("update", "--inline", "--contact-id", key, "--now", f"{day}T09:00:00Z")
        here("trigger", "--inline", "--now", f"{day}T09:00:00Z")

    def logged(*options: str) -> list[str]:
        done = here("log", "welcome", "--json", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["contact"] for line in done.stdout.splitlines()]

    assert logged() == ["ann", "bob"]
    assert logged("--limit", "1") == ["ann"]
    assert logged("--since", "2026-03-03") == logged("--since", "2026-03-04T10:00+01:00") == ["bob"]
    assert logged("--since", "2026-03-05") == []
    wrong = here("log", "welcome", "--since", "yesterday")
    assert wrong.returncode == 1
    assert "--since 'yesterday' is not a date or time" in wrong.stderr


def test_contacts_are_listed_page_by_page_and_by_what_they_are_in(here: Run) -> None:
    here("segments", "add", "everyone", "ann")
    here("update", "--inline")

    def listed(*options: object) -> tuple[list[str], int | None]:
        done = here("contacts", "list", "--json", *options)
        assert done.returncode == 0, done.stderr
        page = json.loads(done.stdout)
        return [each["key"] for each in page["contacts"]], page["before"]

    assert listed() == (["bob", "ann"], None)
    keys, before = listed("--limit", 1)
    assert keys == ["bob"]
    assert listed("--limit", 1, "--before", before) == (["ann"], None)
    assert listed("BOB@ex") == (["bob"], None)
    assert listed("--segment", "everyone") == listed("--campaign", "welcome") == (["ann"], None)
    assert here("contacts", "list", "--segment", "nowhere").returncode == 1
    shown = here("contacts", "list", "--limit", 1)
    assert "bob@example.com" in shown.stdout
    assert f"--before {before}" in shown.stdout


def test_the_version_is_told(run: Run) -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "parcours")


def test_a_field_that_nobody_has_is_noted_when_a_template_is_applied(here: Run, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(
        """
- {key: bare, subject: "Welcome, {{ contact.first_name }}!", text: "{{ contact.email }}, {{ contact.company.name }}"}
- {key: kind, subject: "Welcome, {{ contact.first_name | default: 'friend' }}!", text: Hello}
- {key: asks, subject: Hello, text: "{% if contact.first_name %}{{ contact.first_name }}{% endif %}"}
"""
    )
    done = here("emails", "apply", "e.yaml")
    assert done.returncode == 0
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: email bare uses contact.first_name, which no contact has")
    assert "{{ contact.first_name | default: 'friend' }}" in note
    (tmp_path / "p2.csv").write_text("key,first_name\nann,Ann\n")
    here("contacts", "import", "p2.csv")
    assert here("emails", "apply", "e.yaml").stderr == ""


@pytest.mark.parametrize(
    ("circuit", "said"),
    [
        (
            Circuit("open", 5, 1, START, "550 relay denied"),
            f"email: sending is paused; one message is tried at {START:%Y-%m-%d %H:%M:%S} UTC. "
            "Last error: 550 relay denied",
        ),
        (
            Circuit("closed", 2, 0, None, "550 relay denied"),
            "email: the last attempt failed (550 relay denied); sending continues.",
        ),
    ],
)
def test_status_says_whether_a_provider_that_fails_is_sent_to(
    here: Run, engine: Engine, circuit: Circuit, said: str
) -> None:
    with engine.begin() as conn:
        outbox.save_circuit(conn, "email", circuit, now=START)
    assert said in " ".join(here("status").stdout.split())


def test_a_provider_that_is_away_is_told_only_to_commands_whose_messages_wait_for_it(here: Run, engine: Engine) -> None:
    with engine.begin() as conn:
        outbox.save_circuit(
            conn,
            "hooks.example.com",
            Circuit("open", 5, 1, START + timedelta(days=999), "connection refused"),
            now=START,
        )
    here("segments", "add", "everyone", "ann")
    here("update", "--inline")
    done = here("trigger", "--inline")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (("log", "welcome", "--limit", "0"), "must be greater than or equal to 1"),
        (("contacts", "list", "--limit", "many"), "must be a whole number, not 'many'"),
    ],
)
def test_a_wrong_number_of_an_option_is_told_in_plain_words(run: Run, line: tuple[str, ...], why: str) -> None:
    refused = run(*line)
    assert refused.returncode == 2
    assert why in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "words", [("emails", "show", "a\udced"), ("campaigns", "apply", "d.yaml", "--yes", "--message", "a\udced")]
)
def test_an_argument_that_is_not_utf8_gets_a_sentence(here: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "d.yaml").write_text(CAMPAIGN.replace("point,", "points,"))
    done = here(*words)
    assert (done.returncode, done.stderr) == (
        1,
        "parcours: an argument contains a character that is not valid UTF-8; type it again\n",
    )


def test_one_member_is_not_told_of_as_many(here: Run, tmp_path: Path) -> None:
    assert here("contacts", "create", "one").returncode == 0
    assert here("segments", "create", "single").returncode == 0
    assert here("segments", "add", "single", "one").returncode == 0
    (tmp_path / "d.yaml").write_text(CAMPAIGN.replace("welcome", "single").replace("everyone", "single"))
    assert here("campaigns", "apply", "d.yaml", "--yes", "--inline").returncode == 0
    (tmp_path / "d.yaml").write_text((tmp_path / "d.yaml").read_text().replace("step: point,", "step: other,"))
    said = here("campaigns", "plan", "d.yaml").stdout
    assert "  1 existing member does not start other; use --backfill to start it for them\n" in said
