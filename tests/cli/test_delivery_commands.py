"""Messages leave from the command: `--inline`, without a broker, into files of the home."""

import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Run

CAMPAIGN = """
campaign: welcome
published: true
sources: {segments: [everyone]}
steps:
  - {step: hello, action: email.send, with: {email: hello}}
  - step: paid
    decision: event.happened
    with: {type: order.paid}
    yes: [{step: thanks, action: email.send, with: {email: thanks}}]
"""
EMAILS = """
- {key: hello, subject: "Hi {{ contact.first_name }}", text: Hello, variants: [{name: b, weight: 100, subject: B}]}
- {key: thanks, subject: Thanks, html: "<p>{{ campaign.name }}, {{ step.key }}</p>"}
"""


@pytest.fixture
def here(run: Run, tmp_path: Path) -> Run:
    for name, content in (("c.yaml", CAMPAIGN), ("e.yaml", EMAILS), ("p.csv", "key,email\nann,ann@example.com\n")):
        (tmp_path / name).write_text(content)
    run("segments", "create", "everyone")
    run("contacts", "import", "p.csv", "--segment", "everyone")
    for command in (("emails", "apply", "e.yaml"), ("campaigns", "apply", "c.yaml", "--yes"), ("update", "--inline")):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    return run


def subjects(folder: Path) -> list[str]:
    files = sorted((folder / "mail").glob("*.eml"))
    return [str(message_from_bytes(file.read_bytes(), policy=policy.default)["Subject"]) for file in files]


def test_an_inline_trigger_sends_what_is_due_once(here: Run, tmp_path: Path) -> None:
    done = here("trigger", "--inline")
    assert "Messages: 1 sent." in done.stdout
    assert subjects(tmp_path) == ["B"]
    assert "Messages" not in here("trigger", "--inline").stdout
    assert subjects(tmp_path) == ["B"]
    (line,) = [json.loads(each) for each in here("log", "welcome", "--json").stdout.splitlines()]
    assert line["detail"]["message"].items() >= {"channel": "email", "state": "sent", "variant": "b"}.items()
    status = json.loads(here("status", "--json").stdout)
    assert (status["outbox"], status["outbox_oldest_due_seconds"]) == ({"sent": 1}, None)
    assert status["outbox_channels"] == [{"channel": "email", "state": "sent", "messages": 1, "about": False}]
    assert json.loads(here("overview", "welcome", "--json").stdout)["emails_sent"] == 1


def test_an_inline_event_sends_what_follows_from_it(here: Run, tmp_path: Path) -> None:
    here("trigger", "--inline")
    done = here("events", "publish", "--type", "order.paid", "--contact", "ann", "--inline")
    assert done.returncode == 0, done.stderr
    assert subjects(tmp_path) == ["B", "Thanks"]


def test_an_inline_trigger_as_of_an_instant_sends_as_of_it(here: Run, tmp_path: Path) -> None:
    assert here("trigger", "--inline", "--now", "2031-01-01T09:00:00Z").returncode == 0
    assert subjects(tmp_path) == ["B"]
    assert [name.name[:8] for name in (tmp_path / "mail").iterdir()] == ["20310101"]


def test_what_was_given_up_is_listed_and_put_back(here: Run, engine: Engine) -> None:
    # As an earlier version let it in.
    with engine.begin() as conn:
        conn.execute(text("UPDATE contact SET email = 'nowhere' WHERE key = 'ann'"))
    done = here("trigger", "--inline")
    assert "Messages: 1 failed." in done.stdout
    assert "Run `parcours outbox failed` to see why" in done.stderr
    (failed,) = json.loads(here("outbox", "failed", "--json").stdout)
    assert (failed["contact"], failed["step"], failed["error"]) == ("ann", "hello", "'nowhere' is not an email address")
    assert here("outbox", "retry", failed["key"]).stdout.startswith("1 messages returned to the outbox")
    assert json.loads(here("status", "--json").stdout)["outbox"] == {"queued": 1}
    unknown = here("outbox", "retry", "1-2-3-4")
    assert (unknown.returncode, "there is no failed message" in unknown.stderr) == (1, True)
    assert here("outbox", "retry").returncode == 2


def test_a_wrong_url_is_said_and_stops_mail_alone(here: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PARCOURS_SMTP_URL=smtp://user:hunter2@x:port\n")
    done = here("trigger", "--inline")
    assert done.returncode == 0
    assert "email messages stay in the outbox: PARCOURS_SMTP_URL" in done.stderr
    assert "hunter2" not in done.stderr
    assert json.loads(here("status", "--json").stdout)["outbox"] == {"queued": 1}


def test_the_secret_of_webhooks_is_the_same_every_time_and_not_the_installation_s(here: Run) -> None:
    first, second = (here("webhooks", "secret").stdout.strip() for _ in range(2))
    assert first == second
    assert len(first) == 64


def test_a_step_is_tried_again_by_command(here: Run, engine: Engine) -> None:
    here("trigger", "--inline")
    with engine.begin() as conn:
        conn.execute(text("UPDATE outcome SET result = 'failed', detail = '{\"error\": \"away\"}'"))
        conn.execute(text("UPDATE step_count SET result = 'failed'"))
    assert "0 contacts will be tried again." in here("campaigns", "retry", "welcome", "hello", "--reason", "x").stdout
    assert "1 contact will be tried again." in here("campaigns", "retry", "welcome", "hello").stdout
    assert "hello" in here("log", "welcome", "--waiting").stdout
    wrong = here("campaigns", "retry", "welcome", "nowhere")
    assert (wrong.returncode, "nowhere" in wrong.stderr) == (1, True)
