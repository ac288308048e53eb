"""Refusals belong to a mailbox or a number: whoever has it is silent, and who gets another is free."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.db.tables import contacts, outbox, refusals
from parcours.domain.events.parsing import ContactEvent
from parcours.workers import intake
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
    set_installation_settings(two.engine, InstallationSettings(shared_addresses=True))
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
    set_installation_settings(world.engine, InstallationSettings(country="FR"))
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


# What is about a contact at any address keeps its reasons beside each other.


def imported(world: World, when: datetime) -> contacts.Imported:
    """A file says that Ann gets no push messages."""
    empty = (None,) * 7
    with world.engine.begin() as conn:
        contacts.stage(conn, [contacts.Incoming(1, False, "ann", *empty, refusals=json.dumps({"push": "manual"}))])
        return contacts.merge(conn, now=when)


def refused_push(world: World, what: str, when: datetime) -> None:
    """Ann refuses push messages, or takes that back, in one of the ways that there are."""
    if what == "manual":
        number = len(world.read("SELECT FROM campaign"))
        world.enter(f"s{number}", "ann")
        step = "{step: s, action: contact.dnc_add, with: {channels: [push], reason: asked}}"
        world.campaign(f"- {step}", key=f"c{number}", segments=[f"s{number}"])
        world.run(when)
    elif what == "imported":
        imported(world, when)
    else:
        world.tell(leaves("ann", when, "push") if what == "unsubscribed" else comes_back("ann", when, "push"))


@pytest.mark.parametrize("by_hand", ["manual", "imported"])
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_a_refusal_by_hand_outlives_the_contacts_own_that_is_taken_back(world: World, by_hand: str, first: str) -> None:
    world.contacts("ann")
    said = ["unsubscribed", by_hand] if first == "theirs" else [by_hand, "unsubscribed"]
    for day, what in enumerate(said, start=2):
        refused_push(world, what, at(day))
    assert refused(world, "ann") == [{"push": "unsubscribed"}]
    refused_push(world, "back", at(4))
    assert refused(world, "ann") == [{"push": "manual"}]
    # A second time, there is nothing that they could take back.
    refused_push(world, "back", at(5))
    assert refused(world, "ann") == [{"push": "manual"}]
    world.enter("free", "ann")
    world.campaign("- {step: s, action: contact.dnc_remove, with: {channels: [push]}}", key="free", segments=["free"])
    world.run(at(6))
    assert refused(world, "ann") == [{}]


def test_a_bounce_beneath_a_word_comes_forth_when_that_is_taken_back(world: World) -> None:
    world.contacts("ann")
    world.write("UPDATE contact SET email = NULL")
    world.tell(leaves("ann", at(2)), event("email.bounced", "ann", at(3)))
    assert refused(world, "ann") == [{"email": "unsubscribed"}]
    world.tell(comes_back("ann", at(4)))
    assert refused(world, "ann") == [{"email": "bounced"}]


def test_who_is_freed_and_refused_again_in_one_batch_is_refused_by_hand_alone(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.tell(leaves("ann", at(2), "push"))
    world.campaign(
        """
        - {step: free, action: contact.dnc_remove, with: {channels: [push]}}
        - {step: bar, action: contact.dnc_add, with: {channels: [push]}}
        """
    )
    world.run(at(3))
    assert refused(world, "ann") == [{"push": "manual"}]


def test_importing_a_refusal_beneath_another_again_changes_nothing(world: World) -> None:
    world.contacts("ann")
    refused_push(world, "unsubscribed", at(2))
    refused_push(world, "imported", at(3))
    assert imported(world, at(4)).unchanged == 1


@pytest.mark.parametrize("survivor", ["ann", "ben"])
def test_of_two_who_merge_the_weaker_reason_is_kept_beneath(world: World, survivor: str) -> None:
    world.contacts("ann", "ben")
    refused_push(world, "manual", at(2))
    world.tell(leaves("ben", at(3), "push"))
    world.tell(merged(survivor, "ben" if survivor == "ann" else "ann", at(4)))
    assert refused(world, survivor) == [{"push": "unsubscribed"}]
    world.tell(comes_back(survivor, at(5), "push"))
    assert refused(world, survivor) == [{"push": "manual"}]


def merged(survivor: str, gone: str, when: datetime) -> ContactEvent:
    said: dict[str, Any] = {"from": gone}
    return event("contact.merged", survivor, when, **said)


# A number that said STOP, and who has it.


def stops(key: str, number: str, when: datetime, text: str = "STOP") -> ContactEvent:
    said: dict[str, Any] = {"from": number, "text": text}
    return event("sms.replied", key, when, **said)


def test_who_survives_a_merge_gets_no_text_messages_after_a_stop_of_either(world: World) -> None:
    set_installation_settings(world.engine, InstallationSettings(country="FR"))
    world.contacts("ann")
    world.contacts("ben", "cleo", phone="06 12 34 56 78")
    world.contacts("dan", phone="+33 6 99 99 99 99")
    world.tell(stops("ben", "+33612345678", at(2)))
    # Their number, where the survivor has none.
    world.tell(merged("ann", "ben", at(3)))
    assert refused(world, "ann", "cleo", "dan") == [{"sms": "unsubscribed"}, {"sms": "unsubscribed"}, {}]
    # The survivor's own number, since one person said so.
    world.tell(merged("dan", "ann", at(4)))
    assert refused(world, "dan", "cleo") == [{"sms": "unsubscribed"}] * 2
    # They may take it back there.
    world.tell(stops("dan", "+33699999999", at(5), "START"))
    assert refused(world, "dan", "cleo") == [{}, {"sms": "unsubscribed"}]


def test_what_the_survivor_said_since_beats_the_stop_of_who_was_merged_into_them(world: World) -> None:
    world.contacts("ann", phone="+33699999999")
    world.contacts("ben", phone="+33612345678")
    world.tell(stops("ben", "+33612345678", at(2)), stops("ann", "+33699999999", at(3), "START"))
    world.tell(merged("ann", "ben", at(4)))
    assert refused(world, "ann") == [{}]


@pytest.mark.parametrize(
    ("type_", "said", "address", "refuses"),
    [
        ("sms.replied", {"from": "+33 6 12 34 56 78", "text": "Stop"}, "+33612345678", {"sms": "unsubscribed"}),
        ("sms.replied", {"from": "+33 6 12 34 56 78", "text": "Yes"}, "+33612345678", {}),
        ("email.unsubscribed", {"address": "Zoe@example.com"}, "zoe@example.com", {"email": "unsubscribed"}),
        (
            "email.unsubscribed",
            {"address": "z@b.example", "channel": "email:news"},
            "z@b.example",
            {"email:news": "unsubscribed"},
        ),
        ("email.bounced", {"address": "zoe@example.com"}, "zoe@example.com", {"email": "bounced"}),
        ("email.bounced", {"address": "zoe@example.com", "kind": "soft"}, "zoe@example.com", {}),
        ("order.paid", {"address": "zoe@example.com"}, "zoe@example.com", {}),
    ],
)
def test_an_address_that_an_unknown_contact_refuses_is_silent_though_the_event_is_rejected(
    world: World, type_: str, said: dict[str, Any], address: str, refuses: dict[str, str]
) -> None:
    taken = world.accept(event(type_, "nobody", at(2), **said), now=at(2), unknown="reject")
    ((_, reason),) = taken.rejected
    assert reason.startswith(intake.UNKNOWN)
    assert ("is stored" in reason) == bool(refuses)
    assert world.read("SELECT FROM contact") == []
    columns: dict[str, Any] = {"email": address} if "@" in address else {"phone": address}
    world.contacts("zoe", **columns)
    assert refused(world, "zoe") == [refuses]


def test_who_is_unknown_may_come_back(world: World) -> None:
    for day, text in ((2, "stop"), (3, "start")):
        world.accept(stops("nobody", "+33612345678", at(day), text), now=at(day), unknown="reject")
    world.contacts("zoe", phone="+33612345678")
    assert refused(world, "zoe") == [{}]
