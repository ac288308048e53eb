"""Who a contact is: by whatever name, one person; and an address is one contact's."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.db.tables import contacts
from parcours.domain.events.parsing import EventError, parse
from tests.conftest import Run
from tests.workers.worlds import START, World, at, event


@pytest.fixture
def kim(world: World) -> World:
    """A world with a contact of the key `kim-1` and the address `Kim@Example.com`."""
    world.contacts("kim-1", email="Kim@Example.com")
    return world


def keys(world: World) -> list[str]:
    return [row.key for row in world.read("SELECT key FROM contact ORDER BY key")]


def letters(world: World) -> list[tuple[str, dict[str, Any]]]:
    return [
        (row.reason, json.loads(row.body)) for row in world.read("SELECT reason, body FROM dead_letter ORDER BY id")
    ]


# Names.


@pytest.mark.parametrize("name", ["kim-1", "Kim@Example.com", "kim@example.com", "KIM@EXAMPLE.COM"])
def test_an_event_finds_its_contact_by_key_and_by_address(kim: World, name: str) -> None:
    kim.tell(event("order.paid", name))
    assert (keys(kim), len(kim.read("SELECT FROM event"))) == (["kim-1"], 1)


def test_a_key_goes_before_an_address(kim: World) -> None:
    kim.contacts("kim@example.com", email="other@example.com")
    with kim.engine.connect() as conn:
        by_key, by_address = (contacts.show(conn, name) for name in ("kim@example.com", "KIM@example.com"))
    assert by_key is not None
    assert by_address is not None
    assert (by_key.key, by_address.key) == ("kim@example.com", "kim-1")


def test_an_address_that_nobody_has_makes_one_contact_however_it_is_spelled(world: World) -> None:
    world.tell(event("order.paid", "Ann@example.com"), event("order.paid", "ann@example.com"))
    world.tell(event("order.paid", "ANN@example.com"))
    (row,) = world.read("SELECT key, email FROM contact")
    assert (row.key, row.email) == ("Ann@example.com", "Ann@example.com")


def test_a_domain_in_letters_and_in_ascii_is_one_mailbox(world: World) -> None:
    world.tell(event("page.hit", "zoe@xn--mnchen-3ya.de", url="/"), event("page.hit", "Zoe@münchen.de", url="/"))
    world.tell(event("contact.changed", "zoe", email="ZOE@xn--mnchen-3ya.de"))
    (row,) = world.read("SELECT key, email FROM contact WHERE email IS NOT NULL")
    assert row.email.lower() == "zoe@münchen.de"


def test_two_at_once_make_one_contact_of_an_address(world: World) -> None:
    start = threading.Barrier(4)

    def offer(name: str) -> None:
        start.wait()
        world.accept(event("order.paid", name))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(offer, ["Ann@example.com", "ann@example.com", "ANN@example.com", "aNN@example.com"]))
    assert len(keys(world)) == 1


def test_commands_find_a_contact_by_its_address(engine: Engine, tmp_path: Path, run: Run) -> None:
    kim = World(engine, tmp_path)
    kim.contacts("kim-1", email="Kim@Example.com")
    kim.segment("vip")
    kim.form("signup")
    kim.campaign("- {step: tag, action: contact.tags, with: {add: [x]}}", segments=["vip"])
    for command in (
        ("contacts", "show", "kim@example.com"),
        ("segments", "add", "vip", "kim@example.com"),
        ("segments", "remove", "vip", "KIM@example.com"),
        ("forms", "submit", "signup", "kim@example.com"),
        ("campaigns", "add", "c", "kim@example.com"),
        ("explain", "c", "kim@example.com"),
        ("log", "c", "--contact", "kim@example.com"),
        ("trigger", "-i", "c", "--contact-id", "kim@example.com", "--inline"),
        ("update", "-i", "c", "--contact-ids", "kim@example.com", "--inline"),
    ):
        done = run(*command)
        assert done.returncode == 0, (command, done.stderr)
    assert keys(kim) == ["kim-1"]


# One address, one contact.


def test_a_contact_is_not_given_the_address_of_another_and_a_dead_letter_says_so(kim: World) -> None:
    kim.contacts("ben")
    kim.tell(event("contact.changed", "ben", email="KIM@example.com", fields={"city": "Rome"}))
    (row,) = kim.read("SELECT email, fields FROM contact WHERE key = 'ben'")
    assert (row.email, row.fields) == ("ben@example.com", {"city": "Rome"})
    ((reason, body),) = letters(kim)
    assert "belongs to contact 'kim-1'" in reason
    assert "parcours contacts merge ben kim-1" in reason
    # Once the address is free it may be taken in again.
    kim.tell(event("contact.changed", "kim-1", at(2), email="new@example.com"))
    kim.tell(parse(body, now=at(2)), now=at(2))
    assert kim.read("SELECT email FROM contact WHERE key = 'ben'")[0].email == "KIM@example.com"


def test_of_two_contacts_given_one_address_at_once_the_first_has_it(world: World) -> None:
    world.contacts("a", "b")
    world.tell(*(event("contact.changed", key, email="us@example.com") for key in ("a", "b")))
    rows = world.read("SELECT key, email FROM contact ORDER BY key")
    assert [tuple(row) for row in rows] == [("a", "us@example.com"), ("b", "b@example.com")]
    assert len(letters(world)) == 1


def test_an_address_may_go_from_one_contact_to_another_in_one_batch(kim: World) -> None:
    kim.contacts("ben")
    kim.tell(
        event("contact.changed", "kim-1", email="new@example.com"),
        event("contact.changed", "ben", email="kim@example.com"),
    )
    rows = kim.read("SELECT key, email FROM contact ORDER BY key")
    assert [tuple(row) for row in rows] == [("ben", "kim@example.com"), ("kim-1", "new@example.com")]


UPDATE = "- {step: set, action: contact.update, with: {fields: {email: %s, city: Rome}}}"


def test_a_step_gives_nobody_the_address_of_another_and_the_outcome_says_so(kim: World) -> None:
    kim.contacts("ben", segment="everyone", wish="KIM@example.com")
    kim.contacts("cid", segment="everyone", wish="cid@new.example")
    kim.campaign(UPDATE % "'{{ contact.wish }}'")
    kim.run()
    found = {row.contact: (row.result, (row.detail or {}).get("reason", "")) for row in kim.passed()}
    assert found["cid"] == ("done", "")
    result, reason = found["ben"]
    assert result == "skipped"
    assert reason.startswith("the address KIM@example.com belongs to contact 'kim-1'; ")
    assert "`parcours contacts merge ben kim-1`" in reason
    rows = kim.read("SELECT key, email, fields ->> 'city' AS city FROM contact ORDER BY key")
    assert [tuple(row) for row in rows] == [
        ("ben", "ben@example.com", None),
        ("cid", "cid@new.example", "Rome"),
        ("kim-1", "Kim@Example.com", None),
    ]


def test_of_contacts_to_whom_a_step_gives_one_address_the_first_has_it(world: World) -> None:
    world.contacts("a", "b", segment="everyone")
    world.campaign(UPDATE % "us@example.com")
    world.run()
    assert sorted(world.log()) == ["a: set done", "b: set skipped"]
    # Who has it already keeps it, in other capitals too.
    world.contacts("c", segment="more", email="C@example.com")
    world.campaign(UPDATE % "c@example.com", key="again", segments=["more"])
    world.run()
    assert world.log(campaign="again") == ["set done"]
    assert world.read("SELECT email FROM contact WHERE key = 'c'")[0].email == "c@example.com"


def test_steps_that_give_one_address_at_once_give_it_to_one_contact(world: World) -> None:
    for nth in range(4):
        world.contacts(f"c{nth}", segment=f"s{nth}")
        world.campaign(UPDATE % "us@example.com", key=f"k{nth}", segments=[f"s{nth}"])
    world.update()
    start = threading.Barrier(4)

    def trigger(nth: int) -> None:
        start.wait()
        world.trigger(campaigns=[f"k{nth}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(trigger, range(4)))
    assert len(world.read("SELECT FROM contact WHERE email = 'us@example.com'")) == 1


def test_steps_share_an_address_where_the_setting_says_so(kim: World) -> None:
    set_installation_settings(kim.engine, InstallationSettings(shared_addresses=True))
    kim.contacts("ben", "cid", segment="everyone")
    kim.campaign(UPDATE % "kim@example.com")
    kim.run()
    assert sorted(kim.log()) == ["ben: set done", "cid: set done"]


def test_a_merge_gives_nobody_the_address_of_a_third(kim: World) -> None:
    kim.contacts("ann", "ben")
    kim.write("UPDATE contact SET email = NULL WHERE key = 'ann'")
    said: dict[str, Any] = {"from": "ben"}
    kim.tell(event("contact.merged", "ann", **said))
    rows = kim.read("SELECT key, email FROM contact ORDER BY key")
    assert [tuple(row) for row in rows] == [("ann", "ben@example.com"), ("kim-1", "Kim@Example.com")]


def test_contacts_share_an_address_where_the_setting_says_so(kim: World) -> None:
    set_installation_settings(kim.engine, InstallationSettings(shared_addresses=True))
    kim.contacts("ben")
    kim.tell(event("contact.changed", "ben", email="kim@example.com"))
    assert kim.read("SELECT email FROM contact WHERE key = 'ben'")[0].email == "kim@example.com"
    assert letters(kim) == []


@pytest.mark.parametrize("email", ["nonsense", "a@example.com,b@example.com", "mailto:a@example.com", "a@example.com."])
def test_an_event_gives_nobody_what_is_no_address(email: str) -> None:
    value = {"specversion": "1.0", "id": "1", "source": "t", "type": "contact.changed", "subject": "a"}
    with pytest.raises(EventError, match=r"(not an|more than one) email address"):
        parse({**value, "data": {"email": email}}, now=START)


def test_a_name_that_cannot_be_stored_is_nobodys(world: World) -> None:
    with world.engine.connect() as conn:
        assert contacts.named(conn, ["\0", "\ud83d", "a\0@example.com"]) == {}
        assert conn.execute(text("SELECT 1")).scalar_one() == 1
