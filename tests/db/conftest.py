"""The world of the workers' tests, for what reads history: only the engine writes that as it is."""

from tests.workers.conftest import moody, world, worlds_engine

__all__ = ["moody", "world", "worlds_engine"]
