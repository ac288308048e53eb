"""API keys: what is kept of them, and how they end."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from parcours.db.tables import api_keys
from tests.db.rows import read


def test_a_key_is_found_by_itself_and_only_its_hash_is_kept(conn: Connection) -> None:
    key, made = api_keys.create(conn, "shop", "publish")
    assert api_keys.find(conn, key) == made
    assert api_keys.listing(conn) == [made]
    assert key not in str(read(conn, "SELECT api_key::text FROM api_key"))
    other, _ = api_keys.create(conn, "shop", "publish")
    assert other != key


@pytest.mark.parametrize("wrong", ["", "prc_", "\0", "\ud83d", "%", "x" * 100_000])
def test_what_is_no_key_finds_none(conn: Connection, wrong: str) -> None:
    key, _ = api_keys.create(conn, "shop", "read")
    for each in (wrong, key + wrong if wrong else key[:-1], key.upper()):
        assert api_keys.find(conn, each) is None


def test_a_revoked_key_is_worthless_and_the_first_time_counts(conn: Connection) -> None:
    key, made = api_keys.create(conn, "shop", "manage")
    revoked = api_keys.revoke(conn, made.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert api_keys.find(conn, key) is None
    assert api_keys.revoke(conn, made.id) == revoked
    assert api_keys.listing(conn) == [revoked]
    assert api_keys.revoke(conn, made.id + 1) is None
