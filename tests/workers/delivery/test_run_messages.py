"""Messages of runs: each says what its own run is about, and none goes for a run that ended."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from parcours.db.tables import emails
from tests.workers.delivery.test_delivery import Post
from tests.workers.worlds import START, World, at, event

STEPS = """
- step: remind
  action: email.send
  with: {email: cart}
- step: call
  action: webhook.send
  with: {url: "https://shop.example/{{ entry.cart_id }}", body: {total: "{{ entry.total }}", other: "{{ entry.none }}"}}
"""


@pytest.fixture
def post(world: World) -> Post:
    world.contacts("ann", "bob", "eve")
    with world.engine.begin() as conn:
        subject = "Cart {{ entry.cart_id }}: {{ entry.total }} for {{ contact.key }}"
        emails.save(conn, emails.Email("cart", subject, None, "Hello", None, True), now=START)
    world.campaign(
        STEPS,
        segments=(),
        events=[{"type": "cart.updated", "key": "cart_id"}],
        exit=[{"event": "order.paid", "key": "cart_id"}],
        reentry="always",
    )
    return Post(world)


def updated(post: Post, who: str, cart: str, total: int) -> None:
    post.world.tell(event("cart.updated", who, START, cart_id=cart, total=total))


def subjects(post: Post) -> list[str]:
    return sorted(each.subject for each in post.email.got)


def test_a_message_is_about_its_own_run_as_it_was_when_the_step_ran(post: Post) -> None:
    updated(post, "ann", "a", 1)
    updated(post, "bob", "b", 2)
    post.world.trigger(START)
    # The run begins again before its message has gone: the message says what was true.
    updated(post, "ann", "a", 99)
    post.deliver()
    assert subjects(post) == ["Cart a: 1 for ann", "Cart b: 2 for bob"]
    calls = post.providers["webhook"].got
    assert sorted((each.url, each.body["total"], each.body["other"]) for each in calls) == [
        ("https://shop.example/a", "1", ""),
        ("https://shop.example/b", "2", ""),
    ]


def test_a_marketing_message_of_a_run_that_ended_does_not_go_and_that_of_another_does(post: Post) -> None:
    updated(post, "ann", "a", 1)
    post.world.trigger(START)
    updated(post, "ann", "b", 2)
    post.world.tell(event("order.paid", "ann", at(1, "09:01"), cart_id="a"))
    counts = post.deliver(at(1, "09:02"))
    assert subjects(post) == []
    assert counts["cancelled"] == 1
    (row,) = post.world.read("SELECT error FROM message WHERE state = 'cancelled'")
    assert row.error == "the contact left the campaign before the message was sent"
    # A contact is sent a marketing email once; this one was never sent.
    post.world.trigger(at(1, "09:03"))
    post.deliver(at(1, "09:03"))
    assert subjects(post) == ["Cart b: 2 for ann"]


def test_an_email_opened_in_one_run_answers_no_decision_of_another(world: World) -> None:
    world.contacts("ann")
    with world.engine.begin() as conn:
        emails.save(conn, emails.Email("cart", "Hello", None, "Hello", None, True), now=START)
    world.campaign(
        """
        - step: remind
          action: email.send
          with: {email: cart, email_type: transactional}
          then:
            - step: opened
              decision: email.open
              yes: [{step: warm, action: contact.points, with: {points: 1}}]
        """,
        segments=(),
        events=[{"type": "cart.updated", "key": "cart_id"}],
    )
    world.tell(event("cart.updated", "ann", START, cart_id="a"), event("cart.updated", "ann", START, cart_id="b"))
    world.trigger(START)
    with world.engine.connect() as conn:
        keys = list(conn.execute(text("SELECT key FROM message ORDER BY payload -> 'run' -> 'number'")).scalars())
    world.tell(event("email.opened", "ann", at(1, "10:00"), message=keys[1]))
    rows = world.read(
        "SELECT run.key FROM outcome JOIN run ON run.number = outcome.run JOIN step ON step.id = step_id "
        "WHERE step.key = 'opened'"
    )
    assert [row.key for row in rows] == ["b"]
    world.tell(event("email.opened", "ann", at(1, "10:01"), message=keys[0]))
    assert world.tally()["opened yes"] == 2
    world.check()
