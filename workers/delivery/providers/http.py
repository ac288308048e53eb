"""What carries messages out of here, and text messages and notifications to files or over HTTP."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import httpx

from parcours.db.folders import private_folder
from parcours.domain.messages.results import GaveUp, Result, Retry, Sent
from parcours.workers.delivery.network import Network, bound

M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")

# An answer of a provider is read so far; what it says beyond that interests nobody.
ANSWER_BYTES = 65_536
# How much of an answer stands in a reason.
SHOWN = 200
# Answers that say "not now" of a request that is in order. Source: RFC 9110, 15.5.9; RFC 8470; RFC 6585.
NOT_NOW = frozenset({408, 425, 429})
# What a proxy answers whose server is away.
SERVER_AWAY = frozenset({502, 503, 504})
TIMEOUT_SECONDS = 15.0


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


@dataclass(frozen=True, slots=True)
class Note:
    """A text message or a notification, ready to leave: `to` is a number, a token, or None."""

    key: str
    at: datetime
    contact: str
    to: str | None
    content: dict[str, str]

    def data(self) -> dict[str, Any]:
        return {"key": self.key, "to": self.to, "contact": self.contact, **self.content}


class NoteFiles:
    """Writes notes as lines of JSON, into one file a day."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, batch: Sequence[Note]) -> list[Result]:
        private_folder(self._folder)
        path = self._folder / f"{datetime.now(UTC):%Y-%m-%d}.ndjson"
        lines = [json.dumps({"at": note.at.isoformat(), **note.data()}, ensure_ascii=False) + "\n" for note in batch]
        # One write to the end of the file, so that the lines of several workers do not mix.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # Whoever takes out the lines of an erased contact is done before.
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, "".join(lines).encode())
        except OSError as error:
            return [Retry(f"{path}: {error.strerror}", away=True)] * len(batch)
        finally:
            os.close(file)
        return [Sent()] * len(batch)

    def close(self) -> None:
        """Each write closes its file."""


@dataclass
class Gateway:
    """Hands notes to a provider over HTTP: `POST` of JSON, with the key as `Idempotency-Key`.

    The provider is the operator's own choice, so its address is not questioned. User and password of the
    URL become basic authentication.
    """

    url: str
    # Of one note as a whole, however its answer comes.
    seconds: float = TIMEOUT_SECONDS
    _client: httpx.Client = field(init=False)
    _network: Network = field(init=False)

    def __post_init__(self) -> None:
        self._client = httpx.Client(timeout=self.seconds, follow_redirects=False)
        self._network = Network(allow_private=True)
        bound(self._client, self._network)

    def send(self, batch: Sequence[Note]) -> list[Result]:
        return [self._send(note) for note in batch]

    def _send(self, note: Note) -> Result:
        self._network.ends = time.monotonic() + self.seconds
        try:
            with self._client.stream(
                "POST", self.url, json=note.data(), headers={"Idempotency-Key": note.key, "User-Agent": "Parcours"}
            ) as response:
                said = read_some(response)
        except httpx.HTTPError as error:
            return Retry(f"the provider does not respond ({type(error).__name__})", away=True)
        if response.status_code in (401, 403):
            # Ours to mend, and nothing to do with this message.
            return Retry(f"the provider refused access: {response.status_code} {said}".strip(), away=True)
        return verdict(response, said)

    def close(self) -> None:
        self._client.close()


def read_some(response: httpx.Response) -> str:
    """Return the beginning of an answer on one line, and read the rest only as far as it is small."""
    read = b""
    for chunk in response.iter_raw(8192):
        read += chunk
        if len(read) > ANSWER_BYTES:
            break
    return " ".join(read[: SHOWN * 4].decode("utf-8", "replace").split())[:SHOWN]


def verdict(response: httpx.Response, said: str) -> Result:
    """Return what an HTTP answer means for the message: 2xx is sent, "not now" and 5xx come again."""
    status = response.status_code
    if response.is_success:
        return Sent()
    shown = f"it answered {status}{f': {said}' if said else ''}"
    if status in NOT_NOW or response.is_server_error:
        return Retry(shown, _retry_after(response), away=status in SERVER_AWAY)
    if response.is_redirect:
        return GaveUp(f"it answered {status}; redirects are not followed")
    return GaveUp(shown)


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Return the patience that an answer asks for. Source: RFC 9110, section 10.2.3: seconds, or a date."""
    given = response.headers.get("Retry-After", "").strip()
    try:
        if given.isdecimal():
            return timedelta(seconds=min(int(given), 10**6))
        return max(parsedate_to_datetime(given) - datetime.now(UTC), timedelta(0)) if given else None
    except (ValueError, TypeError):
        return None
