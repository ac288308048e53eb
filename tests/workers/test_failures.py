"""Steps that fail: tried again, given up, and never in the way of others."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from parcours.db.tables import outcomes
from parcours.domain.campaign import StopRule
from parcours.domain.steps.types import Done, Failed, Outbound, Skipped
from parcours.ops.settings import Settings, SettingsError, read_settings
from parcours.workers import events
from tests.workers.worlds import START, Moody, World, at, event

MOODY = "- {step: a, action: test.moody, then: [{step: below, action: contact.tags, with: {add: [below]}}]}"
BROKEN = Failed("it is broken")


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment."""
    world.contacts("ann", segment="everyone")
    return world


def test_a_failed_step_is_tried_again_after_a_growing_delay_and_then_given_up(ann: World, moody: Moody) -> None:
    moody.otherwise = BROKEN
    ann.campaign("- {step: a, action: test.moody, max_attempts: 4, then: [{step: b, action: test.moody}]}")
    ann.run()
    now, delays = START, []
    for _ in range(3):
        (wait,) = ann.waits()
        assert (wait.step, wait.reason, ann.log()) == ("a", "retry", [])
        assert wait.due_at is not None
        delays.append(wait.due_at - now)
        assert ann.trigger(wait.due_at - timedelta(microseconds=1)) == {}
        now = wait.due_at
        ann.trigger(now)
    for minutes, delay in zip((1, 4, 16), delays, strict=True):
        assert 0.75 * minutes <= delay / timedelta(minutes=1) <= 1.25 * minutes
    (row,) = ann.passed()
    assert (row.step, row.result, row.detail) == ("a", "failed", {"error": "it is broken", "attempts": 4})
    assert ann.waits() == []
    assert moody.met == ["ann"] * 4


def test_a_step_that_works_in_the_end_goes_on_below(ann: World, moody: Moody) -> None:
    moody.otherwise = BROKEN
    ann.campaign(MOODY)
    ann.run()
    moody.otherwise = Done()
    ann.trigger(at(1, "10:00"))
    assert ann.log() == ["a done", "below done"]
    assert ann.tags("ann") == {"below"}


@pytest.mark.parametrize(("on_failure", "log"), [("stop", ["a failed"]), ("continue", ["a failed", "below done"])])
def test_what_follows_a_final_failure_is_for_the_campaign_to_say(
    ann: World, moody: Moody, on_failure: str, log: list[str]
) -> None:
    moody.otherwise = BROKEN
    ann.campaign(MOODY.replace("then", f"max_attempts: 1, on_failure: {on_failure}, then"))
    ann.run()
    assert ann.log() == log


def test_what_trying_again_cannot_mend_is_not_tried_again(ann: World, moody: Moody) -> None:
    moody.otherwise = Failed("the address is no address", retry=False)
    ann.campaign(MOODY)
    ann.run()
    assert ann.log() == ["a failed"]


def test_a_step_may_say_when_to_try_again(ann: World, moody: Moody) -> None:
    moody.otherwise = Failed("too many", after=timedelta(hours=2))
    ann.campaign(MOODY)
    ann.run()
    assert ann.due("ann", "a") == at(1, "11:00")


def test_a_retry_keeps_the_window_of_its_step(ann: World, moody: Moody) -> None:
    moody.otherwise = Failed("too many", after=timedelta(hours=2))
    ann.campaign(MOODY.replace("then", 'between: ["08:00", "10:00"], then'))
    ann.run()
    ann.trigger(at(1, "11:00"))
    assert ann.due("ann", "a") == at(2, "08:00")
    assert moody.met == ["ann"]


def test_skipped_is_a_result_of_its_own_with_the_reason_and_goes_on(ann: World, moody: Moody) -> None:
    moody.otherwise = Skipped("there is nothing to do", {"why": 1})
    ann.campaign(MOODY)
    ann.run()
    assert ann.log() == ["a skipped", "below done"]
    assert ann.passed()[0].detail == {"reason": "there is nothing to do", "why": 1}


def test_one_bad_contact_does_not_stop_the_others(world: World, moody: Moody) -> None:
    world.crowd(20, segment="everyone")
    moody.moods = {"c7": ValueError("no such thing")}
    world.campaign(MOODY)
    world.run()
    assert world.tally() == {"a done": 19, "below done": 19}
    (wait,) = world.waits()
    assert (wait.contact, wait.reason) == ("c7", "retry")
    # What the first try did to the contacts was undone before the second.
    assert world.points() == [0 if n == 7 else 1 for n in range(1, 21)]
    (row,) = world.read("SELECT error FROM failure")
    assert row.error == "ValueError: no such thing"


def test_an_answer_that_is_none_is_a_failure_of_its_contact(world: World, moody: Moody) -> None:
    world.crowd(3, segment="everyone")
    moody.moods["c2"] = None  # type: ignore[assignment]
    world.campaign(MOODY)
    world.run()
    assert world.tally() == {"a done": 2, "below done": 2}
    assert [wait.contact for wait in world.waits()] == ["c2"]


