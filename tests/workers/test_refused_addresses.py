"""Refusals and bounces belong to an address, whoever has it."""

from __future__ import annotations

import pytest

from parcours.db import merge_locks
from parcours.db.tables import erasure, merging, refusals
from parcours.domain.messages.results import Bounced
from tests.workers.delivery.test_delivery import Post, sending, states
from tests.workers.worlds import START, World, at, event

SEND = "- {step: send, action: email.send, with: {email: hello}}"
SURE = """
- step: silent
  condition: contact.dnc
  with: {channels: [email]}
"""


@pytest.fixture
def post(world: World) -> Post:
    return Post(world)


def refused(world: World, channel: str = "email") -> dict[str, str]:
    keys = {row.id: row.key for row in world.read("SELECT id, key FROM contact")}
    with world.engine.connect() as conn:
        found = refusals.of_contacts(conn, keys)
    return {keys[id_]: reasons[channel] for id_, reasons in found.items() if channel in reasons}


def correct(world: World, key: str, email: str) -> None:
    world.write("UPDATE contact SET email = :email WHERE key = :key", key=key, email=email)


def merge(world: World, gone: str, into: str) -> None:
    with world.engine.begin() as conn:
        merge_locks.shut_out_imports(conn)
        ids = merging.lock(conn, [gone, into])
        merging.merge(conn, {ids[gone]: ids[into]}, now=START)


def test_two_contacts_of_one_mailbox_are_both_silent_at_a_step_and_at_a_condition(world: World) -> None:
    world.contacts("kim", segment="everyone", email="kim@b.example")
    world.contacts("kimberly", segment="everyone", email="Kim@B.example")
    world.email("hello")
    world.campaign(SEND)
    world.campaign(SURE, key="asked")
    world.tell(event("email.unsubscribed", "kim"))
    world.run()
    passed = {(row.contact, row.step, row.result) for key in ("c", "asked") for row in world.passed(campaign=key)}
    assert passed == {(key, *how) for key in ("kim", "kimberly") for how in (("send", "skipped"), ("silent", "yes"))}


def test_two_contacts_of_one_mailbox_are_both_silent_also_when_their_emails_wait_already(
    world: World, post: Post
) -> None:
    sending(world, "kim", "kimberly")
    correct(world, "kimberly", "KIM@example.com")
    world.tell(event("email.unsubscribed", "kim"))
    assert post.deliver() == {"cancelled": 2}


def test_a_corrected_address_is_free_and_the_former_one_is_not(world: World, post: Post) -> None:
    sending(world, "kim")
    post.email.otherwise = Bounced("550 5.1.1 no such user")
    assert post.deliver() == {"failed": 1}
    assert refused(world) == {"kim": "bounced"}
    world.tell(event("contact.changed", "kim", at(2), email="kim@right.example"))
    assert refused(world) == {}
    world.contacts("lee", email="Kim@Example.com")
    assert refused(world) == {"lee": "bounced"}


def test_an_older_word_never_beats_a_newer_one_channel_by_channel(world: World) -> None:
    world.contacts("ann", phone="+33 1")
    for channel in ("email", "sms", "push"):
        world.tell(event("email.resubscribed", "ann", at(3), channel=channel))
        world.tell(event("email.unsubscribed", "ann", at(2), channel=channel), now=at(4))
        assert refused(world, channel) == {}
        world.tell(event("email.unsubscribed", "ann", at(4), channel=channel))
        assert refused(world, channel) == {"ann": "unsubscribed"}


def test_a_word_said_without_an_address_is_the_contacts_until_they_take_it_back(world: World) -> None:
    world.contacts("ann")
    world.write("UPDATE contact SET email = NULL")
    world.tell(event("email.unsubscribed", "ann", at(1)))
    correct(world, "ann", "ann@b.example")
    assert refused(world) == {"ann": "unsubscribed"}
    world.tell(event("email.resubscribed", "ann", at(2)))
    assert refused(world) == {}


def test_who_survives_a_merge_keeps_the_word_of_both_and_the_bounce_of_neither_other_address(world: World) -> None:
    world.contacts("ann", "ben", "cid")
    world.tell(event("email.unsubscribed", "ben"), event("email.bounced", "cid"))
    merge(world, "cid", "ann")
    assert refused(world) == {"ben": "unsubscribed"}
    merge(world, "ben", "ann")
    assert refused(world) == {"ann": "unsubscribed"}


def test_what_refuses_an_address_stops_no_transactional_message(world: World, post: Post) -> None:
    sending(world, "kim", steps=SEND.replace("email: hello", "email: hello, email_type: transactional"))
    world.tell(event("email.unsubscribed", "kim"))
    assert post.deliver() == {"sent": 1}
    assert states(world) == {"kim": "sent"}


def test_erasing_leaves_no_address_but_one_that_somebody_else_has(world: World) -> None:
    world.contacts("kim", "kimberly", email="kim@b.example")
    world.contacts("lee")
    world.tell(event("email.unsubscribed", "kim"), event("email.bounced", "lee"))
    correct(world, "lee", "lee@right.example")
    for key, left in (("lee", ["kim@b.example"]), ("kim", ["kim@b.example"]), ("kimberly", [])):
        with world.engine.begin() as conn:
            erasure.erase(conn, dict.fromkeys(world.ids(conn, key), START))
        assert [row.address for row in world.read("SELECT address FROM refusal")] == left
