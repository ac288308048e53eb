"""People who use the pages: their accounts, and who is signed in."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.domain.gate import clean

sql = statements(__file__)

Role = Literal["viewer", "editor", "admin"]
# Characters of a password.
LEAST_PASSWORD = 10
MOST_PASSWORD = 1000
SIGNED_IN_FOR = timedelta(days=14)
# So many failures within the time, of one address from one source, and neither is heard until the first is that
# old; another source still is, so that nobody can lock somebody else out.
MOST_FAILURES = 5
# Of one source, whatever the addresses.
MOST_FAILURES_OF_SOURCE = 30
FAILURES_COUNT_FOR = timedelta(minutes=15)
MOST_AGENT = 200
_RANDOM_BYTES = 32
# In place of the hash of a password, before one is chosen; no password is right.
_INVITED = "invited:"


class User(NamedTuple):
    """Somebody with an account."""

    id: int
    email: str
    name: str
    role: Role
    active: bool
    # Whether there is no password yet that could be right, since its owner has still to choose one; lists know.
    invited: bool = False


class SignIn(NamedTuple):
    """One browser in which somebody is signed in; `agent` is what it calls itself."""

    id: int
    created_at: datetime
    address: str | None
    agent: str | None
    current: bool


class Attempt(NamedTuple):
    """A sign-in under way: it counts as failed until `succeed` or `withdraw` says otherwise."""

    id: int
    user: User | None
    password_hash: str | None


class Throttled(NamedTuple):
    """Too many sign-ins failed; the next try counts from `until` on."""

    until: datetime


# A hash takes its time and may have to wait its turn, so it is made (`db.passwords`) before a transaction begins.


def create(conn: Connection, email: str, *, name: str, role: Role, password_hash: str) -> User | None:
    """Make an account; None when there is one with this address, in whatever capitals."""
    given = {"email": email, "name": name, "role": role, "password_hash": password_hash}
    row = conn.execute(sql["create"], given).one_or_none()
    return None if row is None else User(*row)


def invite(conn: Connection, email: str, *, name: str, role: Role) -> User | None:
    """Make an account whose owner has yet to choose a password; None when there is one with this address."""
    # Another one for each, so that a link is of one account and one invitation.
    return create(conn, email, name=name, role=role, password_hash=f"{_INVITED}{secrets.token_hex(_RANDOM_BYTES)}")


def listing(conn: Connection) -> list[User]:
    """Return all accounts, disabled ones too, by address."""
    return [User(*row) for row in conn.execute(sql["listing"])]


def set_active(conn: Connection, email: str, active: bool) -> User | None:
    """Let somebody in or keep them out, from now on; None when there is no such account."""
    row = conn.execute(sql["set_active"], {"email": email, "active": active}).one_or_none()
    if row is None:
        return None
    user = User(*row)
    if not active:
        conn.execute(sql["sign_out_everywhere"], {"account_id": user.id})
    return user


def find(conn: Connection, email: str) -> User | None:
    """Return an account by its address, whatever its capitals."""
    row = conn.execute(sql["by_email"], {"email": email}).one_or_none()
    return None if row is None else User(*row[:5])


def by_id(conn: Connection, id_: int) -> tuple[User, str] | None:
    """Return an account and what tells its present password from others; an invitation is good until it changes."""
    row = conn.execute(sql["by_id"], {"id": id_}).one_or_none()
    return None if row is None else (User(*row[:5]), _hash(row.password_hash).hex()[:16])


def set_role(conn: Connection, email: str, role: Role) -> User | None:
    """Change what somebody may do; None when there is no such account."""
    row = conn.execute(sql["set_role"], {"email": email, "role": role}).one_or_none()
    return None if row is None else User(*row)


def set_password(conn: Connection, email: str, password_hash: str) -> User | None:
    """Change a password and sign its owner out everywhere; None when there is no such account."""
    row = conn.execute(sql["set_password"], {"email": email, "password_hash": password_hash}).one_or_none()
    if row is None:
        return None
    user = User(*row)
    conn.execute(sql["sign_out_everywhere"], {"account_id": user.id})
    return user


def begin(conn: Connection, email: str, source: str, *, now: datetime) -> Attempt | Throttled:
    """Begin a sign-in with an address from a source, such as a network address or a browser known from before.

    The attempt counts as failed from now on, whether or not the address has an account, so that many at once
    count as many. Compare the password after committing (`db.passwords`), then `succeed`.
    """
    pair = {"email_hash": _hash(f"{email.lower()}\n{source}"), "source_hash": _hash(source)}
    since = now - FAILURES_COUNT_FOR
    conn.execute(sql["attempt"], pair)
    conn.execute(sql["forget_failures"], {"since": since})
    failures = conn.execute(sql["failures"], {**pair, "since": since}).one()
    if failures.of_both >= MOST_FAILURES:
        return Throttled(failures.both_since + FAILURES_COUNT_FOR)
    if failures.of_source >= MOST_FAILURES_OF_SOURCE:
        return Throttled(failures.source_since + FAILURES_COUNT_FOR)
    id_ = conn.execute(sql["fail"], {**pair, "now": now}).scalar_one()
    row = conn.execute(sql["by_email"], {"email": email}).one_or_none()
    if row is None or not row.active or row.password_hash.startswith(_INVITED):
        return Attempt(id_, None, None)
    return Attempt(id_, User(*row[:5]), row.password_hash)


def succeed(conn: Connection, email: str, source: str) -> None:
    """Forget the failures of an address from a source, the present attempt included: the password was right.

    One at a time, as they begin: each would otherwise wait for the attempts of the others.
    """
    pair = {"email_hash": _hash(f"{email.lower()}\n{source}"), "source_hash": _hash(source)}
    conn.execute(sql["attempt"], pair)
    conn.execute(sql["forgive"], {"email_hash": pair["email_hash"]})


def withdraw(conn: Connection, attempt: Attempt) -> None:
    """Take an attempt back that nobody could look at."""
    conn.execute(sql["withdraw"], {"id": attempt.id})


def renew_hash(conn: Connection, user: User, *, before: str, password_hash: str) -> None:
    """Keep a password, which has just been right, as a hash with today's parameters; nobody is signed out by it.

    Unless the hash is no longer the one that it was right for: somebody has changed the password meanwhile.
    """
    conn.execute(sql["renew_hash"], {"id": user.id, "before": before, "password_hash": password_hash})


def sign_in(conn: Connection, user: User, *, now: datetime, address: str | None = None, agent: str = "") -> str:
    """Return the secret that says, until it expires, that its bearer is this user."""
    secret = secrets.token_urlsafe(_RANDOM_BYTES)
    conn.execute(sql["forget_expired"], {"now": now})
    given = {"hash": _hash(secret), "account_id": user.id, "now": now, "expires_at": now + SIGNED_IN_FOR}
    conn.execute(sql["sign_in"], {**given, "address": address, "agent": clean(agent)[:MOST_AGENT] or None})
    return secret


def sign_ins(conn: Connection, user: User, secret: str, *, now: datetime) -> list[SignIn]:
    """Return where a user is signed in, the latest first; that of `secret` is the current one."""
    given = {"account_id": user.id, "hash": _hash(secret), "now": now}
    return [SignIn(*row) for row in conn.execute(sql["sign_ins"], given)]


def end_sign_in(conn: Connection, user: User, id_: int) -> None:
    """End one of a user's sign-ins."""
    conn.execute(sql["end_sign_in"], {"account_id": user.id, "id": id_})


def sign_out_everywhere(conn: Connection, user: User) -> None:
    """End all of a user's sign-ins."""
    conn.execute(sql["sign_out_everywhere"], {"account_id": user.id})


def signed_in(conn: Connection, secret: str, *, now: datetime) -> User | None:
    """Return who is signed in with a secret, if anybody still is."""
    row = conn.execute(sql["signed_in"], {"hash": _hash(secret), "now": now}).one_or_none()
    return None if row is None else User(*row)


def sign_out(conn: Connection, secret: str) -> None:
    """Make a secret worthless."""
    conn.execute(sql["sign_out"], {"hash": _hash(secret)})


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).digest()
