"""The benchmark of pages asks for all of them."""

from __future__ import annotations

from sqlalchemy import create_engine

from parcours.web.app import make_app
from tests.benchmarks.pages import NOT_ASKED, PAGES, route_of
from tests.web.conftest import settings_with
from tests.web.security.places import routes_of


def test_the_benchmark_asks_for_every_route() -> None:
    app = make_app(create_engine("postgresql+psycopg://nowhere/none"), None, settings_with(), open_to_all=True)
    routes = {path for method, path in routes_of(app) if method == "GET"}
    asked = {route_of(page, routes) for page in PAGES}
    assert routes - asked == NOT_ASKED
