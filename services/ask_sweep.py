"""A sweep that somebody asks for: written down, then hinted at."""

from __future__ import annotations

from datetime import datetime

from dramatiq.errors import ConnectionClosed
from pika.exceptions import AMQPError
from redis.exceptions import RedisError
from sqlalchemy import Engine

from parcours.db.scope import Scope
from parcours.db.tables import sweeps
from parcours.domain.jobs import RunSweep
from parcours.producers.broker import make_broker, publish


def ask_sweep(
    engine: Engine, broker_url: str | None, kind: sweeps.Kind, scope: Scope, *, at: datetime
) -> tuple[int, str | None]:
    """Write a sweep down; return its id, and a sentence when the broker could not be told.

    Without a broker, or when it is away, a running `parcours up` or tick finds the sweep.
    """
    with engine.begin() as conn:
        sweep_id = sweeps.ask(conn, kind, scope, at=at)
    if broker_url is None:
        return sweep_id, None
    try:
        broker = make_broker(broker_url)
        publish(broker, RunSweep(sweep_id))
        broker.close()
    except (RedisError, AMQPError, ConnectionClosed, OSError) as error:
        return sweep_id, (
            f"the broker is unavailable ({type(error).__name__}); sweep {sweep_id} is stored, and tick starts "
            "it when the broker is back"
        )
    return sweep_id, None
