"""Keys of the HTTP interface. Only their hashes are kept; a key itself is shown once, to who made it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

Role = Literal["publish", "read", "manage"]
PREFIX = "prc_"
# 24 random bytes are 32 characters, too many to guess: a plain SHA-256 of them needs no salt.
_RANDOM_BYTES = 24


class ApiKey(NamedTuple):
    id: int
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


def create(conn: Connection, name: str, role: Role) -> tuple[str, ApiKey]:
    """Make a key; return it, for the only time, and what is kept of it."""
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return key, ApiKey(*conn.execute(sql["create"], {"name": name, "role": role, "hash": _hash(key)}).one())


def listing(conn: Connection) -> list[ApiKey]:
    """Return all keys, revoked ones too, oldest first."""
    return [ApiKey(*row) for row in conn.execute(sql["listing"])]


def find(conn: Connection, key: str) -> ApiKey | None:
    """Return what is kept of a key, unless it is unknown or revoked."""
    row = conn.execute(sql["find"], {"hash": _hash(key)}).one_or_none()
    return None if row is None else ApiKey(*row)


def revoke(conn: Connection, id_: int) -> ApiKey | None:
    """Make a key worthless, for good; None when there is no such key."""
    row = conn.execute(sql["revoke"], {"id": id_}).one_or_none()
    return None if row is None else ApiKey(*row)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="surrogatepass")).digest()
