"""`parcours up`: database, workers, tick and HTTP in one process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Annotated

import dramatiq
import structlog
import typer
from sqlalchemy import Engine
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from parcours.cli.session import Session, session
from parcours.db import embedded
from parcours.domain.errors import CampaignError
from parcours.ops.logs import OneLineMiddleware, configure
from parcours.ops.metrics import MetricsMiddleware
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.web.app import make_app
from parcours.web.mail import add_mail
from parcours.web.security.limits import NoProxyMiddleware
from parcours.web.server import Server, is_loopback
from parcours.workers.actors import Workshop, register
from parcours.workers.consumer import Consumer
from parcours.workers.presence import Presence

app = typer.Typer()

log = structlog.get_logger()

# Some may be waiting for an answer of a provider; there is one left for what contacts do.
THREADS = 8
# A part of the process that has ended although nobody told it to; whoever starts us again mends that.
DEAD = "it ended unexpectedly; the process stops so that it can be restarted"
WATCH_SECONDS = 1.0


def _start_consumer(
    consumer: Consumer, stop: threading.Event, running: ExitStack, parts: dict[str, Callable[[], str | None]]
) -> None:
    thread = threading.Thread(target=consumer.run, args=(stop,), name="consumer", daemon=True)
    thread.start()
    running.callback(thread.join, timeout=30)
    parts["consumer"] = lambda: consumer.trouble if thread.is_alive() else DEAD


def _watch(parts: Mapping[str, Callable[[], str | None]], stop: threading.Event, lost: list[str]) -> None:
    """Stop the process when a part of it has died."""
    while not stop.wait(WATCH_SECONDS):
        dead = [name for name, trouble in parts.items() if trouble() == DEAD]
        if dead and not stop.is_set():
            log.error("part_died", part=dead[0])
            lost.append(dead[0])
            stop.set()


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="HTTP port; 0 selects a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other than loopback, it requires API keys and sign-in.")
    ] = "127.0.0.1",
) -> None:
    """Run everything in one process until Ctrl-C: workers, tick, HTTP, and an embedded database unless
    PARCOURS_DATABASE_URL is set."""
    here = session()
    configure(here.settings.log_format, here.settings.log_level)
    # First: where the port is taken, another `up` may be living on the same embedded server.
    server = Server(host=host, port=port)
    settings = _reached_at(server.address, here.settings) if is_loopback(host) else here.settings
    engine = _database(here)
    stop = _until_told()
    # Undone from the last to the first, whatever happens in between.
    with ExitStack() as running:
        if settings.database_url is None:
            running.callback(embedded.stop, settings.home)
        running.callback(engine.dispose)
        # With a broker, this process is one pool more; without, the queues live in it.
        broker = make_broker(settings.broker_url, extra=[MetricsMiddleware(), OneLineMiddleware(), Presence(engine)])
        running.callback(broker.close)
        dramatiq.set_broker(broker)
        workshop = Workshop(engine, broker, settings)
        running.callback(workshop.delivery.close)
        register(workshop)
        parts_alive: dict[str, Callable[[], str | None]] = {"HTTP": lambda: None if server.is_running else DEAD}
        open_to_all = is_loopback(host)
        site = make_app(engine, broker, settings, open_to_all=open_to_all, parts=parts_alive)
        if open_to_all and settings.smtp_url is None:
            add_mail(site, settings.home / "mail", settings.public_url)
        worker = dramatiq.Worker(broker, worker_threads=THREADS, worker_timeout=100)
        worker.start()
        # Batches in hand are finished; what is not begun is found again by the next tick.
        running.callback(worker.stop, timeout=60_000)
        parts = ["workers", "tick", "HTTP"]
        if settings.events_broker_url is not None:
            parts.insert(2, "the consumer of events")
            _start_consumer(Consumer(engine, settings.events_broker_url, settings), stop, running, parts_alive)
        proxies = None if open_to_all else settings.trusted_proxies
        server.start(_for_this_machine(site, host) if open_to_all else site, trusted_proxies=proxies, for_good=True)
        running.callback(server.stop)
        where = "your database" if settings.database_url else f"the embedded PostgreSQL of {settings.home}"
        here.say(f"Parcours is running with {where}: {', '.join(parts[:-1])} and {parts[-1]}. Press Ctrl-C to stop.")
        here.say(f"Open in a browser: {server.address}/campaigns")
        here.say(f"HTTP: {server.address} accepts events at /events and serves /health/ready and /metrics.")
        if open_to_all:
            here.say("Only this machine can reach it. No API key or sign-in is needed.")
        else:
            _say_who_reaches(here, host, settings)
        if settings.smtp_url is None:
            shown = f", and shown at {server.address}/mail" if open_to_all else ""
            here.say(f"PARCOURS_SMTP_URL is not set; mail is written to {settings.home / 'mail'}{shown}.")
        running.callback(stop.set)
        lost: list[str] = []
        threading.Thread(target=_watch, args=(parts_alive, stop, lost), name="watch", daemon=True).start()
        Tick(engine, broker).run(stop)
    if lost:
        raise CampaignError(f"stopped because {lost[0]!r} ended unexpectedly; see the log, then restart")
    here.say("Stopped.")


def _say_who_reaches(here: Session, host: str, settings: Settings) -> None:
    here.say(
        f"Other machines can reach {host}: programs need an API key (`parcours keys create`), people an account "
        "(`parcours users create`)."
    )
    if "public_url" not in settings.model_fields_set:
        here.say(f"PARCOURS_PUBLIC_URL is not set; links in messages lead to {settings.public_url}.")


def _database(here: Session) -> Engine:
    """Return the database once it answers.

    The broker is not waited for: what HTTP takes in meanwhile is stored, and found when it is back.
    """
    here.wait_for_servers()
    return here.engine


def _reached_at(address: str, settings: Settings) -> Settings:
    """Return settings by which links in messages and forms lead to an address, unless another one was set."""
    return (
        settings if "public_url" in settings.model_fields_set else settings.model_copy(update={"public_url": address})
    )


def _until_told() -> threading.Event:
    """Return what is set when this process is told to stop."""
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    return stop


def _for_this_machine(site: ASGIApp, host: str) -> ASGIApp:
    """Return the app for those who need no key: nobody comes through a proxy, or from a page under another name."""
    names = ["localhost", "127.0.0.1", "[::1]", "::1", host]
    return TrustedHostMiddleware(NoProxyMiddleware(site), names, www_redirect=False)
