"""Accounts: who is let in, for how long, and how often somebody may guess."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import Connection, Engine, text

from parcours.db import passwords
from parcours.db.tables import users
from parcours.db.tables.users import Attempt, Throttled, User
from tests.db.rows import NOW

AMY = "Amy@Example.com"


@pytest.fixture
def amy(conn: Connection) -> User:
    made = users.create(conn, AMY, name="Amy", role="editor", password_hash=passwords.hashed("correct horse"), now=NOW)
    assert made is not None
    return made


def begun(conn: Connection, email: str = AMY, source: str = "10.0.0.1", seconds: float = 0) -> Attempt:
    found = users.begin(conn, email, source, now=NOW + timedelta(seconds=seconds))
    assert isinstance(found, Attempt), found
    return found


def test_an_address_has_one_account_in_whatever_capitals(conn: Connection, amy: User) -> None:
    assert users.create(conn, AMY.upper(), name="x", role="admin", password_hash="another", now=NOW) is None
    assert [User(*each[:6]) for each in users.listing(conn)] == [amy]
    attempt = begun(conn, AMY.lower())
    assert attempt.user == amy
    assert passwords.is_right(attempt.password_hash, "correct horse")
    assert not passwords.is_right(attempt.password_hash, "correct horse\ud83d")


def test_who_is_unknown_or_disabled_has_nothing_to_compare_with(conn: Connection, amy: User) -> None:
    assert begun(conn, "nobody@example.com").user is None
    assert users.set_active(conn, AMY, active=False) == amy._replace(active=False)
    assert begun(conn).password_hash is None
    assert users.set_active(conn, "nobody@example.com", active=True) is None
    assert users.set_password(conn, "nobody@example.com", "x", now=NOW) is None


def test_five_failures_of_an_address_from_a_source_shut_both_out_together_and_no_others(
    conn: Connection, amy: User
) -> None:
    for second in range(users.MOST_FAILURES):
        begun(conn, seconds=second)
    throttled = users.begin(conn, AMY.upper(), "10.0.0.1", now=NOW + timedelta(seconds=9))
    assert throttled == Throttled(NOW + users.FAILURES_COUNT_FOR)
    assert begun(conn, source="10.0.0.2").user == amy
    assert begun(conn, "other@example.com").user is None
    # When the first is old enough, there is one try, and then none again.
    later = users.FAILURES_COUNT_FOR.total_seconds()
    begun(conn, seconds=later)
    again = users.begin(conn, AMY, "10.0.0.1", now=NOW + timedelta(seconds=later))
    assert again == Throttled(NOW + timedelta(seconds=1) + users.FAILURES_COUNT_FOR)


def test_a_source_that_tries_many_addresses_is_shut_out(conn: Connection) -> None:
    for n in range(users.MOST_FAILURES_OF_SOURCE):
        begun(conn, f"a{n}@example.com")
    assert isinstance(users.begin(conn, "new@example.com", "10.0.0.1", now=NOW), Throttled)


def test_who_succeeds_is_forgiven_and_an_attempt_that_nobody_looked_at_does_not_count(
    conn: Connection, amy: User
) -> None:
    for _ in range(users.MOST_FAILURES):
        begun(conn)
    users.succeed(conn, AMY, "10.0.0.1")
    for _ in range(users.MOST_FAILURES * 2):
        users.withdraw(conn, begun(conn))
    assert begun(conn).user == amy


def test_whoever_is_signed_in_is_so_until_it_expires_or_ends(conn: Connection, amy: User) -> None:
    phone = users.sign_in(conn, amy, now=NOW, address="10.0.0.1", agent="a phone \ud83d" + "x" * 500)
    desk = users.sign_in(conn, amy, now=NOW + timedelta(hours=1))
    assert users.signed_in(conn, phone, now=NOW) == amy
    assert users.signed_in(conn, "x" + phone, now=NOW) is None
    shown = users.sign_ins(conn, amy, phone, now=NOW + timedelta(hours=1))
    assert [(each.current, each.address) for each in shown] == [(False, None), (True, "10.0.0.1")]
    assert len(shown[1].agent or "") == users.MOST_AGENT
    end = NOW + users.SIGNED_IN_FOR
    assert users.signed_in(conn, phone, now=end) is None
    assert users.signed_in(conn, desk, now=end) == amy
    users.sign_out(conn, desk)
    assert users.signed_in(conn, desk, now=NOW) is None


@pytest.mark.parametrize("way", ["password", "disabled", "everywhere"])
def test_what_ends_all_sign_ins_ends_those_of_no_one_else(conn: Connection, amy: User, way: str) -> None:
    bob = users.create(conn, "bob@example.com", name="Bob", role="viewer", password_hash="battery", now=NOW)
    assert bob is not None
    mine, other = users.sign_in(conn, amy, now=NOW), users.sign_in(conn, bob, now=NOW)
    if way == "password":
        assert users.set_password(conn, AMY, "staple", now=NOW) == amy
    elif way == "disabled":
        users.set_active(conn, AMY, active=False)
        users.set_active(conn, AMY, active=True)
    else:
        users.sign_out_everywhere(conn, amy)
    assert users.signed_in(conn, mine, now=NOW) is None
    assert users.signed_in(conn, other, now=NOW) == bob


def test_a_hash_is_renewed_without_signing_anybody_out(conn: Connection, amy: User) -> None:
    secret = users.sign_in(conn, amy, now=NOW)
    before = begun(conn).password_hash
    assert before is not None
    users.renew_hash(conn, amy, before=before, password_hash="correct horse, made anew")
    assert users.signed_in(conn, secret, now=NOW) == amy
    assert begun(conn).password_hash == "correct horse, made anew"


def test_a_hash_is_not_renewed_once_the_password_has_changed(conn: Connection, amy: User) -> None:
    users.set_password(conn, AMY, "staple", now=NOW)
    users.renew_hash(conn, amy, before="correct horse", password_hash="correct horse, made anew")
    assert begun(conn).password_hash == "staple"


def test_nobody_ends_the_sign_in_of_another(conn: Connection, amy: User) -> None:
    bob = users.create(conn, "bob@example.com", name="Bob", role="viewer", password_hash="battery", now=NOW)
    assert bob is not None
    secret = users.sign_in(conn, amy, now=NOW)
    (mine,) = users.sign_ins(conn, amy, secret, now=NOW)
    users.end_sign_in(conn, bob, mine.id)
    assert users.signed_in(conn, secret, now=NOW) == amy
    users.end_sign_in(conn, amy, mine.id)
    assert users.signed_in(conn, secret, now=NOW) is None


def test_sign_ins_that_expired_leave_the_table_with_the_next_one(conn: Connection, amy: User) -> None:
    users.sign_in(conn, amy, now=NOW)
    users.sign_in(conn, amy, now=NOW + users.SIGNED_IN_FOR)
    # As of the beginning both would be shown.
    assert len(users.sign_ins(conn, amy, "", now=NOW - timedelta(days=1))) == 1


def test_many_who_sign_in_at_once_for_one_address_from_one_source_do_not_wait_for_each_other_in_a_circle(
    engine: Engine,
) -> None:
    with engine.begin() as conn:
        assert users.create(
            conn, AMY, name="Amy", role="editor", password_hash=passwords.hashed("correct horse"), now=NOW
        )
    all_began = Barrier(users.MOST_FAILURES)

    def signs_in(_: int) -> None:
        with engine.begin() as conn:
            begun(conn)
        all_began.wait(60)
        with engine.begin() as conn:
            users.succeed(conn, AMY, "10.0.0.1")

    with ThreadPoolExecutor(users.MOST_FAILURES) as many:
        for _ in range(20):
            assert list(many.map(signs_in, range(users.MOST_FAILURES))) == [None] * users.MOST_FAILURES
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM sign_in_failure")).scalar_one() == 0
