"""The publishers of "Publish events" work as they are written, on the real servers, and their events arrive."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import Engine, text

from parcours.db.tables import api_keys
from parcours.ops.settings import Settings
from parcours.producers import event_queue
from parcours.web.app import make_app
from parcours.workers.consumer import Consumer
from tests.docs.pages import blocks, titled
from tests.servers import free_ports

PAGE = "howto/publish-events.md"
# A folder with node_modules in which the packages `redis` and `amqplib` are.
NODE = os.environ.get("PARCOURS_TEST_NODE")


def publish(title: str, folder: Path, **environment: str) -> str:
    """Run a block of the page with what it is written for; return what it prints."""
    code = titled(PAGE, title)
    (found,) = (each for each in blocks(PAGE) if each.title == title)
    if found.language == "python":
        command = [sys.executable, "-c", code]
    elif found.language == "bash":
        program = code.split()[0]
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")
        command = ["bash", "-ec", code]
    else:
        if shutil.which("node") is None:
            pytest.skip("no node")
        if "npm install" in code:
            if NODE is None:
                pytest.skip(
                    "no packages for Node: npm install redis amqplib, and name the folder in PARCOURS_TEST_NODE"
                )
            (folder / "node_modules").symlink_to(Path(NODE) / "node_modules")
        (folder / "publisher.mjs").write_text(code, "utf-8")
        command = ["node", str(folder / "publisher.mjs")]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def arrives(engine: Engine, url: str, id_: str) -> None:
    """Take from the queue until an event has come."""
    stop = threading.Event()
    thread = threading.Thread(target=Consumer(engine, url, Settings()).run, args=(stop,), daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 600
        while not is_known(engine, id_):
            assert time.monotonic() < end, "the event did not arrive"
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join(600)


def is_known(engine: Engine, id_: str) -> bool:
    with engine.connect() as conn:
        found = conn.execute(text("SELECT FROM event_key WHERE id = :id"), {"id": id_}).first()
        assert conn.execute(text("SELECT reason FROM dead_letter")).scalars().all() == []
    return found is not None


def id_in(title: str) -> str:
    return next(str(number) for number in range(42, 60) if f'"{number}"' in titled(PAGE, title))


@pytest.fixture
def served(engine: Engine) -> Iterator[str]:
    """The address of the HTTP interface, which asks for keys."""
    (port,) = free_ports(1)
    app = make_app(engine, None, Settings(), open_to_all=False)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(600)


@pytest.mark.parametrize("title", ["over-http.sh", "over_http.py", "over-http.mjs"])
def test_an_event_published_over_http_is_stored(title: str, engine: Engine, served: str, tmp_path: Path) -> None:
    with engine.begin() as conn:
        key = api_keys.create(conn, "test", "publish")[0]
    printed = publish(title, tmp_path, EVENTS_SERVER=served, EVENTS_KEY=key)
    assert re.search(r"""accepted["']?: ?1""", printed)
    assert is_known(engine, id_in(title))


@pytest.mark.parametrize("title", ["redis.sh", "redis_list.py", "redis.mjs", "either_broker.py"])
def test_an_event_published_through_redis_arrives(title: str, engine: Engine, redis_url: str, tmp_path: Path) -> None:
    empty(redis_url)
    publish(title, tmp_path, BROKER_URL=redis_url)
    arrives(engine, redis_url, id_in(title))


@pytest.mark.parametrize("title", ["rabbitmq.py", "rabbitmq.mjs", "either_broker.py"])
def test_an_event_published_through_rabbitmq_arrives(
    title: str, engine: Engine, rabbitmq_url: str, tmp_path: Path
) -> None:
    empty(rabbitmq_url)
    publish(title, tmp_path, BROKER_URL=rabbitmq_url)
    arrives(engine, rabbitmq_url, id_in(title))


def empty(url: str) -> None:
    with event_queue.connection(url) as conn:
        queue: Any = event_queue.QUEUE(conn.default_channel)
        queue.declare()
        queue.purge()
