"""Erasing: nothing of a contact is left, in no table and in no file, and nobody brings them back by accident."""

import dataclasses
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.db.scope import Scope
from parcours.db.tables import erasure, events, refusals, traces
from parcours.db.tables.refusals import RefusalChange
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.workers.actors import Workshop
from parcours.workers.consumer import Consumer, UnreadEvent
from parcours.workers.delivery import deliver
from parcours.workers.delivery.channels import Outgoing, delivery_of
from parcours.workers.delivery.payloads import Note
from parcours.workers.delivery.providers.files import NoteFiles
from parcours.workers.delivery.providers.smtp import MailFiles, Sender
from parcours.workers.delivery.render import Mail
from parcours.workers.delivery.transport import Channel
from parcours.workers.intake import ERASED
from tests.workers.worlds import START, World, at, event

KEY, EMAIL, PHONE, IBAN = "zelda-4711", "zelda@fox.example", "+33 6 12 34 56 78", "FR7630006000011234567890189"
TRACES = (KEY, EMAIL, PHONE, "+33612345678", IBAN)
SENDER = Sender("parcours.example", "us@example.org")


def everything(conn: Connection) -> Iterator[tuple[str, str]]:
    """Yield whatever texts, JSON and bytes the schema holds, each with the column where it stands."""
    columns = conn.execute(
        text(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "JOIN pg_class ON relname = table_name AND relkind = 'r' "
            "WHERE table_schema = 'public' AND data_type IN ('text', 'jsonb', 'bytea', 'ARRAY', 'character varying')"
        )
    ).all()
    assert len(columns) > 100
    for table, column, _ in columns:
        for (value,) in conn.execute(text(f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL')):
            plain = bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else value
            yield f"{table}.{column}", plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def left_of(world: World, *traces: str) -> list[tuple[str, str]]:
    """Return where the database or a file of the home still tells of somebody."""
    hashes = [hashlib.sha256(each.encode()).digest().decode("latin-1") for each in traces]
    with world.engine.connect() as conn:
        found = [
            (where, each)
            for where, value in everything(conn)
            for each in (*traces, *hashes)
            if each.lower() in value.lower()
        ]
    for path in home_of(world).rglob("*"):
        told = path.name + (path.read_bytes().decode("latin-1") if path.is_file() else "")
        found += [(str(path), each) for each in traces if each.lower() in told.lower()]
    return found


def home_of(world: World) -> Path:
    with world.engine.connect() as conn:
        home = conn.get_execution_options()["parcours_installation"].home
    assert isinstance(home, Path)
    return home


@pytest.fixture
def zelda(world: World, tmp_path: Path) -> World:
    """Zelda and Bob, both with all that a contact can leave behind."""
    set_installation_settings(
        world.engine, InstallationSettings(home=tmp_path / "home", country="FR", shared_addresses=True)
    )
    world.segment("everyone")
    world.email("hello")
    world.campaign("[{step: send, action: email.send, with: {email: hello}}]")
    for key, email, phone in ((KEY, EMAIL, PHONE), ("bob", "bob@fox.example", "+33 6 99 99 99 99")):
        a_life(world, key, email, phone, tmp_path / "home")
    return world


def a_life(world: World, key: str, email: str, phone: str, home: Path) -> None:
    iban = IBAN if key == KEY else "none"
    about: dict[str, Any] = {"email": email, "fields": {"phone": phone, "iban": iban}}
    world.tell(
        event("contact.changed", key, id_=f"crm-{key}", **about),
        event("segment.contact_added", key, segment="everyone"),
        event("email.unsubscribed", key),
    )
    world.run()
    with world.engine.begin() as conn:
        refusals.refuse(conn, [RefusalChange(world.contact_id(key), "sms", START)], reason="unsubscribed")
        letters = [
            ("there is no form 'x'", json.dumps({"subject": key, "data": {"iban": iban}})),
            ("broken", f'{{"subject": "x", "data": {{"mail": "{email}"'),
            ("there is no form 'x'", json.dumps({"subject": "x", "data": {"call": f"me at {phone}!"}})),
            ("there is no form 'x'", json.dumps({"subject": "x", "data": {"call": "00" + phone[1:]}})),
            (f"the address belongs to contact {key!r}", "{}"),
        ]
        events.add_dead_letters(conn, letters, origin="event", now=START)
    sent = world.read("SELECT key FROM message WHERE contact_id = :id", id=world.contact_id(key))
    keys = [row.key for row in sent] or ["m-" + key]
    for message in (*keys, f"gone-{len(key)}"):
        MailFiles(home / "mail", SENDER).send([Mail(**a_mail(message, email))])
    number = re.sub("[^0-9+]", "", phone)
    for folder in ("sms", "push"):
        note = Note(keys[0], datetime.now(UTC), key, number, {"text": f"hello {key}"})
        assert len(NoteFiles(home / folder).send([note])) == 1


def a_mail(key: str, email: str) -> dict[str, Any]:
    return {
        "key": key,
        "at": START,
        "to": (email,),
        "subject": f"Hello {email}",
        "html": "<p>x",
        "text": "x",
        "sender": None,
    }


def test_of_who_is_erased_no_column_and_no_file_tells_anything(zelda: World) -> None:
    assert {where.partition(".")[0] for where, _ in left_of(zelda, *TRACES)} >= {"contact", "dead_letter", "refusal"}
    bobs = sorted(left_of(zelda, "bob", "+33 6 99 99 99 99", "+33699999999"))
    zelda.tell(event("contact.deleted", KEY, at(2)))
    assert left_of(zelda, *TRACES) == []
    assert sorted(left_of(zelda, "bob", "+33 6 99 99 99 99", "+33699999999")) == bobs, "others lose nothing"


def test_dead_letters_that_name_a_former_address_go_when_messages_went_there(zelda: World) -> None:
    former = "yan.before@fox.example"
    zelda.contacts("yan-4712", segment="everyone", email=former)
    zelda.run()
    with zelda.engine.begin() as conn:
        # As an import changes it, which tells no event.
        conn.execute(text("UPDATE contact SET email = 'yan@fox.example' WHERE key = 'yan-4712'"))
        body = json.dumps({"subject": former, "data": {"city": "Rome"}})
        events.add_dead_letters(conn, [("unknown timezone", body)], origin="event", now=START)
    zelda.tell(event("contact.deleted", "yan-4712", at(2)))
    assert left_of(zelda, former) == []


def test_a_late_event_of_who_was_erased_brings_nobody_back_and_is_kept_nowhere(zelda: World) -> None:
    zelda.tell(event("contact.deleted", KEY, at(2)))
    for late in (event("page.hit", KEY, at(2), url="u"), event("contact.changed", KEY, START, id_=f"crm-{KEY}")):
        assert zelda.accept(late, now=at(3)).rejected == [(0, ERASED)]
        assert zelda.accept(late, now=at(3), unknown="reject").rejected == [(0, ERASED)]
    assert left_of(zelda, *TRACES) == []


def test_a_tombstone_of_before_still_holds_and_is_made_anew_with_the_key_of_the_installation(zelda: World) -> None:
    old = hashlib.sha256(b"old").digest()
    with zelda.engine.begin() as conn:
        conn.execute(text("INSERT INTO erased (key_hash, at) VALUES (:hash, :at)"), {"hash": old, "at": at(5)})
    assert zelda.accept(event("page.hit", "old", at(4), url="u"), now=at(6)).rejected == [(0, ERASED)]
    zelda.tell(event("contact.deleted", "old", at(3)))
    (row,) = zelda.read("SELECT * FROM erased")
    assert (row.at, row.keyed, bytes(row.key_hash) == old) == (at(5), True, False)


def test_what_a_mailbox_of_several_refused_survives_until_the_last_of_them_is_erased(zelda: World) -> None:
    zelda.tell(event("contact.changed", "mate", START, email=EMAIL))
    of_mailbox = "SELECT FROM refusal WHERE address = :email"
    zelda.tell(event("contact.deleted", KEY, at(2)))
    assert len(zelda.read(of_mailbox, email=EMAIL)) == 1
    zelda.tell(event("contact.deleted", "mate", at(3)))
    assert zelda.read(of_mailbox, email=EMAIL) == []


def test_an_erasure_that_is_undone_deletes_no_file(zelda: World) -> None:
    before = sorted(home_of(zelda).rglob("*.eml"))
    with zelda.engine.connect() as conn:
        erasure.erase(conn, {zelda.contact_id(KEY): at(1)})
        conn.rollback()
    traces.wipe_noted(zelda.engine)
    assert sorted(home_of(zelda).rglob("*.eml")) == before != []


class Between:
    """Does something when a message was claimed and is about to be written to a file."""

    def __init__(self, files: Any, between: Callable[[], None]) -> None:
        self._files, self._between = files, between

    def send(self, batch: Sequence[Any]) -> list[Any]:
        self._between()
        return list(self._files.send(batch))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("moment", ["claimed", "writing"])
def test_a_message_that_was_claimed_before_its_contact_was_erased_leaves_no_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    home = tmp_path / "home"
    set_installation_settings(world.engine, InstallationSettings(home=home))
    world.email("hello")
    world.contacts(KEY, "bob", segment="everyone")
    world.campaign("[{step: send, action: email.send, with: {email: hello}}]")
    world.run()
    erasing = threading.Thread(target=world.tell, args=(event("contact.deleted", KEY, at(2)),))
    if moment == "claimed":
        admitted = deliver._Sending.admitted

        def after(sending: Any, made: Any, **more: Any) -> Any:
            ready = admitted(sending, made, **more)
            erasing.start()
            erasing.join(60)
            return ready

        monkeypatch.setattr(deliver._Sending, "admitted", after)
        delivery = delivery_of(world.engine, Settings(home=home))
    else:

        def begin() -> None:
            erasing.start()
            # It waits for the contact, whose message is just being written, or it is over.
            wait_until(lambda: not erasing.is_alive() or is_waiting(world))

        outlet = Channel("email", lambda: Between(MailFiles(home / "mail", SENDER), begin), "", 200, 1, to_files=True)
        delivery = dataclasses.replace(
            delivery_of(world.engine, Settings(home=home)), outlets={"email": Outgoing(outlet)}
        )
    done = deliver.deliver_inline(world.engine, delivery, Scope(), now=START, zone=world.zone)
    erasing.join(60)
    assert not erasing.is_alive()
    world.act(at(2))
    assert moment == "writing" or done["sent"] == 1
    assert [path.name for path in (home / "mail").iterdir() if KEY in path.name] == []
    assert len(list((home / "mail").iterdir())) == 1
    assert left_of(world, KEY) == []


def is_waiting(world: World) -> bool:
    return bool(world.read("SELECT FROM pg_locks WHERE NOT granted"))


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.parametrize("by", ["tick", "trigger"])
def test_what_a_crash_left_between_the_erasure_and_its_files_is_deleted_by_whoever_looks_next(
    zelda: World, redis_url: str, by: str
) -> None:
    home = home_of(zelda)
    with zelda.engine.begin() as conn:
        erasure.erase(conn, {zelda.contact_id(KEY): at(1)})
    assert any(EMAIL.replace("@", "_") in path.name for path in home.rglob("*.eml"))
    if by == "trigger":
        zelda.trigger(at(2))
    else:
        broker = make_broker(redis_url)
        tick = Tick(zelda.engine, broker)
        assert tick.run_once() >= 1
        tick.close()
        Workshop(zelda.engine, broker, Settings()).wipe_files()
        broker.close()
    assert left_of(zelda, *TRACES) == []


def test_a_short_key_takes_no_dead_letter_of_others_along(zelda: World) -> None:
    zelda.tell(event("contact.changed", "42", START, fields={}))
    with zelda.engine.begin() as conn:
        conn.execute(text("DELETE FROM dead_letter"))
        others = [
            '{"subject": "a", "data": {"amount": 42, "note": "room 42"}}',
            '{"subject": "421"}',
        ]
        events.add_dead_letters(
            conn, [("no", body) for body in [*others, '{"subject": "42"}']], origin="event", now=START
        )
    zelda.tell(event("contact.deleted", "42", at(2)))
    assert [row.body for row in zelda.read("SELECT body FROM dead_letter ORDER BY id")] == others


def test_what_the_queue_brings_late_of_who_was_erased_becomes_no_dead_letter(zelda: World) -> None:
    zelda.tell(event("contact.deleted", KEY, at(2)))
    about = {"specversion": "1.0", "id": "1", "source": "crm", "type": "contact.changed", "subject": KEY}
    late = {**about, "time": at(1).isoformat(), "data": {"email": EMAIL, "fields": {"iban": IBAN}}}
    assert Consumer(zelda.engine, "redis://", Settings())._store([UnreadEvent(late, json.dumps(late))]) == 0
    assert left_of(zelda, *TRACES) == []


def test_dead_letters_of_somebody_never_heard_of_go_when_they_are_erased(world: World, tmp_path: Path) -> None:
    set_installation_settings(world.engine, InstallationSettings(home=tmp_path / "home"))
    with world.engine.begin() as conn:
        events.add_dead_letters(
            conn, [("the contact is unknown", json.dumps({"subject": KEY}))], origin="event", now=START
        )
    assert world.accept(event("contact.deleted", KEY, at(2)), now=at(2)).accepted == 1
    assert left_of(world, KEY) == []
