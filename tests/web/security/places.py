"""Every route of the app, as it stands in its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute


def routes_of(app: Any) -> list[tuple[str, str]]:
    """Return (method, path) of every route, each once; HEAD goes with GET."""
    found = {
        (method, route.path)
        for route in _single(app.routes)
        for method in route.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    return sorted(found, key=lambda each: (each[1], each[0]))


def queries_of(app: Any) -> dict[tuple[str, str], list[str]]:
    """Return the names that each route takes behind the question mark."""
    found: dict[tuple[str, str], list[str]] = {}
    for route in _single(app.routes):
        pending = [route.dependant] if isinstance(route, APIRoute) else []
        for each in pending:
            pending += each.dependencies
        names = [query.alias for each in pending for query in each.query_params]
        found |= {(method, route.path): names for method in route.methods or ()}
    return found


def _single(routes: Iterable[BaseRoute]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _single(inner.routes)
        elif hasattr(route, "methods"):
            yield route
        else:
            raise AssertionError(f"a kind of route that no test knows: {route}")