def test_leaving_cancels_a_retry(ann: World, moody: Moody) -> None:
    moody.otherwise = BROKEN
    ann.campaign(MOODY)
    ann.run()
    ann.remove("ann")
    assert (ann.log(), ann.waits()) == (["a cancelled"], [])


# The automatic stop.


def failing(world: World, moody: Moody, size: int, failed: int) -> None:
    keys = world.crowd(size, segment="everyone")
    moody.moods = dict.fromkeys(keys[:failed], BROKEN)
    world.campaign(MOODY)
    world.run()


def published(world: World) -> bool:
    return bool(world.read("SELECT published FROM campaign")[0].published)


@pytest.mark.parametrize(
    ("size", "failed", "stops"),
    [(285, 100, True), (286, 100, False), (99, 99, False), (100, 100, True)],
)
def test_a_campaign_stops_itself_at_35_percent_and_100_contacts(
    world: World, moody: Moody, size: int, failed: int, stops: bool
) -> None:
    failing(world, moody, size, failed)
    assert published(world) is not stops
    told = "parcours: stopped: 100 contacts failed at step 'a' within an hour"
    assert (told in world.audit()) is stops
    # Nobody is lost: everybody waits for the next try, and the others went on.
    assert len(world.waits()) == failed
    assert world.tally() == ({"a done": size - failed, "below done": size - failed} if size > failed else {})


def test_the_stop_counts_contacts_and_not_attempts(world: World, moody: Moody) -> None:
    failing(world, moody, 50, 50)
    for minute in (3, 10, 30):
        world.trigger(at(1, f"09:{minute:02}"))
    assert len(moody.met) > 150
    assert published(world)


def test_the_stop_does_not_count_who_passed_at_a_retry(world: World, moody: Moody) -> None:
    stop = StopRule(at_least=3)
    keys = world.crowd(4, segment="everyone")
    moody.moods = dict.fromkeys(keys[:2], BROKEN)
    world.campaign(MOODY)
    world.update()
    world.trigger(stop=stop)
    # The two pass at their next try; a third contact fails then, and nobody else is left to.
    moody.moods = {}
    world.trigger(at(1, "09:10"), stop=stop)
    world.contacts("late", segment="everyone")
    moody.moods = {"late": BROKEN}
    world.update(at(1, "09:20"))
    world.trigger(at(1, "09:20"), stop=stop)
    assert world.tally()["a done"] == 4
    assert published(world)


@pytest.mark.parametrize(("minutes", "failed"), [(240, 3), (60, 1)])
def test_the_stop_looks_back_as_far_as_the_setting_says(world: World, minutes: int, failed: int) -> None:
    world.crowd(3, segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.run()
    # Messages that they had passed the step with were given up later, one each hour.
    world.write(
        "INSERT INTO failure (contact_id, step_id, at, attempts, error) "
        "SELECT id, :step_id, CAST(:at AS timestamptz) + row_number() OVER (ORDER BY id) * interval '1 hour', 1, 'x' "
        "FROM contact",
        step_id=world.step_id("a"),
        at=at(1, "09:01"),
    )
    stop = StopRule(at_least=failed, share=1, within=timedelta(minutes=minutes))
    with world.engine.connect() as conn:
        found = outcomes.failing_step(conn, [world.step_id("a")], stop, now=at(1, "12:01"))
    assert found == (world.step_id("a"), failed, 0)


def test_the_stop_looks_an_hour_back(world: World, moody: Moody) -> None:
    failing(world, moody, 60, 60)
    world.crowd(60, segment="everyone", prefix="late")
    moody.otherwise = BROKEN
    world.trigger(at(1, "09:30"), contacts=["c1"])
    world.update(at(1, "10:31"))
    world.trigger(at(1, "10:31"), reasons=("kickoff",))
    assert published(world)


@pytest.mark.parametrize(
    ("stop", "stops"),
    [
        (StopRule(at_least=3), True),
        (StopRule(at_least=4), False),
        (StopRule(at_least=3, share=0.3), True),
        (StopRule(at_least=3, share=0.31), False),
    ],
)
def test_the_installation_says_at_how_many_and_at_what_share_it_stops(
    world: World, moody: Moody, stop: StopRule, stops: bool
) -> None:
    keys = world.crowd(10 if stop.share < 0.35 else 8, segment="everyone")
    moody.moods = dict.fromkeys(keys[:3], BROKEN)
    world.campaign(MOODY)
    world.update()
    world.trigger(stop=stop)
    assert published(world) is not stops


@pytest.mark.parametrize(("minutes", "stops"), [(10, False), (90, True)])
def test_the_installation_says_how_far_back_the_stop_looks(
    world: World, moody: Moody, minutes: int, stops: bool
) -> None:
    stop = StopRule(at_least=2, share=0.5, within=timedelta(minutes=minutes))
    moody.otherwise = Failed("it is broken", after=timedelta(days=1))
    world.contacts("ann", segment="everyone")
    world.campaign(MOODY)
    world.update()
    world.trigger(stop=stop)
    world.contacts("ben", segment="everyone")
    world.update(at(1, "10:15"))
    world.trigger(at(1, "10:15"), stop=stop)
    assert published(world) is not stops
    assert ("parcours: stopped: 2 contacts failed at step 'a' within 90 minutes" in world.audit()) is stops


def test_what_follows_from_an_event_stops_a_campaign_too(world: World, moody: Moody) -> None:
    moody.otherwise = BROKEN
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: hit, decision: page.hit, yes: [{step: a, action: test.moody}]}")
    world.update()
    world.accept(event("page.hit", "ann", url="u"))
    with world.engine.begin() as conn:
        events.act(conn, now=START, zone=world.zone, stop=StopRule(at_least=1))
    assert not published(world)


