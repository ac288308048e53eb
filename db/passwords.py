"""Passwords: hashed and compared, a few at a time, with no transaction open.

One hash takes 19 MiB and some 30 ms of a core. Strangers decide how many are asked for, so only so many are made
at once; a few more wait their turn, and whoever comes on top of these is told to come again.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

T = TypeVar("T")

HASHES_AT_ONCE = 2
HASHES_WAITING = 8
WAIT_SECONDS = 5.0

# argon2id. Source: OWASP, "Password Storage Cheat Sheet", the first of its equal choices (19 MiB, 2 passes).
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Threads of their own, since the memory of a hash stays with the thread that made it: every thread that answers
# requests would keep some.
_hands = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="passwords")
_in_line = threading.BoundedSemaphore(HASHES_AT_ONCE + HASHES_WAITING)


class BusyError(Exception):
    """Too many passwords are being compared at this moment; nothing was compared."""


def _in_turn(work: Callable[[], T]) -> T:
    if not _in_line.acquire(blocking=False):
        raise BusyError
    try:
        done = _hands.submit(work)
        try:
            return done.result(WAIT_SECONDS)
        except TimeoutError:
            if done.cancel():
                raise BusyError from None
            return done.result()
    finally:
        _in_line.release()


def hashed(password: str) -> str:
    """Return what is kept of a password. Raises BusyError."""
    return _in_turn(lambda: _hasher.hash(_bytes(password)))


def is_right(password_hash: str | None, password: str) -> bool:
    """Return whether a password is the one of a hash; without a hash it is wrong, and takes as long.

    Raises BusyError.
    """

    def compare() -> bool:
        try:
            right = _hasher.verify(_nobodys_hash() if password_hash is None else password_hash, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False
        return right and password_hash is not None

    return _in_turn(compare)


def is_outdated(password_hash: str) -> bool:
    """Return whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


def _bytes(password: str) -> bytes:
    # Half a character is no text, and yet somebody may type it.
    return password.encode("utf-8", "surrogatepass")


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_bytes(32))
