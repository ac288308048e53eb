"""Refusals belong to a mailbox or a number: whoever has it is silent, and who gets another is free."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parcours.db.house import House, furnish
from parcours.db.tables import outbox, refusals
from parcours.domain.events.parsing import ContactEvent
from tests.workers.worlds import World, at, event, statements_counted


def refused(world: World, *keys: str) -> list[dict[str, str]]:
    """Return what contacts refuse, as decisions and deliveries see it."""
    with world.engine.connect() as conn:
        ids = world.ids(conn, *keys)
        found = refusals.of_contacts(conn, ids)
        channels = {channel for reasons in found.values() for channel in reasons}
        asked = outbox.refusals(conn, ids, channels)
    assert asked == {(id_, channel): reason for id_, reasons in found.items() for channel, reason in reasons.items()}
    return [found.get(id_, {}) for id_ in ids]


def leaves(key: str, when: datetime = at(2), channel: str = "email") -> ContactEvent:
    return event("email.unsubscribed", key, when, channel=channel)


def comes_back(key: str, when: datetime, channel: str = "email") -> ContactEvent:
    return event("email.resubscribed", key, when, channel=channel)


@pytest.fixture
def two(world: World) -> World:
    """A world in which Ann and Ben have one mailbox, and nobody else has it."""
    world.contacts("ann", email="Us@example.com")
    world.contacts("ben", email="us@example.com")
    world.contacts("cleo")
    return world


@pytest.mark.parametrize("type_", ["email.unsubscribed", "email.bounced"])
def test_all_contacts_of_a_mailbox_are_silent(two: World, type_: str) -> None:
    two.tell(event(type_, "ann", at(2)))
    reason = type_.removeprefix("email.")
    assert refused(two, "ann", "ben", "cleo") == [{"email": reason}, {"email": reason}, {}]


def test_a_category_is_refused_by_the_mailbox_too(two: World) -> None:
    two.tell(leaves("ann", channel="email:news"))
    assert refused(two, "ann", "ben") == [{"email:news": "unsubscribed"}] * 2


def test_a_corrected_address_is_free_and_the_old_one_stays_silent(two: World) -> None:
    two.tell(event("email.bounced", "ann", at(2)))
    two.tell(event("contact.changed", "ann", at(3), email="right@example.com"))
    assert refused(two, "ann", "ben") == [{}, {"email": "bounced"}]
    two.tell(event("contact.changed", "cleo", at(4), email="other@example.com"))
    furnish(two.engine, House(shared_addresses=True))
    two.tell(event("contact.changed", "cleo", at(5), email="US@example.com"))
    assert refused(two, "cleo") == [{"email": "bounced"}]


def test_a_bounce_of_a_message_is_about_the_address_that_it_went_to(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.email("hello")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}")
    world.run()
    (row,) = world.read("SELECT key FROM message")
    world.tell(event("contact.changed", "ann", at(2), email="right@example.com"))
    world.tell(event("email.bounced", "ann", at(3), message=row.key))
    assert refused(world, "ann") == [{}]
    world.tell(event("contact.changed", "ann", at(4), email="ann@example.com"))
    assert refused(world, "ann") == [{"email": "bounced"}]


def test_who_comes_back_frees_the_mailbox(two: World) -> None:
    two.tell(leaves("ann"))
    two.tell(comes_back("ben", at(3)))
    assert refused(two, "ann", "ben") == [{}, {}]


@pytest.mark.parametrize("channel", ["email", "email:news", "push"])
def test_an_older_unsubscription_does_not_beat_a_newer_resubscription(world: World, channel: str) -> None:
    world.contacts("ann")
    world.tell(leaves("ann", at(2), channel))
    world.tell(comes_back("ann", at(4), channel))
    world.tell(leaves("ann", at(3), channel))
    assert refused(world, "ann") == [{}]
    world.tell(leaves("ann", at(5), channel))
    assert refused(world, "ann") == [{channel: "unsubscribed"}]
    # Nor does an older return beat a newer word.
    world.tell(comes_back("ann", at(4), channel))
    assert refused(world, "ann") == [{channel: "unsubscribed"}]


def by_hand(world: World, key: str, what: str = "add") -> None:
    world.contacts(f"{key}-{what}", email="x@example.com")
    step = f"{{step: s, action: contact.dnc_{what}, with: {{channels: [email]}}}}"
    world.enter(f"hand-{what}", key)
    world.campaign(f"- {step}", key=f"hand-{what}", segments=[f"hand-{what}"])
    world.run(at(2))


def test_a_bounce_replaces_no_refusal_by_hand_which_holds_at_any_address(two: World) -> None:
    by_hand(two, "ann")
    assert refused(two, "ann", "ben") == [{"email": "manual"}] * 2
    two.tell(event("email.bounced", "ann", at(3)))
    assert refused(two, "ann", "ben") == [{"email": "manual"}] * 2
    two.tell(event("contact.changed", "ann", at(4), email="right@example.com"))
    assert refused(two, "ann") == [{"email": "manual"}]


def test_a_step_that_takes_a_refusal_back_frees_the_mailbox(two: World) -> None:
    two.tell(leaves("ben", at(1, "10:00")))
    by_hand(two, "ann", "remove")
    assert refused(two, "ann", "ben") == [{}, {}]


@pytest.mark.parametrize("other", ["0033 6 12 34 56 78", "+33612345678", "06.12.34.56.78", "+33 (0)6 12 34 56 78"])
def test_a_number_is_silent_however_it_is_written(world: World, other: str) -> None:
    furnish(world.engine, House(country="FR"))
    world.contacts("ann", phone="06 12 34 56 78")
    world.contacts("ben", phone=other)
    # The same last digits of another country's number.
    world.contacts("cleo", phone="0612345678", country="BE")
    world.tell(leaves("ann", channel="sms"))
    assert refused(world, "ann", "ben", "cleo") == [{"sms": "unsubscribed"}, {"sms": "unsubscribed"}, {}]
    with world.engine.connect() as conn:
        assert [owner.key for owner in refusals.owners(conn, ["0033612345678"])["0033612345678"]] == ["ann", "ben"]


def test_what_is_refused_is_read_in_one_statement_for_any_number_of_contacts(world: World) -> None:
    sent = []
    for size, prefix in ((5, "a"), (500, "b")):
        keys = world.crowd(size, prefix=prefix)
        with world.engine.connect() as conn:
            ids = world.ids(conn, *keys)
            with statements_counted(world.engine) as counted:
                refusals.of_contacts(conn, ids)
        sent.append(len(counted))
    assert sent == [1, 1]


def test_a_bounce_beside_an_unsubscription_outlives_who_comes_back(two: World) -> None:
    two.tell(leaves("ann", at(2)))
    two.tell(event("email.bounced", "ann", at(3)))
    assert refused(two, "ann") == [{"email": "unsubscribed"}]
    two.tell(comes_back("ann", at(4)))
    assert refused(two, "ben") == [{"email": "bounced"}]
    two.tell(leaves("ann", at(5)))
    two.tell(comes_back("ann", at(6)))
    assert refused(two, "ben") == [{"email": "bounced"}]


Word = tuple[str, int]
WORDS = st.lists(st.sampled_from(["unsubscribed", "manual", "bounced", "back"]), max_size=8)


def reason_of(words: list[Word]) -> str | None:
    """Return why an address is refused after some words, in whatever order they came: the rule."""
    latest = {what: max(when for said, when in words if said == what) for what in {said for said, _ in words}}
    if latest.get("unsubscribed", -1) > latest.get("back", -1):
        return "unsubscribed"
    return next((reason for reason in ("manual", "bounced") if reason in latest), None)


@given(WORDS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_refused_follows_the_rule_in_whatever_order_the_words_come(
    world: World, said: list[str], random: Random
) -> None:
    words = [(what, when) for when, what in enumerate(said)]
    random.shuffle(words)
    with world.engine.connect() as conn:
        for what, when in words:
            one = [refusals.RefusalChange(0, "sms", at(1) + timedelta(hours=when), "+33612345678")]
            if what == "back":
                refusals.resubscribe(conn, one)
            else:
                refusals._refuse_addresses(conn, one, what)
        found = refusals.of_numbers(conn, "sms", {"it": ("0033612345678", None)})
        conn.rollback()
    assert found.get("it") == reason_of(words)


def test_stop_in_a_text_message_refuses_texts_and_start_takes_it_back(world: World) -> None:
    world.contacts("ann")
    world.write("UPDATE contact SET fields = :fields", fields='{"phone": "+33612345678"}')

    def silent() -> set[str]:
        with world.engine.connect() as conn:
            return set(refusals.of_contacts(conn, [world.contact_id("ann")]).get(world.contact_id("ann"), {}))

    world.tell(event("sms.replied", "ann", at(1), text="no, do not stop"))
    assert silent() == set()
    world.tell(event("sms.replied", "ann", at(2), text="Arrêt."))
    assert silent() == {"sms"}
    world.tell(event("sms.replied", "ann", at(3), text="START"))
    assert silent() == set()
