"""The app on a real database, and its process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from dramatiq.broker import Broker
from dramatiq.brokers.stub import StubBroker
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from starlette.types import ASGIApp

from parcours.db.tables import api_keys
from parcours.db.tables.api_keys import Role
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.web.app import make_app
from tests.conftest import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
WAIT_MS = 30_000
# Chromium hears the last list of features only, so this one has those of Playwright too that could change a test.
WITHOUT_FEATURES = (
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades", "LensOverlay"),
    *("HttpsFirstBalancedModeAutoEnable", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning"),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled"),
    *("PreconnectToSearch",),
    # Pages of its own that each window makes for the address bar, seen or not: half of what a short test takes.
    *("WebUIOmniboxPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxAimPopup"),
)
BROWSER_ARGUMENTS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    # Without a graphics card, to draw as if there were one costs a quarter more.
    *("--disable-component-update", "--disable-sync", "--disable-gpu"),
    f"--disable-features={','.join(WITHOUT_FEATURES)}",
]


class Client(Protocol):
    def __call__(
        self, *, broker: Broker | None = None, open_to_all: bool = True, engine: Engine | None = None, **settings: Any
    ) -> TestClient: ...


class OneHopClient(TestClient):
    """A client that crosses over to the app's thread once a request, and has the whole answer when it comes back.

    Starlette's own crosses nine times, so that answers can be read while they are made: half of a short request.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(app, **options)
        self._transport = _OneHop(self)


class _OneHop(httpx.BaseTransport):
    def __init__(self, client: OneHopClient) -> None:
        self._client = client
        self._asgi = httpx.ASGITransport(client.app, client=("testclient", 50000))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with self._client._portal_factory() as portal:
            return portal.call(self._answered, request)

    async def _answered(self, request: httpx.Request) -> httpx.Response:
        answer = await self._asgi.handle_async_request(request)
        # As it is sent: compressed, if it is.
        stream = httpx.ByteStream(b"".join([part async for part in answer.aiter_raw()]))
        return httpx.Response(answer.status_code, headers=answer.headers.raw, stream=stream, request=request)


Start = Callable[..., AbstractContextManager["subprocess.Popen[str]"]]


def settings_with(**values: Any) -> Settings:
    """Return settings that do not depend on who runs the tests."""
    return Settings(**values)


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    """Makes clients of an app on the test's database."""
    default = engine
    with contextlib.ExitStack() as opened:

        def make(
            *, broker: Broker | None = None, open_to_all: bool = True, engine: Engine | None = None, **settings: Any
        ) -> TestClient:
            app = make_app(engine or default, broker, settings_with(**settings), open_to_all=open_to_all)
            return opened.enter_context(OneHopClient(app))

        yield make


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    yield broker
    broker.close()


@pytest.fixture
def key(engine: Engine) -> Callable[[Role], str]:
    """Makes keys of a role."""

    def make(role: Role) -> str:
        with engine.begin() as conn:
            return api_keys.create(conn, "test", role)[0]

    return make


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Start:
    """Start the command as a process on the test's database; SIGTERM at the end, and it must then exit with 0."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    environment |= {
        "PARCOURS_HOME": str(tmp_path),
        "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }

    @contextlib.contextmanager
    def started(*args: object, **more: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "parcours", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=environment | more,
            cwd=tmp_path,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=600)
            assert process.returncode == 0, told
        finally:
            process.kill()
            process.communicate()

    return started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a file, of which each opens a context of its own.

    To start one takes seconds. It is not for all files, because no other event loop runs in this thread beside it.
    """
    from playwright.sync_api import expect, sync_playwright

    # A machine that is busy with other things is not a page that does not come.
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=str(CHROMIUM), args=BROWSER_ARGUMENTS)
        yield opened
        opened.close()


def event(id_: str, type_: str = "page.hit", contact: str = "anna", **data: Any) -> dict[str, Any]:
    """Return a CloudEvent."""
    if type_ == "page.hit":
        data.setdefault("url", "https://example.com/")
    return {"specversion": "1.0", "id": id_, "source": "test", "type": type_, "subject": contact, "data": data}


def count(engine: Engine, table: str) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def eventually(holds: Callable[[], Any], *, seconds: float = 600) -> Any:
    """Return what the condition says as soon as that is true; fail when it does not become so."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.02)
    return found
