"""Policies of channels, and what contacts want of channels."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection

from parcours.db.tables import policies
from parcours.domain.messages.policy import Cap, Rule
from tests.db.rows import NOW, contacts, read

WEEKLY = {"cap": {"number": 2, "period": "week"}}


def test_a_policy_is_stored_as_its_file_says_it_one_for_each_channel(conn: Connection) -> None:
    assert policies.save(conn, "email", WEEKLY, now=NOW) == "created"
    assert policies.save(conn, "email", WEEKLY, now=NOW + timedelta(days=1)) == "unchanged"
    assert policies.save(conn, "email", {**WEEKLY, "over": "skip"}, now=NOW) == "updated"
    assert policies.listed(conn) == {"email": {**WEEKLY, "over": "skip"}}
    found = policies.by_channel(conn)["email"]
    assert (found.cap, found.over) == (Cap(2, "week"), "skip")
    assert policies.delete(conn, "email")
    assert not policies.delete(conn, "email")


def test_what_contacts_want_is_kept_by_channel_and_replaced_as_a_whole(conn: Connection) -> None:
    contacts(conn, (1, 2))
    pause = Rule(None, False, NOW, NOW + timedelta(days=3))
    often = Rule(Cap(1, "day"), True, None, None)
    policies.save_rules(conn, {(2, "sms"): pause, (1, "email"): often, (1, "sms"): pause})
    assert policies.rules(conn, [1, 2, 3]) == {1: {"email": often, "sms": pause}, 2: {"sms": pause}}
    policies.save_rules(conn, {(1, "email"): pause, (1, "sms"): None, (2, "email"): None})
    assert policies.rules(conn, [1, 2]) == {1: {"email": pause}, 2: {"sms": pause}}


def test_a_rule_that_is_set_here_and_now_counts_as_said_now(conn: Connection) -> None:
    contacts(conn, (1,))
    policies.set_rule(conn, 1, "email", Rule(Cap(1, "day"), False, None, None), now=NOW)
    assert read(conn, "SELECT said_at ->> 'channels.email' FROM contact") == [NOW.isoformat()]
    policies.set_rule(conn, 1, "email", None, now=NOW + timedelta(hours=1))
    assert policies.rules(conn, [1]) == {}
    assert read(conn, "SELECT said_at ->> 'channels.email' FROM contact") == [(NOW + timedelta(hours=1)).isoformat()]
