"""Who sends a great deal keeps nobody else waiting, and who signs in takes no more memory than there is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from parcours.db import passwords
from parcours.workers import events
from tests.workers.worlds import UTC_ZONE, World, event

FLOOD = 20_000
FEW_BATCHES = 3


def test_an_event_behind_a_flood_of_another_contact_is_acted_on_within_a_few_batches(
    engine: Engine, tmp_path: Path
) -> None:
    world = World(engine, tmp_path)
    world.contacts("loud", "quiet")
    for first in range(0, FLOOD, 2_000):
        world.accept(*(event("order.paid", "loud", id_=str(first + nth)) for nth in range(2_000)))
    world.accept(event("order.paid", "quiet"))
    batches = 0
    while world.read("SELECT FROM inbox JOIN contact ON contact.id = contact_id WHERE key = 'quiet'"):
        assert events.act_once(engine, zone=UTC_ZONE).events
        batches += 1
    assert batches <= FEW_BATCHES
    assert world.read("SELECT FROM event JOIN contact ON contact.id = contact_id WHERE key = 'quiet'")


def test_of_many_who_sign_in_at_once_few_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = passwords.hashed("correct horse battery")
    compared = passwords._hasher.verify
    lock = threading.Lock()
    at_once = most = 0

    def watched(*given: str) -> bool:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return bool(compared(*given))
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(verify=watched))

    def sign_in(_: int) -> str:
        try:
            return str(passwords.is_right(stored, "wrong"))
        except passwords.BusyError:
            return "busy"

    with ThreadPoolExecutor(40) as many:
        told = list(many.map(sign_in, range(40)))
    assert most <= passwords.HASHES_AT_ONCE
    assert set(told) <= {"False", "busy"}
