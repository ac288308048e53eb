"""The page of a contact, and the commands beside it, say why something failed and which time an event claimed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from parcours.domain.events.parsing import claimed_by
from parcours.domain.steps.types import Failed
from tests.conftest import Run
from tests.web.pages.test_overview_pages import text_of
from tests.workers.test_poison import STEPS, install, judge
from tests.workers.worlds import START, Moody, World, at, event

FRENCH = {"accept-language": "fr"}
CLAIMED = "2099-01-01T00:00:00Z"
WAITING = """
- step: visit
  decision: page.hit
  yes: [{step: points, action: contact.points, with: {points: 1}}]
- step: filled
  decision: form.submit
  with: {forms: [survey]}
"""


def test_a_retry_says_why_the_last_attempt_failed(
    http: TestClient, world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.moods["ann"] = Failed("the coffee <b>is</b> cold")
    world.contacts("ann", "ben", segment="everyone")
    world.campaign("- {step: moody, action: test.moody}")
    world.run()
    for headers, words in (
        ({}, "Last attempt failed: the coffee <b>is</b> cold"),
        (FRENCH, "Le dernier essai a échoué : the coffee <b>is</b> cold"),
    ):
        assert words in text_of(http.get("/contacts/ann", headers=headers).text)
        assert "the coffee <b>is</b> cold" in text_of(http.get("/campaigns/c/contacts", headers=headers).text)
    assert "attempt failed" not in text_of(http.get("/contacts/ben").text)
    (wait,) = [each for line in http.get("/api/campaigns/c/members").json()["items"] for each in line["waits"]]
    assert wait["error"] == "the coffee <b>is</b> cold"
    assert "the last attempt failed: the coffee" in run("contacts", "show", "ann").stdout
    (stay,) = json.loads(run("contacts", "show", "ann", "--json").stdout)["campaigns"]
    assert stay["waits"][0]["error"] == "the coffee <b>is</b> cold"


def test_a_decision_that_could_not_judge_says_so_where_the_contact_waits(
    http: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, judge)
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(STEPS)
    world.run()
    world.tell(event("thing.judged", "ann", at(1, "10:00"), value="x"))
    assert "Last attempt failed: ValueError: invalid literal" in text_of(http.get("/contacts/ann").text)
    assert "attempt failed" not in text_of(http.get("/contacts/ben").text)


def test_the_open_waits_say_why_a_contact_still_waits(
    http: TestClient, world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.otherwise = Failed("it is broken")
    world.contacts("ann", segment="everyone")
    world.campaign(
        """
        - {step: later, action: contact.points, with: {points: 1}, after: 1 day}
        - {step: held, action: contact.points, with: {points: 1}, after: 2 days}
        - {step: odd, action: contact.points, with: {points: 1}, after: 3 days}
        - {step: moody, action: test.moody}
        """
    )
    world.run()
    for step, held in (("held", {"policy": {"channel": "email", "rule": "cap"}}), ("odd", {"slots": "none free"})):
        world.write(
            "UPDATE wait SET held = CAST(:held AS jsonb) WHERE step_id = :step",
            held=json.dumps({"held_since": "2026-06-01T09:00:00Z", **held}),
            step=world.step_id(step),
        )
    reasons = {
        "moody": "the last attempt failed: it is broken",
        "later": None,
        "held": "frequency cap reached (email)",
        "odd": "slots: none free",
    }
    printed = map(json.loads, run("log", "c", "--waiting", "--json").stdout.splitlines())
    assert {line["step"]: line["reason"] for line in printed} == reasons
    assert {line["step"]: line["reason"] for line in http.get("/api/campaigns/c/waiting").json()["items"]} == reasons
    shown = " ".join(run("log", "c", "--waiting").stdout.split())
    assert "it is broken" in shown
    assert "None" not in shown


def test_a_message_that_is_held_back_says_by_what(http: TestClient, world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: later, action: contact.points, with: {points: 1}, after: 1 day}")
    world.run()
    world.write("""UPDATE wait SET held = '{"policy": {"channel": "email", "rule": "quiet_hours"}}'""")
    assert "Message held: quiet hours (email)." in text_of(http.get("/contacts/ann").text)
    french = text_of(http.get("/contacts/ann", headers=FRENCH).text)
    assert "Message retenu : plage de silence (email)." in french


def test_a_time_in_the_future_is_told_wherever_the_event_or_what_followed_is(
    http: TestClient, world: World, run: Run, tmp_path: Path
) -> None:
    world.contacts("ann", segment="everyone")
    world.form("survey")
    world.campaign(WAITING)
    run("update", "--inline")
    run("trigger", "--inline")
    lines: list[dict[str, Any]] = [
        {"type": "page.hit", "data": {"url": "https://example.com/"}},
        {"type": "form.submitted", "data": {"form": "survey"}},
    ]
    whole = [
        {"specversion": "1.0", "id": str(nth), "source": "s", "subject": "ann", "time": CLAIMED, **each}
        for nth, each in enumerate(lines)
    ]
    (tmp_path / "events.ndjson").write_text("".join(f"{json.dumps(each)}\n" for each in whole))
    assert run("events", "publish", "events.ndjson", "--inline").returncode == 0
    told = f"the event stated the future time {CLAIMED}; its arrival time is used"
    explained = run("explain", "c", "ann").stdout
    assert f"visit: yes ({told})" in explained
    assert f"filled: yes ({told})" in explained
    # The terminal breaks the lines of a long cell.
    logged = " ".join(run("log", "c").stdout.split())
    assert f"claimed_time: {CLAIMED} is in the future; the arrival time is used" in logged
    details = {line["step"]: line["detail"] for line in map(json.loads, run("log", "c", "--json").stdout.splitlines())}
    assert details["visit"]["claimed_time"] == details["filled"]["claimed_time"] == CLAIMED
    page = text_of(http.get("/contacts/ann").text)
    # Both events, and both answers.
    assert page.count(f"The event was dated {CLAIMED}, in the future; its arrival time is used instead.") == 4
    assert "claimed_time" not in page
    french = text_of(http.get("/contacts/ann", headers=FRENCH).text)
    assert french.count(f"L’événement était daté du {CLAIMED}, dans le futur") == 4


@pytest.mark.parametrize("value", [7, None, "tomorrow", "2020-01-01T00:00:00Z", "2099-01-01", {"a": 1}])
def test_a_senders_own_word_of_that_name_is_left_alone(http: TestClient, world: World, value: Any) -> None:
    assert claimed_by({"claimed_time": value}, START) is None
    world.contacts("ann")
    world.tell(event("page.hit", "ann", url="u", claimed_time=value))
    page = text_of(http.get("/contacts/ann").text)
    assert ("Claimed time" in page, "was dated" in page) == (True, False)
