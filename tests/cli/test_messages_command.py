"""`parcours messages` and `parcours policies`, from outside, and the notes of a plan."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run

GOOD = """\
- sms: hello
  text: Hi {{ contact.first_name }}
- {push: hello, name: Greeting, title: Hi, text: Come, url: "https://a.com/{{ contact.key }}", published: false}
---
message: spring
name: Spring
email: spring
sms: hello
"""
BAD = """\
- {sms: a, tekst: Hi}
- {push: b, title: "{{ x y }}", text: Hi}
- {message: c}
- {message: c, email: [x]}
- {text: nobody}
- hello
"""


def test_templates_are_created_listed_and_updated(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "messages.yaml"
    path.write_text(GOOD)
    assert run("messages", "apply", path).stdout.splitlines() == [
        "created sms hello",
        "created push hello",
        "created message spring",
        "note: message spring names email 'spring', which does not exist yet",
    ]
    path.write_text(GOOD.replace("text: Come", "text: Go"))
    assert json.loads(run("messages", "apply", path, "--json").stdout) == {
        "created": [],
        "updated": ["push hello"],
        "unchanged": ["sms hello", "message spring"],
    }
    message, push, sms = json.loads(run("messages", "list", "--json").stdout)
    named = {"kind": "message", "key": "spring", "name": "Spring", "published": True}
    assert message == {**named, "email": "spring", "sms": "hello"}
    assert (push["text"], push["published"], sms["name"]) == ("Go", False, "hello")
    assert "email spring" in run("messages", "list").stdout


def test_every_error_is_found_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_text(BAD)
    good.write_text(GOOD)
    done = run("messages", "apply", good, bad)
    assert done.returncode == 1
    like = "write one of {sms: KEY, text: …}, {push: KEY, title: …, text: …} and {message: KEY, email: KEY, sms: KEY}"
    assert done.stderr.splitlines() == [
        f"{bad}:1: sms 'a': unknown property 'tekst'; did you mean 'text'?",
        f"{bad}:1: sms 'a': has no text",
        f"{bad}:2: push 'b': title: this cannot be understood; check it for typing mistakes: {{{{ x y }}}}",
        f"{bad}:3: message 'c': has no template; add at least one of email, sms and push",
        f"{bad}:4: message 'c': is also in {bad}:3",
        f"{bad}:4: message 'c': 'email' is not text",
        f"{bad}:4: message 'c': has no template; add at least one of email, sms and push",
        f"{bad}:5: {like}",
        f"{bad}:6: {like}",
        "parcours: 9 errors in the files; nothing was changed",
    ]
    assert json.loads(run("messages", "list", "--json").stdout) == []


POLICIES = """\
channel: Email
cap: {number: 2, period: week}
quiet_hours: {between: ["21:00", "08:00"], days: [sat, sun]}
over: queue
blackout: [2026-12-25, 2027-01-01]
holidays: contact.country
spread: 15 minutes
---
channel: sms
cap: {number: 1, period: day}
"""


def test_policies_are_applied_listed_and_deleted(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES)
    assert run("policies", "apply", path).stdout == "created email\ncreated sms\n"
    path.write_text(POLICIES.replace("number: 1", "number: 3"))
    assert json.loads(run("policies", "apply", path, "--json").stdout) == {"email": "unchanged", "sms": "updated"}
    printed = run("policies", "list").stdout
    assert "2 a week" in printed
    assert "21:00 to 08:00 on sat, sun" in printed
    assert "2026-12-25, 2027-01-01, public holidays of contact.country" in " ".join(printed.split())
    assert "15 minutes" in printed
    assert run("policies", "delete", "EMAIL").returncode == 0
    assert json.loads(run("policies", "list", "--json").stdout) == [
        {"channel": "sms", "cap": {"number": 3, "period": "day"}}
    ]
    gone = run("policies", "delete", "email")
    assert gone.returncode == 1
    assert "there is no policy of the channel 'email'" in gone.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("channel: email", "1: policy 'email': the policy has no effect"),
        ("cap: {number: 1, period: day}", "1: has no channel"),
        (
            "channel: email\ncap: {number: 1, period: dya}",
            "2: policy 'email': cap: the period of a cap must be day, week",
        ),
        ("channel: email\nquiet_hour: {}", "2: policy 'email': unknown property 'quiet_hour'; did you mean"),
        ("channel: email\nquiet_hours:\n  between: [21:00, 08:00]", "3: policy 'email': quiet_hours: 1260 is not an"),
        ("channel: email\ncap: {number: 1, period: day}\nover: skipp", "3: policy 'email': over: 'over' must be queue"),
        ("channel: email\ncap: {number: 1, period: day}\n---\nchannel: EMAIL\ncap: 3", "4: policy 'email': is also in"),
        ("channel: email\nblackout: 2026-12-25", "2: policy 'email': blackout: 'blackout' is a list of days"),
        ("channel: email\nblackout: [soon]", "2: policy 'email': blackout: 'soon' is not a day; write it like"),
        ("channel: email\nholidays: FR", "2: policy 'email': holidays: 'holidays' names the field"),
        ("channel: email\ncap: 2026-99-99", "2: policy 'email': 'cap' cannot be read: month must"),
        ("", "1: the file is empty"),
    ],
)
def test_a_policy_without_sense_is_refused_with_its_line(run: Run, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(text)
    done = run("policies", "apply", path)
    assert done.returncode == 1
    assert f"{path}:{sentence}" in done.stderr
    assert json.loads(run("policies", "list", "--json").stdout) == []


CAMPAIGN = """\
campaign: c
priority: high
sources: {segments: [all]}
steps:
  - {action: sms.send, with: {sms: hello}}
  - {action: push.send, with: {push: hello}}
  - {action: message.send, with: {message: spring}}
  - {action: email.send_to_user, with: {email: told, to: [a@example.com]}}
