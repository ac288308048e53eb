"""The worlds that tests of workers use are for tests of commands too."""

from tests.workers.conftest import moody, world, worlds_engine

__all__ = ["moody", "world", "worlds_engine"]
