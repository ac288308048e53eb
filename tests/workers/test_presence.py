"""Which workers run is known to whoever looks."""

from __future__ import annotations

import os
from datetime import timedelta

import dramatiq
from sqlalchemy import Engine

from parcours.db.clock import now as database_now
from parcours.db.tables import installation
from parcours.db.tables.installation import WorkerSeen
from parcours.producers.broker import make_broker
from parcours.workers.presence import Presence
from tests.web.conftest import eventually


def seen(engine: Engine) -> list[WorkerSeen]:
    with engine.connect() as conn:
        return installation.workers(conn)


def test_a_worker_is_known_from_its_start_to_its_end(engine: Engine) -> None:
    broker = make_broker(None, extra=[Presence(engine)])
    broker.declare_queue("delivery")
    worker = dramatiq.Worker(broker, queues={"delivery"}, worker_threads=3)
    worker.start()
    (found,) = eventually(lambda: seen(engine), seconds=60)
    assert (found.name.rpartition(":")[2], found.threads, found.queues) == (str(os.getpid()), 3, ("delivery",))
    worker.stop()
    broker.close()
    assert seen(engine) == []


def test_a_worker_tells_again_since_when_it_runs_and_the_long_silent_are_forgotten(engine: Engine) -> None:
    own = Presence(engine)
    own.beat(1, ())
    (first,) = seen(engine)
    with engine.begin() as conn:
        now = database_now(conn)
        for name, ago in (("a:1", timedelta(minutes=59)), ("b:1", timedelta(minutes=61))):
            silent = WorkerSeen(name, now - ago, now - ago, 1, ())
            installation.beat(conn, silent._replace(at=now))
            installation.beat(conn, silent)
    own.beat(1, ())
    silent, again = seen(engine)
    assert (silent.name, again.name, again.since) == ("a:1", own.name, first.since)
    assert again.at > first.at
