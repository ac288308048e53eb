"""`parcours tick`."""

import signal
import threading

import typer

from producers.broker import make_broker
from producers.logs import configure
from producers.session import session
from producers.tick import Tick

app = typer.Typer()


@app.command()
def tick() -> None:
    """Publish due work every second, until told to stop. Several may run: one leads."""
    here = session()
    url = here.need_broker("tick")
    configure(here.settings.log_format, here.settings.log_level)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    Tick(here.engine, make_broker(url)).run(stop)
