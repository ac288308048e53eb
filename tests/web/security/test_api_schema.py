"""Whatever fits, or nearly fits, what the OpenAPI document says, nothing under `/api/` breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from tests.web.conftest import Client
from tests.workers.worlds import START, World

EXAMPLES = 20


def test_nothing_that_the_document_allows_breaks_the_interface(client: Client, engine: Engine, tmp_path: Path) -> None:
    ensure_partitions(engine, START)
    world = World(engine, tmp_path)
    world.contacts("ann", segment="everyone")
    world.campaign("[{action: contact.points, with: {points: 1}}]")
    http: TestClient = client()
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", http.app)
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if not operation.path.startswith("/api/"):
            continue
        tried += 1

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            sent = case.as_transport_kwargs(base_url="http://testserver")
            answer = http.request(
                sent["method"],
                sent["url"],
                params=sent.get("params"),
                # As a client in UTF-8 would send them: constants of our own texts are tried, and those have accents.
                headers={name: str(value).encode() for name, value in (sent.get("headers") or {}).items()},
                content=sent["data"] if isinstance(sent.get("data"), bytes | str) else None,
                json=sent.get("json"),
            )
            assert answer.status_code < 500, (case.method, case.path, sent, answer.text)

        ask()
    assert tried > 25
