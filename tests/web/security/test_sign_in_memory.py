"""Who signs in takes no more memory than there is, however many do so at once."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from tests.ops.test_health_and_metrics import free_port
from tests.web.conftest import Start, eventually
from tests.web.test_processes import is_ready

MANY = 20
PASSWORD = "correct horse battery"
# Two hashes of 19 MiB, and what twenty connections and their threads take beside them. Twenty would take 380 MiB.
MOST_GROWTH_KILOBYTES = 80_000


def peak_kilobytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def sign_in(port: int) -> int:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
        found = re.search(r'name="csrf" value="([^"]+)"', http.get("/sign-in").text)
        assert found
        given = {"csrf": found[1], "email": "ada@example.com", "password": PASSWORD}
        return http.post("/sign-in", data=given).status_code


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc: memory is read there")
def test_twenty_who_sign_in_at_once_take_the_memory_of_a_few(start: Start, engine: Engine) -> None:
    with engine.begin() as conn:
        assert users.create(
            conn,
            "ada@example.com",
            name="Ada",
            role="viewer",
            password_hash=passwords.hashed(PASSWORD),
            now=database_now(conn),
        )
    port = free_port()
    with start("web", "--port", port) as process:
        eventually(lambda: is_ready(port))
        # The first fills what every later one uses again.
        assert {sign_in(port) for _ in range(3)} == {303}
        one = peak_kilobytes(process.pid)
        with ThreadPoolExecutor(MANY) as many:
            answers = Counter(many.map(sign_in, [port] * MANY))
        grown = peak_kilobytes(process.pid) - one
    # Who is not in the short queue is told to come again.
    assert answers.keys() <= {303, 429}
    assert answers[303] >= passwords.HASHES_AT_ONCE
    assert grown < MOST_GROWTH_KILOBYTES, f"{grown} kB"
