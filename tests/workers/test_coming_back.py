"""What comes back about messages: whose campaign it counts for, and what it decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.db.reads import email_figures
from parcours.domain.campaign import Campaign
from parcours.domain.events.parsing import EventError, parse
from tests.workers.worlds import START, World, at, event

TEXTING = """
- step: hello
  action: email.send
  with: {email: hello}
  then:
    - {step: opened, decision: email.open}
    - {step: anything, decision: event.happened, with: {type: "email.*"}}
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    world = World(engine, tmp_path)
    world.contacts("ann", segment="everyone")
    world.email("hello")
    return world


def message(world: World) -> str:
    (row,) = world.read("SELECT key FROM message")
    return str(row.key)


def views(world: World) -> dict[str, int]:
    rows = world.read(
        "SELECT campaign.key, sum(n)::int AS n FROM campaign_count JOIN campaign ON campaign.id = campaign_id "
        "WHERE what = 'page_views' GROUP BY 1"
    )
    return {row.key: row.n for row in rows}


# Page views.


def test_a_page_view_counts_for_the_campaign_named_else_for_the_one_of_the_message(world: World) -> None:
    world.campaign(TEXTING)
    world.campaign("- {step: x, decision: page.hit}", key="other", segments=["nobody"])
    world.run()
    url = "https://a.example/"
    world.tell(event("page.hit", "ann", url=url, message=message(world)))
    assert views(world) == {"c": 1}
    world.tell(event("page.hit", "ann", url=url, message=message(world), campaign="other"))
    world.tell(event("page.hit", "ann", url=url, message="9-9-9-9"), event("page.hit", "ann", url=url))
    assert views(world) == {"c": 1, "other": 1}


def test_machines_are_in_no_figure_and_no_history_of_visits(world: World) -> None:
    world.campaign(
        """
        - step: seen
          condition: page.visited
          with: {url: "a.example/*"}
          after: 1 day
        """
    )
    world.run()
    world.tell(event("page.hit", "ann", url="https://a.example/x", campaign="c", bot="a known scanner"))
    world.trigger(at(3))
    assert (views(world), world.log()) == ({}, ["seen no"])


# Machines.


@pytest.mark.parametrize("type_", ["email.opened", "email.clicked"])
def test_what_a_machine_did_takes_no_decision_now_or_by_looking_back(world: World, type_: str) -> None:
    world.campaign(TEXTING.replace("email.open}", "email.open, look_back: 2 days}"))
    world.update()
    marked = event(type_, "ann", email="hello", url="https://a.example/", bot="fetched ahead")
    assert world.tell(marked) == {}
    world.trigger(at(1, "10:00"))
    assert world.log() == ["hello done"]
    assert world.tell(event(type_, "ann", at(1, "11:00"), email="hello", url="https://a.example/")) == {"yes": 2}


# Channels.


def test_who_unsubscribes_from_a_channel_is_still_written_to_on_others(world: World) -> None:
    world.tell(event("email.unsubscribed", "ann", channel="sms"))
    rows = world.read("SELECT channel, reason FROM do_not_contact")
    assert [tuple(row) for row in rows] == [("sms", "unsubscribed")]


def test_the_last_word_counts_whatever_arrives_when(world: World) -> None:
    world.tell(event("email.unsubscribed", "ann", at(2)))
    # Said before, and late.
    world.tell(event("email.resubscribed", "ann", at(1)), now=at(3))
    assert len(world.read("SELECT FROM do_not_contact")) == 1
    world.tell(event("email.resubscribed", "ann", at(4)))
    assert world.read("SELECT FROM do_not_contact") == []


def test_a_channel_that_is_none_is_refused(world: World) -> None:
    described = {"specversion": "1.0", "id": "1", "source": "s", "type": "email.unsubscribed", "subject": "ann"}
    for channel in (5, "", "x" * 41, ["email"]):
        with pytest.raises(EventError, match="channel"):
            parse({**described, "data": {"channel": channel}}, now=START)


