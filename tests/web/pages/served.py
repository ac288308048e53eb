"""The pages, served to a browser by the process of the tests, which has imported them already."""

from __future__ import annotations

import threading
from collections.abc import Callable

import uvicorn
from sqlalchemy import Engine
from starlette.types import ASGIApp

from parcours.web.app import make_app
from tests.ops.test_health_and_metrics import free_port
from tests.web.conftest import eventually, settings_with


class Served:
    """The pages, served by this process. `around` is given the app, and answers in its place."""

    def __init__(
        self, engine: Engine, *, open_to_all: bool = True, around: Callable[[ASGIApp], ASGIApp] | None = None
    ) -> None:
        self.port = free_port()
        app: ASGIApp = make_app(engine, None, settings_with(), open_to_all=open_to_all)
        app = app if around is None else around(app)
        self.server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_config=None, timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        eventually(lambda: self.server.started)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