"""


def test_a_plan_notes_templates_that_are_to_come_and_priority_is_kept(run: Run, tmp_path: Path) -> None:
    run("segments", "create", "all")
    path, messages = tmp_path / "c.yaml", tmp_path / "messages.yaml"
    path.write_text(CAMPAIGN)
    messages.write_text("{sms: hello, text: Hi}")
    run("messages", "apply", messages)
    (plan,) = json.loads(run("campaigns", "plan", path, "--json").stdout)
    assert [warning.split(";")[0] for warning in plan["warnings"]] == [
        "there is no email 'told' yet",
        "there is no push 'hello' yet",
        "there is no message 'spring' yet",
    ]
    assert run("campaigns", "apply", path, "--yes").returncode == 0
    exported = run("campaigns", "export", "c").stdout
    assert "priority: high" in exported
    path.write_text(exported)
    assert json.loads(run("campaigns", "plan", path, "--json").stdout)[0]["unchanged"] is True
    assert "priority: high" in run("campaigns", "show", "c").stdout
    path.write_text(CAMPAIGN.replace("priority: high", "priority: hihg"))
    assert "did you mean 'high'" in run("campaigns", "validate", path).stderr


def test_what_a_contact_wants_of_a_channel_is_set_shown_and_cleared(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("key,timezone\nann,Europe/Paris\n")
    run("contacts", "import", path)
    done = run("contacts", "channel", "ann", "Email", "--number", 2, "--period", "week", "--preferred")
    assert done.stdout == "ann, email: preferred, at most 2 a week.\n"
    run("contacts", "channel", "ann", "email", "--pause-from", "2026-12-24", "--pause-until", "2027-01-01T12:00Z")
    (shown,) = [json.loads(run("contacts", "show", "ann", "--json").stdout)["channels"]]
    assert shown == {
        "email": {
            "number": 2,
            "period": "week",
            "preferred": True,
            "paused_from": "2026-12-23T23:00:00+00:00",
            "paused_until": "2027-01-01T12:00:00+00:00",
        }
    }
    assert "paused from 2026-12-24 00:00:00 Europe/Paris until 2027-01-01 13:00:00 Europe/Paris" in (
        run("contacts", "show", "ann").stdout
    )
    assert run("contacts", "channel", "ann", "email", "--clear").stdout == "ann, email: no preferences.\n"
    assert json.loads(run("contacts", "show", "ann", "--json").stdout)["channels"] == {}
    for wrong, sentence in (
        (("ann", "email"), "nothing to set"),
        (("ann", "email", "--number", 2), "the period of a cap must be day, week or month, not None"),
        (("ann", "email", "--pause-from", "soon"), "--pause-from 'soon' is not a date or time"),
        (("ann", " ", "--preferred"), "cannot be blank"),
        (("bob", "email", "--preferred"), "there is no contact 'bob'"),
    ):
        refused = run("contacts", "channel", *wrong)
        assert refused.returncode == 1
        assert sentence in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
