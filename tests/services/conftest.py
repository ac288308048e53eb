"""The worlds that tests of workers use, for what is told from the outside of them."""

from tests.workers.conftest import moody, world, worlds_engine

__all__ = ["moody", "world", "worlds_engine"]
