"""`parcours consume`."""

from __future__ import annotations

import signal
import threading

import typer

from parcours.cli.session import session
from parcours.domain.errors import CampaignError
from parcours.ops import structlog_alone  # noqa: F401
from parcours.ops.health import Health, HealthPort, served
from parcours.ops.logs import configure
from parcours.workers.consumer import Consumer

app = typer.Typer()


@app.command()
def consume(health_port: HealthPort = None) -> None:
    """Read contact events from the queue and process them until stopped. You can run several."""
    here = session()
    url = here.settings.events_broker_url
    if url is None:
        raise CampaignError("`parcours consume` needs a queue: set PARCOURS_EVENTS_URL or PARCOURS_BROKER_URL")
    configure(here.settings.log_format, here.settings.log_level)
    # The queue is waited for by the consumer itself.
    here.wait_for_servers()
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    consumer = Consumer(here.engine, url, here.settings)
    health = Health(here.engine.url, here.settings, needs="events", parts={"consumer": lambda: consumer.trouble})
    with served(health, here.settings, health_port):
        consumer.run(stop)
