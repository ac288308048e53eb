"""People who use the pages: their accounts, and who is signed in."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection

from db.statements import statements

sql = statements("users")

Role = Literal["viewer", "editor", "admin"]
SIGNED_IN_FOR = timedelta(days=14)
# So many failures for one address within the time, and nobody signs in with it until the first is that old.
MOST_FAILURES = 5
FAILURES_COUNT_FOR = timedelta(minutes=15)
_RANDOM_BYTES = 32

# argon2id with the library's parameters, which follow RFC 9106.
_hasher = PasswordHasher()


class User(NamedTuple):
    """Somebody with an account."""

    id: int
    email: str
    name: str
    role: Role
    active: bool


class Throttled(NamedTuple):
    """Too many sign-ins failed; the next try counts from `until` on."""

    until: datetime


def create(conn: Connection, email: str, *, name: str, role: Role, password: str) -> User | None:
    """Make an account; None when there is one with this address, in whatever capitals."""
    given = {"email": email, "name": name, "role": role, "password_hash": _hasher.hash(password)}
    row = conn.execute(sql["create"], given).one_or_none()
    return None if row is None else User(*row)


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


def set_password(conn: Connection, email: str, password: str) -> User | None:
    """Change a password and sign its owner out everywhere; None when there is no such account."""
    row = conn.execute(sql["set_password"], {"email": email, "password_hash": _hasher.hash(password)}).one_or_none()
    if row is None:
        return None
    user = User(*row)
    conn.execute(sql["sign_out_everywhere"], {"account_id": user.id})
    conn.execute(sql["forgive"], {"email_hash": _hash(user.email.lower())})
    return user


def authenticate(conn: Connection, email: str, password: str, *, now: datetime) -> User | Throttled | None:
    """Return whose address and password these are; None when they are nobody's, or a disabled account's.

    Failures are counted by address, whether or not it has an account, and an answer takes as long in either
    case: nothing tells a stranger who has one. The caller commits, also after a failure.
    """
    address = {"email_hash": _hash(email.lower())}
    since = now - FAILURES_COUNT_FOR
    conn.execute(sql["attempt"], address)
    conn.execute(sql["forget_failures"], {"since": since})
    failures = conn.execute(sql["failures"], {**address, "since": since}).one()
    if failures.n >= MOST_FAILURES:
        return Throttled(failures.first_at + FAILURES_COUNT_FOR)
    row = conn.execute(sql["by_email"], {"email": email}).one_or_none()
    right = _is_right(_nobodys_hash() if row is None else row.password_hash, password)
    if row is None or not right or not row.active:
        conn.execute(sql["fail"], {**address, "now": now})
        return None
    conn.execute(sql["forgive"], address)
    if _hasher.check_needs_rehash(row.password_hash):
        conn.execute(sql["set_password"], {"email": email, "password_hash": _hasher.hash(password)})
    return User(*row[:5])


def sign_in(conn: Connection, user: User, *, now: datetime) -> str:
    """Return the secret that says, until it expires, that its bearer is this user."""
    secret = secrets.token_urlsafe(_RANDOM_BYTES)
    conn.execute(sql["forget_expired"], {"now": now})
    given = {"hash": _hash(secret), "account_id": user.id, "now": now, "expires_at": now + SIGNED_IN_FOR}
    conn.execute(sql["sign_in"], given)
    return secret


def signed_in(conn: Connection, secret: str, *, now: datetime) -> User | None:
    """Return who is signed in with a secret, if anybody still is."""
    row = conn.execute(sql["signed_in"], {"hash": _hash(secret), "now": now}).one_or_none()
    return None if row is None else User(*row)


def sign_out(conn: Connection, secret: str) -> None:
    """Make a secret worthless."""
    conn.execute(sql["sign_out"], {"hash": _hash(secret)})


def _is_right(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(_RANDOM_BYTES))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).digest()
