"""`parcours keys`."""

from __future__ import annotations

import hashlib
import json

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Run


def test_a_key_is_printed_once_and_only_its_hash_is_kept(run: Run, engine: Engine) -> None:
    made = run("keys", "create", "--name", "shop", "--role", "publish")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("prc_")
    assert len(key) == 4 + 32
    with engine.connect() as conn:
        kept = conn.execute(text("SELECT name, role, hash FROM api_key")).one()
    assert tuple(kept) == ("shop", "publish", hashlib.sha256(key.encode()).digest())
    for listed in (run("keys", "list"), run("keys", "list", "--json")):
        assert "shop" in listed.stdout
        assert key not in listed.stdout


def test_a_revoked_key_stays_listed_with_the_time(run: Run) -> None:
    made = json.loads(run("keys", "create", "--name", "shop", "--role", "manage", "--json").stdout)
    assert run("keys", "revoke", made["id"]).returncode == 0
    first = json.loads(run("keys", "list", "--json").stdout)
    assert first[0]["revoked_at"] is not None
    # A second time changes nothing.
    assert run("keys", "revoke", made["id"]).returncode == 0
    assert json.loads(run("keys", "list", "--json").stdout) == first


def test_revoking_what_is_not_there_is_one_sentence(run: Run) -> None:
    done = run("keys", "revoke", 7)
    assert done.returncode == 1
    assert done.stderr.strip() == "parcours: there is no key '7'; run `parcours keys list` to see the numbers"


@pytest.mark.parametrize("arguments", [("--name", "x", "--role", "root"), ("--role", "read"), ("--name", "x")])
def test_a_wrong_role_or_a_missing_option_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("keys", "create", *arguments).returncode == 2
