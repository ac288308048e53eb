"""The app on a real database, as in the tests of the pages."""

from tests.web.conftest import client, start, stub

__all__ = ["client", "start", "stub"]
