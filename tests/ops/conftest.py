"""The app on a real database, and its process: what an operator looks at is told by these too."""

from tests.web.conftest import client, start, stub

__all__ = ["client", "start", "stub"]
