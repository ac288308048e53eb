"""What carries messages out of here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from parcours.domain.messages.results import Result, Sent

M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")


class Transport(Protocol[M_contra]):
    """What carries messages out: one connection to a provider, used by one thread at a time."""

    def send(self, batch: Sequence[M_contra]) -> list[Result]:
        """Hand messages to the provider and return what became of each, in their order; never raises for one.

        What it returned is recorded before it is asked again, so a worker that dies costs at most one
        batch done twice, under the same keys.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Channel(Generic[T]):
    """How messages of one kind leave: who carries them, how many at once, and in how many hands."""

    name: str
    courier: Callable[[], Transport[T]]
    # Where it goes, for people.
    where: str
    # Messages of one call of `send`: one, where each leaves by itself.
    at_once: int = 1
    connections: int = 4
    # Whether messages stay here, in files that go when their contact is erased.
    to_files: bool = False


class Nowhere:
    """Takes everything, and notes the keys alone: for simulations, whose contacts are made up."""

    def __init__(self, taken: list[str]) -> None:
        self._taken = taken

    def send(self, batch: Sequence[Any]) -> list[Result]:
        self._taken += [each.key for each in batch]
        return [Sent()] * len(batch)

    def close(self) -> None:
        """There is nothing open."""
