"""`parcours tick`."""

import signal
import threading

import typer

from parcours.cli.session import session
from parcours.ops import structlog_alone  # noqa: F401
from parcours.ops.health import Health, HealthPort, served
from parcours.ops.logs import configure
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick

app = typer.Typer()


@app.command()
def tick(health_port: HealthPort = None) -> None:
    """Publish due work every second until stopped. You can run several; one of them is active."""
    here = session()
    url = here.need_broker("tick")
    configure(here.settings.log_format, here.settings.log_level)
    here.wait_for_servers(url)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    with served(Health(here.engine.url, here.settings), here.settings, health_port):
        Tick(here.engine, make_broker(url)).run(stop)