def test_the_stop_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("PARCOURS_")]:
        monkeypatch.delenv(name)
    assert Settings().stop_rule == StopRule()
    for name, value in (("SHARE", "0.5"), ("CONTACTS", "7"), ("MINUTES", "15")):
        monkeypatch.setenv(f"PARCOURS_STOP_{name}", value)
    assert read_settings().stop_rule == StopRule(7, 0.5, timedelta(minutes=15))
    monkeypatch.setenv("PARCOURS_STOP_SHARE", "35")
    with pytest.raises(SettingsError, match="PARCOURS_STOP_SHARE: must be less than or equal to 1"):
        read_settings()


def test_the_stop_is_told_once_and_a_person_may_start_again(world: World, moody: Moody) -> None:
    keys = world.crowd(300, segment="everyone")
    moody.moods = dict.fromkeys(keys, BROKEN)
    world.campaign(MOODY)
    world.update()
    # It stops at the batch that reaches the number, and the rest stays where it was.
    world.trigger(batch=60)
    assert len(moody.met) == 120
    assert sum("stopped" in line for line in world.audit()) == 1
    moody.moods = {}
    world.publish(now=at(1, "10:30"))
    world.trigger(at(1, "10:30"))
    assert world.tally() == {"a done": 300, "below done": 300}


# The outbox.


def test_an_email_becomes_a_message_or_a_reason_why_not(world: World) -> None:
    world.email("hello")
    world.contacts("ann", "out", segment="everyone")
    world.contacts("nowhere", email=" ", segment="everyone")
    world.do_not_contact("out")
    world.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello}
          then: [{step: again, action: email.send, with: {email: hello}}]
        - {step: bill, action: email.send, with: {email: hello, email_type: transactional, priority: high}}
        - {step: missing, action: email.send, with: {email: unknown}}
        """
    )
    world.run()
    assert world.log("ann") == ["send done", "again skipped", "bill done", "missing skipped"]
    assert world.log("out") == ["send skipped", "again skipped", "bill done", "missing skipped"]
    assert world.log("nowhere") == ["send skipped", "again skipped", "bill skipped", "missing skipped"]
    assert sorted(world.outbox()) == ["ann hello", "ann hello", "out hello"]
    reasons = {(row.contact, row.step): (row.detail or {}).get("reason") for row in world.passed()}
    assert reasons["ann", "again"] == "the contact already received the email 'hello'"
    assert reasons["out", "send"] == "do not contact (email): unsubscribed"
    assert reasons["nowhere", "send"] == "the contact has no email address"
    assert reasons["ann", "missing"] == "the email 'unknown' does not exist"


def test_an_email_that_is_switched_off_is_skipped_for_all(ann: World) -> None:
    ann.email("hello", published=False)
    ann.campaign("- {step: send, action: email.send, with: {email: hello}}")
    ann.run()
    assert (ann.log(), ann.outbox()) == (["send skipped"], [])


def test_a_message_has_a_key_that_names_campaign_step_contact_and_passage(ann: World) -> None:
    ann.email("hello")
    ann.campaign("- {step: send, action: email.send, with: {email: hello}}")
    ann.run()
    with ann.engine.connect() as conn:
        campaign_id = ann.found(conn).id
    (row,) = ann.read("SELECT key, address, payload, state::text FROM message")
    (name,) = ann.read("SELECT value FROM installation WHERE name = 'name'")
    assert row.key == f"{campaign_id}-{ann.step_id('send')}-{ann.contact_id('ann')}-1-{name.value}"
    assert (row.address, row.state) == ("ann@example.com", "queued")
    assert row.payload == {"email_type": "marketing", "priority": "normal", "attempts": 3}


def test_a_step_may_write_any_message(ann: World, moody: Moody) -> None:
    moody.otherwise = Done(effects=(Outbound("webhook", address="https://example.com", payload={"a": 1}),))
    ann.campaign(MOODY)
    ann.run()
    (row,) = ann.read("SELECT channel, template, address, payload FROM message")
    assert tuple(row) == ("webhook", None, "https://example.com", {"a": 1})
