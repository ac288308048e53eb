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
# The link of an invitation.
INVITED_FOR = timedelta(days=3)
_RANDOM_BYTES = 32
# In place of the hash of a password, before one is chosen; no password is right.
_INVITED = "invited:"


class User(NamedTuple):
    """Somebody with an account. `timezone` as it was chosen; None where times are shown in the installation's."""

    id: int
    email: str
    name: str
    role: Role
    active: bool
    timezone: str | None = None


class Account(NamedTuple):
    """An account as lists have it.

    `invited` tells that there is no password yet that could be right, since its owner has still to choose one;
    `linked_at` is when the present link for that was made. Instants are None where they were not kept, which is so of
    all that happened before they were. `sign_ins_kept` tells whether None of `signed_in_at` means never.
    """

    id: int
    email: str
    name: str
    role: Role
    active: bool
    timezone: str | None
    invited: bool
    created_at: datetime
    linked_at: datetime | None
    password_at: datetime | None
    signed_in_at: datetime | None
    sign_ins_kept: bool

    @property
    def link_until(self) -> datetime | None:
        """Return until when the present link of an invitation is good; None for who was invited without a record."""
        return None if self.linked_at is None else self.linked_at + INVITED_FOR


class KnownUser(NamedTuple):
    """An account and what tells its present password from others: a link for a new one is good until it changes."""

    user: User
    mark: str
    invited: bool
    linked_at: datetime | None


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


def create(
    conn: Connection,
    email: str,
    *,
    name: str,
    role: Role,
    password_hash: str,
    now: datetime,
    timezone: str | None = None,
) -> User | None:
    """Make an account; None when there is one with this address, in whatever capitals."""
    given = {"email": email, "name": name, "role": role, "password_hash": password_hash, "timezone": timezone}
    row = conn.execute(
        sql["create"], {**given, "now": now, "has_password": not password_hash.startswith(_INVITED)}
    ).one_or_none()
    return None if row is None else User(*row)


def invite(conn: Connection, email: str, *, name: str, role: Role, now: datetime) -> User | None:
    """Make an account whose owner has yet to choose a password; None when there is one with this address."""
    return create(conn, email, name=name, role=role, password_hash=_invitation(), now=now)


def renew(conn: Connection, id_: int, *, now: datetime) -> None:
    """Make the links of an invitation so far worthless, and have a new one begin; nothing once there is a password."""
    conn.execute(sql["renew"], {"id": id_, "password_hash": _invitation(), "now": now})


def uninvite(conn: Connection, id_: int) -> bool:
    """Delete an account that nobody has chosen a password for; tell whether it was one."""
    return conn.execute(sql["uninvite"], {"id": id_}).one_or_none() is not None


def _invitation() -> str:
    # Another one for each, so that a link is of one account and one invitation.
    return f"{_INVITED}{secrets.token_hex(_RANDOM_BYTES)}"


def listing(conn: Connection) -> list[Account]:
    """Return all accounts, disabled ones too, by address."""
    return [Account(*row) for row in conn.execute(sql["listing"])]


def has_other_admin(conn: Connection, user: User) -> bool:
    """Return whether an administrator besides this account can sign in.

    Until the transaction ends, no other one can find the same and take that one's role.
    """
    ids = conn.execute(sql["administrators"]).scalars().all()
    return any(id_ != user.id for id_ in ids)


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
    return None if row is None else User(*row[:6])


def by_id(conn: Connection, id_: int) -> KnownUser | None:
    """Return an account by its number."""
    row = conn.execute(sql["by_id"], {"id": id_}).one_or_none()
    if row is None:
        return None
    return KnownUser(User(*row[:6]), _hash(row.password_hash).hex()[:16], row.invited, row.linked_at)


def edit(conn: Connection, email: str, *, name: str | None = None, role: Role | None = None) -> User | None:
    """Change how somebody is called, or what they may do; None when there is no such account."""
    return _edited(conn, {"email": email, "name": name, "role": role, "sets_timezone": False, "timezone": None})


def set_timezone(conn: Connection, email: str, timezone: str | None) -> User | None:
    """Change in which timezone somebody is shown times, None for the installation's; None without such an account."""
    return _edited(conn, {"email": email, "name": None, "role": None, "sets_timezone": True, "timezone": timezone})


def _edited(conn: Connection, given: dict[str, object]) -> User | None:
    row = conn.execute(sql["edit"], given).one_or_none()
    return None if row is None else User(*row)


def set_password(conn: Connection, email: str, password_hash: str, *, now: datetime) -> User | None:
    """Change a password and sign its owner out everywhere; None when there is no such account."""
    given = {"email": email, "password_hash": password_hash, "now": now}
    row = conn.execute(sql["set_password"], given).one_or_none()
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
    return Attempt(id_, User(*row[:6]), row.password_hash)


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
    conn.execute(sql["signed_in_at"], {"account_id": user.id, "now": now})
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
