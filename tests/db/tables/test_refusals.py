"""Refusals: how numbers are compared, which reason is told, and what is free again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from parcours.db.tables import refusals
from parcours.db.tables.refusals import Refusal, RefusalChange, number_of
from tests.db.rows import NOW, contacts

LATER = NOW + timedelta(hours=1)
MAILBOX = "ann@example.com"


@pytest.fixture
def ann(conn: Connection) -> int:
    contacts(conn, (1, 2))
    conn.execute(text("UPDATE contact SET email = 'Ann@Example.com' WHERE id = 1"))
    return 1


@pytest.mark.parametrize(
    ("written", "country", "otherwise", "number"),
    [
        ("+33 6 12 34 56 78", None, None, "+33612345678"),
        ("0033612345678", None, None, "+33612345678"),
        ("33612345678", None, None, "+33612345678"),
        ("06 12 34 56 78", "fr", None, "+33612345678"),
        ("06 12 34 56 78", None, "FR", "+33612345678"),
        ("06 12 34 56 78", "France", "FR", "+33612345678"),
        ("06 12 34 56 78", None, None, "0612345678"),
        ("12-34", None, None, "1234"),
        ("ACME", None, None, None),
        ("", "FR", "FR", None),
        (None, None, None, None),
        ("1" * 41, None, None, None),
    ],
)
def test_a_number_has_one_form_or_else_its_digits(
    written: str | None, country: str | None, otherwise: str | None, number: str | None
) -> None:
    assert number_of(written, country, otherwise) == number


@given(st.text(), st.none() | st.text(max_size=3), st.none() | st.sampled_from(["FR", "US"]))
def test_no_text_is_too_odd_for_a_number(written: str, country: str | None, otherwise: str | None) -> None:
    found = number_of(written, country, otherwise)
    assert found is None or found.removeprefix("+").isdigit()


def test_an_address_is_silent_for_whoever_has_it_until_they_come_back(conn: Connection, ann: int) -> None:
    refusals.refuse(conn, [RefusalChange(ann, "email", NOW)], reason="unsubscribed")
    assert refusals.of_contacts(conn, [1, 2]) == {1: {"email": "unsubscribed"}}
    conn.execute(text("UPDATE contact SET email = 'ANN@example.com' WHERE id = 2"))
    assert refusals.of_contacts(conn, [1, 2]) == {1: {"email": "unsubscribed"}, 2: {"email": "unsubscribed"}}
    # Older than what was said since.
    refusals.resubscribe(conn, [RefusalChange(2, "email", NOW - timedelta(hours=1))])
    assert refusals.of_contacts(conn, [1, 2]) != {}
    refusals.resubscribe(conn, [RefusalChange(2, "email", LATER)])
    assert refusals.of_contacts(conn, [1, 2]) == {}
    refusals.refuse(conn, [RefusalChange(ann, "email", NOW)], reason="unsubscribed")
    assert refusals.of_contacts(conn, [1, 2]) == {}


def test_of_several_reasons_the_strongest_is_told_and_the_others_come_forth_below_it(
    conn: Connection, ann: int
) -> None:
    refusals.refuse(conn, [RefusalChange(ann, "email", NOW, comment="550")], reason="bounced")
    refusals.refuse(conn, [RefusalChange(ann, "email", LATER)], reason="unsubscribed")
    assert refusals.in_full(conn, [ann])[ann] == [Refusal("email", "unsubscribed", None, LATER, MAILBOX)]
    refusals.resubscribe(conn, [RefusalChange(ann, "email", LATER)])
    assert refusals.listed(conn, ann) == [Refusal("email", "bounced", "550", NOW, MAILBOX)]
    refusals.allow(conn, [(ann, "email")], now=LATER)
    assert refusals.of_contacts(conn, [ann]) == {}


def test_a_word_about_an_address_of_nobody_holds_for_whoever_gets_it(conn: Connection, ann: int) -> None:
    assert refusals.heard(conn, "email", "Ben@Example.com", "bounced", NOW)
    assert not refusals.heard(conn, "sms", "ACME", "unsubscribed", NOW)
    assert refusals.of_contacts(conn, [1, 2]) == {}
    conn.execute(text("UPDATE contact SET email = 'ben@example.com' WHERE id = 2"))
    assert refusals.of_contacts(conn, [2]) == {2: {"email": "bounced"}}


def test_what_the_erased_refused_is_forgotten_unless_others_have_the_address(conn: Connection, ann: int) -> None:
    refusals.refuse(conn, [RefusalChange(ann, "email", NOW)], reason="unsubscribed")
    conn.execute(text("UPDATE contact SET email = 'ann@example.com' WHERE id = 2"))
    assert refusals.forget(conn, [ann]) == set()
    assert refusals.forget(conn, [1, 2]) == {MAILBOX}
    assert refusals.of_contacts(conn, [1, 2]) == {}
