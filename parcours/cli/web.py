"""`parcours web`."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db.tables import api_keys
from parcours.domain.errors import CampaignError
from parcours.ops.health import Health, HealthPort, served
from parcours.ops.logs import configure
from parcours.producers.broker import make_broker
from parcours.web.app import make_app
from parcours.web.server import Server

app = typer.Typer()


@app.command()
def web(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 selects a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    health_port: HealthPort = None,
) -> None:
    """Serve HTTP until stopped: pages, and POST /events, REST and /metrics with an API key.

    You can run several behind a proxy that provides HTTPS.
    """
    here = session()
    configure(here.settings.log_format, here.settings.log_level)
    server = Server(host=host, port=port)
    here.wait_for_servers(here.settings.broker_url)
    engine = here.engine
    broker = None if here.settings.broker_url is None else make_broker(here.settings.broker_url)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    with engine.connect() as conn:
        keyless = all(key.revoked_at for key in api_keys.listing(conn))
    app = make_app(engine, broker, here.settings, open_to_all=False)
    server.start(app, trusted_proxies=here.settings.trusted_proxies, for_good=True)
    here.warn(f"Serving HTTP at {server.address}. Press Ctrl-C to stop.")
    if keyless:
        here.warn("There is no API key yet; create one with `parcours keys create`.")
    if broker is None:
        here.warn("PARCOURS_BROKER_URL is not set; events are stored until a worker reads the inbox.")
    try:
        with served(Health(engine.url, here.settings, inside=broker), here.settings, health_port):
            while not stop.wait(1.0):
                if not server.is_running:
                    raise CampaignError("the HTTP server stopped unexpectedly; see the log")
    finally:
        server.stop()
        if broker is not None:
            broker.close()
        engine.dispose()
