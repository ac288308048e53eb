"""Caps, quiet hours and pauses on a real database: who is held back, until when, and what history says of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns, contacts
from parcours.domain.steps.types import Done, Failed, Outbound, Postponed
from parcours.workers import executor
from tests.workers.worlds import START, Moody, World, at, event, statements_counted

SEND = "- {step: send, action: email.send, with: {email: hello}}"
AGAIN = "- {step: again, action: email.send, with: {email: again}}"
ONCE_A_DAY = {"number": 1, "period": "day"}
FIVE = timedelta(minutes=5)


@pytest.fixture
def ann(world: World) -> World:
    """A world of one contact in the segment `everyone`, and two emails."""
    world.contacts("ann", segment="everyone", phone="+33 1")
    world.email("hello")
    world.email("again")
    return world


def messages(world: World) -> list[tuple[str | None, bool, int, datetime]]:
    rows = world.read("SELECT template, marketing, priority, due_at FROM message ORDER BY id")
    return [tuple(row) for row in rows]


def details(world: World, step: str, *, campaign: str = "c") -> list[dict[str, Any] | None]:
    """Return what the outcomes of a step remember, besides what became of their messages."""
    found = [dict(row.detail or {}) for row in world.passed(campaign=campaign) if row.step == step]
    return [{name: value for name, value in each.items() if name != "message"} or None for each in found]


def test_a_message_over_the_cap_of_all_campaigns_waits_at_its_step_and_says_why_when_it_goes(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY)
    ann.campaign(SEND, key="first")
    ann.run()
    ann.campaign(
        """
        - step: again
          action: email.send
          with: {email: again}
          then:
            - step: opened
              decision: email.open
              no: [{step: cold, action: contact.points, with: {points: 1}, after: 3 days}]
        """
    )
    ann.run(at(1, "10:00"))
    slot = at(2, "09:05")
    assert (ann.log(), ann.due("ann", "again")) == ([], slot)
    ann.run(at(2, "09:04"))
    assert ann.outbox() == ["ann hello"]
    ann.run(slot)
    assert ann.outbox() == ["ann hello", "ann again"]
    assert details(ann, "again") == [
        {
            "held_since": at(1, "10:00").isoformat(),
            "policy": {"channel": "email", "rule": "cap", "over": "next_slot", "until": slot.isoformat()},
        }
    ]
    # "Not opened within 3 days" counts from the real sending.
    assert ann.due("ann", "opened") == slot + timedelta(days=3)


def test_a_slot_that_is_taken_meanwhile_is_looked_for_again_and_the_first_hold_is_remembered(ann: World) -> None:
    ann.email("third")
    ann.policy("email", cap=ONCE_A_DAY)
    ann.campaign(f"{SEND}\n{AGAIN}\n- {{step: third, action: email.send, with: {{email: third}}}}")
    ann.run()
    assert {ann.due("ann", step) for step in ("again", "third")} == {at(2) + FIVE}
    ann.run(at(2) + FIVE)
    (still,) = ann.waits("ann")
    assert still.due_at == at(3) + FIVE + FIVE
    ann.run(still.due_at)
    (detail,) = details(ann, still.step)
    assert detail is not None
    assert detail["held_since"] == START.isoformat()
    assert detail["policy"]["until"] == still.due_at.isoformat()


def test_a_queued_message_passes_at_once_and_goes_later(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY, over="queue")
    ann.campaign(f"{SEND}\n{AGAIN}")
    ann.run()
    assert ann.log() == ["send done", "again done"]
    assert [(row[0], row[3]) for row in messages(ann)] == [("hello", START), ("again", at(2) + FIVE)]


def test_a_message_may_be_left_out_instead(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY, over="skip")
    ann.campaign(f"{SEND}\n{AGAIN}")
    ann.run()
    assert ann.log() == ["send done", "again skipped"]
    (detail,) = details(ann, "again")
    assert detail is not None
    assert detail["reason"] == "frequency cap reached (email)"
    assert detail["policy"]["over"] == "skip"


def test_a_message_that_was_given_up_does_not_count(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY)
    ann.campaign(SEND, key="first")
    ann.run()
    ann.write("UPDATE message SET state = 'failed'")
    ann.campaign(AGAIN)
    ann.run(at(1, "10:00"))
    assert ann.log() == ["again done"]


def test_a_contact_is_shown_with_what_holds_it(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY)
    ann.campaign(f"{SEND}\n{AGAIN}")
    ann.run()
    with ann.engine.connect() as conn:
        shown = contacts.show(conn, "ann")
    assert shown is not None
    (wait,) = shown.campaigns[0].waits
    assert wait.held is not None
    assert wait.held["policy"]["rule"] == "cap"


def test_quiet_hours_are_of_the_contacts_clock_and_spare_transactional_messages(world: World) -> None:
    world.contacts("ann", segment="everyone", timezone="Europe/Paris")
    world.contacts("bob", segment="everyone", timezone="America/New_York")
    world.email("hello")
    world.email("receipt")
    world.policy("email", quiet_hours={"between": ["21:00", "08:00"]})
    receipt = "- {step: receipt, action: email.send, with: {email: receipt, email_type: transactional}}"
    world.campaign(f"{SEND}\n{receipt}")
    world.run(at(1, "20:00"))
    assert world.outbox() == ["bob hello", "ann receipt", "bob receipt"]
    assert world.due("ann", "send") == at(2, "08:05", zone="Europe/Paris")
    assert [row[1:3] for row in messages(world)] == [(True, 0), (False, 0), (False, 0)]


def test_on_blackout_days_and_holidays_of_their_country_contacts_wait_at_the_step(world: World) -> None:
    world.contacts("ann", segment="everyone", timezone="Europe/Paris", country="FR")
    world.contacts("bob", segment="everyone", timezone="America/New_York", country="US")
    world.contacts("cai", segment="everyone", country=["half"])
    world.email("hello")
    # The 44th day is the 14th of July, which France celebrates.
    world.policy("email", blackout=["2026-07-15"], holidays="contact.country")
    world.campaign(SEND)
    world.run(at(44))
    assert world.outbox() == ["bob hello", "cai hello"]
    assert world.due("ann", "send") == at(46, "00:05", zone="Europe/Paris")
    world.tell(event("contact.changed", "ann", at(44, "12:00"), timezone="Asia/Tokyo", fields={"country": "JP"}))
    world.trigger(at(44, "12:00"))
    # There it is the same day still, and no holiday.
    assert world.outbox() == ["bob hello", "cai hello", "ann hello"]


def test_a_message_in_the_outbox_waits_for_the_end_of_a_blackout_day(ann: World) -> None:
    ann.policy("email", blackout=["2026-06-01"], over="queue", spread="15 minutes")
    ann.campaign(SEND)
    ann.run(at(1))
    (row,) = ann.read("SELECT due_at, held FROM message")
    assert row.held == "blackout"
    assert at(2, "00:05") <= row.due_at < at(2, "00:20")


def test_a_contacts_own_rule_wins_over_the_cap_and_its_pause_blocks(ann: World) -> None:
    ann.policy("email", cap={"number": 1, "period": "week"})
    ann.rule("ann", "email", number=2, period="day")
    ann.campaign(f"{SEND}\n{AGAIN}")
    ann.run()
    assert ann.log() == ["send done", "again done"]
    ann.rule("ann", "sms", paused_until=at(3).isoformat())
    ann.campaign("- {step: text, action: sms.send, with: {text: Hi}}", key="texts")
    ann.run(at(2))
    assert ann.due("ann", "text", campaign="texts") == at(3) + FIVE


def test_a_freed_slot_goes_to_the_campaign_of_the_higher_priority(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY)
    ann.campaign(SEND, key="first")
    ann.run()
    for priority in ("low", "normal", "high"):
        ann.email(priority)
        ann.campaign(f"- {{step: s, action: email.send, with: {{email: {priority}}}}}", key=priority, priority=priority)
    ann.run(at(1, "10:00"))
    due = {key: ann.due("ann", "s", campaign=key) for key in ("high", "normal", "low")}
    assert due == {"high": at(2), "normal": at(2) + FIVE, "low": at(2) + 2 * FIVE}
    for minute in range(0, 11, 5):
        ann.run(at(2) + timedelta(minutes=minute))
    assert ann.outbox() == ["ann hello", "ann high"]
    for day in (3, 4, 5):
        for minute in range(0, 61, 5):
            ann.run(at(day) + timedelta(minutes=minute))
    assert ann.outbox() == ["ann hello", "ann high", "ann normal", "ann low"]
    assert [row[2] for row in messages(ann)] == [0, 2, 0, -2]


def test_a_step_that_postpones_keeps_its_attempts_and_its_reason_through_a_failure(ann: World, moody: Moody) -> None:
    ann.campaign("- {step: moody, action: test.moody, max_attempts: 2, on_failure: continue}")
    moody.moods["ann"] = Failed("no", after=timedelta(hours=1))
    ann.run()
    moody.moods["ann"] = Postponed(at(2), {"why": "so"})
    ann.run(at(1, "10:00"))
    assert (ann.log(), ann.due("ann", "moody")) == ([], at(2))
    moody.moods["ann"] = Failed("no")
    ann.run(at(2))
    (passed,) = ann.passed()
    assert passed.result == "failed"
    held = {"held_since": at(1, "10:00").isoformat(), "why": "so"}
    assert passed.detail == {**held, "error": "no", "attempts": 2}


def test_a_step_that_postpones_to_the_past_has_failed(ann: World, moody: Moody) -> None:
    moody.otherwise = Postponed(START, {})
    ann.campaign("- {step: moody, action: test.moody}")
    ann.run()
    (wait,) = ann.waits()
    assert wait.reason == "retry"


def test_who_leaves_while_a_message_is_held_gets_none(ann: World) -> None:
    ann.policy("email", quiet_hours={"between": ["08:00", "10:00"]})
    ann.campaign(SEND)
    ann.run()
    ann.remove("ann", at(1, "09:30"))
    ann.run(at(1, "11:00"))
    assert (ann.log(), ann.outbox()) == (["send cancelled"], [])


def test_a_held_message_looks_again_at_everything_when_its_time_comes(ann: World) -> None:
    ann.policy("email", quiet_hours={"between": ["08:00", "10:00"]})
    ann.campaign(SEND)
    ann.run()
    ann.do_not_contact("ann")
    ann.run(at(1, "11:00"))
    assert ann.log() == ["send skipped"]


def test_texts_and_messages_come_from_templates_and_an_opening_below_one_is_noticed(ann: World) -> None:
    ann.template("sms", "hello", text="Hi")
    ann.template("message", "all", email="hello", sms="hello")
    ann.campaign(
        """
        - step: tell
          action: message.send
          with: {message: all}
          then:
            - step: opened
              decision: email.open
              yes: [{step: point, action: contact.points, with: {points: 1}}]
        - {step: text, action: sms.send, with: {sms: hello}}
        - {step: none, action: sms.send, with: {sms: nowhere}}
        """
    )
    ann.run()
    assert ann.log() == ["tell done", "text done", "none skipped"]
    assert ann.outbox() == ["ann hello", "ann hello"]
    row, _ = ann.read("SELECT key, channel, address, payload FROM message ORDER BY id")
    assert (row.channel, row.address) == ("email", "ann@example.com")
    assert row.payload["fallback"] == [{"channel": "sms", "template": "hello", "address": "+33 1"}]
    other = ann.read("SELECT key FROM message WHERE channel = 'sms'")[0].key
    ann.tell(event("email.opened", "ann", at(1, "10:00"), message=other))
    assert ann.points("ann") == [0]
    ann.tell(event("email.opened", "ann", at(1, "11:00"), message=row.key))
    assert ann.points("ann") == [1]


def test_an_email_to_a_colleague_is_not_one_that_the_contact_received(ann: World) -> None:
    ann.policy("email", cap=ONCE_A_DAY)
    ann.campaign("- {step: tell, action: email.send_to_user, with: {email: hello, to: [boss@example.com]}}", key="tell")
    ann.run()
    ann.campaign(SEND)
    ann.run(at(1, "10:00"))
    assert ann.log() == ["send done"]


def test_what_an_action_says_of_its_message_reaches_the_outbox(ann: World, moody: Moody) -> None:
    outbound = Outbound("fax", marketing=False, priority=7, not_before=at(3))
    moody.otherwise = Done(effects=(outbound,))
    ann.campaign("- {step: moody, action: test.moody}")
    ann.run()
    assert messages(ann) == [(None, False, 7, at(3))]


def rules(world: World) -> dict[str, dict[str, Any]]:
    rows = world.read("SELECT channel, number, period, preferred, paused_until FROM frequency_rule ORDER BY channel")
    return {row.channel: {name: value for name, value in row._mapping.items() if name != "channel"} for row in rows}


def test_upstream_says_what_a_contact_wants_of_channels_and_the_newest_word_counts(ann: World) -> None:
    weekly = {"number": 2, "period": "week"}
    nothing = {"number": None, "period": None, "preferred": False, "paused_until": None}
    ann.tell(
        event("contact.changed", "ann", at(2), channels={"Email": weekly, "sms": {"preferred": True}}),
        event("contact.changed", "ann", at(1), channels={"email": None, "push": {"paused_until": "2026-07-01T00:00Z"}}),
        now=at(3),
    )
    found = rules(ann)
    assert found["email"] == {**nothing, **weekly}
    assert found["sms"] == {**nothing, "preferred": True}
    assert found["push"]["paused_until"] == datetime.fromisoformat("2026-07-01T00:00Z")
    ann.tell(event("contact.changed", "ann", at(4), channels={"email": {"preferred": True}, "sms": None, "push": {}}))
    assert rules(ann) == {"email": {**nothing, "preferred": True}}


EVERYTHING = """
    - step: start
      condition: contact.tags
      with: {tags: [none]}
      no:
        - {step: a, action: email.send, with: {email: hello}}
        - {step: b, action: email.send, with: {email: again}}
        - {step: c, action: sms.send, with: {sms: hello}}
        - {step: d, action: sms.send, with: {text: Hi}}
        - {step: e, action: push.send, with: {push: hello}}
        - {step: f, action: message.send, with: {message: all}}
        - {step: g, action: webhook.send, with: {url: "https://example.com"}}
        - {step: h, action: email.send_to_user, with: {email: hello, to: [a@example.com]}}
"""


def test_a_batch_asks_as_much_of_the_database_for_a_thousand_contacts_as_for_ten(world: World) -> None:
    def cost(size: int) -> int:
        keys = world.crowd(size, segment="everyone", phone="1")
        for key in ("hello", "again"):
            world.email(key)
        for kind in ("sms", "push"):
            world.template(kind, "hello")
        world.template("message", "all", email="again", sms="hello", push="hello")
        world.policy("email", cap=ONCE_A_DAY)
        world.policy("sms", cap=ONCE_A_DAY, over="queue")
        for key in keys[: size // 2]:
            world.rule(key, "email", number=2, period="month")
        world.campaign(EVERYTHING)
        world.update()
        ensure_partitions(world.engine, START)
        root = world.step_id("start")
        with world.engine.connect() as conn:
            campaigns.enter(conn, world.found(conn).id, world.zone)
        with statements_counted(world.engine) as sent, world.engine.begin() as conn:
            done = executor.execute_due(conn, root, now=START, limit=5000, zone=world.zone)
        assert done.claimed == size
        assert done.counts["scheduled"] == size - size // 2
        world.check()
        world.clear()
        return len(sent)

    assert cost(10) == cost(1000)