# Messages of other channels.


def test_an_event_about_a_text_message_is_none_about_an_email_of_the_same_key(world: World) -> None:
    world.campaign(TEXTING)
    world.run()
    world.write("UPDATE message SET channel = 'sms'")
    assert world.tell(event("email.opened", "ann", message=message(world))) == {"yes": 1}
    assert world.log() == ["hello done", "anything yes"]


# An event that names the template alone.


def test_an_email_that_is_named_by_its_template_counts_as_opened_and_clicked(world: World) -> None:
    world.campaign(TEXTING)
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = :at", at=at(1, "10:00"))
    clicked = at(1, "11:00")
    for more in ({"email": "another"}, {"email": ["hello"]}, {"email": "hello", "bot": "fetched ahead"}):
        world.tell(event("email.clicked", "ann", clicked, url="https://a.example/", **more))
    assert [tuple(row) for row in world.read("SELECT opened_at, clicked_at FROM message")] == [(None, None)]
    world.tell(event("email.clicked", "ann", clicked, url="https://a.example/?x=1", email="hello"))
    assert [tuple(row) for row in world.read("SELECT opened_at, clicked_at FROM message")] == [(clicked, clicked)]
    with world.engine.connect() as conn:
        figures = email_figures.totals(conn, ["hello"])["hello"]
        assert (figures.sent, figures.opened, figures.clicked) == (1, 1, 1)
        assert email_figures.links(conn, "hello") == [("https://a.example/", 1)]


@pytest.mark.parametrize(("hour", "meant"), [("09:30", 0), ("10:30", 0), ("11:59", 0), ("12:30", 1)])
def test_of_several_messages_the_last_one_before_the_event_is_meant(world: World, hour: str, meant: int) -> None:
    world.campaign(TEXTING)
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = :at", at=at(1, "10:00"))
    world.write(
        "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, state, due_at,"
        " created_at, sent_at) SELECT contact_id, 'later', campaign_id, step_id, 2, channel, template, state, :at, :at,"
        " :at FROM message",
        at=at(1, "12:00"),
    )
    world.tell(event("email.opened", "ann", at(1, hour), email="hello"), now=at(1, "13:00"))
    opened = world.read("SELECT opened_at FROM message ORDER BY sent_at")
    assert [row.opened_at is not None for row in opened] == [meant == 0, meant == 1]


# Answers to text messages. The campaign's step stands for one that sends a text message.


@pytest.fixture
def texting(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Campaign, "texts_upstream", lambda self, step: step.parent is not None)
    world.campaign(
        """
        - step: hello
          action: email.send
          with: {email: hello}
          then: [{step: answered, decision: sms.reply, with: {pattern: "yes"}}]
        - {step: wrote, decision: sms.reply}
        """
    )
    world.run()
    return world


def test_a_text_that_answers_nothing_is_no_answer(texting: World) -> None:
    # Anybody may write where no text was sent above.
    assert texting.tell(event("sms.replied", "ann", at(2), text="yes")) == {"yes": 1}
    assert texting.log() == ["hello done", "wrote yes"]


def test_a_text_after_one_of_the_campaign_is_its_answer(texting: World) -> None:
    texting.write("UPDATE message SET channel = 'sms'")
    texting.tell(event("sms.replied", "ann", START.replace(year=2025), text="yes"), now=at(2))
    # What was said before they came there answers neither.
    assert texting.log() == ["hello done"]
    assert texting.tell(event("sms.replied", "ann", at(2), text="Yes")) == {"yes": 2}
    assert "answered yes" in texting.log()


def test_a_text_after_one_that_was_given_up_is_no_answer(texting: World) -> None:
    texting.write("UPDATE message SET channel = 'sms', state = 'failed'")
    texting.tell(event("sms.replied", "ann", at(2), text="yes"))
    assert texting.log() == ["hello done", "wrote yes"]
