"""The app on a real database, as in the tests of the pages."""

from tests.web.conftest import client, stub

__all__ = ["client", "stub"]
